"""The journal of a period: every entry once, both sides, and accounts that close."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import sqlalchemy as sa
from money_world import NOW
from paying import Pay

from payouts.batches.review import mark_paid
from payouts.reports.journal import account_sums, journal

HOUR = timedelta(hours=1)
LONG_AGO, MUCH_LATER = NOW - timedelta(days=400), NOW + timedelta(days=400)


def paid(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "5.00")
    made = by_hand.approved("anna", "2.00")
    mark_paid(by_hand.session, item_id=made.item_id, reference="17", now=NOW + HOUR,
              by_user_id=by_hand.finance, rails=by_hand.rails)  # fmt: skip
    by_hand.session.commit()


def test_every_entry_stands_in_it_once_with_both_sides(by_hand: Pay) -> None:
    paid(by_hand)
    found = list(
        journal(
            by_hand.session, program_id=by_hand.world.program_id, since=LONG_AGO, until=MUCH_LATER
        )
    )
    assert len(found) == by_hand.session.scalar(sa.text("SELECT count(*) FROM ledger_entries"))
    sums: Counter[int] = Counter()
    for one in found:
        sums[one.transaction_id] += one.amount.micros
        assert (one.debit is None) != (one.credit is None)
    assert not any(sums.values())
    last = found[-2:]
    assert {(one.kind, one.account, one.affiliate) for one in last} == {
        ("settle", "in_payout", "anna"), ("settle", "cash:manual", None),
    }  # fmt: skip


def test_an_account_opens_moves_and_closes(by_hand: Pay) -> None:
    paid(by_hand)
    asked = {"program_id": by_hand.world.program_id}
    sums = account_sums(by_hand.session, **asked, since=NOW + HOUR, until=MUCH_LATER)
    told = {
        one.account: [each.decimal for each in (one.opening, one.debit, one.credit, one.closing)]
        for one in sums
    }
    assert told == {
        "available": ["3.00", "0.00", "0.00", "3.00"],
        "cash:manual": ["0.00", "0.00", "2.00", "2.00"],
        "expense": ["-5.00", "0.00", "0.00", "-5.00"],
        "in_payout": ["2.00", "2.00", "0.00", "0.00"],
        "pending": ["0.00", "0.00", "0.00", "0.00"],
    }
    assert sum(one.closing.micros for one in sums) == 0
    for one in sums:
        assert one.opening + one.credit - one.debit == one.closing


def test_two_periods_beside_each_other_are_the_whole(by_hand: Pay) -> None:
    paid(by_hand)
    asked = {"program_id": by_hand.world.program_id}
    middle = NOW + HOUR
    first = list(journal(by_hand.session, **asked, since=LONG_AGO, until=middle))
    second = list(journal(by_hand.session, **asked, since=middle, until=MUCH_LATER))
    whole = list(journal(by_hand.session, **asked, since=LONG_AGO, until=MUCH_LATER))
    assert sorted((*first, *second), key=lambda one: one.transaction_id) == whole
    assert {one.kind for one in second} == {"settle"}
    closing = account_sums(by_hand.session, **asked, since=LONG_AGO, until=middle)
    opening = account_sums(by_hand.session, **asked, since=middle, until=MUCH_LATER)
    before = {one.account: one.closing for one in closing}
    for one in opening:
        assert one.opening.micros == (before[one.account].micros if one.account in before else 0)
