"""The answer to a COMMIT is lost on its way from PostgreSQL (RULES R75; C4, C20). A real server speaks to its database
through a line that cuts the connection once, with the COMMIT carried out or not; from its side both look the same."""

from collections.abc import Callable, Iterator

import pytest
from django.db import connection, transaction

from orders.mail import send_due_mails
from orders.models import Mail, Order
from payments.models import Attempt, PaymentEvent
from payments.pay import Press, claim, claim_stands
from payments.reconciliation.recovery import complete_due
from payments.row_lock import locked_order
from tests.book import CONFIRM, Book
from tests.crashes.dying import press_at, wait_until
from tests.crashes.losing_line import CLAIM, CONFIRMING, LEASE, OUTCOME, LosingLine
from tests.oracles import assert_repaired
from tests.payments.paying import confirms, let_leases_end, placed_order, press
from tests.services import Stack, services

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def line(transactional_db: None) -> Iterator[LosingLine]:
    opened = LosingLine(services().postgres.url(connection.settings_dict["NAME"]))
    yield opened
    opened.close()


@pytest.fixture
def url(stack: Callable[..., Stack], line: LosingLine) -> str:
    """A server whose database is at the other end of the line."""
    return stack(env={"DATABASE_URL": line.url}, threads=4).urls[0]


def left(order: Order) -> list[tuple[str, str]]:
    return list(Attempt.objects.filter(order=order).values_list("phase", "outcome"))


def assert_paid_once(book: Book, order: Order) -> None:
    send_due_mails()
    assert Order.objects.get(pk=order.pk).status == "paid"
    assert len(book.charges(order.pk)) == len(confirms(book, order)) == 1
    assert PaymentEvent.objects.filter(order=order, to_state="succeeded").count() == 1
    assert Mail.objects.get(order=order, kind="receipt").state == "sent"
    assert_repaired(book, order)


# --- C4: the claim ----------------------------------------------------------------------------------------------------


def test_a_claim_that_was_committed_goes_on_in_the_same_request(book: Book, url: str, line: LosingLine) -> None:
    order, client = placed_order()
    lost = line.lose(CLAIM, carried_out=True)
    answer = press_at(url, client, order)
    assert lost.is_set()
    assert answer.status == 201, answer.body
    assert left(order) == [("finished", "succeeded")]
    assert press_at(url, client, order).headers["Idempotent-Replayed"] == "true"
    assert_paid_once(book, order)


def test_a_claim_made_again_after_a_release_goes_on_too(book: Book, url: str, line: LosingLine) -> None:
    order, client = placed_order()
    book.rule("429", times=None)
    assert press_at(url, client, order).status == 503
    book.clear_rules()
    lost = line.lose(b'"payments_paymentevent"', carried_out=True)
    assert press_at(url, client, order).status == 201
    assert lost.is_set()
    send_due_mails()
    assert len(book.charges(order.pk)) == 1
    assert_repaired(book, order)


def test_a_claim_that_was_not_committed_is_503_and_nothing_is_sent(book: Book, url: str, line: LosingLine) -> None:
    order, client = placed_order()
    lost = line.lose(CLAIM, carried_out=False)
    answer = press_at(url, client, order)
    assert lost.is_set()
    assert (answer.status, answer.body["retry"]) == (503, "same-key")
    assert left(order) == []
    assert book.calls(order.pk) == []
    assert press_at(url, client, order).status == 201
    assert_paid_once(book, order)


def test_while_it_cannot_be_read_again_nothing_is_assumed(book: Book, url: str, line: LosingLine) -> None:
    """The claim is there, and nobody can say so: nothing is sent, and the same key waits until the lease ends."""
    order, client = placed_order()
    lost = line.lose(CLAIM, carried_out=True, then_refuse=True)
    answer = press_at(url, client, order)
    assert lost.is_set()
    assert (answer.status, answer.body["retry"]) == (503, "same-key")
    assert left(order) == [("started", "")]
    assert book.calls(order.pk) == []
    line.let_through()
    wait_until(lambda: press_at(url, client, order).body["type"] == "/problems/request-in-progress")
    let_leases_end(order)
    assert press_at(url, client, order).status == 201
    assert_paid_once(book, order)


def test_a_twin_that_claimed_meanwhile_is_not_taken_for_us(book: Book) -> None:
    """Our COMMIT came to nothing, and the same key claimed the same attempt by the same token: the twin goes on."""
    order, client = placed_order()
    wanted = Press(order.pay_key, "fingerprint", "pm_card_visa", order.total_minor, order.currency)
    with locked_order(order.pk) as locked:
        lost = claim(locked, wanted)
        transaction.set_rollback(True)
    assert not claim_stands(lost)
    with locked_order(order.pk) as locked:
        twin = claim(locked, wanted)
    assert twin.lease == lost.lease
    assert (claim_stands(twin), claim_stands(lost)) == (True, False)
    let_leases_end(order)
    complete_due()
    assert not claim_stands(twin)  # released since: nobody's any more
    assert press(client, order).status_code == 201
    assert_repaired(book, order)


# --- between the two: nothing is sent on a COMMIT that nobody has answered --------------------------------------------


@pytest.mark.parametrize("carried_out", [True, False], ids=["committed", "not committed"])
def test_a_confirming_whose_commit_is_not_answered_sends_nothing_and_is_finished_later(
    book: Book, url: str, line: LosingLine, carried_out: bool
) -> None:
    order, client = placed_order()
    lost = line.lose(CONFIRMING, carried_out=carried_out)
    answer = press_at(url, client, order)
    assert lost.is_set()
    assert (answer.status, answer.body["retry"]) == (503, "same-key")
    assert left(order) == [("confirming" if carried_out else "started", "")]
    assert confirms(book, order) == []
    let_leases_end(order)
    complete_due()
    assert press_at(url, client, order).status == 201
    assert_paid_once(book, order)


@pytest.mark.parametrize("carried_out", [True, False], ids=["committed", "not committed"])
def test_the_same_key_again_whose_commit_is_not_answered_charges_nobody_twice(
    book: Book, url: str, line: LosingLine, carried_out: bool
) -> None:
    order, client = placed_order()
    book.rule("reset", CONFIRM, when="after", times=None)
    assert press_at(url, client, order).status == 202
    book.clear_rules()
    lost = line.lose(LEASE, carried_out=carried_out)
    answer = press_at(url, client, order)
    assert lost.is_set()
    assert (answer.status, answer.body["retry"]) == (503, "same-key")
    let_leases_end(order)
    assert press_at(url, client, order).status == 201
    send_due_mails()
    assert len(book.charges(order.pk)) == 1
    assert PaymentEvent.objects.filter(order=order, to_state="succeeded").count() == 1
    assert_repaired(book, order)


# --- C20: the outcome -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("carried_out", [True, False], ids=["committed", "not committed"])
def test_an_outcome_whose_commit_is_not_answered_is_read_again(
    book: Book, url: str, line: LosingLine, carried_out: bool
) -> None:
    order, client = placed_order()
    lost = line.lose(OUTCOME, carried_out=carried_out)
    answer = press_at(url, client, order)
    assert lost.is_set()
    assert (answer.status, answer.body["status"]) == (201, "succeeded")
    assert_paid_once(book, order)


@pytest.mark.parametrize("carried_out", [True, False], ids=["committed", "not committed"])
def test_a_decline_whose_commit_is_not_answered_is_told_once(
    book: Book, url: str, line: LosingLine, carried_out: bool
) -> None:
    order, client = placed_order()
    lost = line.lose(OUTCOME, carried_out=carried_out)
    answer = press_at(url, client, order, "pm_card_chargeDeclined")
    assert lost.is_set()
    assert (answer.status, answer.body["type"]) == (402, "/problems/card-declined")
    assert left(order) == [("finished", "declined")]
    assert PaymentEvent.objects.filter(order=order, to_state="declined").count() == 1
    assert answer.body["pay_key"] == Order.objects.get(pk=order.pk).pay_key != order.pay_key
    assert_repaired(book, order)


@pytest.mark.parametrize("carried_out", [True, False], ids=["committed", "not committed"])
def test_an_outcome_that_cannot_be_read_again_is_unknown_and_the_completer_finds_it(
    book: Book, url: str, line: LosingLine, carried_out: bool
) -> None:
    order, client = placed_order()
    lost = line.lose(OUTCOME, carried_out=carried_out, then_refuse=True)
    answer = press_at(url, client, order)
    assert lost.is_set()
    assert (answer.status, answer.body["status"]) == (202, "unknown")
    assert left(order) == ([("finished", "succeeded")] if carried_out else [("confirming", "")])
    line.let_through()
    let_leases_end(order)
    complete_due()
    wait_until(lambda: press_at(url, client, order).status == 201)
    assert_paid_once(book, order)
