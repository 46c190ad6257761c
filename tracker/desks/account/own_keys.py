"""The affiliate's own API keys: made and shown once, listed, revoked."""

from __future__ import annotations

from flask import current_app, flash, redirect, request, url_for

from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import Refusal
from affiliate.people import api_keys, freshness
from affiliate.people import ids as people_ids
from affiliate.people.access import affiliates
from tracker.desks.account.blueprint import Answer, account, field_messages, in_program, page
from tracker.desks.account.place import Place
from tracker.desks.words import _


@account.get("/api")
@affiliates
@in_program
def own_api(place: Place) -> Answer:
    """The keys, and what they are good for."""
    return _page(place)


@account.post("/api/keys")
@affiliates
@in_program
def make_key(place: Place) -> Answer:
    """Make a key and show it, this once."""
    freshness.require_fresh()
    session = db.session()
    try:
        _key, secret = api_keys.create_own_key(
            session,
            enrollment_id=place.enrollment.id,
            scopes=request.form.getlist("scopes"),
            name=request.form.get("name", ""),
            by=place.actor.user_id,
            now=place.now,
        )
        session.commit()
    except Refusal as refusal:
        session.rollback()
        return _page(place, errors=field_messages(refusal, {"scopes": "scopes"})), refusal.status
    return _page(place, made=secret), 201


@account.post("/api/keys/<int:key_id>/revocation")
@affiliates
@in_program
def revoke_key(place: Place, key_id: int) -> Answer:
    """End a key for good; NotFound for anybody else's."""
    session = db.session()
    api_keys.revoke_key(
        session,
        program_id=place.program.id,
        enrollment_id=place.enrollment.id,
        key_id=key_id,
        by=place.actor.user_id,
        now=place.now,
    )
    session.commit()
    flash(_("The key is revoked. Requests with it are refused from now on."), "success")
    return redirect(url_for("account.own_api"), 303)


def _page(
    place: Place, *, made: str | None = None, errors: dict[str, list[str]] | None = None
) -> str:
    settings: Settings = current_app.extensions["kopeck.settings"]
    may = {
        "own:read": _(
            "Read what is mine: figures, clicks, orders, links, balance, withdrawals, statements"
        ),
        "own:links": _("Make links for me"),
    }
    return page(
        "own_api",
        place,
        keys=api_keys.own_keys(db.session(), enrollment_id=place.enrollment.id),
        made=made,
        errors=errors or {},
        may=may,
        chosen=request.form.getlist("scopes") or ["own:read"],
        name=request.form.get("name", "") if errors else "",
        name_chars=api_keys.NAME_CHARS_MAX,
        own_id=people_ids.public(place.enrollment.id),
        base=f"{settings.public_url}/api/v1",
    )
