"""Money: an integer of minor units and an ISO 4217 currency. Never a float (FAILURES 82, 83)."""

import re
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
    """`2400, "GBP"` -> `£24.00`. The same text on the page, the Pay button and in the mail.

    Of a currency that we do not sell in, which only Stripe's book may bring, nobody here knows where the point is.
    """
    if currency not in CURRENCIES:
        return f"{amount_minor} minor units of {currency or 'an unknown currency'}"
    text = decimal_text(amount_minor, currency)
    symbol = CURRENCIES[currency].symbol
    return f"-{symbol}{text[1:]}" if text.startswith("-") else f"{symbol}{text}"


def plain_text(amount_minor: int, currency: str) -> str:
    """`240000, "GBP"` -> `2400.00`: as staff type it, and as `minor_of` reads it."""
    return decimal_text(amount_minor, currency).replace(",", "")


_AMOUNT = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,3}))?", re.ASCII)


def minor_of(text: str, currency: str) -> int:
    """`"12.50", "GBP"` -> `1250`, exactly. A comma is refused: some mean thousands by it, and some decimals.

    Raises:
        ValueError: it is no amount of this currency; the text says how one is written.
    """
    known = CURRENCIES[currency]
    example = plain_text(1250 * known.step_minor, currency)
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"Write the amount in figures, such as {example}, with a point and without commas")
    whole, part = match[1], match[2] or ""
    if len(part) > known.decimals:
        places = f"at most {known.decimals} places after the point" if known.decimals else "no places after a point"
        raise ValueError(f"An amount in {currency} has {places}, such as {example}")
    amount_minor = int(whole + part.ljust(known.decimals, "0"))
    if amount_minor % known.step_minor:
        raise ValueError(f"The last figure of an amount in {currency} must be 0, such as {example}")
    return amount_minor
