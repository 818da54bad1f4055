"""Money that was paid, and a clerk who gives some of it back through the API: once, or twenty times at one moment."""

from django.contrib.auth.models import User
from django.test import Client

from payments.models import Payment
from tests.book import REFUND, Book, Json
from tests.payments.planting import paid_order, payment_of
from tests.races.crowd import CROWD, Answer, at_once, same_browser

PART = 100  # twenty of them are less than the charge: Stripe's own cap stops none


def paid() -> Payment:
    payment = payment_of(paid_order(stock=10, quantity=2))
    assert payment.captured_minor >= CROWD * PART
    return payment


def more_than_half(payment: Payment) -> int:
    """Fits once."""
    return payment.captured_minor * 6 // 10


def a_clerk() -> Client:
    client = Client(headers={"Accept": "application/json"}, raise_request_exception=False)
    client.force_login(User.objects.create_superuser("clerk", "clerk@example.com", "a long password"))
    return client


def give_back(client: Client, payment: Payment, key: str, amount_minor: int = PART) -> Answer:
    answer = client.post(
        f"/api/payments/{payment.pk}/refunds/",
        {"amount": amount_minor, "reason": "requested_by_customer"},
        content_type="application/json",
        headers={"Idempotency-Key": key},
    )
    return Answer(answer.status_code, answer.content, answer.headers.get("Idempotent-Replayed") == "true")


def give_back_at_once(client: Client, payment: Payment, keys: list[str], amount_minor: int = PART) -> list[Answer]:
    """One press for each key, all at the same moment."""
    twins = same_browser(client, len(keys))
    return at_once(len(keys), lambda number: give_back(twins[number], payment, keys[number], amount_minor))


def given_back(book: Book, payment: Payment) -> list[int]:
    """The amounts of the refunds in Stripe's book."""
    return [one["amount"] for one in book.refunds(payment.order_id)]


def sent(book: Book) -> list[Json]:
    """The calls that may give money back."""
    return [call for call in book.calls(path=REFUND) if call["method"] == "POST"]
