"""Erase what this package holds of an affiliate beside the books: accounts, tax data, mirrors."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from payouts.batches.models import PayeeAccount, PayoutHold, PayoutItem
from payouts.batches.payee_models import PayeeOnboarding, PayeeStop
from payouts.commissions.models import Commission
from payouts.invoices.models import TaxProfile
from payouts.provider.models import EventCursor, SeenAccount, SeenBankPayout

ERASED = "erased"
_SHOWING_ACCOUNTS = ("item.release_to_approved",)
"""Entries about payouts that name accounts in part; the others name numbers."""


def erase_payee(
    session: Session, *, affiliate_id: int, enrollment_ids: Sequence[int], now: datetime
) -> None:
    """Erase it all, in the caller's transaction; again changes nothing more.

    What was frozen, sent, stated and billed keeps the account and the party that it was for
    (books). Whether money is open is asked before, by `refuse_while_owed`.
    """
    _forget_mirrors(session, affiliate_id)
    _forget_accounts(session, affiliate_id, now)
    _forget_tax_data(session, affiliate_id, enrollment_ids)
    held = PayoutHold.enrollment_id.in_(enrollment_ids)
    _update(session, PayoutHold, held, reason="")
    _update(session, PayoutHold, sa.and_(held, PayoutHold.lifted_at.is_not(None)), lift_reason="")
    _forget_reasons(session, enrollment_ids)


def _forget_reasons(session: Session, enrollment_ids: Sequence[int]) -> None:
    """Why somebody decided on their payouts, orders and leads, as the audit log quotes it."""
    items = session.scalars(
        sa.select(PayoutItem.id).where(PayoutItem.enrollment_id.in_(enrollment_ids))
    )
    subjects = [f"item:{item_id}" for item_id in items]
    audit.empty(session, subjects=subjects, only=_SHOWING_ACCOUNTS)
    audit.empty_reasons(session, subjects=subjects)
    # A commission's reference is what the log calls the order, lead or clicks behind it.
    earned = sa.select(Commission.reference).where(Commission.enrollment_id.in_(enrollment_ids))
    audit.empty_reasons(session, subjects=earned)


def _forget_mirrors(session: Session, affiliate_id: int) -> None:
    """What providers showed of the accounts; their transfers are books."""
    mine = (
        sa.select(PayeeAccount.rail, PayeeAccount.destination)
        .where(PayeeAccount.affiliate_id == affiliate_id)
        .union(
            sa.select(PayeeOnboarding.rail, PayeeOnboarding.account).where(
                PayeeOnboarding.affiliate_id == affiliate_id, PayeeOnboarding.account.is_not(None)
            )
        )
    )
    accounts = session.execute(mine).all()
    for model, column in (
        (SeenAccount, SeenAccount.id),
        (SeenBankPayout, SeenBankPayout.account),
        (EventCursor, EventCursor.account),
    ):
        session.execute(
            sa.delete(model)
            .where(sa.tuple_(model.rail, column).in_([tuple(each) for each in accounts]))
            .execution_options(synchronize_session=False)
        )


def _forget_accounts(session: Session, affiliate_id: int, now: datetime) -> None:
    mine = PayeeAccount.affiliate_id == affiliate_id
    _update(
        session, PayeeAccount, mine,
        destination=sa.func.concat(f"{ERASED}:", PayeeAccount.id), state=sa.null(), ready_at=None,
        named_network=None, named_browser=None,
        replaced_at=sa.func.coalesce(PayeeAccount.replaced_at, now),
    )  # fmt: skip
    _update(session, PayeeStop, PayeeStop.affiliate_id == affiliate_id, why=None)
    asked = PayeeOnboarding.affiliate_id == affiliate_id
    _update(
        session, PayeeOnboarding, sa.and_(asked, PayeeOnboarding.ended_at.is_(None)),
        ended_at=now, refusal=ERASED,
    )  # fmt: skip
    _update(session, PayeeOnboarding, asked, params={})
    _update(
        session, PayeeOnboarding, sa.and_(asked, PayeeOnboarding.account.is_not(None)),
        account=sa.func.concat(f"{ERASED}:", PayeeOnboarding.id),
    )  # fmt: skip


def _forget_tax_data(session: Session, affiliate_id: int, enrollment_ids: Sequence[int]) -> None:
    """Of whom nothing was ever paid: else the next invoice may have to name them."""
    paid = sa.select(PayoutItem.id).where(
        PayoutItem.enrollment_id.in_(enrollment_ids), PayoutItem.paid_at.is_not(None)
    )
    session.execute(
        sa.delete(TaxProfile)
        .where(TaxProfile.affiliate_id == affiliate_id, ~paid.exists())
        .execution_options(synchronize_session=False)
    )


def _update(session: Session, model: type, where: sa.ColumnElement[bool], **values: object) -> None:
    session.execute(
        sa.update(model).where(where).values(**values).execution_options(synchronize_session=False)
    )
