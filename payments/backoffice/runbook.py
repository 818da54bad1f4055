"""The runbook in the admin: docs/runbook/, one page per alarm and per case that a clerk meets (EXPERIENCE ST11).

A page is named by its file: what is asked for is looked up among the files that are there, and never made into a path.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_safe
from markdown_it import MarkdownIt
from markdown_it.token import Token

from shop.env import BASE_DIR
from shop.staff_pages import in_frame, staff_page

FOLDER = BASE_DIR / "docs" / "runbook"
INDEX = "README"
# HTML in a page is shown as text: nothing that stands in a document becomes markup of the admin.
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


@dataclass(frozen=True)
class Page:
    title: str
    body: SafeString


def page_names() -> dict[str, Path]:
    """Every page but the index, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.md")) if path.stem != INDEX}


def read_page(path: Path) -> Page:
    return _rendered(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=128)
def _rendered(path: Path, changed_ns: int) -> Page:
    tokens = _MARKDOWN.parse(path.read_text(encoding="utf-8"))
    title = path.stem
    if tokens and tokens[0].type == "heading_open":
        title, tokens = tokens[1].content, tokens[3:]
    for token in tokens:
        for inner in token.children or []:
            _lead_to_admin(inner)
    html = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    return Page(title, mark_safe(html))  # noqa: S308 - rendered from our own files, with HTML disabled


def _lead_to_admin(token: Token) -> None:
    """A link to another page's file leads to that page in the admin."""
    target = token.attrs.get("href")
    if token.type != "link_open" or not isinstance(target, str) or not target.endswith(".md"):
        return
    name = target.removesuffix(".md")
    if name == INDEX:
        token.attrs["href"] = reverse("desk:runbook")
    elif name in page_names():
        token.attrs["href"] = reverse("desk:runbook-page", args=[name])


@staff_page("payments.view_payment")
@require_safe
def runbook(request: HttpRequest) -> HttpResponse:
    """The index: by alarm, and by what a shopper says."""
    return _shown(request, FOLDER / f"{INDEX}.md", "")


@staff_page("payments.view_payment")
@require_safe
def runbook_page(request: HttpRequest, name: str) -> HttpResponse:
    path = page_names().get(name)
    if path is None:
        raise Http404
    return _shown(request, path, name)


def _shown(request: HttpRequest, path: Path, name: str) -> HttpResponse:
    page = read_page(path)
    return render(request, "admin/desk/runbook.html", in_frame(request, page.title, page=page, name=name))
