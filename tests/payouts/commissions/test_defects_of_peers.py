"""Examples that others published, and mistakes that others made."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from fractions import Fraction

import pytest
from commission_world import (
    AT,
    amount,
    credit,
    earned,
    fixed,
    percent,
    rub,
    rule,
    sale,
    step,
    terms,
    tiers,
)
from money_world import HOLD, NOW, World
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from affiliate.programs.terms import Boost, LevelTwo, Of, Who
from payouts.commissions.earn import earn
from payouts.commissions.release import release_due
from payouts.commissions.rows import commissions_for
from payouts.commissions.rules import commissions_of, reversal
from payouts.commissions.void import take_back
from payouts.ledger.accounts import AccountKind, cash, of_enrollment
from payouts.ledger.balances import Balances, balances
from payouts.ledger.posting import Kind, Line, post

LATER = NOW + HOLD


def usd(text: str) -> Money:
    return Money.parse(text, "USD")


def both_levels(net: str, rate: str, level_2: LevelTwo) -> list[str]:
    of = terms(percent(rate), level_2=level_2)
    return [amount(each) for each in commissions_of(sale(net, credit(of, recruiter_id=9)))]


def test_two_levels_of_the_sale_as_tapfiliate_publishes_them() -> None:
    """Source: Tapfiliate, "How does Multi-level Marketing work on Tapfiliate?"

    (support.tapfiliate.com/en/articles/1706768). Inputs: a sale of $100, default 10 %,
    level 2 2 %, level 3 1 %: Angela $10, Betty $2, Johnny $1. We have the first two.
    """
    assert both_levels("100", "10", LevelTwo(Of.SALE, 20_000)) == ["10.00", "2.00"]


def test_level_2_of_the_payout_as_trackdesk_publishes_it() -> None:
    """Source: Trackdesk, "Multi-level Marketing" (help.trackdesk.com/en/articles/8544438).

    Its levels are those above who sold: of 10 %, 5 % and 2 % of a payout of $100, together
    117 with three above and 110 with one above. Its first is our level 2. Input beyond the
    source: a sale of 1000 at 10 %, so that the payout is 100.
    An earlier edition: a sale of $50 at 10 % is $5, the parent's 10 % of it $0.5, in all 5.5.
    """
    of_payout = LevelTwo(Of.COMMISSION, 100_000)
    assert both_levels("1000", "10", of_payout) == ["100.00", "10.00"]
    assert both_levels("50", "10", of_payout) == ["5.00", "0.50"]


def test_level_2_of_the_sale_as_trackdesk_offers_it() -> None:
    """The same page (edition of 13 May 2026) lets the levels be taken of the revenue.

    It gives no amounts for that; the inputs are those above: 10 % of a sale of 1000.
    """
    assert both_levels("1000", "10", LevelTwo(Of.SALE, 100_000)) == ["100.00", "100.00"]


def test_a_split_commission_as_post_affiliate_pro_publishes_it() -> None:
    """Source: Quality Unit, "Split Commissions" (support.qualityunit.com/012982).

    Inputs: a commission of $100, five affiliates, bonus of the first 25 %, of the last 50 %;
    the rest of 25 % is shared by all five, $5 each: $30, $5, $5, $5, $55.
    """
    of = terms(percent("10"))
    weights = ["30/100", "5/100", "5/100", "5/100", "55/100"]
    found = commissions_of(
        sale("1000", *(credit(of, n, weight) for n, weight in enumerate(weights, 1)))
    )
    assert [amount(each) for each in found] == ["30.00", "5.00", "5.00", "5.00", "55.00"]


def test_dub_a_partial_refund_takes_its_part_and_level_2_with_it() -> None:
    """Dub voids the whole commission at any partial refund and never reverses level 2."""
    for frozen, expected in (("350", "100"), ("70", "20")):  # × 1000 / 3500
        taken = reversal(
            frozen=rub(frozen), refunded_net=rub("1000"), net=rub("3500"), already=rub("0")
        )
        assert taken == rub(expected)


@pytest.mark.parametrize("net", ["10", "50", "100", "10000"])
def test_dub_a_fixed_amount_and_a_percentage_are_never_compared_as_numbers(net: str) -> None:
    """Dub's "best rule wins" compares cents with percent: 500 cents always beat 10 %.

    Here the more specific wins whatever the numbers are, of equal ones the later.
    """
    by_name = rule("named", percent("10"), enrollments=[1])
    by_group = rule("group", fixed("5"), groups=["blogs"])
    for rules in ((by_name, by_group), (by_group, by_name)):
        [found] = commissions_of(sale(net, credit(terms(rules=rules), group="blogs")))
        assert (found.rule, earned(found)) == ("named", rub(net).fraction(1, 10))


@pytest.mark.parametrize(
    ("net", "best"),
    [
        ("100", "add"),  # 8 + 100 × 5 % = 13 against 8 × 1.5 = 12
        ("80", "times"),  # 8 + 80 × 5 % = 12 against 12: of equal ones the later
        ("60", "times"),  # 8 + 60 × 5 % = 11 against 12
    ],
)
def test_dub_boosts_are_compared_by_what_they_give_on_this_order(net: str, best: str) -> None:
    """A percentage more and a multiple are compared in money, never as numbers."""
    span = (AT, AT + timedelta(days=1))
    boosts = (
        Boost("add", Who(), *span, add_ppm=50_000),
        Boost("times", Who(), *span, times_ppm=1_500_000),
    )
    of = terms(percent(str(Fraction(800) / Fraction(net))), boosts=boosts)
    [found] = commissions_of(sale(net, credit(of)))
    assert step(found, "boost")["rule"] == best


def test_affable_an_amount_is_read_without_a_float() -> None:
    """`int(amount * 100)` of 19.99 is 1998; of every amount in cents none may lose one."""
    assert int(19.99 * 100) == 1998
    for cents in range(0, 100_000, 7):
        read = usd(f"{cents // 100}.{cents % 100:02d}")
        assert read.whole_minor_units() == cents
        assert read.micros == cents * 10_000


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        ("999.999", "19.9999"),  # 0.001 × 10 % + 99.999 × 20 %
        ("1000", "20.00"),
        ("1000.000001", "20.00"),
        ("1000.005", "20.00"),
        ("1000.01", "20.00"),
    ],
)
def test_oca_no_base_lies_between_two_bands(volume: str, expected: str) -> None:
    """OCA's bands are closed at both ends (0 to 1000.00, 1000.01 to …): 1000.005 earns nothing."""
    of = terms(tiers=tiers(("0", "10"), ("1000", "20")))
    [found] = commissions_of(sale("100", credit(of, volume=rub(volume).micros)))
    assert amount(found) == expected


def of(session: Session, world: World, name: str) -> Balances:
    return balances(session, enrollment_id=world.enrollments[name], currency=world.currency)


def pay_out(session: Session, world: World, name: str, text: str) -> None:
    """The money has left."""
    available = of_enrollment(
        AccountKind.AVAILABLE, world.program_id, world.enrollments[name], world.currency
    )
    lines = [
        Line(available, -world.money(text)),
        Line(cash(world.program_id, world.rail, world.currency), world.money(text)),
    ]
    post(
        session, kind=Kind.SETTLE, reference=f"settle:{name}", reason="test", now=LATER, lines=lines
    )


def test_a_refund_of_what_was_paid_is_a_debt_at_both_levels_and_nothing_is_paid_twice(
    session: Session, world: World
) -> None:
    """Dub skips commissions that were paid; RefearnApp makes them payable a second time;

    convex-affiliates lowers the sum that was paid, and the debt is forgotten.
    """
    sold = world.sale("anna", "3500.00")
    earn(session, sale=sold, waits_for=None, now=NOW)
    release_due(session, now=LATER)
    pay_out(session, world, "anna", "350")
    pay_out(session, world, "rita", "70")
    take_back(
        session, reference=sold.reference, refund="refund:1", refunded_net=world.money("1000"),
        net=sold.net, now=LATER,
    )  # fmt: skip
    # 350 × 1000/3500 = 100 and 70 × 1000/3500 = 20 are owed back; what was paid stays paid.
    for name, paid, debt in (("anna", "350", "-100"), ("rita", "70", "-20")):
        assert of(session, world, name).paid == world.money(paid)
        assert of(session, world, name).available == world.money(debt)
        assert of(session, world, name).owed == world.money(debt)
    # No run of the release makes any of it payable again.
    assert release_due(session, now=LATER + HOLD) == 0
    assert of(session, world, "anna").owed == world.money("-100")
    # The next order recovers it: 10 % of 1500 is 150, less 100.
    earn(session, sale=world.sale("anna", "1500.00"), waits_for=None, now=NOW)
    release_due(session, now=LATER)
    assert of(session, world, "anna").available == world.money("50")


def test_dub_new_terms_leave_old_orders_as_they_were(session: Session, world: World) -> None:
    """Dub's rates are mutable rows: an edit recomputes old sales at today's rate."""
    sold = world.sale("anna", "100.00")
    before = earn(session, sale=sold, waits_for=None, now=NOW)
    dearer = replace(sold.credits[0].terms, level_1=percent("50"))
    later = world.sale("anna", "100.00", terms=dearer)
    earn(session, sale=later, waits_for=None, now=NOW)
    # The same decision under other terms earns nothing new either.
    again = world.sale("anna", "100.00", terms=dearer, reference=sold.reference)
    earn(session, sale=again, waits_for=None, now=NOW)
    rows = commissions_for(session, reference=sold.reference)
    assert [row.amount for row in rows] == [row.amount for row in before]
    take_back(
        session, reference=sold.reference, refund="refund:1", refunded_net=world.money("50"),
        net=sold.net, now=NOW,
    )  # fmt: skip
    # Half of what it earned at 10 %, not of 50 %.
    assert [row.reversed for row in commissions_for(session, reference=sold.reference)] == [
        world.money("5"), world.money("1"),
    ]  # fmt: skip
