"""One payment as Stripe's dashboard shows it: its charges, refunds and disputes, and what may be done about them there.

    GET   /payments/ID    the intent, or a charge, refund or dispute of it
    POST  /payments/ID    act=refund (charge, amount), submit (dispute, evidence), accept, won or lost (dispute)

What is done here carries no idempotency key and sends its webhooks, as in Stripe's dashboard.
"""

from __future__ import annotations

import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from payments.sandbox import disputes
from payments.sandbox.account import CHARGE, DISPUTE, INTENT, REFUND
from payments.sandbox.answers import Answer
from payments.sandbox.control import Control
from payments.sandbox.currencies import DECIMALS, display
from payments.sandbox.switches import Refused

from .html import Safe, page, table, tag

Json = dict[str, Any]

_ROOT = "/payments/"
_NOUNS = {"pi": INTENT, "ch": CHARGE, "py": CHARGE, "re": REFUND, "pyr": REFUND, "du": DISPUTE, "dp": DISPUTE}
_LARGEST_MINOR = 10**12
_TO_ANSWER = ("needs_response", "warning_needs_response")
_AT_THE_BANK = ("under_review", "warning_under_review")
_SAID = {
    "refund": "Refunded.",
    "submit": "The evidence was submitted. The bank decides now.",
    "accept": "The dispute was accepted: the shopper's bank keeps the money.",
    "won": "The bank decided for the shop.",
    "lost": "The bank decided for the shopper.",
}


def page_of(thing_id: str) -> str:
    return f"{_ROOT}{thing_id}"


def show_payment(control: Control, path: str, query: dict[str, str]) -> Answer:
    thing_id = path.removeprefix(_ROOT)
    intent = _intent(control, thing_id)
    return _unknown(thing_id) if intent is None else _page(control, intent, said=_SAID.get(query.get("said", ""), ""))


def act_on_payment(control: Control, path: str, form: dict[str, str]) -> Answer:
    thing_id = path.removeprefix(_ROOT)
    intent = _intent(control, thing_id)
    if intent is None:
        return _unknown(thing_id)
    act = form.get("act", "")
    try:
        _carry_out(control, intent["id"], act, form)
    except Refused as refused:
        return _page(control, intent, refused=str(refused), status=refused.status)
    return Answer(303, "", {"Location": f"{page_of(intent['id'])}?said={act}"})


def _intent(control: Control, thing_id: str) -> Json | None:
    noun = _NOUNS.get(thing_id.partition("_")[0])
    thing = control.account.get(noun, thing_id) if noun else None
    if thing is None or noun == INTENT:
        return thing
    return control.account.get(INTENT, thing["payment_intent"]) if thing["payment_intent"] else None


def _unknown(thing_id: str) -> Answer:
    words = f"The sandbox's book has nothing that is called {thing_id or 'so'}."
    home = tag("p", tag("a", "The sandbox's book", href="/"))
    return page("Not found", tag("main", tag("h1", "No such payment"), tag("p", words), home), status=404)


# --- what may be done -------------------------------------------------------------------------------------------------


def _carry_out(control: Control, intent_id: str, act: str, form: dict[str, str]) -> None:
    """Only to what belongs to this payment.

    Raises:
        Refused: it cannot be done, and why.
    """
    if act == "refund":
        charge = _own(control, CHARGE, form.get("charge", ""), intent_id)
        body = _amount(form.get("amount", ""), charge["currency"])
        control.answer("POST", f"charges/{charge['id']}/refund", {}, body)
        return
    dispute = _own(control, DISPUTE, form.get("dispute", ""), intent_id)
    if act == "submit":
        evidence = form.get("evidence", "").strip()
        if not evidence:
            raise Refused(400, "Write the evidence first.")
        answer = {"evidence": {"uncategorized_text": evidence}, "submit": True}
        control.change(intent_id, lambda change: disputes.update(change, dispute["id"], answer))
    elif act == "accept":
        control.change(intent_id, lambda change: disputes.close(change, dispute["id"]))
    elif act in ("won", "lost"):
        closed = "warning_closed" if dispute["status"].startswith("warning_") else act
        control.answer("POST", f"disputes/{dispute['id']}/move", {}, {"status": closed})
    else:
        raise Refused(400, "There is no such button.")


def _own(control: Control, noun: str, thing_id: str, intent_id: str) -> Json:
    thing = control.account.get(noun, thing_id)
    if thing is None or thing["payment_intent"] != intent_id:
        raise Refused(404, f"This payment has no such {noun}.")
    return thing


def _amount(text: str, currency: str) -> Json:
    """All that is left where nothing was written."""
    text = text.strip()
    if not text:
        return {}
    try:
        minor = Decimal(text).scaleb(DECIMALS[currency])
        if minor == int(minor) and 0 < minor <= _LARGEST_MINOR:
            return {"amount": int(minor)}
    except (InvalidOperation, OverflowError, ValueError):
        pass
    raise Refused(400, f"An amount is written as {_figures(1250, currency)}.")


def _figures(amount: int, currency: str) -> str:
    return display(amount, currency).partition(" ")[0].replace(",", "")


# --- what is shown ----------------------------------------------------------------------------------------------------


def _page(control: Control, intent: Json, said: str = "", refused: str = "", status: int = 200) -> Answer:
    account = control.account
    with account.lock:
        intent = account.get(INTENT, intent["id"]) or intent
        charges = _all(control, CHARGE, account.charges_of.get(intent["id"], ()))
        refunds = [one for charge in charges for one in _all(control, REFUND, account.refunds_of.get(charge["id"], ()))]
        disputed = [
            one for charge in charges for one in _all(control, DISPUTE, account.disputes_of.get(charge["id"], ()))
        ]
    return page(
        f"Payment {intent['id']}",
        tag(
            "main",
            tag("p", tag("a", "The sandbox's book", href="/"), class_="quiet"),
            tag("h1", f"Payment of {display(intent['amount'], intent['currency'])}"),
            tag("p", "The sandbox's stand-in for this payment's page in Stripe's dashboard.", class_="quiet"),
            tag("p", said, class_="notice", role="status") if said else "",
            tag("p", refused, class_="loud", role="alert") if refused else "",
            _about(intent),
            tag("h2", "Charges"),
            _charges(charges),
            *(_refund_form(control, charge) for charge in charges),
            *((tag("h2", "Refunds"), _refunds(refunds)) if refunds else ()),
            *(_dispute(dispute, control.account.clock.now()) for dispute in disputed),
        ),
        status=status,
    )


def _all(control: Control, noun: str, ids: Any) -> list[Json]:
    return [thing for key in ids if (thing := control.account.get(noun, key)) is not None]


def _about(intent: Json) -> Safe:
    order = intent["metadata"].get("order", "")
    facts: list[tuple[str, object]] = [
        ("Payment", tag("code", intent["id"])),
        ("Status", _word(intent["status"])),
        ("Received", display(intent["amount_received"], intent["currency"])),
        ("Made (UTC)", _moment(intent["created"])),
        ("Order", tag("code", order) if order else "no order named"),
        *((f"Metadata {name}", value) for name, value in sorted(intent["metadata"].items()) if name != "order"),
    ]
    return _facts(facts)


def _facts(facts: list[tuple[str, object]]) -> Safe:
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts))


def _charges(charges: list[Json]) -> Safe:
    if not charges:
        return tag("p", "No charge yet.", class_="quiet")
    rows: list[list[object]] = [
        [
            tag("code", one["id"]),
            _word(one["status"]) + (", not captured" if one["status"] == "succeeded" and not one["captured"] else ""),
            display(one["amount"], one["currency"]),
            display(one["amount_refunded"], one["currency"]),
            "{brand} {last4}".format_map(one["payment_method_details"]["card"]),
            (one["billing_details"] or {}).get("email") or "",
            _moment(one["created"]),
        ]
        for one in charges
    ]
    return table(["Charge", "Status", "Amount", "Refunded", "Card", "E-mail", "Time (UTC)"], rows, "Charges")


def _refund_form(control: Control, charge: Json) -> Safe | str:
    left = charge["amount_captured"] - charge["amount_refunded"]
    held = [control.account.get(DISPUTE, key) for key in control.account.disputes_of.get(charge["id"], ())]
    if charge["status"] != "succeeded" or left <= 0:
        return ""
    if any(dispute and not dispute["is_charge_refundable"] for dispute in held):
        return tag("p", "Disputed: it cannot be refunded.", class_="quiet")
    currency = charge["currency"]
    field = f"amount-{charge['id']}"
    return tag(
        "form",
        tag("input", type="hidden", name="charge", value=charge["id"]),
        tag("label", f"Refund, of {display(left, currency)} left", for_=field),
        tag("input", id=field, name="amount", value=_figures(left, currency), inputmode="decimal", autocomplete="off"),
        tag("button", "Refund", name="act", value="refund"),
        method="post",
        action=page_of(charge["payment_intent"]),
        class_="row",
    )


def _refunds(refunds: list[Json]) -> Safe:
    rows: list[list[object]] = [
        [
            tag("code", one["id"]),
            tag("span", _word(one["status"]), class_="good" if one["status"] == "succeeded" else "bad"),
            display(one["amount"], one["currency"]),
            _word(one["reason"] or ""),
            tag("code", one["charge"]),
            _moment(one["created"]),
        ]
        for one in refunds
    ]
    return table(["Refund", "Status", "Amount", "Reason", "Charge", "Time (UTC)"], rows, "Refunds")


def _dispute(dispute: Json, now: float) -> Safe:
    status, due = dispute["status"], dispute["evidence_details"]["due_by"]
    waits = status in _TO_ANSWER
    facts: list[tuple[str, object]] = [
        ("Dispute", tag("code", dispute["id"])),
        ("Status", tag("span", _word(status), class_="bad" if waits or status == "lost" else "")),
        ("Amount", display(dispute["amount"], dispute["currency"])),
        ("Reason", _word(dispute["reason"])),
        ("Opened (UTC)", _moment(dispute["created"])),
        ("Evidence due by (UTC)", _moment(due) + (": past due" if waits and due < now else "") if due else "no date"),
        ("Evidence", dispute["evidence"].get("uncategorized_text") or "none yet"),
    ]
    return tag("section", tag("h2", "Dispute"), _facts(facts), _answer_form(dispute), _bank_form(dispute))


def _answer_form(dispute: Json) -> Safe | str:
    if dispute["status"] not in _TO_ANSWER:
        return ""
    field = f"evidence-{dispute['id']}"
    accept = tag("button", "Accept the dispute", name="act", value="accept", formnovalidate="formnovalidate")
    return tag(
        "form",
        tag("input", type="hidden", name="dispute", value=dispute["id"]),
        tag("label", "Evidence: the order, its lines, the address, the day that it was sent", for_=field),
        tag("textarea", id=field, name="evidence", rows="4", cols="70", required="required"),
        tag(
            "div",
            tag("button", "Submit evidence", name="act", value="submit", class_="main"),
            accept if dispute["status"] == "needs_response" else "",
            class_="row",
        ),
        method="post",
        action=page_of(dispute["payment_intent"]),
        class_="stack",
    )


def _bank_form(dispute: Json) -> Safe | str:
    """Not Stripe's: no dashboard decides for the bank."""
    if dispute["status"] not in _AT_THE_BANK:
        return ""
    return tag(
        "form",
        tag("input", type="hidden", name="dispute", value=dispute["id"]),
        tag("span", "The sandbox's bank decides:", class_="quiet"),
        tag("button", "for the shop", name="act", value="won"),
        tag("button", "for the shopper", name="act", value="lost"),
        method="post",
        action=page_of(dispute["payment_intent"]),
        class_="row",
    )


def _word(word: str) -> str:
    return word.replace("_", " ").capitalize()


def _moment(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
