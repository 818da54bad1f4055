"""Where a request comes from. Headers that anybody can send are not asked (SECURITY SE34)."""

import ipaddress

from django.conf import settings
from django.http import HttpRequest


def address_of(request: HttpRequest) -> str:
    """The address that asks, or "". Behind our proxy (BEHIND_PROXY): the one that the proxy has seen, which it appends
    to whatever the client wrote."""
    address = request.META.get("REMOTE_ADDR", "")
    if settings.SECURE_PROXY_SSL_HEADER:
        address = request.headers.get("X-Forwarded-For", address).rpartition(",")[2].strip()
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return ""


def network_of(request: HttpRequest) -> str:
    """What a limit counts as one: the address, and of IPv6 the /64 that one household has; or ""."""
    address = address_of(request)
    if not address or ipaddress.ip_address(address).version == 4:
        return address
    return str(ipaddress.ip_network((address, 64), strict=False).network_address)
