"""The bank account behind a provider's account is changed over there, and its id stays.

Whoever holds an affiliate's sign-in at the provider could lead their money away without us
seeing a change. So another bank is what another account is: a new row, a letter, the wait.
Rule: docs/security.md, A29; docs/decisions/0022-payee-accounts.md.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog
from flask import current_app
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.config import Settings
from payouts.batches.models import PayeeAccount
from payouts.batches.payee_letters import tell_of_bank
from payouts.batches.payee_rules import Naming, pays_from
from payouts.rails.bank_details import in_a_log
from payouts.rails.protocol import AccountState

BY = "system:payees"

log = structlog.get_logger(__name__)


def of_another_bank(
    session: Session, *, row: PayeeAccount, state: AccountState, now: datetime
) -> PayeeAccount | None:
    """The row that replaces this live one when its bank is another than was known; else None.

    Approved items have the same destination and wait with it. The bank that is seen first is
    no change; the former one, given back while the wait runs, costs no new wait.
    """
    known = bank_of(row)
    if state.bank is None or known in (None, state.bank):
        return None
    settings: Settings = current_app.extensions["kopeck.settings"]
    former = former_of(session, payee=row)
    undoes = (
        former is not None
        and former.destination == row.destination
        and bank_of(former) == state.bank
    )
    naming = Naming(
        row.destination, row.pays_from, undoes, former.pays_from if former else None, False
    )
    row.replaced_at = now
    session.flush()
    new = PayeeAccount(
        affiliate_id=row.affiliate_id,
        rail=row.rail,
        destination=row.destination,
        ready_at=row.ready_at,
        created_at=now,
        pays_from=pays_from(naming, now=now, cooling=timedelta(hours=settings.payee_cooling_off_h)),
        named_by=BY,
        state=row.state,
        asked_at=row.asked_at,
    )
    session.add(new)
    session.flush()
    audit.record(
        session, actor=BY, action="payee.bank_change", subject=f"affiliate:{row.affiliate_id}",
        now=now, old={"bank": row.state and row.state.get("bank_masked")},
        new={
            "rail": row.rail,
            "destination": in_a_log(row.destination),
            "bank": state.bank_masked,
            "pays_from": new.pays_from and new.pays_from.isoformat(),
        },
    )  # fmt: skip
    tell_of_bank(session, payee_id=new.id, bank=state.bank_masked, settings=settings, now=now)
    log.warning("payee.bank_changed", affiliate=row.affiliate_id, payee=new.id)
    return new


def bank_to_keep(row: PayeeAccount, state: AccountState) -> dict[str, Any]:
    """For the row's state. A bank that was taken away stays known: what comes is a change."""
    if state.bank is not None:
        return {"bank": state.bank, "bank_masked": state.bank_masked}
    known = row.state or {}
    return {name: known[name] for name in ("bank", "bank_masked") if name in known}


def bank_of(row: PayeeAccount) -> str | None:
    """What tells the bank that was known for this row from another."""
    return None if row.state is None else row.state.get("bank")


def changed_bank_alone(payee: PayeeAccount) -> bool:
    """Whether this row differs from the one before in the bank behind it, and nothing else.

    Not by the same destination: an account that was taken away can be named again.
    """
    return payee.named_by == BY


def former_of(session: Session, *, payee: PayeeAccount) -> PayeeAccount | None:
    """The account that this one replaced."""
    return session.scalars(
        sa.select(PayeeAccount)
        .where(
            PayeeAccount.affiliate_id == payee.affiliate_id,
            PayeeAccount.rail == payee.rail,
            PayeeAccount.id < payee.id,
        )
        .order_by(PayeeAccount.id.desc())
        .limit(1)
        .execution_options(populate_existing=True)
    ).one_or_none()
