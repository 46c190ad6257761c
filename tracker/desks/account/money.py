"""Money: where it stands, asking for it, the account that it goes to, what was paid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from flask import current_app, flash, redirect, url_for
from sqlalchemy.orm import Session

from affiliate.core import outbox
from affiliate.core.db import db
from affiliate.core.errors import Refusal
from affiliate.core.http import only_value
from affiliate.core.money import Money, MoneyError, exponent
from affiliate.core.pages import moment, money
from affiliate.people import access
from affiliate.people.access import affiliates
from affiliate.people.models import User
from payouts.batches.draft import schedule_of
from payouts.batches.models import PayoutAttempt, PayoutBatch, PayoutItem, Withdrawal
from payouts.batches.own_accounts import fee_of
from payouts.batches.payees import payee_of, set_payee
from payouts.batches.review import bare_reference
from payouts.batches.rules import ItemReason, next_due
from payouts.batches.withdraw import DEADLINE_H, withdraw
from payouts.commissions.rows import next_release
from payouts.ledger.balances import Balances, balances
from payouts.rails.protocol import Rail, RailAway
from payouts.rails.registry import NoSuchRail, rail_named, rails
from tracker.desks.account.blueprint import Answer, account, field_messages, in_program, page
from tracker.desks.account.home import open_withdrawal
from tracker.desks.account.language import gettext as _
from tracker.desks.account.place import Place
from tracker.desks.account.statements import months_of

LIST_ROWS_MAX = 24
WITHDRAW_FIELDS = dict.fromkeys(("amount", "nothing_available"), "amount")


@dataclass
class Typed:
    """What stood in the two forms of the page, and what is wrong with it."""

    amount: str = ""
    amount_errors: list[str] = field(default_factory=list)
    payee: Mapping[str, str] | None = None
    """None: nothing was typed."""
    payee_errors: Mapping[str, list[str]] = field(default_factory=dict)
    other_errors: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class WithdrawalLine:
    row: Withdrawal
    amount: Money
    status: str
    sentence: str


@dataclass(frozen=True, slots=True)
class PayoutLine:
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
    return _page(place, Typed())


@account.post("/money/withdrawals")
@affiliates
@in_program
def request_withdrawal(place: Place) -> Answer:
    """Ask to be paid now; an empty amount asks for everything."""
    access.require_fresh()
    typed = Typed(amount=only_value("amount").strip())
    session = db.session()
    try:
        requested = withdraw(
            session,
            enrollment_id=place.enrollment.id,
            amount=_amount(typed.amount, place.currency),
            requested_by=place.actor.user_id,
            by=place.actor.label,
            rails=rails(current_app.extensions["kopeck.settings"]),
            now=place.now,
        )
    except MoneyError as error:
        session.rollback()
        typed.amount_errors = [amount_words(error, place.currency)]
        return _page(place, typed), 422
    except Refusal as refusal:
        session.rollback()
        messages = field_messages(refusal, WITHDRAW_FIELDS)
        typed.amount_errors = messages.get("amount", [])
        typed.other_errors = messages.get("", [])
        return _page(place, typed), refusal.status
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


@account.post("/money/payee")
@affiliates
@in_program
def change_payee(place: Place) -> Answer:
    """Name the account to pay to; the owner of the address is told by mail.

    `again` has the account that is named already looked at anew.
    """
    access.require_fresh()
    session, rail = db.session(), _rail(place.program.rail)
    before = payee_of(session, affiliate_id=place.affiliate_id, rail=rail.name)
    typed = Typed(payee={one.name: only_value(one.name).strip() for one in rail.account_fields})
    try:
        if before is not None and only_value("again"):
            destination = before.destination
        else:
            destination = rail.account(typed.payee or {})
        ready = _ready(rail, destination)
        set_payee(
            session,
            affiliate_id=place.affiliate_id,
            rail=rail.name,
            destination=destination,
            ready=ready,
            by=place.actor.label,
            now=place.now,
        )
    except Refusal as refusal:
        session.rollback()
        names = {one.name: one.name for one in rail.account_fields}
        typed.payee_errors = field_messages(refusal, names)
        return _page(place, typed), refusal.status
    if before is None or before.destination != destination:
        _tell_by_mail(session, place, rail.account_masked(destination))
    session.commit()
    if ready:
        said = _("Saved. Payouts that are approved already still go to the account before.")
    else:
        said = _("Saved. It cannot receive money yet; have it checked again when it can.")
    flash(said, "success" if ready else "warning")
    return redirect(url_for(".money_page") + "#payee", 303)


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


def _amount(text: str, currency: str) -> Money | None:
    """As people write amounts: spaces between thousands, a comma for the point."""
    plain = "".join(text.split()).replace(",", ".").removesuffix(currency)
    return Money.parse(plain, currency) if plain else None


def _rail(name: str) -> Rail:
    return rail_named(rails(current_app.extensions["kopeck.settings"]), name)


def _ready(rail: Rail, destination: str) -> bool:
    """What the rail says of the account; when it does not answer, it is asked again later."""
    if not rail.configured():
        return False
    try:
        return rail.payee_ready(destination)
    except RailAway:
        return False


def _masked(name: str, destination: str) -> str:
    """An account of a payout, whose rail may be one of an earlier version."""
    try:
        return _rail(name).account_masked(destination)
    except NoSuchRail:
        return ""


def _tell_by_mail(session: Session, place: Place, shown: str) -> None:
    user = session.get_one(User, place.actor.user_id)
    outbox.send(
        session,
        to=user.email,
        template="payee_changed",
        locale=user.locale,
        name=place.name,
        program=place.program,
        destination=shown,
        at=place.now,
        public_url=current_app.extensions["kopeck.settings"].public_url,
        now=place.now,
    )


def _page(place: Place, typed: Typed) -> str:
    session = db.session()
    found = balances(session, enrollment_id=place.enrollment.id, currency=place.currency)
    rail = _rail(place.program.rail)
    payee = payee_of(session, affiliate_id=place.affiliate_id, rail=rail.name)
    most = Money.of_minor_units(
        found.available.whole_minor_units(rail.granularity(place.currency)), place.currency
    )
    withdrawals = _withdrawals(session, place)
    return page(
        "money",
        place,
        balances=found,
        most=most,
        next_release=_next_release(session, place, found),
        next_payout=next_due(schedule_of(place.program), after=place.now),
        withdrawal=open_withdrawal(session, place),
        deadline_hours=DEADLINE_H,
        withdrawals=withdrawals,
        payouts=_payouts(session, place),
        payee=payee,
        payee_shown=payee and rail.account_for_payee(payee.destination),
        rail=rail,
        fee=fee_of(session, program_id=place.program.id, rail=rail.name, currency=place.currency),
        months=months_of(session, place),
        typed=typed,
    )


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
        if now >= row.deadline_at:
            return _("Overdue since %(at)s; write to the program.", at=moment(row.deadline_at))
        return _("Paid by %(at)s at the latest.", at=moment(row.deadline_at))
    if row.outcome == "paid":
        return _("Paid on %(at)s.", at=moment(row.closed_at))
    why = REASONS[ItemReason(reason)]() if reason and ItemReason(reason) in REASONS else ""
    return " ".join(filter(None, (_("The money is back in your balance."), why)))


REASONS = {
    ItemReason.HELD_BEFORE_APPROVAL: lambda: _("Finance held it back."),
    ItemReason.HELD_AFTER_APPROVAL: lambda: _("Finance held it back."),
    ItemReason.BATCH_CANCELLED: lambda: _("Finance cancelled the payout."),
    ItemReason.REFUSED: lambda: _("The account did not accept it; check where you are paid."),
    ItemReason.NOT_ACTIVE: lambda: _("Your membership is suspended."),
    ItemReason.PAYEE_CHANGED: lambda: _("You named another account since; a person looks at it."),
    ItemReason.PAYEE_NOT_READY: lambda: _("Your account cannot receive money yet."),
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
        at=item.paid_at or batch.created_at,
        amount=Money(item.amount_micros, item.currency),
        kind=_("weekly") if batch.kind == "weekly" else _("on request"),
        status=status.get(item.status, item.status),
        destination=_masked(batch.rail, item.destination),
        transfer_id=transfer_id and bare_reference(transfer_id, item_id=item.id),
        sentence=why,
    )
