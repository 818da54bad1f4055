"""Just enough HTML: escaped text, tags, and a page with a strict policy."""

from __future__ import annotations

from html import escape

from payments.sandbox.answers import Answer


class Safe(str):
    """Markup that is already escaped."""

    __slots__ = ()

    def __add__(self, other: str) -> Safe:
        return Safe(str(self) + shown(other))


def shown(value: object) -> Safe:
    return value if isinstance(value, Safe) else Safe(escape("" if value is None else str(value)))


def tag(element: str, /, *content: object, **attributes: object) -> Safe:
    listed = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Safe(f"<{element}{listed}>{''.join(shown(each) for each in content)}</{element}>")


def table(heads: list[str], rows: list[list[object]], label: str) -> Safe:
    head = tag("tr", *(tag("th", each, scope="col") for each in heads))
    body = [tag("tr", *(tag("td", each) for each in row)) for row in rows]
    whole = tag("table", tag("thead", head), tag("tbody", *body), aria_label=label)
    return tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label=label)


def page(title: str, *content: object, status: int = 200, body: str = "", framed: bool = False) -> Answer:
    """`body`: attributes of the body element, escaped already."""
    policy = "default-src 'none'; style-src 'self'; script-src 'self'; base-uri 'none'"
    if not framed:
        policy += "; frame-ancestors 'none'; form-action 'self'"
    text = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>{escape(title)}</title><link rel="stylesheet" href="/static/page.css"><body{body}>'
        + "".join(shown(each) for each in content)
        + "</body></html>"
    )
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Cache-Control": "no-store",
        "Content-Security-Policy": policy,
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }
    return Answer(status, text, headers)
