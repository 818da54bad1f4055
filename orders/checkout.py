"""The checkout page: contact, delivery and review in one form, and the same core as the API (place.py).

A page of a shop that charges once must survive Back, reload and two tabs: the form carries a key that the server has
minted, ends in 303, and shows every refusal on the same page with everything that was typed.
"""

import re
from dataclasses import asdict, replace
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from orders.attempts import live_attempt
from orders.countries import COUNTRIES
from orders.links import cancel_path, pay_path
from orders.models import Order
from orders.ownership import shopper_of, shopper_who_places
from orders.place import Contact, How, Placed, Wish, place_order
from orders.serializers import PlaceOrderSerializer, contact_of, looks_like_card_number
from shop.cart import currency_of, current_cart, total_minor
from shop.ids import new_id
from shop.models import Cart, cart_version
from shop.nudge import nudge
from shop.pages import SeeOther, personal
from shop.problems import PROBLEMS, SAME_KEY, Problem

_KEY = re.compile(r"PLACE_[A-Za-z0-9_-]{32}", re.ASCII)
_SESSION_ENTRIES = "checkout"  # what was typed, until the order is placed
_CONTACT = ("email", "name", "line1", "line2", "city", "region", "postal_code", "country")


def new_place_key() -> str:
    """The idempotency key of one shown checkout form (RULES R2, R45)."""
    return "PLACE_" + new_id()


class Entry(forms.CharField):
    """A field that takes what was typed as it is: PlaceOrderSerializer judges, for page and API alike."""

    def __init__(self, autocomplete: str = "", *, optional: bool = False, **options: Any) -> None:
        attrs = {"autocomplete": autocomplete} if autocomplete else {}
        super().__init__(required=not optional, **{"widget": forms.TextInput(attrs=attrs)} | options)

    def clean(self, value: Any) -> str:
        return str(value or "")


class CheckoutForm(forms.Form):
    """Contact and delivery. `sent` holds the validated request once the form is valid."""

    use_required_attribute = False

    email = Entry(
        label="E-mail address",
        help_text="For the receipt, and if your bank needs longer than this page.",
        widget=forms.EmailInput(attrs={"autocomplete": "email", "inputmode": "email", "spellcheck": "false"}),
    )
    name = Entry("name", label="Full name")
    line1 = Entry("address-line1", label="Address line 1")
    line2 = Entry("address-line2", label="Address line 2", optional=True)
    city = Entry("address-level2", label="Town or city")
    region = Entry("address-level1", label="County, state or region", optional=True)
    postal_code = Entry("postal-code", label="Postcode")
    country = Entry(
        label="Country",
        widget=forms.Select(choices=list(COUNTRIES.items()), attrs={"autocomplete": "country"}),
    )
    cart_version = Entry(widget=forms.HiddenInput)
    key = Entry(widget=forms.HiddenInput)
    again = Entry(optional=True, widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        typed = self.cleaned_data
        body: dict[str, Any] = {name: typed[name] for name in ("email", "name", "cart_version")}
        body["address"] = {name: typed[name] for name in _CONTACT[2:]}
        serializer = PlaceOrderSerializer(data=body | {"again": bool(typed["again"])})
        if serializer.is_valid():
            self.sent = serializer.validated_data
        errors = dict(serializer.errors)
        for name, sentences in (errors.pop("address", {}) | errors).items():
            self.add_error(name if name in _CONTACT else None, [str(sentence) for sentence in sentences])
        return typed


@require_http_methods(["GET", "HEAD", "POST"])
@personal
def checkout(request: HttpRequest) -> HttpResponse:
    cart = current_cart(request)
    if request.method == "POST":
        return _place(request, cart)
    if cart is None or not cart.lines():
        return SeeOther(reverse("cart"))
    return _page(request, cart, CheckoutForm(initial=_known_of(request)))


def _place(request: HttpRequest, cart: Cart | None) -> HttpResponse:
    form = CheckoutForm(request.POST)
    if not form.is_valid():
        _remember(request, form)
        return _page(request, cart, form, key=_key_of(form), status=422)
    wish = Wish(
        cart=cart,
        key=_key_of(form),
        shopper=shopper_who_places(request),
        contact=contact_of(form.sent),
        cart_version=form.sent["cart_version"],
        again=form.sent["again"],
    )
    try:
        placed = _place_or_edit(wish)
    except Problem as problem:
        _remember(request, form)
        key = wish.key if PROBLEMS[problem.name][1] == SAME_KEY else new_place_key()
        return _page(request, cart, form, problem, key=key, status=problem.status)
    request.session.pop(_SESSION_ENTRIES, None)
    if placed.how is How.NEW:
        nudge("payments.open_payment", placed.order.pk)
    return SeeOther(pay_path(placed.order) if placed.order.status == Order.Status.PENDING else _page_of(placed.order))


def _place_or_edit(wish: Wish) -> Placed:
    """Back, another address, and the button again: the key is used, the wish is new. It is judged as a new one."""
    try:
        return place_order(wish)
    except Problem as problem:
        if problem.name != "idempotency-key-reused":
            raise
        return place_order(replace(wish, key=new_place_key()))


def _page(
    request: HttpRequest,
    cart: Cart | None,
    form: CheckoutForm,
    problem: Problem | None = None,
    *,
    key: str = "",
    status: int = 200,
) -> HttpResponse:
    lines = cart.lines() if cart else []
    about = Order.objects.filter(pk=problem.extra.get("order") or "").first() if problem else _waiting_order(cart)
    context = {
        "form": form,
        "contact_fields": [form[name] for name in _CONTACT[:2]],
        "address_fields": [form[name] for name in _CONTACT[2:]],
        "lines": lines,
        "total_minor": total_minor(lines),
        "currency": currency_of(lines),
        "cart_version": cart_version(cart, lines) if cart else "",
        "key": key or new_place_key(),
        "problem": problem,
        "about": about,
        "about_is_open": about is not None and (about.is_closing or live_attempt(about) is not None),
        "cancel_path": cancel_path(about) if about else "",
        "pay_path": pay_path(about) if about else "",
    }
    return render(request, "orders/checkout.html", context, status=status)


def _waiting_order(cart: Cart | None) -> Order | None:
    """An order of this cart that waits to be paid: whoever comes back is told, before filling a form again (UX13)."""
    return Order.objects.filter(cart=cart, status=Order.Status.PENDING).first() if cart else None


def _key_of(form: CheckoutForm) -> str:
    key = form.data.get("key", "")
    return key if _KEY.fullmatch(key) else new_place_key()


def _remember(request: HttpRequest, form: CheckoutForm) -> None:
    """What was typed survives log-in, and the way over another order's page. A card number is not kept (SE27)."""
    typed = {name: str(form.data.get(name, ""))[:254] for name in _CONTACT}
    request.session[_SESSION_ENTRIES] = {
        name: "" if looks_like_card_number(text) else text for name, text in typed.items()
    }


def has_entries(request: HttpRequest) -> bool:
    """Whether the shopper is in the middle of a checkout."""
    return _SESSION_ENTRIES in request.session


def _known_of(request: HttpRequest) -> dict[str, str]:
    """What the form starts with: what was typed here, else where the shopper's last order went."""
    if typed := request.session.get(_SESSION_ENTRIES):
        return dict(typed)
    if last := Order.objects.filter(shopper_of(request).owns).first():
        return asdict(Contact.of(last))
    return {"email": request.user.email if request.user.is_authenticated else "", "country": "GB"}


def _page_of(order: Order) -> str:
    return reverse("order", args=[order.pk])
