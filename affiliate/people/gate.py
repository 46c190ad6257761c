"""The one hook before every view: it holds the caller to the view's mark (affiliate.people.access).

It refuses to answer at all while a view without a mark exists. Machines that are refused get a
problem document; people are led to the page where they sign in or give what is missing.
"""

from __future__ import annotations

from urllib.parse import urlencode

from flask import Flask, Response, current_app, g, redirect, request

from affiliate.core import clock, pace
from affiliate.core.config import Settings
from affiliate.core.db import begin_planned_once, db
from affiliate.core.errors import Forbidden, Unauthenticated
from affiliate.core.http import SAFE_METHODS, answer, wants_problem
from affiliate.people import sent_keys
from affiliate.people.access import Kind, Mark, Role, mark_of, require_standing, unmarked
from affiliate.people.freshness import FactorStale, PasswordNeeded
from affiliate.people.next_page import page_before


class ScopeMissing(Forbidden):
    code = "scope_missing"
    title = "This API key does not have the scope that the call needs."


class FactorNeeded(Forbidden):
    """The role is theirs; the session has not shown a second factor."""

    code = "second_factor_needed"
    title = "Finance and owners work with a second factor."


def set_up(app: Flask, _settings: Settings) -> None:
    """Install the hook before every view, and the answers of Unauthenticated."""
    app.before_request(_authorise)
    app.register_error_handler(Unauthenticated, _unauthenticated)


def _authorise() -> None:
    if not current_app.extensions.get("kopeck.access_checked"):
        missing = unmarked(current_app)
        if missing:
            raise RuntimeError(f"views without a role: {', '.join(missing)}")
        current_app.extensions["kopeck.access_checked"] = True
    endpoint = request.endpoint
    if endpoint is None or request.method == "OPTIONS":
        return
    mark = mark_of(current_app.view_functions[endpoint], endpoint, request.method)
    if mark is None:
        raise RuntimeError(f"{endpoint} does not say who may call it")
    if mark.kind is Kind.SCOPE:
        _authorise_key(mark)
    elif mark.kind is not Kind.PUBLIC:
        _authorise_person(mark)


def _authorise_person(mark: Mark) -> None:
    standing = require_standing()
    held = standing.roles
    if mark.kind is Kind.AFFILIATES and Role.AFFILIATE not in held:
        raise Forbidden
    if mark.kind is Kind.ROLES and not held & mark.roles:
        raise FactorNeeded if standing.asleep & mark.roles else Forbidden


def _authorise_key(mark: Mark) -> None:
    if sent_keys.looks_like_key(request.full_path):
        raise sent_keys.KeyInAddress
    now = clock.real_now()
    session = db.session()
    if request.method not in SAFE_METHODS:
        begin_planned_once(session)  # What writes finds its rows by their keys.
    identity = sent_keys.authenticate(
        session, authorization=request.headers.get("Authorization", ""), now=now
    )
    g.pace = pace.of_app().count(identity.id)
    if identity.enrollment_id is not None and not sent_keys.owner_may(
        session, enrollment_id=identity.enrollment_id
    ):
        raise sent_keys.KeyRefused
    if sent_keys.use_is_news(identity, now=now) and sent_keys.note_use(
        session, key_id=identity.id, now=now
    ):
        session.commit()
    scope = mark.scope if identity.enrollment_id is None else mark.own
    if scope not in identity.scopes:
        raise ScopeMissing(
            f"This API key does not have the scope {scope}."
            if scope
            else "An affiliate's own key reaches what is theirs alone."
        )
    g.api_key = identity


def _unauthenticated(refusal: Unauthenticated) -> Response:
    """Machines get the 401; people are led to where they sign in or give the password."""
    if wants_problem():
        return answer(refusal)
    pages = {PasswordNeeded: "/confirm-password", FactorStale: "/confirm-factor"}
    page = pages.get(type(refusal), "/sign-in")
    sent = request.method != "GET"
    back = page_before() if sent else request.full_path.rstrip("?")
    query = {"next": back} | ({"sent": "1"} if sent and type(refusal) in pages else {})
    return redirect(f"{page}?{urlencode(query)}" if back else page, 303)  # type: ignore[return-value]
