"""What an affiliate takes away of this package's tables."""

from __future__ import annotations

from typing import Final

from flask_babel import lazy_gettext as _l

from affiliate.core.personal import Held

HELD: Final = (
    Held(
        "accounts.json",
        _l("Accounts that you named for payouts."),
        """
        SELECT rail, destination, created_at, replaced_at, ready_at, pays_from,
               named_browser AS browser, state
          FROM payee_accounts WHERE affiliate_id = :affiliate_id ORDER BY id
        """,
    ),
    Held(
        "stops.json",
        _l("When payouts were stopped because somebody had not named an account."),
        """
        SELECT stopped_at, lifted_at, outcome
          FROM payee_stops WHERE affiliate_id = :affiliate_id ORDER BY id
        """,
    ),
    Held(
        "tax-data.json",
        _l("Who you are to the tax office, as you wrote it."),
        """
        SELECT legal_form, name, address, country, tax_number, vat_status, vat_number,
               vat_rate_ppm, agreed_at, created_at, replaced_at
          FROM tax_profiles WHERE affiliate_id = :affiliate_id ORDER BY id
        """,
    ),
    Held(
        "invoices.json",
        _l("Invoices that were issued in your name, with everything that is printed on them."),
        """
        SELECT p.slug AS program, i.name AS number, i.kind, i.period, i.currency, i.net_micros,
               i.vat_micros, i.gross_micros, i.issued_at, i.document
          FROM invoices i JOIN enrollments e ON e.id = i.enrollment_id
          JOIN programs p ON p.id = i.program_id
         WHERE e.affiliate_id = :affiliate_id ORDER BY i.id
        """,
    ),
    Held(
        "choices.json",
        _l("How you want to be paid."),
        """
        SELECT p.slug AS program, p.currency, c.on_request, c.minimum_micros, c.chosen_at
          FROM payout_choices c JOIN enrollments e ON e.id = c.enrollment_id
          JOIN programs p ON p.id = e.program_id
         WHERE e.affiliate_id = :affiliate_id ORDER BY e.id
        """,
    ),
    Held(
        "commissions.csv",
        _l("What you earned, sale by sale, and why."),
        """
        SELECT p.slug AS program, c.reference, c.level, c.currency, c.base_micros,
               c.amount_micros, c.reversed_micros, c.rule, c.placed_at, c.earned_at,
               c.available_at, c.released_at, c.voided_at, c.void_reason
          FROM commissions c JOIN enrollments e ON e.id = c.enrollment_id
          JOIN programs p ON p.id = c.program_id
         WHERE e.affiliate_id = :affiliate_id ORDER BY c.id
        """,
    ),
    Held(
        "ledger.csv",
        _l("Every entry of the books on your accounts."),
        """
        SELECT p.slug AS program, t.kind, t.reference, t.reason, t.occurred_at,
               a.kind AS account, n.currency, n.amount_micros
          FROM ledger_entries n JOIN ledger_accounts a ON a.id = n.account_id
          JOIN ledger_transactions t ON t.id = n.transaction_id
          JOIN enrollments e ON e.id = a.enrollment_id JOIN programs p ON p.id = a.program_id
         WHERE e.affiliate_id = :affiliate_id ORDER BY n.id
        """,
    ),
    Held(
        "corrections.csv",
        _l("Corrections of your balance."),
        """
        SELECT p.slug AS program, a.kind, a.currency, a.amount_micros, a.reason, a.note,
               a.status, a.proposed_at, a.decided_at, a.decline_note
          FROM ledger_adjustments a JOIN enrollments e ON e.id = a.enrollment_id
          JOIN programs p ON p.id = a.program_id
         WHERE e.affiliate_id = :affiliate_id ORDER BY a.id
        """,
    ),
    Held(
        "withdrawals.csv",
        _l("Withdrawals that you asked for."),
        """
        SELECT p.slug AS program, w.currency, w.amount_micros, w.requested_at, w.deadline_at,
               w.closed_at, w.outcome
          FROM withdrawals w JOIN enrollments e ON e.id = w.enrollment_id
          JOIN programs p ON p.id = e.program_id
         WHERE e.affiliate_id = :affiliate_id ORDER BY w.id
        """,
    ),
    Held(
        "payouts.csv",
        _l("Payouts to you, with the account that each went to."),
        """
        SELECT p.slug AS program, b.rail, i.currency, i.amount_micros, i.destination, i.status,
               i.paid_at, t.transfer_id
          FROM payout_items i JOIN enrollments e ON e.id = i.enrollment_id
          JOIN payout_batches b ON b.id = i.batch_id JOIN programs p ON p.id = b.program_id
          LEFT JOIN payout_attempts t ON t.item_id = i.id AND t.status = 'succeeded'
         WHERE e.affiliate_id = :affiliate_id ORDER BY i.id
        """,
    ),
)
