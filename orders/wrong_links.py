"""Who tries many links that open nothing has to wait. Counted in the rows, so it holds without Redis.

Only wrong tries count: the holder of a right link may press as often as they like. A link cannot be guessed anyway;
this keeps the noise down.
"""

import datetime

from django.db.models import Count
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac

from orders.models import WrongLink
from shop.addresses import network_of

SPAN = datetime.timedelta(minutes=10)
MOST_OF_SESSION = 10
MOST_OF_ADDRESS = 30  # a whole office or mobile network may share one


def tried_too_often(request: HttpRequest) -> bool:
    most = _who_asks(request)
    tries = WrongLink.objects.filter(who__in=most, at__gt=timezone.now() - SPAN).values("who")
    return any(row["n"] >= most[row["who"]] for row in tries.annotate(n=Count("pk")))


def note_wrong_link(request: HttpRequest) -> None:
    """Count it; what no longer counts goes, so the table holds a few minutes."""
    now = timezone.now()
    WrongLink.objects.filter(at__lt=now - SPAN).delete()
    WrongLink.objects.bulk_create(WrongLink(who=who, at=now) for who in _who_asks(request))


def _who_asks(request: HttpRequest) -> dict[str, int]:
    """Session and address as keyed hashes, with how many wrong tries each has."""
    asks = {_hashed("address", network_of(request)): MOST_OF_ADDRESS}
    request.session.keys()  # loaded, so that an invented cookie is no session
    if request.session.session_key:
        asks[_hashed("session", request.session.session_key)] = MOST_OF_SESSION
    return asks


def _hashed(kind: str, who: str) -> str:
    return salted_hmac("orders.wrong_links", f"{kind}:{who}", algorithm="sha256").hexdigest()
