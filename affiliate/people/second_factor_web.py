"""Pages of the second factor: at sign-in, given again, set up, taken away, lost."""

from __future__ import annotations

import segno
from flask import (
    Blueprint,
    Flask,
    flash,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
)
from flask_babel import gettext as _
from werkzeug.wrappers import Response

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import Refusal, Unauthenticated
from affiliate.core.http import answer as answer_refusal
from affiliate.core.http import only_value, wants_problem
from affiliate.core.pages import say
from affiliate.people import (
    access,
    entering,
    factor_form,
    freshness,
    next_page,
    passkeys,
    second_factor,
    totp,
)
from affiliate.people import sessions as browser_sessions
from affiliate.people.access import public, signed_in
from affiliate.people.gate import FactorNeeded
from affiliate.people.models import User
from affiliate.people.second_factor import Factors
from affiliate.people.sessions import SignIn

Answer = str | Response | tuple[str, int]
PROFILE = "/profile/second-factor"
QR_SCALE = 5

blueprint = Blueprint("second_factor", __name__)


def set_up(app: Flask) -> None:
    """Register the pages, and the one that a sleeping role meets."""
    app.register_blueprint(blueprint)
    app.register_error_handler(FactorNeeded, _needed)


@blueprint.route("/second-factor", methods=["GET", "POST"])
@public
def at_sign_in() -> Answer:
    """After the password: a code of the app, a passkey, or a recovery code."""
    found = entering.waiting()
    if found is None:
        return redirect("/sign-in", 303)
    if request.method == "GET":
        return _asking_page(found.user)
    refusal = _refused(found)
    if refusal is not None:
        return _asking_page(found.user, refusal), 401
    entering.enter(found.user, factor_at=clock.real_now())
    db.session.commit()
    return redirect(entering.after_sign_in(), 303)


@blueprint.route("/confirm-factor", methods=["GET", "POST"])
@signed_in
def confirm_factor() -> Answer:
    """Give the second factor again before access or rules of approval are touched."""
    found, session = _found(), db.session()
    if not second_factor.factors_of(session, user_id=found.user.id).enrolled:
        return redirect(PROFILE, 303)
    if request.method == "GET":
        return _asking_page(found.user, again=True)
    refusal = _refused(found)
    if refusal is not None:
        return _asking_page(found.user, refusal, again=True), 422
    _given(found)
    session.commit()
    entering.remind()
    return redirect(entering.after_sign_in(), 303)


@blueprint.post("/second-factor/challenge")
@public
def challenge() -> Response:
    """What the browser hands to a passkey; for whoever is signed in, or about to be."""
    found = entering.waiting() or access.sign_in()
    if found is None:
        raise Unauthenticated
    session = db.session()
    options = passkeys.request_options(
        session, user_id=found.user.id, session_id=found.id, real_now=clock.real_now()
    )
    session.commit()
    return jsonify(options)


@blueprint.get("/profile/second-factor")
@signed_in
def profile() -> Answer:
    """What I have, what it protects, and how to change it."""
    return _profile_page()


@blueprint.post("/profile/second-factor/app")
@signed_in
def begin_app() -> Answer:
    """Make the secret that the app is to be given."""
    found = _may_change()
    session = db.session()
    try:
        second_factor.begin_app(session, user_id=found.user.id)
    except Refusal as refusal:
        session.rollback()
        return _profile_page(refusal), refusal.status
    session.commit()
    return redirect(next_page.with_next(f"{PROFILE}/app"), 303)


@blueprint.get("/profile/second-factor/app")
@signed_in
def show_app() -> Answer:
    """The secret as a picture and as a text, and where its first code is typed."""
    found = _may_change()
    return _app_page(found) or redirect(PROFILE, 303)


@blueprint.post("/profile/second-factor/app/confirmation")
@signed_in
def confirm_app() -> Answer:
    """The first code: from now on the app counts."""
    found = _may_change()
    session = db.session()
    first = not second_factor.factors_of(session, user_id=found.user.id).enrolled
    try:
        codes = second_factor.confirm_app(
            session,
            user_id=found.user.id,
            text=only_value("code")[: second_factor.TEXT_CHARS_MAX],
            now=clock.now(session),
            real_now=clock.real_now(),
        )
    except Refusal as refusal:
        session.commit()
        return _app_page(found, refusal) or _profile_page(refusal), refusal.status
    return _added(found, codes, first=first)


@blueprint.post("/profile/second-factor/app/removal")
@signed_in
def remove_app() -> Answer:
    """The app's codes count no longer."""
    freshness.require_factor()
    session = db.session()
    second_factor.remove_app(session, user_id=_found().user.id, now=clock.now(session))
    return _done(_("Codes of the app are no longer taken."))


@blueprint.post("/profile/second-factor/passkeys/challenge")
@signed_in
def passkey_challenge() -> Response:
    """What the browser makes a passkey from."""
    found = _may_change()
    session = db.session()
    options = passkeys.creation_options(
        session, user=found.user, session_id=found.id, real_now=clock.real_now()
    )
    session.commit()
    return jsonify(options)


@blueprint.post("/profile/second-factor/passkeys")
@signed_in
def add_passkey() -> Answer:
    """Keep the passkey that the browser has made."""
    found = _may_change()
    session = db.session()
    first = not second_factor.factors_of(session, user_id=found.user.id).enrolled
    try:
        codes = passkeys.add(
            session,
            user_id=found.user.id,
            session_id=found.id,
            answer=only_value("passkey"),
            name=only_value("name"),
            now=clock.now(session),
            real_now=clock.real_now(),
        )
    except Refusal as refusal:
        session.commit()
        return _profile_page(refusal), refusal.status
    return _added(found, codes, first=first)


@blueprint.post("/profile/second-factor/passkeys/<int:passkey_id>/removal")
@signed_in
def remove_passkey(passkey_id: int) -> Answer:
    """Forget a passkey of mine."""
    freshness.require_factor()
    session = db.session()
    passkeys.remove(
        session, user_id=_found().user.id, passkey_id=passkey_id, now=clock.now(session)
    )
    return _done(_("The passkey is no longer taken."))


@blueprint.post("/profile/second-factor/recovery-codes")
@signed_in
def renew_codes() -> Answer:
    """Ten new recovery codes; the old ones are void."""
    freshness.require_factor()
    session = db.session()
    codes = second_factor.renew_codes(session, user_id=_found().user.id, now=clock.now(session))
    session.commit()
    return _codes_page(codes), 201


def _refused(found: SignIn) -> Refusal | None:
    try:
        factor_form.check(db.session(), user_id=found.user.id, session_id=found.id)
    except Refusal as refusal:
        return refusal
    return None


def _given(found: SignIn) -> None:
    """A session that may do more from now on gets a new id (abuse A26)."""
    if found.factor_at is None:
        entering.enter(found.user, factor_at=clock.real_now())
        return
    browser_sessions.give_factor(db.session(), session_id=found.id, now=clock.real_now())
    access.forget()


def _added(found: SignIn, codes: list[str], *, first: bool) -> Answer:
    """With the first factor every sign-in that knows the password alone ends."""
    session = db.session()
    if first:
        browser_sessions.revoke_all(
            session, user_id=found.user.id, except_id=found.id, now=clock.real_now()
        )
        entering.enter(found.user, factor_at=clock.real_now())
    session.commit()
    if codes:
        return _codes_page(codes), 201
    flash(_("Added. It can be used from now on."), "success")
    return redirect(PROFILE, 303)


def _may_change() -> SignIn:
    """Whoever only found the browser open must not add a factor of their own."""
    found = _found()
    if second_factor.factors_of(db.session(), user_id=found.user.id).enrolled:
        freshness.require_factor()
    else:
        freshness.require_fresh()
    return found


def _found() -> SignIn:
    found = access.sign_in()
    assert found is not None
    return found


def _done(message: str) -> Response:
    db.session.commit()
    flash(message, "success")
    return redirect(PROFILE, 303)


def _asking_page(user: User, refusal: Refusal | None = None, *, again: bool = False) -> str:
    factors = second_factor.factors_of(db.session(), user_id=user.id)
    return render_template(
        "affiliate/people/give_factor.html",
        again=again,
        error=None if refusal is None else say(refusal.detail),
        by_app=factors.totp_since is not None,
        by_passkey=bool(factors.passkeys) and passkeys.possible(),
        next=next_page.own_next(),
    )


def _app_page(found: SignIn, refusal: Refusal | None = None) -> str | None:
    secret = second_factor.app_being_set_up(db.session(), user_id=found.user.id)
    if secret is None:
        return None
    return render_template(
        "affiliate/people/add_app.html",
        picture=segno.make(totp.address(secret, found.user.email), error="m").svg_data_uri(
            scale=QR_SCALE, border=3, dark="#14282b", light="#ffffff"
        ),
        key=totp.typed_key(secret),
        error=None if refusal is None else say(refusal.detail),
        next=next_page.own_next(),
    )


def _profile_page(refusal: Refusal | None = None) -> str:
    found = _found()
    factors: Factors = second_factor.factors_of(db.session(), user_id=found.user.id)
    return render_template(
        "affiliate/people/second_factor.html",
        factors=factors,
        needed=access.asleep(),
        possible=passkeys.possible(),
        errors=[] if refusal is None else _sentences(refusal),
        next=next_page.own_next(),
    )


def _codes_page(codes: list[str]) -> str:
    return render_template(
        "affiliate/people/recovery_codes.html", codes=codes, next=next_page.own_next()
    )


def _sentences(refusal: Refusal) -> list[str]:
    return [say(error.message) for error in refusal.errors] or [say(refusal.detail)]


def _needed(refusal: FactorNeeded) -> Response:
    """403 with the way on: where a factor is set up, or where the one they have is given."""
    if wants_problem():
        return answer_refusal(refusal)
    found = _found()
    back = request.full_path.rstrip("?") if request.method == "GET" else next_page.page_before()
    enrolled = second_factor.factors_of(db.session(), user_id=found.user.id).enrolled
    html = render_template(
        "affiliate/people/factor_needed.html", title=refusal.title, enrolled=enrolled, next=back
    )
    return make_response(html, refusal.status)
