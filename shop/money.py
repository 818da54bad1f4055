"""Money: an integer of minor units and an ISO 4217 currency. Never a float (FAILURES 82, 83)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Currency:
    """What the shop must know of a currency it sells in. `smallest_minor` is Stripe's minimum charge."""

    code: str
    decimals: int
    symbol: str
    smallest_minor: int
    step_minor: int = 1  # Stripe: the last digit of a three-decimal amount must be 0


# Stripe: supported currencies, minimum and maximum charge amounts.
CURRENCIES = {
    currency.code: currency
    for currency in (
        Currency("GBP", 2, "£", 30),
        Currency("EUR", 2, "€", 50),
        Currency("USD", 2, "$", 50),
        Currency("CHF", 2, "CHF\N{NO-BREAK SPACE}", 50),
        Currency("SEK", 2, "SEK\N{NO-BREAK SPACE}", 300),
        Currency("JPY", 0, "¥", 50),
        Currency("KRW", 0, "₩", 500),
        Currency("KWD", 3, "KWD\N{NO-BREAK SPACE}", 150, 10),
        Currency("BHD", 3, "BHD\N{NO-BREAK SPACE}", 200, 10),
    )
}
CURRENCY_CHOICES = [(code, code) for code in CURRENCIES]
LARGEST_MINOR = 99_999_999  # Stripe: an amount has at most eight digits


def decimal_text(amount_minor: int, currency: str) -> str:
    """`2400, "GBP"` -> `24.00`; `2400, "JPY"` -> `2,400`; `2400, "KWD"` -> `2.400`."""
    decimals = CURRENCIES[currency].decimals
    sign, amount = ("-", -amount_minor) if amount_minor < 0 else ("", amount_minor)
    whole, part = divmod(amount, 10**decimals)
    return f"{sign}{whole:,}" + (f".{part:0{decimals}d}" if decimals else "")


def money_text(amount_minor: int, currency: str) -> str:
    """`2400, "GBP"` -> `£24.00`. The same text on the page, the Pay button and in the mail."""
    text = decimal_text(amount_minor, currency)
    symbol = CURRENCIES[currency].symbol
    return f"-{symbol}{text[1:]}" if text.startswith("-") else f"{symbol}{text}"
