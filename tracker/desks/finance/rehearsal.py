"""What the batch's page shows of the dry run: what the rail said, when, and to whom."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import ids
from affiliate.core.money import Money
from affiliate.people.models import Affiliate, Enrollment, User
from payouts.batches.models import PayoutItem
from payouts.provider.models import BatchRehearsal
from payouts.provider.rehearse import last_rehearsal
from payouts.rails.bank import ITEMS_MAX, BankRail
from payouts.rails.protocol import Rail
from payouts.rails.rehearsal import Objection
from tracker.desks.finance.blueprint import ITEM, known_rails
from tracker.desks.finance.questions import BatchLine
from tracker.desks.words import _, ngettext

SHOWN_MAX = 50


@dataclass(frozen=True)
class ObjectionLine:
    """A payout and what the rail has against it."""

    item: str
    affiliate: str
    amount: Money
    why: Objection
    code: str


@dataclass(frozen=True)
class Looked:
    """The last look at the batch as it is now."""

    row: BatchRehearsal
    by: str
    funds: Money | None
    short: Money | None
    """What the balance lacks for this batch alone."""
    promised: Money
    short_together: bool
    """It covers the batch, but not what is approved and still to leave besides."""
    lines: list[ObjectionLine]

    @property
    def at(self) -> datetime:
        return self.row.asked_at

    @property
    def hidden(self) -> int:
        return self.row.objections_in_all - len(self.lines)

    @property
    def left(self) -> int:
        """Payouts whose accounts were not looked at."""
        return self.row.payouts - self.row.asked

    @property
    def sound(self) -> int:
        return self.row.asked - self.row.objections_in_all


@dataclass(frozen=True)
class DryRun:
    """The card of a batch that waits for approval."""

    way: str
    """provider, file or nobody: who can be asked."""
    configured: bool
    looked: Looked | None


def dry_run(session: Session, *, line: BatchLine) -> DryRun | None:
    """None for a batch that does not wait for approval, or is on a rail that is not there."""
    rail = known_rails().get(line.batch.rail)
    if line.batch.status != "frozen" or rail is None:
        return None
    way = _way(rail)
    row = None if way == "nobody" else last_rehearsal(session, batch=line.batch)
    looked = None if row is None else _looked(session, line, row)
    return DryRun(way, rail.configured(), looked)


def files(payouts: int) -> int:
    """How many files so many payouts make."""
    return -(-payouts // ITEMS_MAX)


def away_in_words(code: str) -> str:
    """Why nothing is known of the balance and the accounts, and what that means."""
    if code == "other_account":
        return _(
            "The API key is of another account than payouts were made from. Nothing can be sent "
            "until the key is put right."
        )
    if code.startswith(("authenticationerror", "permissionerror")):
        return _("The provider refuses our key; check the settings. Nothing can be sent meanwhile.")
    return _(
        "The provider does not answer now (%(code)s), so balance and accounts are not known. "
        "The batch can be approved all the same: its payouts wait until it answers.",
        code=code,
    )


def objection_in_words(why: Objection) -> str:
    """What would become of the payout."""
    return {
        Objection.UNSOUND: _(
            "These details are none that a file can carry: hold it, so that a file can be made."
        ),
        Objection.NOT_READY: _(
            "The account cannot receive now; the payout would wait until it can."
        ),
        Objection.GONE: _(
            "The account is closed, or closed to us; the payout would be refused and its amount "
            "returned to the balance."
        ),
    }[why]


def accounts_in_words(looked: Looked) -> str:
    """How many accounts were looked at, and how many of them are well."""
    row = looked.row
    if looked.left:
        return _(
            "%(asked)s of %(payouts)s accounts looked at, the largest payouts first; %(sound)s can "
            "be paid to. The others could when the provider last spoke of them.",
            asked=row.asked, payouts=row.payouts, sound=looked.sound,
        )  # fmt: skip
    if row.objections_in_all:
        return _(
            "%(sound)s of %(payouts)s accounts can be paid to.",
            sound=looked.sound, payouts=row.payouts,
        )  # fmt: skip
    return ngettext(
        "%(num)s account looked at: it can be paid to.",
        "%(num)s accounts looked at: all can be paid to.",
        row.payouts,
    )


def _way(rail: Rail) -> str:
    if isinstance(rail, BankRail):
        return "file"
    return "nobody" if rail.by_hand else "provider"


def _looked(session: Session, line: BatchLine, row: BatchRehearsal) -> Looked:
    by = session.execute(sa.select(User.name, User.email).where(User.id == row.asked_by)).one()
    funds = None if row.funds_micros is None else line.money(row.funds_micros)
    promised = line.money(row.promised_micros)
    return Looked(
        row=row,
        by=by.name or by.email,
        funds=funds,
        short=line.total - funds if funds is not None and funds < line.total else None,
        promised=promised,
        short_together=funds is not None and funds < line.total + promised,
        lines=_lines(session, row),
    )


def _lines(session: Session, row: BatchRehearsal) -> list[ObjectionLine]:
    said = {item_id: (Objection(why), code) for item_id, why, code in row.objections[:SHOWN_MAX]}
    if not said:
        return []
    rows = session.execute(
        sa.select(PayoutItem, Affiliate.name)
        .join(Enrollment, Enrollment.id == PayoutItem.enrollment_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .where(PayoutItem.id.in_(said))
        .order_by(PayoutItem.amount_micros.desc(), PayoutItem.id)
    )
    return [
        ObjectionLine(
            ids.public_id(ITEM, item.id), name, Money(item.amount_micros, item.currency),
            *said[item.id],
        )
        for item, name in rows
    ]  # fmt: skip
