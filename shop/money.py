"""Money: an integer of minor units and an ISO 4217 currency. Never a float (FAILURES 82, 83)."""

import re
from dataclasses import dataclass
from decimal import Decimal


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


_WITH_COMMAS = re.compile(r"[1-9]\d{0,2}(,\d{3})+(\.\d{1,3})?", re.ASCII)  # 1,234.56
_WITH_POINTS = re.compile(r"[1-9]\d{0,2}(\.\d{3})+,\d{1,3}", re.ASCII)  # 1.234,56
_SIMPLE = re.compile(r"\d{1,15}([.,]\d{1,3})?", re.ASCII)  # 24 or 24.00 or 24,00
_SIGNS = {**{one.symbol.strip(): one.code for one in CURRENCIES.values()}, **{code: code for code in CURRENCIES}}


def read_amount(text: str) -> tuple[Decimal | None, str | None]:
    """An amount as people write it, and the currency that a sign or a code before or after it names: `"£1,234.50"` is
    1234.50 and GBP, and so is `"1.234,50 GBP"`. None for whatever is no amount.
    """
    words, named = text.upper().replace("\N{NO-BREAK SPACE}", " ").strip(), None
    for sign, code in _SIGNS.items():
        bare = words.removeprefix(sign).removesuffix(sign)
        if bare != words:
            words, named = bare.strip(), code
            break
    if _WITH_COMMAS.fullmatch(words):
        return Decimal(words.replace(",", "")), named
    if _WITH_POINTS.fullmatch(words):
        return Decimal(words.replace(".", "").replace(",", ".")), named
    return (Decimal(words.replace(",", ".")) if _SIMPLE.fullmatch(words) else None), named


def minor_of(text: str, currency: str) -> int:
    """`"12.50", "GBP"` -> `1250`, exactly. `1,250` is thousands where the currency has no third decimal, and refused
    where it may be one and a quarter; `0,250` is never thousands.

    Raises:
        ValueError: it is no amount of this currency; the text says how one is written.
    """
    known = CURRENCIES[currency]
    example = plain_text(1250 * known.step_minor, currency)
    amount, named = read_amount(text)
    if amount is None:
        if text.strip().lstrip("£$€").startswith(("-", "\N{MINUS SIGN}")):
            raise ValueError(f"The amount is negative: write it without a minus, such as {example}")
        raise ValueError(f"That is not an amount: write it in figures, such as {example}")
    if named not in (None, currency):
        raise ValueError(f"You wrote {named}, and the amount is in {currency}: write it such as {example}")
    if known.decimals == 3 and text.count(",") == 1 and "." not in text:
        raise ValueError(f"A comma may mean thousands or a point here: write it with a point, such as {example}")
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or -exponent > known.decimals:
        places = f"at most {known.decimals} places after the point" if known.decimals else "no places after a point"
        raise ValueError(f"An amount in {currency} has {places}, such as {example}")
    amount_minor = int(amount.scaleb(known.decimals))
    if (wrong := wrong_step(amount_minor, currency)) != "":
        raise ValueError(wrong)
    return amount_minor


def wrong_step(amount_minor: int, currency: str) -> str:
    """Why no such amount can be charged or given back: the last figure must be 0. Empty if it can."""
    step = CURRENCIES[currency].step_minor
    example = plain_text(1250 * step, currency)
    return f"The last figure of an amount in {currency} must be 0, such as {example}" if amount_minor % step else ""
