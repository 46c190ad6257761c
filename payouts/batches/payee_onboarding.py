"""Accounts that a provider makes for affiliates: intent, call, answer, each on disk in turn.

As with transfers the intent is committed with its key and parameters before the provider is
called, and the edge calls between two transactions: a crash, a double click or a lost answer
leads to the same account. Rule: docs/reliability.md, "Accounts at the provider".
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import Invalid
from affiliate.people.models import Enrollment
from payouts.batches.fence import installation_key
from payouts.batches.models import PayeeAccount, PayoutBatch, PayoutItem
from payouts.batches.payee_guard import lock_affiliate, refuse_stopped
from payouts.batches.payee_models import PayeeOnboarding
from payouts.batches.payees import COOLING_OFF, NamedFrom, payee_of, set_payee
from payouts.batches.rules import ItemReason
from payouts.ledger.accounts import AccountKind
from payouts.ledger.models import LedgerAccount, LedgerBalance
from payouts.rails.protocol import NewAccount

ASK_AGAIN_S = 1_800
"""An account that is not ready although money waits for it is asked about this often."""
READY_ASK_AGAIN_S = 86_400
"""A ready one for which money waits, so often: a lost webhook would hide another bank account."""
ASK_ROWS_MAX = 50


@dataclass(frozen=True, slots=True)
class Intent:
    """An account that is to be made, as it stands on disk."""

    onboarding_id: int
    key: str
    new: NewAccount


def intend_account(
    session: Session,
    *,
    affiliate_id: int,
    rail: str,
    country: str,
    countries: tuple[str, ...],
    cross_border: bool,
    instead_of: int | None,
    by: str,
    now: datetime,
) -> Intent | None:
    """Write that an account is to be made; None when the affiliate has theirs already.

    `instead_of` is the row of the account that the new one replaces: only the account that
    was seen is replaced, so that the same form sent twice makes one. An intent that is open
    is returned as it was first written, whatever is asked for now: its answer may be on the
    way. Raises Invalid for a country that the provider does not serve, PayeeStopped.
    """
    if country not in countries:
        raise Invalid.field("country", "not_served", "Choose a country of the list.")
    lock_affiliate(session, affiliate_id)
    refuse_stopped(session, affiliate_id=affiliate_id)
    found = _open(session, affiliate_id, rail)
    if found is not None:
        return _intent(found)
    live = payee_of(session, affiliate_id=affiliate_id, rail=rail)
    if live is not None and live.id != instead_of:
        return None
    number = (session.scalar(_last_number(affiliate_id, rail)) or 0) + 1
    installation = installation_key(session)
    new = NewAccount(affiliate_id, installation, country, cross_border)
    row = PayeeOnboarding(
        affiliate_id=affiliate_id,
        rail=rail,
        number=number,
        idempotency_key=f"acct:{installation}:{affiliate_id}:{number}",
        params=asdict(new),
        asked_by=by,
        asked_at=now,
    )
    session.add(row)
    session.flush()
    return _intent(row)


def account_made(
    session: Session,
    *,
    onboarding_id: int,
    account: str,
    by: str,
    now: datetime,
    cooling: timedelta = COOLING_OFF,
    named_from: NamedFrom | None = None,
) -> int | None:
    """Write the provider's answer: money of the rail goes there once it is ready; its row.

    None when the answer is written already: then nothing is told twice.
    """
    row = _lock(session, onboarding_id)
    if row.ended_at is not None:
        return None
    row.account, row.ended_at = account, now
    session.flush()
    return set_payee(
        session,
        affiliate_id=row.affiliate_id,
        rail=row.rail,
        destination=account,
        ready=False,
        by=by,
        now=now,
        cooling=cooling,
        named_from=named_from,
    )


def account_refused(session: Session, *, onboarding_id: int, code: str, now: datetime) -> None:
    """Write a definite no: the next try may ask for something else, under another key."""
    row = _lock(session, onboarding_id)
    if row.ended_at is None:
        row.refusal, row.ended_at = code, now
        session.flush()


def to_ask_about(session: Session, *, rails: tuple[str, ...], real_now: datetime) -> list[int]:
    """Accounts for which money waits: those that are not ready first, then by the last question.

    Money waits in an available balance, or in a payout that is parked for the account.
    """
    asleep = sa.case((PayeeAccount.ready_at.is_(None), ASK_AGAIN_S), else_=READY_ASK_AGAIN_S)
    theirs = sa.select(Enrollment.id).where(Enrollment.affiliate_id == PayeeAccount.affiliate_id)
    balance = (
        sa.select(LedgerBalance.account_id)
        .join(LedgerAccount, LedgerAccount.id == LedgerBalance.account_id)
        .where(
            LedgerAccount.enrollment_id.in_(theirs),
            LedgerAccount.kind == AccountKind.AVAILABLE.value,
            LedgerBalance.amount_micros > 0,
        )
    )
    parked = (
        sa.select(PayoutItem.id)
        .join(PayoutBatch, PayoutBatch.id == PayoutItem.batch_id)
        .where(
            PayoutItem.enrollment_id.in_(theirs),
            PayoutItem.status == "queued",
            PayoutItem.reason == ItemReason.PAYEE_NOT_READY.value,
        )
    )
    return list(
        session.scalars(
            sa.select(PayeeAccount.id)
            .where(
                PayeeAccount.rail.in_(rails),
                PayeeAccount.replaced_at.is_(None),
                sa.or_(
                    PayeeAccount.asked_at.is_(None),
                    PayeeAccount.asked_at + asleep * sa.text("interval '1 second'") < real_now,
                ),
                sa.or_(balance.exists(), parked.exists()),
            )
            .order_by(
                PayeeAccount.ready_at.is_not(None),
                PayeeAccount.asked_at.nulls_first(),
                PayeeAccount.id,
            )
            .limit(ASK_ROWS_MAX)
        )
    )


def _open(session: Session, affiliate_id: int, rail: str) -> PayeeOnboarding | None:
    return session.scalars(
        sa.select(PayeeOnboarding)
        .where(
            PayeeOnboarding.affiliate_id == affiliate_id,
            PayeeOnboarding.rail == rail,
            PayeeOnboarding.ended_at.is_(None),
        )
        .execution_options(populate_existing=True)
    ).one_or_none()


def _last_number(affiliate_id: int, rail: str) -> sa.Select[int | None]:
    return sa.select(sa.func.max(PayeeOnboarding.number)).where(
        PayeeOnboarding.affiliate_id == affiliate_id, PayeeOnboarding.rail == rail
    )


def _lock(session: Session, onboarding_id: int) -> PayeeOnboarding:
    """The affiliate's row first, as whoever names an account does."""
    affiliate_id = session.scalars(
        sa.select(PayeeOnboarding.affiliate_id).where(PayeeOnboarding.id == onboarding_id)
    ).one()
    lock_affiliate(session, affiliate_id)
    return session.get_one(PayeeOnboarding, onboarding_id, populate_existing=True)


def _intent(row: PayeeOnboarding) -> Intent:
    return Intent(row.id, row.idempotency_key, NewAccount(**row.params))
