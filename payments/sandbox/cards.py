"""Stripe's test cards and the PaymentMethod tokens that stand for them (Stripe: testing).

A real card number never gets this far: what is not in this table is refused as Stripe refuses live cards in test mode.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Decline:
    code: str
    decline_code: str | None
    message: str
    advice_code: str | None = "try_again_later"
    blocked: bool = False


GENERIC = Decline("card_declined", "generic_decline", "Your card was declined.")
INSUFFICIENT_FUNDS = Decline("card_declined", "insufficient_funds", "Your card has insufficient funds.")
LOST_CARD = Decline("card_declined", "lost_card", "Your card was declined.", "do_not_try_again")
STOLEN_CARD = Decline("card_declined", "stolen_card", "Your card was declined.", "do_not_try_again")
VELOCITY = Decline(
    "card_declined",
    "card_velocity_exceeded",
    "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
)
FRAUDULENT = Decline("card_declined", "fraudulent", "Your card was declined.", "do_not_try_again", blocked=True)
EXPIRED = Decline("expired_card", "expired_card", "Your card has expired.", "do_not_try_again")
INCORRECT_CVC = Decline("incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect.")
PROCESSING_ERROR = Decline(
    "processing_error",
    "processing_error",
    "An error occurred while processing your card. Try again in a little bit.",
)
AUTHENTICATION_REQUIRED = Decline(
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
)

DECLINES = {
    decline.decline_code: decline
    for decline in (
        GENERIC,
        INSUFFICIENT_FUNDS,
        LOST_CARD,
        STOLEN_CARD,
        VELOCITY,
        FRAUDULENT,
        EXPIRED,
        INCORRECT_CVC,
        PROCESSING_ERROR,
        AUTHENTICATION_REQUIRED,
    )
}


@dataclass(frozen=True)
class Forced:
    """What a fault rule makes of the bank's next word."""

    outcome: str  # the rule's act
    decline_code: str | None = None

    @property
    def decline(self) -> Decline:
        return DECLINES.get(self.decline_code, GENERIC)


@dataclass(frozen=True)
class Card:
    number: str
    brand: str = "visa"
    decline: Decline | None = None
    challenge: bool = False  # 3-D Secure must be passed first
    waits: str = ""  # the intent is `processing` first, and then "succeeds", "fails", or waits "for ever"
    dispute: str = ""  # "fraudulent", "product_not_received" or "inquiry", a little later (Stripe: testing, disputes)
    refund: str = "succeeds"  # or "later": pending first; or "fails": succeeded first (Stripe: testing, refunds)
    country: str = "US"
    funding: str = "credit"
    hint: str = ""

    @property
    def last4(self) -> str:
        return self.number[-4:]

    @property
    def cvc_digits(self) -> int:
        return 4 if self.brand == "amex" else 3


_CARDS = (
    Card("4242424242424242", hint="Visa, succeeds"),
    Card("4000056655665556", funding="debit"),
    Card("5555555555554444", "mastercard", hint="Mastercard, succeeds"),
    Card("2223003122003222", "mastercard"),
    Card("5200828282828210", "mastercard", funding="debit"),
    Card("5105105105105100", "mastercard", funding="prepaid"),
    Card("378282246310005", "amex", hint="American Express, succeeds"),
    Card("371449635398431", "amex"),
    Card("6011111111111117", "discover"),
    Card("3056930009020004", "diners"),
    Card("3566002020360505", "jcb"),
    Card("4000008260000000", country="GB"),
    Card("4000000000000002", decline=GENERIC, hint="Declined"),
    Card("4000000000000341", decline=GENERIC),
    Card("4000000000009995", decline=INSUFFICIENT_FUNDS, hint="Insufficient funds"),
    Card("4000000000009987", decline=LOST_CARD, hint="Lost card"),
    Card("4000000000009979", decline=STOLEN_CARD, hint="Stolen card"),
    Card("4000000000000069", decline=EXPIRED, hint="Expired card"),
    Card("4000000000000127", decline=INCORRECT_CVC, hint="Wrong security code"),
    Card("4000000000000119", decline=PROCESSING_ERROR, hint="Processing error"),
    Card("4000000000006975", decline=VELOCITY),
    Card("4100000000000019", decline=FRAUDULENT, hint="Blocked as fraudulent"),
    Card("4000000000003220", challenge=True, country="IE", hint="3-D Secure, then succeeds"),
    Card("4000008400000027", challenge=True),
    Card("4000002500003155", challenge=True, country="FR"),
    Card("4000002760003184", challenge=True, country="DE"),
    Card("4000008260003178", challenge=True, decline=INSUFFICIENT_FUNDS, country="GB"),
    Card("4000008400001629", challenge=True, decline=GENERIC, hint="3-D Secure, then declined"),
    Card("4000008400001280", challenge=True, decline=PROCESSING_ERROR),
    Card("4000000000003055"),  # 3-D Secure supported but not required
    Card("4000000000003097"),
    Card("4000000000007726", refund="later", hint="Succeeds; a refund is pending first"),
    Card("4000000000005126", refund="fails", hint="Succeeds; a refund fails later"),
    Card("4000000000000259", dispute="fraudulent", hint="Succeeds, then disputed"),
    Card("4000000000002685", dispute="product_not_received"),
    Card("4000000000001976", dispute="inquiry"),
    # The sandbox's own: at Stripe no card, only banks and wallets, keep an intent processing.
    Card("4999000000000013", waits="succeeds", hint="Bank thinks, then succeeds"),
    Card("4999000000000021", waits="fails", hint="Bank thinks, then declines"),
    Card("4999000000000039", waits="for ever"),
)

BY_NUMBER = {card.number: card for card in _CARDS}

TOKENS = {
    "pm_card_visa": "4242424242424242",
    "pm_card_visa_debit": "4000056655665556",
    "pm_card_mastercard": "5555555555554444",
    "pm_card_mastercard_debit": "5200828282828210",
    "pm_card_mastercard_prepaid": "5105105105105100",
    "pm_card_amex": "378282246310005",
    "pm_card_discover": "6011111111111117",
    "pm_card_diners": "3056930009020004",
    "pm_card_jcb": "3566002020360505",
    "pm_card_us": "4242424242424242",
    "pm_card_gb": "4000008260000000",
    "pm_card_chargeDeclined": "4000000000000002",
    "pm_card_visa_chargeDeclined": "4000000000000002",
    "pm_card_chargeCustomerFail": "4000000000000341",
    "pm_card_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_chargeDeclinedLostCard": "4000000000009987",
    "pm_card_visa_chargeDeclinedLostCard": "4000000000009987",
    "pm_card_chargeDeclinedStolenCard": "4000000000009979",
    "pm_card_visa_chargeDeclinedStolenCard": "4000000000009979",
    "pm_card_chargeDeclinedExpiredCard": "4000000000000069",
    "pm_card_visa_chargeDeclinedExpiredCard": "4000000000000069",
    "pm_card_chargeDeclinedIncorrectCvc": "4000000000000127",
    "pm_card_visa_chargeDeclinedIncorrectCvc": "4000000000000127",
    "pm_card_chargeDeclinedProcessingError": "4000000000000119",
    "pm_card_visa_chargeDeclinedProcessingError": "4000000000000119",
    "pm_card_visa_chargeDeclinedVelocityLimitExceeded": "4000000000006975",
    "pm_card_chargeDeclinedVelocityLimitExceeded": "4000000000006975",
    "pm_card_chargeDeclinedFraudulent": "4100000000000019",
    "pm_card_radarBlock": "4100000000000019",
    "pm_card_threeDSecure2Required": "4000000000003220",
    "pm_card_threeDSecureRequired": "4000000000003220",
    "pm_card_threeDSecureOptional": "4000000000003055",
    "pm_card_threeDSecureOptionalProcessingError": "4000000000003097",
    "pm_card_threeDSecureRequiredChargeDeclined": "4000008400001629",
    "pm_card_threeDSecureRequiredProcessingError": "4000008400001280",
    "pm_card_authenticationRequired": "4000002760003184",
    "pm_card_authenticationRequiredOnSetup": "4000002500003155",
    "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds": "4000008260003178",
    "pm_card_pendingRefund": "4000000000007726",
    "pm_card_refundFail": "4000000000005126",
    "pm_card_createDispute": "4000000000000259",
    "pm_card_createDisputeProductNotReceived": "4000000000002685",
    "pm_card_createDisputeInquiry": "4000000000001976",
    "pm_sandbox_processingSucceeds": "4999000000000013",
    "pm_sandbox_processingFails": "4999000000000021",
    "pm_sandbox_processing": "4999000000000039",
}


def luhn_is_right(number: str) -> bool:
    digits = [int(digit) for digit in reversed(number)]
    doubled = [digit * 2 - 9 if digit > 4 else digit * 2 for digit in digits[1::2]]
    return (sum(digits[0::2]) + sum(doubled)) % 10 == 0
