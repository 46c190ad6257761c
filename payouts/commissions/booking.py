"""How the facts of a commission stand in the ledger: the one place that names its accounts."""

from __future__ import annotations

from typing import Final

from affiliate.core.money import Money
from payouts.commissions.rows import CommissionRow
from payouts.ledger.accounts import AccountKey, AccountKind, expense, of_enrollment
from payouts.ledger.posting import Kind, Line, Posting

EARN_REFERENCE: Final = "earn:commission:"
"""The reference of an earning, before the commission's id; its reason is the rule."""


def earned_lines(program_id: int, enrollment_id: int, amount: Money) -> tuple[Line, Line]:
    """expense → pending."""
    source = expense(program_id, amount.currency)
    target = of_enrollment(AccountKind.PENDING, program_id, enrollment_id, amount.currency)
    return (Line(source, -amount), Line(target, amount))


def released(row: CommissionRow) -> Posting:
    """pending → available, what is left of it."""
    return _move(
        Kind.RELEASE, f"release:commission:{row.id}", "hold_period_over", row.left,
        _of(row, AccountKind.PENDING), _of(row, AccountKind.AVAILABLE),
    )  # fmt: skip


def taken_back(row: CommissionRow, amount: Money, *, reference: str, reason: str) -> Posting:
    """pending → expense before the release, available → expense after it."""
    kind = Kind.CLAW_BACK if row.released_at else Kind.VOID
    source = AccountKind.AVAILABLE if row.released_at else AccountKind.PENDING
    return _move(kind, reference, reason, amount, _of(row, source), _expense(row))


def _move(
    kind: Kind,
    reference: str,
    reason: str,
    amount: Money,
    source: AccountKey,
    target: AccountKey,
) -> Posting:
    return Posting(kind, reference, reason, (Line(source, -amount), Line(target, amount)))


def _expense(row: CommissionRow) -> AccountKey:
    return expense(row.program_id, row.amount.currency)


def _of(row: CommissionRow, kind: AccountKind) -> AccountKey:
    return of_enrollment(kind, row.program_id, row.enrollment_id, row.amount.currency)
