"""The audit's checks of clicks that are paid for."""

from __future__ import annotations

from flask import Flask

from affiliate.core.config import Settings
from payouts.audit.run import Check, Severity, register

_REFERENCE = "'clicks:' || p.link_id || ':' || to_char(p.day, 'YYYY-MM-DD')"

CHECKS = (
    Check(
        "N1",
        Severity.INTEGRITY,
        "what is booked of a link's clicks of a day is as many as were counted for it, once",
        f"""
        SELECT p.id AS paid_click_day_id, p.clicks, c.booked FROM paid_click_days p
        JOIN LATERAL (
            SELECT sum((c.trace -> 0 ->> 'count')::bigint) FILTER (WHERE c.voided_at IS NULL)
                       AS booked, max(c.decision) AS bookings
            FROM commissions c WHERE c.reference = {_REFERENCE}
        ) c ON c.bookings IS NOT NULL
        WHERE p.bookings <> c.bookings
           OR coalesce(c.booked, 0) <> CASE WHEN p.review_outcome IS NOT DISTINCT FROM 'declined'
                                            THEN 0 ELSE p.clicks END
        """,  # noqa: S608 -- a constant of ours
    ),
    Check(
        "N2",
        Severity.INTEGRITY,
        "a commission of clicks is of a link's day, of its affiliate, and level 1 alone",
        f"""
        SELECT c.id AS commission_id, c.reference FROM commissions c
        LEFT JOIN paid_click_days p ON {_REFERENCE} = c.reference
        WHERE c.reference LIKE 'clicks:%'
          AND (p.id IS NULL OR p.enrollment_id <> c.enrollment_id OR p.program_id <> c.program_id
               OR c.level <> 1)
        """,  # noqa: S608 -- as above
    ),
    Check(
        "N3",
        Severity.INTEGRITY,
        "clicks earn their number times what the rules of the version set, less what a cap cut",
        """
        SELECT c.id AS commission_id, c.amount_micros AS amount, c.base_micros AS each
        FROM commissions c JOIN rule_versions v ON v.id = c.rule_version_id
        WHERE c.reference LIKE 'clicks:%'
          AND (round(coalesce(v.terms #>> '{commission,per_click}', '0')::numeric * 1000000)
                   <> c.base_micros
               OR c.amount_micros > c.base_micros * (c.trace -> 0 ->> 'count')::bigint
               OR c.amount_micros < c.base_micros * (c.trace -> 0 ->> 'count')::bigint
                  AND NOT jsonb_path_exists(c.trace, '$[*] ? (@.step == "cap")'))
        """,
    ),
    Check(
        "N4",
        Severity.INTEGRITY,
        "clicks of a day that a person has to look at have released nothing",
        f"""
        SELECT c.id AS commission_id, c.reference FROM commissions c
        JOIN paid_click_days p ON {_REFERENCE} = c.reference
        WHERE p.flooded AND p.review_outcome IS NULL AND c.voided_at IS NULL
          AND c.released_at > p.booked_at AND c.amount_micros > 0
        """,  # noqa: S608 -- as above
    ),
)


def set_up(app: Flask, settings: Settings) -> None:  # noqa: ARG001 -- the shape of every set_up
    """Let `kopeck audit` know these checks."""
    register(app, CHECKS)
