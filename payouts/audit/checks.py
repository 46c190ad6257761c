"""The checks of the ledger, of commissions and of payouts.

Adapted to micros, shares and reserves; each was seen to fire on planted corruption
(tests/payouts/audit). Orders and decisions have theirs in tracker.attribution.checks.
"""

from __future__ import annotations

from flask import Flask

from affiliate.core.config import Settings
from payouts.audit.approval_checks import APPROVALS
from payouts.audit.attempt_params import changed_params
from payouts.audit.bank_checks import BANK_FILES
from payouts.audit.batch_hashes import wrong_hashes
from payouts.audit.document_checks import DOCUMENTS
from payouts.audit.run import Check, Common, Severity, register
from payouts.audit.sealed import changed_entries, changed_heads, unsealed_for_long
from payouts.batches.intents import KEY_LIFE_H

_INTEGRITY, _LIVENESS = Severity.INTEGRITY, Severity.LIVENESS

ACCOUNT_SUMS = Common(
    "account_sums",
    """
    SELECT a.id AS account_id, a.kind, a.enrollment_id, a.currency, coalesce(s.sum, 0) AS sum
    FROM ledger_accounts a
    LEFT JOIN (SELECT account_id, sum(amount_micros) AS sum FROM ledger_entries
               GROUP BY account_id) s ON s.account_id = a.id
    """,
)
"""What the entries of each account sum to: a pass over the whole ledger that five checks share."""

LEDGER = (
    Check(
        "L1",
        _INTEGRITY,
        "each transaction sums to zero in each currency",
        # The sum of a whole transaction first, whose entries stand together in their index; each
        # currency by itself only where there are several.
        """
        SELECT t.transaction_id, sum(t.amount_micros) AS sum FROM ledger_entries t
        GROUP BY t.transaction_id
        HAVING sum(t.amount_micros) <> 0
            OR min(t.currency COLLATE "C") <> max(t.currency COLLATE "C") AND EXISTS (
                SELECT 1 FROM ledger_entries e WHERE e.transaction_id = t.transaction_id
                GROUP BY e.currency HAVING sum(e.amount_micros) <> 0)
        """,
    ),
    Check(
        "L2",
        _INTEGRITY,
        "the whole ledger sums to zero in each currency",
        """
        SELECT currency, sum(amount_micros) AS sum FROM ledger_entries
        GROUP BY currency HAVING sum(amount_micros) <> 0
        """,
    ),
    Check(
        "L3",
        _INTEGRITY,
        "each transaction has at least two entries",
        # One entry alone does not sum to zero, which L1 finds, unless it is one of nothing. Not by
        # a count: PostgreSQL groups five million entries in one process, but joins them in all.
        """
        SELECT t.id AS transaction_id, 0 AS entries FROM ledger_transactions t
        WHERE NOT EXISTS (SELECT 1 FROM ledger_entries e WHERE e.transaction_id = t.id)
        UNION ALL
        SELECT transaction_id, 1 FROM ledger_entries WHERE amount_micros = 0
        """,
    ),
    Check(
        "L4",
        _INTEGRITY,
        "an entry has the currency of its account",
        """
        SELECT e.id AS entry_id, e.currency, a.currency AS account_currency
        FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account_id
        WHERE a.currency <> e.currency
        """,
    ),
    Check(
        "L5",
        _INTEGRITY,
        "a fact is booked once: references are unique",
        """
        SELECT reference, count(*) AS times FROM ledger_transactions
        GROUP BY reference HAVING count(*) > 1
        """,
    ),
    Check(
        "L6",
        _INTEGRITY,
        "a reversal is the exact mirror of what it reverses",
        """
        SELECT r.id AS transaction_id, r.reverses_id FROM ledger_transactions r
        WHERE r.reverses_id IS NOT NULL AND EXISTS (
            (SELECT account_id, -amount_micros FROM ledger_entries
             WHERE transaction_id = r.reverses_id
             EXCEPT ALL
             SELECT account_id, amount_micros FROM ledger_entries WHERE transaction_id = r.id)
            UNION ALL
            (SELECT account_id, amount_micros FROM ledger_entries WHERE transaction_id = r.id
             EXCEPT ALL
             SELECT account_id, -amount_micros FROM ledger_entries
             WHERE transaction_id = r.reverses_id))
        """,
    ),
    Check(
        "L7",
        _INTEGRITY,
        "pending and in payout are never negative",
        """
        SELECT account_id, kind, sum FROM account_sums
        WHERE kind IN ('pending', 'in_payout') AND sum < 0
        """,
        over=ACCOUNT_SUMS,
    ),
    Check(
        "L8",
        _INTEGRITY,
        "a running balance is the sum of its account's entries",
        """
        SELECT a.account_id, b.amount_micros AS balance, a.sum
        FROM account_sums a LEFT JOIN ledger_balances b ON b.account_id = a.account_id
        WHERE a.kind IN ('available', 'in_payout') AND coalesce(b.amount_micros, 0) <> a.sum
           OR a.kind NOT IN ('available', 'in_payout') AND b.account_id IS NOT NULL
        """,
        over=ACCOUNT_SUMS,
    ),
    Check(
        "L9",
        _INTEGRITY,
        "an enrollment's account belongs to its program",
        """
        SELECT a.id AS account_id, a.program_id, n.program_id AS enrolled_in
        FROM ledger_accounts a JOIN enrollments n ON n.id = a.enrollment_id
        WHERE n.program_id <> a.program_id
        """,
    ),
    Check("L10", _INTEGRITY, "a sealed entry is what was sealed", changed_entries),
    Check(
        "L11",
        _INTEGRITY,
        "the chain of seals is whole, and has the head that this node has noted",
        changed_heads,
    ),
    Check("L12", _LIVENESS, "nothing booked waits for its seal for an hour", unsealed_for_long),
)

COMMISSIONS = (
    Check(
        "C1",
        _INTEGRITY,
        "level 2 stands beside a level 1 of the same decision",
        """
        SELECT c.id AS commission_id, c.reference FROM commissions c
        WHERE c.level = 2 AND NOT EXISTS (
            SELECT 1 FROM commissions d
            WHERE d.reference = c.reference AND d.decision = c.decision AND d.level = 1
              AND d.enrollment_id = c.via_enrollment_id)
        """,
    ),
    Check(
        "C2",
        _INTEGRITY,
        "at most one decision of a sale has live commissions",
        # The clicks of a link and day are no sale: what came late is booked beside the rest.
        """
        SELECT reference, min(decision) AS one, max(decision) AS another FROM commissions
        WHERE voided_at IS NULL AND reference NOT LIKE 'clicks:%'
        GROUP BY reference HAVING min(decision) <> max(decision)
        """,
    ),
    Check(
        "C5",
        _INTEGRITY,
        "each commission is in the books once, with its amount",
        # Each entry meets its commission, and each commission an entry; that it is one alone, C8
        # sees by the sum. Not by a sum here, for the reason at L3.
        """
        SELECT c.id AS commission_id, booked.transaction_id, c.amount_micros AS amount,
               booked.amount_micros AS booked
        FROM commissions c
        FULL JOIN (SELECT t.id AS transaction_id, t.reference, a.enrollment_id, a.currency,
                          e.amount_micros
                   FROM ledger_transactions t
                   JOIN ledger_entries e ON e.transaction_id = t.id
                   JOIN ledger_accounts a ON a.id = e.account_id AND a.kind = 'pending'
                   WHERE t.reference LIKE 'earn:commission:%') booked
               ON booked.reference = 'earn:commission:' || c.id
              AND booked.enrollment_id = c.enrollment_id AND booked.currency = c.currency
              AND booked.amount_micros = c.amount_micros
        WHERE c.id IS NULL OR booked.transaction_id IS NULL AND c.amount_micros <> 0
        """,
    ),
    Check(
        "C6",
        _INTEGRITY,
        "nothing is booked as earned without its commission",
        """
        SELECT t.id AS transaction_id, t.reference FROM ledger_transactions t
        WHERE t.kind = 'earn' AND NOT EXISTS (
            SELECT 1 FROM commissions c WHERE 'earn:commission:' || c.id = t.reference)
        """,
    ),
    Check(
        "C7",
        _INTEGRITY,
        "what was taken back of a commission is the sum of its reversals",
        """
        SELECT c.id AS commission_id, c.reversed_micros AS reversed, sum(r.amount_micros) AS sum
        FROM commissions c LEFT JOIN commission_reversals r ON r.commission_id = c.id
        GROUP BY c.id HAVING c.reversed_micros <> coalesce(sum(r.amount_micros), 0)
        """,
    ),
    Check(
        "C8",
        _INTEGRITY,
        "pending is what unreleased commissions have left",
        """
        SELECT coalesce(p.enrollment_id, k.enrollment_id) AS enrollment_id,
               p.sum AS pending, k.sum AS commissions
        FROM (SELECT enrollment_id, currency, sum FROM account_sums WHERE kind = 'pending') p
        FULL JOIN (SELECT enrollment_id, currency, sum(amount_micros - reversed_micros) AS sum
                   FROM commissions WHERE released_at IS NULL AND voided_at IS NULL
                   GROUP BY 1, 2) k USING (enrollment_id, currency)
        WHERE coalesce(p.sum, 0) <> coalesce(k.sum, 0)
        """,
        over=ACCOUNT_SUMS,
    ),
    Check(
        "C9",
        _LIVENESS,
        "what a commission's release is due for is released within a day",
        """
        SELECT id AS commission_id, available_at FROM commissions
        WHERE released_at IS NULL AND voided_at IS NULL AND waits_for IS NULL
          AND available_at < CAST(:real_now AS timestamptz) - interval '1 day'
        """,
    ),
)

PAYOUTS = (
    Check(
        "P1",
        _INTEGRITY,
        "an approved batch is what was approved, less what was held since",
        """
        SELECT b.id AS batch_id, b.approved_total_micros AS approved, sum(i.amount_micros) AS items
        FROM payout_batches b
        LEFT JOIN payout_items i ON i.batch_id = b.id
             AND (i.status <> 'cancelled' OR i.reason = 'held_after_approval')
        WHERE b.status IN ('approved', 'paying', 'done')
        GROUP BY b.id
        HAVING coalesce(sum(i.amount_micros), 0) <> b.approved_total_micros
            OR count(i.id) <> b.approved_count OR b.approved_hash IS DISTINCT FROM b.hash
        """,
    ),
    Check(
        "P2",
        _INTEGRITY,
        "nothing is sent before its batch is approved",
        """
        SELECT i.id AS item_id, i.status, b.status AS batch_status
        FROM payout_items i JOIN payout_batches b ON b.id = i.batch_id
        WHERE b.status IN ('draft', 'frozen', 'cancelled')
          AND (i.status NOT IN ('queued', 'cancelled')
               OR EXISTS (SELECT 1 FROM payout_attempts a WHERE a.item_id = i.id))
        """,
    ),
    Check(
        "P4",
        _INTEGRITY,
        "each attempt sends the item's amount to the approved destination",
        """
        SELECT a.id AS attempt_id, a.item_id FROM payout_attempts a
        JOIN payout_items i ON i.id = a.item_id
        WHERE a.amount_micros <> i.amount_micros OR a.currency <> i.currency
           OR a.destination <> i.destination
        """,
    ),
    Check(
        "P5",
        _INTEGRITY,
        "an item has at most one attempt that did not definitely fail",
        """
        SELECT item_id, count(*) AS attempts FROM payout_attempts
        WHERE status <> 'failed' GROUP BY item_id HAVING count(*) > 1
        """,
    ),
    Check(
        "P6",
        _INTEGRITY,
        "a paid item has exactly one transfer, and no other item has one",
        """
        SELECT i.id AS item_id, i.status, count(a.id) AS transfers
        FROM payout_items i
        LEFT JOIN payout_attempts a ON a.item_id = i.id AND a.status = 'succeeded'
        GROUP BY i.id
        HAVING count(a.id) <> CASE WHEN i.status IN ('paid', 'reversed') THEN 1 ELSE 0 END
            OR bool_or(a.id IS NOT NULL AND a.transfer_id IS NULL)
        """,
    ),
    Check(
        "P7",
        _INTEGRITY,
        "a batch past its draft has its hash and the time it was frozen",
        """
        SELECT b.id AS batch_id, b.status FROM payout_batches b
        WHERE b.status <> 'draft' AND (b.hash IS NULL OR b.frozen_at IS NULL)
        """,
    ),
    Check(
        "P8",
        _LIVENESS,
        "no attempt without an answer outlives its key unseen by a person",
        f"""
        SELECT a.id AS attempt_id, a.item_id, a.first_sent_at FROM payout_attempts a
        JOIN payout_items i ON i.id = a.item_id
        WHERE a.status IN ('sent', 'unknown') AND i.status <> 'needs_review'
          AND NOT EXISTS (SELECT 1 FROM payout_file_lines f WHERE f.attempt_id = a.id)
          AND a.first_sent_at
              < CAST(:real_now AS timestamptz) - interval '{KEY_LIFE_H} hours'
        """,  # noqa: S608 -- a constant of ours
    ),
    Check(
        "P9",
        _INTEGRITY,
        "each item's reserve moved exactly its amount into payout",
        """
        SELECT i.id AS item_id, i.reserve_transaction_id FROM payout_items i
        WHERE NOT EXISTS (
            SELECT 1 FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account_id
            WHERE e.transaction_id = i.reserve_transaction_id AND a.kind = 'in_payout'
              AND a.enrollment_id = i.enrollment_id AND e.amount_micros = i.amount_micros)
        """,
    ),
    Check(
        "P10",
        _INTEGRITY,
        "a paid item, and no other, is settled out of payout once",
        # Not by a sum, for the reason at L3: each entry out of payout is the item's amount, and
        # there is no second one.
        """
        SELECT i.id AS item_id, i.status, i.settle_transaction_id, NULL AS settled
        FROM payout_items i
        LEFT JOIN ledger_transactions t ON t.reference = 'settle:item:' || i.id
        WHERE (i.status IN ('paid', 'reversed')) <> (i.settle_transaction_id IS NOT NULL)
           OR t.id IS DISTINCT FROM i.settle_transaction_id
        UNION ALL
        SELECT i.id, i.status, i.settle_transaction_id, s.amount_micros FROM payout_items i
        LEFT JOIN (SELECT e.transaction_id, a.enrollment_id, e.amount_micros
                   FROM ledger_entries e
                   JOIN ledger_accounts a ON a.id = e.account_id AND a.kind = 'in_payout') s
               ON s.transaction_id = i.settle_transaction_id
              AND s.enrollment_id = i.enrollment_id
        WHERE i.settle_transaction_id IS NOT NULL
          AND -i.amount_micros <> coalesce(s.amount_micros, 0)
        UNION ALL
        SELECT i.id, i.status, i.settle_transaction_id, e.amount_micros + f.amount_micros
        FROM payout_items i
        JOIN ledger_entries e ON e.transaction_id = i.settle_transaction_id
        JOIN ledger_entries f ON f.transaction_id = e.transaction_id
         AND f.account_id = e.account_id AND f.id > e.id
        """,
    ),
    Check(
        "P11",
        _INTEGRITY,
        "what is in payout is the sum of the items that are still open",
        """
        SELECT coalesce(x.enrollment_id, y.enrollment_id) AS enrollment_id,
               x.sum AS in_payout, y.sum AS items
        FROM (SELECT enrollment_id, currency, sum FROM account_sums WHERE kind = 'in_payout') x
        FULL JOIN (SELECT enrollment_id, currency, sum(amount_micros) AS sum FROM payout_items
                   WHERE status IN ('queued', 'sending', 'unknown', 'needs_review')
                   GROUP BY 1, 2) y USING (enrollment_id, currency)
        WHERE coalesce(x.sum, 0) <> coalesce(y.sum, 0)
        """,
        over=ACCOUNT_SUMS,
    ),
    Check(
        "P12",
        _INTEGRITY,
        "a balance is negative only where something was clawed back",
        """
        SELECT a.enrollment_id, a.currency, a.sum AS available FROM account_sums a
        WHERE a.kind = 'available' AND a.sum < 0 AND NOT EXISTS (
            SELECT 1 FROM ledger_entries e JOIN ledger_transactions t ON t.id = e.transaction_id
            WHERE e.account_id = a.account_id AND t.kind IN ('claw_back', 'adjust'))
        """,
        over=ACCOUNT_SUMS,
    ),
    Check(
        "P13",
        _INTEGRITY,
        "a withdrawal is open exactly as long as its item is",
        """
        SELECT w.id AS withdrawal_id, w.outcome, i.status FROM withdrawals w
        LEFT JOIN payout_items i ON i.id = w.item_id
        WHERE i.id IS NULL
           OR (w.closed_at IS NULL)
              <> (i.status IN ('queued', 'sending', 'unknown', 'needs_review'))
           OR (w.outcome IS NOT DISTINCT FROM 'paid') <> (i.status IN ('paid', 'reversed'))
        """,
    ),
    Check(
        "P14",
        _INTEGRITY,
        "a batch pays items of its own program, in its own currency",
        """
        SELECT i.id AS item_id, b.id AS batch_id FROM payout_items i
        JOIN payout_batches b ON b.id = i.batch_id JOIN enrollments n ON n.id = i.enrollment_id
        WHERE n.program_id <> b.program_id OR i.currency <> b.currency
        """,
    ),
    Check(
        "P15",
        _LIVENESS,
        "no item that should move stands still for an hour",
        """
        SELECT i.id AS item_id, i.status, i.next_try_at FROM payout_items i
        JOIN payout_batches b ON b.id = i.batch_id
        WHERE b.status IN ('approved', 'paying') AND b.paused_at IS NULL
          AND i.status IN ('sending', 'unknown')
          AND i.next_try_at < CAST(:real_now AS timestamptz) - interval '1 hour'
        """,
    ),
    Check(
        "P16",
        _INTEGRITY,
        "the hash of a batch is that of every payment in it",
        wrong_hashes,
    ),
    Check(
        "P19",
        _INTEGRITY,
        "what would be sent again is what was sent",
        changed_params,
    ),
)

PAYEES = (
    Check(
        "Y1",
        _INTEGRITY,
        "nothing is approved for an account in its safety wait, or taken back within it",
        # Whoever approves may not see yet the wait that a provider's answer begins at that moment,
        # of the same destination. Sending looks once more.
        """
        SELECT i.id AS item_id, p.pays_from, b.approved_at
        FROM payout_items i
        JOIN payout_batches b ON b.id = i.batch_id AND b.approved_at IS NOT NULL
        JOIN enrollments e ON e.id = i.enrollment_id
        JOIN LATERAL (
            SELECT pays_from, replaced_at FROM payee_accounts p
            WHERE p.affiliate_id = e.affiliate_id AND p.rail = b.rail
                AND p.destination = i.destination AND p.created_at <= b.approved_at
                AND (p.named_by = 'system:payees' AND p.pays_from > b.approved_at
                    AND p.created_at > b.approved_at - interval '1 minute') IS NOT TRUE
            ORDER BY p.id DESC LIMIT 1) p ON p.pays_from IS NOT NULL
        WHERE i.status <> 'cancelled'
            AND (p.pays_from > b.approved_at
                OR (p.replaced_at < p.pays_from AND p.replaced_at <= b.approved_at))
        """,
    ),
    Check(
        "Y2",
        _LIVENESS,
        "whoever disowned their account is answered within three days",
        """
        SELECT id AS stop_id, affiliate_id, stopped_at FROM payee_stops
        WHERE lifted_at IS NULL AND stopped_at < CAST(:real_now AS timestamptz) - interval '3 days'
        """,
    ),
)

PEOPLE = (
    Check(
        "T1",
        _INTEGRITY,
        "nobody is their own recruiter, through however many others",
        """
        WITH RECURSIVE walk(start, id, path) AS (
            SELECT id, recruiter_id, ARRAY[id] FROM enrollments WHERE recruiter_id IS NOT NULL
            UNION ALL
            SELECT w.start, e.recruiter_id, w.path || e.id
            FROM walk w JOIN enrollments e ON e.id = w.id
            WHERE e.recruiter_id IS NOT NULL AND NOT e.id = ANY (w.path))
        SELECT DISTINCT start AS enrollment_id FROM walk WHERE id = start
        """,
    ),
)

CHECKS = (
    *LEDGER, *COMMISSIONS, *PAYOUTS, *APPROVALS, *BANK_FILES, *DOCUMENTS, *PAYEES, *PEOPLE,
)  # fmt: skip


def set_up(app: Flask, settings: Settings) -> None:  # noqa: ARG001 -- the shape of every set_up
    """Let `kopeck audit` know these checks."""
    register(app, CHECKS)
