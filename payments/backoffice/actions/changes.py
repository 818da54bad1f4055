"""What differs between two snapshots, in words: for a form that has gone stale, and for what a question brought."""

from typing import Any, NamedTuple

from shop.acts import Snapshot
from shop.money import CURRENCIES, money_text


class Change(NamedTuple):
    what: str
    before: str
    after: str


def changes(before: Snapshot, after: Snapshot, currency: str = "") -> list[Change]:
    """Line by line, only what differs. `currency`: of its amounts, which are then shown as money."""
    was, now = in_words(before, currency), in_words(after, currency)
    names = [*was, *(name for name in now if name not in was)]
    return [
        Change(name, was.get(name, "-"), now.get(name, "-"))
        for name in names
        if was.get(name, "-") != now.get(name, "-")
    ]


def in_words(snapshot: Snapshot, currency: str = "") -> dict[str, str]:
    """Every line of a snapshot: `{"payment 1": "succeeded, captured £5.00, refunded £0.00"}`."""
    words: dict[str, str] = {}
    for name, worth in snapshot.items():
        label = _LABELS.get(name, name.replace("_", " "))
        if isinstance(worth, dict):
            words |= {f"{label} {_short(key)}": _text(name, one, currency) for key, one in worth.items()}
        else:
            words[label] = _text(name, worth, currency)
    return words


_LABELS = {
    "payments": "payment",
    "attempts": "press",
    "refunds": "refund",
    "proposals": "proposed refund",
    "disputes": "dispute",
}


def _short(key: str) -> str:
    """Our own ids are 32 letters that nobody reads; Stripe's stay whole, to be searched for."""
    return key if len(key) < 32 or "_" in key[:4] else f"{key[:6]}…"


def _text(name: str, worth: Any, currency: str) -> str:
    if isinstance(worth, (list, tuple)):
        words = [_one(one, currency if _is_amount(name, place) else "") for place, one in enumerate(worth)]
        if name == "payments" and len(words) == 3:
            return f"{words[0]}, captured {words[1]}, refunded {words[2]}"
        return ", ".join(words) or "none"
    return _one(worth, "")


def _is_amount(name: str, place: int) -> bool:
    return name in ("payments", "refunds", "proposals") and place > 0


def _one(worth: Any, currency: str) -> str:
    if isinstance(worth, bool):
        return "yes" if worth else "no"
    if isinstance(worth, int) and currency in CURRENCIES:
        return money_text(worth, currency)
    return "none" if worth in ("", None) else str(worth)
