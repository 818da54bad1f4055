"""The template lint of `make check`."""

import pytest

from shop.stack.templates import faults_of


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<p>\n<script>alert(1)</script></p>", (2, "<script>: inline script")),
        ('<p style="color: red"></p>', (1, "<p>: inline style")),
        ("<style>p {}</style>", (1, "<style>: inline style")),
        ('<button onclick="pay()">Pay</button>', (1, "<button>: inline handler onclick")),
        ('<a href="javascript:pay()">Pay</a>', (1, "<a>: javascript: in href")),
        ("<main>\n<div>\n</main>", (2, "<div> is not closed")),
        ("{# one\ntwo #}\n</div>", (3, "</div> closes nothing that is open here")),
    ],
)
def test_a_fault_is_found_at_its_line(text: str, fault: tuple[int, str]) -> None:
    assert fault in faults_of(text)


@pytest.mark.parametrize(
    "text",
    [
        '{% extends "base.html" %}{% block main %}<p>{{ a }}<br></p>{% endblock %}',
        '<script src="{% static "js/pay_button.js" %}" defer></script>',
        '<script type="application/json" id="order">{"a": "<b>"}</script>',
        '<svg viewBox="0 0 1 1"><path d="M0 0"/></svg>',
        "{% comment %}<script>{% endcomment %}",
        '<input {% if first %}autofocus{% endif %} name="email">',
    ],
)
def test_what_is_right_passes(text: str) -> None:
    assert faults_of(text) == []
