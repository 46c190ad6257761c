"""What the pages of finance show of payments by bank file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, defer

from affiliate.core import ids
from affiliate.core.errors import NotFound
from affiliate.people.models import User
from affiliate.programs.models import Program
from payouts.batches.bank_handover import files_of
from payouts.batches.bank_models import BankStatement, PayoutFile
from payouts.batches.bank_plans import Step
from payouts.batches.bank_rules import Outcome
from payouts.batches.models import PayoutBatch, PayoutItem
from payouts.batches.own_accounts import live_own_account
from payouts.rails.bank import ITEMS_MAX, BankRail
from tracker.desks.finance.blueprint import FILE, STATEMENT, known_rails
from tracker.desks.words import _

STATEMENTS_SHOWN_MAX = 10
STEPS_SHOWN_MAX = 500
TONES = {
    Outcome.PAYS: "success",
    Outcome.FAILS: "danger",
    Outcome.COMES_BACK: "danger",
    Outcome.CONTRADICTION: "danger",
    Outcome.OTHER_AMOUNT: "warning",
    Outcome.UNKNOWN: "warning",
    Outcome.REJECTED_AFTER_PAID: "warning",
}
QUIET = (Outcome.NOT_OURS, Outcome.NO_NEWS)
"""What a statement is full of: counted, and listed last."""


def of_batch(session: Session, *, batch: PayoutBatch) -> dict[str, Any]:
    """Files and statements of a batch on a rail by bank file; of other rails `by_file` alone."""
    rail = known_rails().get(batch.rail)
    if not isinstance(rail, BankRail):
        return {"by_file": False}
    files = files_of(session, batch_id=batch.id)
    statements = session.scalars(
        sa.select(BankStatement)
        .where(BankStatement.program_id == batch.program_id, BankStatement.rail == batch.rail)
        .options(defer(BankStatement.content))
        .order_by(BankStatement.id.desc())
        .limit(STATEMENTS_SHOWN_MAX)
    ).all()
    people = {one for file in files for one in (file.made_by, file.not_sent_by)}
    people |= {statement.brought_by for statement in statements}
    waiting = sa.select(sa.func.count()).where(
        PayoutItem.batch_id == batch.id, PayoutItem.status == "queued"
    )
    return {
        "by_file": True,
        "files": [(ids.public_id(FILE, file.id), file) for file in files],
        "statements": [(ids.public_id(STATEMENT, one.id), one) for one in statements],
        "names": _names(session, people),
        "not_in_a_file": session.scalar(waiting) or 0,
        "in_a_file_max": ITEMS_MAX,
        "own_account": live_own_account(session, program_id=batch.program_id, rail=batch.rail),
    }


def statement(
    session: Session, *, programs: dict[int, Program], statement_id: int
) -> BankStatement:
    """A statement of the reader's programs; NotFound otherwise."""
    found = session.get(BankStatement, statement_id, populate_existing=True)
    if found is None or found.program_id not in programs:
        raise NotFound
    return found


def file(session: Session, *, programs: dict[int, Program], file_id: int) -> PayoutFile:
    """A file of the reader's programs; NotFound otherwise."""
    found = session.get(PayoutFile, file_id)
    if found is None or found.program_id not in programs:
        raise NotFound
    return found


def in_order(steps: Sequence[Step]) -> list[Step]:
    """What changes something first, then what a person should look at, then the rest."""

    def rank(step: Step) -> int:
        if step.changes or step.outcome is Outcome.CONTRADICTION:
            return 0
        return 2 if step.outcome in QUIET else 1

    return sorted(steps, key=rank)


def outcome_label(outcome: Outcome) -> str:
    """What applying a line does, in a word or two."""
    return {
        Outcome.PAYS: _("paid"),
        Outcome.FAILS: _("rejected"),
        Outcome.COMES_BACK: _("came back"),
        Outcome.KNOWN: _("known already"),
        Outcome.NO_NEWS: _("nothing new"),
        Outcome.NOT_OURS: _("not ours"),
        Outcome.UNKNOWN: _("unknown"),
        Outcome.OTHER_AMOUNT: _("another amount"),
        Outcome.REJECTED_AFTER_PAID: _("paid, then rejected"),
        Outcome.CONTRADICTION: _("contradiction"),
    }[outcome]


def outcome_sentence(outcome: Outcome) -> str:
    """What applying a line does, and what it means for the money."""
    return {
        Outcome.PAYS: _("The payout is marked as paid."),
        Outcome.FAILS: _("The payout fails; its amount returns to the balance."),
        Outcome.COMES_BACK: _("It was paid and came back; its amount returns to the balance."),
        Outcome.KNOWN: _("The books say so already; nothing changes."),
        Outcome.NO_NEWS: _("Not booked yet; nothing changes."),
        Outcome.NOT_OURS: _("No payment by a file of ours; nothing changes."),
        Outcome.UNKNOWN: _(
            "It bears a reference like ours, which this program does not know. If the database "
            "was restored from a backup, compare it with the bank first."
        ),
        Outcome.OTHER_AMOUNT: _("The amount is not that of the payout. Nothing changes: look."),
        Outcome.REJECTED_AFTER_PAID: _(
            "The bank said before that it was executed. Nothing changes until a statement shows "
            "the money back."
        ),
        Outcome.CONTRADICTION: _(
            "The bank has executed it, but in the books it failed and its amount was given back. "
            "Applying this locks payouts until somebody has looked."
        ),
    }[outcome]


def _names(session: Session, user_ids: set[int | None]) -> dict[int, str]:
    rows = session.execute(
        sa.select(User.id, User.name, User.email).where(User.id.in_(user_ids - {None}))
    )
    return {row.id: row.name or row.email for row in rows}
