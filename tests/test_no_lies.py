"""Nobody is told a lie (UX14, oracle O7): what is not known is not called failed, nor what is paid called unpaid.

First every state an order can be in, as rows: whatever page, mail or answer shows it is read for words that would be a
lie of it. Then every sentence of templates, scripts and code that claims an end: each stands in a table that says why
it is true where it is said, so that a new one is not written without asking that question.
"""

import ast
import datetime
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import pytest
from django.core import mail as outbox
from django.test import Client, override_settings
from django.utils import timezone

from orders.ends import owe_mail
from orders.mail import send_due_mails
from orders.mail_links import new_link
from orders.mail_truth import Say
from orders.models import Mail, Order
from orders.ownership import Shopper
from payments import responses
from payments.gateways.circuit_breaker import close_breaker, note_answer
from payments.models import DEAD, Attempt, Outcome, Payment, Refund
from shop.env import BASE_DIR
from shop.idempotency import fingerprint
from shop.ids import new_id
from shop.problems import PROBLEMS, SAME_KEY
from tests.orders.making import (
    ADDRESS,
    guest_client,
    make_attempt,
    make_cart,
    make_order,
    make_product,
    post_order,
    version_of,
)
from tests.payments.planting import refund_row

# --- What would be a lie --------------------------------------------------------------------------------------------

# Claims that a payment came to nothing.
CAME_TO_NOTHING = (
    r"fail|declin|refused|unsuccessful|went wrong|not go through|not completed|did not reach"
    r"|(not|n't) (been )?charged|nothing (has been |was )?charged|nothing was sent|(try|pay) again"
)
ASKS_FOR_MONEY = r"waits for payment|finish paying|go to payment"
CAME_TO_MONEY = r"\bis paid\b|have paid|you paid|thank you|found your payment|sent (money|it) back"


class Truth(Enum):
    """What is so of an order's money, by its rows."""

    OPEN = f"{CAME_TO_NOTHING}|{ASKS_FOR_MONEY}|{CAME_TO_MONEY}"  # nobody knows
    CHARGED = f"{CAME_TO_NOTHING}|{ASKS_FOR_MONEY}"
    NOT_CHARGED = CAME_TO_MONEY


def lies_in(text: str, truth: Truth) -> list[str]:
    found = re.finditer(truth.value, text, re.IGNORECASE)
    return [" ".join(text[max(0, lie.start() - 40) : lie.end() + 40].split()) for lie in found]


def read(html: str) -> str:
    """What a person sees of a page: <template> waits for a script to show it."""
    text = re.sub(r"<(script|template)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


# --- Every state, as rows -------------------------------------------------------------------------------------------

STATUSES = [status.value for status in Order.Status]
PAYMENT_STATUSES = ["none", "started", "confirming", *[outcome.value for outcome in Outcome]]
# The newest press of a paid order is the one that paid it, so none of those is declined.
NOT_OF_PAID = [outcome.value for outcome in DEAD]
STATES = [
    (status, word, False)
    for status in STATUSES
    for word in PAYMENT_STATUSES
    if not (status in Order.PAID and word in NOT_OF_PAID)
]
STATES += [("pending", word, True) for word in PAYMENT_STATUSES]


def test_the_vocabulary_is_the_contracts() -> None:
    """DESIGN section 8. A new word comes with its rows below, by itself."""
    assert STATUSES == ["pending", "paid", "fulfilled", "canceled", "expired", "refunded"]
    assert set(PAYMENT_STATUSES) == {
        *("none", "started", "confirming", "unknown", "processing", "requires_action"),
        *("released", "declined", "failed", "canceled", "succeeded"),
    }


def built(status: str, word: str, closing: bool) -> tuple[Order, Truth]:
    """An order in this state, also one that settling never leaves behind: nobody is lied to then either."""
    order = make_order((make_product(stock=9), 1))
    cart = order.cart
    closing_since = timezone.now() if closing else None
    Order.objects.filter(pk=order.pk).update(
        status=status,
        guest_id="g" * 32,
        principal="guest:" + "g" * 32,
        closing_since=closing_since,
        closing_reason="cancel" if closing else "",
        paid_at=timezone.now() if status in Order.PAID else None,
    )
    order.refresh_from_db()
    order.cart = cart
    if word != "none":
        _attempt(order, word)
    charged = status in Order.PAID or word == "succeeded"
    if charged and word != "none":
        refunded = order.total_minor if status == "refunded" else 0
        Payment.objects.update(phase="succeeded", captured_minor=order.total_minor, refunded_minor=refunded)
        if refunded:
            _refund(order)
    live = word not in (*DEAD, "none", "succeeded")
    return order, Truth.CHARGED if charged else Truth.OPEN if live else Truth.NOT_CHARGED


def _attempt(order: Order, word: str) -> None:
    """The newest press, and of a live one somebody is working on it."""
    attempt = make_attempt(
        order,
        "",
        phase="started" if word == "started" else "confirming",
        idempotency_key="THE-PRESS",
        fingerprint=fingerprint("pay", order.pk, body=_card(order)),
        locked_until=timezone.now() + datetime.timedelta(hours=1),
    )
    if word in Outcome.values:
        attempt.outcome = word
        columns: dict[str, Any] = {"outcome": word}
        if attempt.is_final:
            attempt.reason = {"succeeded": "", "canceled": "started-over"}.get(word, "declined")
            status, body = responses.final_answer_of(attempt, order)
            columns |= {"reason": attempt.reason, "answer_status": status, "answer_body": body}
        if attempt.is_final or word == "released":
            columns |= {"phase": "finished", "locked_until": None}
        Attempt.objects.filter(pk=attempt.pk).update(**columns)


def _refund(order: Order) -> None:
    refund_row(
        payment=Payment.objects.get(order=order),
        idempotency_key=new_id(),
        fingerprint="x",
        amount_minor=order.total_minor,
        currency=order.currency,
        reason="requested_by_customer",
        phase="finished",
        outcome="succeeded",
    )


def _card(order: Order, more: int = 0) -> dict[str, Any]:
    return {"payment_token": "pm_card_visa", "amount": order.total_minor + more, "currency": order.currency}


def owner() -> Client:
    return guest_client(shopper=Shopper(None, "g" * 32))


def link_holder(order: Order) -> Client:
    client = Client(headers={"Accept": "application/json"})
    client.post("/orders/link/", {"token": new_link(order)[1].split("/")[-2]})
    return client


# --- Everything that speaks of it -----------------------------------------------------------------------------------

Told = Iterator[tuple[str, str]]  # where something is said of an order, and what


def told(order: Order, truth: Truth) -> Told:
    yield from _pages(order)
    yield from _answers(order, truth)
    yield from _mails(order)
    yield from _checkout(order)


def _pages(order: Order) -> Told:
    for name, client in {"owner": owner(), "link": link_holder(order)}.items():
        for path in ("", "pay/"):
            response = client.get(f"/orders/{order.pk}/{path}", follow=True)
            assert response.status_code == 200
            yield f"{name}, {path or 'order'}", read(response.content.decode())
    yield "my orders", read(owner().get("/account/orders/").content.decode())


def _answers(order: Order, truth: Truth) -> Told:
    client, may_be_paid = owner(), order.status == "pending" and not order.is_closing and truth is Truth.NOT_CHARGED
    for method in (client.get, client.post):
        status = method(f"/api/orders/{order.pk}/payment-status/", {}, content_type="application/json").json()
        yield "payment-status", _status_in_words(status, may_be_paid)
    attempt = Attempt.objects.filter(order=order).first()
    keys = [attempt.idempotency_key] if attempt and attempt.outcome != "released" else []
    if attempt and attempt.outcome in ("unknown", "processing", "requires_action"):
        yield "202", _said(json.loads(responses.press_body(attempt)))
    pay = f"/api/orders/{order.pk}/payments/"
    yield "another total", _post(client, pay, "ANOTHER", _card(order, more=1))
    for key in keys if may_be_paid else [*keys, "ANOTHER"]:  # a new press that may start would only succeed
        yield f"press {key}", _post(client, pay, key, _card(order))
        with override_settings(DECLINES_PER_ORDER=0):
            yield f"press {key} after many declines", _post(client, pay, key, _card(order))
        with stripe_away():
            yield f"press {key} while Stripe is away", _post(client, pay, key, _card(order))
    if truth is Truth.OPEN or order.status != "pending":
        for act in ("cancel", "start-over"):
            yield act, _post(client, f"/api/orders/{order.pk}/{act}/", "GIVE-UP", {})


@contextmanager
def stripe_away() -> Iterator[None]:
    """The circuit breaker is open."""
    with override_settings(BREAKER_FAILURES=1):
        note_answer(answered=False)
    try:
        yield
    finally:
        close_breaker()


def _post(client: Client, path: str, key: str, body: dict[str, Any]) -> str:
    answer = client.post(path, body, content_type="application/json", headers={"Idempotency-Key": key})
    assert answer.status_code < 500 or answer.status_code == 503, answer.content
    return _said(answer.json())


def _said(body: dict[str, Any]) -> str:
    """What an answer says in words, and its problem by name."""
    reason = responses.reason_text(body["reason"]) if body.get("reason") else ""
    return " ".join(str(body.get(word) or "") for word in ("type", "title", "detail")) + " " + reason


def _status_in_words(status: dict[str, Any], may_be_paid: bool) -> str:
    """What the pages' scripts make of a status (pay_button.js): a pay_key is "you were not charged, press again"."""
    assert bool(status["pay_key"]) is may_be_paid
    paid = "It is paid." if status["receipt_url"] else ""
    return f"{_said(status)} {'You were not charged. Go to payment.' if status['pay_key'] else ''} {paid}"


def _mails(order: Order) -> Told:
    for kind in set(Mail.Kind) - {Mail.Kind.REFUND}:
        owe_mail(order, kind, timezone.now())
    for refund in Refund.objects.filter(payment__order=order):
        owe_mail(order, Mail.Kind.REFUND, timezone.now(), subject=refund.pk)
    Mail.objects.update(due_at=timezone.now())
    send_due_mails(order.pk)
    for message in outbox.outbox:
        assert isinstance(message, outbox.EmailMultiAlternatives)
        yield "mail", f"{message.subject} {message.body} {read(str(message.alternatives[0][0]))}"


def _checkout(order: Order) -> Told:
    """What the cart that it was placed from, or one with the same goods, is told."""
    shopper, line = Shopper(None, order.guest_id), order.lines.get()
    for name, cart in {"same cart": order.cart, "same goods": make_cart((line.product, line.quantity))}.items():
        assert cart is not None
        client = guest_client(cart, shopper)
        yield f"checkout, {name}", read(client.get("/checkout/", follow=True).content.decode())
        for version in ("an old one", version_of(cart)):
            answer = post_order(client, cart, cart_version=version)
            yield f"placing, {name}", _said(answer.json()) if answer.status_code >= 400 else ""
            page = client.post("/checkout/", _form(version), headers={"Accept": "text/html"})
            yield f"placing by the page, {name}", read(page.content.decode())


def _form(version: str) -> dict[str, str]:
    contact = {"email": "ada@example.com", "name": "Ada Lovelace"}
    return contact | ADDRESS | {"cart_version": version, "key": "PLACE_" + new_id()}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("status", "word", "closing"), STATES)
def test_no_state_is_told_a_lie(status: str, word: str, closing: bool) -> None:
    order, truth = built(status, word, closing)
    lies = {where: found for where, text in told(order, truth) if (found := lies_in(text, truth))}
    assert lies == {}


# --- Every sentence that claims an end ------------------------------------------------------------------------------

FORM_UNREAD = "the form was never read, so it did nothing"
SAME_AGAIN = "the same request or page again, which charges nobody twice; says nothing of an outcome"
DEFINITE = "only shown where every press has ended without a charge; see the states above"
NO_TOKEN = "without a token no press left this page"
UNSENT = "of a press that was released: nothing of it was sent"
NOT_SENT = "only while nothing of the order is under way, and nothing was sent"
LOST = "only while its rows are known to be lost, and it says so: of what was before it promises nothing"
CHECKED = "orders/mail_truth.py asks the rows before it is sent"
OF_A_402 = "of a 402, which only a definite no gets; see the states above"
PLACING = "about placing: nothing was ordered, and placing charges nothing"
CANCELING = "about canceling another order; says nothing of an outcome"
ALL_ENDED = "the last rule of payments/backoffice/inquiry/answer.py: every press has ended, and no break is open"
HAS_A_NEW_KEY = "the server gave a pay_key: no press of this order is open, and none has charged"
NOT_ABOUT_PAYING = "log-in, goods, or what staff and developers read"

# Where it stands -> what it says -> why it is true there. A new sentence goes in with its reason, or is put otherwise.
STAFF = "read by staff, of a row whose end is definite"
IF_SO = "read by staff before they ask Stripe: what would come of it if that is so"
CLAIMS: dict[str, dict[str, str]] = {
    "orders/api.py": {"validation-failed, idempotency-key-missing, idempotency-key-invalid": NOT_ABOUT_PAYING},
    "orders/mail.py": {"You were not charged for order {number}": CHECKED},
    "orders/place.py": {
        "Many people are ordering this right now. Please try again in a moment.": PLACING,
        "Another request is changing this cart. Please try again.": PLACING,
    },
    "payments/accounts.py": {
        "Payments are paused at the moment. Nothing was sent and you were not charged. Please try again later.": (
            NOT_SENT
        )
    },
    "payments/monitoring/alarms.py": {"A refund did not reach the shopper": STAFF},
    "payments/responses.py": {
        "Your bank declined the payment. Please try another card, or ask your bank.": OF_A_402,
        "Your bank could not confirm that it was you. Please try again, or use another card.": OF_A_402,
        "The bank could not do it this time. Please try again in a moment, or use another card.": OF_A_402,
        "The payment was refused. Please try another card.": OF_A_402,
        "You were not charged.": OF_A_402,
        "Our payment provider cannot be reached. Nothing was sent and you were not charged. Please try again.": UNSENT,
        "We are finding out whether this order was paid before. Nothing was sent now, and you will not be charged"
        " twice. Please try again in a while.": LOST,
    },
    "payments/gateways/circuit_breaker.py": {
        "Our payment provider does not answer at the moment. Nothing was sent and you were not charged.": NOT_SENT
    },
    "payments/backoffice/actions/orders_and_breaks.py": {
        "Else the payment is given up. A press that is in doubt ends, and the shopper is told: not charged.": IF_SO
    },
    "payments/backoffice/dashboard/figures.py": {"Declines by reason": STAFF},
    "payments/backoffice/actions/ask_stripe.py": {
        "The order is being given up: if Stripe has not charged, its payment is canceled there.": IF_SO,
        "is past its time: if Stripe has not charged, its payment is canceled there,": IF_SO,
        "and the shopper may pay again": IF_SO,
        "Nothing was charged. The shopper can pay again.": STAFF,
        "Nothing was charged. The order is": STAFF,
    },
    "payments/backoffice/actions/refunds.py": {"Refused. Nothing went back.": STAFF},
    "payments/backoffice/inquiry/wording.py": {
        "Not charged; the line is a hold that goes away": ALL_ENDED,
        "You were not charged for {order}. If you see a line from us, please send us its date, its amount and the last"
        " four digits.": ALL_ENDED,
        "You were not charged for {order}. Your bank may show a line for a try that took nothing: {holds} That is a"
        " reservation, not a payment. It goes away by itself after some days.": ALL_ENDED,
    },
    "payments/pay.py": {". You were not charged.": NOT_SENT},
    "payments/views.py": {
        "Too many declined tries for this order. You were not charged. Please try again in an hour.": NOT_SENT,
        "This payment had to be prepared anew. Nothing was sent and you were not charged. Please try again.": NOT_SENT,
        "card-declined, payment-token-invalid, payment-refused; next pay_key": NOT_ABOUT_PAYING,
    },
    "payments/reconciliation/inbox.py": {"failed, see the log": NOT_ABOUT_PAYING},
    "shop/account.py": {"This e-mail address and password do not belong together. Please try again.": NOT_ABOUT_PAYING},
    "shop/api.py": {
        "Log in and try again.": NOT_ABOUT_PAYING,
        "Please wait a moment and try again.": SAME_AGAIN,
        "Our database is not answering. Please try again in a moment.": SAME_AGAIN,
        "Something went wrong here. Please try again with the same key.": SAME_AGAIN,
    },
    "shop/middleware.py": {
        "Our database is not answering. Please try again in a moment.": SAME_AGAIN,
        "Something went wrong here. Please try again with the same key.": SAME_AGAIN,
    },
    "shop/problems.py": {
        "The card was declined": OF_A_402,
        "The payment was refused": OF_A_402,
        "Something went wrong here": SAME_AGAIN,
    },
    "static/js/checkout.js": {
        "No connection. Please try again.": CANCELING,
        "The bank has not answered yet. Please try again in a moment.": CANCELING,
        "That did not work. Please try again in a moment.": CANCELING,
    },
    "static/js/order.js": {"Your bank's window could not be opened. Please try again.": "opening a window"},
    "static/js/pay.js": {
        "The card form could not be loaded. You were not charged. Please load this page again.": NO_TOKEN,
        "The card form does not answer. You were not charged. Please load this page again.": NO_TOKEN,
    },
    "static/js/pay_button.js": {
        "Something went wrong on this page. Load it again to see how your order is doing.": SAME_AGAIN,
        "No connection. Nothing was sent; we try again as soon as there is one.": "the browser was offline all along",
        "The connection was lost. We try again – you will not be charged twice.": SAME_AGAIN,
        "Your payment has not reached us yet. Please press Pay again – you will not be charged twice.": HAS_A_NEW_KEY,
    },
    "templates/400.html": {"Nothing was ordered and nothing was charged by it.": FORM_UNREAD},
    "templates/403_csrf.html": {"Nothing was ordered and nothing was charged by it.": FORM_UNREAD},
    "templates/500.html": {
        "Something went wrong here": SAME_AGAIN,
        "You can try again:": SAME_AGAIN,
        "Try again": SAME_AGAIN,
    },
    "templates/503.html": {"Please try again in a few seconds.": SAME_AGAIN, "Try again": SAME_AGAIN},
    "templates/orders/_not_charged.html": {"You were not charged.": DEFINITE},
    "templates/admin/desk/ask_many.html": {
        "an older one that Stripe has not charged is canceled there, and its shopper may pay again.": IF_SO
    },
    "templates/orders/mail/canceled.html": {"You were not charged for it.": CHECKED},
    "templates/orders/mail/canceled.txt": {"You were not charged for it.": CHECKED},
    "templates/orders/mail/finish-paying.html": {
        "your payment for order {{ order.number }} was not completed.": CHECKED,
        "You were not charged.": CHECKED,
    },
    "templates/admin/desk/_fourteen_days.html": {"Declines": STAFF},
    "templates/admin/desk/_going_back.html": {"Did not reach the shopper, in 30 days:": STAFF},
    "templates/orders/mail/finish-paying.txt": {
        "your payment for order {{ order.number }} was not completed.": CHECKED,
        "You were not charged.": CHECKED,
    },
    "templates/orders/order_declined.html": {"The card was declined": DEFINITE, "You were not charged.": DEFINITE},
    "templates/orders/order_open.html": {"Nothing has been charged.": DEFINITE},
    "templates/payments/pay.html": {
        "You were not charged.": DEFINITE,
    },
}


def claims_in(path: str, source: str) -> list[str]:
    """The sentences of a template, script or module that say a payment came to nothing."""
    texts = {".js": _texts_of_script, ".py": _texts_of_module}.get(path[-3:], _texts_of_template)(source)
    lines = [" ".join(text.split()) for text in texts]
    return [line for line in lines if re.search(CAME_TO_NOTHING, line, re.IGNORECASE)]


def _texts_of_template(source: str) -> list[str]:
    text = re.sub(r"{% comment %}.*?{% endcomment %}|{#.*?#}", "", source, flags=re.DOTALL)
    text = re.sub(r"</?(p|h\d|li|div|td|button|a|title|dt|dd)\b[^>]*>|{%.*?%}", "\n\n", text)
    return re.split(r"(?<=[.!?:;])\s+|\n\s*\n", re.sub(r"<[^>]+>", "", text))


def _texts_of_script(source: str) -> list[str]:
    code = re.sub(r"(^|\s)//.*$", "", source, flags=re.MULTILINE)
    return [text[1:-1] for text in re.findall(r'"(?:[^"\\\n]|\\.)*"|`[^`]*`|\'(?:[^\'\\\n]|\\.)*\'', code)]


def _texts_of_module(source: str) -> list[str]:
    tree = ast.parse(source)
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    docstrings = {id(node.value) for node in statements}
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docstrings]
    return [node.value for node in constants if isinstance(node.value, str) and " " in node.value]


def _sources() -> dict[str, str]:
    pages = [*(BASE_DIR / "templates").rglob("*.html"), *(BASE_DIR / "templates").rglob("*.txt")]
    code = [path for app in ("shop", "orders", "payments") for path in (BASE_DIR / app).rglob("*.py")]
    unseen = re.compile(r"/(migrations|management|sandbox|stack)/|/(admin|models|checks)\.py")
    shown = [
        *pages,
        *(BASE_DIR / "static" / "js").glob("*.js"),
        *(path for path in code if not unseen.search(str(path))),
    ]
    return {str(path.relative_to(BASE_DIR)): path.read_text() for path in sorted(shown)}


def test_every_claim_that_a_payment_came_to_nothing_has_its_reason() -> None:
    said = {(path, text) for path, source in _sources().items() for text in claims_in(path, source)}
    judged = {(path, text) for path, claims in CLAIMS.items() for text in claims}
    assert sorted(said - judged) == []
    assert sorted(judged - said) == []  # no reason outlives its sentence


# --- These tests can fail -------------------------------------------------------------------------------------------


def lies_told(order: Order, truth: Truth) -> str:
    return " ".join(f"{where}: {lie}" for where, text in told(order, truth) for lie in lies_in(text, truth))


@pytest.mark.django_db(transaction=True)
def test_a_lie_on_a_page_is_caught(settings: Any) -> None:
    page = (BASE_DIR / "templates" / "orders" / "order_asking.html").read_text()
    lie = page.replace("We are asking your bank", "Your payment failed")
    assert lie != page
    templates: dict[str, Any] = settings.TEMPLATES[0]
    loaders = [
        ("django.template.loaders.locmem.Loader", {"orders/order_asking.html": lie}),
        "django.template.loaders.filesystem.Loader",
        "django.template.loaders.app_directories.Loader",
    ]
    settings.TEMPLATES = [templates | {"APP_DIRS": False, "OPTIONS": templates["OPTIONS"] | {"loaders": loaders}}]
    said = lies_told(*built("pending", "unknown", False))
    assert "owner, order" in said and "Your payment failed" in said
    assert claims_in("order_asking.html", lie) == ["Your payment failed"]


@pytest.mark.django_db(transaction=True)
def test_a_lie_in_a_mail_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orders.mail.what_to_say", lambda mail: Say.NOW)
    assert "was not completed. You were not charged." in lies_told(*built("pending", "processing", False))
    assert "We found your payment" not in lies_told(*built("pending", "declined", False))


@pytest.mark.django_db(transaction=True)
def test_a_lie_in_an_answer_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROBLEMS, "payment-in-progress", (409, SAME_KEY, "The payment failed"))
    said = lies_told(*built("pending", "requires_action", False))
    assert "press ANOTHER: " in said and "payment-in-progress The payment failed" in said


def test_a_lie_in_a_script_or_in_code_is_caught() -> None:
    assert claims_in("pay.js", 'say("Your card was declined."); // failed') == ["Your card was declined."]
    assert claims_in("pay.js", "say(`Not charged: ${total}`)") == ["Not charged: ${total}"]
    assert claims_in("pay.py", 'Problem("x", f"{order} failed, sorry.")') == ["failed, sorry."]


def test_what_would_be_a_lie_of_an_open_payment_is_known_by_its_words() -> None:
    for lie in (
        "Payment failed",
        "card was declined",
        "You were not charged",
        "Please try again",
        "Your order is paid",
    ):
        assert lies_in(lie, Truth.OPEN), lie
    for lie in ("Payment failed", "You weren't charged", "You have not been charged", "Your order waits for payment"):
        assert lies_in(lie, Truth.CHARGED), lie
    assert lies_in("Thank you", Truth.NOT_CHARGED)
    assert not lies_in("You will not be charged twice. We are asking your bank.", Truth.OPEN)
