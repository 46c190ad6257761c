"""What finance does: approve, cancel, hold, mark as paid, draft; new attempts: review_actions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from flask import flash, redirect, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.http import only_value
from affiliate.people import access, factor_form, freshness
from payouts.batches.approve import Signed, approve
from payouts.batches.cancel import cancel_batch, hold_item
from payouts.batches.draft import draft_weekly, open_periods, undrafted
from payouts.batches.holds import hold_payouts, lift_hold
from payouts.batches.locks import LIFTED_ON_A_PAGE, LockReason, lock, unlock
from payouts.batches.models import PayoutBatch, PayoutPeriod
from payouts.batches.pause import pause_batch, resume_batch
from payouts.batches.review import mark_paid
from payouts.rails.bank import BankRail
from payouts.rails.protocol import Rail
from payouts.rails.registry import rail_named
from tracker.desks.acting import Answer, act, reason_said
from tracker.desks.finance import payout as payouts_of
from tracker.desks.finance import questions
from tracker.desks.finance.blueprint import (
    allowed,
    batch_row,
    desk,
    finance,
    item_row,
    known_rails,
    owners,
)
from tracker.desks.finance.web import batch_page, holds, item_page, to_do
from tracker.desks.words import _, ngettext

HASH_CHARS = 64


@finance.post("/batches/<batch>/approval")
@allowed
def approval(batch: str) -> Answer:
    """Approve exactly the batch that the page showed: its hash comes with the form.

    So does a code or what a passkey signed, where the last one is older than five minutes.
    """
    batch_id = batch_row(batch)
    found = _see_batch(batch_id)
    rail = rail_named(known_rails(), found.rail)
    came: list[Signed] = []

    def verb(session: Session, now: datetime) -> None:
        seen, factor_at = only_value("hash")[:HASH_CHARS], factor_form.take()
        came.append(
            approve(
                session,
                batch_id=batch_id,
                by_user_id=access.actor().user_id,
                seen_hash=seen,
                rails=known_rails(),
                now=now,
                factor_at=factor_at,
            )
        )

    return act(
        verb,
        done=lambda: _signed(came[0], rail),
        back=url_for("finance.batch", batch=batch),
        page=lambda: batch_page(batch_id),
    )


@finance.post("/batches/<batch>/cancellation")
@allowed
def cancellation(batch: str) -> Answer:
    """Cancel a batch that is not approved; every amount returns to its balance."""
    _see_batch(batch_row(batch))
    return _about_batch(
        batch,
        cancel_batch,
        _("The batch is cancelled. Every amount is back in its balance."),
    )


@finance.post("/batches/<batch>/pause")
@allowed
def pause(batch: str) -> Answer:
    """Stop a batch that is being paid: nothing more is sent until it is resumed."""
    _see_batch(batch_row(batch))
    return _about_batch(
        batch,
        pause_batch,
        _("Stopped. What was on its way comes to its end; nothing more is sent."),
    )


@finance.post("/batches/<batch>/resumption")
@allowed
def resumption(batch: str) -> Answer:
    """Go on with a stopped batch: money leaves again."""
    _see_batch(batch_row(batch))
    freshness.require_fresh()
    return _about_batch(batch, resume_batch, _("It goes on where it was."))


def _about_batch(batch: str, verb: Callable[..., object], done: str) -> Answer:
    batch_id = batch_row(batch)
    return act(
        lambda session, now: verb(
            session,
            batch_id=batch_id,
            by_user_id=access.actor().user_id,
            why=reason_said(),
            now=now,
        ),
        done=done,
        back=url_for("finance.batch", batch=batch),
        page=lambda: batch_page(batch_id),
    )


@finance.post("/items/<item>/hold")
@allowed
def hold(item: str) -> Answer:
    """Take one payout out of its batch."""
    item_id = item_row(item)
    found = _see_item(item_id)
    return act(
        lambda session, now: hold_item(
            session,
            item_id=item_id,
            by_user_id=access.actor().user_id,
            why=reason_said(),
            now=now,
        ),
        done=_("%(name)s is held; the amount is back in the balance.", name=found.affiliate.name),
        back=url_for("finance.batch", batch=found.batch_public),
        page=lambda: batch_page(found.item.batch_id),
    )


@finance.post("/affiliates/<affiliate>/hold")
@allowed
def hold_affiliate(affiliate: str) -> Answer:
    """Keep an affiliate's money from leaving, until the hold is lifted."""
    return _about_holds(
        affiliate, hold_payouts, _("Payouts to %(name)s are held until somebody lifts it.")
    )


@finance.post("/affiliates/<affiliate>/hold-end")
@allowed
def lift_affiliate(affiliate: str) -> Answer:
    """Let an affiliate's money go again."""
    freshness.require_fresh()
    return _about_holds(affiliate, lift_hold, _("Payouts to %(name)s go on."))


def _about_holds(affiliate: str, verb: Callable[..., None], done: str) -> Answer:
    enrollment_id, name = questions.whose(db.session(), programs=desk().programs, public=affiliate)
    return act(
        lambda session, now: verb(
            session,
            enrollment_id=enrollment_id,
            by_user_id=access.actor().user_id,
            why=reason_said(),
            now=now,
        ),
        done=done % {"name": name},
        back=url_for("finance.holds"),
        page=holds,
    )


@finance.post("/items/<item>/payment")
@allowed
def payment(item: str) -> Answer:
    """Say that a payout was made, and under which reference."""
    item_id = item_row(item)
    found = _see_item(item_id)
    freshness.require_factor()
    batch_id, by_hand = found.batch.id, found.item.status == "queued"
    return act(
        lambda session, now: mark_paid(
            session,
            item_id=item_id,
            reference=only_value("reference"),
            by_user_id=access.actor().user_id,
            rails=known_rails(),
            now=now,
        ),
        done=_("The payout to %(name)s is marked as paid.", name=found.affiliate.name),
        back=url_for("finance.batch", batch=found.batch_public)
        if by_hand
        else url_for("finance.item", item=item),
        page=lambda: batch_page(batch_id) if by_hand else item_page(item_id),
    )


@finance.post("/locks")
@allowed
def stop() -> Answer:
    """Stop every payout of the installation: what is sent stays sent, nothing else leaves."""
    return act(
        lambda session, now: lock(
            session,
            reason=LockReason.BY_HAND,
            detail=reason_said(),
            by=access.actor().label,
            now=now,
        ),
        done=_(
            "Payouts are locked. Nothing is approved and no money leaves until an owner lifts it."
        ),
        back=url_for("finance.to_do"),
        page=to_do,
    )


@finance.post("/locks/lifting")
@owners
def lift_locks() -> Answer:
    """Let payouts leave again: an owner, with a fresh second factor and a reason.

    A restored backup is lifted by the command alone, which knows the node's fence.
    """
    freshness.require_factor()
    return act(
        lambda session, now: unlock(
            session,
            by=access.actor().label,
            why=reason_said(),
            reasons=LIFTED_ON_A_PAGE,
            now=now,
        ),
        done=_("Payouts are unlocked."),
        back=url_for("finance.to_do"),
        page=to_do,
    )


@finance.post("/drafts")
@allowed
def drafts() -> Response:
    """Draft what is due and not drafted yet, as the scheduler would."""
    session, programs = db.session(), desk().programs
    now = clock.now(session)
    open_periods(session, now=now)
    made = [
        batch_id
        for period_id in _periods(session, set(programs))
        if (batch_id := draft_weekly(session, period_id=period_id, rails=known_rails(), now=now))
    ]
    session.commit()
    return _drafted(made)


def _signed(came: Signed, rail: Rail) -> str:
    if not came.approved:
        return _(
            "Signed: %(num)s of %(needed)s signatures. Nothing leaves before somebody else signs.",
            num=came.signatures,
            needed=came.needed,
        )
    return _what_now(rail)


def _drafted(made: list[int]) -> Response:
    if made:
        flash(
            ngettext(
                "%(num)s batch is drafted and waits for approval.",
                "%(num)s batches are drafted and wait for approval.",
                len(made),
            ),
            "success",
        )
    else:
        flash(_("Nothing is due now: whoever can be paid is in a batch already."), "info")
    return redirect(url_for("finance.batches"), 303)


def _what_now(rail: Rail) -> str:
    """What an approval leads to."""
    if isinstance(rail, BankRail):
        return _("Approved. Make the file for your bank now.")
    if rail.by_hand:
        return _("Approved. Pay each by your bank and type its reference beside it.")
    return _("Approved. The payouts are on their way; this page follows them.")


def _periods(session: Session, program_ids: set[int]) -> list[int]:
    waiting = undrafted(session)
    return [
        period_id
        for period_id in waiting
        if session.get_one(PayoutPeriod, period_id).program_id in program_ids
    ]


def _see_batch(batch_id: int) -> PayoutBatch:
    """Another program's batch is not there."""
    found = db.session.get(PayoutBatch, batch_id)
    if found is None or found.program_id not in desk().programs:
        raise NotFound
    return found


def _see_item(item_id: int) -> payouts_of.Payout:
    return payouts_of.payout(db.session(), programs=desk().programs, item_id=item_id)
