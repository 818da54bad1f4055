"""The runbook: a page for each alarm and each case, in docs/runbook and in the admin, and none says what is not so."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse

from payments.backoffice.runbook import FOLDER, page_names, read_page
from payments.models import Break
from payments.monitoring.alarms import ALARMS, break_page
from shop.env import BASE_DIR
from tests.payments.test_desk_dashboard import staff_with

pytestmark = pytest.mark.django_db(transaction=True)

HEADINGS = ["What it means", "What the shopper sees", "Where to look", "What to do", "Never", "Call on-call"]
CASES = {
    "double-press",
    "lost-answer",
    "decline-then-success",
    "late-payment",
    "refund-pressed-twice",
    "charge-without-order",
    "dispute",
    "amount-differs",
    "refund-not-arrived",
    "no-mail",
    "was-i-charged-twice",
}
PAGES = sorted(page_names())
INDEX = (FOLDER / "README.md").read_text()


def text_of(name: str) -> str:
    return page_names()[name].read_text()


def links_in(text: str) -> list[str]:
    return re.findall(r"\]\(([^)]+)\)", text)


# --- every page is there, and found ----------------------------------------------------------------------------------


def test_every_alarm_and_every_case_has_a_page() -> None:
    assert (set(ALARMS) | CASES) - set(PAGES) == set()
    every_break = {
        break_page(kind, found)
        for kind in Break.Kind.values
        for found in ("", "sweep", "books", "late money", "refund", "goods", "migration")
    }
    assert every_break - set(PAGES) == set()


def test_every_page_is_linked_from_the_index_and_nothing_else_is() -> None:
    assert {link.removesuffix(".md") for link in links_in(INDEX)} == set(PAGES)


def test_the_index_calls_an_alarm_as_the_dashboard_does() -> None:
    assert [title for title in ALARMS.values() if f"| [{title}](" not in INDEX] == []
    assert [name for name, title in ALARMS.items() if text_of(name).splitlines()[0] != f"# {title}"] == []


def test_every_error_in_the_log_stands_in_the_index() -> None:
    said = {name for app in ("payments", "orders", "shop") for name in _errors(BASE_DIR / app)}
    assert len(said) > 10
    assert {name for name in said if f"`{name}`" not in INDEX} == set()
    assert {
        kind for kind in Break.Kind.values if f"`{kind}`" not in INDEX
    } == set()  # the sweep logs a break by its kind


def _errors(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())) if "sandbox" not in path.parts else ():
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="log"), attr="error" | "exception"),
                    args=[ast.Constant(value=str(name)), *_],
                ):
                    yield name


# --- every page is written alike, and true ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_a_page_answers_the_same_questions_in_the_same_order(name: str) -> None:
    text = text_of(name)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    assert "\n1. " in text.split("## What to do")[1]
    assert len(text.split()) < 400  # somebody reads it at night


@pytest.mark.parametrize("name", [*PAGES, "README"])
def test_a_page_names_only_buttons_and_panels_that_exist(name: str) -> None:
    """What stands in bold is what stands on the screen."""
    text = INDEX if name == "README" else text_of(name)
    wanted = {" ".join(label.split()) for label in re.findall(r"\*\*(.+?)\*\*", text, re.DOTALL)}
    assert {label for label in wanted if label not in _screen()} == set()


def _screen() -> str:
    folders = [BASE_DIR / "templates" / "admin", BASE_DIR / "payments" / "backoffice"]
    return "\n".join(
        path.read_text() for folder in folders for path in sorted(folder.rglob("*.*")) if path.suffix != ".pyc"
    )


@pytest.mark.parametrize("name", PAGES)
def test_a_page_leads_only_to_pages_that_are_there(name: str) -> None:
    assert set(links_in(text_of(name))) - {f"{page}.md" for page in PAGES} == set()


@pytest.mark.parametrize("name", PAGES)
def test_no_page_lets_anybody_mark_an_order_as_paid_or_call_the_unknown_failed(name: str) -> None:
    advice = text_of(name).split("## Never")[0]
    assert not re.search(r"mark .{0,20}as paid", advice)
    assert not re.search(r"(unknown|undecided)[^.]*\bfailed", advice, re.IGNORECASE)


# --- in the admin -----------------------------------------------------------------------------------------------------


def test_staff_read_every_page_in_the_admins_frame() -> None:
    client = staff_with("payments.view_payment")
    for name in PAGES:
        page = client.get(reverse("desk:runbook-page", args=[name]))
        html = page.content.decode()
        assert page.status_code == 200
        assert "<h2>What to do</h2>" in html and "Payments dashboard</a>" in html
        assert "style=" not in html and ".md" not in html


def test_the_index_leads_to_each_page() -> None:
    html = staff_with("payments.view_payment").get(reverse("desk:runbook")).content.decode()
    assert [name for name in PAGES if f'href="{reverse("desk:runbook-page", args=[name])}"' not in html] == []
    assert "<table>" in html


def test_only_staff_who_may_see_payments_read_it() -> None:
    address = reverse("desk:runbook-page", args=["dispute"])
    assert Client().get(address).status_code == 302
    assert staff_with("orders.view_order").get(address).status_code == 403


@pytest.mark.parametrize(
    "name",
    ["README", "readme", "no-such-page", "..", "../README", "..%2fREADME", "%2e%2e/secret", "dispute.md", "dispute%00",
     "/etc/passwd", "..%5c..%5cREADME", "dispute/../../running", "%252e%252e%252frunning"],
)  # fmt: skip
def test_a_page_is_only_ever_one_of_those_that_are_there(name: str) -> None:
    answer = staff_with("payments.view_payment").get(f"{reverse('desk:runbook')}{name}/")
    assert answer.status_code == (400 if "%00" in name else 404)


def test_html_in_a_page_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(
        "# A <b>title</b>\n\n<script>alert(1)</script> [x](javascript:alert(1)) <img src=x onerror=alert(1)>\n\n"
        "[out](../../shop/settings.py) [other](no-such-page.md) [page](dispute.md)\n"
    )
    page = read_page(path)
    assert page.title == "A <b>title</b>"  # escaped by the template
    assert "<script" not in page.body and "<img" not in page.body and 'href="javascript' not in page.body
    assert f'href="{reverse("desk:runbook-page", args=["dispute"])}"' in page.body


def test_a_page_that_was_edited_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("# One\n")
    assert read_page(path).title == "One"
    path.write_text("# Another\n")
    assert read_page(path).title == "Another"
