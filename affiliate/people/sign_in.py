"""Pages of signing in and out, registering, verifying, resetting; and what they are wired to.

Flask-Security carries the sign-in; our own table of sessions decides whether it still counts
(affiliate.people.sessions), and affiliate.people.entering lets browsers in and out. The second
factor follows in affiliate.people.second_factor_web. Every answer to a stranger is the same
whether the address is known or not.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, Flask, current_app, flash, redirect, render_template, request
from flask import session as cookie
from flask_babel import get_locale
from flask_babel import gettext as _
from flask_security import Security, SQLAlchemySessionUserDatastore
from werkzeug.wrappers import Response

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import Invalid
from affiliate.people import (
    access,
    account,
    entering,
    limits,
    mail_links,
    navigation,
    users,
)
from affiliate.people import sessions as browser_sessions
from affiliate.people.access import public, signed_in
from affiliate.people.forms import (
    ButtonForm,
    EmailForm,
    NewPasswordForm,
    PresentPasswordForm,
    RegisterForm,
    SignInForm,
)
from affiliate.people.mail_links import Purpose
from affiliate.people.models import User
from affiliate.people.next_page import own_next, with_next

Answer = str | Response | tuple[str, int]
REGISTERING_KEY = "registering"
"""Name of the secret in the cookie of a browser that has registered somebody."""
REGISTERING_BYTES = 16

blueprint = Blueprint("sign_in", __name__)


class _NoRole:
    """Flask-Security asks for a role model; ours are grants (affiliate.people.access)."""

    name = ""


def set_up(app: Flask, settings: Settings) -> None:
    """Wire Flask-Security, the brakes, the menus and these pages into the application."""
    app.config.update(
        PERMANENT_SESSION_LIFETIME=timedelta(seconds=settings.session_absolute_s),
        SESSION_REFRESH_EACH_REQUEST=False,
        SECURITY_PASSWORD_HASH="argon2",  # noqa: S106 -- the scheme's name
        SECURITY_PASSWORD_SINGLE_HASH=["argon2"],
        SECURITY_PASSWORD_SALT=settings.key("security").hex(),
        SECURITY_LOGIN_URL="/sign-in",
        SECURITY_DEFAULT_REMEMBER_ME=False,
    )
    security = Security()
    datastore = SQLAlchemySessionUserDatastore(db.session, User, _NoRole)  # type: ignore[arg-type]
    security.init_app(app, datastore, register_blueprint=False)
    # Roles are not Flask-Principal's, and a token in the address or a header is no sign-in.
    app.before_request_funcs[None] = [
        hook
        for hook in app.before_request_funcs.get(None, [])
        if not type(getattr(hook, "__self__", None)).__module__.startswith("flask_principal")
    ]
    app.login_manager.user_loader(_load)  # type: ignore[attr-defined]
    app.login_manager.request_loader(None)  # type: ignore[attr-defined]
    limits.set_up(app, settings)
    navigation.set_up(app)
    app.register_blueprint(blueprint)


@blueprint.route("/sign-in", methods=["GET", "POST"])
@public
@limits.braked(limits.brake_sign_in)
def sign_in() -> Answer:
    """E-mail and password; one sentence for every way in which they can be wrong."""
    form = SignInForm()
    if request.method == "GET" and access.sign_in() is not None:
        return redirect(entering.after_sign_in(), 303)
    if not form.validate_on_submit():
        return _sign_in_page(form), 422 if form.is_submitted() else 200
    session = db.session()
    user = account.authenticate(session, email=form.email.data, password=form.password.data)
    if user is None:
        session.commit()
        form.form_errors.append(_("This address and password do not go together."))
        return _sign_in_page(form), 401
    if user.confirmed_at is None:
        users.send_verification(session, user=user, next_path=own_next(), now=clock.now(session))
        session.commit()
        return _check_mail(user.email)
    page = entering.admit(user)
    session.commit()
    return redirect(page, 303)


@blueprint.post("/sign-out")
@public
def sign_out() -> Answer:
    """End this sign-in. Harmless for a visitor."""
    entering.leave()
    db.session.commit()
    flash(_("You are signed out."), "info")
    return redirect("/sign-in", 303)


@blueprint.route("/sign-up", methods=["GET", "POST"])
@public
@limits.braked(limits.brake_mails)
def register() -> Answer:
    """Become a user; the same page follows for a new and for a known address."""
    form = RegisterForm()
    if form.validate_on_submit():
        session = db.session()
        # Kept by this browser alone, for a known address as for a new one.
        secret = cookie[REGISTERING_KEY] = secrets.token_urlsafe(REGISTERING_BYTES)
        try:
            users.register_affiliate_user(
                session,
                email=form.email.data,
                password=form.password.data,
                name=form.name.data,
                locale=str(get_locale()),
                next_path=own_next(),
                browser=mail_links.browser_mark(secret),
                now=clock.now(session),
            )
        except Invalid as refusal:
            form.show(refusal)
        else:
            session.commit()
            return _check_mail(form.email.data.strip())
    return _page(
        form,
        title=_("Create your account"),
        lead=_("One account serves every program here. Which ones you join you choose next."),
        submit=_("Create account"),
        links=[(_("I have an account: sign in"), with_next("/sign-in"))],
    )


@blueprint.route("/verify/<token>", methods=["GET", "POST"])
@public
def verify(token: str) -> Answer:
    """The address is theirs. By a button: programs that scan mails open every link.

    The browser that chose the password a moment ago need not give it again.
    """
    session = db.session()
    link = mail_links.read(session, Purpose.VERIFY, token)
    form = ButtonForm()
    if form.validate_on_submit():
        user = users.verify(session, token=token, now=clock.now(session))
        if mail_links.is_of_browser(link, cookie.get(REGISTERING_KEY)):
            page = entering.admit(user)
            session.commit()
            flash(_("Your address is verified. Welcome."), "success")
            return redirect(page, 303)
        session.commit()
        flash(_("Your address is verified. Sign in to go on."), "success")
        return redirect(with_next("/sign-in"), 303)
    return _page(
        form,
        title=_("Verify your address"),
        lead=_("One press, and the account is yours."),
        submit=_("Yes, this is my address"),
    )


@blueprint.route("/forgot-password", methods=["GET", "POST"])
@public
@limits.braked(limits.brake_mails)
def forgot_password() -> Answer:
    """Ask for a link that sets a new password; the same page for every address."""
    form = EmailForm()
    if form.validate_on_submit():
        session = db.session()
        account.ask_reset(session, email=form.email.data, now=clock.now(session))
        session.commit()
        return _check_mail(form.email.data.strip())
    return _page(
        form,
        title=_("Set a new password"),
        lead=_("We mail you a link. It works once, for an hour."),
        submit=_("Send the link"),
        links=[(_("Back to sign-in"), "/sign-in")],
    )


@blueprint.route("/reset-password/<token>", methods=["GET", "POST"])
@public
def reset_password(token: str) -> Answer:
    """Set a new password by a mailed link; every sign-in of the account ends."""
    session = db.session()
    mail_links.read(session, Purpose.RESET, token)
    form = NewPasswordForm()
    if form.validate_on_submit():
        try:
            account.reset(session, token=token, password=form.password.data, now=clock.now(session))
        except Invalid as refusal:
            form.show(refusal)
        else:
            session.commit()
            flash(_("The new password is set. Sign in with it."), "success")
            return redirect("/sign-in", 303)
    return _page(
        form,
        title=_("Set a new password"),
        lead=_("You will be signed out everywhere, and we tell you by mail."),
        submit=_("Set password"),
    )


@blueprint.route("/confirm-password", methods=["GET", "POST"])
@signed_in
@limits.braked(limits.brake_password)
def confirm_password() -> Answer:
    """Give the password again before money or keys are touched."""
    form = PresentPasswordForm()
    found = access.sign_in()
    assert found is not None
    if form.validate_on_submit():
        session = db.session()
        user = account.authenticate(session, email=found.user.email, password=form.password.data)
        if user is not None:
            browser_sessions.refresh(session, session_id=found.id, now=clock.real_now())
            session.commit()
            entering.remind()
            return redirect(entering.after_sign_in(), 303)
        form.form_errors.append(_("This is not your password."))
    html = _page(
        form,
        title=_("Your password, please"),
        lead=_("You are about to touch money or access. It is asked again after a while."),
        submit=_("Go on"),
        links=[(_("I forgot it"), "/forgot-password")],
    )
    return html, 401 if form.form_errors else 200


def _sign_in_page(form: SignInForm) -> str:
    return _page(
        form,
        title=_("Sign in"),
        submit=_("Sign in"),
        links=[
            (_("I forgot my password"), "/forgot-password"),
            (_("Create an account"), with_next("/sign-up")),
        ],
    )


def _page(
    form: Any,
    *,
    title: str,
    submit: str,
    lead: str = "",
    links: list[tuple[str, str]] | None = None,
) -> str:
    return render_template(
        "affiliate/people/form_page.html",
        form=form,
        title=title,
        lead=lead,
        submit=submit,
        links=links or [],
        next=own_next(),
    )


def _check_mail(email: str) -> str:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return render_template(
        "affiliate/people/check_mail.html",
        email=email,
        mail_url="" if settings.production else settings.mail_url,
    )


def _load(uniquifier: str) -> User | None:
    """Flask-Login's question who this is. The row of the session decides."""
    try:
        found = access.sign_in()
    except sa.exc.SQLAlchemyError:
        current_app.logger.warning("the signed-in user could not be read")
        return None
    if found is None or found.user.fs_uniquifier != uniquifier:
        return None
    return found.user
