"""Accounts that money goes to: what somebody should look at, and one affiliate's history."""

from __future__ import annotations

import sqlalchemy as sa
from flask import render_template, request, url_for

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.people import access, freshness
from affiliate.people import ids as people_ids
from affiliate.people.models import Affiliate, Enrollment
from payouts.batches.models import PayeeAccount
from payouts.batches.payee_release import release_to_approved
from payouts.batches.payee_sharing import shared_accounts, shared_by
from payouts.batches.payee_stops import Outcome, is_of_bank, lift, open_stop, open_stops
from payouts.batches.payees import history
from tracker.desks.acting import Answer, act
from tracker.desks.finance import payout as payouts_of
from tracker.desks.finance.blueprint import account_shown, allowed, desk, finance, item_row
from tracker.desks.finance.web import item_page
from tracker.desks.words import _

COOLING_ROWS_MAX = 100


@finance.get("/payees")
@allowed
def payees() -> str:
    """Accounts that were disowned, that several affiliates share, that wait."""
    session, program_ids = db.session(), desk().ids
    now = clock.now(session)
    cooling = session.execute(
        sa.select(PayeeAccount, sa.func.min(Enrollment.id), Affiliate.name)
        .join(Affiliate, Affiliate.id == PayeeAccount.affiliate_id)
        .join(Enrollment, Enrollment.affiliate_id == Affiliate.id)
        .where(
            Enrollment.program_id.in_(program_ids),
            PayeeAccount.replaced_at.is_(None),
            PayeeAccount.pays_from > now,
        )
        .group_by(PayeeAccount.id, Affiliate.name)
        .order_by(PayeeAccount.pays_from, PayeeAccount.id)
        .limit(COOLING_ROWS_MAX)
    ).all()
    return render_template(
        "tracker/finance/payees.html",
        stops=[
            (stop, people_ids.public(enrollment), name)
            for stop, enrollment, name in open_stops(session, program_ids=program_ids)
        ],
        shared=[
            (
                account_shown(each.destination, each.rail, whole=True),
                [(people_ids.public(enrollment), name) for enrollment, name in each.affiliates],
            )
            for each in shared_accounts(session, program_ids=program_ids)
        ],
        cooling=[(row, people_ids.public(enrollment), name) for row, enrollment, name in cooling],
    )


@finance.get("/payees/<affiliate>")
@allowed
def payee(affiliate: str) -> str:
    """Every account that an affiliate named: when, by whom, from where."""
    return payee_page(affiliate)


@finance.post("/payees/<affiliate>/lifting")
@allowed
def lift_stop(affiliate: str) -> Answer:
    """A person has looked: the account stays, or the one before is theirs again."""
    person = _mine(affiliate)
    freshness.require_factor()
    outcome = _outcome()
    return act(
        lambda session, now: lift(
            session,
            affiliate_id=person.id,
            outcome=outcome,
            by=access.actor().label,
            why=request.form.get("reason", ""),
            now=now,
        ),
        done=_("Payouts to %(name)s go on.", name=person.name),
        back=url_for("finance.payee", affiliate=affiliate),
        page=lambda: payee_page(affiliate),
    )


@finance.post("/items/<item>/release")
@allowed
def release(item: str) -> Answer:
    """Let a payout go to the destination that was approved, though another was named since."""
    item_id = item_row(item)
    payouts_of.payout(db.session(), programs=desk().programs, item_id=item_id)
    freshness.require_factor()
    return act(
        lambda session, now: release_to_approved(
            session,
            item_id=item_id,
            by_user_id=access.actor().user_id,
            why=request.form.get("reason", ""),
            now=now,
        ),
        done=_("It goes to the destination that was approved."),
        back=url_for("finance.item", item=item),
        page=lambda: item_page(item_id),
    )


def payee_page(affiliate: str) -> str:
    """The history of an affiliate of the reader's programs; NotFound otherwise."""
    session = db.session()
    person = _mine(affiliate)
    stop = open_stop(session, affiliate_id=person.id)
    return render_template(
        "tracker/finance/payee.html",
        public=affiliate,
        person=person,
        stop=stop,
        stop_of_bank=stop is not None and is_of_bank(session, stop),
        accounts=history(session, affiliate_id=person.id),
        whole=True,
        shared=shared_by(session, affiliate_ids=[person.id]).get(person.id, ()),
        now=clock.now(session),
    )


def _mine(affiliate: str) -> Affiliate:
    found = db.session.scalar(
        sa.select(Affiliate)
        .join(Enrollment, Enrollment.affiliate_id == Affiliate.id)
        .where(
            Enrollment.id == people_ids.enrollment_of(affiliate),
            Enrollment.program_id.in_(desk().ids),
        )
    )
    if found is None:
        raise NotFound
    return found


def _outcome() -> Outcome:
    try:
        return Outcome(request.form.get("outcome", ""))
    except ValueError:
        raise NotFound from None
