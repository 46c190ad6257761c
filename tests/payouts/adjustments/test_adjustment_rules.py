"""How far a balance may be corrected by hand."""

from __future__ import annotations

import pytest

from affiliate.core.money import MICROS, Money
from payouts.adjustments.rules import AdjustmentKind, Unfit, most, unfit

ADJUST, WRITE_OFF = AdjustmentKind.ADJUST, AdjustmentKind.WRITE_OFF


def euros(micros: int) -> Money:
    return Money(micros, "EUR")


@pytest.mark.parametrize(
    ("kind", "amount", "available", "why"),
    [
        (ADJUST, 0, 5, Unfit.NOTHING),
        (ADJUST, 1, 0, None),
        (ADJUST, 1, -5, None),
        (ADJUST, 10**6 * MICROS, 0, None),
        (ADJUST, 10**6 * MICROS + 1, 0, Unfit.ABOVE_MOST),
        (ADJUST, -5, 5, None),
        (ADJUST, -6, 5, Unfit.MORE_THAN_AVAILABLE),
        (ADJUST, -1, 0, Unfit.MORE_THAN_AVAILABLE),
        (ADJUST, -1, -5, Unfit.MORE_THAN_AVAILABLE),
        (WRITE_OFF, 0, -5, Unfit.NOTHING),
        (WRITE_OFF, 5, -5, None),
        (WRITE_OFF, 1, -5, None),
        (WRITE_OFF, 6, -5, Unfit.MORE_THAN_OWED),
        (WRITE_OFF, -1, -5, Unfit.MORE_THAN_OWED),
        (WRITE_OFF, 1, 0, Unfit.NOT_NEGATIVE),
        (WRITE_OFF, 1, 5, Unfit.NOT_NEGATIVE),
    ],
)
def test_what_may_be_corrected(
    kind: AdjustmentKind, amount: int, available: int, why: Unfit | None
) -> None:
    assert unfit(kind, euros(amount), available=euros(available)) is why


def test_the_most_is_of_major_units_in_every_currency() -> None:
    assert [most(currency).decimal for currency in ("EUR", "JPY", "KWD")] == [
        "1000000.00", "1000000", "1000000.000",
    ]  # fmt: skip


def test_the_example_of_the_rules_page() -> None:
    """docs/rules.md, "Corrections": paid 350.00, refunded wholly, 120.00 earned since."""
    available = euros(-350 * MICROS) + euros(120 * MICROS)
    assert available.decimal == "-230.00"
    assert unfit(WRITE_OFF, euros(230 * MICROS), available=available) is None
    assert unfit(WRITE_OFF, euros(230 * MICROS + 1), available=available) is Unfit.MORE_THAN_OWED
    assert unfit(ADJUST, euros(-1), available=available) is Unfit.MORE_THAN_AVAILABLE
