"""How the credit of an order is shared among its touches: the models (pure).

A touch is a candidate that passed. Weights are exact fractions that sum to exactly one.
Rule: docs/rules.md, "Models".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Context, Decimal
from fractions import Fraction
from typing import Final

from affiliate.core.money import PPM
from affiliate.programs.terms import AttributionTerms, Model
from tracker.attribution.facts import Candidate, OrderFacts

DECAY_PARTS: Final = 10**12
"""Into so many parts the weight of the youngest touch is divided under time decay; older
touches weigh whole parts, rounded half to even."""

_DIGITS: Final = Context(prec=40)
_LN_HALF: Final = Decimal("-0.6931471805599453094172321214581765680755")
_MICROSECOND: Final = timedelta(microseconds=1)
_NONE: Final = Fraction(0)
_WHOLE: Final = Fraction(1)


def weights_of(
    touches: Sequence[Candidate], order: OrderFacts, terms: AttributionTerms
) -> list[Fraction]:
    """The part of each touch, in their sequence."""
    if len(touches) < 2:
        return [_WHOLE] * len(touches)
    return _WEIGH[terms.model](touches, order, terms)


def last_of(touches: Sequence[Candidate], order: OrderFacts) -> Candidate:
    """The latest touch; in one instant the one with the smaller click id."""
    latest = max(touch.at or order.placed_at for touch in touches)
    return first_of([touch for touch in touches if (touch.at or order.placed_at) == latest], order)


def first_of(touches: Sequence[Candidate], order: OrderFacts) -> Candidate:
    """The earliest touch; in one instant the one with the smaller click id, so that arrival
    never decides."""
    return min(touches, key=lambda touch: _place(touch, order))


def _place(touch: Candidate, order: OrderFacts) -> tuple[datetime, str, str, int]:
    at = touch.at or order.placed_at
    return at, touch.click_id or "", touch.kind.value, touch.enrollment_id or 0


def _last_click(
    touches: Sequence[Candidate], order: OrderFacts, _terms: AttributionTerms
) -> list[Fraction]:
    return _all_to(last_of(touches, order), touches)


def _first_click(
    touches: Sequence[Candidate], order: OrderFacts, _terms: AttributionTerms
) -> list[Fraction]:
    return _all_to(first_of(touches, order), touches)


def _linear(
    touches: Sequence[Candidate], _order: OrderFacts, _terms: AttributionTerms
) -> list[Fraction]:
    return [Fraction(1, len(touches))] * len(touches)


def _position_based(
    touches: Sequence[Candidate], order: OrderFacts, terms: AttributionTerms
) -> list[Fraction]:
    """With two touches there is nobody between: first and last keep their proportion, and
    halve where both are set to nothing."""
    first = first_of(touches, order)
    last = last_of([touch for touch in touches if touch is not first], order)
    first_ppm, last_ppm = terms.position.first_ppm, terms.position.last_ppm
    between = len(touches) - 2
    if not between:
        if first_ppm + last_ppm == 0:
            first_ppm = last_ppm = 1
        ends = first_ppm + last_ppm
        return [Fraction(first_ppm if touch is first else last_ppm, ends) for touch in touches]
    middle = Fraction(PPM - first_ppm - last_ppm, PPM * between)
    set_to = {id(first): Fraction(first_ppm, PPM), id(last): Fraction(last_ppm, PPM)}
    return [set_to.get(id(touch), middle) for touch in touches]


def _time_decay(
    touches: Sequence[Candidate], order: OrderFacts, terms: AttributionTerms
) -> list[Fraction]:
    """2 ** (-age / half-life), normalised.

    Ages are counted from the youngest touch, which changes no proportion and keeps old ones
    from vanishing together. Every weight is a whole number of parts of the youngest one's, so
    that the fractions are exact and sum to exactly one on every machine.
    """
    placed = order.placed_at
    ages = [max(placed - (touch.at or placed), timedelta()) for touch in touches]
    youngest = min(ages)
    parts = [_decayed(age - youngest, terms.half_life) for age in ages]
    total = sum(parts)
    return [Fraction(part, total) for part in parts]


def _decayed(age: timedelta, half_life: timedelta) -> int:
    """DECAY_PARTS halved once for each half-life: whole ones exactly, the rest of one by a
    correctly rounded decimal exponential, since binary floats differ between machines."""
    halvings, rest = divmod(age, half_life)
    if halvings > DECAY_PARTS.bit_length():
        return 0
    part = Decimal(rest // _MICROSECOND)
    exponent = _DIGITS.divide(_DIGITS.multiply(_LN_HALF, part), Decimal(half_life // _MICROSECOND))
    parts = _DIGITS.multiply(Decimal(DECAY_PARTS), _DIGITS.exp(exponent))
    return round(_DIGITS.divide(parts, Decimal(2**halvings)))


def _all_to(chosen: Candidate, touches: Sequence[Candidate]) -> list[Fraction]:
    return [_WHOLE if touch is chosen else _NONE for touch in touches]


Weigh = Callable[[Sequence[Candidate], OrderFacts, AttributionTerms], list[Fraction]]
_WEIGH: Final[dict[Model, Weigh]] = {
    Model.LAST_CLICK: _last_click,
    Model.FIRST_CLICK: _first_click,
    Model.LINEAR: _linear,
    Model.POSITION_BASED: _position_based,
    Model.TIME_DECAY: _time_decay,
}
