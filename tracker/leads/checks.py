"""The audit's checks of leads, their decisions and what they earned."""

from __future__ import annotations

from flask import Flask

from affiliate.core.config import Settings
from payouts.audit.run import Check, Severity, register

CHECKS = (
    Check(
        "D1",
        Severity.INTEGRITY,
        "a lead has a decision; one of them is live unless it was cancelled, then none",
        """
        SELECT l.id AS lead_number, l.status, count(d.id) AS decisions,
               count(d.id) FILTER (WHERE d.voided_at IS NULL) AS live
        FROM leads l LEFT JOIN lead_decisions d ON d.lead_id = l.id
        GROUP BY l.id
        HAVING count(d.id) = 0
            OR count(d.id) FILTER (WHERE d.voided_at IS NULL)
               <> CASE WHEN l.status = 'cancelled' THEN 0 ELSE 1 END
        """,
    ),
    Check(
        "D2",
        Severity.INTEGRITY,
        "whoever a lead is credited to has one commission of that decision, and nobody else",
        """
        WITH credited AS (
            SELECT 'lead:' || d.lead_id AS reference, d.number AS decision,
                   (s ->> 'enrollment_id')::bigint AS enrollment_id
            FROM lead_decisions d CROSS JOIN LATERAL jsonb_array_elements(d.shares) s
        ), earned AS (
            SELECT reference, decision, enrollment_id, id, level
            FROM commissions WHERE reference LIKE 'lead:%'
        )
        SELECT reference, decision, enrollment_id, e.id AS commission_id
        FROM credited c FULL JOIN earned e USING (reference, decision, enrollment_id)
        WHERE e.id IS NULL OR c.reference IS NULL OR e.level <> 1
        """,
    ),
    Check(
        "D3",
        Severity.INTEGRITY,
        "a lead's commission is live exactly while its decision is, and of its program",
        """
        SELECT c.id AS commission_id, c.reference, l.status FROM commissions c
        LEFT JOIN leads l ON 'lead:' || l.id = c.reference
        LEFT JOIN lead_decisions d ON d.lead_id = l.id AND d.number = c.decision
        WHERE c.reference LIKE 'lead:%'
          AND (d.id IS NULL OR l.program_id <> c.program_id
               OR (c.voided_at IS NULL) <> (d.voided_at IS NULL))
        """,
    ),
    Check(
        "D4",
        Severity.INTEGRITY,
        "a lead earns each affiliate their share of what the rules of the version set, to the "
        "micro, less what a cap cut",
        # Shares are split by largest remainder: each is within a micro of its exact part.
        """
        SELECT c.id AS commission_id, c.amount_micros AS amount, c.base_micros AS each, s.weight
        FROM commissions c
        JOIN rule_versions v ON v.id = c.rule_version_id
        JOIN lead_decisions d ON 'lead:' || d.lead_id = c.reference AND d.number = c.decision
        CROSS JOIN LATERAL (
            SELECT s ->> 'weight' AS weight,
                   split_part(s ->> 'weight', '/', 1)::numeric
                   / coalesce(nullif(split_part(s ->> 'weight', '/', 2), ''), '1')::numeric AS part
            FROM jsonb_array_elements(d.shares) s
            WHERE (s ->> 'enrollment_id')::bigint = c.enrollment_id) s
        WHERE round(coalesce(v.terms #>> '{commission,per_lead}', '0')::numeric * 1000000)
                  <> c.base_micros
           OR c.amount_micros >= c.base_micros * s.part + 1
           OR c.amount_micros <= c.base_micros * s.part - 1
              AND NOT jsonb_path_exists(c.trace, '$[*] ? (@.step == "cap")')
        """,
    ),
    Check(
        "D5",
        Severity.INTEGRITY,
        "a lead that waits for a person's review has released nothing",
        """
        SELECT c.id AS commission_id, c.reference FROM commissions c
        JOIN leads l ON 'lead:' || l.id = c.reference
        JOIN lead_decisions d ON d.lead_id = l.id AND d.number = c.decision
        WHERE d.review_reason IS NOT NULL AND d.voided_at IS NULL AND l.review_outcome IS NULL
          AND c.released_at IS NOT NULL AND c.amount_micros > 0
        """,
    ),
)


def set_up(app: Flask, settings: Settings) -> None:  # noqa: ARG001 -- the shape of every set_up
    """Let `kopeck audit` know these checks."""
    register(app, CHECKS)
