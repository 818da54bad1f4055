"""Who tries many links that open nothing has to wait. Counted in the rows, so it holds without Redis.

Only wrong tries count: the holder of a right link may press as often as they like. A link cannot be guessed anyway;
this keeps the noise down.
"""

import datetime
import ipaddress

from django.conf import settings
from django.db.models import Count
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac

from orders.models import WrongLink

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
    asks = {_hashed("address", _network_of(request)): MOST_OF_ADDRESS}
    request.session.keys()  # loaded, so that an invented cookie is no session
    if request.session.session_key:
        asks[_hashed("session", request.session.session_key)] = MOST_OF_SESSION
    return asks


def _network_of(request: HttpRequest) -> str:
    """The address that asks; of IPv6 the /64 that one household has. Behind our proxy: what the proxy has seen."""
    address = request.META.get("REMOTE_ADDR", "")
    if settings.SECURE_PROXY_SSL_HEADER:
        address = request.headers.get("X-Forwarded-For", address).rpartition(",")[2].strip()
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return ""
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))


def _hashed(kind: str, who: str) -> str:
    return salted_hmac("orders.wrong_links", f"{kind}:{who}", algorithm="sha256").hexdigest()
