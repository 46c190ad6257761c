"""Invariants of payments by bank file, and of what came back."""

from __future__ import annotations

from payouts.audit.run import Check, Severity

ANSWER_DAYS_MAX = 7
"""A bank that says nothing of a payment for so long was not asked, or was not heard."""

BANK_FILES = (
    Check(
        "F1",
        Severity.INTEGRITY,
        "a file's bytes are those that were made, and its payments sum to its total",
        """
        SELECT f.id AS file_id, f.items, count(a.id) AS attempts, f.total_micros,
               sum(a.amount_micros) AS sum
        FROM payout_files f
        LEFT JOIN payout_file_lines l ON l.file_id = f.id
        LEFT JOIN payout_attempts a ON a.id = l.attempt_id
        GROUP BY f.id
        HAVING count(a.id) <> f.items OR coalesce(sum(a.amount_micros), 0) <> f.total_micros
            OR encode(sha256(f.content), 'hex') <> f.sha256
        """,
    ),
    Check(
        "F2",
        Severity.INTEGRITY,
        "each payment of a file is an item of its batch, under the id that its attempt stores",
        """
        SELECT l.attempt_id, l.file_id, l.end_to_end_id FROM payout_file_lines l
        JOIN payout_files f ON f.id = l.file_id JOIN payout_attempts a ON a.id = l.attempt_id
        JOIN payout_items i ON i.id = a.item_id
        WHERE i.batch_id <> f.batch_id
           OR a.params ->> 'end_to_end_id' IS DISTINCT FROM l.end_to_end_id
        """,
    ),
    Check(
        "F3",
        Severity.INTEGRITY,
        "what came back of a payout is in the books, at most its amount, and all of it reverses it",
        """
        SELECT i.id AS item_id, i.status, i.amount_micros AS paid, sum(r.amount_micros) AS back
        FROM payout_items i LEFT JOIN payout_reversals r ON r.item_id = i.id
        WHERE i.status = 'reversed' OR r.id IS NOT NULL
        GROUP BY i.id
        HAVING coalesce(sum(r.amount_micros), 0) > i.amount_micros
            OR (coalesce(sum(r.amount_micros), 0) = i.amount_micros) <> (i.status = 'reversed')
            OR bool_or(r.amount_micros IS DISTINCT FROM (
                SELECT sum(e.amount_micros) FROM ledger_entries e
                JOIN ledger_accounts a ON a.id = e.account_id
                WHERE e.transaction_id = r.transaction_id AND a.kind = 'available'
                  AND a.enrollment_id = i.enrollment_id))
        """,
    ),
    Check(
        "F4",
        Severity.INTEGRITY,
        "nothing goes from cash back to a balance but what came back of a payout",
        """
        SELECT t.id AS transaction_id, t.reference FROM ledger_transactions t
        WHERE t.kind = 'reversal'
          AND NOT EXISTS (SELECT 1 FROM payout_reversals r WHERE r.transaction_id = t.id)
        """,
    ),
    Check(
        "F5",
        Severity.LIVENESS,
        f"the bank has answered for every payment of a file within {ANSWER_DAYS_MAX} days",
        f"""
        SELECT a.id AS attempt_id, a.item_id, l.file_id FROM payout_file_lines l
        JOIN payout_attempts a ON a.id = l.attempt_id
        WHERE a.status = 'sent' AND a.first_sent_at
              < CAST(:real_now AS timestamptz) - interval '{ANSWER_DAYS_MAX} days'
        """,  # noqa: S608 -- a constant of ours
    ),
)
