"""The public pages of programs: the list, a program's rules in words, the application."""

from __future__ import annotations

import re
from typing import Any, Final

import sqlalchemy as sa
from flask import (
    Blueprint,
    Flask,
    Response,
    current_app,
    flash,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from flask_babel import gettext as _
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import FieldError, Invalid, NotFound
from affiliate.core.pages import say
from affiliate.people import access, ids, joining
from affiliate.people.access import public, signed_in
from affiliate.people.forms import RegisterForm
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.people.rules import Status
from affiliate.programs import examples, programs, rule_versions, words
from affiliate.programs.forms import ApplicationForm
from affiliate.programs.models import Program, RuleVersion

RECRUITER_COOKIE_S: Final = 30 * 86_400
"""How long a recruiting link is remembered; the last one followed counts."""
_PUBLIC_ID = re.compile(r"(?a:[a-z]{3}_[A-Za-z0-9]{1,20})")

pages = Blueprint("programs", __name__, url_prefix="/programs")


def set_up(app: Flask, settings: Settings) -> None:
    """Register the pages; mails find the installation's own address as `public_url`."""
    app.register_blueprint(pages)
    app.jinja_env.globals.setdefault("public_url", settings.public_url)


@pages.get("")
@public
def listing() -> str:
    """Every program that takes applications."""
    session = db.session()
    now = clock.now(session)
    query = sa.select(Program).where(Program.status == "open").order_by(Program.name, Program.id)
    shown = []
    for program in session.scalars(query):
        version = rule_versions.in_force(session, program_id=program.id, at=now)
        shown.append({"program": program, "headline": words.headline(version.terms.commission)})
    return render_template("affiliate/programs/list.html", shown=shown)


@pages.get("/<slug>")
@public
def program(slug: str) -> Response:
    """The rules in force in words, with examples, and the way in.

    `?by=<affiliate>` is a recruiting link: it is remembered for the application.
    """
    session = db.session()
    found = programs.by_slug(session, slug)
    now = clock.now(session)
    version = rule_versions.in_force(session, program_id=found.id, at=now)
    coming = sa.select(RuleVersion).where(
        RuleVersion.program_id == found.id, RuleVersion.effective_at > now
    )
    by = _recruiter_in_request(found)
    response = make_response(
        render_template(
            "affiliate/programs/program.html",
            program=found,
            version=version,
            headline=words.headline(version.terms.commission),
            level_2=words.level_2_short(version.terms.commission),
            rules=words.rules_in_words(version.terms, found),
            example=words.example_sentences(
                examples.example(version.terms, found.currency, earned=examples.calculator()),
                version.terms.commission,
            ),
            coming=list(session.scalars(coming.order_by(RuleVersion.effective_at))),
            enrollment=_own_enrollment(session, found),
            recruiter=_recruiter_name(session, found, by),
            apply_url=url_for("programs.apply", slug=slug, by=by or None),
            contact_email=found.contact_email,
        )
    )
    return _remember(response, found, request.args.get("by"))


@pages.get("/<slug>/apply")
@public
def apply(slug: str) -> Response | str:
    """The application form; whoever is not signed in is asked for that first."""
    session = db.session()
    found = programs.by_slug(session, slug)
    by = _recruiter_in_request(found)
    standing = access.find_standing()
    if standing is None:
        back = url_for("programs.apply", slug=slug, by=by or None)
        page = render_template(
            "affiliate/programs/apply_account.html",
            program=found,
            back=back,
            form=RegisterForm(formdata=None),
        )
        return _remember(make_response(page), found, request.args.get("by"))
    if found.status != "open" or _own_enrollment(session, found, may_reapply=True) is not None:
        return redirect(url_for("programs.program", slug=slug))  # type: ignore[return-value]
    version = rule_versions.in_force(session, program_id=found.id, at=clock.now(session))
    form = ApplicationForm(
        formdata=None,
        name=_own_name(session, standing.actor.user_id),
        by=by,
        rule_version=str(version.number),
    )
    page = _form_page(session, found, form)
    return _remember(make_response(page), found, request.args.get("by"))


@pages.post("/<slug>/apply")
@signed_in
def send_application(slug: str) -> Response | tuple[str, int]:
    """Enroll the signed-in person as an applicant."""
    session = db.session()
    found = programs.by_slug(session, slug)
    form = ApplicationForm()
    form.refuse_extra_fields()
    if not form.validate():
        return _form_page(session, found, form), 422
    by = form.by.data or request.cookies.get(_cookie_name(found), "")
    try:
        enrollment = joining.apply(
            session,
            user_id=access.actor().user_id,
            program_id=found.id,
            name=form.name.data or "",
            answers=form.answers(),
            recruiter_id=_recruiter_id(by),
            now=clock.now(session),
        )
    except Invalid as refused:
        session.rollback()
        _show_errors(form, refused)
        return _form_page(session, found, form), 422
    session.commit()
    if enrollment.status == Status.ACTIVE:
        flash(_("Welcome. You can make your first link now."), "success")
        following = f"/account/links?program={slug}"
    else:
        flash(_("Your application has arrived. You get the answer by mail."), "success")
        following = url_for("programs.program", slug=slug)
    response: Response = redirect(following, 303)  # type: ignore[assignment]
    response.delete_cookie(_cookie_name(found))
    return response


def _form_page(session: Session, found: Program, form: ApplicationForm) -> str:
    version = rule_versions.in_force(session, program_id=found.id, at=clock.now(session))
    return render_template(
        "affiliate/programs/apply.html",
        program=found,
        form=form,
        headline=words.headline(version.terms.commission),
        version=version,
        recruiter=_recruiter_name(session, found, form.by.data or ""),
        contact_email=found.contact_email,
    )


def _show_errors(form: ApplicationForm, refused: Invalid) -> None:
    """The verb's refusals beside the fields that they are about."""
    for error in refused.errors:
        field = form._fields.get(error.field, form.how)
        field.errors = [*field.errors, _sentence(error)]


def _sentence(error: FieldError) -> str:
    if (error.field, error.code) == ("site", "not_an_address"):
        return str(_("Write the whole address, with https:// in front."))
    if (error.field, error.code) == ("name", "length"):
        return str(_("A name has visible characters only, at most eighty."))
    return say(error.message)


def _own_enrollment(
    session: Session, found: Program, *, may_reapply: bool = False
) -> Enrollment | None:
    """The reader's enrollment; with `may_reapply`, none where they may send a new form."""
    standing = access.find_standing()
    if standing is None or standing.actor.affiliate_id is None:
        return None
    enrollment = session.scalar(
        sa.select(Enrollment).where(
            Enrollment.program_id == found.id,
            Enrollment.affiliate_id == standing.actor.affiliate_id,
        )
    )
    if may_reapply and enrollment is not None and enrollment.status == Status.REJECTED:
        return None
    return enrollment


def _own_name(session: Session, user_id: int) -> str:
    name = session.scalar(sa.select(Affiliate.name).where(Affiliate.user_id == user_id))
    return name or session.get_one(User, user_id).name


def _recruiter_in_request(found: Program) -> str:
    """The recruiting link being followed, else the one remembered; empty when there is none."""
    by = request.args.get("by") or request.cookies.get(_cookie_name(found), "")
    return by if _PUBLIC_ID.fullmatch(by) else ""


def _recruiter_id(by: str) -> int | None:
    try:
        return ids.enrollment_of(by)
    except NotFound:
        return None


def _recruiter_name(session: Session, found: Program, by: str) -> str | None:
    """Who recruits, so that the applicant sees it before they send the form."""
    query = (
        sa.select(Affiliate.name)
        .join(Enrollment, Enrollment.affiliate_id == Affiliate.id)
        .where(
            Enrollment.id == _recruiter_id(by),
            Enrollment.program_id == found.id,
            Enrollment.status == Status.ACTIVE,
        )
    )
    return session.scalar(query)


def _cookie_name(found: Program) -> str:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return f"{'__Host-' if settings.https else ''}by-{found.slug}"


def _remember(response: Response, found: Program, by: Any) -> Response:
    """Keep a recruiting link in a cookie of its own: signing in empties the session's."""
    if isinstance(by, str) and _PUBLIC_ID.fullmatch(by):
        settings: Settings = current_app.extensions["kopeck.settings"]
        response.set_cookie(
            _cookie_name(found),
            by,
            max_age=RECRUITER_COOKIE_S,
            secure=settings.https,
            httponly=True,
            samesite="Lax",
        )
    return response
