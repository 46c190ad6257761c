"""Money: where it stands, asking for it, the account that it goes to, what was paid."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa
from flask import current_app, flash, make_response, redirect, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from affiliate.core.db import db
from affiliate.core.errors import Refusal
from affiliate.core.http import leads_to, only_value
from affiliate.core.ids import public_id
from affiliate.core.money import Money, MoneyError, exponent
from affiliate.core.pages import duration, moment, money
from affiliate.people import freshness
from affiliate.people.access import affiliates
from payouts.adjustments.reading import AdjustmentView, adjustments_of
from payouts.batches.choices import choice_of
from payouts.batches.draft import schedule_of
from payouts.batches.models import PayoutAttempt, PayoutBatch, PayoutItem, Withdrawal
from payouts.batches.money_letters import ITEM
from payouts.batches.on_time import Measured, Punctuality, punctuality
from payouts.batches.payees import Payee
from payouts.batches.review import bare_reference
from payouts.batches.rules import ItemReason, next_due
from payouts.batches.withdraw import DEADLINE_H, withdraw
from payouts.commissions.rows import next_release
from payouts.ledger.balances import Balances, balances
from payouts.rails.protocol import Rail
from payouts.rails.registry import NoSuchRail, rail_named, rails
from tracker.desks.account.blueprint import Answer, account, field_messages, in_program, page
from tracker.desks.account.home import open_withdrawal
from tracker.desks.account.language import gettext as _
from tracker.desks.account.payee_shown import payee_shown
from tracker.desks.account.place import Place
from tracker.desks.account.statements import months_of
from tracker.desks.adjustment_words import adjustment_reason

LIST_ROWS_MAX = 24
WITHDRAW_FIELDS = dict.fromkeys(("amount", "nothing_available"), "amount")


@dataclass
class Typed:
    """What stood in the two forms of the page, and what is wrong with it."""

    amount: str = ""
    amount_errors: list[str] = field(default_factory=list)
    account: dict[str, str] = field(default_factory=dict)
    """What stood in the fields of the account's form, by name."""
    account_errors: dict[str, list[str]] = field(default_factory=dict)
    """By the same names; under `""` what is wrong with none of them."""
    other_errors: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class WithdrawalLine:
    row: Withdrawal
    amount: Money
    status: str
    sentence: str


@dataclass(frozen=True, slots=True)
class PayoutLine:
    code: str
    """The payout's public id: letters lead to its line."""
    at: datetime
    amount: Money
    kind: str
    status: str
    destination: str
    transfer_id: str | None
    sentence: str


@account.get("/money")
@affiliates
@in_program
def money_page(place: Place) -> Answer:
    """Balance, withdrawal, account, payouts, statements."""
    return money_page_of(place, Typed())


@account.post("/money/withdrawals")
@affiliates
@in_program
def request_withdrawal(place: Place) -> Answer:
    """Ask to be paid now; an empty amount asks for everything."""
    freshness.require_fresh()
    typed = Typed(amount=only_value("amount").strip())
    session = db.session()
    try:
        requested = withdraw(
            session,
            enrollment_id=place.enrollment.id,
            amount=amount_of(typed.amount, place.currency),
            requested_by=place.actor.user_id,
            by=place.actor.label,
            rails=rails(current_app.extensions["kopeck.settings"]),
            now=place.now,
        )
    except MoneyError as error:
        session.rollback()
        typed.amount_errors = [amount_words(error, place.currency)]
        return money_page_of(place, typed, 422)
    except Refusal as refusal:
        session.rollback()
        messages = field_messages(refusal, WITHDRAW_FIELDS)
        typed.amount_errors = messages.get("amount", [])
        typed.other_errors = messages.get("", [])
        return money_page_of(place, typed, refusal.status)
    session.commit()
    flash(
        _(
            "%(amount)s is on its way: paid by %(moment)s.",
            amount=money(requested.amount),
            moment=moment(requested.deadline_at),
        ),
        "success",
    )
    return redirect(url_for(".money_page"), 303)


def amount_words(error: MoneyError, currency: str) -> str:
    """What is wrong with a typed amount, in the reader's words."""
    digits = exponent(currency)
    smallest = money(Money.of_minor_units(1, currency))
    if error.code == "too_many_digits":
        return _("%(smallest)s is the smallest amount.", smallest=smallest)
    if error.code == "too_large":
        return _("That is more than there is.")
    example = f"12.{'0' * digits}" if digits else "12"
    return _("Write the amount in digits: %(example)s.", example=example)


def amount_of(text: str, currency: str) -> Money | None:
    """As people write amounts: spaces between thousands, a comma for the point."""
    plain = "".join(text.split()).replace(",", ".").removesuffix(currency)
    return Money.parse(plain, currency) if plain else None


def rail_of(name: str) -> Rail:
    """The rail of that name. Raises NoSuchRail."""
    return rail_named(rails(current_app.extensions["kopeck.settings"]), name)


def masked(name: str, destination: str) -> str:
    """An account, whose rail may be one of an earlier version, by what it is known by."""
    try:
        return rail_of(name).account_masked(destination)
    except NoSuchRail:
        return ""


def money_page_of(place: Place, typed: Typed, status: int = 200) -> Response:
    """The page with what was typed into its forms."""
    session = db.session()
    found = balances(session, enrollment_id=place.enrollment.id, currency=place.currency)
    rail = rail_of(place.program.rail)
    most = Money.of_minor_units(
        found.available.whole_minor_units(rail.granularity(place.currency)), place.currency
    )
    shown = payee_shown(session, place)
    html = page(
        "money",
        place,
        balances=found,
        most=most,
        next_release=_next_release(session, place, found),
        next_payout=next_due(schedule_of(place.program), after=_payable_from(place, shown.payee)),
        withdrawal=open_withdrawal(session, place),
        deadline_hours=DEADLINE_H,
        withdrawals=_withdrawals(session, place),
        punctuality=_punctuality(session, place),
        payouts=_payouts(session, place),
        shown=shown,
        payee=shown.payee,
        rail=place.program.rail,
        months=months_of(session, place),
        choice=choice_of(session, enrollment_id=place.enrollment.id, currency=place.currency),
        corrections=_corrections(session, place),
        correction_words=adjustment_reason,
        typed=typed,
        fresh=freshness.is_fresh(),
    )
    return leads_to(make_response(html, status), shown.page_origins)


def _payable_from(place: Place, payee: Payee | None) -> datetime:
    """Now, or when the account's safety wait is over."""
    return max(place.now, (payee and payee.pays_from) or place.now)


def _punctuality(session: Session, place: Place) -> Punctuality | None:
    """How this program keeps its word on withdrawals; none while it has paid none of late."""
    program_id = place.program.id
    found = punctuality(session, program_ids=[program_id]).get(program_id, {})
    kept = found.get(Measured.WITHDRAWAL)
    return kept if kept and kept.count and kept.median is not None else None


def _corrections(session: Session, place: Place) -> list[AdjustmentView]:
    """What two people of the program booked; what only one proposed is theirs alone."""
    found = adjustments_of(
        session, program_ids=[place.program.id], enrollment_id=place.enrollment.id
    )
    return [one for one in found if one.status == "confirmed"][:LIST_ROWS_MAX]


def _next_release(session: Session, place: Place, found: Balances) -> datetime | None:
    if not found.pending:
        return None
    return next_release(session, enrollment_id=place.enrollment.id, currency=place.currency)


def _withdrawals(session: Session, place: Place) -> list[WithdrawalLine]:
    rows = session.execute(
        sa.select(Withdrawal, PayoutItem.reason)
        .outerjoin(PayoutItem, PayoutItem.id == Withdrawal.item_id)
        .where(Withdrawal.enrollment_id == place.enrollment.id)
        .order_by(Withdrawal.id.desc())
        .limit(LIST_ROWS_MAX)
    )
    return [
        WithdrawalLine(
            row,
            Money(row.amount_micros, row.currency),
            row.outcome or "requested",
            _withdrawal_sentence(row, reason, place.now),
        )
        for row, reason in rows
    ]


def _withdrawal_sentence(row: Withdrawal, reason: str | None, now: datetime) -> str:
    if row.closed_at is None:
        begins = row.deadline_at - timedelta(hours=DEADLINE_H)
        if row.paused_at is not None:
            return " ".join(filter(None, (_why(row.paused_for), _paused_words(row))))
        if begins > now:
            return _(
                "A safety wait: your account is new. The clock begins on %(begins)s, and it is "
                "paid by %(at)s at the latest.",
                begins=moment(begins),
                at=moment(row.deadline_at),
            )
        if now >= row.deadline_at:
            return _("Overdue since %(at)s; write to the program.", at=moment(row.deadline_at))
        return _("Paid by %(at)s at the latest.", at=moment(row.deadline_at))
    if row.outcome == "paid":
        return _("Paid on %(at)s.", at=moment(row.closed_at))
    return " ".join(filter(None, (_("The money is back in your balance."), _why(reason))))


def _paused_words(row: Withdrawal) -> str:
    """That the clock stands still, and how much of it is left."""
    assert row.paused_at is not None
    return _(
        "The clock stands still since %(at)s, with %(left)s left.",
        at=moment(row.paused_at),
        left=duration(max(row.deadline_at - row.paused_at, timedelta())),
    )


def _why(reason: str | None) -> str:
    """The sentence of a reason that its payee can understand; empty for finance's own."""
    if reason is None or ItemReason(reason) not in REASONS:
        return ""
    return REASONS[ItemReason(reason)]()


REASONS = {
    ItemReason.HELD_BEFORE_APPROVAL: lambda: _("Finance held it back."),
    ItemReason.HELD_AFTER_APPROVAL: lambda: _("Finance held it back."),
    ItemReason.BATCH_CANCELLED: lambda: _("Finance cancelled the payout."),
    ItemReason.REFUSED: lambda: _("The account did not accept it; check where you are paid."),
    ItemReason.NOT_ACTIVE: lambda: _("Your membership is suspended."),
    ItemReason.PAYEE_CHANGED: lambda: _("You named another account since; a person looks at it."),
    ItemReason.PAYEE_NOT_READY: lambda: _("Your account cannot receive money yet."),
    ItemReason.ON_HOLD: lambda: _("Finance holds your payouts back; write to the program."),
    ItemReason.COOLING_OFF: lambda: _("A safety wait: your account is new."),
    ItemReason.PAYEE_STOPPED: lambda: _("Stopped until a person has looked at your account."),
    ItemReason.NO_FUNDS: lambda: _("Waits for the program's own money to arrive."),
    ItemReason.PROVIDER_BUSY: lambda: _("The provider is busy; it is tried again."),
    ItemReason.NO_ANSWER: lambda: _(
        "No answer yet: we ask until we know, so that nothing is lost."
    ),
    ItemReason.NOT_FOUND: lambda: _("No answer yet: a person looks it up."),
    ItemReason.CAME_BACK: lambda: _(
        "The bank sent it back: check your account. The money is in your balance."
    ),
}
"""Reasons of a payout that its payee can understand; the others are finance's own."""


def _payouts(session: Session, place: Place) -> list[PayoutLine]:
    rows = session.execute(
        sa.select(PayoutItem, PayoutBatch, PayoutAttempt.transfer_id)
        .join(PayoutBatch, PayoutBatch.id == PayoutItem.batch_id)
        .outerjoin(
            PayoutAttempt,
            sa.and_(PayoutAttempt.item_id == PayoutItem.id, PayoutAttempt.status == "succeeded"),
        )
        .where(
            PayoutItem.enrollment_id == place.enrollment.id,
            PayoutBatch.status.in_(("frozen", "approved", "paying", "done")),
            PayoutItem.status != "cancelled",
        )
        .order_by(PayoutItem.id.desc())
        .limit(LIST_ROWS_MAX)
    )
    return [_payout(*row) for row in rows]


def _payout(item: PayoutItem, batch: PayoutBatch, transfer_id: str | None) -> PayoutLine:
    status = {"queued": "in_payout", "needs_review": "review", "reversed": "returned"}
    why = ""
    if item.status != "paid" and item.reason and ItemReason(item.reason) in REASONS:
        why = REASONS[ItemReason(item.reason)]()
    return PayoutLine(
        code=public_id(ITEM, item.id),
        at=item.paid_at or batch.created_at,
        amount=Money(item.amount_micros, item.currency),
        kind=_("weekly") if batch.kind == "weekly" else _("on request"),
        status=status.get(item.status, item.status),
        destination=masked(batch.rail, item.destination),
        transfer_id=transfer_id and bare_reference(transfer_id, item_id=item.id),
        sentence=why,
    )
