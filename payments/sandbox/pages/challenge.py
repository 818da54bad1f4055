"""The bank's 3-D Secure page, in a frame or as a stop on the way (Stripe: 3D Secure, redirect_to_url)."""

from __future__ import annotations

from html import escape
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from payments.sandbox import intents
from payments.sandbox.account import INTENT
from payments.sandbox.answers import Answer
from payments.sandbox.control import Control
from payments.sandbox.currencies import display
from payments.sandbox.switches import Refused

from .html import Safe, page, tag

_SCRIPT = Safe('<script src="/static/challenge.js"></script>')


def _parts(path: str) -> tuple[str, str]:
    parts = path.removeprefix("/3ds/").split("/")
    return (parts[0], parts[1]) if len(parts) == 2 else ("", "")


def _waits(control: Control, intent_id: str, nonce: str) -> bool:
    intent = control.account.get(INTENT, intent_id)
    right = control.account.private(INTENT, intent_id).get("nonce") == nonce
    return intent is not None and right and intent["status"] == "requires_action"


def show_challenge(control: Control, path: str, query: dict[str, str]) -> Answer:
    intent_id, nonce = _parts(path)
    origin = query.get("origin", "")
    intent = control.account.get(INTENT, intent_id)
    if intent is None or not _waits(control, intent_id, nonce):
        return _over(origin)
    return page(
        "Confirm your payment",
        tag(
            "main",
            tag("h1", "Your bank wants to be sure"),
            tag("p", "This is the sandbox's bank. Did you start this payment?", class_="quiet"),
            tag("p", display(intent["amount"], intent["currency"]), class_="sum"),
            tag(
                "form",
                tag("input", type="hidden", name="origin", value=origin),
                tag("button", "Complete", name="outcome", value="pass", class_="main"),
                tag("button", "Fail", name="outcome", value="fail"),
                method="post",
                action=path,
            ),
            class_="bank",
        ),
        _SCRIPT,
        body=f' data-origin="{escape(origin)}"',
        framed=True,
    )


def answer_challenge_page(control: Control, path: str, form: dict[str, str]) -> Answer:
    intent_id, nonce = _parts(path)
    origin = form.get("origin", "")
    passed = form.get("outcome") == "pass"
    try:
        intent = control.change(intent_id, lambda change: intents.answer_challenge(change, intent_id, passed, nonce))
    except Refused:
        return _over(origin)
    return_url = control.account.private(INTENT, intent_id).get("return_url")
    if origin or not return_url:
        return _done(origin)
    status = {"succeeded": "succeeded", "requires_capture": "succeeded", "processing": "pending"}
    added = {
        "payment_intent": intent_id,
        "payment_intent_client_secret": intent["client_secret"],
        "redirect_status": status.get(intent["status"], "failed"),
    }
    return Answer(303, "", {"Location": _with_query(return_url, added), "Cache-Control": "no-store"})


def _with_query(url: str, added: dict[str, str]) -> str:
    parts = urlsplit(url)
    query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *added.items()])
    return urlunsplit(parts._replace(query=query))


def _over(origin: str) -> Answer:
    return page(
        "Nothing to confirm",
        tag(
            "main",
            tag("h1", "Nothing to confirm here"),
            tag("p", "This verification was answered already, or its payment has moved on."),
            class_="bank",
        ),
        _SCRIPT,
        body=f' data-origin="{escape(origin)}" data-answered="1"',
        status=200,
        framed=True,
    )


def _done(origin: str) -> Answer:
    return page(
        "Thank you",
        tag("main", tag("h1", "Thank you"), tag("p", "You may return to the shop."), class_="bank"),
        _SCRIPT,
        body=f' data-origin="{escape(origin)}" data-answered="1"',
        framed=True,
    )
