"""Pages about oneself: profile, password, address, sign-ins; and joining by invitation."""

from __future__ import annotations

from flask import Blueprint, Flask, current_app, flash, redirect, render_template
from flask_babel import get_locale
from flask_babel import gettext as _
from werkzeug.wrappers import Response

from affiliate.core import clock, languages
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import Refusal
from affiliate.people import (
    access,
    account,
    agents,
    entering,
    freshness,
    invitations,
    language,
    limits,
    mail_links,
    second_factor_web,
    staff_web,
    users,
)
from affiliate.people import sessions as browser_sessions
from affiliate.people.access import public, signed_in
from affiliate.people.forms import (
    ButtonForm,
    ChangePasswordForm,
    Form,
    JoinForm,
    NewAddressForm,
    PresentPasswordForm,
    ProfileForm,
)
from affiliate.people.mail_links import Purpose
from affiliate.people.sessions import SignIn

Answer = str | Response | tuple[str, int]

blueprint = Blueprint("people", __name__)


def set_up(app: Flask, _settings: Settings) -> None:
    """Register the pages of people, staff and keys."""
    app.register_blueprint(blueprint)
    app.register_blueprint(staff_web.blueprint)
    language.set_up(app)
    second_factor_web.set_up(app)


@blueprint.get("/profile")
@signed_in
def profile() -> Answer:
    """Who I am, how I sign in, and where I am signed in."""
    return _profile_page()


@blueprint.post("/profile")
@signed_in
def change_profile() -> Answer:
    """Name, language, time zone."""
    form = _profile_form()
    if not form.validate_on_submit():
        return _profile_page(profile_form=form), 422
    account.change_profile(
        db.session(),
        user_id=access.actor().user_id,
        name=form.name.data,
        locale=form.locale.data,
        time_zone=form.time_zone.data,
    )
    return _done(_("Saved."))


@blueprint.post("/profile/password")
@signed_in
@limits.braked(limits.brake_password)
def change_password() -> Answer:
    """A new password; every other sign-in ends, this one goes on under a new id."""
    form = ChangePasswordForm()
    session, found = db.session(), _found()
    if not form.validate_on_submit():
        return _profile_page(password_form=form), 422
    try:
        user = account.change_password(
            session,
            user_id=found.user.id,
            present=form.present.data,
            password=form.password.data,
            session_id=found.id,
            now=clock.now(session),
        )
    except account.PasswordWrong:
        form.present.errors = [_("This is not your present password.")]
        return _profile_page(password_form=form), 422
    except Refusal as refusal:
        form.show(refusal)
        return _profile_page(password_form=form), 422
    entering.enter(user, factor_at=found.factor_at)
    return _done(_("The new password is set. You are signed out everywhere else."))


@blueprint.post("/profile/email")
@signed_in
@limits.braked(limits.brake_mails)
def ask_change_email() -> Answer:
    """Ask to use another address; it counts once its mail was answered."""
    freshness.require_fresh()
    form = NewAddressForm()
    session = db.session()
    if not form.validate_on_submit():
        return _profile_page(email_form=form), 422
    try:
        account.ask_change_email(
            session, user_id=_found().user.id, email=form.email.data, now=clock.now(session)
        )
    except Refusal as refusal:
        form.show(refusal)
        return _profile_page(email_form=form), 422
    return _done(
        _("We have mailed a link to the new address. Until it is used, the old one stays.")
    )


@blueprint.route("/profile/email/<token>", methods=["GET", "POST"])
@public
def change_email(token: str) -> Answer:
    """The new address is theirs: by a button, for scanners open links."""
    session = db.session()
    link = mail_links.read(session, Purpose.CHANGE_EMAIL, token)
    form = ButtonForm()
    if form.validate_on_submit():
        account.change_email(session, token=token, now=clock.now(session))
        session.commit()
        flash(_("The new address is in use from now on."), "success")
        return redirect("/profile", 303)
    return render_template(
        "affiliate/people/form_page.html",
        form=form,
        title=_("Use this address?"),
        lead=_("From now on you sign in with %(email)s.", email=link.email),
        submit=_("Yes, use it"),
        links=[],
        next="",
    )


@blueprint.post("/profile/sessions/<int:session_id>/revocation")
@signed_in
def revoke_session(session_id: int) -> Answer:
    """End one sign-in of mine."""
    browser_sessions.revoke(
        db.session(),
        user_id=access.actor().user_id,
        session_id=session_id,
        now=clock.real_now(),
    )
    return _done(_("That sign-in has ended."))


@blueprint.post("/profile/sessions/revocation")
@signed_in
def revoke_other_sessions() -> Answer:
    """End every sign-in but this one."""
    found = _found()
    browser_sessions.revoke_all(
        db.session(), user_id=found.user.id, except_id=found.id, now=clock.real_now()
    )
    return _done(_("You are signed out everywhere else."))


@blueprint.route("/invitations/<token>", methods=["GET", "POST"])
@public
@limits.braked(limits.brake_sign_in)
def accept_invitation(token: str) -> Answer:
    """Join the staff: with a name and a password, or with the password one has."""
    session = db.session()
    invitation = invitations.find(session, token=token, now=clock.now(session))
    known = users.find(session, email=invitation.email)
    has_account = known is not None and known.password is not None
    form: Form = PresentPasswordForm() if has_account else JoinForm()
    if form.validate_on_submit():
        try:
            user = invitations.accept(
                session,
                token=token,
                name="" if has_account else form.name.data,
                password=form.password.data,
                locale=str(get_locale()),
                now=clock.now(session),
            )
        except Refusal as refusal:
            session.rollback()
            form.show(refusal)
        else:
            page = entering.admit(user)
            session.commit()
            return redirect(page, 303)
    html = render_template(
        "affiliate/people/form_page.html",
        form=form,
        title=_("Join the staff"),
        lead=_("You were invited as %(email)s.", email=invitation.email),
        submit=_("Join"),
        links=[],
        next="",
    )
    return html, 422 if form.is_submitted() else 200


def _found() -> SignIn:
    found = access.sign_in()
    assert found is not None
    return found


def _done(message: str) -> Response:
    """Commit, say so, and show the profile."""
    db.session.commit()
    flash(message, "success")
    return redirect("/profile", 303)


def _profile_form() -> ProfileForm:
    user = _found().user
    form = ProfileForm(name=user.name, locale=user.locale, time_zone=user.time_zone)
    form.locale.choices = list(languages.NAMES.items())
    return form


def _profile_page(
    profile_form: ProfileForm | None = None,
    password_form: ChangePasswordForm | None = None,
    email_form: NewAddressForm | None = None,
) -> str:
    settings: Settings = current_app.extensions["kopeck.settings"]
    found = _found()
    live = browser_sessions.live(
        db.session(),
        user_id=found.user.id,
        idle_s=settings.session_idle_s,
        absolute_s=settings.session_absolute_s,
        now=clock.real_now(),
    )
    return render_template(
        "affiliate/people/profile.html",
        profile_form=profile_form or _profile_form(),
        password_form=password_form or ChangePasswordForm(formdata=None),
        email_form=email_form or NewAddressForm(formdata=None),
        email=found.user.email,
        pending_email=found.user.pending_email,
        sign_ins=[
            {
                "id": row.id,
                "browser": agents.describe(row.agent),
                "since": row.created_at,
                "seen": row.last_seen_at,
                "here": row.id == found.id,
            }
            for row in live
        ],
    )
