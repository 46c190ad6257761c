"""What an affiliate takes away of this package's tables; and what of all packages'.

Of others nothing: an order's buyer is the shop's, a recruit's name and money are theirs.
"""

from __future__ import annotations

from typing import Final

from flask_babel import lazy_gettext as _l

from affiliate.core.personal import Held
from affiliate.personal import held as affiliates
from payouts.personal import held as payouts

OWN: Final = (
    Held(
        "orders.csv",
        _l("Orders that were credited to you."),
        """
        SELECT p.slug AS program, o.order_id, o.placed_at, o.status, c.level,
               c.voided_at IS NOT NULL AS taken_back
          FROM commissions c JOIN enrollments e ON e.id = c.enrollment_id
          JOIN orders o ON o.id = CASE WHEN starts_with(c.reference, 'order:')
                              THEN CAST(substr(c.reference, 7) AS bigint) END
          JOIN programs p ON p.id = o.program_id
         WHERE e.affiliate_id = :affiliate_id AND c.level = 1 ORDER BY c.id
        """,
    ),
    Held(
        "leads.csv",
        _l("Leads that were credited to you."),
        """
        SELECT p.slug AS program, l.lead_id, l.kind, l.placed_at, l.status,
               c.voided_at IS NOT NULL AS taken_back
          FROM commissions c JOIN enrollments e ON e.id = c.enrollment_id
          JOIN leads l ON l.id = CASE WHEN starts_with(c.reference, 'lead:')
                             THEN CAST(substr(c.reference, 6) AS bigint) END
          JOIN programs p ON p.id = l.program_id
         WHERE e.affiliate_id = :affiliate_id AND c.level = 1 ORDER BY c.id
        """,
    ),
    Held(
        "clicks-by-day.csv",
        _l("Clicks on your links by day. Single clicks are about visitors, not about you."),
        """
        SELECT p.slug AS program, d.day, l.code AS link, d.clicks, d.uniques, d.duplicates,
               d.dropped
          FROM link_days d JOIN enrollments e ON e.id = d.enrollment_id
          JOIN links l ON l.id = d.link_id JOIN programs p ON p.id = e.program_id
         WHERE e.affiliate_id = :affiliate_id ORDER BY d.enrollment_id, d.day, d.link_id
        """,
    ),
    Held(
        "sub-ids.csv",
        _l("Marks of yours that came with clicks, by day."),
        """
        SELECT p.slug AS program, d.day, l.code AS link, d.kind, d.value, d.clicks, d.uniques
          FROM link_day_values d JOIN enrollments e ON e.id = d.enrollment_id
          JOIN links l ON l.id = d.link_id JOIN programs p ON p.id = e.program_id
         WHERE e.affiliate_id = :affiliate_id AND d.kind IN ('s1', 's2', 's3', 's4', 's5')
         ORDER BY d.enrollment_id, d.day, d.link_id, d.kind, d.value
        """,
    ),
    Held(
        "pages.csv",
        _l("Pages that clicks on your links came from."),
        """
        SELECT c.referrer AS page, count(*) AS clicks, max(c.clicked_at) AS last
          FROM clicks c JOIN enrollments e ON e.id = c.enrollment_id
         WHERE e.affiliate_id = :affiliate_id AND c.referrer <> ''
         GROUP BY c.referrer ORDER BY clicks DESC, page
        """,
    ),
    Held(
        "sightings.json",
        _l(
            "In how many browsers and networks your account was open; they are kept as hashes, to "
            "know your own purchases."
        ),
        """
        SELECT kind, first_seen_at, last_seen_at
          FROM affiliate_sightings WHERE affiliate_id = :affiliate_id ORDER BY first_seen_at
        """,
    ),
    Held(
        "cases.json",
        _l("Orders that you missed and decisions that you objected to, with what was said."),
        """
        SELECT p.slug AS program, c.kind, c.ground, c.order_id, c.day, c.said, c.status,
               c.opened_at, c.decided_at, c.remedy, c.reason,
               (SELECT coalesce(jsonb_agg(jsonb_build_object(
                           'at', n.at, 'from_staff', n.from_staff, 'text', n.text) ORDER BY n.id),
                       '[]')
                  FROM claim_notes n WHERE n.claim_id = c.id AND n.for_affiliate) AS notes
          FROM claims c JOIN enrollments e ON e.id = c.enrollment_id
          JOIN programs p ON p.id = c.program_id
         WHERE e.affiliate_id = :affiliate_id ORDER BY c.id
        """,
    ),
)
HELD: Final = (*affiliates.HELD, *payouts.HELD, *OWN)
