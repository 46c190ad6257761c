"""What banks say was executed: brought, looked at line by line, and then applied.

A bank's word is the late answer to an attempt, and is recorded as every rail's is (`record`);
so is what contradicts the books. Bringing the same word again changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from affiliate.core import audit
from affiliate.core.errors import Conflict, NotFound, Phrase
from affiliate.core.money import Money
from affiliate.people.models import Affiliate, Enrollment
from affiliate.programs.models import Program
from payouts.batches.approve import require_finance
from payouts.batches.bank_models import BankStatement, PayoutFile, PayoutFileLine
from payouts.batches.bank_rules import CHANGING, Outcome, Standing, after, outcome_of
from payouts.batches.cancel import finish_batch
from payouts.batches.claims import record
from payouts.batches.intents import Claimed
from payouts.batches.locks import LockReason, lock
from payouts.batches.models import PayeeAccount, PayoutAttempt, PayoutBatch, PayoutItem
from payouts.batches.own_accounts import NoOwnAccount, bank_rail, own_accounts
from payouts.batches.reverse import reverse_item
from payouts.rails.bank_news import News, Said, Statement, refused
from payouts.rails.bank_statements import read_statement
from payouts.rails.protocol import Order, Refused, Succeeded
from payouts.rails.registry import Rails

NAME_CHARS_MAX = 100
IDS_AT_ONCE = 5_000


class PlanChanged(Conflict):
    code = "plan_changed"
    title = "Something has changed since you looked: read again what will happen, then apply it."


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a bank's file and what applying it does."""

    news: News
    outcome: Outcome
    item_id: int | None = None
    batch_id: int | None = None
    batch_number: int | None = None
    affiliate: str = ""
    amount: Money | None = None
    """Of the payment, as the books have it."""
    attempt_id: int | None = None

    @property
    def changes(self) -> bool:
        return self.outcome in CHANGING


@dataclass(frozen=True, slots=True)
class Plan:
    """What applying a file does, line by line."""

    statement: Statement
    steps: tuple[Step, ...]

    @property
    def fingerprint(self) -> str:
        """Of what changes: applying is bound to what was looked at."""
        told = [
            f"{step.news.end_to_end_id} {step.attempt_id} {step.outcome}"
            for step in self.steps
            if step.changes or step.outcome is Outcome.CONTRADICTION
        ]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()

    def count(self, outcome: Outcome) -> int:
        return sum(step.outcome is outcome for step in self.steps)


@dataclass(frozen=True, slots=True)
class _Payment:
    """A line of a file of ours, as it stands."""

    attempt_id: int
    item_id: int
    batch_id: int
    batch_number: int
    affiliate: str
    standing: Standing


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
    statement = _read(session, program_id, rail, raw, rails)
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
    statement = _read(session, row.program_id, row.rail, row.content, rails)
    return _plan(session, row.program_id, row.rail, statement)


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
    statement = _read(session, row.program_id, row.rail, row.content, rails)
    plan = _plan(session, row.program_id, row.rail, statement)
    batches = sorted({step.batch_id for step in plan.steps if step.changes and step.batch_id})
    _lock_batches(session, batches)
    # Again, now that nobody else moves these items.
    plan = _plan(session, row.program_id, row.rail, statement)
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


def _read(session: Session, program_id: int, rail: str, raw: bytes, rails: Rails) -> Statement:
    """A statement is of an account that the program pays from, or has paid from."""
    known = bank_rail(rails, rail)
    own = own_accounts(session, program_id=program_id, rail=rail)
    if not own:
        raise NoOwnAccount
    statement = read_statement(
        raw,
        own_numbers=[known.number_of(row.details) for row in own],
        currency=session.get_one(Program, program_id).currency,
    )
    if statement.answers_to:
        mine = sa.select(PayoutFile.id).where(
            PayoutFile.program_id == program_id,
            PayoutFile.rail == rail,
            PayoutFile.message_id == statement.answers_to,
        )
        if session.scalar(mine) is None:
            message = Phrase("The report answers a file that this program has not made.")
            raise refused("another_file", message)
    return statement


def _plan(session: Session, program_id: int, rail: str, statement: Statement) -> Plan:
    lines = _spread(session, statement)
    wanted = {news.end_to_end_id for news in lines if news.end_to_end_id}
    payments = _payments(session, program_id, rail, sorted(wanted))
    steps = []
    for news in lines:
        payment = payments.get(news.end_to_end_id)
        outcome = outcome_of(news, payment.standing if payment else None)
        if payment is None:
            steps.append(Step(news, outcome))
            continue
        steps.append(
            Step(
                news,
                outcome,
                item_id=payment.item_id,
                batch_id=payment.batch_id,
                batch_number=payment.batch_number,
                affiliate=payment.affiliate,
                amount=payment.standing.amount,
                attempt_id=payment.attempt_id,
            )
        )
        changed = replace(payment, standing=after(payment.standing, outcome))
        payments[news.end_to_end_id] = changed
    return Plan(statement, tuple(steps))


def _spread(session: Session, statement: Statement) -> list[News]:
    """A word about a whole file is one about each of its payments. Executed before returned,
    whatever the order in the file: some banks list the latest booking first."""
    lines: list[News] = []
    for news in statement.news:
        if not news.message_id:
            lines.append(news)
            continue
        ids = session.scalars(
            sa.select(PayoutFileLine.end_to_end_id)
            .join(PayoutFile, PayoutFile.id == PayoutFileLine.file_id)
            .where(PayoutFile.message_id == news.message_id)
            .order_by(PayoutFileLine.document)
        )
        lines += [replace(news, end_to_end_id=known_as) for known_as in ids]
    return sorted(lines, key=lambda news: news.said is Said.RETURNED)


def _payments(
    session: Session, program_id: int, rail: str, known_as: Sequence[str]
) -> dict[str, _Payment]:
    later = aliased(PayoutAttempt)
    other = (
        sa.select(later.id)
        .where(
            later.item_id == PayoutAttempt.item_id,
            later.id != PayoutAttempt.id,
            later.status != "failed",
        )
        .exists()
    )
    found: dict[str, _Payment] = {}
    for start in range(0, len(known_as), IDS_AT_ONCE):
        rows = session.execute(
            sa.select(
                PayoutFileLine.end_to_end_id, PayoutAttempt, PayoutItem, PayoutBatch.number,
                Affiliate.name, other,
            )
            .join(PayoutFile, PayoutFile.id == PayoutFileLine.file_id)
            .join(PayoutAttempt, PayoutAttempt.id == PayoutFileLine.attempt_id)
            .join(PayoutItem, PayoutItem.id == PayoutAttempt.item_id)
            .join(PayoutBatch, PayoutBatch.id == PayoutItem.batch_id)
            .join(Enrollment, Enrollment.id == PayoutItem.enrollment_id)
            .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
            .where(
                PayoutFile.program_id == program_id,
                PayoutFile.rail == rail,
                PayoutFileLine.end_to_end_id.in_(known_as[start : start + IDS_AT_ONCE]),
            )
            .execution_options(populate_existing=True)
        )  # fmt: skip
        for end_to_end_id, attempt, item, number, affiliate, has_other in rows:
            amount = Money(item.amount_micros, item.currency)
            standing = Standing(attempt.status, item.status, amount, bool(has_other))
            found[end_to_end_id] = _Payment(
                attempt.id, item.id, item.batch_id, number, affiliate, standing
            )
    return found


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
