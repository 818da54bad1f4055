"""Cases: what "was I charged twice?" can come to, each with its headline, what it means, and a text for the shopper."""

from dataclasses import dataclass
from enum import StrEnum


class Case(StrEnum):
    DIFFERENT = "different"
    SECOND_PREPARED = "second charge, refund prepared"
    SECOND_SENT = "second charge, refund sent"
    SECOND_KEPT = "second charge, resolved by a person"
    SECOND_DONE = "second charge, gone back"
    OPEN = "not known yet"
    DISPUTE_TO_ANSWER = "dispute to answer"
    DISPUTED = "disputed"
    DISPUTE_LOST = "dispute lost"
    TWO_ORDERS = "two orders"
    REFUND_STUCK = "refund did not arrive"
    REFUND_SENT = "refund on its way"
    REFUNDED = "refunded"
    PARTLY_REFUNDED = "partly refunded"
    PERHAPS_TWO = "perhaps two orders"
    HOLD = "charge and hold"
    ONE = "one charge"
    HOLD_ALONE = "hold alone"
    NONE = "no charge"
    NO_ORDER = "charge without an order"
    NO_ORDER_RESOLVED = "charge without an order, resolved"


@dataclass(frozen=True)
class Words:
    headline: str
    meaning: str  # for staff: why it looks so, and what to do
    letter: str  # for the shopper


ALSO_A_HOLD = (
    "Your bank may also show a line for a try that took nothing:\n{holds}\n"
    "That is a reservation, not a payment. It goes away by itself after some days."
)

_DISPUTED = (
    "You were charged for {order}:\n{charges}\n\n"
    "Your bank is looking into this at your request. Until it has decided we cannot give the money back as well."
    " Your bank tells you what it decides."
)

# Never "failed", never a promise of days, and of a bank's days no more than "some days".
WORDS: dict[Case, Words] = {
    Case.DIFFERENT: Words(
        "Not explained yet: Stripe's book and our rows differ",
        "A break is open about money of this shopper. Look into it first, and promise nothing until it is resolved.",
        "We have looked at {order}, and there is something about its payment that we cannot explain yet.{all_lines}\n\n"
        "We are looking into it and write to you when we know more. You need do nothing until then.",
    ),
    Case.SECOND_PREPARED: Words(
        "Charged twice for one order: the refund of the second charge waits for staff",
        "Stripe's book holds a second charge of an order that was paid. Its refund is prepared: carry it out, then send"
        " the text.",
        "You were charged twice for {order}. We are sorry. This charge is right:\n{charges}\n\n"
        "This one is ours to give back, and we are giving it back:\n{second}\n\n"
        "Banks take some days to show it.",
    ),
    Case.SECOND_SENT: Words(
        "Charged twice for one order: the second charge is on its way back",
        "Its refund was sent, and the bank has not confirmed it yet. The sweep looks again by itself.",
        "You were charged twice for {order}. We are sorry. This charge is right:\n{charges}\n\n"
        "The second one is on its way back to the same card:\n{second}\n\n"
        "Banks take some days to show it.",
    ),
    Case.SECOND_KEPT: Words(
        "Charged twice for one order: a person has resolved the second charge",
        "It was resolved without a refund that we know of: read the note below before you answer.",
        "There are two charges for {order}. This one is right:\n{charges}\n\n"
        "We have looked into the second one:\n{second}\n\n"
        "Please write to us if anything about it is not clear.",
    ),
    Case.SECOND_DONE: Words(
        "Charged twice for one order: the second charge has gone back",
        "Nothing is left to do. Until the bank shows the refund the shopper sees two lines.",
        "You were charged twice for {order}. We are sorry. This charge is right:\n{charges}\n\n"
        "The second one has gone back to the same card:\n{second}\n\n"
        "Banks take some days to show it.",
    ),
    Case.OPEN: Words(
        "Not known yet: we are asking Stripe",
        "A press has no known outcome. When the next look comes, and what happens then, stands in its line. Asking now"
        " is safe; paying by another way is not.",
        "We do not know yet what became of your payment for {order}. We keep asking, and write to you as soon as we"
        " know. You will not be charged twice for it, and you need do nothing until then.",
    ),
    Case.DISPUTE_TO_ANSWER: Words(
        "Charged, and disputed: the bank waits for our answer",
        "Not answered in time it is lost. While it is open the amount cannot be refunded too: it would be lost twice.",
        _DISPUTED,
    ),
    Case.DISPUTED: Words(
        "Charged, and disputed at the shopper's bank",
        "The bank has not decided. While it is open the amount cannot be refunded as well: it would be lost twice.",
        _DISPUTED,
    ),
    Case.DISPUTE_LOST: Words(
        "Charged, and the bank gave the money to the shopper",
        "The dispute was decided for the shopper. A refund would pay it twice.",
        "You were charged for {order}:\n{charges}\n\n"
        "Your bank has decided for you and has taken the money back from us. If you do not see it, please ask your"
        " bank.",
    ),
    Case.TWO_ORDERS: Words(
        "Two orders, two charges: each order was charged once",
        "The same shopper placed and paid more than one order. Ask whether all were wanted; refund only what was not.",
        "You placed {order}, and each was charged once:\n{charges}\n\n"
        "{goods} If you did not want all of them, please tell us which one.",
    ),
    Case.REFUND_STUCK: Words(
        "Charged once, and a refund did not arrive at the card",
        "The bank did not take the refund, often because the card is gone. Agree with the shopper on another way.",
        "You were charged {once} for {order}:\n{charges}\n\n"
        "We gave money back, and it did not arrive at your card:\n{stuck}\n\n"
        "Please tell us how else we can send it to you.",
    ),
    Case.REFUND_SENT: Words(
        "Charged once, and money is on its way back",
        "A refund was sent, and Stripe or the bank has not confirmed it yet. The completer looks again by itself.",
        "You were charged {once} for {order}:\n{charges}\n\n"
        "This has gone back to your card or is on its way:\n{back}\n\n"
        "Banks take some days to show it.",
    ),
    Case.REFUNDED: Words(
        "Charged once, and all of it has gone back",
        "Nothing is left to do. Until the bank shows the refund the shopper sees only the charge.",
        "You were charged {once} for {order}, and all of it has gone back to your card.\n\n"
        "Charged:\n{charges}\n\n"
        "Given back:\n{back}\n\n"
        "Banks take some days to show it.",
    ),
    Case.PARTLY_REFUNDED: Words(
        "Charged once, and a part has gone back",
        "The statement shows the whole charge, and the refund as a line of its own.",
        "You were charged {once} for {order}:\n{charges}\n\n"
        "A part has gone back to your card:\n{back}\n\n"
        "Banks take some days to show it.",
    ),
    Case.PERHAPS_TWO: Words(
        "Charged once; another order with the same e-mail address was charged too",
        "Perhaps the same person, perhaps not: the text names nothing of the other order. Ask what the second line on"
        " the statement says.",
        "You were charged {once} for {order}:\n{charges}\n\n"
        "If you see a second line from us, please look in your mail for the receipt of another order, or send us the"
        " date, the amount and the last four digits of that line.",
    ),
    Case.HOLD: Words(
        "Charged once; another line is a hold that goes away",
        "A try before took nothing, and some banks show it as pending for some days. Nothing is to be refunded.",
        "You were charged {once} for {order}:\n{charges}\n\n" + ALSO_A_HOLD,
    ),
    Case.ONE: Words(
        "Charged once",
        "One charge, and nothing else that a statement could show. A second line from us would be another order's.",
        "You were charged {once} for {order}:\n{charges}\n\n"
        "If you see a second line from us, please send us its date, its amount and the last four digits.",
    ),
    Case.HOLD_ALONE: Words(
        "Not charged; the line is a hold that goes away",
        "Every try took nothing, and some banks show it as pending for some days. Nothing is to be refunded.",
        "You were not charged for {order}. Your bank may show a line for a try that took nothing:\n{holds}\n"
        "That is a reservation, not a payment. It goes away by itself after some days.",
    ),
    Case.NONE: Words(
        "No charge at all",
        "No press of Pay reached the bank. What the shopper sees belongs to another order, or is not ours.",
        "You were not charged for {order}. If you see a line from us, please send us its date, its amount and the last"
        " four digits.",
    ),
    Case.NO_ORDER: Words(
        "A charge that belongs to no order of ours",
        "Stripe's book has it and our rows do not. Look into the break; only a person can say what it was for.",
        "We have found a payment to us that belongs to no order that we know:\n{unexplained}\n\n"
        "We are looking into it and write to you when we know more.",
    ),
    Case.NO_ORDER_RESOLVED: Words(
        "A charge that belongs to no order of ours, looked into already",
        "Read the note below before you answer, and write what came of it into the text.",
        "We have looked into a payment to us that belongs to no order:\n{unexplained}\n\n"
        "[Write here what came of it, from the note: whether it goes back, how and when.]\n\n"
        "Please write to us if anything about it is not clear.",
    ),
}
