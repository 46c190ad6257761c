"""Corrections of balances: one person proposes, another confirms; the affiliate is told."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from flask import current_app, flash, redirect, render_template, request, url_for
from sqlalchemy.orm import Session

from affiliate.core import clock, ids, outbox
from affiliate.core.db import db
from affiliate.core.errors import Invalid, NotFound, Refusal
from affiliate.core.http import only_value
from affiliate.core.money import Money, MoneyError
from affiliate.people import access, freshness
from affiliate.people import ids as people_ids
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.programs.models import Program
from payouts.adjustments import adjust
from payouts.adjustments.models import LedgerAdjustment
from payouts.adjustments.reading import PREFIX, adjustments_of
from payouts.adjustments.rules import REASONS, AdjustmentKind, Reason
from payouts.ledger.balances import balances
from tracker.desks.account.blueprint import field_messages
from tracker.desks.acting import Answer, act
from tracker.desks.adjustment_words import adjustment_kind, adjustment_reason
from tracker.desks.finance.blueprint import allowed, desk, finance
from tracker.desks.words import _

NAMED_SHOWN_MAX: Final = 5
FIELDS: Final = {name: name for name in ("affiliate", "kind", "amount", "reason", "note")}


@finance.get("/adjustments")
@allowed
def adjustments() -> str:
    """Corrections that wait, the form of a new one, and what became of the others."""
    typed = dict.fromkeys(FIELDS, "") | {"affiliate": request.args.get("affiliate", "")[:60]}
    return _page(typed, {})


@finance.post("/adjustments")
@allowed
def propose_adjustment() -> Answer:
    """Propose a correction; somebody else confirms it."""
    freshness.require_fresh()
    typed = {name: only_value(name).strip()[:1_000] for name in FIELDS}
    session = db.session()
    try:
        enrollment = _enrollment(session, typed["affiliate"])
        adjust.propose(
            session,
            enrollment_id=enrollment.id,
            kind=_kind(typed["kind"]),
            amount=_amount(typed["amount"], desk().programs[enrollment.program_id]),
            reason=_reason(typed["reason"]),
            note=typed["note"],
            by_user_id=access.actor().user_id,
            now=clock.now(session),
        )
    except NotFound:
        raise
    except Refusal as refusal:
        session.rollback()
        return _page(typed, field_messages(refusal, FIELDS)), refusal.status
    session.commit()
    flash(_("Proposed. It is booked once another person has confirmed it."), "success")
    return redirect(url_for("finance.adjustments"), 303)


@finance.post("/adjustments/<adjustment>/confirmation")
@allowed
def confirm_adjustment(adjustment: str) -> Answer:
    """Book a correction that somebody else proposed."""
    adjustment_id = _visible(adjustment)
    freshness.require_fresh()

    def verb(session: Session, now: object) -> None:
        adjust.confirm(
            session,
            adjustment_id=adjustment_id,
            by_user_id=access.actor().user_id,
            now=now,  # type: ignore[arg-type]
        )
        _tell(session, adjustment_id)

    return act(
        verb,
        done=_("Booked. The affiliate sees it with its reason and gets a mail."),
        back=url_for("finance.adjustments"),
        page=lambda: _page(dict.fromkeys(FIELDS, ""), {}),
    )


@finance.post("/adjustments/<adjustment>/refusal")
@allowed
def decline_adjustment(adjustment: str) -> Answer:
    """Turn a proposal down; nothing is booked."""
    adjustment_id = _visible(adjustment)
    return act(
        lambda session, now: adjust.decline(
            session,
            adjustment_id=adjustment_id,
            note=only_value("reason"),
            by_user_id=access.actor().user_id,
            now=now,
        ),
        done=_("Turned down; nothing was booked."),
        back=url_for("finance.adjustments"),
        page=lambda: _page(dict.fromkeys(FIELDS, ""), {}),
    )


def _page(typed: dict[str, str], errors: dict[str, list[str]]) -> str:
    session, programs = db.session(), desk().programs
    found = adjustments_of(session, program_ids=programs)
    return render_template(
        "tracker/finance/adjustments.html",
        programs=programs,
        waiting=[each for each in found if each.status == "proposed"],
        decided=[each for each in found if each.status != "proposed"],
        me=access.actor().user_id,
        typed=typed,
        errors=errors,
        kinds=AdjustmentKind,
        reasons=REASONS,
        kind_words=adjustment_kind,
        reason_words=adjustment_reason,
        about=_about(session, typed["affiliate"]),
    )


def _about(session: Session, text: str) -> dict[str, object] | None:
    """Whose balance the form speaks of, and what it is."""
    try:
        enrollment = _enrollment(session, text)
    except Refusal:
        return None
    program = desk().programs[enrollment.program_id]
    return {
        "name": session.get_one(Affiliate, enrollment.affiliate_id).name,
        "program": program,
        "balances": balances(session, enrollment_id=enrollment.id, currency=program.currency),
    }


def _enrollment(session: Session, text: str) -> Enrollment:
    """An affiliate of the reader's programs, by id, whole name or address, however it is cased.

    Raises Invalid: it is typed, and where several are meant money is not left to a guess.
    """
    programs = desk().programs
    try:
        by_id = session.get(Enrollment, people_ids.enrollment_of(text))
    except NotFound:
        found = _named(session, " ".join(text.split()).replace("\0", ""))
    else:
        found = [by_id] if by_id is not None and by_id.program_id in programs else []
    if not found:
        raise Invalid.field(
            "affiliate", "unknown", _("No affiliate of yours has this id, name or address.")
        )
    if len(found) > 1:
        fit = ", ".join(
            f"{people_ids.public(each.id)} ({programs[each.program_id].name})" for each in found
        )
        raise Invalid.field(
            "affiliate", "several", _("Several fit, write one's id: %(fit)s", fit=fit)
        )
    return found[0]


def _named(session: Session, text: str) -> list[Enrollment]:
    if not text:
        return []
    return list(
        session.scalars(
            sa.select(Enrollment)
            .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
            .join(User, User.id == Affiliate.user_id)
            .where(
                Enrollment.program_id.in_(desk().programs),
                sa.func.lower(text).in_((sa.func.lower(Affiliate.name), sa.func.lower(User.email))),
            )
            .order_by(Enrollment.id)
            .limit(NAMED_SHOWN_MAX)
        )
    )


def _kind(text: str) -> AdjustmentKind:
    if text not in set(AdjustmentKind):
        raise Invalid.field("kind", "unknown", _("Choose one."))
    return AdjustmentKind(text)


def _reason(text: str) -> Reason:
    if text not in set(Reason):
        raise Invalid.field("reason", "unknown", _("Choose one of the reasons."))
    return Reason(text)


def _amount(text: str, program: Program) -> Money:
    """As people write amounts: a minus, spaces between thousands, a comma for the point."""
    plain = "".join(text.split()).replace(",", ".").replace("\N{MINUS SIGN}", "-")
    try:
        amount = Money.parse_fine(plain.removeprefix("-"), program.currency)
    except MoneyError as error:
        said = {
            "too_many_digits": _("At most six digits after the point."),
            "too_large": _("That is more than can be booked."),
        }.get(error.code, _("Write the amount in digits: 12.50, or -12.50 to take it away."))
        raise Invalid.field("amount", error.code, said) from None
    return -amount if plain.startswith("-") else amount


def _visible(text: str) -> int:
    """The number behind `adj_…` of the reader's programs; NotFound for any other."""
    number = ids.row_id(PREFIX, text)
    found = db.session.get(LedgerAdjustment, number)
    if found is None or found.program_id not in desk().programs:
        raise NotFound
    return number


def _tell(session: Session, adjustment_id: int) -> None:
    """Write to the affiliate what was booked, and why."""
    row = session.get_one(LedgerAdjustment, adjustment_id)
    enrollment = session.get_one(Enrollment, row.enrollment_id)
    affiliate = session.get_one(Affiliate, enrollment.affiliate_id)
    user = session.get_one(User, affiliate.user_id)
    outbox.send(
        session,
        to=user.email,
        template="balance_corrected",
        locale=user.locale,
        scope=row.program_id,
        name=affiliate.name,
        program=session.get_one(Program, row.program_id),
        amount=Money(row.amount_micros, row.currency),
        reason=adjustment_reason,
        code=row.reason,
        note=row.note,
        public_url=current_app.extensions["kopeck.settings"].public_url,
        now=row.decided_at,  # type: ignore[arg-type]  # it has just been decided
    )
