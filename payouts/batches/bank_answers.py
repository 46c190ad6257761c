"""What banks say was executed: brought, looked at line by line, and then applied.

A bank's word is the late answer to an attempt, and is recorded as every rail's is (`record`);
so is what contradicts the books. Bringing the same word again changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, NotFound
from affiliate.core.money import Money
from affiliate.people.models import Enrollment
from payouts.batches.approve import require_finance
from payouts.batches.bank_models import BankStatement
from payouts.batches.bank_plans import Plan, Step, plan_of, read
from payouts.batches.bank_rules import Outcome
from payouts.batches.cancel import finish_batch
from payouts.batches.claims import record
from payouts.batches.intents import Claimed
from payouts.batches.locks import LockReason, lock
from payouts.batches.models import PayeeAccount, PayoutAttempt, PayoutBatch, PayoutItem
from payouts.batches.reverse import reverse_item
from payouts.rails.protocol import Order, Refused, Succeeded
from payouts.rails.registry import Rails

NAME_CHARS_MAX = 100


class PlanChanged(Conflict):
    code = "plan_changed"
    title = "Something has changed since you looked: read again what will happen, then apply it."


def bring_statement(
    session: Session,
    *,
    program_id: int,
    rail: str,
    raw: bytes,
    name: str,
    by_user_id: int,
    rails: Rails,
    now: datetime,
) -> int:
    """Keep a bank's file to look at; its id. The same file again is the same row.

    Raises Invalid for the field `file` (see `read_statement`), NotFinance, NoOwnAccount,
    NotByFile.
    """
    require_finance(session, program_id=program_id, user_id=by_user_id)
    statement = read(session, program_id, rail, raw, rails)
    values = {
        "program_id": program_id,
        "rail": rail,
        "name": " ".join(name.split())[:NAME_CHARS_MAX] or "statement",
        "format": statement.format,
        "content": raw,
        "sha256": hashlib.sha256(raw).hexdigest(),
        "rows": len(statement.news),
        "brought_by": by_user_id,
        "brought_at": now,
    }
    made: int | None = session.scalar(
        insert(BankStatement).values(values).on_conflict_do_nothing().returning(BankStatement.id)
    )
    if made is not None:
        audit.record(
            session, actor=f"user:{by_user_id}", action="statement.bring",
            subject=f"bank_statement:{made}", scope=program_id, now=now,
            new={"sha256": values["sha256"], "name": values["name"]},
        )  # fmt: skip
        return made
    return session.scalars(
        sa.select(BankStatement.id).where(
            BankStatement.program_id == program_id,
            BankStatement.rail == rail,
            BankStatement.sha256 == values["sha256"],
        )
    ).one()


def look_at(session: Session, *, statement_id: int, rails: Rails) -> Plan:
    """What applying the file would do now. Writes nothing."""
    row = session.get(BankStatement, statement_id, populate_existing=True)
    if row is None:
        raise NotFound
    statement = read(session, row.program_id, row.rail, row.content, rails)
    return plan_of(session, row.program_id, row.rail, statement)


def apply_statement(
    session: Session,
    *,
    statement_id: int,
    by_user_id: int,
    seen: str,
    rails: Rails,
    now: datetime,
    real_now: datetime,
) -> Plan:
    """Do what `look_at` showed; the plan that was carried out. Safe to repeat.

    Also while payouts are locked: it moves no money, it writes down what has moved. `seen` is
    the fingerprint of the plan that was looked at. Raises PlanChanged, NotFinance, NotFound.
    """
    row = session.get(BankStatement, statement_id, populate_existing=True, with_for_update=True)
    if row is None:
        raise NotFound
    require_finance(session, program_id=row.program_id, user_id=by_user_id)
    statement = read(session, row.program_id, row.rail, row.content, rails)
    plan = plan_of(session, row.program_id, row.rail, statement)
    batches = sorted({step.batch_id for step in plan.steps if step.changes and step.batch_id})
    _lock_batches(session, batches)
    # Again, now that nobody else moves these items.
    plan = plan_of(session, row.program_id, row.rail, statement)
    if plan.fingerprint != seen:
        raise PlanChanged
    for step in plan.steps:
        _carry_out(session, step, now, real_now)
    for batch_id in batches:
        finish_batch(session, batch_id=batch_id, now=now)
    row.applied_by, row.applied_at = by_user_id, now
    audit.record(
        session, actor=f"user:{by_user_id}", action="statement.apply",
        subject=f"bank_statement:{row.id}", scope=row.program_id, now=now,
        new={outcome.value: plan.count(outcome) for outcome in Outcome if plan.count(outcome)},
    )  # fmt: skip
    session.flush()
    return plan


def _lock_batches(session: Session, batch_ids: Sequence[int]) -> None:
    """In id order, as everywhere; an item is moved under its batch's lock."""
    session.execute(
        sa.select(PayoutBatch.id)
        .where(PayoutBatch.id.in_(batch_ids))
        .order_by(PayoutBatch.id)
        .with_for_update()
    )


def _carry_out(session: Session, step: Step, now: datetime, real_now: datetime) -> None:
    if step.item_id is None or step.attempt_id is None:
        return
    if step.outcome is Outcome.CONTRADICTION:
        detail = (
            f"The bank executed {step.news.end_to_end_id} ({step.news.reference}), "
            f"but attempt {step.attempt_id} of item {step.item_id} is failed in the books."
        )
        lock(session, reason=LockReason.INTEGRITY, detail=detail, now=now)
    elif step.outcome is Outcome.PAYS:
        _pay(session, step, now, real_now)
    elif step.outcome is Outcome.FAILS:
        code, _, text = step.news.reason.partition(" ")
        answer = Refused(code or "rejected", text or step.news.reason or "The bank rejected it.")
        record(session, claimed=_claimed(session, step), answer=answer, now=now, real_now=real_now)
        _ask_payee_again(session, step.item_id)
    elif step.outcome is Outcome.COMES_BACK:
        _come_back(session, step, now, real_now)


def _pay(session: Session, step: Step, now: datetime, real_now: datetime) -> None:
    attempt = session.get_one(PayoutAttempt, step.attempt_id, populate_existing=True)
    if attempt.status == "failed":
        # Declared as never sent, and executed all the same: it is the item's live attempt again.
        attempt.status, attempt.finished_at = "sent", None
        session.flush()
    # One booking of the bank may hold several payments under one reference; ours are unique.
    paid = Succeeded(f"bank:{step.item_id}:{step.news.reference}")
    record(session, claimed=_claimed(session, step), answer=paid, now=now, real_now=real_now)


def _come_back(session: Session, step: Step, now: datetime, real_now: datetime) -> None:
    attempt = session.get_one(PayoutAttempt, step.attempt_id, populate_existing=True)
    if attempt.status == "sent":
        _pay(session, step, now, real_now)
    item = session.get_one(PayoutItem, step.item_id, populate_existing=True)
    reverse_item(
        session,
        item=item,
        amount=Money(item.amount_micros, item.currency),
        reference=step.news.reference,
        reason=step.news.reason or "returned",
        now=now,
    )
    _ask_payee_again(session, item.id)


def _ask_payee_again(session: Session, item_id: int) -> None:
    """An account that a bank refused is not paid to again by itself: its owner confirms it, or
    names another."""
    session.execute(
        sa.update(PayeeAccount)
        .where(
            PayeeAccount.replaced_at.is_(None),
            sa.tuple_(PayeeAccount.affiliate_id, PayeeAccount.rail, PayeeAccount.destination).in_(
                sa.select(Enrollment.affiliate_id, PayoutBatch.rail, PayoutItem.destination)
                .join(Enrollment, Enrollment.id == PayoutItem.enrollment_id)
                .join(PayoutBatch, PayoutBatch.id == PayoutItem.batch_id)
                .where(PayoutItem.id == item_id)
            ),
        )
        .values(ready_at=None)
        .execution_options(synchronize_session=False)
    )


def _claimed(session: Session, step: Step) -> Claimed:
    """The attempt as its intent was written, for the second of the two transactions."""
    attempt = session.get_one(PayoutAttempt, step.attempt_id)
    return Claimed(
        item_id=attempt.item_id,
        batch_id=step.batch_id or 0,
        attempt_id=attempt.id,
        order=Order(
            amount=Money(attempt.amount_micros, attempt.currency),
            destination=attempt.destination,
            group=attempt.params["group"],
            item_id=attempt.item_id,
            attempt=attempt.number,
            installation=attempt.params["installation"],
        ),
        key=attempt.idempotency_key,
        tries=attempt.tries,
        first_sent_at=attempt.first_sent_at,
        key_alive=True,
        lease_until=attempt.first_sent_at,
    )
