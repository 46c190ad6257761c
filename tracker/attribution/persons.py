"""What an order's question reads of affiliates and recruiters, to be compared with the buyer.

Parts of the statement of `tracker.attribution.asking`, which names the enrollments `e` and `r`
and the recruiter's user `ru`; `tracker.attribution.own` compares them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

SEEN_WINDOW: Final = timedelta(days=30)
"""How long before an order an affiliate's account may have been open in the buyer's browser."""
SIGHTINGS_MAX: Final = 50
PAYMENTS_MAX: Final = 50
"""Orders that are looked at to learn whose an account is."""
PAYERS_MAX: Final = 5
"""Buyers of one account; more of them, and it is nobody's."""
SIGHTING: Final = "sighting"
"""Kind of the rows that are no candidates but say whose account was open where the buyer is."""
NO_PERSONS: Final = (
    "NULL::bigint, {customer_id}, NULL::text[], false, "
    "NULL::bigint, NULL::text, NULL::text[], false, NULL::text"
)
"""The same columns of rows that are no candidates."""

# One look-up for all candidates: whose they are is compared when it is read.
BY_SIGHTING: Final = f"""
    SELECT '{SIGHTING}', CAST(s.mark AS text), NULL::timestamptz, NULL::bigint,
           NULL::timestamptz, NULL::timestamptz, true, NULL::text, NULL::bigint, NULL::text,
           NULL::bigint, NULL::text, s.kind, NULL::bytea, NULL::text, NULL::text,
           s.affiliate_id, NULL::text, NULL::text[], false,
           NULL::bigint, NULL::text, NULL::text[], false, NULL::text
    FROM (
        SELECT mark, affiliate_id, kind FROM affiliate_sightings
        WHERE mark = ANY(CAST(%(marks)s AS uuid[]))
          AND first_seen_at <= %(placed_at)s AND last_seen_at >= %(seen_since)s
        LIMIT {SIGHTINGS_MAX}
    ) s
"""  # noqa: S608 -- constants of this module, every value is bound
# What paid for an earlier own purchase. A fingerprint of too many buyers is none of a person's:
# some shops would say that "the bank" paid.
_PAID_BEFORE: Final = f"""coalesce((
        SELECT bool_or(p.own) AND count(DISTINCT coalesce(p.customer_id, -p.id)) <= {PAYERS_MAX}
        FROM (
            SELECT o.id, o.customer_id, EXISTS (
                SELECT FROM decisions d
                WHERE d.order_id = o.id AND d.voided_at IS NULL
                  AND d.trace @> jsonb_build_array(jsonb_build_object(
                      'outcome', 'removed', 'reason', 'self_purchase',
                      'enrollment_id', {{of}}.id))) AS own
            FROM orders o
            WHERE o.program_id = CAST(%(program_id)s AS bigint)
              AND (o.evidence -> 'server' -> 'customer' ->> 'payment') = %(payment)s
              AND o.placed_at < %(placed_at)s
            ORDER BY o.id DESC LIMIT {PAYMENTS_MAX}) p), false)"""  # noqa: S608 -- as above
# Of a bank account the number alone: that is what a shop can say paid.
_ACCOUNTS: Final = """
    ARRAY(SELECT CASE WHEN y.destination ~ '^(iban|ru):'
        THEN split_part(split_part(y.destination, ';', 1), ':', 2) ELSE y.destination END
        FROM payee_accounts y WHERE y.affiliate_id = {of}.affiliate_id)"""
_PERSON: Final = "{of}.affiliate_id, {of}.shop_customer_id, NULL::text[], false"
_PERSON_AND_PAYMENT: Final = (
    f"{{of}}.affiliate_id, {{of}}.shop_customer_id, {_ACCOUNTS}, {_PAID_BEFORE}"
)


def persons(*, payment: bool) -> str:
    """Columns of the affiliate and of their recruiter; `payment`: the order says what paid."""
    person = _PERSON_AND_PAYMENT if payment else _PERSON
    return f"{person.format(of='e')}, {person.format(of='r')}, ru.email"
