"""Files of payments for a bank, each made once.

Making a file is the intent: its attempts, its lines and its bytes are one transaction, and
nobody has seen a byte before it is committed. So there is no state between intent and file,
and a process that dies leaves either both or neither. Rule: docs/reliability.md, "Bank files".
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, Phrase
from affiliate.core.money import Money
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program
from payouts.batches.approve import require_finance
from payouts.batches.bank_models import OwnAccountRow, PayoutFile, PayoutFileLine
from payouts.batches.fence import installation_key
from payouts.batches.freeze import lock_batch
from payouts.batches.intents import hash_of_params
from payouts.batches.locks import refuse_while_locked
from payouts.batches.models import (
    PayeeAccount,
    PayoutAttempt,
    PayoutBatch,
    PayoutHold,
    PayoutItem,
)
from payouts.batches.own_accounts import NoOwnAccount, bank_rail, live_own_account, value_of
from payouts.batches.payee_guard import stopped
from payouts.batches.rules import PAYABLE_STATUSES, ItemReason
from payouts.rails.bank import ITEMS_MAX, BankRail, FileOrder, Payment, Written, end_to_end_id
from payouts.rails.bank_details import NotAnAccount
from payouts.rails.registry import Rails


class NothingForAFile(Conflict):
    code = "nothing_for_a_file"
    title = "Everything of this batch that can be paid is in a file already."


class BatchNotPayable(Conflict):
    code = "batch_not_payable"
    title = "This batch is not approved, or is over: there is nothing to make a file of."


class BatchIsStopped(Conflict):
    code = "batch_is_stopped"
    title = "This batch is stopped: nothing of it goes to the bank before somebody resumes it."


class NotThisRailsAccount(Conflict):
    code = "not_this_rails_account"
    title = "The account of a payout is none that the file can carry: hold it."


@dataclass(frozen=True, slots=True)
class _Line:
    """An item that goes into a file, and its attempt."""

    item: PayoutItem
    attempt: int
    """Its number among those of the item."""
    end_to_end_id: str
    document: int

    def payment(self) -> Payment:
        amount = Money(self.item.amount_micros, self.item.currency)
        return Payment(self.end_to_end_id, self.item.destination, amount, self.document)


def make_file(
    session: Session,
    *,
    batch_id: int,
    by_user_id: int,
    rails: Rails,
    now: datetime,
    real_now: datetime,
    items_max: int = ITEMS_MAX,
) -> PayoutFile:
    """Put up to `items_max` payable items of an approved batch into the next file.

    Of two people at once the second finds nothing left. Items whose payee changed since the
    approval, or who cannot be paid, stay behind with the reason. Raises NothingForAFile,
    BatchNotPayable, BatchIsStopped, NotFinance, PayoutsLocked, NoOwnAccount,
    NotThisRailsAccount, NotByFile.
    """
    batch = lock_batch(session, batch_id=batch_id)
    require_finance(session, program_id=batch.program_id, user_id=by_user_id)
    refuse_while_locked(session)
    if batch.status not in ("approved", "paying"):
        raise BatchNotPayable
    if batch.paused_at is not None:
        raise BatchIsStopped
    rail = bank_rail(rails, batch.rail)
    program = _lock_numbers(session, batch.program_id)
    own = live_own_account(session, program_id=program.id, rail=rail.name)
    if own is None:
        raise NoOwnAccount
    _set_aside(session, batch, now)
    items = _payable(session, batch, items_max, now)
    if not items:
        raise NothingForAFile
    lines = _numbered(session, items, program.id)
    number = _next_number(session, program.id)
    made_on = now.astimezone(ZoneInfo(program.time_zone)).date()
    written = _written(
        rail,
        FileOrder(
            own=value_of(own),
            program=program.name,
            number=number,
            made_on=made_on,
            payments=tuple(line.payment() for line in lines),
        ),
    )
    file = _file(batch, program.slug, own, written, lines, number, made_on, by_user_id, now)
    session.add(file)
    session.flush()
    _write_intents(session, file, lines, real_now)
    batch.status = "paying"
    audit.record(
        session, actor=f"user:{by_user_id}", action="file.make", subject=f"file:{file.id}",
        scope=batch.program_id, now=now,
        new={"batch": batch.id, "sha256": file.sha256, "items": file.items},
    )  # fmt: skip
    session.flush()
    return file


def _lock_numbers(session: Session, program_id: int) -> Program:
    """Files and documents are numbered within the program: one file of it is made at a time.

    NO KEY, so that orders and enrollments that refer to the program do not wait.
    """
    return session.scalars(
        sa.select(Program)
        .where(Program.id == program_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).one()


def _payees(batch: PayoutBatch) -> sa.Select[Any]:
    """Items that wait, each with what may be in its way now."""
    return (
        sa.select(PayoutItem.id)
        .join(Enrollment, Enrollment.id == PayoutItem.enrollment_id)
        .outerjoin(
            PayeeAccount,
            sa.and_(
                PayeeAccount.affiliate_id == Enrollment.affiliate_id,
                PayeeAccount.rail == batch.rail,
                PayeeAccount.replaced_at.is_(None),
            ),
        )
        .where(PayoutItem.batch_id == batch.id, PayoutItem.status == "queued")
    )


def _why_not(now: datetime) -> sa.Case[Any]:
    """What keeps an item out of a file: `intents.not_payable` in SQL, null for who is paid."""
    same = sa.func.coalesce(PayeeAccount.destination == PayoutItem.destination, sa.false())
    held = sa.select(PayoutHold.id).where(
        PayoutHold.enrollment_id == Enrollment.id, PayoutHold.lifted_at.is_(None)
    )
    return sa.case(
        (Enrollment.status.not_in(PAYABLE_STATUSES), ItemReason.NOT_ACTIVE.value),
        (held.exists(), ItemReason.ON_HOLD.value),
        (stopped(Enrollment.affiliate_id), ItemReason.PAYEE_STOPPED.value),
        (sa.and_(~same, PayoutItem.released_at.is_not(None)), None),
        (~same, ItemReason.PAYEE_CHANGED.value),
        (PayeeAccount.pays_from > now, ItemReason.COOLING_OFF.value),
        (PayeeAccount.ready_at.is_(None), ItemReason.PAYEE_NOT_READY.value),
        else_=None,
    )


def _set_aside(session: Session, batch: PayoutBatch, now: datetime) -> None:
    """What changed since the approval: the item stays, and says why."""
    why = _why_not(now)
    found = _payees(batch).add_columns(why.label("why")).where(why.is_not(None)).subquery()
    session.execute(
        sa.update(PayoutItem)
        .where(PayoutItem.id == found.c.id)
        .values(reason=found.c.why)
        .execution_options(synchronize_session=False)
    )


def _payable(
    session: Session, batch: PayoutBatch, items_max: int, now: datetime
) -> Sequence[PayoutItem]:
    """Under the batch's lock nobody else moves its items; theirs are taken all the same, as
    every verb that moves an item does."""
    ids = _payees(batch).where(_why_not(now).is_(None)).order_by(PayoutItem.id).limit(items_max)
    return session.scalars(
        sa.select(PayoutItem)
        .where(PayoutItem.id.in_(ids), PayoutItem.status == "queued")
        .order_by(PayoutItem.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()


def _numbered(session: Session, items: Sequence[PayoutItem], program_id: int) -> list[_Line]:
    ids = [item.id for item in items]
    last = dict(
        session.execute(
            sa.select(PayoutAttempt.item_id, sa.func.max(PayoutAttempt.number))
            .where(PayoutAttempt.item_id.in_(ids))
            .group_by(PayoutAttempt.item_id)
        ).all()
    )
    documents = session.scalar(
        sa.select(sa.func.max(PayoutFile.first_document + PayoutFile.items)).where(
            PayoutFile.program_id == program_id
        )
    )
    installation = installation_key(session)
    lines = []
    for document, item in enumerate(items, start=documents or 1):
        number = last.get(item.id, 0) + 1
        known_as = end_to_end_id(installation, item_id=item.id, attempt=number)
        lines.append(_Line(item, number, known_as, document))
    return lines


def _next_number(session: Session, program_id: int) -> int:
    last = session.scalar(
        sa.select(sa.func.max(PayoutFile.number)).where(PayoutFile.program_id == program_id)
    )
    return (last or 0) + 1


def _written(rail: BankRail, order: FileOrder) -> Written:
    try:
        return rail.write(order)
    except NotAnAccount as error:
        shown = rail.account_in_words(str(error))
        raise NotThisRailsAccount(
            Phrase(
                "The account “%(account)s” is none that the file can carry: hold that payout.",
                account=shown,
            )
        ) from error


def _file(
    batch: PayoutBatch, slug: str, own: OwnAccountRow, written: Written,
    lines: Sequence[_Line], number: int, made_on: date, by_user_id: int, now: datetime,
) -> PayoutFile:  # fmt: skip
    return PayoutFile(
        program_id=batch.program_id,
        batch_id=batch.id,
        rail=batch.rail,
        number=number,
        name=f"{slug}-{number:04d}.{written.ending}",
        format=written.format,
        message_id=written.message_id,
        content=written.raw,
        sha256=hashlib.sha256(written.raw).hexdigest(),
        items=len(lines),
        total_micros=sum(line.item.amount_micros for line in lines),
        currency=batch.currency,
        own_account_id=own.id,
        made_on=made_on,
        first_document=lines[0].document,
        made_by=by_user_id,
        made_at=now,
    )


def _write_intents(
    session: Session, file: PayoutFile, lines: Sequence[_Line], real_now: datetime
) -> None:
    """Each item's attempt with its stored parameters, and its line in the file."""
    installation = installation_key(session)
    made = session.execute(
        insert(PayoutAttempt)
        .values([_attempt(line, file, installation, real_now) for line in lines])
        .returning(PayoutAttempt.item_id, PayoutAttempt.id)
    ).all()
    attempts = dict(made)
    session.execute(
        insert(PayoutFileLine).values(
            [
                {
                    "attempt_id": attempts[line.item.id],
                    "file_id": file.id,
                    "end_to_end_id": line.end_to_end_id,
                    "document": line.document,
                }
                for line in lines
            ]
        )
    )
    for line in lines:
        line.item.status, line.item.reason, line.item.next_try_at = "sending", None, None


def _attempt(
    line: _Line, file: PayoutFile, installation: str, real_now: datetime
) -> dict[str, Any]:
    item = line.item
    params = {
        "amount_micros": item.amount_micros,
        "currency": item.currency,
        "destination": item.destination,
        "item_id": item.id,
        "attempt": line.attempt,
        "group": f"file:{file.id}",
        "installation": installation,
        "end_to_end_id": line.end_to_end_id,
    }
    return {
        "item_id": item.id,
        "number": line.attempt,
        "idempotency_key": f"bank:{line.end_to_end_id}",
        "params": params,
        "request_hash": hash_of_params(params),
        "amount_micros": item.amount_micros,
        "currency": item.currency,
        "destination": item.destination,
        "status": "sent",
        "tries": 1,
        "first_sent_at": real_now,
        "last_tried_at": real_now,
    }
