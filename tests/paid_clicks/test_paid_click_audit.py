"""The audit's checks of paid clicks: silent on good days, each fires on a planted fault."""

from __future__ import annotations

import sqlalchemy as sa
from paid_world import DAY, NOW, Paying

from payouts.audit import run as audit
from tracker.clicks.rules import DropReason
from tracker.paid_clicks.checks import CHECKS

FAULTS = (
    ("N1", "UPDATE paid_click_days SET clicks = clicks + 1 WHERE id = 1"),
    ("N1", "UPDATE paid_click_days SET bookings = 2 WHERE id = 1"),
    ("N1", "UPDATE paid_click_days SET review_outcome = 'declined' WHERE id = 1"),
    ("N2", "UPDATE commissions SET reference = 'clicks:9:2026-11-20' WHERE id = 1"),
    ("N2", "UPDATE paid_click_days SET enrollment_id = 2 WHERE id = 1"),
    ("N3", "UPDATE commissions SET base_micros = 4000 WHERE id = 1"),
    ("N3", "UPDATE commissions SET amount_micros = amount_micros - 1 WHERE id = 1"),
    ("N3", "UPDATE commissions SET amount_micros = amount_micros + 1 WHERE id = 1"),
    ("N4", "UPDATE commissions SET released_at = earned_at + interval '1 day' WHERE id = 2"),
)


def test_each_fires_on_its_fault_and_on_no_good_day(paying: Paying) -> None:
    first, second = (paying.link(paying.affiliate(name)) for name in ("anna", "boris"))
    paying.clicks(first, 5)
    paying.clicks(second, 2)
    paying.clicks(second, 1, reason=DropReason.FLOOD)
    paying.book()
    paying.clicks(second, 1, at=NOW - 2 * DAY)
    paying.book()
    paying.tick()

    def broken() -> set[str]:
        return {found.check.name for found in audit.run(paying.session, CHECKS, real_now=NOW)}

    assert broken() == set()
    for name, fault in FAULTS:
        paying.session.execute(sa.text(fault))
        assert name in broken(), fault
        paying.session.rollback()
    assert {name for name, _ in FAULTS} == {check.name for check in CHECKS}
