"""The human page: what the book says, and the switches, for whoever wants to see the shop survive."""

from __future__ import annotations

import datetime
from typing import Any

from payments.sandbox.account import CHARGE, EVENT
from payments.sandbox.answers import Answer
from payments.sandbox.control import Control
from payments.sandbox.currencies import display
from payments.sandbox.switches import Refused

from .html import Safe, page, table, tag

Json = dict[str, Any]

_CONFIRM = "/v1/payment_intents/*/confirm"
_RULES: dict[str, tuple[str, Json]] = {
    "lose": ("Lose the next answer", {"act": "reset", "when": "after"}),
    "decline": ("Decline the next payment", {"act": "decline"}),
    "slow": ("Answer in 6 s", {"act": "delay", "when": "after", "seconds": 6}),
    "break": ("Charge, then answer 500", {"act": "500", "when": "after"}),
}
_NOTICES = {
    "lose": "The next payment will be charged, and its answer lost on the way back.",
    "decline": "The next payment will be declined.",
    "slow": "The next payment will be charged at once and answered after 6 s.",
    "break": "The next payment will be charged and answered with a 500.",
    "five": "The newest webhook was sent five times at once.",
    "none": "There is no event to send yet.",
    "late": "Webhooks come 10 s late from now on.",
    "never": "Webhooks are lost from now on.",
    "normal": "Everything is normal again.",
}
_ROWS = 40


def act_on_switch(control: Control, form: dict[str, str]) -> Answer:
    act = form.get("act", "")
    if act in _RULES:
        control.rules.add({"path": _CONFIRM, "times": 1, **_RULES[act][1]})
    elif act == "five":
        act = _send_five_times(control)
    elif act in ("late", "never"):
        control.webhooks.switch({"mode": act, **({"seconds": 10} if act == "late" else {})})
    else:
        act = "normal"
        control.rules.clear()
        control.webhooks.switch({"mode": "normal"})
    return Answer(303, "", {"Location": f"/?said={act}"})


def _send_five_times(control: Control) -> str:
    newest, _ = control.account.shelves[EVENT].page(
        limit=1, wanted=lambda event: event["type"].startswith("payment_intent.")
    )
    if not newest:
        return "none"
    try:
        control.send({"event": newest[0]["id"], "times": 5, "simultaneous": True})
    except Refused:
        return "none"
    return "five"


def show_front(control: Control, query: dict[str, str]) -> Answer:
    account = control.account
    with account.lock:
        charges, _ = account.shelves[CHARGE].page(limit=_ROWS)
        doubled = sorted(order for order in account.overcharged)
        calls = list(account.calls)[: -_ROWS - 1 : -1]
    notice = _NOTICES.get(query.get("said", ""))
    return page(
        "Payonce sandbox",
        tag(
            "main",
            tag("h1", "The sandbox's book"),
            tag("p", "A local Stripe. No money moves. It charges as often as it is asked to.", class_="quiet"),
            *(
                tag("p", f"Order {order} was charged {len(account.taken[order])} times.", class_="loud", role="alert")
                for order in doubled
            ),
            tag("p", notice, class_="notice", role="status") if notice else "",
            tag("h2", "Switches"),
            _buttons(),
            _state(control),
            tag("h2", "Charges by order"),
            _charges(control, charges),
            tag("h2", "Latest calls"),
            _calls(calls),
        ),
    )


def _buttons() -> Safe:
    buttons = [tag("button", text, name="act", value=act) for act, (text, _) in _RULES.items()]
    buttons += [
        tag("button", "Send the webhook five times", name="act", value="five"),
        tag("button", "Webhooks 10 s late", name="act", value="late"),
        tag("button", "No webhooks", name="act", value="never"),
        tag("button", "Back to normal", name="act", value="normal", class_="main"),
        tag("a", "Refresh", href="/", class_="button"),
    ]
    return tag("form", tag("div", *buttons, class_="row"), method="post", action="/")


def _state(control: Control) -> Safe:
    hooks = control.webhooks.state()
    waiting = [
        f"{rule['act']} {rule['when']} on {rule['path']}"
        + (f", {rule['seconds']:g} s" if rule["seconds"] else "")
        + (f", {rule['times'] - rule['hits']} left" if rule["times"] is not None else ", for ever")
        for rule in control.rules.list()
        if rule["times"] is None or rule["hits"] < rule["times"]
    ]
    rules = "; ".join(waiting) if waiting else "none"
    return tag("p", f"Webhooks: {hooks['mode']}, {hooks['undelivered']} undelivered. Rules: {rules}.", class_="quiet")


def _charges(control: Control, charges: list[Json]) -> Safe:
    if not charges:
        return tag("p", "No charges yet.", class_="quiet")
    rows: list[list[object]] = []
    for charge in charges:
        order = charge["metadata"].get("order")
        taken = len(control.account.taken.get(order, ())) if order else 0
        times = tag("span", f"{taken} charges", class_="bad") if taken > 1 else (f"{taken}" if order else "")
        good = charge["status"] == "succeeded"
        outcome = "authorized" if good and not charge["captured"] else charge["status"]
        reason = charge["outcome"]["reason"]
        rows.append(
            [
                order or "no order",
                times,
                tag("span", outcome + (f": {reason}" if reason else ""), class_="good" if good else "bad"),
                display(charge["amount"], charge["currency"]),
                "{brand} {last4}".format_map(charge["payment_method_details"]["card"]),
                _clock(charge["created"]),
                tag("code", charge["id"]),
            ]
        )
    heads = ["Order", "Charged", "Outcome", "Amount", "Card", "Time (UTC)", "Charge"]
    return table(heads, rows, "Charges by order")


def _calls(calls: list[Json]) -> Safe:
    if not calls:
        return tag("p", "No calls yet.", class_="quiet")
    rows: list[list[object]] = []
    for call in calls:
        took = "running" if call["ended"] is None else f"{(call['ended'] - call['started']) * 1000:.0f} ms"
        remarks = [word for word in ("replayed", "lost") if call[word]] + ([call["fault"]] if call["fault"] else [])
        rows.append(
            [
                _clock(call["started"]),
                tag("code", f"{call['method']} {call['path']}"),
                call["status"] or "",
                took,
                ", ".join(remarks),
                tag("code", call["key"] or ""),
                call["order"] or "",
            ]
        )
    heads = ["Time (UTC)", "Call", "Status", "Took", "Remarks", "Idempotency key", "Order"]
    return table(heads, rows, "Latest calls")


def _clock(moment: float) -> str:
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%H:%M:%S")
