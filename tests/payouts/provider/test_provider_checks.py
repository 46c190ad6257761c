"""Every check of what providers say is silent on good books and fires on planted corruption."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from flask import Flask
from hooked import Hooked

from affiliate.core import clock
from payouts.audit.run import registered, run
from payouts.provider.checks import CHECKS

Paid = Callable[..., int]

PLANTED = [
    ("M1", "INSERT INTO provider_transfers SELECT rail, 'tr_second', item_id, attempt,"
     " amount_micros, 0, currency, destination, created_at, seen_at FROM provider_transfers"
     " LIMIT 1"),
    ("M2", "UPDATE provider_transfers SET amount_micros = amount_micros + 10000"),
    ("M2", "UPDATE provider_transfers SET destination = 'acct_other'"),
    ("M2", "UPDATE provider_transfers SET currency = 'USD'"),
    ("M2", "UPDATE provider_transfers SET item_id = item_id + 1"),
    ("M2", "UPDATE payout_attempts SET status = 'failed'"),
    ("M2", "UPDATE payout_items SET status = 'queued'"),
    ("M2b", "DELETE FROM provider_transfers"),
    ("M2b", "UPDATE payout_attempts SET transfer_id = 'tr_typed'"),
    ("M3", "UPDATE ledger_entries SET amount_micros = amount_micros + 1 WHERE account_id IN"
     " (SELECT id FROM ledger_accounts WHERE kind = 'cash')"),
    ("M3", "UPDATE payout_items SET status = 'cancelled'"),
    ("M3", "DELETE FROM payout_reversals"),
    ("M4", "DELETE FROM payout_reversals"),
    ("M4", "UPDATE payout_reversals SET amount_micros = amount_micros + 1"),
    ("M4", "UPDATE provider_transfers SET reversed_micros = reversed_micros + 10000"),
    ("W1", "UPDATE provider_events SET processed_at = NULL,"
     " received_at = received_at - interval '16 minutes'"),
]  # fmt: skip


@pytest.fixture
def told(hooked: Hooked, paid: Paid) -> Hooked:
    """A payout that is paid, compared, partly come back, and told of by an event."""
    item_id = paid("anna", "5.00")
    hooked.reconcile()
    transfer = hooked.transfer_of(item_id)
    hooked.double.control("POST", "/reversals", {"transfer": transfer, "amount": 100})
    hooked.deliver(*hooked.events("transfer.reversed", about=transfer))
    hooked.digest()
    hooked.sound()
    return hooked


@pytest.mark.parametrize(
    ("name", "corruption"), PLANTED, ids=[f"{i}-{row[0]}" for i, row in enumerate(PLANTED)]
)
def test_a_check_fires_on_planted_corruption(told: Hooked, name: str, corruption: str) -> None:
    with told.pay.engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        connection.execute(sa.text(corruption))
    found = run(told.pay.session, CHECKS, real_now=clock.real_now())
    assert name in {each.check.name for each in found}, [str(each) for each in found]


def test_every_check_is_planted_and_every_one_runs_in_the_audit(app: Flask) -> None:
    names = {check.name for check in CHECKS}
    assert names == {name for name, _ in PLANTED}
    assert names <= {check.name for check in registered(app)}


def test_a_difference_that_a_person_accepted_breaks_no_check(told: Hooked) -> None:
    with told.pay.engine.begin() as connection:
        connection.execute(sa.text(PLANTED[0][1]))
        connection.execute(
            sa.text(
                "INSERT INTO provider_differences (rail, kind, subject, detail, first_seen_at,"
                " last_seen_at, resolved_at, resolved_by, why) VALUES ('stripe',"
                " 'second_transfer', 'tr_second', '', now(), now(), now(), 'cli', 'got it back')"
            )
        )
    assert run(told.pay.session, CHECKS, real_now=clock.real_now()) == []
