"""What a sale earns: boundary tables with their sums, and properties for any rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affiliate.core.money import Money, total
from affiliate.programs.terms import CommissionTerms, Fixed, LevelTwo, Of, Percent
from payouts.commissions.rules import (
    Credit,
    Earned,
    NotEarned,
    Reason,
    Sale,
    commissions_of,
    reversal,
)

AT = datetime(2026, 11, 21, tzinfo=UTC)


def rub(text: str) -> Money:
    return Money(int(Fraction(text) * 1_000_000), "RUB")


def credit(
    enrollment_id: int = 1,
    weight: str = "1",
    level_1: Percent | Fixed | None = None,
    level_2: LevelTwo | None = None,
    recruiter_id: int | None = None,
) -> Credit:
    terms = CommissionTerms(level_1=level_1 or Percent(100_000), level_2=level_2)
    return Credit(enrollment_id, Fraction(weight), terms, 1, recruiter_id)


def sale(net: str, *credits: Credit) -> Sale:
    return Sale(1, "order:1", 1, rub(net), credits, AT, timedelta(days=14))


def amounts(found: tuple[Earned | NotEarned, ...]) -> list[tuple[int, int, str]]:
    return [
        (e.level, e.enrollment_id, e.amount.decimal if isinstance(e, Earned) else e.reason.value)
        for e in found
    ]


OF_SALE = LevelTwo(Of.SALE, 20_000)
OF_COMMISSION = LevelTwo(Of.COMMISSION, 200_000)


@pytest.mark.parametrize(
    ("sold", "expected"),
    [
        # The example of docs/api.md: net 3500; 10 % = 350, 2 % of the sale = 70.
        (
            sale("3500", credit(level_2=OF_SALE, recruiter_id=9)),
            [(1, 1, "350.00"), (2, 9, "70.00")],
        ),
        # 20 % of the level-1 commission: 350 × 0.2 = 70.
        (
            sale("3500", credit(level_2=OF_COMMISSION, recruiter_id=9)),
            [(1, 1, "350.00"), (2, 9, "70.00")],
        ),
        # Nobody recruited: one level alone.
        (sale("3500", credit(level_2=OF_SALE)), [(1, 1, "350.00")]),
        (sale("3500", credit(recruiter_id=9)), [(1, 1, "350.00")]),
        # 10 % of 0.000005 is half a micro: to the even neighbour, 0, and so nothing.
        (sale("0.000005", credit()), [(1, 1, "below_a_micro")]),
        # 10 % of 0.000015 is 1.5 micros: to the even neighbour, 2.
        (sale("0.000015", credit()), [(1, 1, "0.000002")]),
        # 0.003 of a kopeck is kept: 10 % of 0.03.
        (sale("0.03", credit()), [(1, 1, "0.003")]),
        # A fixed 100 for an order of 1000.
        (sale("1000", credit(level_1=Fixed(rub("100")))), [(1, 1, "100.00")]),
        # Thirds of a fixed 100: 33.333333 × 3 = 99.999999, the micro left goes to the first.
        (
            sale("1000", *(credit(n, "1/3", Fixed(rub("100"))) for n in (1, 2, 3))),
            [(1, 1, "33.333334"), (1, 2, "33.333333"), (1, 3, "33.333333")],
        ),
        # Halves of 10 % of 0.00001 (1 micro): one micro cannot be halved, the first has it.
        (
            sale("0.00001", credit(1, "1/2"), credit(2, "1/2")),
            [(1, 1, "0.000001"), (1, 2, "below_a_micro")],
        ),
        # Nothing was paid: neither a percent nor a fixed amount is earned.
        (
            sale("0", credit(level_2=OF_SALE, recruiter_id=9)),
            [(1, 1, "nothing_paid"), (2, 9, "nothing_paid")],
        ),
        (sale("0", credit(level_1=Fixed(rub("100")))), [(1, 1, "nothing_paid")]),
        # A rate of zero; level 2 of the sale is still earned, of the commission is not.
        (
            sale("100", credit(level_1=Percent(0), level_2=OF_SALE, recruiter_id=9)),
            [(1, 1, "no_rate"), (2, 9, "2.00")],
        ),
        (
            sale("100", credit(level_1=Percent(0), level_2=OF_COMMISSION, recruiter_id=9)),
            [(1, 1, "no_rate"), (2, 9, "no_rate")],
        ),
        # Fixed 99 of 100 and 2 % (2.00): only 1.00 is left, so level 2 is cut to it.
        (
            sale("100", credit(level_1=Fixed(rub("99")), level_2=OF_SALE, recruiter_id=9)),
            [(1, 1, "99.00"), (2, 9, "1.00")],
        ),
        # Fixed 150 of 100: level 2 is cut to nothing first, then level 1 to the net.
        (
            sale("100", credit(level_1=Fixed(rub("150")), level_2=OF_SALE, recruiter_id=9)),
            [(1, 1, "100.00"), (2, 9, "cut_to_net")],
        ),
        # 150 × 1/3 + 60 × 2/3 = 50 + 40 = 90 of 60: cut in proportion, 60 × 5/9 and 60 × 4/9.
        (
            sale(
                "60",
                credit(1, "1/3", Fixed(rub("150"))),
                credit(2, "2/3", Fixed(rub("60"))),
            ),
            [(1, 1, "33.333333"), (1, 2, "26.666667")],
        ),
        ((sale("100")), []),
    ],
)
def test_a_sale_earns_this_much(sold: Sale, expected: list[tuple[int, int, str]]) -> None:
    assert amounts(commissions_of(sold)) == expected


def test_the_trace_says_base_rate_and_cut() -> None:
    sold = sale("100", credit(level_1=Fixed(rub("99")), level_2=OF_SALE, recruiter_id=9))
    first, second = commissions_of(sold)
    assert [step["step"] for step in first.trace] == ["base", "level_1"]
    assert first.trace[1]["fixed"] == "99.00"
    assert [step["step"] for step in second.trace] == ["base", "level_2", "cut_to_net"]
    assert second.trace[2] == {
        "step": "cut_to_net", "net": "100.00", "before": "2.00", "amount": "1.00",
    }  # fmt: skip
    assert second.via_enrollment_id == 1


def test_the_reason_stands_last_in_the_trace() -> None:
    (nothing,) = commissions_of(sale("0", credit()))
    assert nothing.trace[-1] == {"step": "not_earned", "reason": Reason.NOTHING_PAID.value}


@pytest.mark.parametrize("credits", [(credit(1, "1/2"),), (credit(1, "1/2"), credit(1, "1/2"))])
def test_shares_that_are_no_whole_are_a_mistake(credits: tuple[Credit, ...]) -> None:
    with pytest.raises(ValueError, match="credit"):
        sale("100", *credits)


@pytest.mark.parametrize(
    ("frozen", "refunded", "net", "already", "expected"),
    [
        ("350", "0", "3500", "0", "0"),
        ("350", "1000", "3500", "0", "100"),  # 350 × 1000 / 3500
        ("350", "3500", "3500", "100", "250"),  # all of it, less what is taken already
        ("0.000001", "1", "2", "0", "0"),  # half a micro, to the even neighbour 0
        ("0.000003", "1", "2", "0", "0.000002"),  # one and a half, to the even neighbour 2
        ("350", "9999", "3500", "0", "350"),  # never more than the whole
        ("350", "100", "3500", "50", "0"),  # already more than due: nothing is given back
        ("350", "0", "0", "0", "0"),
    ],
)
def test_a_refund_takes_back_this_much(
    frozen: str, refunded: str, net: str, already: str, expected: str
) -> None:
    found = reversal(
        frozen=rub(frozen), refunded_net=rub(refunded), net=rub(net), already=rub(already)
    )
    assert found == rub(expected)


# A busy machine is slow at making examples; that says nothing of the rules.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
rates = st.integers(0, 1_000_000)
level_1s = st.one_of(
    rates.map(Percent), st.integers(0, 10**12).map(lambda m: Fixed(Money(m, "RUB")))
)
level_2s = st.none() | st.builds(LevelTwo, of=st.sampled_from(Of), rate_ppm=st.integers(1, 10**6))


@st.composite
def sales(draw: st.DrawFn) -> Sale:
    parts = draw(st.lists(st.integers(1, 1_000), min_size=1, max_size=6))
    credits = tuple(
        Credit(
            enrollment_id=i + 1,
            weight=Fraction(part, sum(parts)),
            terms=CommissionTerms(draw(level_1s), draw(level_2s)),
            rule_version_id=1,
            recruiter_id=draw(st.none() | st.integers(100, 103)),
        )
        for i, part in enumerate(parts)
    )
    net = Money(draw(st.integers(0, 10**15)), "RUB")
    return Sale(1, "order:1", 1, net, credits, AT, timedelta(days=14))


@patient
@given(sales())
def test_commissions_never_exceed_the_net(sold: Sale) -> None:
    found = commissions_of(sold)
    earned = [e for e in found if isinstance(e, Earned)]
    assert total((e.amount for e in earned), "RUB") <= sold.net
    assert all(e.amount > Money.zero("RUB") for e in earned)
    assert len(found) == len({(e.level, e.enrollment_id, e.via_enrollment_id) for e in found})
    assert [e.level for e in found] == sorted(e.level for e in found)


@patient
@given(sales())
def test_shares_on_the_same_terms_earn_what_one_alone_would(sold: Sale) -> None:
    terms = CommissionTerms(sold.credits[0].terms.level_1, None)
    split = tuple(Credit(c.enrollment_id, c.weight, terms, 1, None) for c in sold.credits)
    alone = (Credit(1, Fraction(1), terms, 1, None),)

    def earned(credits: tuple[Credit, ...]) -> Money:
        found = commissions_of(Sale(1, "order:1", 1, sold.net, credits, AT, timedelta(days=14)))
        return total((e.amount for e in found if isinstance(e, Earned)), "RUB")

    assert earned(split) == earned(alone)


@patient
@given(sales(), st.lists(st.integers(1, 10**6), min_size=1, max_size=12))
def test_a_full_refund_in_any_parts_takes_everything_back_and_never_more(
    sold: Sale, parts: list[int]
) -> None:
    refunds = sold.net.allocate(parts)
    for each in commissions_of(sold):
        if isinstance(each, NotEarned):
            continue
        taken, refunded = Money.zero("RUB"), Money.zero("RUB")
        for refund in refunds:
            refunded += refund
            taken += reversal(
                frozen=each.amount, refunded_net=refunded, net=sold.net, already=taken
            )
            assert taken <= each.amount
        assert taken == each.amount
