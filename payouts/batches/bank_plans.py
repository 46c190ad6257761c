"""What applying a bank's file would do, line by line. Reads alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from affiliate.core.errors import Phrase
from affiliate.core.money import Money
from affiliate.people.models import Affiliate, Enrollment
from affiliate.programs.models import Program
from payouts.batches.bank_models import PayoutFile, PayoutFileLine
from payouts.batches.bank_rules import CHANGING, Outcome, Standing, after, outcome_of
from payouts.batches.models import PayoutAttempt, PayoutBatch, PayoutItem
from payouts.batches.own_accounts import NoOwnAccount, bank_rail, own_accounts
from payouts.rails.bank_news import News, Said, Statement, refused
from payouts.rails.bank_statements import read_statement
from payouts.rails.registry import Rails

IDS_AT_ONCE = 5_000


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


def read(session: Session, program_id: int, rail: str, raw: bytes, rails: Rails) -> Statement:
    """A statement is of an account that the program pays from, or has paid from.

    Raises Invalid for the field `file`, NoOwnAccount, NotByFile.
    """
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


def plan_of(session: Session, program_id: int, rail: str, statement: Statement) -> Plan:
    """Each line with what it would do, the ones before it done."""
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
