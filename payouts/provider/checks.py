"""The checks of what providers say: the mirror of transfers against items, and stuck events.

M1 to M3 are S1 to S3 of the invariants that docs/reliability.md names; each was seen to fire on
planted corruption (tests/payouts/audit). What a person accepted of a transfer is not told again.
"""

from __future__ import annotations

from flask import Flask

from affiliate.core.config import Settings
from payouts.audit.run import Check, Severity, register

STUCK_MINUTES = 15

_ACCEPTED = """
    EXISTS (SELECT 1 FROM provider_differences d
            WHERE d.rail = {rail} AND d.subject = {subject} AND d.resolved_at IS NOT NULL)
"""
_SEEN_ACCEPTED = _ACCEPTED.format(rail="s.rail", subject="s.id")

CHECKS = (
    Check(
        "M1",
        Severity.INTEGRITY,
        "the provider has at most one transfer of an item",
        f"""
        SELECT s.item_id, count(*) AS transfers FROM provider_transfers s
        WHERE s.item_id IS NOT NULL AND NOT {_SEEN_ACCEPTED}
        GROUP BY s.rail, s.item_id HAVING count(*) > 1
        """,  # noqa: S608 -- constants of ours
    ),
    Check(
        "M2",
        Severity.INTEGRITY,
        "each transfer of ours paid its item, with its amount, to its destination",
        f"""
        SELECT s.id AS transfer_id, s.item_id, i.status FROM provider_transfers s
        LEFT JOIN payout_attempts a ON a.transfer_id = s.id AND a.status = 'succeeded'
        LEFT JOIN payout_items i ON i.id = a.item_id
        WHERE (i.id IS NULL OR i.id IS DISTINCT FROM s.item_id
               OR i.status NOT IN ('paid', 'reversed') OR i.amount_micros <> s.amount_micros
               OR i.currency <> s.currency OR i.destination <> s.destination)
          AND NOT {_SEEN_ACCEPTED}
        """,  # noqa: S608 -- constants of ours
    ),
    Check(
        "M2b",
        Severity.INTEGRITY,
        "what an item was paid by is a transfer that the provider has",
        f"""
        SELECT i.id AS item_id, a.transfer_id FROM payout_attempts a
        JOIN payout_items i ON i.id = a.item_id JOIN payout_batches b ON b.id = i.batch_id
        LEFT JOIN provider_transfers s ON s.rail = b.rail AND s.id = a.transfer_id
        WHERE a.status = 'succeeded' AND s.id IS NULL
          AND a.last_tried_at <= (SELECT max(r.covers_until) FROM reconciliations r
                                  WHERE r.rail = b.rail AND r.status <> 'failed')
          AND NOT {_ACCEPTED.format(rail="b.rail", subject="a.transfer_id")}
        """,  # noqa: S608 -- constants of ours
    ),
    Check(
        "M3",
        Severity.INTEGRITY,
        "what left by a rail is what its items were paid, less what came back",
        """
        SELECT coalesce(c.program_id, p.program_id) AS program_id, rail, currency,
               c.sum AS booked, p.sum AS items
        FROM (SELECT a.program_id, a.rail, a.currency, sum(e.amount_micros) AS sum
              FROM ledger_accounts a JOIN ledger_entries e ON e.account_id = a.id
              WHERE a.kind = 'cash' GROUP BY 1, 2, 3) c
        FULL JOIN (SELECT b.program_id, b.rail, i.currency,
                          sum(i.amount_micros - coalesce(r.back, 0)) AS sum
                   FROM payout_items i JOIN payout_batches b ON b.id = i.batch_id
                   LEFT JOIN (SELECT item_id, sum(amount_micros) AS back FROM payout_reversals
                              GROUP BY item_id) r ON r.item_id = i.id
                   WHERE i.status IN ('paid', 'reversed') GROUP BY 1, 2, 3) p
          USING (program_id, rail, currency)
        WHERE coalesce(c.sum, 0) <> coalesce(p.sum, 0)
        """,
    ),
    Check(
        "M4",
        Severity.INTEGRITY,
        "what is booked as come back of a transfer is what the provider took back",
        """
        SELECT i.id AS item_id, i.status, r.back, s.reversed_micros
        FROM payout_items i
        JOIN payout_attempts a ON a.item_id = i.id AND a.status = 'succeeded'
        JOIN payout_batches b ON b.id = i.batch_id
        JOIN provider_transfers s ON s.rail = b.rail AND s.id = a.transfer_id
        LEFT JOIN (SELECT item_id, sum(amount_micros) AS back
                   FROM payout_reversals GROUP BY item_id) r ON r.item_id = i.id
        WHERE coalesce(r.back, 0) <> s.reversed_micros
        """,
    ),
    Check(
        "W1",
        Severity.LIVENESS,
        "no event of a provider waits for a quarter of an hour",
        f"""
        SELECT id AS event_id, type, tries, error FROM provider_events
        WHERE processed_at IS NULL
          AND received_at
              < CAST(:real_now AS timestamptz) - interval '{STUCK_MINUTES} minutes'
        """,  # noqa: S608 -- a constant of ours
    ),
)


def set_up(app: Flask, settings: Settings) -> None:  # noqa: ARG001 -- the shape of every set_up
    """Let `kopeck audit` know these checks."""
    register(app, CHECKS)
