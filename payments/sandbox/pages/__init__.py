"""What a browser sees: the human page, a payment's page, the bank's challenge, and the stand-in for Stripe.js."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from payments.sandbox.answers import Answer
from payments.sandbox.cards import BY_NUMBER, Card
from payments.sandbox.control import Control

from .challenge import answer_challenge_page, show_challenge
from .front import show_front
from .html import page, tag
from .payment import act_on_payment, show_payment
from .switchboard import act_on_switch

_STATIC = Path(__file__).parent / "static"
_KINDS = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}


@dataclass(frozen=True)
class Visit:
    method: str
    path: str
    query: dict[str, str]
    form: dict[str, str]


class Pages:
    def __init__(self, control: Control) -> None:
        self._control = control
        self._routes: tuple[tuple[str, str, Callable[[Visit], Answer]], ...] = (
            ("GET", "/", lambda visit: show_front(control, visit.query)),
            ("POST", "/", lambda visit: act_on_switch(control, visit.form)),
            ("GET", "/stripe.js", lambda visit: _static("stripe.js")),
            ("GET", "/elements/card", lambda visit: _card_form()),
            ("GET", "/static/", lambda visit: _static(visit.path.removeprefix("/static/"))),
            ("GET", "/3ds/", lambda visit: show_challenge(control, visit.path, visit.query)),
            ("GET", "/payments/", lambda visit: show_payment(control, visit.path, visit.query)),
            ("POST", "/payments/", lambda visit: act_on_payment(control, visit.path, visit.form)),
            ("POST", "/3ds/", lambda visit: answer_challenge_page(control, visit.path, visit.form)),
        )

    def answer(self, method: str, path: str, query: dict[str, str], form: dict[str, str]) -> Answer:
        for wanted, prefix, show in self._routes:
            exact = prefix == "/" or not prefix.endswith("/")
            if wanted == method and (path == prefix if exact else path.startswith(prefix)):
                return show(Visit(method, path, query, form))
        return page("Not found", tag("p", "There is nothing here."), status=404)


def _static(name: str) -> Answer:
    if name not in {file.name for file in _STATIC.iterdir()}:
        return page("Not found", tag("p", "There is nothing here."), status=404)
    file = _STATIC / name
    headers = {
        "Content-Type": f"{_KINDS[file.suffix]}; charset=utf-8",
        "Cache-Control": "no-cache",
        "Access-Control-Allow-Origin": "*",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "X-Content-Type-Options": "nosniff",
    }
    return Answer(200, file.read_text(), headers)


def _card_form() -> Answer:
    """The frame in which a card is typed. Any page may embed it, as Stripe's."""
    hints = "".join(_hint(card) for card in BY_NUMBER.values() if card.hint)
    answer = _static("card.html")
    answer.body = answer.body.replace("{{ hints }}", hints)
    answer.headers["Content-Security-Policy"] = (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'"
    )
    return answer


def _hint(card: Card) -> str:
    shown = " ".join(card.number[start : start + 4] for start in range(0, len(card.number), 4))
    cvc = "1234" if card.cvc_digits == 4 else "123"
    return tag(
        "li",
        tag(
            "button",
            tag("span", card.hint) + tag("span", shown),
            type="button",
            data_number=card.number,
            data_expiry="1234",
            data_cvc=cvc,
        ),
    )
