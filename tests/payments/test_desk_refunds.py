"""The refund pages of the staff desk, against the sandbox: shown, previewed, carried out once, decided by two."""

import time
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django_otp.plugins.otp_totp.models import TOTPDevice

from orders.models import Mail, Order
from payments.models import Break, Payment, PaymentEvent, Refund, RefundProposal
from shop.models import StaffAct
from tests.book import REFUND, Book
from tests.payments.planting import paid_order, payment_of
from tests.payments.staff import address, at_once, clerk, fields_in, said, shown, words

pytestmark = pytest.mark.django_db(transaction=True)

MAY = "payments.refund_payment"


@pytest.fixture
def payment(book: Book) -> Payment:
    return payment_of(paid_order(stock=10, quantity=2))


def filled(browser: Client, payment: Payment, amount: str = "1.00", **entries: str) -> dict[str, str]:
    """The refund form as it is shown now, filled in."""
    hidden = shown(browser, address("refund", payment.pk))
    return hidden | {"amount": amount, "reason": "duplicate", "note": "paid twice"} | entries


def confirm(browser: Client, payment: Payment, form: dict[str, str]) -> Any:
    return browser.post(address("refund", payment.pk), form | {"step": "confirm"})


def refunded(book: Book, payment: Payment) -> list[int]:
    return [one["amount"] for one in book.refunds(payment.order_id)]


def test_a_refund_is_shown_previewed_and_carried_out(book: Book, payment: Payment) -> None:
    browser = clerk("clara", MAY)
    form = filled(browser, payment, "12.50")
    preview = browser.post(address("refund", payment.pk), form)
    assert preview.status_code == 200
    left = payment.amount_minor - 1250
    for told in ("£12.50", f"£{left // 100}.{left % 100:02d} is left", "Refunded so far: £12.50", "duplicate"):
        assert told in preview.content.decode(), told
    assert refunded(book, payment) == []
    assert fields_in(preview)["form_key"] == form["form_key"]
    done = browser.post(address("refund", payment.pk), fields_in(preview))
    assert (done.status_code, done.headers["Location"]) == (303, f"/admin/payments/payment/{payment.pk}/change/")
    assert said(done) == "£12.50 has gone back."
    assert refunded(book, payment) == [1250]


def test_the_preview_is_the_very_mail_that_is_sent(book: Book, payment: Payment, mailoutbox: list[Any]) -> None:
    from orders.mail import send_due_mails

    browser = clerk("clara", MAY, "orders.see_personal_data")
    form = filled(browser, payment, "3.00")
    preview = words(browser.post(address("refund", payment.pk), form))
    confirm(browser, payment, form)
    Mail.objects.exclude(kind=Mail.Kind.REFUND).delete()
    send_due_mails()
    text = " ".join(mailoutbox[0].body.split("https")[0].split("http")[0].split())
    assert text in preview


def test_the_preview_masks_who_the_shopper_is(book: Book, payment: Payment) -> None:
    browser = clerk("clara", MAY)
    page = browser.post(address("refund", payment.pk), filled(browser, payment)).content.decode()
    assert payment.order.email not in page and payment.order.name not in page


def test_the_audit_row_says_who_from_where_before_and_after(book: Book, payment: Payment) -> None:
    browser = clerk("clara", MAY)
    confirm(browser, payment, filled(browser, payment, "1.00"))
    row = StaffAct.objects.get()
    assert (row.act, row.actor.username, row.actor_name) == ("refund", "clara", "clara")
    assert (row.address, row.agent, row.order_id) == ("127.0.0.1", "a browser", payment.order_id)
    assert row.note == "paid twice"
    assert row.before["refunds"] == {}
    assert list(row.after["refunds"].values()) == [["confirming", 100]]
    moved = PaymentEvent.objects.filter(order=payment.order_id, kind__in=["refund", "call:refund"])
    assert {event.actor for event in moved} == {"clara"}


def test_no_audit_row_no_refund(book: Book, payment: Payment) -> None:
    browser = clerk("clara", MAY)
    form = filled(browser, payment)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE shop_staffact ADD CONSTRAINT broken CHECK (act = '') NOT VALID")
    try:
        answer = confirm(browser, payment, form)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE shop_staffact DROP CONSTRAINT broken")
    assert answer.status_code == 503
    assert "could not be written down" in words(answer)
    assert not Refund.objects.exists() and refunded(book, payment) == []


def test_a_double_click_moves_the_money_once(book: Book, payment: Payment) -> None:
    browsers = [clerk("clara", MAY) for _ in range(2)]
    form = filled(browsers[0], payment, "2.00")
    answers = at_once(*(lambda browser=one: confirm(browser, payment, form) for one in browsers))
    assert [one.status_code for one in answers] == [303, 303]
    assert {one.headers["Location"] for one in answers} == {f"/admin/payments/payment/{payment.pk}/change/"}
    assert sorted("carried out before" in said(one) for one in answers) == [False, True]
    assert refunded(book, payment) == [200]
    assert StaffAct.objects.count() == 1


def test_reload_and_back_find_the_refund_done(book: Book, payment: Payment) -> None:
    browser = clerk("clara", MAY)
    form = filled(browser, payment, "2.00")
    confirm(browser, payment, form)
    for again in (
        confirm(browser, payment, form),  # reload
        browser.post(address("refund", payment.pk), form),  # Back to the form
        confirm(browser, payment, form | {"amount": "9.00"}),  # Back, and changed
        confirm(browser, payment, form | {"note": ""}),
    ):
        assert again.status_code == 303
        assert "carried out before: refund" in said(again) and "Nothing was done now" in said(again)
    assert refunded(book, payment) == [200]


def test_a_stale_form_does_nothing_says_what_has_changed_and_keeps_the_entries(book: Book, payment: Payment) -> None:
    clara, carl = clerk("clara", MAY), clerk("carl", MAY)
    form = filled(clara, payment, "2.00", note="as agreed on the phone")
    confirm(carl, payment, filled(carl, payment, "3.00"))
    for step in ("preview", "confirm"):
        answer = clara.post(address("refund", payment.pk), form | {"step": step})
        assert answer.status_code == 409
        assert "Nothing was done" in words(answer)
        assert "refunded £0.00" in words(answer) and "refunded £3.00" in words(answer)
        page = answer.content.decode()
        assert 'value="2.00"' in page and "as agreed on the phone" in page
    assert refunded(book, payment) == [300]
    fresh = fields_in(answer)
    assert fresh["form_key"] != form["form_key"] and fresh["version"] != form["version"]
    assert confirm(clara, payment, form | fresh).status_code == 303
    assert refunded(book, payment) == [300, 200]


@pytest.mark.parametrize("amount", ["all", "part"])
def test_two_clerks_at_one_moment_refund_once(book: Book, payment: Payment, amount: str) -> None:
    text = f"{payment.amount_minor / 100:.2f}" if amount == "all" else "1.00"
    clerks = [clerk(name, MAY) for name in ("clara", "carl")]
    forms = [filled(browser, payment, text) for browser in clerks]
    answers = at_once(
        *(lambda one=one, form=form: confirm(one, payment, form) for one, form in zip(clerks, forms, strict=True))
    )
    assert sorted(one.status_code for one in answers) == [303, 409]
    assert len(refunded(book, payment)) == 1
    assert StaffAct.objects.count() == 1


@pytest.mark.parametrize(
    ("amount", "told"),
    [
        ("999.00", "£999.00 is too much: "),
        ("£999,00", "is left to refund of this payment"),
        ("99999999999999", "is too much"),
        ("9" * 40, "it is too long"),
        ("0", "Nothing would go back"),
        ("€1.50", "You wrote EUR, and the amount is in GBP"),
        ("NaN", "That is not an amount"),
        ("1.505", "at most 2 places"),
        ("-1", "The amount is negative"),
        ("", "Write how much goes back"),
        ("1e3", "in figures"),
        ("٣", "in figures"),
    ],
)
def test_an_amount_that_cannot_be_is_refused_at_its_field(book: Book, payment: Payment, amount: str, told: str) -> None:
    browser = clerk("clara", MAY)
    form = filled(browser, payment, amount)
    for step in ("preview", "confirm"):
        answer = browser.post(address("refund", payment.pk), form | {"step": step})
        assert answer.status_code == 422
        page = answer.content.decode()
        assert told in page and 'href="#id_amount"' in page and "paid twice" in page
        assert fields_in(answer)["form_key"] == form["form_key"]
    assert book.calls(path=REFUND) == []
    assert not StaffAct.objects.exists()


@pytest.mark.parametrize("amount", ["1,50", "£1.50", "1.50 GBP", " 1,5 "])
def test_an_amount_is_understood_as_the_search_box_does_and_the_preview_says_all(
    book: Book, payment: Payment, amount: str
) -> None:
    browser = clerk("clara", MAY)
    preview = browser.post(address("refund", payment.pk), filled(browser, payment, amount))
    assert preview.status_code == 200 and "Refund £1.50?" in words(preview)
    assert "Reason, for Stripe Paid twice" in words(preview) and "Why, for us paid twice" in words(preview)
    assert said(browser.post(address("refund", payment.pk), fields_in(preview))) == "£1.50 has gone back."
    assert refunded(book, payment) == [150]


def test_a_reason_and_a_note_are_needed(book: Book, payment: Payment) -> None:
    browser = clerk("clara", MAY)
    answer = confirm(browser, payment, filled(browser, payment, reason="", note=" "))
    assert answer.status_code == 422
    assert "Choose a reason" in words(answer) and "Write down why" in words(answer)


def test_the_form_can_be_changed_after_the_preview(book: Book, payment: Payment) -> None:
    browser = clerk("clara", MAY)
    form = filled(browser, payment, "2.00")
    answer = browser.post(address("refund", payment.pk), form | {"step": "change"})
    assert answer.status_code == 200
    assert fields_in(answer)["form_key"] == form["form_key"]
    assert 'value="2.00"' in answer.content.decode()


def test_a_form_without_its_marks_does_nothing_and_comes_again_with_new_ones(book: Book, payment: Payment) -> None:
    browser = clerk("clara", MAY)
    for broken in ({"form_key": ""}, {"form_key": "!" * 20}, {"version": "x"}, {"form_key": "k" * 5000}):
        answer = confirm(browser, payment, filled(browser, payment) | broken)
        assert answer.status_code == 422
        assert "nothing was done" in words(answer)
        assert len(fields_in(answer)["form_key"]) == 32
    assert refunded(book, payment) == []


def test_an_unpaid_order_has_nothing_to_refund(book: Book) -> None:
    from tests.payments.paying import placed_order, press

    order, client = placed_order()
    press(client, order, token="pm_card_chargeDeclined")
    browser = clerk("clara", MAY)
    path = address("refund", payment_of(order).pk)
    page = browser.get(path)
    assert "Not paid: nothing to refund" in words(page) and "data-once" not in page.content.decode()
    assert browser.post(path, {"form_key": "k" * 32, "version": "0" * 32}).status_code == 409


def test_a_lost_answer_is_told_as_unknown(book: Book, payment: Payment) -> None:
    browser = clerk("clara", MAY)
    book.rule("reset", path=REFUND, when="after", times=10)
    answer = confirm(browser, payment, filled(browser, payment))
    assert "nobody knows" in said(answer) and "do not refund it again" in said(answer)


def test_without_the_permission_or_the_token_nothing_is_shown_and_nothing_done(book: Book, payment: Payment) -> None:
    path = address("refund", payment.pk)
    form = filled(clerk("clara", MAY), payment)
    for browser in (clerk("nobody"), clerk("clara", MAY, enforce_csrf_checks=True)):
        assert browser.post(path, form | {"step": "confirm"}).status_code == 403
    assert clerk("nobody").get(path).status_code == 403
    assert Client().get(path).status_code == 302
    assert clerk("clara", MAY).get(address("refund", "no-such-payment")).status_code == 404
    assert refunded(book, payment) == [] and not StaffAct.objects.exists()


# --- A second person ------------------------------------------------------------------------------------------------


@pytest.fixture
def two_persons(settings: Any) -> None:
    settings.REFUND_NEEDS_SECOND_PERSON_MINOR = 500


def proposed(browser: Client, payment: Payment, amount: str = "6.00") -> RefundProposal:
    answer = confirm(browser, payment, filled(browser, payment, amount))
    assert answer.status_code == 303, words(answer)
    return RefundProposal.objects.get(decision="")


def decide(browser: Client, proposal: RefundProposal, decision: str = "approve", **form: str) -> Any:
    path = address("decide-refund", proposal.pk)
    form = form or shown(browser, path)
    return browser.post(path, form | {"decision": decision, "note": "looked at"})


@pytest.mark.usefixtures("two_persons")
def test_above_the_threshold_it_is_proposed_and_a_second_person_approves_it(book: Book, payment: Payment) -> None:
    clara, carl = clerk("clara", MAY), clerk("carl", MAY)
    form = filled(clara, payment, "6.00")
    assert "Propose to refund £6.00" in words(clara.post(address("refund", payment.pk), form))
    assert "is proposed" in said(confirm(clara, payment, form))
    proposal = RefundProposal.objects.get()
    assert (proposal.amount_minor, proposal.note, proposal.proposed_by.username) == (600, "paid twice", "clara")
    assert refunded(book, payment) == []
    assert said(decide(carl, proposal)) == "£6.00 has gone back."
    assert refunded(book, payment) == [600]
    proposal.refresh_from_db()
    assert (proposal.decision, str(proposal.decided_by)) == ("approved", "carl")
    assert [(row.act, row.actor_name) for row in StaffAct.objects.order_by("pk")] == [
        ("propose refund", "clara"),
        ("approve refund", "carl"),
    ]
    made = Refund.objects.get()
    assert (str(made.actor), made.idempotency_key) == ("carl", proposal.refund_key)


@pytest.mark.usefixtures("two_persons")
def test_a_refusal_moves_nothing_and_another_proposal_may_follow(book: Book, payment: Payment) -> None:
    clara, carl = clerk("clara", MAY), clerk("carl", MAY)
    proposal = proposed(clara, payment)
    waiting = confirm(clara, payment, filled(clara, payment, "7.00"))
    assert (waiting.status_code, "Another proposal waits" in words(waiting)) == (409, True)
    neither = decide(carl, proposal, "")
    assert (neither.status_code, "Choose one" in words(neither)) == (422, True)
    assert said(decide(carl, proposal, "refuse")) == "Refused. Nothing went back."
    assert refunded(book, payment) == []
    assert proposed(clara, payment, "7.00").amount_minor == 700
    assert "It was refused already" in words(carl.get(address("decide-refund", proposal.pk)))


@pytest.mark.usefixtures("two_persons")
def test_who_proposed_never_approves_not_even_with_a_form_of_somebody_else(book: Book, payment: Payment) -> None:
    clara, carl = clerk("clara", MAY), clerk("carl", MAY)
    proposal = proposed(clara, payment)
    path = address("decide-refund", proposal.pk)
    own_page = clara.get(path)
    assert "a second person must approve it" in words(own_page) and 'value="approve"' not in own_page.content.decode()
    for browser in (carl, clara):
        answer = decide(clara, proposal, **shown(browser, path))
        assert (answer.status_code, "somebody else must approve it" in words(answer)) == (403, True)
    proposal.refresh_from_db()
    assert proposal.decision == "" and refunded(book, payment) == [] and not Refund.objects.exists()


@pytest.mark.usefixtures("two_persons")
def test_who_proposed_may_withdraw_it_and_propose_another(book: Book, payment: Payment) -> None:
    clara, carl = clerk("clara", MAY), clerk("carl", MAY)
    proposal = proposed(clara, payment)
    form_of_carl = shown(carl, address("decide-refund", proposal.pk))
    assert said(decide(clara, proposal, "refuse")) == "Withdrawn. Nothing went back."
    proposal.refresh_from_db()
    assert (proposal.decision, str(proposal.decided_by)) == ("refused", "clara")
    late = decide(carl, proposal, **form_of_carl)
    assert (late.status_code, refunded(book, payment)) == (409, [])
    assert "It was withdrawn already" in words(late)
    assert [row.act for row in StaffAct.objects.order_by("pk")] == ["propose refund", "withdraw refund"]
    assert proposed(clara, payment, "7.00").amount_minor == 700


@pytest.mark.usefixtures("two_persons")
def test_two_approvers_at_once_and_one_twice_move_the_money_once(book: Book, payment: Payment) -> None:
    clara, carl, cora = clerk("clara", MAY), clerk("carl", MAY), clerk("cora", MAY)
    proposal = proposed(clara, payment)
    forms = [shown(one, address("decide-refund", proposal.pk)) for one in (carl, cora)]
    answers = at_once(lambda: decide(carl, proposal, **forms[0]), lambda: decide(cora, proposal, **forms[1]))
    assert sorted(one.status_code for one in answers) == [303, 409]
    again = decide(carl, proposal, **forms[0])
    assert again.status_code in (303, 409)
    assert refunded(book, payment) == [600]
    assert StaffAct.objects.filter(act="approve refund").count() == 1


@pytest.mark.usefixtures("two_persons")
def test_a_large_refund_is_not_made_in_small_parts_by_one_person(book: Book, payment: Payment) -> None:
    clara = clerk("clara", MAY)
    confirm(clara, payment, filled(clara, payment, "5.00"))
    assert "is proposed" in said(confirm(clara, payment, filled(clara, payment, "0.01")))
    assert refunded(book, payment) == [500]


@pytest.mark.usefixtures("two_persons")
def test_the_api_does_not_go_round_the_second_person(book: Book, payment: Payment) -> None:
    body = {"amount": 600, "reason": "duplicate"}
    path = f"/api/payments/{payment.pk}/refunds/"
    headers = {"Idempotency-Key": "k-1"}
    answer: Any = clerk("clara", MAY).post(path, body, content_type="application/json", headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/forbidden")
    assert refunded(book, payment) == []


@pytest.mark.usefixtures("two_persons")
def test_a_proposal_that_no_longer_fits_is_not_carried_out(book: Book, payment: Payment) -> None:
    clara, carl = clerk("clara", MAY), clerk("carl", MAY)
    whole = f"{payment.amount_minor / 100:.2f}"
    proposal = proposed(clara, payment, whole)
    confirm(carl, payment, filled(carl, payment, "1.00"))
    answer = decide(carl, proposal)
    assert (answer.status_code, "left to refund" in words(answer)) == (409, True)
    assert refunded(book, payment) == [100]
    assert RefundProposal.objects.get().decision == ""


def test_a_whole_refund_from_the_desk_ends_the_order(book: Book, payment: Payment) -> None:
    browser = clerk("clara", MAY)
    confirm(browser, payment, filled(browser, payment, f"{payment.amount_minor / 100:.2f}"))
    assert Order.objects.get(pk=payment.order_id).status == "refunded"
    assert "All of it has gone back already" in words(browser.get(address("refund", payment.pk)))


# --- A fresh second factor ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["refund", "decide-refund", "refund-duplicate"])
def test_what_gives_money_back_needs_a_second_factor_of_the_last_ten_minutes(
    book: Book, payment: Payment, settings: Any, page: str
) -> None:
    carl = User.objects.create_user("carl", is_staff=True)
    proposal = payment.refund_proposals.create(
        amount_minor=600, currency="GBP", reason="duplicate", note="x", proposed_by=carl
    )
    found = Break.objects.create(kind="double_charge", subject="ch_2", order=payment.order, evidence={})
    subject = {"refund": payment.pk, "decide-refund": proposal.pk, "refund-duplicate": found.pk}[page]
    browser = clerk("clara", MAY)
    path = address(page, subject)
    form = {"form_key": "k" * 32, "version": "0" * 32, "decision": "approve"}
    settings.STAFF_SECOND_FACTOR = True
    user = User.objects.get(username="clara")
    device = TOTPDevice.objects.create(user=user, name="phone", confirmed=True)
    for age_seconds, asked in ((30, False), (601, True)):
        session = browser.session
        session["otp_device_id"] = device.persistent_id
        session["second_factor_at"] = time.time() - age_seconds
        session.save()
        for answer in (browser.get(path), browser.post(path, form)):
            leads = answer.headers.get("Location", "")
            assert ("second-factor" in leads and "next=%2Fadmin%2Fdesk%2F" in leads) is asked
    assert refunded(book, payment) == [] and not StaffAct.objects.exists()


@pytest.fixture
def clara(payment: Payment, settings: Any) -> Client:
    """Her second factor is asked for, and she shows a code whenever `shown_a_code` says so."""
    browser = clerk("clara", MAY)
    settings.STAFF_SECOND_FACTOR = True
    TOTPDevice.objects.create(user=User.objects.get(username="clara"), name="phone", confirmed=True)
    shown_a_code(browser)
    return browser


def shown_a_code(browser: Client, seconds_ago: float = 1) -> None:
    session = browser.session
    session["otp_device_id"] = TOTPDevice.objects.get().persistent_id
    session["second_factor_at"] = time.time() - seconds_ago
    session.save()


def sent_too_late(browser: Client, payment: Payment, form: dict[str, str]) -> None:
    """Sent with a second factor of more than ten minutes ago; then a code is shown."""
    shown_a_code(browser, seconds_ago=601)
    assert "second-factor" in confirm(browser, payment, form)["Location"]
    shown_a_code(browser)


WROTE = {"amount": "6.00", "reason": "duplicate", "note": "paid twice"}


def written(page: Any) -> dict[str, str | None]:
    return {name: page.context["form"].initial.get(name) for name in WROTE}


def test_what_was_written_before_a_code_was_asked_for_is_there_again_once(
    book: Book, payment: Payment, clara: Client
) -> None:
    path = address("refund", payment.pk)
    form = filled(clara, payment, **WROTE)
    sent_too_late(clara, payment, form)
    another = clara.get(address("refund", payment_of(paid_order()).pk))
    assert clara.head(path).status_code == 200
    again, reloaded = clara.get(path), clara.get(path)
    nothing = dict.fromkeys(WROTE)
    assert [written(page) for page in (another, again, reloaded)] == [nothing, WROTE, nothing]
    assert ["Here is what you wrote" in words(page) for page in (another, again, reloaded)] == [False, True, False]
    assert refunded(book, payment) == [] and not StaffAct.objects.exists()
    assert fields_in(again) == {name: entry for name, entry in form.items() if name not in WROTE}
    assert said(confirm(clara, payment, WROTE | fields_in(again))) == "£6.00 has gone back."


@pytest.mark.parametrize("lost", [False, True], ids=["carried out", "answer lost"])
def test_the_second_click_of_a_refund_is_known_also_after_a_code(
    book: Book, payment: Payment, clara: Client, lost: bool
) -> None:
    form = filled(clara, payment, **WROTE)
    if lost:
        book.rule("reset", path=REFUND, when="after", times=None)
    confirm(clara, payment, form)
    book.clear_rules()
    sent_too_late(clara, payment, form)
    answer = clara.get(address("refund", payment.pk))
    assert "This form was carried out before" in said(answer)
    assert refunded(book, payment) == [600] and StaffAct.objects.count() == 1


def test_what_changed_while_a_code_was_asked_for_is_told(book: Book, payment: Payment, clara: Client) -> None:
    form = filled(clara, payment, **WROTE)
    shown_a_code(clara, seconds_ago=601)
    confirm(clara, payment, form)
    carl = clerk("carl", MAY)
    session, hers = carl.session, clara.session
    device = TOTPDevice.objects.create(user=User.objects.get(username="carl"), name="phone", confirmed=True)
    session["otp_device_id"], session["second_factor_at"] = device.persistent_id, time.time()
    session.save()
    assert said(confirm(carl, payment, filled(carl, payment, **WROTE))) == "£6.00 has gone back."
    hers["second_factor_at"] = time.time()
    hers.save()
    told = clara.get(address("refund", payment.pk))
    assert (told.status_code, "Nothing was done" in words(told)) == (409, True)
    assert "£6.00" in words(told) and told.context["form"]["amount"].value() == "6.00"
    assert refunded(book, payment) == [600]


@pytest.mark.parametrize("meanwhile", ["sent again", "eleven minutes", "far too much"])
def test_what_was_kept_goes(book: Book, payment: Payment, clara: Client, meanwhile: str) -> None:
    path = address("refund", payment.pk)
    form = filled(clara, payment, **WROTE)
    sent_too_late(clara, payment, form | ({"more": "x" * 60_000} if meanwhile == "far too much" else {}))
    if meanwhile == "sent again":
        assert confirm(clara, payment, form | {"amount": "nothing"}).status_code == 422
    if meanwhile == "eleven minutes":
        session = clara.session
        session["second_factor_entries"] |= {"at": time.time() - 660}
        session.save()
    assert written(clara.get(path)) == dict.fromkeys(WROTE)
