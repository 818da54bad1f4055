"""The dashboard: alarms first, every panel says when it was last checked, and the charts come with their numbers."""

import datetime
import re
import threading
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from orders.models import Mail, Order
from payments import accounts
from payments.backoffice.dashboard.charts import HEIGHT, WIDTH, Chart, draw
from payments.backoffice.dashboard.figures import DAYS, Figure, Series, read_figures
from payments.gateways.circuit_breaker import note_answer
from payments.models import (
    Attempt,
    Break,
    Dispute,
    DuplicatesStopped,
    Heartbeat,
    KeyAccount,
    Payment,
    PaymentEvent,
    Refund,
    RefundProposal,
    WebhookEvent,
)
from payments.monitoring.alarms import ALARMS
from payments.monitoring.heartbeats import beat
from shop.ids import new_id
from tests.orders.making import make_attempt, make_order, minutes_ago
from tests.payments.planting import refund_row

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _first_heartbeats() -> None:
    """As the migration leaves them: no round has completed yet."""
    Heartbeat.objects.all().delete()
    for name in Heartbeat.Name.values:
        Heartbeat.objects.create(name=name, beat_at=timezone.now())


@pytest.fixture
def staff() -> Client:
    return staff_with("payments.view_payment")


def staff_with(*permissions: str) -> Client:
    user = User.objects.create_user("clara", password="a long password", is_staff=True)
    for one in permissions:
        label, codename = one.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=label, codename=codename))
    client = Client()
    client.force_login(user)
    return client


def shown(client: Client) -> str:
    page = client.get(reverse("desk:dashboard"))
    assert page.status_code == 200
    return page.content.decode()


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def rings(client: Client) -> list[str]:
    section = re.search(r'<section class="board-alarms.*?</section>', shown(client), re.DOTALL)
    assert section is not None
    return re.findall(r"/runbook/([a-z-]+)/", section[0])


def unknown_for(minutes: float, outcome: str = "unknown") -> Attempt:
    return make_attempt(make_order(), outcome, claimed_at=minutes_ago(minutes), pressed_at=minutes_ago(minutes))


def paid(order: Order | None = None) -> Payment:
    attempt = make_attempt(order or make_order(), "succeeded")
    payment = attempt.payment
    Payment.objects.filter(pk=payment.pk).update(phase="succeeded", captured_minor=payment.amount_minor)
    payment.refresh_from_db()
    return payment


def refund_of(payment: Payment, **fields: Any) -> Refund:
    defaults: dict[str, Any] = {
        "idempotency_key": new_id(),
        "fingerprint": "x",
        "amount_minor": 100,
        "currency": payment.currency,
        "reason": "duplicate",
        "phase": "confirming",
    }
    created = fields.pop("created_at", None)
    refund = refund_row(payment=payment, **defaults | fields)
    if created:
        Refund.objects.filter(pk=refund.pk).update(created_at=created)
    return refund


def stored_event(minutes: float, **fields: Any) -> WebhookEvent:
    moment = minutes_ago(minutes)
    defaults = {"event_id": f"evt_{new_id()}", "type": "charge.succeeded"}
    event = WebhookEvent.objects.create(created_at_gateway=moment, next_try_at=moment, **defaults | fields)
    WebhookEvent.objects.filter(pk=event.pk).update(received_at=moment)
    return event


# --- who may see it ---------------------------------------------------------------------------------------------------


def test_only_staff_who_may_see_payments_open_it() -> None:
    address = reverse("desk:dashboard")
    assert Client().get(address).status_code == 302
    assert staff_with("orders.view_order").get(address).status_code == 403


def test_the_admins_first_page_leads_to_it_for_those_who_may_see_it(staff: Client) -> None:
    assert f'href="{reverse("desk:dashboard")}"' in staff.get("/admin/").content.decode()
    User.objects.get().user_permissions.clear()
    assert reverse("desk:dashboard") not in staff.get("/admin/").content.decode()


# --- empty states -----------------------------------------------------------------------------------------------------


def test_an_empty_shop_is_quiet_and_says_that_nothing_was_checked_yet(staff: Client) -> None:
    text = words(shown(staff))
    assert rings(staff) == []
    for said in (
        "All quiet No alarm rings. Undecided payments were never looked at yet",
        "Nothing is undecided. The completer last ran: never yet.",
        "No open breaks. Last full check: never yet. Last check of two hours: never yet.",
        "No proposal waits for a second person.",
        "Every refund is settled. The completer last ran: never yet.",
        "No dispute is open.",
        "No mail is stuck. No mail is in doubt. No mail is late. Read from the rows at",
        "No event waits or is parked. Events were last read: never yet.",
        "no press was unknown",
        "no press: each older one is decided",
    ):
        assert said in text
    assert text.count("Nothing in these 14 days.") == 2 * 3


def test_an_empty_panel_says_when_it_was_last_checked(staff: Client) -> None:
    for name in Heartbeat.Name:
        beat(name)
    at = f"{Heartbeat.objects.get(name='long_sweep').beat_at:%Y-%m-%d %H:%M:%S} UTC"
    text = words(shown(staff))
    assert f"No open breaks. Last full check: {at}" in text
    assert "never yet" not in text


# --- alarms -----------------------------------------------------------------------------------------------------------


def test_every_alarm_rings_on_its_own(staff: Client, settings: Any) -> None:
    """What makes each ring, and that nothing else rings with it."""
    long_ago = timezone.now() - settings.KEY_RETENTION - datetime.timedelta(hours=1)
    plants: dict[str, Any] = {
        "oldest-undecided": lambda: unknown_for(16),
        "webhook-lag": lambda: stored_event(16),
        "refund-failed": lambda: found("status", evidence={"found_by": "refund"}),
        "refund-undecided": lambda: refund_of(paid(), created_at=minutes_ago(16)),
        "mail-stuck": lambda: mail("stuck"),
        "mail-late": lambda: mail("due", due_at=minutes_ago(16)),
        "kept-too-long": lambda: make_attempt(make_order(), "requires_action", claimed_at=long_ago),
        "dispute": lambda: dispute_due_in(days=2),
        "breaker-open": lambda: stripe_is_silent(settings.BREAKER_FAILURES),
        "other-account": open_at_another_account,
    }
    plants |= {f"open-break-{kind.replace('_', '-')}": lambda kind=kind: found(kind) for kind in Break.Kind.values}
    plants |= {f"{name.replace('_', '-')}-stopped": lambda name=name: stop(name) for name in Heartbeat.Name.values}
    assert set(plants) == set(ALARMS)
    assert rings(staff) == []
    for name, plant in plants.items():
        plant()
        assert rings(staff) == [name]
        calm()


def open_at_another_account() -> None:
    make_attempt(make_order(), "declined")
    Payment.objects.filter(phase="open").update(account="acct_other:test")
    KeyAccount.objects.create(
        key_digest=accounts._digest(), account_id="acct_ours", livemode=False, seen_at=timezone.now()
    )


def found(kind: str, **fields: Any) -> Break:
    return Break.objects.create(kind=kind, subject=new_id(), **fields)


def dispute_due_in(**time: float) -> Dispute:
    due_at = timezone.now() + datetime.timedelta(**time) if time else None
    return Dispute.objects.create(
        payment=paid(),
        dispute_id=new_id(),
        amount_minor=1,
        currency="GBP",
        status="needs_response",
        opened_at=minutes_ago(5),
        due_at=due_at,
    )


def test_a_dispute_rings_once_its_last_day_is_near_or_not_known_and_until_it_is_answered(staff: Client) -> None:
    dispute = dispute_due_in(days=5)
    assert rings(staff) == []
    assert "1 dispute to answer, the first by" in words(shown(staff))
    for due_at in (None, timezone.now() - datetime.timedelta(hours=1)):
        Dispute.objects.filter(pk=dispute.pk).update(due_at=due_at)
        assert rings(staff) == ["dispute"]
    Dispute.objects.filter(pk=dispute.pk).update(status="under_review")
    assert rings(staff) == []
    assert "to answer" not in words(shown(staff))


def mail(state: str, **fields: Any) -> Mail:
    defaults = {"kind": "receipt", "due_at": minutes_ago(1)}
    return Mail.objects.create(order=make_order(), state=state, **defaults | fields)


def test_a_mail_in_doubt_rings_only_when_nobody_sends_it_once_more(staff: Client) -> None:
    mail("sending", sending_at=minutes_ago(44))
    assert rings(staff) == []
    assert "In doubt, and sent once more by itself: 1 receipt of" in words(shown(staff))
    Mail.objects.update(sending_at=minutes_ago(46))
    assert rings(staff) == ["mail-late"]


def test_of_a_stuck_mail_the_dashboard_says_whether_it_went_out_and_why_it_is_stuck(staff: Client) -> None:
    mail("stuck", refusals=10, last_refusal="SMTPRecipientsRefused 550")
    assert "it did not go out, SMTPRecipientsRefused 550" in words(shown(staff))
    Mail.objects.update(sending_at=minutes_ago(40), last_refusal="TimeoutError", doubts=3)
    assert "it may have gone out, TimeoutError" in words(shown(staff))


def stripe_is_silent(presses: int) -> None:
    for _ in range(presses):
        note_answer(answered=False)


def stop(name: str) -> None:
    Heartbeat.objects.filter(name=name).update(beat_at=timezone.now() - datetime.timedelta(hours=40))


def calm() -> None:
    note_answer(answered=True)
    for model in (Break, WebhookEvent, Refund, Mail, Dispute):
        model.objects.all().delete() if model is not Refund else model.objects.update(
            phase="finished", outcome="failed"
        )
    Attempt.objects.exclude(phase="finished").update(phase="finished", outcome="canceled")
    Heartbeat.objects.update(beat_at=timezone.now())
    KeyAccount.objects.all().delete()


def test_the_most_urgent_alarm_comes_first(staff: Client) -> None:
    unknown_for(16)
    stop("events")
    found("amount", amount_minor=1)
    found("double_charge", amount_minor=1)
    expected = ["open-break-double-charge", "open-break-amount", "oldest-undecided", "events-stopped"]
    assert rings(staff) == expected
    assert staff.get("/healthz/payments").json()["runbook"] == expected


# --- panels -----------------------------------------------------------------------------------------------------------


def test_undecided_payments_stand_oldest_first_and_lead_to_their_page(staff: Client) -> None:
    young, old = unknown_for(3), unknown_for(125)
    pressed_now = unknown_for(0.5, "")
    html = shown(staff)
    links = re.findall(r"/admin/payments/payment/([^/]+)/change/", html)
    assert links == [quote(old.payment_id), quote(young.payment_id)]
    assert "2 h 5 min ago" in words(html)
    assert pressed_now.order.number not in html


def test_an_order_that_is_being_given_up_for_long_is_shown(staff: Client) -> None:
    order = make_order(closing_since=minutes_ago(3), closing_reason="cancel", closing_by="shopper")
    assert order.number in shown(staff)
    Order.objects.filter(pk=order.pk).update(closing_since=minutes_ago(1))
    assert order.number not in shown(staff)


def test_a_break_shows_owner_amount_proposal_and_its_page_of_the_runbook(staff: Client) -> None:
    payment = paid()
    found(
        "double_charge",
        payment=payment,
        order=payment.order,
        amount_minor=1250,
        currency="GBP",
        owner=User.objects.get(),
        evidence={"proposal": "Give it back."},
    )
    found("status", amount_minor=5000, currency="jpy", evidence={"found_by": "late money"})
    text = words(html := shown(staff))
    assert "£12.50" in text and "clara" in text and "Give it back." in text
    assert "5,000 minor units jpy" in text and "nobody yet" in text  # what Stripe's book says, we may not sell in
    assert reverse("desk:runbook-page", args=["open-break-double-charge"]) in html
    assert reverse("desk:runbook-page", args=["late-payment"]) in html


def test_sums_of_breaks_are_per_currency(staff: Client) -> None:
    for currency, amount in (("GBP", 100), ("GBP", 250), ("JPY", 700)):
        found("amount", amount_minor=amount, currency=currency)
    text = words(shown(staff))
    assert (
        "2 Stripe has another amount than we have, £3.50" in text
        and "1 Stripe has another amount than we have, ¥700" in text
    )


def test_a_parked_event_says_why(staff: Client) -> None:
    stored_event(5, tries=2, note="the order is busy")
    text = words(shown(staff))
    assert "parked after 2 tries the order is busy" in text
    assert "The oldest has waited for 5 min" in text


def test_refunds_proposals_and_disputes_are_listed(staff: Client) -> None:
    payment = paid()
    refund_of(payment, outcome="pending")
    refund_of(payment, phase="finished", outcome="failed", finished_at=minutes_ago(5), amount_minor=300)
    RefundProposal.objects.create(
        payment=payment, amount_minor=200, currency="GBP", reason="duplicate", note="", proposed_by=User.objects.get()
    )
    Dispute.objects.create(
        payment=payment,
        dispute_id="dp_1",
        amount_minor=400,
        currency="GBP",
        status="needs_response",
        reason="unrecognized",
        opened_at=minutes_ago(60),
        due_at=datetime.datetime(2026, 12, 1, 12, 30, tzinfo=datetime.UTC),
    )
    text = words(shown(staff))
    for said in (
        f"£1.00 of {payment.order.number} , pending",
        f"£3.00 of {payment.order.number} , failed 5 min ago",
        f"£2.00 of {payment.order.number} , proposed by clara",
        f"£4.00 of {payment.order.number} : the bank waits for our answer.",
        "Act: answer in Stripe by 2026-12-01 12:30 UTC (finance). The shopper does not recognise it, opened 1 h ago",
    ):
        assert said in text


def test_a_long_list_is_cut_and_says_so(staff: Client) -> None:
    Break.objects.bulk_create(Break(kind="amount", subject=f"pi_{n}") for n in range(1100))
    with CaptureQueriesContext(connection) as queries:
        html = shown(staff)
    assert [query["sql"] for query in queries if "LIMIT 21" in query["sql"] and '"payments_break"' in query["sql"]]
    assert "The oldest 20 of 1,000 or more." in words(html)
    assert html.count('class="desk-key"') == 20


def test_the_number_of_queries_does_not_grow_with_the_rows(staff: Client) -> None:
    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            shown(staff)
        return len(queries)

    empty = asked()
    payment = paid()
    for n in range(3):
        unknown_for(20 + n)
        stored_event(20)
        found("amount", payment=payment, order=payment.order, owner=User.objects.get())
        mail("sending", sending_at=minutes_ago(5))
        mail("stuck", refusals=10, last_refusal="SMTPRecipientsRefused 550")
        mail("due", due_at=minutes_ago(50))
        refund_of(payment)
        refund_of(payment, phase="finished", outcome="failed", finished_at=minutes_ago(5))
        Dispute.objects.create(
            payment=payment,
            dispute_id=f"dp_{n}",
            amount_minor=1,
            currency="GBP",
            status="under_review",
            opened_at=minutes_ago(5),
        )
    assert asked() == empty == QUERIES


QUERIES = 28


# --- charts -----------------------------------------------------------------------------------------------------------


def figure(*values: float | None, is_seconds: bool = False) -> Figure:
    labels = [f"2026-11-{day:02}" for day in range(1, len(values) + 1)]
    return Figure("x", "X", "About x.", "Day", labels, [Series("one", "first", list(values))], is_seconds=is_seconds)


def test_a_chart_without_numbers_says_so_and_draws_no_shape() -> None:
    drawn = draw(figure(0, 0, 0))
    assert (drawn.bars, drawn.dots, drawn.lines, drawn.ticks) == ([], [], [], [])
    assert len(drawn.labels) == 3


def test_a_chart_of_one_point_has_one_dot_and_no_line() -> None:
    drawn = draw(figure(None, 90.0, None, is_seconds=True))
    assert [dot.title for dot in drawn.dots] == ["2026-11-02, one: 1 min 30 s"]
    assert drawn.lines == []
    assert within(drawn)


def test_a_day_without_a_value_is_a_gap_and_not_a_zero() -> None:
    drawn = draw(figure(5.0, 6.0, None, 7.0, 8.0, is_seconds=True))
    assert [len(line.points.split()) for line in drawn.lines] == [2, 2]


@pytest.mark.parametrize("highest", [1, 2, 3, 7, 10, 11, 99, 101, 12345, 10**7])
def test_bars_and_ticks_stay_inside_whatever_the_numbers(highest: int) -> None:
    drawn = draw(figure(0, highest, 1))
    assert within(drawn)
    values = [int(tick.text.replace(",", "")) for tick in drawn.ticks]
    assert values[0] == 0 and values[-1] >= highest and 2 <= len(values) <= 6
    assert max(bar.height for bar in drawn.bars) >= HEIGHT / 4


@pytest.mark.parametrize("seconds", [0.2, 3, 61, 700, 9000, 400_000, 2_600_000])
def test_lengths_of_time_have_round_ticks(seconds: float) -> None:
    drawn = draw(figure(seconds, is_seconds=True))
    assert within(drawn) and 2 <= len(drawn.ticks) <= 6
    assert len({tick.text for tick in drawn.ticks}) == len(drawn.ticks)


def within(drawn: Chart) -> bool:
    heights = [(bar.y, bar.y + bar.height) for bar in drawn.bars] + [(dot.y, dot.y) for dot in drawn.dots]
    widths = [(bar.x, bar.x + bar.width) for bar in drawn.bars] + [(dot.x, dot.x) for dot in drawn.dots]
    ticks = [tick.at for tick in drawn.ticks]
    return (
        all(0 <= top <= bottom <= HEIGHT for top, bottom in heights)
        and all(0 <= left <= right <= WIDTH for left, right in widths)
        and all(0 <= at <= HEIGHT for at in ticks)
    )


def test_figures_count_what_the_rows_say() -> None:
    for outcome, reason in (("succeeded", ""), ("declined", "declined"), ("declined", "expired-card"), ("unknown", "")):
        make_attempt(make_order(), outcome, reason=reason)
    old = make_attempt(make_order(), "succeeded")
    Attempt.objects.filter(pk=old.pk).update(pressed_at=timezone.now() - datetime.timedelta(days=DAYS))
    today, order = timezone.now().date(), make_order()
    for layer, day, count in ((2, 0, 5), (4, 0, 1), (2, 1, 7), (2, DAYS, 100)):
        moment = timezone.now()
        DuplicatesStopped.objects.create(
            order=order,
            layer=layer,
            day=today - datetime.timedelta(days=day),
            count=count,
            first_at=moment,
            last_at=moment,
        )
    figures = read_figures()
    attempts = figures.named("attempts")
    assert attempts.header == ["Day", "succeeded", "declined", "unknown"]
    assert attempts.rows[-1] == [today.isoformat(), 1, 2, 1]
    assert len(attempts.rows) == DAYS
    assert {value for row in attempts.rows[:-1] for value in row[1:]} == {0}
    assert dict(figures.declines) == {"declined": 1, "expired-card": 1}
    assert [row[1:] for row in figures.named("duplicates").rows[-2:]] == [[7, 0, 0, 0], [5, 0, 1, 0]]
    assert dict(figures.duplicates)["2 idempotency key"] == 12
    assert figures.named("undecided").rows[0] == ["< 1 min", 1]


def test_time_to_truth_is_of_those_that_were_unknown() -> None:
    for seconds in (10, 20, 30, 3600):
        decided(seconds, was_unknown=True)
    decided(1, was_unknown=False)
    figures = read_figures()
    assert figures.settled == 4
    assert figures.median == datetime.timedelta(seconds=25)
    assert figures.slowest is not None and figures.slowest > datetime.timedelta(minutes=50)
    last = figures.named("time-to-truth").rows[-1]
    assert last[1] == 25.0


def decided(seconds: float, *, was_unknown: bool) -> None:
    now = timezone.now()
    attempt = make_attempt(
        make_order(), "succeeded", claimed_at=now - datetime.timedelta(seconds=seconds), finished_at=now
    )
    if was_unknown:
        for _ in range(2):  # twice unknown is still one press
            PaymentEvent.objects.create(
                order=attempt.order,
                payment=attempt.payment,
                attempt=attempt,
                kind="settled",
                from_state="confirming",
                to_state="unknown",
                asked_by="shopper",
            )


class Svg(HTMLParser):
    """What the drawings of a page are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.images = self.titles = self.styled = 0
        self._open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.styled += "style" in attributes
        self.images += tag == "svg" and attributes.get("role") == "img" and "aria-labelledby" in attributes
        self.titles += tag == "desc"


def test_every_chart_has_a_title_a_description_and_its_table_and_nothing_inline(staff: Client) -> None:
    unknown_for(3)
    html = shown(staff)
    page = Svg()
    page.feed(html)
    assert (page.images, page.titles, page.styled) == (5, 5, 0)
    assert html.count("<summary>The numbers") == 5
    assert "<script>" not in html


def test_alarms_are_shown_even_where_the_charts_cannot_be_counted(staff: Client) -> None:
    found("double_charge")
    held, released = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK payments_duplicatesstopped IN ACCESS EXCLUSIVE MODE")
            held.set()
            released.wait(30)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(30)
    try:
        html = shown(staff)
    finally:
        released.set()
        holder.join()
    assert "An order was charged twice" in html
    assert "Counting took too long" in html and "<polyline" not in html and 'role="img"' not in html


# --- plans ------------------------------------------------------------------------------------------------------------


def test_no_query_of_the_dashboard_walks_a_big_table(staff: Client) -> None:
    """With an index forced where there is one, no plan may still read one of the tables that grow."""
    paid()
    with CaptureQueriesContext(connection) as queries:
        shown(staff)
    growing = (
        "payments_attempt",
        "payments_paymentevent",
        "payments_webhookevent",
        "payments_refund ",
        "orders_mail",
        "payments_duplicatesstopped",
        "orders_order",
        "payments_payment ",
    )
    walked = []
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        for query in queries:
            if not query["sql"].startswith("SELECT"):
                continue
            cursor.execute(f"EXPLAIN {query['sql']}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            walked += [f"{table}: {query['sql']}" for table in growing if f"Seq Scan on {table}" in f"{plan} "]
        cursor.execute("RESET enable_seqscan")
    assert walked == []
