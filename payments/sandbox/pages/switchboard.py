"""The buttons of the human page: each turns one switch of /_sandbox/, and says what it did."""

from __future__ import annotations

from typing import Any

from payments.sandbox.account import CHARGE, EVENT, INTENT, REFUND
from payments.sandbox.answers import Answer
from payments.sandbox.control import Control
from payments.sandbox.switches import Refused

from .html import Safe, tag

Json = dict[str, Any]

_CONFIRM = "/v1/payment_intents/*/confirm"
_RULES: dict[str, tuple[str, Json]] = {
    "lose": ("Lose the next answer", {"act": "reset", "when": "after"}),
    "decline": ("Decline the next payment", {"act": "decline"}),
    "slow": ("Answer in 6 s", {"act": "delay", "when": "after", "seconds": 6}),
    "break": ("Charge, then answer 500", {"act": "500", "when": "after"}),
    "processing": ("Bank thinks about the next payment", {"act": "processing"}),
    "pending": ("Next refund pends", {"act": "refund_pending", "path": "/v1/refunds"}),
}
_WEBHOOKS: dict[str, tuple[str, Json]] = {
    "late": ("Webhooks 10 s late", {"mode": "late", "seconds": 10}),
    "reordered": ("Webhooks out of order", {"mode": "reordered", "seconds": 2}),
    "never": ("No webhooks", {"mode": "never"}),
}
_SENDINGS: dict[str, tuple[str, Json]] = {
    "five": ("Send the webhook five times", {"times": 5, "simultaneous": True}),
    "forged": ("Send a forged webhook", {"forged": True}),
}
_ACCOUNT = {
    "refund": "Refund the newest charge",
    "dispute": "Dispute the newest charge",
    "foreign": "Pay in another shop",
    "yes": "Bank says yes to what waits",
    "no": "Bank says no",
    "day": "A day passes",
}
_NOTICES = {
    "lose": "The next payment will be charged, and its answer lost on the way back.",
    "decline": "The next payment will be declined.",
    "slow": "The next payment will be charged at once and answered after 6 s.",
    "break": "The next payment will be charged and answered with a 500.",
    "processing": "The next payment will be processing until it is told otherwise.",
    "pending": "The next refund will be pending until it is told otherwise.",
    "five": "The newest webhook was sent five times at once.",
    "forged": "The newest webhook was sent with a signature that is not Stripe's.",
    "none": "There is no event to send yet.",
    "late": "Webhooks come 10 s late from now on.",
    "reordered": "Webhooks are gathered for 2 s and sent in any order from now on.",
    "never": "Webhooks are lost from now on.",
    "refund": "What was left of the newest charge was refunded in the dashboard.",
    "dispute": "The bank of the newest charge's shopper took the money back.",
    "foreign": "Another system on the same account was paid 50.00 GBP.",
    "yes": "Payments and refunds that waited for a bank have succeeded.",
    "no": "Payments and refunds that waited for a bank have failed.",
    "day": "It is a day later: idempotency keys are forgotten.",
    "refused": "That cannot be done now.",
    "normal": "Everything is normal again. The clock stays as it is.",
}


def act_on_switch(control: Control, form: dict[str, str]) -> Answer:
    act = form.get("act", "")
    try:
        said = _turn(control, act)
    except Refused:
        said = "none" if act in _SENDINGS else "refused"
    return Answer(303, "", {"Location": f"/?said={said}"})


def _turn(control: Control, act: str) -> str:
    if act in _RULES:
        control.rules.add({"path": _CONFIRM, "times": 1, **_RULES[act][1]})
    elif act in _WEBHOOKS:
        control.webhooks.switch(_WEBHOOKS[act][1])
    elif act in _SENDINGS:
        control.send({"event": _newest_event(control), **_SENDINGS[act][1]})
    elif act in ("refund", "dispute"):
        control.answer("POST", f"charges/{_newest_charge(control)}/{act}", {}, {})
    elif act == "foreign":
        control.answer("POST", "payments", {}, {"amount": 5000})
    elif act in ("yes", "no"):
        _end_what_waits(control, act == "yes")
    elif act == "day":
        control.advance({"advance_seconds": 24 * 60 * 60})
    else:
        control.rules.clear()
        control.webhooks.switch({"mode": "normal"})
        return "normal"
    return act


def _end_what_waits(control: Control, well: bool) -> None:
    shelves = control.account.shelves
    intents, _ = shelves[INTENT].page(limit=100, wanted=lambda intent: bool(intent["status"] == "processing"))
    pending, _ = shelves[REFUND].page(limit=100, wanted=lambda refund: bool(refund["status"] == "pending"))
    for intent in intents:
        outcome = {"outcome": "succeed" if well else "fail"}
        control.answer("POST", f"intents/{intent['id']}/processing-end", {}, outcome)
    for refund in pending:
        control.answer("POST", f"refunds/{refund['id']}/end", {}, {"outcome": "succeeded" if well else "failed"})


def _newest_event(control: Control) -> str:
    newest, _ = control.account.shelves[EVENT].page(
        limit=1, wanted=lambda event: event["type"].startswith("payment_intent.")
    )
    if not newest:
        raise Refused(404, "no event")
    return str(newest[0]["id"])


def _newest_charge(control: Control) -> str:
    newest, _ = control.account.shelves[CHARGE].page(limit=1, wanted=lambda charge: bool(charge["captured"]))
    if not newest:
        raise Refused(404, "no charge")
    return str(newest[0]["id"])


def notice(said: str) -> Safe | str:
    words = _NOTICES.get(said)
    return tag("p", words, class_="notice", role="status") if words else ""


def buttons() -> Safe:
    rows = [
        ("The next call", {act: words for act, (words, _) in _RULES.items()}),
        ("Webhooks", {act: words for act, (words, _) in (*_SENDINGS.items(), *_WEBHOOKS.items())}),
        ("The account", _ACCOUNT),
    ]
    return tag(
        "form",
        *(
            tag("div", *(_button(act, words) for act, words in acts.items()), class_="row", role="group", aria_label=of)
            for of, acts in rows
        ),
        tag(
            "div",
            tag("button", "Back to normal", name="act", value="normal", class_="main"),
            tag("a", "Refresh", href="/", class_="button"),
            class_="row",
        ),
        method="post",
        action="/",
    )


def _button(act: str, words: str) -> Safe:
    return tag("button", words, name="act", value=act)


def state(control: Control) -> Safe:
    hooks = control.webhooks.state()
    waiting = [
        f"{rule['act']} {rule['when']} on {rule['path']}"
        + (f", {rule['seconds']:g} s" if rule["seconds"] else "")
        + (f", {rule['times'] - rule['hits']} left" if rule["times"] is not None else ", for ever")
        for rule in control.rules.list()
        if rule["times"] is None or rule["hits"] < rule["times"]
    ]
    ahead = control.account.clock.offset_seconds
    words = [
        f"Webhooks: {hooks['mode']}, {hooks['undelivered']} undelivered.",
        f"Rules: {'; '.join(waiting) if waiting else 'none'}.",
        f"Clock: {f'{ahead / 3600:g} h ahead' if ahead else 'right'}.",
    ]
    return tag("p", " ".join(words), class_="quiet")
