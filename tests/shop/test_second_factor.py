"""Staff's second factor: nothing of the admin without it, one code is worth one log-in, and money asks for it again
(SECURITY SE47, SE49)."""

import re
import time
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.utils import timezone
from django_otp.oath import totp
from django_otp.plugins.otp_totp.models import TOTPDevice

from shop.checks import staff_have_a_second_factor
from shop.models import RecoveryCode, StaffAct
from shop.second_factor import is_fresh, needs_fresh_second_factor
from tests.shop.making import PASSWORD, at_once

pytestmark = pytest.mark.django_db(transaction=True)

VERIFY, ENROL, CODES = (f"/admin/second-factor/{path}" for path in ("", "phone/", "recovery-codes/"))


@pytest.fixture(autouse=True)
def _second_factor_on(settings: Any) -> None:
    settings.STAFF_SECOND_FACTOR = True


def staff(name: str = "fiona", **fields: Any) -> User:
    return User.objects.create_user(name, password=PASSWORD, is_staff=True, **fields)


def logged_in(user: User) -> Client:
    """By password, and no further."""
    client = Client()
    client.force_login(user)
    return client


def with_phone(user: User) -> TOTPDevice:
    return TOTPDevice.objects.create(user=user, name="phone")


def code_of(device: Any, steps_ago: int = 0) -> str:
    return f"{totp(device.bin_key, drift=-steps_ago):06}"


def wrong_code(device: Any) -> str:
    near = {code_of(device, steps) for steps in range(-3, 4)}
    return next(code for code in map("{:06}".format, range(10)) if code not in near)


def later(device: Any) -> None:
    """As if the codes and mistakes so far were long ago."""
    TOTPDevice.objects.filter(pk=device.pk).update(
        last_t=-1, throttling_failure_count=0, throttling_failure_timestamp=None
    )


def enter(client: Client, code: str, where: str = VERIFY, **more: str) -> Any:
    return client.post(where, {"code": code, **more})


def enrolled(client: Client) -> list[str]:
    """Set up a phone as a person does; the recovery codes that were shown."""
    client.get(ENROL)
    page = enter(client, code_of(TOTPDevice.objects.get(confirmed=False)), ENROL)
    assert page.status_code == 200, page.content
    return shown_codes(page)


def shown_codes(page: Any) -> list[str]:
    return re.findall(r"<li><code>([a-z2-7-]+)</code></li>", page.content.decode())


def test_a_password_alone_shows_nothing_and_leads_to_enrolment() -> None:
    client = logged_in(staff(is_superuser=True))
    for path in ("/admin/", "/admin/auth/user/", "/admin/login/", "/admin/no-such-page/"):
        answer = client.get(path, follow=True)
        assert answer.redirect_chain[-1][0].partition("?")[0] == ENROL, path
        assert "user-tools" not in answer.content.decode() and "app-auth" not in answer.content.decode()
    assert client.post("/admin/auth/user/add/", {"username": "eve"}).status_code == 303
    assert not User.objects.filter(username="eve").exists()


def test_no_page_of_the_admin_thinks_that_a_password_is_enough() -> None:
    request = request_of(staff(is_superuser=True), None)
    assert not admin.site.has_permission(request)
    request.user.otp_device = with_phone(request.user)
    assert admin.site.has_permission(request)


def test_the_log_in_page_leads_to_the_code_and_from_there_to_where_one_was_going() -> None:
    user = staff(is_superuser=True)
    device = with_phone(user)
    client = Client()
    answer = client.post("/admin/login/?next=/admin/auth/user/", {"username": user.username, "password": PASSWORD})
    asked = client.get(answer["Location"])
    assert asked["Location"] == f"{VERIFY}?next=/admin/auth/user/".replace(
        "/admin/auth/user/", "%2Fadmin%2Fauth%2Fuser%2F"
    )
    before = client.session.session_key
    answer = enter(client, code_of(device), next="/admin/auth/user/")
    assert (answer.status_code, answer["Location"]) == (303, "/admin/auth/user/")
    assert client.session.session_key != before
    assert client.get("/admin/auth/user/").status_code == 200


def test_a_shopper_and_a_stranger_see_no_page_of_it() -> None:
    shopper = logged_in(User.objects.create_user("ada"))
    for client in (shopper, Client()):
        for path in (VERIFY, ENROL, CODES):
            assert client.get(path)["Location"].startswith("/admin/login/?next="), path
            assert enter(client, "123456", path)["Location"].startswith("/admin/login/?next="), path
    assert not TOTPDevice.objects.exists()


def test_enrolment_shows_the_secret_and_ten_codes_once() -> None:
    client = logged_in(staff())
    page = client.get(ENROL).content.decode()
    device = TOTPDevice.objects.get()
    assert "<svg" in page and "style" not in page.partition("<svg")[2].partition("</svg>")[0]
    secret = re.search(r'second-factor-secret">([A-Z2-7 ]+)<', page)
    assert secret and secret[1].replace(" ", "") in device.config_url
    codes = enrolled(client)
    assert len(set(codes)) == 10
    assert client.get("/admin/").status_code == 200
    assert shown_codes(client.get(CODES)) == []
    assert "You have 10 recovery codes left" in client.get(CODES).content.decode()
    assert StaffAct.objects.get().act == "enrol second factor"
    kept = " ".join(RecoveryCode.objects.values_list("digest", flat=True))
    assert not [code for code in codes if code in kept or code.replace("-", "") in kept]


def test_a_wrong_code_confirms_no_phone() -> None:
    client = logged_in(staff())
    client.get(ENROL)
    assert enter(client, wrong_code(TOTPDevice.objects.get()), ENROL).status_code == 422
    assert not TOTPDevice.objects.filter(confirmed=True).exists()
    assert client.get("/admin/").status_code == 303


def test_who_had_the_password_first_does_not_know_the_secret_that_the_owner_confirms() -> None:
    user = staff()
    thief, owner = logged_in(user), logged_in(user)
    thief.get(ENROL)
    seen = TOTPDevice.objects.get().key
    enrolled(owner)
    assert TOTPDevice.objects.get().key != seen
    assert enter(thief, "123456", ENROL)["Location"].startswith(VERIFY)


def test_a_password_alone_puts_no_other_phone_in_the_place_of_one() -> None:
    user = staff()
    device = with_phone(user)
    client = logged_in(user)
    assert client.get(ENROL)["Location"].startswith(VERIFY)
    assert enter(client, "123456", ENROL)["Location"].startswith(VERIFY)
    enter(client, code_of(device))
    enrolled(client)
    assert TOTPDevice.objects.get().pk != device.pk


def test_a_session_verified_by_a_phone_that_was_replaced_is_verified_no_more() -> None:
    user = staff()
    device = with_phone(user)
    old, new = logged_in(user), logged_in(user)
    enter(old, code_of(device))
    assert old.get("/admin/").status_code == 200
    later(device)
    enter(new, code_of(device))
    enrolled(new)
    assert old.get("/admin/").status_code == 303


def test_a_code_counts_once_also_when_two_send_it_together() -> None:
    user = staff()
    device = with_phone(user)
    code = code_of(device)
    clients = [logged_in(user), logged_in(user)]
    answers: list[Any] = at_once(*(lambda client=client: enter(client, code) for client in clients))
    assert sorted(answer.status_code for answer in answers) == [303, 422]
    assert sorted(client.get("/admin/").status_code for client in clients) == [200, 303]


def test_a_recovery_code_counts_once_and_spaces_and_capitals_do_not_matter() -> None:
    user = staff()
    codes = enrolled(logged_in(user))
    client = logged_in(user)
    assert enter(client, codes[0].upper().replace("-", " ")).status_code == 303
    assert client.get("/admin/").status_code == 200
    assert RecoveryCode.objects.filter(used_at=None).count() == 9
    assert StaffAct.objects.first().act == "use recovery code"  # type: ignore[union-attr]
    another = logged_in(user)
    assert enter(another, codes[0]).status_code == 422
    assert another.get("/admin/").status_code == 303


def test_a_recovery_code_is_its_owners_alone() -> None:
    codes = enrolled(logged_in(staff()))
    other = staff("olga")
    with_phone(other)
    assert enter(logged_in(other), codes[0]).status_code == 422


def test_new_recovery_codes_end_the_old_ones() -> None:
    user = staff()
    client = logged_in(user)
    old = enrolled(client)
    new = shown_codes(client.post(CODES))
    assert len(new) == 10 and not set(new) & set(old)
    another = logged_in(user)
    assert enter(another, old[0]).status_code == 422
    later(TOTPDevice.objects.get())
    assert enter(another, new[0]).status_code == 303


@pytest.mark.parametrize("kind", ["of the app", "recovery code"])
def test_after_wrong_codes_even_the_right_one_has_to_wait(kind: str) -> None:
    user = staff()
    codes = enrolled(logged_in(user))
    device = TOTPDevice.objects.get()
    client = logged_in(user)
    for _ in range(3):
        TOTPDevice.objects.update(throttling_failure_timestamp=timezone.now() - timedelta(minutes=1))
        assert enter(client, wrong_code(device) if kind == "of the app" else "not-a-code").status_code == 422
    TOTPDevice.objects.update(last_t=-1)
    answer = enter(client, code_of(device) if kind == "of the app" else codes[0])
    assert answer.status_code == 429
    assert 1 <= int(answer["Retry-After"]) <= 4
    assert "Too many wrong codes" in answer.content.decode()
    assert client.get("/admin/").status_code == 303
    assert RecoveryCode.objects.filter(used_at=None).count() == 10


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
def test_a_code_never_leads_elsewhere(target: str) -> None:
    user = staff()
    device = with_phone(user)
    client = logged_in(user)
    assert target not in client.get(VERIFY, {"next": target}).content.decode()
    assert enter(client, code_of(device), next=target)["Location"] == "/admin/"


def test_after_ten_minutes_it_is_asked_for_again_and_the_admin_stays_open() -> None:
    user = staff()
    device = with_phone(user)
    client = logged_in(user)
    enter(client, code_of(device))
    assert client.get(VERIFY, {"next": "/admin/"})["Location"] == "/admin/"
    session = client.session
    session["second_factor_at"] = int(time.time()) - 601
    session.save()
    assert client.get("/admin/").status_code == 200
    assert client.get(CODES)["Location"].startswith(VERIFY)
    assert client.post(CODES)["Location"].startswith(VERIFY)
    assert client.get(VERIFY, {"next": CODES}).status_code == 200
    later(device)
    assert enter(client, code_of(device), next=CODES)["Location"] == CODES
    assert client.get(CODES).status_code == 200


def request_of(user: Any, age_seconds: float | None) -> Any:
    request: Any = RequestFactory().get("/admin/desk/refund/1/?amount=5")
    request.user, request.session = user, {}
    if age_seconds is not None:
        request.session["second_factor_at"] = time.time() - age_seconds
    return request


def test_fresh_is_what_was_verified_within_ten_minutes() -> None:
    user: Any = staff()
    user.otp_device = None
    assert not is_fresh(request_of(user, 5))  # the device is gone
    user.otp_device = with_phone(user)
    with time_machine.travel(timezone.now(), tick=False):
        ages = {None: False, 0: True, 599: True, 600: False, -60: False}
        assert {age: is_fresh(request_of(user, age)) for age in ages} == ages
        assert is_fresh(request_of(user, 700), minutes=15)


def test_what_needs_a_fresh_one_leads_to_the_page_and_back(settings: Any) -> None:
    seen: list[Any] = []

    @needs_fresh_second_factor
    def view(request: Any) -> HttpResponse:
        seen.append(request)
        return HttpResponse()

    user: Any = staff()
    user.otp_device = with_phone(user)
    answer = view(request_of(user, 601))
    assert answer["Location"] == f"{VERIFY}?next=%2Fadmin%2Fdesk%2Frefund%2F1%2F%3Famount%3D5"
    assert seen == []
    view(request_of(user, 1))
    settings.STAFF_SECOND_FACTOR = False
    view(request_of(user, None))
    assert len(seen) == 2


def test_log_out_ends_the_verified_session() -> None:
    user = staff()
    client = logged_in(user)
    enrolled(client)
    assert client.post("/admin/logout/").status_code == 200
    client.force_login(user)
    assert client.get("/admin/").status_code == 303


def test_a_refund_by_api_needs_it_too_and_freshly() -> None:
    user = staff()
    user.user_permissions.add(Permission.objects.get(codename="refund_payment"))
    client = logged_in(user)
    answer = client.post("/api/payments/pay_1/refunds/", {}, content_type="application/json")
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/forbidden")
    assert "second factor" in answer.json()["detail"]
    enrolled(client)
    assert client.post("/api/payments/pay_1/refunds/", {}, content_type="application/json").status_code == 404
    session = client.session
    session["second_factor_at"] -= 601
    session.save()
    assert client.get("/admin/").status_code == 200
    answer = client.post("/api/payments/pay_1/refunds/", {}, content_type="application/json")
    assert (answer.status_code, "again" in answer.json()["detail"]) == (403, True)


def test_off_it_is_asked_of_nobody(settings: Any) -> None:
    settings.STAFF_SECOND_FACTOR = False
    client = logged_in(staff())
    assert client.get("/admin/").status_code == 200
    for path in (VERIFY, ENROL, CODES):
        assert client.get(path)["Location"] == "/admin/"


def test_a_lost_phone_is_forgotten_by_command(capsys: Any) -> None:
    user = staff()
    client = logged_in(user)
    enrolled(client)
    call_command("forget_second_factor", "fiona")
    assert "1 phones of 'fiona' forgotten" in capsys.readouterr().out
    assert client.get("/admin/", follow=True).redirect_chain[-1][0].startswith(ENROL)
    assert not RecoveryCode.objects.exists()
    with pytest.raises(CommandError, match="no user 'nobody'"):
        call_command("forget_second_factor", "nobody")


def test_production_without_it_is_warned_of(settings: Any) -> None:
    assert staff_have_a_second_factor() == []
    settings.STAFF_SECOND_FACTOR = False
    settings.DEBUG = False
    [message] = staff_have_a_second_factor()
    assert (message.id, bool(message.hint)) == ("shop.W001", True)
    settings.DEBUG = True
    assert staff_have_a_second_factor() == []


def test_nobody_sees_or_changes_a_secret_in_the_admin() -> None:
    client = logged_in(staff(is_superuser=True))
    enrolled(client)
    page = client.get("/admin/").content.decode()
    assert "/admin/otp_totp/" not in page and "/admin/shop/recoverycode/" not in page
    assert client.get("/admin/otp_totp/totpdevice/").status_code == 404
