"""The currencies that the double knows (docs.stripe.com/currencies), and their minor units."""

from __future__ import annotations

from .wire import ApiError

_ZERO_DECIMAL = "bif clp djf gnf jpy kmf krw mga pyg rwf ugx vnd vuv xaf xof xpf"
_THREE_DECIMAL = "bhd jod kwd omr tnd"
_TWO_DECIMAL = """
    usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd bwp byn bzd
    cad cdf chf cny cop crc cve czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd
    hnl htg huf idr ils inr isk jmd kes kgs khr kyd kzt lak lbp lkr lrd lsl mad mdl mkd mmk mnt
    mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd pab pen pgk php pkr pln qar ron rsd rub
    sar sbd scr sek sgd shp sle sos srd std szl thb tjs top try ttd twd tzs uah uyu uzs wst xcd
    yer zar zmw
"""
ZERO_DECIMAL = frozenset(_ZERO_DECIMAL.split())
THREE_DECIMAL = frozenset(_THREE_DECIMAL.split())
SUPPORTED = frozenset(_TWO_DECIMAL.split()) | ZERO_DECIMAL | THREE_DECIMAL


def known(word: str) -> str:
    """The currency in lower case, as Stripe stores it."""
    currency = word.lower()
    if currency not in SUPPORTED:
        raise ApiError(
            400,
            f"Invalid currency: {word[:40]}. Stripe currently supports these currencies: "
            f"{', '.join(sorted(SUPPORTED))}",
            param="currency",
        )
    return currency


def exponent(currency: str) -> int:
    """Digits after the point."""
    if currency in ZERO_DECIMAL:
        return 0
    return 3 if currency in THREE_DECIMAL else 2


WHOLE_FOR_BANKS = frozenset({"huf", "twd"})
"""Banks take these in whole units alone, though Stripe counts them in hundredths."""


def whole_for_banks(amount_minor: int, currency: str) -> None:
    """Refuse a bank payout with a fraction that the currency's banks do not take."""
    if currency in WHOLE_FOR_BANKS and amount_minor % 100:
        raise ApiError(
            400,
            f"Invalid amount: payouts in {currency} must be divisible by 100.",
            code="parameter_invalid_integer",
            param="amount",
        )


def positive_minor(amount_minor: int, currency: str) -> int:
    """An amount that can move: at least one minor unit; three decimals end in a zero."""
    if amount_minor < 1:
        raise ApiError(
            400,
            "This value must be greater than or equal to 1.",
            code="parameter_invalid_integer",
            param="amount",
        )
    if currency in THREE_DECIMAL and amount_minor % 10:
        raise ApiError(
            400,
            f"Amounts in {currency} have three decimals, the last of which must be 0.",
            code="parameter_invalid_integer",
            param="amount",
        )
    return amount_minor
