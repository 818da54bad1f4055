"""Whose order is it? Asked before any key is looked up; another's order is as unknown as one that never was (SE2).

Besides the owner there is who came by a link in a mail: that opens one order, and of it not every route (SE5).
"""

import re
from dataclasses import dataclass

from django.contrib.auth.models import AbstractBaseUser
from django.db.models import Q
from django.http import Http404, HttpRequest

from orders.mail_links import granting_links
from orders.models import Order
from orders.sessions import whole_session
from shop.guests import guest_id, known_guest_id

_ID = re.compile(r"[A-Za-z0-9_-]{32}", re.ASCII)


@dataclass(frozen=True)
class Shopper:
    """A user, a guest, or a user whose session was a guest's before log-in."""

    user_id: int | None
    guest_id: str

    @property
    def principal(self) -> str:
        """Under which a new order's key is unique."""
        return self.principals[0]

    @property
    def principals(self) -> list[str]:
        """All under which this shopper's keys are looked up, so that logging in changes nothing (RULES R4, R5)."""
        user = [f"user:{self.user_id}"] if self.user_id else []
        return [*user, *([f"guest:{self.guest_id}"] if self.guest_id else [])]

    @property
    def owns(self) -> Q:
        """The user's orders, and those that the session placed as a guest and that nobody has adopted."""
        mine = Q(user_id=self.user_id) if self.user_id else Q(pk__in=[])
        return mine | Q(user__isnull=True, guest_id=self.guest_id) if self.guest_id else mine


def shopper_of(request: HttpRequest) -> Shopper:
    """Who asks, for reading: makes no session. DRF's requests will do as well."""
    return Shopper(request.user.pk if request.user.is_authenticated else None, known_guest_id(request))


def shopper_who_places(request: HttpRequest) -> Shopper:
    """Who asks, for placing: a guest gets an id now, if there was no need of one before.

    A request without a session has no cart either, so it places nothing and needs no id.
    """
    if not request.user.is_authenticated and not known_guest_id(request) and request.session.session_key:
        _become_guest(request)
    return shopper_of(request)


def _become_guest(request: HttpRequest) -> None:
    """Two first requests of one session at the same moment, from two tabs, mean one guest.

    With an id each, the order of the first would be nobody's.
    """
    with whole_session(request):
        guest_id(request)


def own_order(request: HttpRequest, order_id: str, *, link_opens: bool = True, lock: bool = False) -> Order:
    """The asker's order, or one that they came to by a link in a mail; then `by_link` is set.

    Args:
        link_opens: False on a route that is the owner's alone: giving the order up, taking its goods back.
        lock: the row is locked FOR NO KEY UPDATE for the running transaction.

    Raises:
        Http404: it is another's, or there is none: one answer by one code path (SECURITY SE2).
    """
    orders = Order.objects.select_for_update(no_key=True, of=("self",)) if lock else Order.objects.all()
    orders = orders.filter(pk=order_id) if _ID.fullmatch(order_id) else orders.none()
    order = orders.filter(shopper_of(request).owns).first()
    if order is None and link_opens and (links := granting_links(request, order_id)) is not None:
        order = orders.filter(mail_links__in=links).first()
        if order is not None:
            order.by_link = True
    if order is None:
        raise Http404
    return order


def adopt_orders(request: HttpRequest, user: AbstractBaseUser, guest: str) -> int:
    """At log-in: what the session placed as a guest belongs to the user from now on. How many orders that were.

    `principal` stays as it was at placement: the key keeps finding its order (RULES R5).
    """
    if not guest:
        return 0
    return Order.objects.filter(user__isnull=True, guest_id=guest).update(user=user)
