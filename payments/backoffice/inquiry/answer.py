"""Was I charged twice? One headline from the lines of a shopper's statement, what it means, and a text to send.

Decided from our rows and from what breaks, refunds and disputes have left in them. A text names only what belongs to
the shopper it goes to: orders that share nothing but an e-mail address may be somebody else's.
"""

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from django.utils import timezone

from orders.models import Order
from payments.backoffice.inquiry.statement import Kind, Line, Money, State, stray_line
from payments.backoffice.inquiry.wording import ALSO_A_HOLD, WORDS, Case
from payments.backoffice.payment.past import past_in_words
from payments.models import Break
from payments.monitoring.alarms import break_page
from payments.status import may_press

# Two charges as far apart as this may look like one bought twice: banks show a line some days late.
WINDOW = datetime.timedelta(days=7)


@dataclass(frozen=True)
class Picture:
    """What a headline is decided from: one order, or all orders of one shopper that were found."""

    monies: list[Money]
    also_charged: bool = False  # another order that shares only the e-mail address was charged at about the same time

    @cached_property  # each headline's rule asks for them
    def lines(self) -> list[Line]:
        return sorted((line for money in self.monies for line in money.lines), key=lambda line: line.at)

    def of(self, *kinds: Kind) -> list[Line]:
        return [line for line in self.lines if line.kind in kinds]

    def has(self, kind: Kind, *states: State) -> bool:
        return any(line.kind == kind and (not states or line.state in states) for line in self.lines)

    @property
    def charges(self) -> list[Line]:
        return self.of(Kind.CHARGE)

    @property
    def refunded(self) -> list[bool]:
        """Of each charge, whether all of it has gone back."""
        return [bool(one.payment and one.payment.refunded_minor == one.amount_minor) for one in self.charges]

    @property
    def bought_close_together(self) -> list[Order]:
        """Orders that were charged within WINDOW of each other, oldest first."""
        charges = self.charges
        near = [
            one.order
            for one in charges
            if one.order and any(one is not other and abs(one.at - other.at) <= WINDOW for other in charges)
        ]
        return near if len(near) > 1 else []

    @property
    def to_do(self) -> list[str]:
        """What somebody must do about its disputes."""
        return [dispute.act_text for money in self.monies for dispute in money.disputes if dispute.act_text]

    def disputed(self, *statuses: str) -> bool:
        return any(dispute.status in statuses for money in self.monies for dispute in money.disputes)


_UNDECIDED = ("needs_response", "under_review", "warning_needs_response", "warning_under_review")

# The first that is so. What a person must act on, or must not promise anything about, stands before what is over.
RULES: list[tuple[Case, Callable[[Picture], bool]]] = [
    (Case.DIFFERENT, lambda it: any(money.differences for money in it.monies)),
    (Case.SECOND_PREPARED, lambda it: it.has(Kind.SECOND, State.PREPARED, State.STUCK)),
    (Case.SECOND_SENT, lambda it: it.has(Kind.SECOND, State.SENT)),
    (Case.SECOND_KEPT, lambda it: it.has(Kind.SECOND, State.KEPT)),
    (Case.SECOND_DONE, lambda it: it.has(Kind.SECOND)),
    (Case.OPEN, lambda it: it.has(Kind.OPEN)),
    (Case.DISPUTE_TO_ANSWER, lambda it: bool(it.to_do)),
    (Case.DISPUTED, lambda it: it.disputed(*_UNDECIDED)),
    (Case.DISPUTE_LOST, lambda it: it.disputed("lost", "prevented")),
    (Case.TWO_ORDERS, lambda it: bool(it.bought_close_together) and not all(it.refunded)),
    (Case.REFUND_STUCK, lambda it: it.has(Kind.BACK, State.STUCK) and not (it.refunded and all(it.refunded))),
    (Case.REFUND_SENT, lambda it: it.has(Kind.BACK, State.SENT)),
    (Case.REFUNDED, lambda it: bool(it.charges) and all(it.refunded)),
    (Case.PARTLY_REFUNDED, lambda it: it.has(Kind.BACK, State.DONE)),
    (Case.PERHAPS_TWO, lambda it: bool(it.charges) and it.also_charged),
    (Case.HOLD, lambda it: bool(it.charges) and it.has(Kind.HOLD)),
    (Case.ONE, lambda it: bool(it.charges)),
    (Case.HOLD_ALONE, lambda it: it.has(Kind.HOLD)),
    (Case.NONE, lambda it: True),
]


def case_of(picture: Picture) -> Case:
    return next(case for case, is_so in RULES if is_so(picture))


@dataclass(frozen=True)
class Answer:
    case: Case
    headline: str
    meaning: str
    letter: str
    runbook: str = ""  # the page that says what to do, where one is about this very case

    @property
    def rows(self) -> int:
        """The height of its box: a line may wrap."""
        return sum(1 + len(line) // 80 for line in self.letter.splitlines())

    @property
    def tone(self) -> str:
        """Whether somebody must act (bad), somebody must wait (doubt), or nothing is to be done (good)."""
        if self.case in (
            Case.DIFFERENT,
            Case.SECOND_PREPARED,
            Case.DISPUTE_TO_ANSWER,
            Case.REFUND_STUCK,
            Case.NO_ORDER,
        ):
            return "bad"
        waiting = (
            *(Case.SECOND_SENT, Case.SECOND_KEPT, Case.OPEN, Case.DISPUTED),
            *(Case.PERHAPS_TWO, Case.TWO_ORDERS, Case.NO_ORDER_RESOLVED),
        )
        return "doubt" if self.case in waiting else "good"


def answer(picture: Picture) -> Answer:
    case = case_of(picture)
    words, about = WORDS[case], _about(picture, case)
    several = len(about.monies) > 1
    told = {
        "order": _and([f"order {money.order.number}" for money in about.monies]),
        "once": "once each" if several else "once",
        "charges": _list(about.charges, several),
        "second": _list(about.of(Kind.SECOND), several),
        "holds": _list(about.of(Kind.HOLD), several),
        "back": _list([one for one in about.of(Kind.BACK) if one.state != State.STUCK], several),
        "stuck": _list([one for one in about.of(Kind.BACK) if one.state == State.STUCK], several),
        "all_lines": "".join(f"\n- {_in_letter(one, several)}" for one in about.of(Kind.CHARGE, Kind.UNEXPLAINED)),
        "goods": _goods(about.bought_close_together),
    }
    body = words.letter.format(**told)
    if case in _MAY_HAVE_GONE_BACK and (back := _back_of_charges(about)):
        body += f"\n\nOf that, this has gone back to you or is on its way:\n{_list(back, several)}"
    if case != Case.HOLD and about.charges and told["holds"]:
        body += "\n\n" + ALSO_A_HOLD.format(**told)
    if past := _past_in_letter(about, case):
        body += f"\n\n{past}"
    reference = _and([money.order.number for money in about.monies])
    meaning = " ".join([*(f"{one}." for one in picture.to_do), words.meaning, _past(about)]).strip()
    return Answer(case, words.headline, meaning, _framed(body, reference))


def _past(picture: Picture) -> str:
    """For staff: of orders that were given up before their money came."""
    named = [(money.order.number, past_in_words(money.past)) for money in picture.monies]
    return " ".join(f"Order {number}: {words}" for number, words in named if words)


_OF_DISPUTES = (Case.DISPUTE_TO_ANSWER, Case.DISPUTED, Case.DISPUTE_LOST)
_SECOND = (Case.SECOND_PREPARED, Case.SECOND_SENT, Case.SECOND_KEPT, Case.SECOND_DONE)
# Here the text speaks of other things first: what has gone back of the charges themselves comes after.
_MAY_HAVE_GONE_BACK = (*_SECOND, Case.TWO_ORDERS, *_OF_DISPUTES)


def _back_of_charges(picture: Picture) -> list[Line]:
    charges = {line.charge_id for line in picture.charges}
    return [line for line in picture.of(Kind.BACK) if line.charge_id in charges and line.state != State.STUCK]


def _about(picture: Picture, case: Case) -> Picture:
    """The orders that the headline is about: the text to send speaks of these alone."""
    if case == Case.DIFFERENT:
        chosen = [money for money in picture.monies if money.differences]
    elif case == Case.TWO_ORDERS:
        together = {order.pk for order in picture.bought_close_together}
        chosen = [money for money in picture.monies if money.order.pk in together]
    elif case in _OF_DISPUTES:
        chosen = [money for money in picture.monies if money.disputes]
    else:
        kind = _KINDS.get(case, Kind.CHARGE)
        chosen = [money for money in picture.monies if any(line.kind == kind for line in money.lines)]
    return Picture(chosen or picture.monies)


_KINDS = {
    **dict.fromkeys(_SECOND, Kind.SECOND),
    Case.OPEN: Kind.OPEN,
    Case.HOLD_ALONE: Kind.HOLD,
}


def answer_stray(found: Break) -> Answer:
    """Of money that belongs to no order of ours."""
    line = stray_line(found)
    case = Case.NO_ORDER if line.state is None else Case.NO_ORDER_RESOLVED
    words, reference = WORDS[case], line.charge_id or found.subject
    letter = _framed(words.letter.format(unexplained=_list([line])), reference)
    return Answer(case, words.headline, words.meaning, letter, break_page(found.kind, found.found_by))


# --- the text to send -------------------------------------------------------------------------------------------------


def _framed(body: str, reference: str) -> str:
    return f"Hello,\n\n{body}\n\nYour reference: {reference}\n"


def _list(lines: list[Line], with_order: bool = False) -> str:
    return "\n".join(f"- {_in_letter(line, with_order)}" for line in lines)


def _in_letter(line: Line, with_order: bool) -> str:
    """A line as the shopper can compare it: amount, day, card, order. What only the sweep found has no day we know."""
    day = "" if line.at_is_found else f" on {line.at.day} {line.at:%B %Y}"
    card = f", card ending {line.last_four}" if line.last_four else ""
    order = f", order {line.order.number}" if line.order and with_order else ""
    return f"{line.amount_text}{day}{card}{order}"


def _and(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


_NOT_CHARGED = (Case.NONE, Case.HOLD_ALONE)
# Where the money is ours, and nobody is giving or taking it back.
_STANDS = (Case.ONE, Case.HOLD, Case.PARTLY_REFUNDED, Case.PERHAPS_TWO)
_ENDED = {"canceled": "was canceled", "expired": "expired"}


def _past_in_letter(picture: Picture, case: Case) -> str:
    """For the shopper: what has become of each order, where the lines of money alone would be read amiss."""
    several = len(picture.monies) > 1
    told = [(f"Order {one.order.number}" if several else "The order", _became(one, case)) for one in picture.monies]
    return "\n".join(f"{name} {words}" for name, words in told if words)


def _became(money: Money, case: Case) -> str:
    order, late = money.order, money.past.late
    ended = _ENDED[late.from_state if late else order.status] if late or order.is_closed else ""
    if late and case in _STANDS and order.is_paid:
        return f"{ended} before your payment reached us. We still had the goods, so it stands, and is paid."
    if ended and any(payment.captured_minor for payment in money.payments):
        return f"{ended} before your payment reached us."
    if case not in _NOT_CHARGED:
        return ""
    if ended:
        return f"{ended}."
    may_be_paid = order.expires_at > timezone.now() and may_press(order)
    until = f"{order.expires_at.day} {order.expires_at:%B %Y, %H:%M} UTC"
    return f"is still open: you can pay it on its page until {until}." if may_be_paid else ""


def _goods(orders: list[Order]) -> str:
    if len({order.lines_digest for order in orders}) == 1:
        return "They are for the same goods."
    return "They are for different goods."
