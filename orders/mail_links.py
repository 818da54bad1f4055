"""Links in our mails: a token opens one order, on any device, for whoever has the mail (SECURITY SE5).

The token, 192 random bits, is in the mail and nowhere else; its row has the hash. Fetching a link opens nothing, for
mail scanners fetch links (FAILURES 79): a button exchanges the token for a *grant* in the session. A grant lets see the
order, finish paying it and read its receipt. It is not ownership: own_order says which routes it does not open.
"""

import datetime
import hashlib

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from orders.models import Order, OrderLink
from orders.sessions import whole_session
from shop.ids import new_id

LINK_LIFE = datetime.timedelta(days=30)
GRANT_LIFE = datetime.timedelta(days=1)  # then the link is pressed again; the device may be somebody else's by then
_MOST_GRANTS = 20  # in one session
_SESSION_GRANTS = "grants"  # order id -> [id of the link, until when]


def new_link(order: Order) -> tuple[OrderLink, str]:
    """A link for one mail, and its address. The token is not kept: whoever lost it needs another mail.

    One is made, the expired ones go: the table holds 30 days of mails.
    """
    now = timezone.now()
    OrderLink.objects.filter(expires_at__lt=now).delete()
    token = new_id()
    link = OrderLink.objects.create(order=order, token_hash=_hash(token), expires_at=now + LINK_LIFE)
    return link, f"{settings.BASE_URL}/orders/link/{token}/"


def link_of(token: str) -> OrderLink | None:
    """The link of this token, if it opens its order now."""
    return OrderLink.objects.that_open(timezone.now()).filter(token_hash=_hash(token)).first()


def revoke_links(orders: QuerySet[Order]) -> int:
    """No link of these orders opens anything from now on, and no grant that came of one. How many there were."""
    now = timezone.now()
    return OrderLink.objects.that_open(now).filter(order__in=orders).update(revoked_at=now)


def give_grant(request: HttpRequest, link: OrderLink) -> None:
    """The session may see the link's order from now on. Logging out ends the session, and with it the grant."""
    now = timezone.now()
    with whole_session(request):
        grants = {
            order_id: [link_id, until]
            for order_id, (link_id, until) in request.session.get(_SESSION_GRANTS, {}).items()
            if until > now.timestamp() and order_id != link.order_id
        }
        grants[link.order_id] = [link.pk, (now + GRANT_LIFE).timestamp()]
        request.session[_SESSION_GRANTS] = dict(list(grants.items())[-_MOST_GRANTS:])


def granting_links(request: HttpRequest, order_id: str) -> QuerySet[OrderLink] | None:
    """The link that this session has exchanged for a grant of the order, asked anew whether it still opens it."""
    now = timezone.now()
    link_id, until = request.session.get(_SESSION_GRANTS, {}).get(order_id, (None, 0))
    return OrderLink.objects.that_open(now).filter(pk=link_id) if until > now.timestamp() else None


def _hash(token: str) -> str:
    """Plain SHA-256: nobody guesses 192 random bits, so nothing slower is needed."""
    return hashlib.sha256(token.encode()).hexdigest()
