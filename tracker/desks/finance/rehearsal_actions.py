"""Finance asks the rail about a batch before it signs: a look, never a step of the payout."""

from __future__ import annotations

from flask import flash, redirect, url_for

from affiliate.core import clock
from affiliate.core.db import db, session_for
from affiliate.core.errors import NotFound, Refusal
from affiliate.core.http import only_value
from affiliate.people import access, limits
from payouts.batches.models import PayoutBatch
from payouts.provider.rehearse import AskedJustNow, Rehearsing, rehearse
from tracker.desks.acting import Answer, in_words
from tracker.desks.finance.blueprint import allowed, batch_row, desk, finance, known_rails
from tracker.desks.finance.web import batch_page


@finance.post("/batches/<batch>/rehearsal")
@allowed
@limits.braked(limits.brake_provider)
def rehearsal(batch: str) -> Answer:
    """Ask what the rail says of the batch now; the page shows it with its time."""
    batch_id, session = batch_row(batch), db.session()
    found = session.get(PayoutBatch, batch_id)
    if found is None or found.program_id not in desk().programs:
        raise NotFound
    goes_on, by_user_id = bool(only_value("goes_on")), access.actor().user_id
    session.commit()  # No transaction stays open while a provider is asked.
    run = Rehearsing(session_for(db.engine), known_rails(), clock.real_now)
    here = redirect(url_for("finance.batch", batch=batch) + "#dry-run", 303)
    try:
        rehearse(run, batch_id=batch_id, by_user_id=by_user_id, goes_on=goes_on)
    except AskedJustNow as refusal:
        flash(in_words(refusal), "info")
    except NotFound:
        raise
    except Refusal as refusal:
        flash(in_words(refusal), "danger")
        return batch_page(batch_id), refusal.status
    return here
