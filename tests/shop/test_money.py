"""Amounts as staff write them: read exactly, or not at all."""

import pytest

from shop.money import CURRENCIES, minor_of, money_text, plain_text


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("12.50", "GBP", 1250),
        (" 12.5 ", "GBP", 1250),
        ("12", "GBP", 1200),
        ("0.07", "GBP", 7),
        ("1250", "JPY", 1250),
        ("1.25", "KWD", 1250),
        ("999999999", "EUR", 99999999900),
        ("12,50", "GBP", 1250),
        ("£12.50", "GBP", 1250),
        ("12,50 gbp", "GBP", 1250),
        ("1,234.50", "GBP", 123450),
        ("1.234,50", "EUR", 123450),
        ("1,234", "GBP", 123400),
        ("¥1,250", "JPY", 1250),
    ],
)
def test_an_amount_is_read_exactly(text: str, currency: str, minor: int) -> None:
    assert minor_of(text, currency) == minor


@pytest.mark.parametrize(
    ("text", "currency"),
    [
        ("1,250", "KWD"),  # one and a quarter, or one thousand two hundred and fifty?
        ("KWD 1,250", "KWD"),
        ("0,250", "GBP"),  # a quarter, and not two hundred and fifty
        ("0.250,50", "GBP"),
        ("0,250", "JPY"),
        ("€12.50", "GBP"),
        ("12.50 USD", "GBP"),
        ("£-1", "GBP"),
        ("12.505", "GBP"),
        ("12.50", "JPY"),
        ("1.255", "KWD"),
        ("-1", "GBP"),
        ("+1", "GBP"),
        ("1e3", "GBP"),
        ("", "GBP"),
        (".", "GBP"),
        (".5", "GBP"),
        ("5.", "GBP"),
        ("\u0663", "GBP"),
        ("1 000", "GBP"),
        ("NaN", "GBP"),
        ("£", "GBP"),
        ("12.5.0", "GBP"),
        ("9" * 16, "GBP"),
    ],
)
def test_what_could_be_misread_is_refused(text: str, currency: str) -> None:
    with pytest.raises(ValueError, match=r"such as 1"):
        minor_of(text, currency)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("-1", "The amount is negative"),
        ("NaN", "That is not an amount"),
        ("€1.50", "You wrote EUR, and the amount is in GBP"),
        ("1.505", "An amount in GBP has at most 2 places after the point"),
    ],
)
def test_what_is_wrong_with_an_amount_is_said(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        minor_of(text, "GBP")


@pytest.mark.parametrize("currency", CURRENCIES)
def test_what_is_shown_in_a_field_is_read_back(currency: str) -> None:
    for minor in (0, 10, 1230, 240_000, 99_999_990):
        assert minor_of(plain_text(minor, currency), currency) == minor


def test_money_of_a_currency_that_we_do_not_sell_in_can_be_told() -> None:
    assert money_text(1250, "NOK") == "1250 minor units of NOK"
