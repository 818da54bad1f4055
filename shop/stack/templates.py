"""Looks at every template: does it compile, are its tags closed, and is nothing inline that our CSP forbids (SE21)?"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

from shop.env import BASE_DIR

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
DJANGO_TAG = re.compile(r"{%.*?%}|{{.*?}}|{#.*?#}", re.DOTALL)
COMMENT_BLOCK = re.compile(r"{% comment .*?%}.*?{% endcomment %}|{% comment %}.*?{% endcomment %}", re.DOTALL)


def faults_of(text: str) -> list[tuple[int, str]]:
    """Line and fault, for a template's text."""
    page = _Page()
    page.feed(DJANGO_TAG.sub(_same_lines, COMMENT_BLOCK.sub(_same_lines, text)))
    page.close()
    return sorted(page.faults + [(line, f"<{tag}> is not closed") for tag, line in page.open])


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[str, int]] = []
        self.faults: list[tuple[int, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._look(tag, dict(attrs))
        if tag not in VOID:
            self.open.append((tag, self._line()))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._look(tag, dict(attrs))  # SVG's <path ... />

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1][0] == tag:
            self.open.pop()
        else:
            self.faults.append((self._line(), f"</{tag}> closes nothing that is open here"))

    def _look(self, tag: str, attributes: dict[str, str | None]) -> None:
        if tag == "style" or "style" in attributes:
            self._fault(tag, "inline style")
        if tag == "script" and "src" not in attributes and attributes.get("type") != "application/json":
            self._fault(tag, "inline script")
        for name, value in attributes.items():
            if name.startswith("on"):
                self._fault(tag, f"inline handler {name}")
            if (value or "").strip().lower().startswith("javascript:"):
                self._fault(tag, f"javascript: in {name}")

    def _fault(self, tag: str, what: str) -> None:
        self.faults.append((self._line(), f"<{tag}>: {what}"))

    def _line(self) -> int:
        return self.getpos()[0]


def _same_lines(match: re.Match[str]) -> str:
    return "\n" * match[0].count("\n")


def main() -> int:
    import django
    from django.template import TemplateSyntaxError, engines

    django.setup()
    found = 0
    for file in sorted(folder_file for folder in _folders() for folder_file in folder.rglob("*.html")):
        text = file.read_text()
        faults = faults_of(text)
        try:
            engines["django"].from_string(text)
        except TemplateSyntaxError as error:
            faults.append((1, str(error)))
        for line, fault in faults:
            print(f"{file.relative_to(BASE_DIR)}:{line}: {fault}")
        found += len(faults)
    return 1 if found else 0


def _folders() -> list[Path]:
    return [BASE_DIR / "templates"]


if __name__ == "__main__":
    sys.exit(main())
