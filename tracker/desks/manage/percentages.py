"""Percentages as people write them."""

from __future__ import annotations

from typing import Any, Final

from flask_babel import lazy_gettext as _l
from wtforms.validators import ValidationError

PPM_PER_PERCENT: Final = 10_000
PERCENT_DIGITS_MAX: Final = 4


def parts_per_million(text: str) -> int:
    """`12.5` percent as 125,000 parts per million; ValueError when it is no rate."""
    text = text.strip().removesuffix("%").strip().replace(",", ".")
    whole, point, fraction = text.partition(".")
    digits = whole + fraction
    if not (digits.isascii() and digits.isdigit() and whole) or len(whole) > 3:
        raise ValueError("not a percentage")
    if (point and not fraction) or len(fraction) > PERCENT_DIGITS_MAX:
        raise ValueError("too many digits")
    return int(whole) * PPM_PER_PERCENT + int(fraction.ljust(PERCENT_DIGITS_MAX, "0"))


def percent_text(rate_ppm: int) -> str:
    """`12.5` for 125,000 parts per million: as the form shows it again."""
    whole, rest = divmod(rate_ppm, PPM_PER_PERCENT)
    fraction = f"{rest:04d}".rstrip("0")
    return f"{whole}.{fraction}" if fraction else str(whole)


def is_rate(_form: Any, field: Any) -> None:
    """WTForms: a percentage of at most the whole, or nothing."""
    if not field.data:
        return
    try:
        rate = parts_per_million(field.data)
    except ValueError:
        raise ValidationError(_l("Write a percentage such as 10 or 12.5.")) from None
    if rate > 100 * PPM_PER_PERCENT:
        raise ValidationError(_l("At most 100."))
