"""The audit's check that history replays."""

from __future__ import annotations

from flask import Flask

from affiliate.core.config import Settings
from payouts.audit.run import Check, Severity, register
from tracker.replay.booked import standing_audit

CHECKS = (
    Check(
        "R1",
        Severity.INTEGRITY,
        "an order's shares and commissions are what its rules give of what was read for it",
        standing_audit,
    ),
)


def set_up(app: Flask, settings: Settings) -> None:  # noqa: ARG001 -- the shape of every set_up
    """Let `kopeck audit` know it."""
    register(app, CHECKS)
