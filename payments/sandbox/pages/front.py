"""The human page: what the book says, and the switches, for whoever wants to see the shop survive."""

from __future__ import annotations

import datetime
from typing import Any

from payments.sandbox.account import CHARGE, DISPUTE, REFUND
from payments.sandbox.answers import Answer
from payments.sandbox.control import Control
from payments.sandbox.currencies import display

from .html import Safe, page, table, tag
from .payment import page_of
from .switchboard import buttons, notice, state

Json = dict[str, Any]

_ROWS = 40


def show_front(control: Control, query: dict[str, str]) -> Answer:
    account = control.account
    with account.lock:
        charges, _ = account.shelves[CHARGE].page(limit=_ROWS)
        refunds, _ = account.shelves[REFUND].page(limit=_ROWS)
        disputes, _ = account.shelves[DISPUTE].page(limit=_ROWS)
        doubled = sorted(order for order in account.overcharged)
        calls = list(account.calls)[: -_ROWS - 1 : -1]
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
            notice(query.get("said", "")),
            tag("h2", "Switches"),
            buttons(),
            state(control),
            tag("h2", "Charges by order"),
            _charges(control, charges),
            *(_money_back(control, "Refunds", refunds) if refunds else ()),
            *(_money_back(control, "Disputes", disputes) if disputes else ()),
            tag("h2", "Latest calls"),
            _calls(calls),
        ),
    )


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
        back = display(charge["amount_refunded"], charge["currency"]) if charge["amount_refunded"] else ""
        rows.append(
            [
                order or "no order",
                times,
                tag("span", outcome + (f": {reason}" if reason else ""), class_="good" if good else "bad"),
                display(charge["amount"], charge["currency"]),
                back,
                "{brand} {last4}".format_map(charge["payment_method_details"]["card"]),
                _clock(charge["created"]),
                tag("a", tag("code", charge["id"]), href=page_of(charge["id"])),
            ]
        )
    heads = ["Order", "Charged", "Outcome", "Amount", "Refunded", "Card", "Time (UTC)", "Charge"]
    return table(heads, rows, "Charges by order")


def _money_back(control: Control, title: str, things: list[Json]) -> tuple[Safe, Safe]:
    """Refunds, or disputes."""
    rows: list[list[object]] = [
        [
            control.account.order_of(thing["payment_intent"]) or "no order",
            tag("span", thing["status"], class_="good" if thing["status"] in ("succeeded", "won") else "bad"),
            thing["reason"] or "",
            display(thing["amount"], thing["currency"]),
            _clock(thing["created"]),
            tag("code", thing["charge"]),
            tag("a", tag("code", thing["id"]), href=page_of(thing["id"])),
        ]
        for thing in things
    ]
    heads = ["Order", "Status", "Reason", "Amount", "Time (UTC)", "Charge", title.removesuffix("s")]
    return tag("h2", title), table(heads, rows, title)


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
