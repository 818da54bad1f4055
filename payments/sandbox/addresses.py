"""Postal addresses, as several endpoints take them."""

from .forms import hash_of, text

ADDRESS = hash_of(
    clearable=True, **dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"), text(clearable=True))
)
SHIPPING = hash_of(
    clearable=True,
    address=ADDRESS,
    name=text(),
    carrier=text(),
    phone=text(clearable=True),
    tracking_number=text(),
)
