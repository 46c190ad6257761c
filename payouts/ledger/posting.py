"""The only writer of ledger entries.

A posting is one business fact: entries that sum to zero per currency under a unique
reference. Posting the same reference again changes nothing and says so. Corrections are
mirror postings (`reverse`), never updates. Rule: docs/reliability.md, "Ledger".
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core.errors import Conflict
from affiliate.core.money import Money
from payouts.ledger.accounts import WITH_BALANCE, AccountKey, AccountKind, account_ids
from payouts.ledger.models import LedgerAccount, LedgerEntry, LedgerTransaction

POSTINGS_MAX = 1_000
"""Postings written by one statement: more are written in several, in one transaction."""


class Kind(StrEnum):
    """What happened to the money."""

    EARN = "earn"
    RELEASE = "release"
    VOID = "void"
    CLAW_BACK = "claw_back"
    BONUS = "bonus"
    ADJUST = "adjust"
    WRITE_OFF = "write_off"
    RESERVE = "reserve"
    RETURN = "return"
    SETTLE = "settle"
    REVERSAL = "reversal"
    """What was paid came back; it is owed again."""


@dataclass(frozen=True, slots=True)
class Line:
    """One side of a posting. Positive: the account's owner is owed more."""

    account: AccountKey
    amount: Money


@dataclass(frozen=True, slots=True)
class Posting:
    kind: Kind
    reference: str
    """What it books, unique for ever: `earn:commission:17`."""
    reason: str
    """Value of a closed enum."""
    lines: tuple[Line, ...]
    reverses_id: int | None = None


class AlreadyPosted(Conflict):
    """The fact is in the books already; nothing was written."""

    code = "already_posted"
    title = "This is booked already."

    def __init__(self, references: Sequence[str]) -> None:
        self.references = tuple(references)
        super().__init__(f"Booked already: {', '.join(references[:5])}.")


class Unbalanced(ValueError):
    """A posting that does not sum to zero or has an empty line: a mistake of the program."""


def post(
    session: Session,
    *,
    kind: Kind,
    reference: str,
    reason: str,
    lines: Sequence[Line],
    now: datetime,
) -> int:
    """Book one fact; the transaction's id. Raises AlreadyPosted, Unbalanced."""
    posting = Posting(kind, reference, reason, tuple(lines))
    return post_many(session, postings=[posting], now=now)[reference]


def post_many(session: Session, *, postings: Sequence[Posting], now: datetime) -> dict[str, int]:
    """Book many facts set by set; the transaction's id of each reference.

    Raises AlreadyPosted when any reference is in the books, and then writes none of them;
    Unbalanced when lines do not sum to zero in each currency.
    """
    for posting in postings:
        _check_lines(posting.reference, posting.lines)
    written: dict[str, int] = {}
    if not postings:
        return written
    with session.begin_nested():
        for start in range(0, len(postings), POSTINGS_MAX):
            written |= _write(session, postings[start : start + POSTINGS_MAX], now)
    return written


# For facts whose rows a statement writes itself, for several documents at once: the rows, the
# transactions and their entries in one round trip. The statement puts LINES behind a step
# `told(n, document)`, where `document -> 'lines'` holds what `lines_of` gave, and BOOKED behind
# a step `fact(n, position, kind, reference, reason, occurred_at)`, whose references hold ids
# that it has just drawn, so that none can be in the books already. It must write nothing of a
# document while an account is missing: a `line.account_id` of it is null then, and
# `account_ids` makes it. No balance is moved, so accounts that have one (WITH_BALANCE) are
# refused. Each account is looked up by itself: a join would be planned for a hundred lines, by
# reading them all.
LINES: Final = """
    line AS MATERIALIZED (
        SELECT told.n, l.position, l.currency, l.amount_micros,
            CASE WHEN l.enrollment_id IS NULL
            THEN (SELECT id FROM ledger_accounts a
                  WHERE a.program_id = l.program_id AND a.enrollment_id IS NULL
                    AND a.kind = l.kind AND a.rail IS NULL AND a.currency = l.currency)
            ELSE (SELECT id FROM ledger_accounts a
                  WHERE a.program_id = l.program_id AND a.enrollment_id = l.enrollment_id
                    AND a.kind = l.kind AND a.rail IS NULL AND a.currency = l.currency)
            END AS account_id
        FROM told CROSS JOIN LATERAL jsonb_to_recordset(told.document -> 'lines') AS l (
            position bigint, kind text, program_id bigint, enrollment_id bigint, currency text,
            amount_micros bigint)
    )"""
BOOKED: Final = """
    booked AS (
        INSERT INTO ledger_transactions (kind, reference, reason, occurred_at)
        SELECT kind, reference, reason, occurred_at FROM fact ORDER BY n, position
        RETURNING id, reference
    ), entries AS (
        INSERT INTO ledger_entries (transaction_id, account_id, currency, amount_micros)
        SELECT booked.id, line.account_id, line.currency, line.amount_micros
        FROM fact JOIN booked USING (reference) JOIN line USING (n, position)
    )"""


def lines_of(facts: Mapping[int, tuple[Line, ...]]) -> list[dict[str, Any]]:
    """The lines of each fact by its position, as `LINES` reads them in a document.

    Raises Unbalanced as `post_many` does, and for an account that has a balance or a rail.
    """
    rows = []
    for position, lines in facts.items():
        _check_lines(f"fact {position}", lines)
        for line in lines:
            account = line.account
            if account.kind in WITH_BALANCE or account.rail is not None:
                raise Unbalanced(f"fact {position}: {account.kind} is not booked this way")
            rows.append(
                {
                    "position": position,
                    "kind": account.kind.value,
                    "program_id": account.program_id,
                    "enrollment_id": account.enrollment_id,
                    "currency": account.currency,
                    "amount_micros": line.amount.micros,
                }
            )
    return rows


def reverse(
    session: Session,
    *,
    transaction_id: int,
    kind: Kind,
    reference: str,
    reason: str,
    now: datetime,
) -> int:
    """Book the exact mirror of a transaction; a transaction can be reversed once.

    Raises AlreadyPosted when the reference, or another mirror of it, is booked.
    """
    posting = mirror(
        session, transaction_id=transaction_id, kind=kind, reference=reference, reason=reason
    )
    taken = session.scalar(
        sa.select(LedgerTransaction.reference).where(
            LedgerTransaction.reverses_id == transaction_id
        )
    )
    if taken is not None:
        raise AlreadyPosted([taken])
    return post_many(session, postings=[posting], now=now)[reference]


def mirror(
    session: Session, *, transaction_id: int, kind: Kind, reference: str, reason: str
) -> Posting:
    """The posting that undoes a transaction, not booked yet."""
    rows = session.execute(
        sa.select(LedgerAccount, LedgerEntry.amount_micros)
        .join(LedgerEntry, LedgerEntry.account_id == LedgerAccount.id)
        .where(LedgerEntry.transaction_id == transaction_id)
        .order_by(LedgerEntry.id)
    ).all()
    lines = tuple(Line(_key(account), Money(-micros, account.currency)) for account, micros in rows)
    return Posting(kind, reference, reason, lines, reverses_id=transaction_id)


def _key(row: LedgerAccount) -> AccountKey:
    kind = AccountKind(row.kind)
    return AccountKey(kind, row.program_id, row.enrollment_id, row.rail, row.currency)


def _check_lines(name: str, lines: Sequence[Line]) -> None:
    sums: Counter[str] = Counter()
    for line in lines:
        if line.amount.currency != line.account.currency or not line.amount:
            raise Unbalanced(f"{name}: an empty line or another currency")
        sums[line.amount.currency] += line.amount.micros
    if len(lines) < 2 or any(sums.values()):
        raise Unbalanced(f"{name}: the lines do not sum to zero")


def _write(session: Session, postings: Sequence[Posting], now: datetime) -> dict[str, int]:
    written = _insert_transactions(session, postings, now)
    repeated = [p.reference for p in postings if p.reference not in written]
    if repeated or len(written) < len(postings):
        raise AlreadyPosted(repeated or [p.reference for p in postings])
    accounts = account_ids(session, (line.account for p in postings for line in p.lines))
    _insert_entries(session, postings, written, accounts)
    _move_balances(session, postings, accounts)
    return written


def _insert_transactions(
    session: Session, postings: Sequence[Posting], now: datetime
) -> dict[str, int]:
    """Sorted by reference: two sessions with the same facts wait in one order."""
    rows = session.execute(
        insert(LedgerTransaction)
        .values(
            [
                {
                    "kind": p.kind.value,
                    "reference": p.reference,
                    "reason": p.reason,
                    "occurred_at": now,
                    "reverses_id": p.reverses_id,
                }
                for p in sorted(postings, key=lambda p: p.reference)
            ]
        )
        .on_conflict_do_nothing(index_elements=["reference"])
        .returning(LedgerTransaction.reference, LedgerTransaction.id)
    )
    return dict(rows.all())


# One statement for all entries of all transactions: the trigger that checks the sums reads
# what a statement has added, and refuses entries that come to a transaction later.
_ENTRIES = sa.text(
    """
    INSERT INTO ledger_entries (transaction_id, account_id, currency, amount_micros)
    SELECT * FROM unnest(
        CAST(:transactions AS bigint[]), CAST(:accounts AS bigint[]),
        CAST(:currencies AS text[]), CAST(:amounts AS bigint[])
    )
    """
)


def _insert_entries(
    session: Session,
    postings: Sequence[Posting],
    transactions: dict[str, int],
    accounts: dict[AccountKey, int],
) -> None:
    lines = [(transactions[p.reference], line) for p in postings for line in p.lines]
    session.execute(
        _ENTRIES,
        {
            "transactions": [transaction for transaction, _ in lines],
            "accounts": [accounts[line.account] for _, line in lines],
            "currencies": [line.amount.currency for _, line in lines],
            "amounts": [line.amount.micros for _, line in lines],
        },
    )


# Rows are touched in account id order, as every lock of them is taken, so that two
# sessions never wait for each other in a circle.
_BALANCES = sa.text(
    """
    INSERT INTO ledger_balances (account_id, amount_micros)
    SELECT * FROM unnest(CAST(:accounts AS bigint[]), CAST(:amounts AS bigint[]))
        AS moved(account_id, amount_micros)
    ORDER BY account_id
    ON CONFLICT (account_id) DO UPDATE
        SET amount_micros = ledger_balances.amount_micros + excluded.amount_micros
    """
)


def _move_balances(
    session: Session, postings: Sequence[Posting], accounts: dict[AccountKey, int]
) -> None:
    moved: defaultdict[int, int] = defaultdict(int)
    for posting in postings:
        for line in posting.lines:
            if line.account.kind in WITH_BALANCE:
                moved[accounts[line.account]] += line.amount.micros
    if moved:
        ids = sorted(moved)
        session.execute(_BALANCES, {"accounts": ids, "amounts": [moved[i] for i in ids]})
