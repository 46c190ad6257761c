"""The audit's checks of leads: silent on good ones, each fires on a planted fault."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from lead_world import Leads, Make

from payouts.audit import run as audit
from tracker.clicks.rules import DropReason
from tracker.leads.checks import CHECKS

FAULTS = (
    ("D1", "UPDATE leads SET status = 'cancelled', cancelled_at = received_at WHERE id = 1"),
    ("D1", "UPDATE lead_decisions SET voided_at = decided_at WHERE lead_id = 1"),
    ("D2", "UPDATE lead_decisions SET shares = '[]' WHERE lead_id = 1"),
    ("D2", "UPDATE commissions SET decision = 9 WHERE reference = 'lead:1'"),
    ("D3", "UPDATE commissions SET voided_at = earned_at WHERE reference = 'lead:1'"),
    ("D3", "UPDATE commissions SET reference = 'lead:99' WHERE reference = 'lead:1'"),
    ("D4", "UPDATE commissions SET base_micros = 160000000 WHERE reference = 'lead:1'"),
    ("D4", "UPDATE commissions SET amount_micros = 149999999 WHERE reference = 'lead:1'"),
    ("D4", "UPDATE commissions SET amount_micros = 150000001 WHERE reference = 'lead:1'"),
    ("D5", "UPDATE commissions SET released_at = earned_at WHERE reference = 'lead:2'"),
)


def broken(leads: Leads) -> set[str]:
    return {found.check.name for found in audit.run(leads.session, CHECKS, real_now=leads.now)}


def test_each_fires_on_its_fault_and_on_no_good_lead(leads: Leads) -> None:
    link = leads.link(leads.affiliate("anna"))
    leads.reported(clicks=[leads.click(link)])
    # Another visitor: of two clicks of one at the same instant either may be the last.
    flooded = leads.click(link, reason=DropReason.FLOOD, visitor=bytes([2]) * 16)
    leads.reported(lead_id="L-2", clicks=[flooded])
    leads.reported(lead_id="L-3")
    leads.report({}, "/L-3/cancellation")
    leads.tick()
    assert broken(leads) == set()
    for name, fault in FAULTS:
        leads.session.execute(sa.text(fault))
        assert name in broken(leads), fault
        leads.session.rollback()
    assert {name for name, _ in FAULTS} == {check.name for check in CHECKS}


@pytest.mark.parametrize("model", ["linear", "time_decay"])
def test_shares_of_odd_weights_are_sound(make: Make, model: str) -> None:
    leads = make(attribution={"model": model}, commission={"per_lead": "0.07"})
    tokens = []
    for number in range(7):
        link = leads.link(leads.affiliate(f"a{number}"))
        tokens.append(leads.click(link, visitor=bytes([number]) * 16))
    leads.reported(clicks=tokens)
    leads.sound()
