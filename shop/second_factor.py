"""Staff's second factor: a code from an app on their phone (TOTP, by django-otp), or a recovery code that works once.

Without it the admin shows nothing (SECURITY SE47), and what moves money asks for it again (SE49). `STAFF_SECOND_FACTOR`
switches it off in development: then everybody is verified, and freshly so.
"""

import base64
import hashlib
import math
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any
from urllib.parse import urlencode

import django_otp
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse
from django.utils import timezone
from django_otp.plugins.otp_totp.models import TOTPDevice

from shop.acts import Act, Snapshot, who_asks, witnessed
from shop.models import RecoveryCode
from shop.pages import SeeOther

FRESH_MINUTES = 10
CODES = 10
_CODE_BYTES = 15  # 120 bits: nobody guesses it, so a plain digest is enough to keep (ASVS 6.5.2)

_SESSION_VERIFIED_AT = "second_factor_at"
_SESSION_ENROLLING = "second_factor_enrolling"
_SESSION_ENTRIES = "second_factor_entries"
_ENTRIES_MOST = 60_000  # characters: an act's form with what its reader saw
_TOTP = re.compile(r"[0-9]{6}", re.ASCII)

View = Callable[..., HttpResponseBase]


# --- Asked by whoever guards something -------------------------------------------------------------------------------


def is_verified(request: HttpRequest) -> bool:
    """This session has shown a second factor, and the device is still the user's."""
    return not settings.STAFF_SECOND_FACTOR or getattr(request.user, "otp_device", None) is not None


def owes_second_factor(request: HttpRequest) -> bool:
    """A member of staff who has given a password so far, and nothing else."""
    user = request.user
    return user.is_active and user.is_staff and not is_verified(request)


def is_fresh(request: HttpRequest, minutes: int = FRESH_MINUTES) -> bool:
    """The second factor was shown within so many minutes."""
    if not settings.STAFF_SECOND_FACTOR:
        return True
    age_seconds = time.time() - request.session.get(_SESSION_VERIFIED_AT, 0)
    return is_verified(request) and 0 <= age_seconds < 60 * minutes


def ask_again(request: HttpRequest) -> SeeOther:
    """To the page that asks for a code, and from there back to where the request went, by GET."""
    return SeeOther(f"{reverse('admin:second-factor')}?{urlencode({'next': request.get_full_path()})}")


def needs_fresh_second_factor(view: View) -> View:
    """On a view that moves money: without a fresh second factor it asks for it first. What was sent to it is kept for
    the page to show again (`entries_kept`), the last such form of a session; nothing is carried out."""

    @wraps(view)
    def asking(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not is_fresh(request):
            if request.method == "POST":
                _keep_entries(request)
            return ask_again(request)
        if request.method == "POST":
            _take_entries(request)  # this page is at work again: what was kept of it is out of date
        return view(request, *args, **kwargs)

    return asking


def entries_kept(request: HttpRequest) -> dict[str, str]:
    """All that was sent to this page when a code was asked for, a moment ago; once, and empty if nothing was."""
    return _take_entries(request) if request.method == "GET" else {}


def _keep_entries(request: HttpRequest) -> None:
    sent = {name: entry for name, entry in request.POST.items() if name != "csrfmiddlewaretoken"}
    if sum(len(name) + len(entry) for name, entry in sent.items()) <= _ENTRIES_MOST:
        request.session[_SESSION_ENTRIES] = {"of": request.path, "at": time.time(), "sent": sent}


def _take_entries(request: HttpRequest) -> dict[str, str]:
    if request.session.get(_SESSION_ENTRIES, {}).get("of") != request.path:
        return {}
    kept = request.session.pop(_SESSION_ENTRIES)
    sent: dict[str, str] = kept["sent"]
    return sent if time.time() - kept["at"] < 60 * FRESH_MINUTES else {}


# --- A device, and a code of it --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What a code was worth: the device that it is of, or none. `wait_seconds`: too many wrong ones came before it, so
    it was not looked at."""

    device: Any = None
    wait_seconds: int = 0


def has_device(user: User) -> bool:
    return bool(TOTPDevice.objects.filter(user=user, confirmed=True).exists())


def verify(request: HttpRequest, typed: str) -> Verdict:
    """Look at a code, under the lock of the device's row: no code counts twice, and wrong ones make the next wait."""
    code = _plain(typed)
    with transaction.atomic(durable=True):
        device = TOTPDevice.objects.select_for_update().filter(user=request.user, confirmed=True).order_by("pk").first()
        if device is None:
            return Verdict()
        if wait_seconds := _wait_seconds(device):
            return Verdict(wait_seconds=wait_seconds)
        if _TOTP.fullmatch(code):
            return Verdict(device if device.verify_token(code) else None)
        if _use_recovery_code(request, code):
            device.throttle_reset()
            return Verdict(device)
        device.throttle_increment()
        return Verdict()


def _use_recovery_code(request: HttpRequest, code: str) -> bool:
    who = who_asks(request)
    unused = RecoveryCode.objects.filter(user=who.user, digest=_digest(code), used_at=None)
    if not unused.exists():
        return False
    with witnessed(_act("use recovery code", request)):
        unused.update(used_at=timezone.now())
    return True


def remember(request: HttpRequest, device: Any) -> None:
    """The session is verified from now on, under a new id: whoever knew the old one has nothing of it."""
    request.session.cycle_key()
    django_otp.login(request, device)
    request.session[_SESSION_VERIFIED_AT] = int(time.time())


def _wait_seconds(device: Any) -> int:
    """django-otp doubles the wait with every wrong code: 1, 2, 4, 8 s and so on."""
    allowed, why = device.verify_is_allowed()
    return 0 if allowed else max(1, math.ceil((why["locked_until"] - timezone.now()).total_seconds()))


# --- Enrolment -------------------------------------------------------------------------------------------------------


def device_to_confirm(request: HttpRequest) -> Any:
    """The secret on the enrolment page. It is this session's alone: somebody who has only the password, and looked at
    the page before its owner did, knows another one."""
    pk = request.session.get(_SESSION_ENROLLING)
    found = TOTPDevice.objects.filter(user=request.user, confirmed=False, pk=pk).first() if pk else None
    if found is not None:
        return found
    with transaction.atomic():
        TOTPDevice.objects.filter(user=request.user, confirmed=False).delete()
        made = TOTPDevice.objects.create(user=request.user, name="phone", confirmed=False)
    request.session[_SESSION_ENROLLING] = made.pk
    return made


def enrol(request: HttpRequest, typed: str) -> tuple[Verdict, list[str]]:
    """Confirm the new device by a code of it. It takes the place of an older one; its recovery codes are new."""
    user = who_asks(request).user
    with transaction.atomic(durable=True):
        pk = request.session.get(_SESSION_ENROLLING)
        mine = TOTPDevice.objects.select_for_update().filter(user=user).order_by("pk")
        device = next((one for one in mine if one.pk == pk and not one.confirmed), None)
        if device is None:
            return Verdict(), []
        if wait_seconds := _wait_seconds(device):
            return Verdict(wait_seconds=wait_seconds), []
        if not device.verify_token(_plain(typed)):
            return Verdict(), []
        with witnessed(_act("enrol second factor", request)):
            TOTPDevice.objects.filter(user=user).exclude(pk=device.pk).delete()
            TOTPDevice.objects.filter(pk=device.pk).update(confirmed=True)
            return Verdict(TOTPDevice.objects.get(pk=device.pk)), _new_codes(user)


def new_recovery_codes(request: HttpRequest) -> list[str]:
    """Ten new ones, to be shown once; the old ones are dead."""
    user = who_asks(request).user
    with transaction.atomic(durable=True):
        User.objects.select_for_update().get(pk=user.pk)
        with witnessed(_act("new recovery codes", request)):
            return _new_codes(user)


def codes_left(user: User) -> int:
    return RecoveryCode.objects.filter(user=user, used_at=None).count()


def forget(user: User) -> int:
    """The user's devices and recovery codes go; whatever session they had verified is not any more."""
    with transaction.atomic(durable=True):
        RecoveryCode.objects.filter(user=user).delete()
        forgotten, _ = TOTPDevice.objects.filter(user=user).delete()
    return int(forgotten)


def _new_codes(user: User) -> list[str]:
    RecoveryCode.objects.filter(user=user).delete()
    codes = [base64.b32encode(secrets.token_bytes(_CODE_BYTES)).decode().lower() for _ in range(CODES)]
    RecoveryCode.objects.bulk_create(RecoveryCode(user=user, digest=_digest(code)) for code in codes)
    return ["-".join(re.findall("....", code)) for code in codes]


def _plain(typed: str) -> str:
    """As it is kept: people type spaces and dashes."""
    return re.sub(r"[\s-]", "", typed).lower()


def _digest(code: str) -> str:
    return hashlib.sha256(f"payonce recovery code {code}".encode()).hexdigest()


def _act(name: str, request: HttpRequest) -> Act:
    who = who_asks(request)

    def snapshot() -> Snapshot:
        devices = TOTPDevice.objects.filter(user=who.user, confirmed=True).values_list("pk", flat=True)
        return {"devices": list(devices), "recovery codes": codes_left(who.user)}

    return Act(name, who, f"user {who.user.pk}", snapshot)
