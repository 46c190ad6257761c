"""Simulated standings are what a plain recount gives, at every instant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affiliate.core.money import Money
from affiliate.programs import terms_document as terms_of
from affiliate.programs.terms import CommissionTerms
from payouts.commissions.periods import stretch_of
from tests.builders import terms_document
from tracker.replay.volumes import ComesBack, Sale, Volumes, begins_of

BEGINNING = datetime(2026, 1, 30, 12, tzinfo=UTC)
ZONE = "Europe/Moscow"
MEASURES = ("sales", "orders")


def terms_of_tiers(measure: str) -> CommissionTerms:
    document = terms_document()
    document["commission"] |= {
        "tiers": {
            "measure": measure,
            "period": "month",
            "apply": "marginal",
            "bands": [{"from": 0 if measure == "orders" else "0", "rate_ppm": 100_000}],
        },
        "caps": {"per_order": None, "per_period": {"amount": "1.00", "period": "quarter"}},
        "bonus": {"first_of": "affiliate", "amount": "1.00"},
    }
    return terms_of.load(document, "RUB").commission


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 2**62).map(Random), st.sampled_from(MEASURES))
def test_standings_are_what_a_recount_gives(dice: Random, measure: str) -> None:
    terms = terms_of_tiers(measure)
    volumes = Volumes(terms, ZONE, sold_before=[3])
    past: list[tuple[int, datetime, Money, Money, Money, list[ComesBack]]] = []
    at = BEGINNING
    for _ in range(dice.randrange(1, 25)):
        at += timedelta(hours=dice.randrange(1, 60))
        placed_at = at - timedelta(hours=dice.randrange(48))
        who = dice.choice((1, 2, 3))
        volumes.pass_until(at)
        found = volumes.before(who, placed_at, "RUB")
        month = stretch_of(terms.tiers.period, placed_at, ZONE)  # type: ignore[union-attr]
        quarter = stretch_of(terms.caps.per_period.period, placed_at, ZONE)  # type: ignore[union-attr]
        sold = orders = earned = sales = 0
        for seller, when, base, amount, net, back in past:
            if seller != who:
                continue
            given_back = 0
            gone = False
            for each in back:
                if each.at <= at:
                    gone |= each.cancelled
                    given_back = net.micros if each.cancelled else given_back + each.net_micros
            given_back = min(given_back, net.micros)
            base_back = base.fraction(given_back, net.micros).micros
            if month.begins <= when < month.ends:
                sold += base.micros - base_back
                orders += base.micros > base_back
            if quarter.begins <= when < quarter.ends:
                earned += amount.micros - amount.fraction(given_back, net.micros).micros
            sales += base.micros > 0 and not gone
        assert found.volume == (sold if measure == "sales" else orders)
        assert found.earned_in_period == Money(earned, "RUB")
        assert found.first_order == (not sales and who != 3)
        net = Money(dice.randrange(1, 10_000_000), "RUB")
        base = net.fraction(dice.randrange(0, 3), 2) if dice.random() < 0.9 else Money(0, "RUB")
        base = min(base, net)
        back, moment, room = [], at, net.micros
        while room and dice.random() < 0.5:
            moment += timedelta(hours=dice.randrange(1, 100))
            part = dice.randrange(1, room + 1)
            room -= part
            back.append(ComesBack(moment, part))
        if dice.random() < 0.2:
            back.append(ComesBack(moment + timedelta(hours=1), 0, cancelled=True))
        amount = base.share(dice.randrange(1_000_000))
        volumes.let_in(Sale(who, base, amount), placed_at=placed_at, net=net, back=back)
        past.append((who, placed_at, base, amount, net, back))


def test_the_period_of_the_first_instant_is_counted_from_its_beginning() -> None:
    at = datetime(2026, 5, 20, tzinfo=UTC)
    # The cap's quarter begins before the tiers' month; midnight in Moscow is 21:00 UTC.
    assert begins_of(terms_of_tiers("sales"), at, ZONE) == datetime(2026, 3, 31, 21, tzinfo=UTC)
    assert begins_of(terms_of.load(terms_document(), "RUB").commission, at, ZONE) == at


@pytest.mark.parametrize("measure", MEASURES)
def test_terms_that_ask_are_known(measure: str) -> None:
    assert Volumes(terms_of_tiers(measure), ZONE).asked
    assert not Volumes(terms_of.load(terms_document(), "RUB").commission, ZONE).asked
