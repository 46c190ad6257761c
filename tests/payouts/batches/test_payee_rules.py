"""When a newly named account is paid to, and why one is not yet: pure, in tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from payouts.batches.payee_rules import COOLING_OFF_H, Naming, item_waits, not_due, pays_from
from payouts.batches.rules import ItemReason, NotDue

NOW = datetime(2026, 11, 21, 7, 15, tzinfo=UTC)
COOLING = timedelta(hours=COOLING_OFF_H)
END = datetime(2026, 11, 24, 7, 15, tzinfo=UTC)  # 21 November, 07:15 + 72 h
SOON, BEFORE = NOW + timedelta(seconds=1), NOW - timedelta(days=9)


def naming(**changes: Any) -> Naming:
    given: dict[str, Any] = {
        "before": "A", "before_pays_from": None, "undoes": False, "undone_pays_from": None,
        "address_changed": False,
    }  # fmt: skip
    return Naming(**given | changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"before": None}, None, id="the-first-has-no-wait"),
        pytest.param({"before": None, "address_changed": True}, END, id="first-of-a-new-address"),
        pytest.param({}, END, id="another-waits"),
        pytest.param({"address_changed": True}, END, id="another-of-a-new-address-waits"),
        pytest.param({"before_pays_from": SOON}, END, id="another-while-one-waits"),
        pytest.param({"before_pays_from": SOON, "undoes": True}, None, id="back-in-time"),
        pytest.param(
            {"before_pays_from": SOON, "undoes": True, "undone_pays_from": SOON}, SOON,
            id="back-to-one-that-waited-itself",
        ),
        pytest.param({"before_pays_from": NOW, "undoes": True}, END, id="back-too-late"),
        pytest.param({"undoes": True}, END, id="back-to-one-from-a-settled-one"),
    ],
)  # fmt: skip
def test_when_an_account_is_paid_to(changes: dict[str, Any], expected: datetime | None) -> None:
    assert pays_from(naming(**changes), now=NOW, cooling=COOLING) == expected


def test_an_installation_may_have_no_wait() -> None:
    for each in (naming(), naming(before=None, address_changed=True)):
        assert pays_from(each, now=NOW, cooling=timedelta()) is None


@pytest.mark.parametrize(
    ("stopped", "until", "expected"),
    [
        (False, None, None),
        (False, NOW, None),
        (False, SOON, NotDue.COOLING_OFF),
        (True, None, NotDue.PAYEE_STOPPED),
        (True, SOON, NotDue.PAYEE_STOPPED),
    ],
    ids=["no-wait", "just-over", "a-second-left", "stopped", "both"],
)
def test_who_is_left_out_of_a_weekly_batch(
    stopped: bool, until: datetime | None, expected: NotDue | None
) -> None:
    assert not_due(stopped=stopped, pays_from=until, now=NOW) is expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"ready": False}, ItemReason.PAYEE_NOT_READY),
        ({"pays_from": SOON}, ItemReason.COOLING_OFF),
        ({"pays_from": NOW}, None),
        ({"live": "B"}, ItemReason.PAYEE_CHANGED),
        ({"live": None}, ItemReason.PAYEE_CHANGED),
        ({"live": "B", "released": True}, None),
        ({"live": "B", "released": True, "stopped": True}, ItemReason.PAYEE_STOPPED),
        ({"stopped": True}, ItemReason.PAYEE_STOPPED),
        # What was let go to A and is A again waits as A does.
        ({"released": True, "ready": False}, ItemReason.PAYEE_NOT_READY),
    ],
    ids=str,
)
def test_why_an_approved_item_waits(changes: dict[str, Any], expected: ItemReason | None) -> None:
    given: dict[str, Any] = {
        "destination": "A", "live": "A", "ready": True, "pays_from": None, "stopped": False,
        "released": False, "now": NOW,
    }  # fmt: skip
    assert item_waits(**given | changes) is expected
