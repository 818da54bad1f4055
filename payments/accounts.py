"""Accounts: which of Stripe's accounts our secret key belongs to, and whether the open payments are that one's.

A key of another account or mode cannot finish the payments that are open: what was charged there is out of its sight,
and a create that is sent again would make a second intent. So while such payments are open nobody pays (docs/adr/0019).

Nothing is asked of Stripe while a server starts. The beat and the opening of a payment ask once for each key, and keep
the answer in a table by the key's digest; a press compares with what its process read from there within CHECK_EVERY.
"""

import hashlib
import threading
import time
from dataclasses import dataclass
from typing import Any

import structlog
from django.conf import settings
from django.db.models import CharField, Count, Exists, F, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Concat
from django.utils import timezone

from payments.errors import GatewayError
from payments.gateways.base import gateway
from payments.gateways.transport import Deadline
from payments.models import KeyAccount, Payment
from payments.row_lock import give_back_connections
from shop.problems import Problem

log = structlog.get_logger(__name__)

CHECK_EVERY = 60.0  # seconds
ASK_AGAIN = 3600.0  # seconds: the beat makes sure now and then that it is still so
_OPEN = (Payment.Phase.OPENING, Payment.Phase.OPEN, Payment.Phase.CLOSING)


@dataclass(frozen=True)
class Seen:
    """What this process has read: the account of its key, empty if that is not known, and whether another one has
    payments open; until when that may be believed (time.monotonic)."""

    account: str
    others_open: bool
    until: float


_lock = threading.Lock()
_seen: Seen | None = None
_ask_again_at = 0.0  # time.monotonic(); of a key whose account could not be learnt


def forget() -> None:
    """For tests, and a key that was changed: as if the process had just begun."""
    global _seen, _ask_again_at
    with _lock:
        _seen, _ask_again_at = None, 0.0


def is_live_key() -> bool:
    key: str = settings.STRIPE_SECRET_KEY
    return key.startswith(("sk_live_", "rk_live_"))


def _digest() -> str:
    return hashlib.sha256(settings.STRIPE_SECRET_KEY.encode()).hexdigest()


def seen() -> Seen:
    """At most one read of the table within CHECK_EVERY, however many presses come."""
    global _seen
    with _lock:
        if _seen is not None and time.monotonic() < _seen.until:
            return _seen
    read = _read()
    with _lock:
        _seen = read
    return read


def _read() -> Seen:
    row = _of_our_key().annotate(others=Exists(_of_others(OuterRef("name")))).values("name", "others").first()
    account, others = (str(row["name"]), bool(row["others"])) if row else ("", False)
    return Seen(account, others, time.monotonic() + CHECK_EVERY)


def _of_our_key() -> QuerySet[Any]:
    """At most one row, with the `name` that our payments keep."""
    name = Concat("account_id", Value(":live" if is_live_key() else ":test"), output_field=CharField())
    return KeyAccount.objects.filter(key_digest=_digest()).annotate(name=name)


def _of_others(account: OuterRef) -> QuerySet[Payment]:
    """Open payments of another account; of those that were opened without its being known nothing is said."""
    return Payment.objects.filter(phase__in=_OPEN).exclude(account="").exclude(account=account)


def account_to_open_with(deadline: Deadline) -> str:
    """The account of our key, for a payment that is opened now; empty if it is not known. Asks Stripe at most once
    within CHECK_EVERY, and only for a key that it has not been asked about before."""
    known = seen().account
    return known if known or not _may_ask() else learn(deadline)


def _may_ask() -> bool:
    global _ask_again_at
    with _lock:
        if time.monotonic() < _ask_again_at:
            return False
        _ask_again_at = time.monotonic() + CHECK_EVERY
        return True


def learn(deadline: Deadline) -> str:
    """Ask Stripe whose key ours is, and keep it. Empty if Stripe does not say: a restricted key may not ask."""
    give_back_connections()
    try:
        account_id = gateway().retrieve_account(deadline)
    except GatewayError as error:
        log.warning("account_not_known", error=str(error), compared="no open payment is compared with it")
        return ""
    row = {"account_id": account_id, "livemode": is_live_key(), "seen_at": timezone.now()}
    KeyAccount.objects.update_or_create(key_digest=_digest(), defaults=row)
    forget()
    return seen().account


def learn_if_due() -> None:
    """By the beat: whose key it is, and now and then whether it still is."""
    row = KeyAccount.objects.filter(key_digest=_digest()).first()
    if row is None or (timezone.now() - row.seen_at).total_seconds() > ASK_AGAIN:
        learn(Deadline(settings.LOOK_TIMEOUT.total_seconds()))


def refuse_other_account(payment: Payment) -> None:
    """Let a new press go on, or say that nothing can be charged now: payments of another account are open, or this very
    one is another account's. Asked only where nothing of this order is under way.

    Raises:
        Problem: unavailable, same key; nothing was claimed and nothing was sent.
    """
    now = seen()
    if now.others_open or is_of_another(payment, now.account):
        log.error("other_account", order=payment.order_id, account=now.account)
        raise Problem(
            "unavailable",
            "Payments are paused at the moment. Nothing was sent and you were not charged. Please try again later.",
            int(CHECK_EVERY),
            {"order": payment.order_id},
        )


def is_of_another(payment: Payment, account: str) -> bool:
    """Whether both are known, and differ."""
    return bool(payment.account and account) and payment.account != account


@dataclass(frozen=True)
class OtherAccounts:
    """For the alarm: whose our key is, and how many open payments are whose."""

    account: str
    open: list[tuple[str, int]]


def read_other_accounts() -> OtherAccounts | None:
    """Fresh from the rows; None if the key's account is not known, or no other one has payments open."""
    ours = Subquery(_of_our_key().values("name"))
    groups = Payment.objects.filter(phase__in=_OPEN).exclude(account="").annotate(ours=ours).exclude(account=F("ours"))
    found = list(groups.order_by("account").values_list("account", "ours").annotate(count=Count("pk")))
    if not found or found[0][1] is None:
        return None
    return OtherAccounts(found[0][1], [(account, count) for account, _, count in found])
