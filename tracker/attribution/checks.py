"""The audit's checks of orders, refunds, decisions and what they credited."""

from __future__ import annotations

from flask import Flask

from affiliate.core.config import Settings
from payouts.audit.run import Check, Severity, register

_INTEGRITY, _LIVENESS = Severity.INTEGRITY, Severity.LIVENESS

_NET = (
    "CASE WHEN o.converted_to IS NULL THEN o.net_micros "
    "ELSE coalesce(o.converted_net_micros, 0) END"
)
"""The base of an order's commissions; nothing as long as it waits for its exchange rate."""

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
        "a commission has its order's program and decision, and the program's currency",
        """
        SELECT c.id AS commission_id, c.reference FROM commissions c
        LEFT JOIN orders o ON 'order:' || o.id = c.reference
        LEFT JOIN programs p ON p.id = o.program_id
        WHERE c.reference LIKE 'order:%'
          AND (o.id IS NULL OR p.currency <> c.currency OR o.program_id <> c.program_id
               OR coalesce(o.converted_to, o.currency) <> c.currency
               OR NOT EXISTS (SELECT 1 FROM decisions d
                              WHERE d.order_id = o.id AND d.number = c.decision))
        """,
    ),
    Check(
        "C4",
        _INTEGRITY,
        "live commissions of an order never exceed its net, in the program's currency",
        f"""
        SELECT o.id AS order_number, {_NET} AS net, sum(c.amount_micros) AS commissions
        FROM orders o JOIN commissions c ON c.reference = 'order:' || o.id
        WHERE c.voided_at IS NULL
        GROUP BY o.id HAVING sum(c.amount_micros) > {_NET}
        """,  # noqa: S608 -- a constant of ours
    ),
    Check(
        "C12",
        _INTEGRITY,
        "level 1 of an order is reckoned of its whole net, in the program's currency",
        f"""
        SELECT o.id AS order_number, {_NET} AS net, sum(c.base_micros) AS bases
        FROM orders o JOIN commissions c ON c.reference = 'order:' || o.id
        WHERE c.voided_at IS NULL AND c.level = 1
        GROUP BY o.id HAVING sum(c.base_micros) <> {_NET}
        """,  # noqa: S608 -- as above
    ),
    Check(
        "E1",
        _INTEGRITY,
        "an order in another currency is converted by a rate of its program and currency that is "
        "no later than its day, to what that rate gives",
        # Half to even: the whole micros below, and one more from above the half on, or from the
        # half itself where the whole is odd. A program may have changed its zone since: no day
        # is later than the one on Kiritimati.
        """
        SELECT o.id AS order_number, o.exchange_rate_id FROM orders o
        JOIN programs p ON p.id = o.program_id
        LEFT JOIN exchange_rates r ON r.id = o.exchange_rate_id
        CROSS JOIN LATERAL (
            SELECT CAST(o.net_micros AS numeric) * o.rate_scaled AS exact) AS product
        CROSS JOIN LATERAL (
            SELECT div(exact, 10000000000) AS whole, mod(exact, 10000000000) AS rest) AS divided
        WHERE o.currency <> p.currency AND o.converted_to IS DISTINCT FROM p.currency
           OR o.currency = p.currency AND o.converted_to IS NOT NULL
           OR o.rate_scaled IS NOT NULL AND (
                r.id IS NULL OR r.program_id <> o.program_id OR r.source <> o.currency
                OR r.target <> p.currency OR r.rate_scaled <> o.rate_scaled
                OR r.valid_from
                    > CAST(o.placed_at AT TIME ZONE 'Pacific/Kiritimati' AS date)
                OR o.converted_net_micros <> whole + CASE
                    WHEN rest * 2 > 10000000000
                      OR rest * 2 = 10000000000 AND mod(whole, 2) = 1 THEN 1 ELSE 0 END)
        """,
    ),
    Check(
        "E2",
        _LIVENESS,
        "no order waits for its exchange rate for more than two days",
        """
        SELECT id AS order_number, currency, placed_at FROM orders
        WHERE converted_to IS NOT NULL AND rate_scaled IS NULL AND status <> 'cancelled'
          AND received_at < CAST(:real_now AS timestamptz) - interval '2 days'
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
        "V1",
        _INTEGRITY,
        "a commission is reckoned by a version of its program that was in force when the order "
        "was placed, that the affiliate was left with, or that was assigned to them",
        # A version that was announced after the order came in says nothing about it. Shops'
        # clocks may run five minutes ahead. Who was in which group then is not kept.
        """
        SELECT c.id AS commission_id, c.reference, v.number AS version
        FROM commissions c
        JOIN orders o ON 'order:' || o.id = c.reference
        JOIN rule_versions v ON v.id = c.rule_version_id
        LEFT JOIN LATERAL (
            SELECT true AS found,
                   bool_or(w.grandfathers AND (w.grandfather_until IS NULL
                                               OR w.grandfather_until > o.placed_at)
                           OR coalesce(a.answer = 'declined', false)) AS left_with_it
            FROM rule_versions w
            LEFT JOIN rule_answers a ON a.rule_version_id = w.id
              AND a.enrollment_id = coalesce(c.via_enrollment_id, c.enrollment_id)
            WHERE w.program_id = c.program_id AND w.effective_at <= o.placed_at
              AND w.announced_at <= o.received_at
              AND (w.effective_at, w.number) > (v.effective_at, v.number)
            HAVING count(*) > 0
        ) AS newer ON true
        WHERE v.program_id <> c.program_id
           OR ((newer.found AND NOT newer.left_with_it
                OR v.effective_at > o.placed_at AND v.number > 1)
               AND NOT EXISTS (
                   SELECT 1 FROM rule_assignments s
                   WHERE s.rule_version_id = v.id AND s.begins_at <= o.placed_at
                     AND (s.ends_at IS NULL OR s.ends_at + interval '5 minutes' > o.placed_at)
                     AND (s.enrollment_id = coalesce(c.via_enrollment_id, c.enrollment_id)
                          OR s.group_id IS NOT NULL)))
        """,
    ),
    Check(
        "V2",
        _LIVENESS,
        "whoever declined new rules is closed within an hour of the end of their notice",
        """
        SELECT id AS enrollment_id, closes_at FROM enrollments
        WHERE closes_at < CAST(:real_now AS timestamptz) - interval '1 hour'
          AND status = 'active'
        """,
    ),
    Check(
        "K1",
        _INTEGRITY,
        "every credited click is the credited affiliate's own, and not later than the order",
        """
        SELECT d.id AS decision_id, t ->> 'click_id' AS click_id
        FROM decisions d
        CROSS JOIN LATERAL jsonb_array_elements(d.shares) s
        CROSS JOIN LATERAL jsonb_array_elements(
            jsonb_build_array(s) || coalesce(s -> 'other_clicks', '[]')) t
        JOIN orders o ON o.id = d.order_id
        JOIN clicks k ON k.click_id = CAST(t ->> 'click_id' AS uuid)
        JOIN links l ON l.id = k.link_id
        WHERE t ->> 'click_id' IS NOT NULL AND d.voided_at IS NULL
          AND (l.enrollment_id <> (s ->> 'enrollment_id')::bigint
               OR k.clicked_at > o.placed_at + interval '5 minutes')
        """,
    ),
    Check(
        "B1",
        _INTEGRITY,
        "a customer is bound to whom a live decision of their confirmed order credits, since then",
        """
        SELECT b.id AS binding_id, b.order_id AS order_number, b.enrollment_id
        FROM customer_bindings b
        LEFT JOIN orders o ON o.id = b.order_id
        LEFT JOIN enrollments n ON n.id = b.enrollment_id
        LEFT JOIN customers c ON c.id = b.customer_id
        WHERE o.program_id IS DISTINCT FROM b.program_id
           OR n.program_id IS DISTINCT FROM b.program_id
           OR c.program_id IS DISTINCT FROM b.program_id
           OR b.voided_at IS NULL AND (
               o.status <> 'confirmed' OR b.bound_at <> o.placed_at
               OR o.customer_id IS DISTINCT FROM b.customer_id
               OR NOT EXISTS (
                   SELECT FROM decisions d CROSS JOIN LATERAL jsonb_array_elements(d.shares) s
                   WHERE d.order_id = b.order_id AND d.voided_at IS NULL
                     AND (s ->> 'enrollment_id')::bigint = b.enrollment_id
                     AND s ->> 'evidence' <> 'bound_customer'))
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
