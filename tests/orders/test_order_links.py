"""Links in mails: a token in the mail only, a button, a grant of one order, and no more than that (SECURITY SE5)."""

import hashlib
import re
import smtplib
import threading
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core import mail as outbox
from django.db import connection, transaction
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from orders.ends import end_unpaid, mark_paid, owe_mail
from orders.mail import send_due_mails
from orders.mail_links import link_of, new_link, revoke_links
from orders.models import Mail, Order, OrderLink, WrongLink
from orders.ownership import Shopper
from orders.sessions import whole_session
from payments.models import Attempt
from shop.models import StaffAct
from tests.orders.making import guest_client, make_attempt, make_guest, make_order, minutes_ago
from tests.payments.paying import press as pay

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def order():
    return make_order(shopper=make_guest())


def token_for(order: Order) -> str:
    _, address = new_link(order)
    return address.rstrip("/").rpartition("/")[2]


def press(client: Client, token: str, **extra):
    """The button of the link's page."""
    return client.post("/orders/link/", {"token": token}, **extra)


def holder_of(order: Order) -> Client:
    """Another device, with no cookies, that came by the link."""
    client = Client(headers={"Accept": "application/json"})
    assert press(client, token_for(order)).status_code == 303
    return client


def page_of(client: Client, order: Order) -> str:
    response = client.get(f"/orders/{order.pk}/")
    assert response.status_code == 200
    return str(response.content.decode())


def rows() -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the database."""
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        found = {}
        for table in tables:
            cursor.execute(f'SELECT * FROM "{table}"')
            found[table] = sorted(cursor.fetchall(), key=repr)
    return found


# --- The token ------------------------------------------------------------------------------------------------------


def test_a_mail_carries_a_new_token_that_the_database_has_only_as_a_hash(order):
    Order.objects.update(status="paid", paid_at=timezone.now())
    owe_mail(order, Mail.Kind.RECEIPT, timezone.now())
    owe_mail(order, Mail.Kind.LATE_MONEY, timezone.now())
    make_attempt(order, "succeeded")
    order.payments.update(captured_minor=order.total_minor, phase="succeeded")

    assert send_due_mails() == 2

    tokens = set()
    for message in outbox.outbox:
        assert isinstance(message, outbox.EmailMultiAlternatives)
        found = set(re.findall(r"/orders/link/([A-Za-z0-9_-]+)/", f"{message.body} {message.alternatives[0][0]!s}"))
        assert len(found) == 1
        tokens |= found
    assert len(tokens) == 2
    assert all(len(token) == 32 for token in tokens)  # 192 random bits
    everything = repr(rows())
    for token in tokens:
        assert token not in everything
        assert hashlib.sha256(token.encode()).hexdigest() in everything
        link = link_of(token)
        assert link is not None and link.order == order
    life = OrderLink.objects.latest("made_at").expires_at - timezone.now()
    assert 29.9 < life.total_seconds() / 86400 <= 30


def test_the_link_is_committed_before_the_mail_server_hears_of_it(order, monkeypatch):
    seen = []

    def sending(self, messages):
        with connection.cursor() as cursor:  # not in a transaction, so what it sees is committed
            assert not connection.in_atomic_block
            cursor.execute("SELECT count(*) FROM orders_orderlink")
            seen.append(cursor.fetchone()[0])
        return 1

    monkeypatch.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", sending)
    Order.objects.update(status="paid", paid_at=timezone.now())
    owe_mail(order, Mail.Kind.RECEIPT, timezone.now())
    assert send_due_mails() == 1
    assert seen == [1]


def test_what_the_mail_server_refused_leaves_no_link_and_what_is_in_doubt_does(order, monkeypatch):
    answers = [smtplib.SMTPDataError(554, b"spam"), TimeoutError()]

    def sending(self, messages):
        raise answers.pop(0)

    monkeypatch.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", sending)
    Order.objects.update(status="paid", paid_at=timezone.now())
    owe_mail(order, Mail.Kind.RECEIPT, timezone.now())
    assert send_due_mails() == 0
    assert not OrderLink.objects.exists()
    Mail.objects.update(due_at=minutes_ago(0))
    assert send_due_mails() == 0
    assert OrderLink.objects.count() == 1  # it may have arrived


def test_expired_links_go_when_a_new_one_is_made(order):
    old, kept = _pk(token_for(order)), _pk(token_for(order))
    OrderLink.objects.filter(pk=old).update(expires_at=minutes_ago(1))
    new = _pk(token_for(order))
    assert {link.pk for link in OrderLink.objects.all()} == {kept, new}


def _pk(token: str) -> int:
    return OrderLink.objects.get(token_hash=hashlib.sha256(token.encode()).hexdigest()).pk


# --- The page and its button ----------------------------------------------------------------------------------------


def test_fetching_a_link_ten_times_changes_no_row_and_opens_nothing(order):
    token = token_for(order)
    before = rows()
    scanner = Client(headers={"Accept": "text/html"})
    for _ in range(10):
        assert scanner.get(f"/orders/link/{token}/").status_code == 200
        assert scanner.head(f"/orders/link/{token}/").status_code == 200
        assert scanner.get(f"/orders/link/{token}").status_code == 301  # a mail program may cut off the slash
    assert rows() == before
    assert scanner.get(f"/orders/{order.pk}/").status_code == 404


@pytest.mark.parametrize("method", ["put", "patch", "delete", "options", "post"])
def test_no_other_method_opens_a_link(order, method):
    token = token_for(order)
    client = Client()
    assert getattr(client, method)(f"/orders/link/{token}/").status_code == 405
    assert client.get(f"/orders/{order.pk}/").status_code == 404


def test_the_page_is_the_same_for_a_right_a_wrong_an_expired_and_a_revoked_link(order):
    right, expired, revoked = token_for(order), token_for(order), token_for(order)
    OrderLink.objects.filter(pk=_pk(expired)).update(expires_at=minutes_ago(1))
    OrderLink.objects.filter(pk=_pk(revoked)).update(revoked_at=minutes_ago(1))
    client = Client()
    pages = set()
    for token in (right, expired, revoked, "x" * 32, "short", "<b>"):
        with CaptureQueriesContext(connection) as asked:
            response = client.get(f"/orders/link/{token}/")
        assert response.status_code == 200 and len(asked) == 0  # it does not even look
        page = re.sub(r'value="[^"]*"', "", response.content.decode())
        pages.add(page)
        assert response["Referrer-Policy"] == "strict-origin"
        assert response["Cache-Control"] == "no-store, private"
        assert "<b>" not in page
    assert len(pages) == 1
    (page,) = pages
    assert order.number not in page and "ada@" not in page
    assert page.count("<button") == 1
    assert not re.search(r"(src|href)=\"(https?:)?//", page)  # nobody else's resource


def test_the_button_leads_to_the_clean_address_of_the_order(order):
    client = Client()
    page = client.get(f"/orders/link/{token_for(order)}/").content.decode()
    token = re.findall(r'name="token" value="([^"]+)"', page)[0]
    assert 'action="/orders/link/"' in page  # the token is in the address once

    answer = press(client, token)

    assert (answer.status_code, answer["Location"]) == (303, f"/orders/{order.pk}/")
    assert answer["Referrer-Policy"] == "strict-origin"
    assert answer["Cache-Control"] == "no-store, private"
    assert order.number in page_of(client, order)


def test_reload_and_back_do_it_again(order):
    client, token = Client(), token_for(order)
    for _ in range(3):
        assert client.get(f"/orders/link/{token}/").status_code == 200
        assert press(client, token).status_code == 303
    assert order.number in page_of(client, order)
    assert Session.objects.count() == 1


def test_another_sites_form_opens_nothing(order):
    client = Client(enforce_csrf_checks=True)
    assert press(client, token_for(order)).status_code == 403
    assert client.get(f"/orders/{order.pk}/").status_code == 404


def test_a_page_with_cookies_off_says_so_and_one_with_the_token_works(order):
    client = Client(enforce_csrf_checks=True)
    token = token_for(order)
    page = client.get(f"/orders/link/{token}/").content.decode()
    csrf = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[0]
    answer = client.post("/orders/link/", {"token": token, "csrfmiddlewaretoken": csrf}, headers={"Origin": "null"})
    assert answer.status_code == 403  # what browsers would send with no-referrer
    answer = client.post(
        "/orders/link/", {"token": token, "csrfmiddlewaretoken": csrf}, headers={"Origin": "http://testserver"}
    )
    assert answer.status_code == 303


@pytest.mark.parametrize("wrong", ["wrong", "expired", "revoked", "cut-off", "absent", "null"])
def test_a_link_that_opens_nothing_gets_one_calm_page(order, wrong):
    token = token_for(order)
    if wrong == "expired":
        OrderLink.objects.update(expires_at=minutes_ago(1))
    elif wrong == "revoked":
        assert revoke_links(Order.objects.all()) == 1
        assert revoke_links(Order.objects.all()) == 0
    client = Client()
    sent = {"wrong": "x" * 32, "cut-off": token[:-1], "absent": "", "null": "\x00"}.get(wrong, token)
    answer = press(client, sent)
    assert answer.status_code == 404
    page = answer.content.decode()
    assert "This link opens no order" in page and "mailto:hello@payonce.example" in page
    assert order.number not in page
    assert answer["Cache-Control"] == "no-store, private"
    assert client.get(f"/orders/{order.pk}/").status_code == 404
    assert not Session.objects.exists()


@pytest.mark.parametrize("path", ["/orders/link/", "/orders/link"])
def test_a_link_that_was_cut_off_before_its_token_gets_the_same_page(path):
    answer = Client().get(path, follow=True)
    assert answer.status_code == 404 and "This link opens no order" in answer.content.decode()
    assert Client().head("/orders/link/").status_code == 404
    assert Client().put("/orders/link/").status_code == 405
    assert not WrongLink.objects.exists()


def test_the_token_is_in_no_log_line(order, caplog):
    caplog.set_level("DEBUG")
    client, token = Client(), token_for(order)
    client.get(f"/orders/link/{token}/")
    press(client, token)
    press(client, token[:-1])
    assert "/orders/link/..." in caplog.text
    assert token[:-1] not in caplog.text


# --- Simultaneous ---------------------------------------------------------------------------------------------------


def at_once(*acts):
    """Run them at the same moment; what each returned."""
    barrier, results = threading.Barrier(len(acts)), [None] * len(acts)

    def run(n, act):
        try:
            barrier.wait()
            results[n] = act()
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(n, act)) for n, act in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def same_session(client: Client) -> Client:
    twin = Client()
    twin.cookies["sessionid"] = client.cookies["sessionid"].value
    return twin


def test_twenty_presses_at_once_in_one_session_all_lead_to_the_order(order):
    client, token = guest_client(), token_for(order)
    twins = [same_session(client) for _ in range(20)]
    answers = at_once(*[lambda twin=twin: press(twin, token) for twin in twins])
    assert [answer.status_code for answer in answers] == [303] * 20
    assert order.number in page_of(client, order)


def test_twenty_presses_at_once_with_no_cookies_make_twenty_grants(order):
    token = token_for(order)
    clients = [Client() for _ in range(20)]
    assert {a.status_code for a in at_once(*[lambda c=c: press(c, token) for c in clients])} == {303}
    assert all(order.number in page_of(client, order) for client in clients)


def test_two_links_pressed_at_once_in_one_session_are_both_granted():
    orders = [make_order() for _ in range(8)]
    client = guest_client()
    tokens = [(same_session(client), token_for(order)) for order in orders]
    answers = at_once(*[lambda twin=twin, token=token: press(twin, token) for twin, token in tokens])
    assert [answer.status_code for answer in answers] == [303] * 8
    assert all(order.number in page_of(client, order) for order in orders)


def test_a_grant_leaves_the_cart_and_the_guest_of_its_session_alone(order):
    shopper = make_guest()
    mine = make_order(shopper=shopper)
    client = guest_client(shopper=shopper)
    assert press(client, token_for(order)).status_code == 303
    assert mine.number in page_of(client, mine)
    assert client.session["guest_id"] == shopper.guest_id


def test_a_browser_whose_session_is_long_gone_gets_a_new_one(order):
    client = guest_client()
    Session.objects.all().delete()
    assert press(client, token_for(order)).status_code == 303
    assert order.number in page_of(client, order)


def test_an_expired_session_whose_row_is_still_there_counts_as_none():
    client = guest_client()
    Session.objects.update(expire_date=minutes_ago(1))
    request = RequestFactory().get("/")
    request.session = SessionStore(client.cookies["sessionid"].value)
    with whole_session(request):
        request.session["grants"] = {}
    assert request.session.modified  # Django is to make a new one, and to say so to the browser


def test_a_session_keeps_its_newest_twenty_grants():
    orders = [make_order() for _ in range(22)]
    client = Client()
    for order in orders:
        assert press(client, token_for(order)).status_code == 303
    assert [client.get(f"/orders/{order.pk}/").status_code for order in orders] == [404] * 2 + [200] * 20


# --- Who may do what ------------------------------------------------------------------------------------------------

SEES = [("get", "/orders/{}/"), ("get", "/api/orders/{}/"), ("get", "/api/orders/{}/payment-status/")]
PAYS = [
    ("get", "/orders/{}/pay/"),
    ("post", "/api/orders/{}/payment-status/"),
    ("post", "/api/orders/{}/payments/"),
    ("post", "/api/orders/{}/start-over/"),
    ("post", "/orders/{}/start-over/"),
]
OWNS = [("post", "/api/orders/{}/cancel/"), ("post", "/orders/{}/cancel/"), ("post", "/orders/{}/put-back/")]


def owner(order: Order) -> Client:
    return guest_client(shopper=make_guest_of(order))


def make_guest_of(order: Order):
    return Shopper(None, order.guest_id)


def stranger(order: Order) -> Client:
    return guest_client()


def after_expiry(order: Order) -> Client:
    client = holder_of(order)
    OrderLink.objects.update(expires_at=minutes_ago(1))
    return client


def after_the_grants_day(order: Order) -> Client:
    client = holder_of(order)
    session = client.session
    session["grants"] = {order.pk: [session["grants"][order.pk][0], timezone.now().timestamp() - 1]}
    session.save()
    return client


def after_revocation(order: Order) -> Client:
    client = holder_of(order)
    revoke_links(Order.objects.filter(pk=order.pk))
    return client


def after_log_out(order: Order) -> Client:
    client = holder_of(order)
    client.post("/account/log-out/")
    return client


def of_another_order(order: Order) -> Client:
    return holder_of(make_order())


def logged_in_as_another(order: Order) -> Client:
    client = Client()
    client.force_login(User.objects.create_user("eve"))
    return client


@pytest.mark.parametrize(("method", "path"), SEES + PAYS + OWNS)
@pytest.mark.parametrize(
    ("who", "opens"),
    [
        (owner, SEES + PAYS + OWNS),
        (holder_of, SEES + PAYS),
        (stranger, []),
        (logged_in_as_another, []),
        (of_another_order, []),
        (after_expiry, []),
        (after_the_grants_day, []),
        (after_revocation, []),
        (after_log_out, []),
    ],
)
def test_who_may_go_where(order, who, opens, method, path):
    client = who(order)
    before = Order.objects.values("status", "closing_since").get(pk=order.pk)
    answer = getattr(client, method)(
        path.format(order.pk), {}, content_type="application/json", headers={"Idempotency-Key": "K"}
    )
    if (method, path) in opens:
        assert answer.status_code in (200, 303, 400)  # 400: a press without a card
    else:
        assert answer.status_code == 404
        assert Order.objects.values("status", "closing_since").get(pk=order.pk) == before


def test_the_address_says_which_of_ones_orders_is_shown(order):
    other = make_order(shopper=make_guest_of(order))
    mine, client = owner(order), Client()
    for one in (order, other):
        assert press(client, token_for(one)).status_code == 303
    for asker in (mine, client):
        for one in (order, other):
            assert asker.get(f"/api/orders/{one.pk}/").json()["number"] == one.number


def test_a_link_opens_neither_other_orders_of_the_shopper_nor_their_account(order):
    other = make_order(shopper=make_guest_of(order))
    client = holder_of(order)
    assert client.get(f"/orders/{other.pk}/").status_code == 404
    listed = client.get("/account/orders/").content.decode()
    assert order.number not in listed and other.number not in listed
    assert "ada@" not in client.get("/checkout/", follow=True).content.decode()
    user = User.objects.create_user("ada@example.com", "ada@example.com", "correct horse battery")
    Order.objects.filter(pk=other.pk).update(user=user)
    assert client.get(f"/orders/{other.pk}/").status_code == 404


def test_logging_in_with_a_grant_adopts_nothing(order):
    eve = User.objects.create_user("eve@example.com", "eve@example.com", "correct horse battery")
    client = holder_of(order)
    client.post("/account/log-in/", {"username": "eve@example.com", "password": "correct horse battery"})
    order.refresh_from_db()
    assert order.user is None
    assert not Order.objects.filter(user=eve).exists()
    assert order.number in page_of(client, order)
    client.post("/account/log-out/")
    assert client.get(f"/orders/{order.pk}/").status_code == 404


def test_a_link_holders_pages_offer_to_pay_but_not_to_give_up_or_to_take_the_goods(order):
    client, mine = holder_of(order), owner(order)
    assert f'href="/orders/{order.pk}/pay/"' in page_of(client, order)
    for path in ("", "pay/"):
        cancel = f'action="/orders/{order.pk}/cancel/"'
        assert cancel in mine.get(f"/orders/{order.pk}/{path}").content.decode()
        assert cancel not in client.get(f"/orders/{order.pk}/{path}").content.decode()
    with transaction.atomic():
        end_unpaid(order, Order.Status.EXPIRED, timezone.now())
    assert "put-back" in page_of(mine, order)
    assert "put-back" not in page_of(client, order)


def test_on_a_paid_order_a_link_shows_the_receipt_and_no_way_to_pay(order):
    make_attempt(order, "succeeded")
    with transaction.atomic():
        mark_paid(order, timezone.now())
    client = holder_of(order)
    page = page_of(client, order)
    assert "Thank you, your order is paid" in page
    assert "/pay/" not in page and "Open an account" not in page
    assert client.get(f"/orders/{order.pk}/pay/")["Location"] == f"/orders/{order.pk}/"
    answer = client.post(
        f"/api/orders/{order.pk}/payments/",
        {"payment_token": "pm_card_visa", "amount": order.total_minor, "currency": order.currency},
        content_type="application/json",
        headers={"Idempotency-Key": order.pay_key},
    )
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/order-already-paid")
    assert Attempt.objects.count() == 1


def test_a_link_pays_the_order_once_on_a_device_without_cookies(order, book):
    client = holder_of(order)
    answer = pay(client, order)
    assert answer.status_code == 201
    assert pay(owner(order), order, order.pay_key).content == answer.content  # the same press, from the owner's tab
    assert len(book.succeeded(order.pk)) == 1


def test_a_grant_costs_an_owner_no_statement_and_its_holder_one(order):
    mine, client = owner(order), guest_client()
    press(client, token_for(order))
    for asker, statements in ((mine, 1), (client, 2)):
        with CaptureQueriesContext(connection) as asked:
            asker.get(f"/api/orders/{order.pk}/payment-status/")
        assert len([query for query in asked if query["sql"].startswith('SELECT "orders_order"')]) == statements


# --- Too often ------------------------------------------------------------------------------------------------------


def test_ten_wrong_links_in_a_session_are_enough_for_a_while(order):
    client, token = guest_client(), token_for(order)
    for n in range(10):
        assert press(client, f"wrong{n}").status_code == 404
    for sent in ("wrong", token):
        answer = press(client, sent)
        assert (answer.status_code, answer["Retry-After"]) == (429, "600")
        assert "Please wait ten minutes" in answer.content.decode()
        assert answer["Cache-Control"] == "no-store, private"
    assert WrongLink.objects.count() == 20  # session and address; a refused one is not counted again
    assert press(guest_client(), token).status_code == 303  # another session at that address
    WrongLink.objects.update(at=minutes_ago(10))
    assert press(client, token).status_code == 303


def test_an_address_without_cookies_has_thirty(order):
    token = token_for(order)
    for n in range(30):
        assert press(Client(), f"wrong{n}").status_code == 404
    assert press(Client(), token).status_code == 429
    assert press(Client(), token, REMOTE_ADDR="192.0.2.7").status_code == 303  # another address


def test_right_links_are_never_too_many(order):
    client, token = Client(), token_for(order)
    assert {press(client, token).status_code for _ in range(40)} == {303}
    assert not WrongLink.objects.exists()


def test_what_no_longer_counts_is_forgotten_and_nobodys_address_is_kept(order):
    press(guest_client(), "wrong", REMOTE_ADDR="192.0.2.7")
    assert "192.0.2.7" not in repr(rows()["orders_wronglink"])
    WrongLink.objects.update(at=minutes_ago(11))
    press(Client(), "wrong")
    assert WrongLink.objects.count() == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_an_address_is_an_ipv4_or_an_ipv6_household(one, other, same):
    for address in (one, other):
        press(Client(), "wrong", REMOTE_ADDR=address)
    assert (WrongLink.objects.values("who").distinct().count() == 1) is same


def test_behind_a_proxy_the_address_is_the_one_that_the_proxy_saw(settings):
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    for forged in ("1.1.1.1", "2.2.2.2"):
        press(Client(), "wrong", headers={"X-Forwarded-For": f"{forged}, 192.0.2.9"})
    press(Client(), "wrong", headers={"X-Forwarded-For": "192.0.2.10"})
    assert WrongLink.objects.values("who").distinct().count() == 2


# --- Staff ----------------------------------------------------------------------------------------------------------


def revoke_in_admin(staff: Client, order: Order) -> Any:
    """Ticked in the list, and said again on the page that asks once more."""
    ticked = {"action": "revoke_mail_links", "_selected_action": [order.pk]}
    asked = staff.post("/admin/orders/order/", ticked, follow=True)
    if "form_key" not in asked.context:
        return asked
    [row] = asked.context["valid"]
    sent = {"form_key": asked.context["form_key"], f"version-{order.pk}": row.version, "note": "went astray"}
    return staff.post(asked.redirect_chain[-1][0], sent, follow=True)


def test_staff_with_the_permission_revoke_an_orders_links_and_the_order_stays(order):
    client, other = holder_of(order), make_order()
    others = holder_of(other)
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_order", "revoke_links"]))
    staff = Client()
    staff.force_login(user)

    assert "has no open link any more." in revoke_in_admin(staff, order).content.decode()

    assert client.get(f"/orders/{order.pk}/").status_code == 404
    assert order.number in page_of(owner(order), order)
    assert other.number in page_of(others, other)
    act = StaffAct.objects.get()
    assert (act.act, act.order_id, act.actor, act.note) == ("revoke links", order.pk, user, "went astray")


def test_staff_without_it_do_not(order):
    client = holder_of(order)
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_order"))
    staff = Client()
    staff.force_login(user)
    revoke_in_admin(staff, order)
    assert order.number in page_of(client, order)


def test_staff_see_when_a_link_was_made_and_never_its_hash(order):
    token = token_for(order)
    staff = Client()
    staff.force_login(User.objects.create_superuser("root"))
    page = staff.get(reverse("admin:orders_order_change", args=[quote(order.pk)])).content.decode()
    assert "Links in its mails" in page
    assert hashlib.sha256(token.encode()).hexdigest() not in page
