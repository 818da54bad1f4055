"""Which amounts Stripe takes (Stripe: supported currencies). The sandbox's own table: the shop has another."""

from .errors import StripeError, refused_parameter

_TWO_DECIMAL = (
    "aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd bwp byn bzd cad cdf chf cny cop crc "
    "cve czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd hnl htg huf idr ils inr isk jmd kes kgs khr "
    "kyd kzt lak lbp lkr lrd lsl mad mdl mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd pab pen pgk "
    "php pkr pln qar ron rsd rub sar sbd scr sek sgd shp sle sos srd std svc szl thb tjs top try ttd twd tzs uah ugx "
    "usd uyu uzs wst xcd xcg yer zar zmw"
)
# ISK and UGX have no minor unit, but keep two decimals in the API for backward compatibility: see below.
_ZERO_DECIMAL = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf"
_THREE_DECIMAL = "bhd jod kwd omr tnd"

DECIMALS = (
    dict.fromkeys(_TWO_DECIMAL.split(), 2)
    | dict.fromkeys(_ZERO_DECIMAL.split(), 0)
    | dict.fromkeys(_THREE_DECIMAL.split(), 3)
)

# Represented with two decimals although the fraction must be 00. (HUF and TWD may be charged with a fraction: it is
# only *payouts* in them that must be whole.)
_WHOLE_UNITS_ONLY = ("isk", "ugx")

_MINIMUM = {
    "aed": 200, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50, "czk": 1500, "dkk": 250, "eur": 50, "gbp": 30,
    "hkd": 400, "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000, "myr": 200, "nok": 300, "nzd": 50, "pln": 200,
    "ron": 200, "sek": 300, "sgd": 50, "thb": 1000, "usd": 50,
}  # fmt: skip
_MAXIMUM = 99_999_999  # eight digits


def check_currency(currency: str) -> str:
    """Stripe wants lower case; it also takes upper case and answers lower."""
    code = currency.lower()
    if code not in DECIMALS:
        raise refused_parameter(
            f"Invalid currency: {code}. Stripe currently supports these currencies: {', '.join(sorted(DECIMALS))}",
            "currency",
        )
    return code


def check_amount(amount: int, currency: str, param: str = "amount") -> None:
    if amount < 1:
        raise refused_parameter("This value must be greater than or equal to 1.", param, "parameter_invalid_integer")
    if amount > _MAXIMUM:
        raise _refused(f"Amount must be no more than {display(_MAXIMUM, currency)}", param, "amount_too_large")
    if amount < _MINIMUM.get(currency, 1):
        least = display(_MINIMUM[currency], currency)
        raise _refused(f"Amount must be at least {least}", param, "amount_too_small")
    if DECIMALS[currency] == 3 and amount % 10:
        raise refused_parameter(
            f"Invalid amount: amounts in {currency} must end in 0.", param, "parameter_invalid_integer"
        )
    if currency in _WHOLE_UNITS_ONLY and amount % 100:
        raise refused_parameter(
            f"Invalid amount: amounts in {currency} must be divisible by 100.", param, "parameter_invalid_integer"
        )


def _refused(message: str, param: str, code: str) -> StripeError:
    return refused_parameter(message, param, code)


def display(amount: int, currency: str) -> str:
    decimals = DECIMALS[currency]
    return f"{amount / 10**decimals:,.{decimals}f} {currency.upper()}"


_SIGNS = {"eur": "€", "gbp": "£", "usd": "$"}


def money(amount: int, currency: str) -> str:
    """As Stripe's refund messages write it."""
    decimals = DECIMALS[currency]
    number = f"{amount / 10**decimals:,.{decimals}f}"
    return f"{_SIGNS[currency]}{number}" if currency in _SIGNS else f"{number} {currency.upper()}"
