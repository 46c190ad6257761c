"""The desk of payouts in question: what is known of each, and asking the provider about one."""

from __future__ import annotations

from flask import flash, render_template, url_for

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import NotFound, Refusal
from affiliate.core.http import only_value
from affiliate.people import access, freshness, limits
from payouts.batches.review import try_again
from payouts.provider.jobs import comparing
from payouts.provider.look_up import LookedUp, look_up, refuse_unsure
from payouts.rails.protocol import Provider, provider
from tracker.desks.acting import Answer, act, in_words, reason_said
from tracker.desks.finance import payout as payouts_of
from tracker.desks.finance import review, sentences
from tracker.desks.finance.blueprint import allowed, desk, finance, item_row, known_rails
from tracker.desks.finance.web import item_page
from tracker.desks.words import _


class NobodyToAsk(NotFound):
    code = "nobody_to_ask"
    title = "There is no provider to ask about this payout."


@finance.get("/review")
@allowed
def review_desk() -> str:
    """Every payout in question with what is known of it."""
    return render_template(
        "tracker/finance/review.html",
        questions=review.questions_of(db.session(), program_ids=desk().ids),
        reviewing=review,
        now=clock.real_now(),
        words=sentences,
    )


@finance.post("/items/<item>/look-up")
@allowed
@limits.braked(limits.brake_provider)
def look_up_item(item: str) -> Answer:
    """Ask the provider now; the payout is closed where its transfer is found."""
    item_id = item_row(item)
    asked = _provider_of(item_id)
    if asked is None:
        raise NobodyToAsk
    try:
        looked = _look(asked, item_id)
    except NotFound:
        raise
    except Refusal as refusal:
        flash(in_words(refusal), "danger")
        return item_page(item_id), refusal.status
    if looked.transfer is not None:
        flash(*_said(looked))
    return item_page(item_id, looked)


@finance.post("/items/<item>/attempts")
@allowed
@limits.braked(limits.brake_provider)
def new_attempt(item: str) -> Answer:
    """Allow a new attempt: a person has made sure that nothing was sent, and so does Kopeck.

    The provider is asked right before, where there is one: what it has is not sent again.
    """
    item_id = item_row(item)
    asked = _provider_of(item_id)
    freshness.require_factor()
    looked = None
    try:
        why, seen = reason_said(), only_value("seen").split()
        if asked is not None:
            looked = _look(asked, item_id)
            if looked.settled:
                flash(*_said(looked))
                return item_page(item_id, looked)
            refuse_unsure(looked, seen=seen)
    except NotFound:
        raise
    except Refusal as refusal:
        flash(in_words(refusal), "danger")
        return item_page(item_id, looked), refusal.status
    return act(
        lambda session, now: try_again(
            session,
            item_id=item_id,
            by_user_id=access.actor().user_id,
            why=why,
            now=now,
        ),
        done=_("A new attempt is allowed; it is sent within a minute."),
        back=url_for("finance.item", item=item),
        page=lambda: item_page(item_id),
    )


def _look(asked: Provider, item_id: int) -> LookedUp:
    return look_up(comparing(asked), item_id=item_id, by_user_id=access.actor().user_id)


def _provider_of(item_id: int) -> Provider | None:
    """Whom to ask about an item of the reader's programs. Raises NotFound for another's."""
    session = db.session()
    found = payouts_of.payout(session, programs=desk().programs, item_id=item_id)
    rail = known_rails().get(found.batch.rail)
    session.commit()  # No transaction stays open while a provider is asked.
    return None if rail is None else provider(rail)


def _said(looked: LookedUp) -> tuple[str, str]:
    """What came of the transfer that was found, and how good that is."""
    assert looked.transfer is not None
    if looked.settled:
        return (
            _(
                "The provider has the transfer %(transfer)s: the payout is paid.",
                transfer=looked.transfer.id,
            ),
            "success",
        )
    return (
        _(
            "The provider has the transfer %(transfer)s, and it does not agree with this payout. "
            "Payouts are locked until somebody has looked at the reconciliation.",
            transfer=looked.transfer.id,
        ),
        "danger",
    )
