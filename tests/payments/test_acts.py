"""An act of staff and its audit row: one transaction, one form, and never on what has changed meanwhile."""

import threading
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import Error as DatabaseError
from django.db import connection, transaction
from django.utils import timezone

from orders.mail_again import make_due_again
from orders.models import Order
from payments.breaks import Difference, open_break, resolve_break
from payments.cancellation import Wish, close_order
from payments.models import Asker, Attempt, Break, Refund, RefundProposal
from payments.reconciliation.on_demand import reconcile_order
from payments.reconciliation.recovery import cancel_at_stripe
from payments.refund import Ask, refund_once
from payments.refund_approvals import refuse_refund
from payments.snapshot import money_snapshot
from shop.acts import Act, DoneAlready, StaleForm, Who, version_of, witnessed
from shop.database_clock import DatabaseClock
from shop.ids import new_id
from shop.models import StaffAct
from shop.problems import Problem
from tests.book import Book
from tests.payments.paying import let_leases_end, placed_order, press
from tests.payments.test_complete import died_started

pytestmark = pytest.mark.django_db(transaction=True)


def clerk(name: str = "clara") -> Who:
    user, _ = User.objects.get_or_create(username=name, defaults={"is_staff": True})
    return Who(user, "192.0.2.7", "a browser")


def act_on(order: Order, name: str = "refund", **fields: Any) -> Act:
    defaults: dict[str, Any] = {"who": clerk(), "form_key": new_id(), "note": "as asked"}
    return Act(
        name=name,
        subject=f"order {order.number}",
        order_id=order.pk,
        snapshot=lambda: money_snapshot(order.pk),
        **defaults | fields,
    )


def paid_order() -> Order:
    order, client = placed_order()
    assert press(client, order).status_code == 201
    return order


def ask(act: Act, amount: int = 100) -> Ask:
    return Ask(act.form_key, "digest", amount, "duplicate", act.who.user.pk, act=act)


def test_a_refund_and_its_audit_row_are_one_transaction(book: Book) -> None:
    order = paid_order()
    act = act_on(order)
    refund_once(order.payments.get(), ask(act))
    row = StaffAct.objects.get()
    assert (row.act, row.actor.username, row.address, row.order_id) == ("refund", "clara", "192.0.2.7", order.pk)
    assert row.before["refunds"] == {}
    assert list(row.after["refunds"].values()) == [["confirming", 100]]


def test_an_act_that_is_rolled_back_leaves_no_audit_row(book: Book) -> None:
    order = paid_order()
    with pytest.raises(Problem, match="left to refund"):
        refund_once(order.payments.get(), ask(act_on(order), amount=10**9))
    assert not StaffAct.objects.exists()


def test_no_audit_row_means_no_act(book: Book) -> None:
    order = paid_order()
    act = act_on(order)
    act.who = Who(act.who.user, None, "x" * 300)  # too long for its column
    with pytest.raises(DatabaseError):
        refund_once(order.payments.get(), ask(act))
    assert not Refund.objects.exists()


def test_one_form_moves_the_money_once(book: Book) -> None:
    order = paid_order()
    act = act_on(order)
    refund_once(order.payments.get(), ask(act))
    with pytest.raises(DoneAlready):
        refund_once(order.payments.get(), ask(act))
    assert len(book.refunds()) == 1


def test_two_clerks_who_saw_the_same_page_move_the_money_once(book: Book) -> None:
    order = paid_order()
    seen = version_of(money_snapshot(order.pk))
    acts = [act_on(order, who=clerk(name), expected=seen) for name in ("clara", "carl")]
    told: list[object] = []
    start = threading.Barrier(2)

    def refund(act: Act) -> None:
        start.wait()
        try:
            told.append(refund_once(order.payments.get(), ask(act)).outcome)
        except StaleForm as stale:
            told.append(type(stale))
        finally:
            connection.close()

    clerks = [threading.Thread(target=refund, args=[act]) for act in acts]
    for one in clerks:
        one.start()
    for one in clerks:
        one.join()
    assert set(told) == {"succeeded", StaleForm}
    assert [one["amount"] for one in book.refunds()] == [100]
    assert StaffAct.objects.count() == 1


def test_a_stale_form_takes_no_lease(book: Book) -> None:
    order, client = placed_order()
    book.rule("reset", when="after", times=None)
    press(client, order)
    book.clear_rules()
    let_leases_end(order)
    with pytest.raises(StaleForm):
        cancel_at_stripe(order.pk, Asker.STAFF, "clara", act_on(order, "cancel at Stripe", expected="as it was"))
    assert not Attempt.objects.filter(locked_until__isnull=False).exists()
    assert cancel_at_stripe(order.pk, Asker.STAFF, "clara", act_on(order, "cancel at Stripe")) is not None


def test_staff_cancel_an_order_and_the_wish_has_their_name(book: Book) -> None:
    order, _ = placed_order()
    close_order(order.pk, Wish.CANCEL, by="clara", asked_by=Asker.STAFF, act=act_on(order, "cancel"))
    row = StaffAct.objects.get()
    assert (row.before["closing"], row.after["closing"]) == ("", "cancel")
    assert Order.objects.get(pk=order.pk).status == "canceled"


def test_asking_stripe_is_one_act_however_often_its_form_comes(book: Book) -> None:
    order, client = placed_order()
    book.rule("reset", when="after", times=None)
    press(client, order)
    book.clear_rules()
    let_leases_end(order)
    act = act_on(order, "ask Stripe", repeatable=True)
    assert reconcile_order(order.pk, Asker.STAFF, "clara", act).changed
    assert not reconcile_order(order.pk, Asker.STAFF, "clara", act).changed
    row = StaffAct.objects.get()
    assert (row.before["order"], row.after["order"]) == ("pending", "paid")


def test_asking_about_what_is_known_is_written_down_too(book: Book) -> None:
    order = paid_order()
    told = reconcile_order(order.pk, Asker.STAFF, "clara", act_on(order, "ask Stripe", repeatable=True))
    assert (told.changed, told.answered) == (False, True)
    row = StaffAct.objects.get()
    assert row.before == row.after


def test_audit_rows_can_neither_be_changed_nor_deleted(book: Book) -> None:
    order, _ = placed_order()
    act_on(order, "look").record()
    for forbidden in (
        lambda: StaffAct.objects.update(note="nothing happened"),
        lambda: StaffAct.objects.all().delete(),
        lambda: connection.cursor().execute("DELETE FROM shop_staffact"),
    ):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            forbidden()


def test_a_refund_is_never_approved_by_who_proposed_it(book: Book) -> None:
    order = paid_order()
    payment, user = order.payments.get(), clerk().user
    proposal = payment.refund_proposals.create(
        amount_minor=100, currency=payment.currency, reason="duplicate", note="x", proposed_by=user
    )
    with pytest.raises(DatabaseError, match="a_second_person_approves_a_refund"):
        payment.refund_proposals.filter(pk=proposal.pk).update(decision="approved", decided_by=user)


def test_what_a_person_has_resolved_is_not_opened_again_while_it_stays_so() -> None:
    difference = Difference(Break.Kind.AMOUNT, "pi_1", None, None, 500, "GBP", "look")
    found = open_break(difference)
    act = Act("resolve break", clerk(), f"break {found.pk}", dict, form_key=new_id())
    assert resolve_break(found.pk, "agreed with the shopper", act)
    assert open_break(difference).pk == found.pk
    assert not Break.objects.filter(resolved_at=None).exists()
    other = Difference(Break.Kind.AMOUNT, "pi_1", None, None, 501, "GBP", "look")
    assert open_break(other).pk != found.pk


@pytest.mark.parametrize("later", ["while the first is open", "after the first has committed"])
def test_two_posts_of_one_form_about_two_orders_are_one_act(book: Book, later: str) -> None:
    """No row lock is common to them: the unique key of the form is the judge."""
    first, second = (act_on(placed_order()[0], "look", form_key="one-form") for _ in range(2))
    both_have_begun, first_is_done = threading.Barrier(2), threading.Event()
    told = []

    def do(act: Act) -> None:
        try:
            with transaction.atomic(), witnessed(act):
                both_have_begun.wait()
                if act is second and later.startswith("after"):
                    assert first_is_done.wait(30)
            told.append("done")
        except DoneAlready:
            told.append("done already")
        finally:
            if act is first:
                first_is_done.set()
            connection.close()

    posts = [threading.Thread(target=do, args=[act]) for act in (first, second)]
    for one in posts:
        one.start()
    for one in posts:
        one.join()
    assert sorted(told) == ["done", "done already"]
    assert StaffAct.objects.count() == 1


def proposal_of(order: Order, by: str = "clara") -> RefundProposal:
    return order.payments.get().refund_proposals.create(
        amount_minor=100, currency=order.currency, reason="duplicate", note="x", proposed_by=clerk(by).user
    )


def approve(proposal: RefundProposal, by: str) -> Refund:
    act = act_on(proposal.payment.order, "approve refund", who=clerk(by))
    ask = Ask(proposal.refund_key, "digest", 100, "duplicate", act.who.user.pk, act=act, proposal_id=proposal.pk)
    return refund_once(proposal.payment, ask)


def test_the_core_lets_nobody_approve_what_he_proposed_himself(book: Book) -> None:
    proposal = proposal_of(paid_order())
    with pytest.raises(Problem, match="somebody else must approve"):
        approve(proposal, "clara")
    proposal.refresh_from_db()
    assert (proposal.decision, book.refunds(), StaffAct.objects.count()) == ("", [], 0)


def test_the_core_carries_a_proposal_out_once_also_for_who_says_not_what_he_saw(book: Book) -> None:
    proposal = proposal_of(paid_order())
    assert approve(proposal, "carl").outcome == "succeeded"
    for who in ("carl", "cora"):
        with pytest.raises(StaleForm):
            approve(proposal, who)
    with pytest.raises(StaleForm):
        refuse_refund(proposal, act_on(proposal.payment.order, "refuse refund", who=clerk("cora")))
    assert (len(book.refunds()), StaffAct.objects.count()) == (1, 1)


def test_the_core_makes_no_mail_due_that_is_being_sent(book: Book) -> None:
    order = paid_order()
    mail = order.mails.get()
    for state, sending_at, due in (("sending", timezone.now(), False), ("sent", None, True)):
        order.mails.update(state=state, sending_at=sending_at)
        assert make_due_again(mail.pk, act_on(order, "send mail again")) is due
        assert order.mails.get().state == ("due" if due else state)


def test_one_form_sent_about_two_orders_at_one_moment_hides_neither_act(book: Book) -> None:
    """The rows of one order do not lock those of another: only the unique key of the form stands between them."""
    first, second = (act_on(paid_order(), form_key="one-form-for-two-orders") for _ in range(2))

    def other_act() -> None:
        with transaction.atomic(), witnessed(first):
            pass
        connection.close()

    def act_beside_it() -> None:
        with transaction.atomic(), witnessed(second):
            User.objects.filter(username="clara").update(first_name="changed unseen")
            thread = threading.Thread(target=other_act)
            thread.start()
            thread.join()

    with pytest.raises(DoneAlready):
        act_beside_it()
    assert [row.order_id for row in StaffAct.objects.all()] == [first.order_id]
    assert not User.objects.filter(first_name="changed unseen").exists()


def test_a_question_under_the_key_of_another_act_is_written_down(book: Book) -> None:
    order = paid_order()
    refund = act_on(order)
    refund_once(order.payments.get(), ask(refund))
    for _ in range(2):
        reconcile_order(
            order.pk, Asker.STAFF, "clara", act_on(order, "ask Stripe", form_key=refund.form_key, repeatable=True)
        )
    assert list(StaffAct.objects.order_by("id").values_list("act", flat=True)) == ["refund", "ask Stripe", "ask Stripe"]


def test_a_stale_act_on_a_press_that_sent_nothing_leaves_no_lease(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits a minute for a form that did nothing."""
    order, client = placed_order()
    died_started(order, client, monkeypatch)
    let_leases_end(order)
    act = act_on(order, "cancel at Stripe", expected="0" * 32)
    with pytest.raises(StaleForm):
        cancel_at_stripe(order.pk, Asker.STAFF, "clara", act)
    assert not Attempt.objects.filter(order=order, locked_until__gt=DatabaseClock()).exists()
    assert press(client, order, order.pay_key).status_code == 201
