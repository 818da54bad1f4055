"""CSV export: safe in a spreadsheet, audited before its first byte, and small in memory whatever its size."""

import csv
import datetime
import http.client
import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from orders.models import Order
from payments.backoffice.dashboard.export import PAGE, csv_lines, safe_cell
from payments.backoffice.dashboard.figures import FIGURES
from payments.models import Payment
from shop.env import BASE_DIR
from shop.models import StaffAct
from tests.orders.making import make_attempt, make_order
from tests.payments.exporting import export, many_payments
from tests.payments.planting import change_total
from tests.services import Stack, services

pytestmark = pytest.mark.django_db(transaction=True)

MANY = 100_000
GROWTH_AT_MOST_KIB = 14 * 1024  # the text alone is 21 MB, and its rows as Django keeps them ten times that


def staff(*permissions: str) -> Client:
    user = User.objects.create_user("fiona", password="a long password", is_staff=True)
    for one in permissions or ("payments.export_payment",):
        label, codename = one.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=label, codename=codename))
    client = Client()
    client.force_login(user)
    return client


def today() -> str:
    return timezone.now().date().isoformat()


def read(answer: Any) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.content
    text = b"".join(answer.streaming_content).decode()
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text[1:])))


def paid_order(**fields: Any) -> Order:
    order = make_order(**fields)
    payment = make_attempt(order, "succeeded").payment
    Payment.objects.filter(pk=payment.pk).update(phase="succeeded", captured_minor=order.total_minor, intent_id="pi_0")
    return order


# --- what a spreadsheet would run ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\0=1", "\tx", "\rx", "\0x", "  =1", "\u00a0=1",
     "\ufeff=1", " \t -1", "\u200b@x", "\uff1d1", " \uff0b1", "=cmd|' /C calc'!A0"],
)  # fmt: skip
def test_a_text_that_a_spreadsheet_would_run_becomes_a_text(text: str) -> None:
    assert safe_cell(text) == f"'{text}"
    line = list(csv_lines([[text]]))[1]
    assert line.lstrip('"').startswith("'")


@pytest.mark.parametrize("text", ["", "Ada", "a=1", "1-2", "ada@example.com", "12.50", "£12.50", "'=1", "5"])
def test_any_other_text_is_left_as_it_is(text: str) -> None:
    assert safe_cell(text) == text


@pytest.mark.parametrize("number", [0, -5, 12.5])
def test_a_number_stays_a_number(number: float) -> None:
    assert safe_cell(number) == number


def test_a_name_that_is_a_formula_is_exported_as_a_text() -> None:
    paid_order(name='=HYPERLINK("http://evil.example","x")', city="\t=1", line1="@x")
    row = read(export(staff("payments.export_payment", "orders.see_personal_data"), today(), today()))[0]
    assert (row["name"], row["city"], row["line 1"]) == ('\'=HYPERLINK("http://evil.example","x")', "'\t=1", "'@x")


# --- who gets what ----------------------------------------------------------------------------------------------------


def test_only_who_may_export_gets_form_file_and_figures() -> None:
    client = staff("payments.view_payment")
    for answer in (
        client.get(reverse("desk:export-payments")),
        export(client, today(), today()),
        client.post(reverse("desk:export-figure", args=["attempts"])),
    ):
        assert answer.status_code == 403
    assert not StaffAct.objects.exists()
    assert export(Client(), today(), today()).status_code == 302


def test_personal_data_is_there_only_for_who_may_see_it() -> None:
    order = paid_order()
    client = staff()
    row = read(export(client, today(), today()))[0]
    assert "e-mail" not in row
    assert order.email not in str(row) and order.name not in str(row) and order.line1 not in str(row)
    assert "Without names" in client.get(reverse("desk:export-payments")).content.decode()
    permission = Permission.objects.get(codename="see_personal_data")
    User.objects.get().user_permissions.add(permission)
    row = read(export(client, today(), today()))[0]
    assert (row["e-mail"], row["name"], row["line 1"]) == (order.email, order.name, order.line1)


def test_amounts_are_texts_and_minor_units() -> None:
    order = make_order()
    change_total(order, total_minor=123456)
    make_attempt(order, "succeeded")
    Payment.objects.update(phase="succeeded", captured_minor=123456, currency="KWD", intent_id="pi_0")
    row = read(export(staff(), today(), today()))[0]
    assert (row["order"], row["order status"], row["phase"]) == (order.number, "pending", "succeeded")
    assert (row["currency"], row["amount"], row["amount in minor units"]) == ("KWD", "123.456", "123456")
    assert (row["captured"], row["refunded in minor units"], row["intent"]) == ("123.456", "0", "pi_0")


def test_days_and_phase_choose_the_rows() -> None:
    client = staff()
    orders = {phase: make_order() for phase in ("open", "closing")}
    for phase, order in orders.items():
        make_attempt(order, "unknown")
        Payment.objects.filter(order=order).update(phase=phase)
    assert {row["order"] for row in read(export(client, today(), today()))} == {o.number for o in orders.values()}
    assert [row["order"] for row in read(export(client, today(), today(), "open"))] == [orders["open"].number]
    assert read(export(client, "2020-01-01", "2020-12-31")) == []


@pytest.mark.parametrize(
    ("first", "last", "phase"), [("", "2026-01-01", ""), ("2026-01-02", "2026-01-01", ""), ("2026-01-01", "x", ""),
                                 ("2026-01-01", "2026-01-02", "paid")],
)  # fmt: skip
def test_a_form_that_makes_no_sense_exports_nothing(first: str, last: str, phase: str) -> None:
    answer = export(staff(), first, last, phase)
    assert (answer.status_code, answer["Content-Type"]) == (422, "text/html; charset=utf-8")
    assert not StaffAct.objects.exists()


def test_the_form_begins_with_the_last_thirty_days() -> None:
    html = staff().get(reverse("desk:export-payments")).content.decode()
    first = (timezone.now() - datetime.timedelta(days=30)).date().isoformat()
    assert f'value="{first}"' in html and f'value="{today()}"' in html


def test_pages_meet_without_a_gap_or_a_row_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payments.backoffice.dashboard.export.PAGE", 7)
    order = paid_order()
    many_payments(order, 100)  # ten at a time in the same second, so pages end among equals
    rows = read(export(staff(), "2026-01-01", today()))
    assert len(rows) == len({row["payment"] for row in rows}) == 101
    assert [row["created at (UTC)"] for row in rows] == sorted(row["created at (UTC)"] for row in rows)


# --- audited ----------------------------------------------------------------------------------------------------------


def test_an_export_is_written_down_before_its_first_byte() -> None:
    paid_order()
    answer = export(staff(), "2026-01-01", today(), "succeeded")
    row = StaffAct.objects.get()  # and nothing of the answer has been read
    assert (row.act, row.actor.username, row.subject, row.address) == ("export", "fiona", "payments", "127.0.0.1")
    assert row.after["from"] == "2026-01-01T00:00:00+00:00"
    assert (row.after["phase"], row.after["personal data"]) == ("succeeded", False)
    assert len(read(answer)) == 1


def test_what_cannot_be_written_down_is_not_exported() -> None:
    paid_order()
    client = staff()
    client.raise_request_exception = False
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE shop_staffact ADD CONSTRAINT none_today CHECK (act <> 'export') NOT VALID")
    try:
        assert export(client, today(), today()).status_code == 500
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE shop_staffact DROP CONSTRAINT none_today")


@pytest.mark.parametrize("name", FIGURES)
def test_the_numbers_of_a_chart_are_exported_and_written_down(name: str) -> None:
    answer = staff().post(reverse("desk:export-figure", args=[name]))
    rows = list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert len(rows) == (6 if name == "undecided" else 15)
    assert {len(row) for row in rows} == {len(rows[0])}
    assert StaffAct.objects.get().subject == f"figure {name}"


def test_another_figure_is_not_found_and_a_get_exports_nothing() -> None:
    client = staff()
    assert client.post(reverse("desk:export-figure", args=["orders"])).status_code == 404
    assert client.get(reverse("desk:export-figure", args=["attempts"])).status_code == 405
    assert not StaffAct.objects.exists()


# --- 100,000 rows -----------------------------------------------------------------------------------------------------


def many_orders(count: int) -> Order:
    order = paid_order(name="Zoë = Ångström", line1='1 High Street, "The Mill"\nFlat 2')
    many_payments(order, count - 1)
    return order


def test_a_hundred_thousand_rows_are_exported_in_little_memory(tmp_path: Path) -> None:
    many = many_orders(MANY)
    client = staff("payments.export_payment", "orders.see_personal_data")
    file = tmp_path / "payments.csv"
    env = dict(os.environ) | {"DATABASE_URL": services().postgres.url(connection.settings_dict["NAME"]), "DEBUG": "0",
                              "STAFF_SECOND_FACTOR": "0", "ALLOWED_HOSTS": "testserver"}  # fmt: skip
    command = [sys.executable, "-m", "tests.payments.export_child", client.cookies["sessionid"].value, str(file)]
    done = subprocess.run(command, cwd=BASE_DIR, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    growth = json.loads(done.stdout.splitlines()[-1])["growth_kib"]
    assert file.stat().st_size > 20_000_000
    with file.open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.reader(opened))
    assert len(rows) == MANY + 1
    assert {len(row) for row in rows} == {len(rows[0])}
    assert rows[-1][20:22] == [many.name, many.line1]
    assert growth < GROWTH_AT_MOST_KIB


def test_who_reads_slowly_or_goes_away_holds_no_connection(stack: Callable[..., Stack]) -> None:
    """The server has a single database connection; an export is stopped in the middle, twice, and it still serves."""
    many_orders(40_000)  # more than the sockets between them can hold
    client = staff()
    server = stack(servers=1, env={"DATABASE_POOL": "1", "STAFF_SECOND_FACTOR": "0"}).servers[0]
    for _ in range(2):
        with Download(server.url, client) as answer:
            assert answer.status == 200
            assert len(answer.read(50_000)) == 50_000
            assert _get(server.url, "/readyz").status in (200, 503)
            assert _get(server.url, "/api/products/").status == 200  # while the export waits for its reader
    assert _get(server.url, "/api/products/").status == 200
    assert StaffAct.objects.filter(act="export").count() == 2


class Download:
    """An export whose reader takes what it reads and no more, and then goes away."""

    def __init__(self, url: str, client: Client) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        where = urlsplit(url)
        self._connection.sock = socket.socket()
        self._connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)  # a slow reader's
        self._connection.sock.settimeout(30)
        self._connection.sock.connect((where.hostname, where.port))
        session = client.cookies["sessionid"].value
        form = _get(url, "/admin/desk/export/", session)
        self._token = form.cookies["csrftoken"]
        self._cookie = f"sessionid={session}; csrftoken={self._token}"
        self._url = url

    def __enter__(self) -> http.client.HTTPResponse:
        body = {"from_day": "2026-01-01", "to_day": "2030-01-01", "phase": "", "csrfmiddlewaretoken": self._token}
        headers = {"Cookie": self._cookie, "Content-Type": "application/x-www-form-urlencoded", "Origin": self._url}
        self._connection.request("POST", "/admin/desk/export/", urlencode(body), headers)
        return self._connection.getresponse()

    def __exit__(self, *_: object) -> None:
        self._connection.close()


class _Got:
    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status, self.text = answer.status, answer.read()
        self.cookies = {}
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie":
                cookie, _, content = value.split(";")[0].partition("=")
                self.cookies[cookie] = content


def _get(url: str, path: str, session: str = "") -> _Got:
    asked = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        asked.request("GET", path, headers={"Cookie": f"sessionid={session}"} if session else {})
        return _Got(asked.getresponse())
    finally:
        asked.close()


def test_the_connection_is_given_back_after_each_page() -> None:
    order = paid_order()
    many_payments(order, 2 * PAGE)
    answer = export(staff(), "2026-01-01", today())
    parts: Iterator[bytes] = iter(answer.streaming_content)
    assert next(parts)
    assert connection.connection is None
    answer.close()
    assert connection.connection is None


def test_the_last_day_that_there_is_can_be_asked_for(admin_client: Client) -> None:
    answer = admin_client.post("/admin/desk/export/", {"from_day": "2026-01-01", "to_day": "9999-12-31"})
    assert answer.status_code == 200
