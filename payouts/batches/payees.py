"""Where an affiliate's money goes. A change makes a new row; approved items keep the old."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Invalid
from affiliate.people import addresses
from affiliate.people.models import Affiliate, Enrollment
from payouts.batches.models import PayeeAccount, PayoutBatch, PayoutItem
from payouts.batches.payee_banks import bank_to_keep, former_of, of_another_bank
from payouts.batches.payee_guard import lock_affiliate, refuse_stopped
from payouts.batches.payee_rules import COOLING_OFF_H, Naming, pays_from
from payouts.batches.rules import ItemReason
from payouts.rails.bank_details import in_a_log
from payouts.rails.protocol import AccountState, Need, Standing

DESTINATION_CHARS_MAX = 500
COOLING_OFF = timedelta(hours=COOLING_OFF_H)


@dataclass(frozen=True, slots=True)
class NamedFrom:
    """From where an account was named, as far as it may be kept."""

    network: str
    """Keyed hash: equal marks are one network."""
    browser: str
    """known, new or unknown."""


@dataclass(frozen=True, slots=True)
class Payee:
    """The live account of one affiliate on one rail."""

    id: int
    destination: str
    ready: bool
    since: datetime
    pays_from: datetime | None = None
    """When its cooling-off period ends; none: it has none."""
    state: AccountState | None = None
    """What the provider said last; none where no provider keeps the account."""

    def cools(self, now: datetime) -> bool:
        """Whether nothing is paid to it yet."""
        return self.pays_from is not None and self.pays_from > now


def set_payee(
    session: Session,
    *,
    affiliate_id: int,
    rail: str,
    destination: str,
    ready: bool,
    by: str,
    now: datetime,
    cooling: timedelta = COOLING_OFF,
    named_from: NamedFrom | None = None,
) -> int:
    """Name the account that money of this rail goes to from now on; its id.

    The same destination again only renews whether it is ready. Items that are frozen keep
    the destination they were approved with. Raises Invalid for an empty or endless one,
    PayeeStopped while a person has to look at the one before.
    """
    destination = destination.strip()
    if not 0 < len(destination) <= DESTINATION_CHARS_MAX:
        raise Invalid.field("destination", "not_an_account", "Name the account to pay to.")
    lock_affiliate(session, affiliate_id)
    old = _live(session, affiliate_id, rail)
    if old is not None and old.destination == destination:
        old.ready_at = (old.ready_at or now) if ready else None
        session.flush()
        return old.id
    refuse_stopped(session, affiliate_id=affiliate_id)
    naming = _naming(session, affiliate_id, rail, old, destination, now)
    if old is not None:
        old.replaced_at = now
        session.flush()
    new = PayeeAccount(
        affiliate_id=affiliate_id,
        rail=rail,
        destination=destination,
        ready_at=now if ready else None,
        created_at=now,
        pays_from=pays_from(naming, now=now, cooling=cooling),
        named_by=by,
        named_network=named_from and named_from.network,
        named_browser=named_from and named_from.browser,
    )
    session.add(new)
    session.flush()
    audit.record(
        session, actor=by, action="payee.change", subject=f"affiliate:{affiliate_id}", now=now,
        old={"destination": in_a_log(old.destination)} if old else None,
        new={
            "rail": rail,
            "destination": in_a_log(destination),
            "pays_from": new.pays_from and new.pays_from.isoformat(),
            **(asdict(named_from) if named_from else {}),
        },
    )  # fmt: skip
    return new.id


def payee_of(session: Session, *, affiliate_id: int, rail: str) -> Payee | None:
    """The live account, if one was named."""
    row = _live(session, affiliate_id, rail)
    return None if row is None else as_payee(row)


def as_payee(row: PayeeAccount) -> Payee:
    """A row as a value."""
    return Payee(
        row.id,
        row.destination,
        row.ready_at is not None,
        row.created_at,
        row.pays_from,
        _state(row),
    )


def history(
    session: Session, *, affiliate_id: int, rail: str | None = None, rows_max: int = 20
) -> list[PayeeAccount]:
    """Accounts that were named, newest first; of every rail when none is given."""
    query = sa.select(PayeeAccount).where(PayeeAccount.affiliate_id == affiliate_id)
    if rail is not None:
        query = query.where(PayeeAccount.rail == rail)
    rows = query.order_by(PayeeAccount.id.desc()).limit(rows_max)
    return list(session.scalars(rows.execution_options(populate_existing=True)))


def set_ready(session: Session, *, payee_id: int, ready: bool, now: datetime) -> None:
    """Note what the rail says of an account."""
    session.execute(
        sa.update(PayeeAccount)
        .where(PayeeAccount.id == payee_id, PayeeAccount.ready_at.is_(None) == ready)
        .values(ready_at=now if ready else None)
        .execution_options(synchronize_session=False)
    )


def refresh_payee(
    session: Session,
    *,
    payee_id: int | None = None,
    account: str | None = None,
    state: AccountState,
    now: datetime,
    asked_at: datetime | None = None,
) -> bool:
    """Write what a provider says of an account: of one row, or of whoever is paid to `account`.

    `asked_at` is the real time before it was asked: what was asked before an answer that is
    written already changes nothing, so that two answers may arrive in any order. Payouts that
    wait for the account move on once it is ready. Where another bank account is behind it, it
    is named anew, with letter and safety wait. True when its readiness or its bank changed.
    """
    if (payee_id is None) == (account is None):
        raise TypeError("name the row or the account")
    wanted = PayeeAccount.id == payee_id if account is None else PayeeAccount.destination == account
    live = (wanted, PayeeAccount.replaced_at.is_(None))
    # Before the rows, as everybody does who names another account.
    for affiliate_id in session.scalars(sa.select(PayeeAccount.affiliate_id).where(*live)).all():
        lock_affiliate(session, affiliate_id)
    rows = session.scalars(
        sa.select(PayeeAccount)
        .where(*live)
        .order_by(PayeeAccount.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    changed = [_write_state(session, row, state, asked_at, now) for row in rows]
    return any(changed)


def ring(session: Session, *, affiliate_id: int, reason: ItemReason, rail: str | None) -> int:
    """Let payouts that are parked for this reason move now; how many there were."""
    from payouts.batches.jobs import execute_batch

    parked = (
        sa.select(PayoutItem.id, PayoutItem.batch_id)
        .join(PayoutBatch, PayoutBatch.id == PayoutItem.batch_id)
        .join(Enrollment, Enrollment.id == PayoutItem.enrollment_id)
        .where(
            Enrollment.affiliate_id == affiliate_id,
            PayoutItem.status == "queued",
            PayoutItem.reason == reason.value,
            PayoutBatch.rail == rail if rail is not None else sa.true(),
        )
        .order_by(PayoutItem.id)
        .with_for_update(of=PayoutItem)
    )
    found = session.execute(parked).all()
    session.execute(
        sa.update(PayoutItem)
        .where(PayoutItem.id.in_([item_id for item_id, _batch in found]))
        .values(next_try_at=None, reason=None)
        .execution_options(synchronize_session=False)
    )
    for batch_id in sorted({batch_id for _item, batch_id in found}):
        execute_batch.after_commit(session, batch_id)
    return len(found)


def _write_state(
    session: Session,
    row: PayeeAccount,
    state: AccountState,
    asked_at: datetime | None,
    now: datetime,
) -> bool:
    if asked_at is not None and row.asked_at is not None and asked_at < row.asked_at:
        return False
    other = of_another_bank(session, row=row, state=state, now=now)
    row = other or row
    if other is not None and not as_payee(other).cools(now):
        reason = ItemReason.COOLING_OFF
        ring(session, affiliate_id=row.affiliate_id, reason=reason, rail=row.rail)
    was, before = row.ready_at is not None, row.state
    row.asked_at = asked_at or row.asked_at
    row.state = {
        "standing": state.standing.value,
        "needs": [need.value for need in state.needs],
        "disabled_reason": state.disabled_reason,
        "needed_by": state.needed_by and state.needed_by.isoformat(),
        **bank_to_keep(row, state),
    }
    row.ready_at = (row.ready_at or now) if state.ready else None
    session.flush()
    if was == state.ready:
        return other is not None
    audit.record(
        session, actor="system:payees", action="payee.ready" if state.ready else "payee.not_ready",
        subject=f"affiliate:{row.affiliate_id}", now=now, old=before, new=row.state,
    )  # fmt: skip
    if state.ready:
        ring(
            session, affiliate_id=row.affiliate_id, reason=ItemReason.PAYEE_NOT_READY,
            rail=row.rail,
        )  # fmt: skip
    return True


def _state(row: PayeeAccount) -> AccountState | None:
    if row.state is None:
        return None
    needed_by = row.state["needed_by"]
    return AccountState(
        ready=row.ready_at is not None,
        standing=Standing(row.state["standing"]),
        needs=tuple(Need(each) for each in row.state["needs"]),
        disabled_reason=row.state["disabled_reason"],
        needed_by=datetime.fromisoformat(needed_by) if needed_by else None,
        bank=row.state.get("bank"),
        bank_masked=row.state.get("bank_masked"),
    )


def _naming(
    session: Session,
    affiliate_id: int,
    rail: str,
    old: PayeeAccount | None,
    destination: str,
    now: datetime,
) -> Naming:
    if old is None:
        # An account that was taken away again leaves an affiliate who names anew, not a first.
        named = history(session, affiliate_id=affiliate_id, rail=rail, rows_max=1)
        user_id = session.scalars(
            sa.select(Affiliate.user_id).where(Affiliate.id == affiliate_id)
        ).one()
        changed = addresses.changed_lately(session, user_id=user_id, now=now)
        before = named[0].destination if named else None
        return Naming(before, None, False, None, changed)
    former = former_of(session, payee=old)
    undoes = former is not None and former.destination == destination
    return Naming(
        old.destination, old.pays_from, undoes, former.pays_from if former else None, False
    )


def _live(session: Session, affiliate_id: int, rail: str) -> PayeeAccount | None:
    return session.scalars(
        sa.select(PayeeAccount)
        .where(
            PayeeAccount.affiliate_id == affiliate_id,
            PayeeAccount.rail == rail,
            PayeeAccount.replaced_at.is_(None),
        )
        .execution_options(populate_existing=True)
    ).one_or_none()
