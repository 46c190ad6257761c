"""The account that a program pays from by bank file, and what a payout costs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, Invalid, Phrase
from affiliate.core.money import Money
from affiliate.programs.models import Program
from payouts.batches.bank_models import OwnAccountRow, RailCost
from payouts.rails.bank import BankRail, OwnAccount
from payouts.rails.protocol import Rail
from payouts.rails.registry import Rails, rail_named

FEE_MICROS_MAX = 1_000_000_000
"""A thousand of the currency: a fee above it is a mistake of typing."""


class NoOwnAccount(Conflict):
    code = "no_own_account"
    title = "Nobody has named the account that this program pays from; a manager does it."


class NotByFile(Conflict):
    code = "not_by_bank_file"
    title = "This rail pays without files for a bank."


def bank_rail(rails: Rails, name: str) -> BankRail:
    """The rail, if it pays by file. Raises NotByFile, NoSuchRail."""
    rail = rail_named(rails, name)
    if not isinstance(rail, BankRail):
        raise NotByFile
    return rail


def set_own_account(
    session: Session,
    *,
    program_id: int,
    rail: str,
    typed: Mapping[str, str],
    rails: Rails,
    by: int | None,
    now: datetime,
) -> int:
    """Name the account that files pay from, from now on; its id. The same again changes nothing.

    Files that are made keep theirs. Raises Invalid, which names the field; NotByFile.
    """
    account = bank_rail(rails, rail).own_account(typed)
    # The program's row serialises two changes at once: one live account a rail.
    session.execute(
        sa.select(Program.id).where(Program.id == program_id).with_for_update(key_share=True)
    )
    old = live_own_account(session, program_id=program_id, rail=rail)
    if old is not None and (old.details, old.options) == (account.details, account.options):
        return old.id
    if old is not None:
        old.replaced_at = now
        session.flush()
    new = OwnAccountRow(
        program_id=program_id,
        rail=rail,
        details=account.details,
        options=dict(account.options),
        created_by=by,
        created_at=now,
    )
    session.add(new)
    session.flush()
    audit.record(
        session, actor=audit.by_user(by), action="own_account.change",
        subject=f"program:{program_id}", scope=program_id, now=now,
        old={"details": old.details, **old.options} if old else None,
        new={"rail": rail, "details": account.details, **account.options},
    )  # fmt: skip
    return new.id


def live_own_account(session: Session, *, program_id: int, rail: str) -> OwnAccountRow | None:
    """The account that the program pays from now; none: nobody has named one."""
    return session.scalars(
        sa.select(OwnAccountRow)
        .where(
            OwnAccountRow.program_id == program_id,
            OwnAccountRow.rail == rail,
            OwnAccountRow.replaced_at.is_(None),
        )
        .execution_options(populate_existing=True)
    ).one_or_none()


def own_accounts(session: Session, *, program_id: int, rail: str) -> Sequence[OwnAccountRow]:
    """Every account that the program pays from or has paid from, the one in use first."""
    return session.scalars(
        sa.select(OwnAccountRow)
        .where(OwnAccountRow.program_id == program_id, OwnAccountRow.rail == rail)
        .order_by(OwnAccountRow.id.desc())
    ).all()


def value_of(row: OwnAccountRow) -> OwnAccount:
    """The row as the rail takes it."""
    return OwnAccount(row.details, row.options)


def refuse_without_own_account(session: Session, *, program_id: int, rail: Rail) -> None:
    """Before an approval: a batch that could not be paid is not approved. Raises NoOwnAccount."""
    if not isinstance(rail, BankRail):
        return
    if live_own_account(session, program_id=program_id, rail=rail.name) is None:
        raise NoOwnAccount


def set_fee(
    session: Session, *, program_id: int, rail: str, fee: Money, by: int | None, now: datetime
) -> None:
    """Say what one payout by a rail costs; the program bears it. Raises Invalid."""
    if not 0 <= fee.micros <= FEE_MICROS_MAX:
        message = Phrase("Write what one payout costs: from 0 to 1,000.")
        raise Invalid.field("fee", "out_of_range", message)
    old = fee_of(session, program_id=program_id, rail=rail, currency=fee.currency)
    if old == fee:
        return
    row = insert(RailCost).values(program_id=program_id, rail=rail, fee_micros=fee.micros)
    session.execute(
        row.on_conflict_do_update(
            index_elements=["program_id", "rail"], set_={"fee_micros": fee.micros}
        )
    )
    audit.record(
        session, actor=audit.by_user(by), action="rail_cost.change",
        subject=f"program:{program_id}", scope=program_id, now=now,
        old={"fee": str(old)} if old is not None else None,
        new={"rail": rail, "fee": str(fee)},
    )  # fmt: skip


def fee_of(session: Session, *, program_id: int, rail: str, currency: str) -> Money | None:
    """What one payout costs the program; none: nobody has said it."""
    micros = session.scalar(
        sa.select(RailCost.fee_micros).where(
            RailCost.program_id == program_id, RailCost.rail == rail
        )
    )
    return None if micros is None else Money(micros, currency)
