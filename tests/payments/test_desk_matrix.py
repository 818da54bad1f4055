"""Every address of the admin, by every role, by GET and POST: who gets in is in the table, and nobody else does
(SECURITY SE47, SE48). An address that the table does not know fails the test, and none answers 500.

A page of the desk says its permission itself (`staff_page`); a model's pages have a line in MODELS.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from django_otp.plugins.otp_totp.models import TOTPDevice

from orders.models import Mail, Order
from payments.backoffice.dashboard.figures import FIGURES
from payments.backoffice.runbook import page_names
from payments.breaks import Difference, open_break
from payments.models import Break, Payment, RefundProposal, WebhookEvent
from shop.acts import Act, Who
from shop.models import Product
from tests.book import Book
from tests.payments.paying import placed_order, press

pytestmark = pytest.mark.django_db(transaction=True)

ROLES = ["anonymous", "shopper", "staff", "clerk", "finance", "on-call", "superuser"]
NOBODY = "nobody: not even a superuser"
ANY_STAFF = ""

# Who may do what in a model's own pages. None of them deletes; what is only shown is neither added nor changed.
READ_ONLY = {"add": NOBODY, "delete": NOBODY, "post": NOBODY}
MODELS: dict[str, dict[str, str]] = {
    "auth_group": {
        "view": "auth.view_group",
        "add": "auth.add_group",
        "delete": "auth.delete_group",
        "post": "auth.change_group",
    },
    "auth_user": {
        "view": "auth.view_user",
        "add": "auth.add_user",
        "delete": "auth.delete_user",
        "post": "auth.change_user",
    },
    "shop_product": {
        "view": "shop.view_product",
        "add": "shop.add_product",
        "delete": NOBODY,
        "post": "shop.change_product",
    },
    "shop_staffact": {"view": "shop.view_staffact"} | READ_ONLY,
    "orders_order": {"view": "orders.view_order"} | READ_ONLY,
    "orders_mail": {"view": "orders.view_mail"} | READ_ONLY,
    "payments_payment": {"view": "payments.view_payment"} | READ_ONLY,
    "payments_attempt": {"view": "payments.view_attempt"} | READ_ONLY,
    "payments_break": {"view": "payments.view_break"} | READ_ONLY,
    "payments_webhookevent": {"view": "payments.view_webhookevent"} | READ_ONLY,
    "payments_refundproposal": {"view": "payments.view_refundproposal"} | READ_ONLY,
}
# What pages answer that are not like the others. Those of the site itself are for any member of staff.
SITE = {
    "index": {200},
    "logout": {405, 200},
    "password_change": {200},
    "password_change_done": {200, 405},
    "autocomplete": {403, 405},  # it is told neither model nor field
    "jsi18n": {200, 405},
    "view_on_site": {302},
    "runbook-page": {200, 404, 405},  # 404: no page is written yet
    "app_list": {200, 404},  # 404: no model of the app is theirs to see
}
OPEN = {"login"}
SECOND_FACTOR = {"second-factor", "enrol-second-factor", "recovery-codes"}
# Let in. What comes of an empty form is the page's own business; an address without a name is Django's old address of
# a change page, or none at all.
INSIDE = {"get": {200, 405}, "post": {200, 302, 303, 405, 409, 422}}
NAMELESS = {302, 404}


@dataclass(frozen=True)
class Address:
    """One pattern of the admin, with the ids of real rows in it."""

    path: str
    name: str
    view: Any

    @property
    def permission_to_get(self) -> str | None:
        """None: the table does not know this address."""
        return self._permission("get")

    @property
    def permission_to_post(self) -> str | None:
        return self._permission("post")

    def _permission(self, method: str) -> str | None:
        if (declared := getattr(self.view, "staff_permission", None)) is not None:
            return str(declared)
        if self.name in SITE or self.name == "":
            return ANY_STAFF
        model, _, page = self.name.rpartition("_")
        rules = MODELS.get("auth_user" if self.name == "auth_user_password_change" else model)
        if rules is None:
            return None
        if self.name == "auth_user_password_change" or (page == "change" and method == "post"):
            return rules["post"]
        return {"changelist": rules["view"], "change": rules["view"], "history": rules["view"]}.get(
            page, rules.get(page)
        )


def patterns(resolver: Any, before: str = "", parts: tuple[Any, ...] = ()) -> Iterator[tuple[str, URLPattern]]:
    """Every pattern below /admin/, with its whole route."""
    for pattern in resolver.url_patterns:
        route = before + str(pattern.pattern).removeprefix("^").removesuffix("$")
        if not route.startswith("admin/"):
            continue
        if isinstance(pattern, URLResolver):
            yield from patterns(pattern, route)
        else:
            yield route, pattern


@pytest.fixture
def rows(book: Book) -> dict[str, Any]:
    """One row of everything that an address names."""
    order, client = placed_order()
    press(client, order)
    other, _ = placed_order()
    payment = Payment.objects.get(order=order)
    moment = timezone.now()
    event = WebhookEvent.objects.create(
        event_id="evt_1", type="charge.succeeded", created_at_gateway=moment, next_try_at=moment
    )
    proposer = User.objects.create_user("proposer", is_staff=True)
    proposal = RefundProposal.objects.create(
        payment=payment, amount_minor=1, currency=payment.currency, reason="duplicate", note="x", proposed_by=proposer
    )
    found = open_break(Difference(Break.Kind.AMOUNT, "pi_1", order, payment, 500, "GBP", "look"))
    mail = Mail.objects.filter(order=order).first() or Mail.objects.create(order=order, kind="receipt", due_at=moment)
    Act("look", Who(proposer, None, ""), "order", dict, order.pk).record()
    product, its_type = Product.objects.latest("pk"), ContentType.objects.get_for_model(Product)
    LogEntry.objects.create(
        user=proposer,
        content_type=its_type,
        object_id=str(product.pk),
        action_flag=CHANGE,
    )
    return {
        "order": other.pk,
        "product": product.pk,
        "payment": payment.pk,
        "event": event.event_id,
        "break": found.pk,
        "mail": mail.pk,
        "proposal": proposal.pk,
        "orders_order": order.pk,
        "auth_user": proposer.pk,
        "auth_group": Group.objects.get(name="clerk").pk,
    }


def newest(app: str, model: str) -> Any:
    """The id of a row that a model's own page can show."""
    return apps.get_model(app, model)._default_manager.order_by("-pk").values_list("pk", flat=True)[0]


def argument(word: str, route: str, rows: dict[str, Any]) -> str:
    """What stands in an address for `<slug:order_id>` and the like."""
    kind = word.partition(":")[2].rstrip(">") or word.strip("<>")
    if kind in ("object_id", "id", "ids"):
        pk = str(rows.get("_".join(route.split("/")[1:3])) or newest(*route.split("/")[1:3]))
        return pk if kind == "ids" else quote(pk)
    if kind == "pk":
        return str(rows[{"refund-proposals": "proposal", "breaks": "break", "mails": "mail"}[route.split("/")[2]]])
    figure_or_page = next(iter(FIGURES if "/export/" in route else page_names()), "no-page-yet")
    fixed = {"content_type_id": str(ContentType.objects.get_for_model(Product).pk), "name": figure_or_page}
    return fixed.get(kind) or str(rows[kind.removesuffix("_id")])


def addresses(rows: dict[str, Any]) -> list[Address]:
    found = []
    for route, pattern in patterns(get_resolver()):
        path = route
        if "(?P<app_label>" in route:
            path = "admin/payments/"
        elif "(?P<url>" in route:
            path = "admin/no-such-page/"
        elif route.startswith("admin/r/"):
            path = f"admin/r/{argument('<content_type_id>', route, rows)}/{rows['product']}/"
        else:
            for word in [part for part in route.split("/") if part.startswith("<")]:
                path = path.replace(word, argument(word, route, rows), 1)
        assert "<" not in path, route
        found.append(Address(f"/{path}", pattern.name or "", pattern.callback))
    return found


def member(role: str) -> User | None:
    if role == "anonymous":
        return None
    user = User.objects.create_user(f"the-{role}", is_staff=role != "shopper", is_superuser=role == "superuser")
    user.groups.set(Group.objects.filter(name=role))
    return user


def browser(user: User | None, **options: Any) -> Client:
    client = Client(raise_request_exception=False, **options)
    if user is not None:
        client.force_login(user)
    return client


def in_the_admins_frame(answer: Any) -> bool:
    """Staff are told what to do; they never see the shopper's page, which speaks of his orders."""
    page = answer.content.decode()
    return 'id="user-tools"' in page and "To the first page of the admin" in page and "To the shop" not in page


def told(answer: Any) -> str:
    return f"{answer.status_code} {answer.headers.get('Location', '')}".strip()


def fault(address: Address, role: str, user: User | None, method: str, client: Client) -> str:
    """What is wrong with the answer; "" if nothing."""
    permission = address.permission_to_get if method == "get" else address.permission_to_post
    if user is not None and address.name in ("password_change", "index"):  # the one before was to log out
        client.force_login(user)
    answer = getattr(client, method)(address.path)
    code, said = answer.status_code, f"{method.upper()} {address.path}: {told(answer)}"
    if code >= 500:
        return said
    if address.name in OPEN:
        return "" if code in (200, 302) else said
    if role in ("anonymous", "shopper"):
        goal = "/admin/" if address.name == "logout" else "/admin/login/?next="
        at_the_door = code in (302, 303) and answer["Location"].startswith(goal)
        return "" if at_the_door else f"{said}, not to the log-in page"
    if code in (400, 403, 404) and not in_the_admins_frame(answer):
        return f"{said}, and not in the admin's frame"
    if address.name in SECOND_FACTOR:
        return "" if (code, answer["Location"]) == (303, "/admin/") else said
    if permission is None:
        return f"{address.path} ({address.name or 'no name'}) is in no table"
    assert user is not None
    if permission != ANY_STAFF and (permission == NOBODY or not user.has_perm(permission)):
        return "" if code == 403 else f"{said}, without {permission}"
    allowed = SITE.get(address.name, INSIDE[method]) if address.name else NAMELESS
    return "" if code in allowed else f"{said}, with {permission or 'any staff'}"


@pytest.mark.parametrize("role", ROLES)
def test_every_address_lets_in_whom_the_table_names_and_nobody_else(rows: dict[str, Any], role: str) -> None:
    user = member(role)
    every, client = addresses(rows), browser(user)
    faults = [fault(address, role, user, method, client) for address in every for method in ("get", "post")]
    assert [one for one in faults if one] == []
    assert len(every) > 60


@pytest.mark.parametrize("role", ["anonymous", "superuser"])
def test_no_address_takes_a_form_without_its_token(rows: dict[str, Any], role: str) -> None:
    client = browser(member(role), enforce_csrf_checks=True)
    codes = {address.path: client.post(address.path).status_code for address in addresses(rows)}
    assert {path: code for path, code in codes.items() if code != 403} == {}


@pytest.mark.parametrize("phone", ["without a phone", "with a phone"])
def test_without_the_second_factor_every_address_leads_to_it_and_shows_nothing(
    rows: dict[str, Any], phone: str, settings: Any
) -> None:
    settings.STAFF_SECOND_FACTOR = True
    user = member("superuser")
    if phone == "with a phone":
        TOTPDevice.objects.create(user=user, name="phone")
    order, client = Order.objects.get(pk=rows["orders_order"]), browser(user)
    for address in addresses(rows):
        for method in ("get", "post"):
            answer = getattr(client, method)(address.path)
            said = f"{method.upper()} {address.path}: {told(answer)}"
            text = answer.content.decode()
            assert order.number not in text and "user-tools" not in text and "app-orders" not in text, said
            if address.name in SECOND_FACTOR or (address.name in OPEN and method == "post"):
                assert answer.status_code in (200, 303, 422), said
            else:
                assert answer.status_code == 303, said
                assert answer["Location"].startswith("/admin/second-factor/?next="), said
                assert text == "", said
    assert Payment.objects.get(pk=rows["payment"]).refunded_minor == 0


def test_the_walk_finds_what_is_there(rows: dict[str, Any]) -> None:
    """A walk that misses addresses proves nothing about them."""
    names = {address.name for address in addresses(rows)}
    assert {"refund", "dashboard", "payments_payment_change", "auth_user_password_change", "index", ""} <= names
    unknown = Address("/admin/x/", "shop_cart_changelist", object())
    assert unknown.permission_to_get is None
