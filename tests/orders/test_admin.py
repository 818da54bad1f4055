"""Staff find orders and read them; nothing placed can be edited there."""

import re
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orders.ends import owe_mail
from orders.mail_links import new_link
from orders.models import Mail, Order, OrderLink
from payments.breaks import Difference, open_break
from payments.models import Break
from shop.models import StaffAct
from tests.orders.making import make_order, make_product, minutes_ago
from tests.payments.paying import placed_order, press
from tests.races.crowd import apart

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def staff():
    client = Client()
    client.force_login(User.objects.create_superuser("staff"))
    return client


def test_an_order_is_found_by_number_e_mail_and_id(staff):
    order, other = make_order(email="grace@example.com"), make_order()
    for sought in (order.number, order.number.lower(), "grace@", order.pk):
        found = staff.get("/admin/orders/order/", {"q": sought}).content.decode()
        assert order.number in found and other.number not in found, sought


def test_an_order_is_shown_with_lines_and_mails(staff):
    order = make_order((make_product(sku="LAMP"), 2))
    owe_mail(order, Mail.Kind.RECEIPT, timezone.now())
    page = staff.get(f"/admin/orders/order/{quote(order.pk)}/change/").content.decode()
    for said in (order.number, order.total_text, "LAMP", "receipt", "due"):
        assert said in page, said


def test_every_moment_is_told_with_its_zone(staff):
    order, due = make_order(), timezone.now()
    owe_mail(order, Mail.Kind.RECEIPT, due)
    for path, at in (("mail/", due), (f"order/{quote(order.pk)}/change/", order.placed_at)):
        page = staff.get(f"/admin/orders/{path}").content.decode()
        assert f"{at:%Y-%m-%d %H:%M:%S} UTC" in page, path
        assert not re.search(r"\b[ap]\.m\.", page), path


@pytest.mark.parametrize("path", ["order/add/", "mail/add/", "order/{}/delete/", "order/{}/change/"])
def test_nothing_is_added_changed_or_deleted(staff, path):
    order = make_order()
    answer = staff.post(f"/admin/orders/{path.format(quote(order.pk))}", {"status": "paid", "total_minor": 1})
    assert answer.status_code == 403
    before = order.total_minor
    order.refresh_from_db()
    assert (order.status, order.total_minor) == ("pending", before)


def test_a_mail_in_doubt_can_be_listed(staff):
    order = make_order()
    owe_mail(order, Mail.Kind.RECEIPT, timezone.now())
    Mail.objects.update(state="sending", sending_at=timezone.now())
    assert order.number in staff.get("/admin/orders/mail/?state__exact=sending").content.decode()


# --- The list ---------------------------------------------------------------------------------------------------------


def clerk(*permissions: str) -> Client:
    user = User.objects.create_user("clara", is_staff=True)
    for permission in ("orders.view_order", "orders.view_mail", *permissions):
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    client = Client()
    client.force_login(user)
    return client


def listed(client: Client, **query: str) -> set[str]:
    page = client.get("/admin/orders/order/", query)
    assert page.status_code == 200 and page.request["QUERY_STRING"] == urlencode(query)
    return {order.number for order in page.context["cl"].queryset}


def test_an_order_is_found_however_its_number_is_typed(staff):
    order, _ = make_order(), make_order()
    for typed in (order.number, order.number.lower(), order.number.replace("-", ""), f" {order.number} "):
        assert listed(staff, q=typed) == {order.number}


def test_whoever_sees_no_personal_data_finds_a_whole_e_mail_and_guesses_none():
    order = make_order(email="grace@example.com", name="Grace Hopper")
    client = clerk()
    assert listed(client, q="GRACE@example.com") == {order.number}
    for guess in ("g", "grace@", "grace", "Grace Hopper"):
        assert listed(client, q=guess) == set()
    page = client.get("/admin/orders/order/").content.decode()
    assert "g…@example.com" in page and "grace@" not in page and "Hopper" not in page


def test_with_the_permission_names_and_e_mails_are_seen_and_found():
    order = make_order(email="grace@example.com", name="Grace Hopper")
    client = clerk("orders.see_personal_data")
    assert listed(client, q="grace h") == listed(client, q="grace@ex") == {order.number}
    assert "grace@example.com" in client.get("/admin/orders/order/").content.decode()


def test_the_list_says_what_there_is_to_do(staff):
    new, paid, fulfilled, closing, broken, stuck, in_doubt = (make_order() for _ in range(7))
    Order.objects.filter(pk=paid.pk).update(status="paid")
    Order.objects.filter(pk=fulfilled.pk).update(status="fulfilled")
    Order.objects.filter(pk=closing.pk).update(closing_since=timezone.now(), closing_reason="cancel")
    open_break(Difference(Break.Kind.AMOUNT, "pi_1", broken, None, 1, "GBP", "look"))
    open_break(Difference(Break.Kind.AMOUNT, "pi_2", new, None, 1, "GBP", "look"))
    Break.objects.filter(order=new).update(resolved_at=timezone.now())
    for order, state in ((stuck, "stuck"), (in_doubt, "sending")):
        owe_mail(order, Mail.Kind.RECEIPT, timezone.now())
        Mail.objects.filter(order=order).update(state=state, sending_at=minutes_ago(2))
    assert listed(staff, todo="fulfil") == {paid.number}
    assert listed(staff, todo="look") == {broken.number, stuck.number}
    assert listed(staff, closing="yes") == {closing.number}
    assert listed(staff, status__exact="fulfilled") == {fulfilled.number}
    assert listed(staff, currency="GBP", todo="fulfil") == {paid.number}


def test_the_list_asks_the_database_a_few_times_however_long_it_is(staff):
    for _ in range(3):
        make_order()
    with CaptureQueriesContext(connection) as few:
        staff.get("/admin/orders/order/")
    for _ in range(5):
        make_order()
    with CaptureQueriesContext(connection) as more:
        staff.get("/admin/orders/order/")
    assert len(few) == len(more)


@pytest.mark.parametrize("sought", ["7KQ4-F2MX", "ada9@example.com", "ada9", "nobody", "x" * 32])
def test_every_search_is_answered_from_an_index(staff, sought):
    """With sequential scans switched off a plan without one shows that each part of the question has its index."""
    make_order()
    with CaptureQueriesContext(connection) as asked:
        staff.get("/admin/orders/order/", {"q": sought})
    questions = [one["sql"] for one in asked if '"orders_order"' in one["sql"] and "ORDER BY" in one["sql"]]
    questions = [sql for sql in questions if "EXTRACT" not in sql and "DATE_TRUNC" not in sql]
    assert questions
    for sql in questions:
        with connection.cursor() as cursor:
            cursor.execute("SET enable_seqscan = off; SET enable_indexscan = off;")
            cursor.execute(f"EXPLAIN {sql}")
            plan = "\n".join(row[0] for row in cursor.fetchall())
            cursor.execute("RESET enable_seqscan; RESET enable_indexscan;")
        assert "Bitmap Index Scan" in plan and "Seq Scan" not in plan, plan


# --- One order --------------------------------------------------------------------------------------------------------


def page_of(client: Client, order: Order) -> str:
    answer = client.get(f"/admin/orders/order/{quote(order.pk)}/change/")
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_order_page_hides_the_shopper_from_whoever_may_not_see_them():
    order = make_order(email="grace@example.com", name="Grace Hopper", line1="7 Low Street")
    owe_mail(order, Mail.Kind.RECEIPT, timezone.now())
    Mail.objects.update(last_refusal="550 <grace@example.com>: no such mailbox")
    page = page_of(clerk(), order)
    assert "g…@example.com" in page and "no such mailbox" in page
    for hidden in ("grace@example.com", "Hopper", "Low Street"):
        assert hidden not in page


def test_the_order_page_shows_the_shopper_to_whoever_may():
    order = make_order(email="grace@example.com", name="Grace Hopper", line1="7 Low Street")
    page = page_of(clerk("orders.see_personal_data"), order)
    for seen in ("grace@example.com", "Grace Hopper", "7 Low Street", "London", "N1 1AA"):
        assert seen in page


def test_the_order_page_tells_the_story_and_leads_to_the_payment(staff, book):
    order, client = placed_order()
    press(client, order)
    payment = order.payments.get()
    page = page_of(staff, order)
    for said in ("Order placed", "Payment settled", "succeeded", "Order paid", "receipt", payment.amount_text):
        assert said in page, said
    assert f"/admin/payments/payment/{quote(payment.pk)}/change/" in page
    assert "None was opened" not in page


def test_the_order_page_names_open_breaks_and_disputes(staff):
    order = make_order()
    open_break(Difference(Break.Kind.AMOUNT, "pi_1", order, None, 1, "GBP", "look"))
    assert "Stripe has another amount than we have: pi_1" in page_of(staff, order)


def test_the_mail_list_shows_no_address_to_whoever_may_not_see_it():
    order = make_order(email="grace@example.com")
    owe_mail(order, Mail.Kind.RECEIPT, timezone.now())
    Mail.objects.update(last_refusal="550 <grace@example.com>: no such mailbox")
    client = clerk()
    pages = [client.get("/admin/orders/mail/"), client.get(f"/admin/orders/mail/{Mail.objects.get().pk}/change/")]
    for page in pages:
        assert page.status_code == 200 and "grace@example.com" not in page.content.decode()
    assert "no such mailbox" in pages[0].content.decode()


# --- Acts -------------------------------------------------------------------------------------------------------------


def form_of(client: Client, path: str) -> dict[str, str]:
    """The hidden fields of the page's form, as a browser would send them."""
    page = client.get(path).content.decode()
    form = page[page.index('name="form_key"') - 30 :]
    return dict(re.findall(r'name="((?:form_key|version-)[^"]*)" value="([^"]*)"', form))


def paid(**fields: Any) -> Order:
    return make_order(status="paid", paid_at=timezone.now(), **fields)


def test_a_clerk_fulfils_an_order_on_a_page_that_asks_once_more():
    order, client = paid(), clerk("orders.fulfil_order")
    path = f"/admin/orders/order/{order.pk}/fulfil/"
    assert path in page_of(client, order)
    form = form_of(client, path)
    assert Order.objects.get().status == "paid"
    answer = client.post(path, form | {"note": "parcel 12"})
    assert (answer.status_code, answer["Location"]) == (303, f"/admin/orders/order/{quote(order.pk)}/change/")
    assert Order.objects.get().status == "fulfilled"
    row = StaffAct.objects.get()
    assert (row.act, row.note, row.order_id, row.actor_name, row.address) == (
        "fulfil",
        "parcel 12",
        order.pk,
        "clara",
        "127.0.0.1",
    )
    page = page_of(client, order)
    assert "is fulfilled." in page and "parcel 12" in page  # the message, and the act in the order's story

    again = client.post(path, form, follow=True)  # the second click, a reload, or Back
    assert "done already by this page" in again.content.decode()
    assert StaffAct.objects.count() == 1


def test_a_page_that_is_out_of_date_changes_nothing_and_keeps_the_note():
    order, client = paid(), clerk("orders.fulfil_order")
    path = f"/admin/orders/order/{order.pk}/fulfil/"
    form = form_of(client, path)
    open_break(Difference(Break.Kind.AMOUNT, "pi_1", order, None, 1, "GBP", "look"))
    page = client.post(path, form | {"note": "parcel 12"}).content.decode()
    assert "It changed after this page was shown. It has an open break" in page and "parcel 12" not in page
    Break.objects.update(resolved_at=timezone.now())
    form = form_of(client, path)
    Order.objects.update(closing_reason="x")
    page = client.post(path, form | {"note": "parcel 12"}).content.decode()
    assert "Please look at it again" in page and 'value="parcel 12"' in page
    assert Order.objects.get().status == "paid" and not StaffAct.objects.exists()


def test_a_form_without_its_version_does_nothing():
    order, client = paid(), clerk("orders.fulfil_order")
    client.post(f"/admin/orders/order/{order.pk}/fulfil/", {"form_key": "k"})
    assert Order.objects.get().status == "paid"


def test_of_the_orders_ticked_each_that_may_is_fulfilled_and_the_others_say_why():
    good, unpaid, better = paid(), make_order(), paid()
    client = clerk("orders.fulfil_order")
    ticked = {"action": "fulfil_orders", "_selected_action": [good.pk, unpaid.pk, better.pk]}
    asked = client.post("/admin/orders/order/", ticked)
    assert asked.status_code == 302
    form = form_of(client, asked["Location"])
    assert set(form) == {"form_key", f"version-{good.pk}", f"version-{better.pk}"}
    Order.objects.filter(pk=better.pk).update(status="refunded")
    page = client.post(asked["Location"], form).content.decode()
    assert f"Order {good.number} is fulfilled." in page
    assert "It changed after this page was shown. Its money has gone back." in page and "It is not paid." in page
    assert dict(Order.objects.values_list("pk", "status")) == {
        good.pk: "fulfilled",
        unpaid.pk: "pending",
        better.pk: "refunded",
    }
    assert [row.order_id for row in StaffAct.objects.all()] == [good.pk]


def test_too_many_ticked_are_refused_at_once(staff, monkeypatch):
    monkeypatch.setattr("orders.admin.MOST_AT_ONCE", 1)
    ticked = {"action": "fulfil_orders", "_selected_action": [paid().pk, paid().pk]}
    assert "nothing was done" in staff.post("/admin/orders/order/", ticked, follow=True).content.decode()


def test_an_order_that_is_being_worked_on_is_left_alone_with_a_word(staff):
    order = paid()
    path = f"/admin/orders/order/{order.pk}/fulfil/"
    form = form_of(staff, path)
    with transaction.atomic():
        Order.objects.select_for_update().get(pk=order.pk)
        page = apart(lambda: staff.post(path, form)).content.decode()
    assert "It is being worked on right now" in page
    assert Order.objects.get().status == "paid"


@pytest.mark.parametrize("act", ["fulfil", "revoke-links"])
def test_without_the_permission_there_is_no_act(act):
    order, client = paid(), clerk()
    new_link(order)
    path = f"/admin/orders/order/{order.pk}/{act}/"
    assert client.get(path).status_code == client.post(path, {"form_key": "k", "note": "x"}).status_code == 403
    page = page_of(client, order)
    assert path not in page and "You have no permission for it." in page
    action = {"action": "fulfil_orders" if act == "fulfil" else "revoke_mail_links", "_selected_action": [order.pk]}
    assert client.post("/admin/orders/order/", action).status_code in (200, 302)
    assert Order.objects.get().status == "paid" and not StaffAct.objects.exists()


def test_links_are_revoked_with_a_reason_and_an_audit_row():
    order, client = make_order(), clerk("orders.revoke_links")
    link, _ = new_link(order)
    path = f"/admin/orders/order/{order.pk}/revoke-links/"
    form = form_of(client, path)
    assert "Please write a word about it" in client.post(path, form).content.decode()
    assert OrderLink.objects.get().revoked_at is None
    assert client.post(path, form | {"note": "sent to the wrong address"}).status_code == 303
    assert OrderLink.objects.get().revoked_at is not None
    row = StaffAct.objects.get()
    assert (row.act, row.note) == ("revoke links", "sent to the wrong address")
    assert (row.before, row.after) == ({"open_links": [link.pk]}, {"open_links": []})


@pytest.mark.parametrize("address", ["nothing-like-it", "a,b", ","])
def test_an_act_on_no_order_is_not_found(staff, address):
    assert staff.get(f"/admin/orders/order/{address}/fulfil/").status_code == 404


@pytest.mark.parametrize(
    "asked",
    ["order/?email__startswith=a", "order/?name__icontains=ada", "order/?line1=1", "order/?status__regex=(",
     "mail/?last_refusal__contains=ada", "order/?status=%00", "order/%00/change/", "order/a,%00/fulfil/"],
)  # fmt: skip
def test_the_address_asks_a_list_for_nothing_that_it_does_not_offer(asked):
    """What is masked on the page could be guessed letter by letter; what PostgreSQL cannot read is no error of ours."""
    make_order()
    viewer = clerk("orders.view_order", "orders.view_mail", "orders.fulfil_order")
    assert viewer.get(f"/admin/orders/{asked}").status_code == 400


@pytest.mark.parametrize(
    "asked",
    ["order/?status__exact=paid&todo=fulfil&closing=yes&currency=GBP", "order/?placed_at__year=2026&placed_at__month=1",
     "order/?placed_at__gte=2026-01-01%2000:00%2B00:00", "mail/?state__exact=due&kind=receipt"],
)  # fmt: skip
def test_a_list_is_filtered_by_all_that_it_offers(staff, asked):
    assert staff.get(f"/admin/orders/{asked}").status_code == 200
