"""The audit's checks of orders, refunds, decisions and what they credited."""

from __future__ import annotations

from flask import Flask

from affiliate.core.config import Settings
from payouts.audit.run import Check, Severity, register

_INTEGRITY, _LIVENESS = Severity.INTEGRITY, Severity.LIVENESS

CHECKS = (
    Check(
        "O1",
        _INTEGRITY,
        "refunds of an order are what it says was refunded, and never more than its total",
        """
        SELECT o.id AS order_number, o.total_micros AS total, o.refunded_micros AS refunded,
               coalesce(sum(r.amount_micros), 0) AS refunds
        FROM orders o LEFT JOIN refunds r ON r.order_id = o.id
        GROUP BY o.id
        HAVING coalesce(sum(r.amount_micros), 0) <> o.refunded_micros
            OR o.refunded_micros > o.total_micros
            OR coalesce(sum(r.net_micros), 0) <> o.refunded_net_micros
        """,
    ),
    Check(
        "O2",
        _INTEGRITY,
        "an order has a decision unless it was cancelled: at most one of them is live",
        """
        SELECT o.id AS order_number, count(d.id) AS decisions,
               count(d.id) FILTER (WHERE d.voided_at IS NULL) AS live
        FROM orders o LEFT JOIN decisions d ON d.order_id = o.id
        GROUP BY o.id
        HAVING count(d.id) = 0 AND o.status <> 'cancelled'
            OR count(d.id) FILTER (WHERE d.voided_at IS NULL) > 1
        """,
    ),
    Check(
        "C2b",
        _INTEGRITY,
        "level 1 goes to whom the decision credits, and to nobody else",
        """
        SELECT c.id AS commission_id, c.reference, c.enrollment_id
        FROM commissions c
        WHERE c.level = 1 AND c.reference LIKE 'order:%' AND NOT EXISTS (
            SELECT 1 FROM decisions d, jsonb_array_elements(d.shares) s
            WHERE 'order:' || d.order_id = c.reference AND d.number = c.decision
              AND (s ->> 'enrollment_id')::bigint = c.enrollment_id)
        """,
    ),
    Check(
        "C3",
        _INTEGRITY,
        "a commission has its order's currency, program and decision",
        """
        SELECT c.id AS commission_id, c.reference FROM commissions c
        LEFT JOIN orders o ON 'order:' || o.id = c.reference
        WHERE c.reference LIKE 'order:%'
          AND (o.id IS NULL OR o.currency <> c.currency OR o.program_id <> c.program_id
               OR NOT EXISTS (SELECT 1 FROM decisions d
                              WHERE d.order_id = o.id AND d.number = c.decision))
        """,
    ),
    Check(
        "C4",
        _INTEGRITY,
        "live commissions of an order never exceed its net",
        """
        SELECT o.id AS order_number, o.net_micros AS net, sum(c.amount_micros) AS commissions
        FROM orders o JOIN commissions c ON c.reference = 'order:' || o.id
        WHERE c.voided_at IS NULL
        GROUP BY o.id HAVING sum(c.amount_micros) > o.net_micros
        """,
    ),
    Check(
        "C10",
        _INTEGRITY,
        "commissions are live only for a live decision of an order that stands",
        """
        SELECT c.id AS commission_id, c.reference, o.status FROM commissions c
        JOIN orders o ON 'order:' || o.id = c.reference
        LEFT JOIN decisions d ON d.order_id = o.id AND d.number = c.decision
        WHERE c.voided_at IS NULL AND (o.status = 'cancelled' OR d.voided_at IS NOT NULL)
        """,
    ),
    Check(
        "C11",
        _INTEGRITY,
        "a wholly refunded order has given back every commission, to the last micro",
        """
        SELECT c.id AS commission_id, c.reference FROM commissions c
        JOIN orders o ON 'order:' || o.id = c.reference
        WHERE c.voided_at IS NULL AND o.net_micros > 0
          AND o.refunded_net_micros = o.net_micros AND c.reversed_micros <> c.amount_micros
        """,
    ),
    Check(
        "K1",
        _INTEGRITY,
        "a credited click is the credited affiliate's own, and not later than the order",
        """
        SELECT d.id AS decision_id, s ->> 'click_id' AS click_id
        FROM decisions d
        CROSS JOIN LATERAL jsonb_array_elements(d.shares) s
        JOIN orders o ON o.id = d.order_id
        JOIN clicks k ON k.click_id = CAST(s ->> 'click_id' AS uuid)
        JOIN links l ON l.id = k.link_id
        WHERE s ->> 'click_id' IS NOT NULL AND d.voided_at IS NULL
          AND (l.enrollment_id <> (s ->> 'enrollment_id')::bigint
               OR k.clicked_at > o.placed_at + interval '5 minutes')
        """,
    ),
    Check(
        "K2",
        _INTEGRITY,
        "an order that only a browser reported has released nothing",
        """
        SELECT c.id AS commission_id, c.reference FROM commissions c
        JOIN orders o ON 'order:' || o.id = c.reference
        WHERE o.status = 'unconfirmed' AND c.released_at IS NOT NULL AND c.amount_micros > 0
        """,
    ),
    Check(
        "K3",
        _INTEGRITY,
        "an order that waits for a person's review has released nothing",
        """
        SELECT c.id AS commission_id, c.reference FROM commissions c
        JOIN orders o ON 'order:' || o.id = c.reference
        JOIN decisions d ON d.order_id = o.id AND d.number = c.decision
        WHERE d.review_reason IS NOT NULL AND d.voided_at IS NULL AND o.review_outcome IS NULL
          AND c.released_at IS NOT NULL AND c.amount_micros > 0
        """,
    ),
)


def set_up(app: Flask, settings: Settings) -> None:  # noqa: ARG001 -- the shape of every set_up
    """Let `kopeck audit` know these checks."""
    register(app, CHECKS)
