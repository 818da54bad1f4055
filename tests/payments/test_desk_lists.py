"""The lists of breaks, stored events and proposals: what is open, why, and the way to what can be done."""

import datetime
import re

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from payments.models import Break, RefundProposal, WebhookEvent
from tests.book import Book
from tests.payments.paying import intent_of
from tests.payments.planting import paid_order, payment_of
from tests.payments.staff import words

pytestmark = pytest.mark.django_db(transaction=True)

INBOX, BREAKS, PROPOSALS = (f"/admin/payments/{name}/" for name in ("webhookevent", "break", "refundproposal"))


@pytest.fixture
def boss() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("boss", "boss@example.com", "a long password"))
    return client


def stored(event_id: str, **fields: object) -> WebhookEvent:
    defaults: dict[str, object] = {
        "event_id": event_id,
        "type": "payment_intent.succeeded",
        "intent_id": f"pi_{event_id}",
        "created_at_gateway": timezone.now(),
        "next_try_at": timezone.now(),
    }
    return WebhookEvent.objects.create(**defaults | fields)


def test_the_inbox_says_why_an_event_is_parked_and_leads_to_its_replay(book: Book, boss: Client) -> None:
    order = paid_order()
    event = stored("evt_1", tries=3, note="the order is busy", intent_id=intent_of(order))
    stored("evt_2", state="foreign", note="another mode")
    stored("evt_3")
    page = boss.get(INBOX)
    for told in ("parked after 3 tries: the order is busy", "another mode", "waits for its first try"):
        assert told in words(page)
    assert f'href="/admin/desk/webhooks/{event.event_id}/replay/"' in page.content.decode()
    assert f'href="/admin/payments/payment/{payment_of(order).pk}/change/"' in page.content.decode()


@pytest.mark.parametrize("what", ["number", "intent", "event"])
def test_an_event_is_found(book: Book, boss: Client, what: str) -> None:
    order = paid_order()
    event = stored("evt_1", intent_id=intent_of(order))
    stored("evt_2")
    term = {"number": order.number.lower(), "intent": event.intent_id, "event": event.event_id}[what]
    page = words(boss.get(INBOX, {"q": term}))
    assert "evt_1" in page and "evt_2" not in page


def test_what_others_wrote_into_an_events_metadata_is_not_shown(book: Book, boss: Client) -> None:
    event = stored("evt_1", metadata={"order": "an-order", "env": "dev", "customer_email": "ada@example.com"})
    page = boss.get(f"{INBOX}{event.pk}/change/")
    assert "order: an-order" in words(page) and "customer_email: …" in words(page)
    assert "ada@example.com" not in page.content.decode()


def test_the_inbox_asks_as_little_for_many_events_as_for_few(
    book: Book, boss: Client, django_assert_max_num_queries: object
) -> None:
    for number in range(20):
        stored(f"evt_{number}")
    with django_assert_max_num_queries(12):  # type: ignore[operator]
        assert boss.get(INBOX).status_code == 200


def test_a_break_is_shown_with_its_age_owner_runbook_and_acts(book: Book, boss: Client) -> None:
    order = paid_order()
    found = Break.objects.create(
        kind="double_charge",
        subject="ch_2",
        order=order,
        payment=payment_of(order),
        amount_minor=1250,
        currency="GBP",
        owner=User.objects.get(username="boss"),
        evidence={"proposal": "give it back"},
    )
    Break.objects.update(found_at=timezone.now() - datetime.timedelta(hours=3))
    for page in (boss.get(BREAKS), boss.get(f"{BREAKS}{found.pk}/change/")):
        assert page.status_code == 200
        for told in ("£12.50", "boss"):
            assert told in words(page)
        for act in ("refund", "take", "resolve"):
            assert f'href="/admin/desk/breaks/{found.pk}/{act}/"' in page.content.decode()
        assert 'href="/admin/desk/runbook/' in page.content.decode()
    assert "ch_2" in words(page) and "give it back" in words(page)
    assert "3\xa0hours" in boss.get(BREAKS).content.decode()
    Break.objects.update(resolved_at=timezone.now())
    assert "/resolve/" not in boss.get(BREAKS).content.decode()


def test_the_ways_to_acts_are_links_only_for_who_may_press_them(book: Book) -> None:
    order = paid_order()
    found = Break.objects.create(kind="double_charge", subject="ch_2", order=order, evidence={"a": {"b_c": 1}})
    stored("evt_1", tries=3)
    proposer = User.objects.create_user("proposer", is_staff=True)
    RefundProposal.objects.create(
        payment=payment_of(order), amount_minor=6, currency="GBP", reason="duplicate", note="x", proposed_by=proposer
    )
    pages = (BREAKS, f"{BREAKS}{found.pk}/change/", INBOX, f"{INBOX}evt_1/change/", PROPOSALS)
    links = {group: _act_links(group, pages) for group in ("clerk", "finance", "on-call")}
    assert links == {"clerk": set(), "finance": {"refund", "take", "resolve", "decide"}, "on-call": ON_CALL}
    client = _one_of("clerk")
    for page in pages[:2]:
        told = words(client.get(page))
        assert "Give the second charge back: finance does this" in told
        assert "Take this break on: finance or on-call does this" in told
    assert "Replay: on-call does this" in words(client.get(INBOX))
    assert "a: b c 1" in words(client.get(pages[1])) and "Back to the list" in words(client.get(pages[1]))
    assert ">Close<" not in client.get(pages[1]).content.decode()


ON_CALL = {"take", "resolve", "replay"}
_ACTS = {
    "refund": r"/breaks/\d+/refund/",
    "take": "/take/",
    "resolve": "/resolve/",
    "replay": "/replay/",
    "decide": "/refund-proposals/",
}


def _one_of(group: str) -> Client:
    client, (user, _) = Client(), User.objects.get_or_create(username=f"a {group}", defaults={"is_staff": True})
    user.groups.set(Group.objects.filter(name=group))
    client.force_login(user)
    return client


def _act_links(group: str, pages: tuple[str, ...]) -> set[str]:
    """Names of the acts that these pages link; each of them opens for whoever sees it."""
    client = _one_of(group)
    html = "".join(client.get(page).content.decode() for page in pages)
    linked = set(re.findall(r'href="(/admin/desk/(?:breaks|webhooks|refund-proposals)/[^"]+)"', html))
    assert {path: client.get(path).status_code for path in linked} == dict.fromkeys(linked, 200)
    return {name for name, part in _ACTS.items() if any(re.search(part, one) for one in linked)}


def test_nothing_here_and_not_allowed_are_told_within_the_admin(book: Book) -> None:
    clerk = _one_of("clerk")
    for path, code, told in (
        ("/admin/desk/no-such-page/", 404, "There is nothing at this address"),
        ("/admin/desk/breaks/404/take/", 403, "Finance or on-call does this: ask them to open this address."),
        ("/admin/desk/ask/day/", 403, "On-call does this"),
    ):
        answer = clerk.get(path)
        assert answer.status_code == code and told in words(answer)
        assert 'id="user-tools"' in answer.content.decode() and "To the shop" not in words(answer)
    assert "To the shop" in words(Client().get("/admin-no-such-page/"))


def test_proposals_are_listed_and_nobody_edits_them(book: Book, boss: Client) -> None:
    user = User.objects.get(username="boss")
    proposal = RefundProposal.objects.create(
        payment=payment_of(paid_order()),
        amount_minor=600,
        currency="GBP",
        reason="duplicate",
        note="x",
        proposed_by=user,
    )
    page = boss.get(PROPOSALS)
    assert "£6.00" in words(page) and f'href="/admin/desk/refund-proposals/{proposal.pk}/"' in page.content.decode()
    assert boss.post(f"{PROPOSALS}{proposal.pk}/change/", {"amount_minor": 1}).status_code == 403
    assert boss.get(f"{PROPOSALS}add/").status_code == 403
    assert boss.post(f"{PROPOSALS}{proposal.pk}/delete/", {"post": "yes"}).status_code == 403


def test_a_selection_of_payments_leads_to_the_question_about_them(book: Book, boss: Client) -> None:
    orders = [paid_order(), paid_order()]
    chosen = [payment_of(one).pk for one in orders]
    answer = boss.post("/admin/payments/payment/", {"action": "ask_stripe_now", "_selected_action": chosen})
    assert answer.status_code == 302
    assert "2 orders to ask about" in words(boss.get(answer.headers["Location"]))
