"""What a person takes away of this package's tables: never a secret, never anybody else's data.

Letters and invitations are found by address: by one that was shown to be theirs, for anybody can
register with an address, or ask to change to one.
"""

from __future__ import annotations

from typing import Final

from flask_babel import lazy_gettext as _l

from affiliate.core.personal import Held

HELD: Final = (
    Held(
        "profile.json",
        _l("Who you are here: name, address, language, time zone."),
        """
        SELECT email, pending_email, name, locale, time_zone, active, created_at, confirmed_at
          FROM users WHERE id = :user_id
        """,
    ),
    Held(
        "former-addresses.json",
        _l("Addresses that you gave up in the last weeks."),
        "SELECT email, replaced_at FROM former_addresses WHERE user_id = :user_id ORDER BY id",
    ),
    Held(
        "sign-ins.json",
        _l("Where and when you signed in."),
        """
        SELECT agent AS browser, created_at, last_seen_at, fresh_at, factor_at, revoked_at
          FROM user_sessions WHERE user_id = :user_id ORDER BY id
        """,
    ),
    Held(
        "second-factor.json",
        _l("Your app for codes and your passkeys, without their secrets."),
        """
        SELECT 'app' AS kind, NULL AS name, totp_since AS since, NULL AS used_at
          FROM second_factors WHERE user_id = :user_id
        UNION ALL
        SELECT 'passkey', name, created_at, used_at FROM passkeys WHERE user_id = :user_id
         ORDER BY since
        """,
    ),
    Held(
        "roles.json",
        _l("Roles that you have or had among the staff, and invitations to them."),
        """
        SELECT g.role, p.slug AS program, g.granted_at, g.revoked_at,
               NULL::timestamptz AS invited_at
          FROM grants g LEFT JOIN programs p ON p.id = g.program_id WHERE g.user_id = :user_id
        UNION ALL
        SELECT i.role, p.slug, i.accepted_at, NULL, i.created_at
          FROM invitations i LEFT JOIN programs p ON p.id = i.program_id
          JOIN users u ON u.id = :user_id AND lower(u.email) = lower(i.email)
           AND u.confirmed_at IS NOT NULL
         ORDER BY granted_at
        """,
    ),
    Held(
        "affiliate.json",
        _l("You as an affiliate."),
        "SELECT name, website, created_at FROM affiliates WHERE id = :affiliate_id",
    ),
    Held(
        "programs.json",
        _l("The programs that you are in: what you wrote when you applied, and what was decided."),
        """
        SELECT p.slug AS program, e.id AS affiliate, e.status, e.answers, e.applied_at,
               e.decided_at, e.decision_reason, e.approved_at, e.closes_at, e.shop_customer_id,
               e.recruiter_id AS recruiter, g.name AS "group"
          FROM enrollments e JOIN programs p ON p.id = e.program_id
          LEFT JOIN affiliate_groups g ON g.id = e.group_id
         WHERE e.affiliate_id = :affiliate_id ORDER BY e.id
        """,
    ),
    Held(
        "rules.json",
        _l("What you said to new rules, and rules that were given to you alone."),
        """
        SELECT p.slug AS program, v.number AS version, a.answer, a.answered_at AS at,
               NULL::timestamptz AS ends_at, NULL AS reason
          FROM rule_answers a JOIN rule_versions v ON v.id = a.rule_version_id
          JOIN enrollments e ON e.id = a.enrollment_id JOIN programs p ON p.id = e.program_id
         WHERE e.affiliate_id = :affiliate_id
        UNION ALL
        SELECT p.slug, v.number, 'assigned', s.begins_at, s.ends_at, s.reason
          FROM rule_assignments s JOIN rule_versions v ON v.id = s.rule_version_id
          JOIN enrollments e ON e.id = s.enrollment_id JOIN programs p ON p.id = e.program_id
         WHERE e.affiliate_id = :affiliate_id
         ORDER BY at
        """,
    ),
    Held(
        "links.csv",
        _l("Your links."),
        """
        SELECT p.slug AS program, l.code, l.name, l.destination, l.s1, l.s2, l.s3, l.s4, l.s5,
               l.created_at, l.disabled_at
          FROM links l JOIN enrollments e ON e.id = l.enrollment_id
          JOIN programs p ON p.id = l.program_id
         WHERE e.affiliate_id = :affiliate_id ORDER BY l.id
        """,
    ),
    Held(
        "before-kopeck.csv",
        _l("What the program before said of your months."),
        """
        SELECT p.slug AS program, m.month, m.clicks, m.orders, m.sales_micros, m.earned_micros,
               m.paid_micros, p.currency
          FROM former_months m JOIN enrollments e ON e.id = m.enrollment_id
          JOIN programs p ON p.id = m.program_id
         WHERE e.affiliate_id = :affiliate_id ORDER BY p.slug, m.month
        """,
    ),
    Held(
        "api-keys.json",
        _l("Your own keys to the API, without their secrets."),
        """
        SELECT p.slug AS program, k.name, k.prefix, k.scopes, k.created_at, k.last_used_at,
               k.revoked_at
          FROM api_keys k JOIN enrollments e ON e.id = k.enrollment_id
          JOIN programs p ON p.id = k.program_id
         WHERE e.affiliate_id = :affiliate_id ORDER BY k.id
        """,
    ),
    Held(
        "postbacks.json",
        _l("Addresses of yours that are told of your commissions."),
        """
        SELECT p.slug AS program, w.url, w.method, w.description, w.types, w.created_at,
               w.disabled_at, w.deleted_at
          FROM webhook_endpoints w JOIN enrollments e ON e.id = w.enrollment_id
          JOIN programs p ON p.id = w.program_id
         WHERE e.affiliate_id = :affiliate_id ORDER BY w.id
        """,
    ),
    Held(
        "banners.csv",
        _l("Banners that you made."),
        """
        SELECT p.slug AS program, c.name AS text, c.destination, c.created_at, c.retired_at
          FROM creatives c JOIN enrollments e ON e.id = c.enrollment_id
          JOIN programs p ON p.id = c.program_id
         WHERE e.affiliate_id = :affiliate_id ORDER BY c.id
        """,
    ),
    Held(
        "coupons.csv",
        _l("Your coupons."),
        """
        SELECT p.slug AS program, c.code, c.created_at, c.valid_until, c.disabled_at
          FROM coupons c JOIN enrollments e ON e.id = c.enrollment_id
          JOIN programs p ON p.id = c.program_id
         WHERE e.affiliate_id = :affiliate_id ORDER BY c.id
        """,
    ),
    Held(
        "letters.json",
        _l("Letters that we sent you in the last months; one-time links are taken out."),
        """
        SELECT m.created_at, m.sent_at, m.recipient, m.subject,
               CASE WHEN m.one_time THEN '' ELSE m.text END AS text
          FROM outbox_mails m JOIN users u ON u.id = :user_id
         WHERE lower(m.recipient) = lower(u.email) AND u.confirmed_at IS NOT NULL
         ORDER BY m.id
        """,
    ),
    Held(
        "letter-choices.json",
        _l("Which letters you chose to get or not to get."),
        """
        SELECT p.slug AS program, c.choice, c.wanted, c.chosen_at
          FROM letter_choices c JOIN programs p ON p.id = c.program_id
         WHERE c.user_id = :user_id ORDER BY c.chosen_at
        """,
    ),
    Held(
        "history.csv",
        _l("What you changed, and what was changed about you, as the audit log has it."),
        """
        SELECT a.at, a.action, a.subject, a.actor = 'user:' || CAST(:user_id AS bigint) AS by_you,
               CASE WHEN mine.subject IS NOT NULL THEN a.old::text END AS old,
               CASE WHEN mine.subject IS NOT NULL THEN a.new::text END AS new
          FROM audit_log a
          LEFT JOIN (
               SELECT 'user:' || CAST(:user_id AS bigint) AS subject
               UNION SELECT 'affiliate:' || CAST(:affiliate_id AS bigint)
               UNION SELECT 'enrollment:' || id FROM enrollments
                      WHERE affiliate_id = CAST(:affiliate_id AS bigint)
               ) mine ON mine.subject = a.subject
         WHERE mine.subject IS NOT NULL OR a.actor = 'user:' || CAST(:user_id AS bigint)
         ORDER BY a.id
        """,
    ),
)
