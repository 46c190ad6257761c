"""Bands of volume, and what is made up for at the end of a period."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from commission_world import amount, earned, percent, rub, step, tiers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affiliate.core.money import Money
from affiliate.programs.terms import Apply, Band, Measure, Period, Tiers
from payouts.commissions.rules import Earned, NotEarned, reversal
from payouts.commissions.tiers import (
    TierSale,
    band_at,
    make_up_reference,
    make_up_reversal,
    slices,
    tier_make_up,
)

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
RISING = tiers(("0", "10"), ("1000", "20"), ("5000", "30"), apply=Apply.WHOLE_PERIOD)


def made_up(of: Tiers, volume: int, *sales: TierSale, **others: Any) -> Earned | NotEarned:
    return tier_make_up(
        of, enrollment_id=5, rule_version_id=1, currency="RUB", volume=volume, sales=sales, **others
    )


def sold(base: str, earned: str, room: str | None = None) -> TierSale:
    return TierSale(rub(base), rub(earned), None if room is None else rub(room))


@pytest.mark.parametrize(
    ("volume", "sales", "cap_room", "expected"),
    [
        # 800 at 10 % and 400 at 10 % reached 1200: at 20 % they are 240, less 120.
        ("1200", [sold("800", "80"), sold("400", "40")], None, "120.00"),
        # The band holds its beginning: at 1000 exactly, 20 % of 1000 less 100.
        ("1000", [sold("1000", "100")], None, "100.00"),
        ("999.999999", [sold("999.999999", "100")], None, "nothing_to_make_up"),
        # Of the last order 20 % was earned already: 240 − (80 + 80) = 80.
        ("1200", [sold("800", "80"), sold("400", "80")], None, "80.00"),
        # A refund of 500 lowered 1200 to 700: 10 % of 700 = 70, and 110 were earned of what is
        # left (80 + 30): nothing is added, and nothing is taken away.
        ("700", [sold("550", "80"), sold("150", "30")], None, "nothing_to_make_up"),
        # All was refunded.
        ("0", [sold("0", "0")], None, "nothing_to_make_up"),
        ("0", [], None, "nothing_to_make_up"),
        # An order that a cap cut has no room: 80 for the other alone.
        ("1200", [sold("800", "80"), sold("400", "25", "0")], None, "80.00"),
        # Half the way: 160 − 80 = 80, and of the other 10 of its 40.
        ("1200", [sold("800", "80"), sold("400", "40", "10")], None, "90.00"),
        # The cap of the period leaves 50, 0, or less than nothing.
        ("1200", [sold("800", "80"), sold("400", "40")], "50", "50.00"),
        ("1200", [sold("800", "80"), sold("400", "40")], "120", "120.00"),
        ("1200", [sold("800", "80"), sold("400", "40")], "0", "cap_reached"),
        ("1200", [sold("800", "80"), sold("400", "40")], "-5", "cap_reached"),
    ],
)
def test_a_period_is_made_up_for(
    volume: str, sales: list[TierSale], cap_room: str | None, expected: str
) -> None:
    room = None if cap_room is None else rub(cap_room)
    assert amount(made_up(RISING, rub(volume).micros, *sales, cap_room=room)) == expected


def test_a_period_of_orders_is_made_up_for_by_their_number() -> None:
    # Eleven orders; ten earned 10 %, the eleventh 20 %: 11 × 20 − (10 × 10 + 20) = 100.
    of = tiers(("0", "10"), ("10", "20"), apply=Apply.WHOLE_PERIOD, measure=Measure.ORDERS)
    orders = [sold("100", "10")] * 10 + [sold("100", "20")]
    assert amount(made_up(of, 11, *orders)) == "100.00"
    assert amount(made_up(of, 9, *orders[:9])) == "nothing_to_make_up"


def test_the_make_up_is_named_and_can_be_followed() -> None:
    found = made_up(RISING, rub("1200").micros, sold("800", "80"), sold("400", "40"))
    assert make_up_reference(5, "2026-11") == "tier:5:2026-11"
    assert (found.level, found.via_enrollment_id, found.rule) == (1, None, "tiers")
    assert (found.base, found.rate_ppm) == (rub("1200"), percent("20").rate_ppm)
    assert step(found, "tier_make_up") == {
        "step": "tier_make_up", "kind": "tier", "measure": "sales", "period": "month",
        "volume": "1200.00", "band_begins": "1000.00", "band_ends": "5000.00",
        "rate_ppm": 200_000, "orders": 2, "base": "1200.00", "due": "240.00",
        "before": "120.00", "amount": "120.00",
    }  # fmt: skip


@st.composite
def rising(draw: st.DrawFn, apply: Apply) -> Tiers:
    begins = [0, *sorted(draw(st.sets(st.integers(1, 10**10), max_size=4)))]
    rates = sorted(draw(st.lists(st.integers(0, 10**6), min_size=5, max_size=5)))
    bands = tuple(Band(b, r) for b, r in zip(begins, rates, strict=False))
    return Tiers(Measure.SALES, Period.MONTH, apply, bands)


nets = st.lists(st.integers(0, 4 * 10**9), min_size=1, max_size=12)


@settings(patient, max_examples=1_000)
@given(rising(Apply.MARGINAL), nets)
def test_orders_in_a_row_earn_what_their_whole_volume_does(of: Tiers, orders: list[int]) -> None:
    """Each order and band is rounded once: half a micro at the most."""
    volume, earned_micros, roundings = 0, 0, 0
    for net in orders:
        parts = slices(of, volume=volume, base=Money(net, "RUB"))
        assert sum(part.base.micros for part in parts) == net
        earned_micros += sum(part.base.share(part.band.rate_ppm).micros for part in parts)
        roundings += len(parts)
        volume += net
    ends = [*(band.begins for band in of.bands[1:]), volume]
    whole_ppm = sum(
        max(0, min(volume, end) - band.begins) * band.rate_ppm
        for band, end in zip(of.bands, ends, strict=True)
    )
    assert abs(earned_micros * 10**6 - whole_ppm) * 2 <= roundings * 10**6


@settings(patient, max_examples=800)
@given(
    rising(Apply.WHOLE_PERIOD),
    nets,
    st.lists(st.sampled_from([0, 0, 1, 250_000, 333_333, 10**6]), min_size=12, max_size=12),
)
def test_the_make_up_is_the_difference_and_never_below_zero(
    of: Tiers, orders: list[int], refunds_ppm: list[int]
) -> None:
    sales, volume = [], 0
    for net, refund_ppm in zip(orders, refunds_ppm, strict=False):
        base = Money(net, "RUB")
        [one] = slices(of, volume=volume, base=base)
        first = base.share(one.band.rate_ppm)
        refunded = base.share(refund_ppm)
        taken = reversal(frozen=first, refunded_net=refunded, net=base, already=rub("0"))
        sales.append(TierSale(base - refunded, first - taken))
        volume += net
    left = sum(sale.base.micros for sale in sales)
    before = sum(sale.earned.micros for sale in sales)
    final = band_at(of, left).rate_ppm
    due = sum(sale.base.share(final).micros for sale in sales)
    found = made_up(of, left, *sales)
    assert earned(found).micros == max(0, due - before)
    if all(sale.base.micros == net for sale, net in zip(sales, orders, strict=True)):
        # Without refunds nobody earned more than the final band gives.
        assert before + earned(found).micros == due


@settings(patient, max_examples=300)
@given(rising(Apply.WHOLE_PERIOD), nets, st.randoms(use_true_random=False))
def test_what_comes_back_after_the_end_takes_its_part_of_the_make_up_and_in_the_end_all(
    of: Tiers, orders: list[int], chance: Random
) -> None:
    """In whatever sequence and parts; what stays is what the rest would be made up for."""
    sales, volume = [], 0
    for net in orders:
        base = Money(net, "RUB")
        sales.append(TierSale(base, base.share(band_at(of, volume).rate_ppm)))
        volume += net
    found = made_up(of, volume, *sales)
    final, taken = band_at(of, volume).rate_ppm, rub("0")
    left = list(sales)
    while any(sale.base for sale in left):
        place = chance.randrange(len(left))
        whole, before = sales[place], left[place]
        base = Money(chance.choice([0, before.base.micros // 2]), "RUB")
        back = whole.base - base
        given = reversal(frozen=whole.earned, refunded_net=back, net=whole.base, already=rub("0"))
        left[place] = TierSale(base, whole.earned - given)
        step = make_up_reversal(frozen=earned(found), rate_ppm=final, sales=left, already=taken)
        taken += step
        rest = sum(s.base.share(final).micros - s.earned.micros for s in left)
        assert earned(found).micros - taken.micros == min(max(rest, 0), earned(found).micros) or (
            step == rub("0")
        )
        again = make_up_reversal(frozen=earned(found), rate_ppm=final, sales=left, already=taken)
        assert again == rub("0")
        assert rub("0") <= taken <= earned(found)
    assert taken == earned(found)
