"""The start page, and in demo mode the page on which business time can be moved."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa
from flask import Blueprint, Flask, current_app, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from affiliate.core import audit, clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import Invalid
from affiliate.people.access import public
from affiliate.programs.models import Program
from payouts.batches.draft import draft_weekly, open_periods, undrafted
from payouts.rails.registry import rails
from tracker.demo.codes import codes_now
from tracker.desks import style_page

ADVANCE_DAYS = (1, 7, 14, 15, 30)
ADVANCE_HOURS_MAX = 24 * 366

home = Blueprint("home", __name__)
demo = Blueprint("demo", __name__, url_prefix="/demo")


def set_up(app: Flask, settings: Settings) -> None:
    """Register the start page; the demo's page exists outside production alone."""
    app.register_blueprint(home)
    if not settings.production:
        app.register_blueprint(demo)
        app.context_processor(_moved_clock)
        app.context_processor(lambda: {"demo_codes_url": "/demo/#codes"})


@home.get("/")
@public
def start() -> str:
    """What Kopeck is, the programs that take applications, and the demo's doors."""
    programs = db.session.scalars(
        sa.select(Program).where(Program.status == "open").order_by(Program.id)
    )
    return render_template(
        "landing.html",
        programs=[
            {"name": p.name, "summary": p.summary, "url": f"/programs/{p.slug}"} for p in programs
        ],
        doors=_doors(),
    )


@home.get("/contact")
@public
def contact() -> str:
    """Whom to write to, by program."""
    programs = db.session.scalars(sa.select(Program).order_by(Program.name))
    return render_template("contact.html", programs=[p for p in programs if p.contact_email])


@demo.get("/")
@public
def clock_page() -> str:
    """Business time as it is, and buttons that move it forward."""
    return render_template(
        "demo.html",
        now=clock.now(db.session()),
        offset=clock.offset(db.session()),
        choices=ADVANCE_DAYS,
        codes=codes_now(db.session(), now=clock.real_now()),
        doors=_doors(),
    )


@demo.get("/clock")
@public
def read_clock() -> dict[str, str]:
    """Business time for the demo shop, which lives in the same moved time as Kopeck."""
    return {"now": clock.now(db.session()).isoformat()}


@demo.get("/codes")
@public
def codes() -> dict[str, str]:
    """Codes of the demo people's second factors, for whoever has no app at hand."""
    return {each.email: each.code for each in codes_now(db.session(), now=clock.real_now())}


@demo.post("/clock")
@public
def advance_clock() -> Response:
    """Move business time forward by `hours` or `days`; refused in production (no such route)."""
    by = timedelta(days=_whole("days"), hours=_whole("hours"))
    if not timedelta(0) < by <= timedelta(hours=ADVANCE_HOURS_MAX):
        raise Invalid.field("days", "out_of_range", _("Choose between one hour and one year."))
    session = db.session()
    clock.advance(session, by=by)
    now = clock.now(session)
    audit.record(session, actor="demo", action="clock.advance", subject="clock", now=now)
    _catch_up(session, now)
    session.commit()
    flash(_("Business time has moved forward."), "success")
    return redirect(url_for("demo.clock_page"), 303)


def _catch_up(session: Session, now: datetime) -> None:
    """What the passed time brings comes at once, and in its order.

    The payout days that were jumped over take what was available then, before anything is
    released at the new time; in one transaction with the move, so that no job comes between.
    """
    settings: Settings = current_app.extensions["kopeck.settings"]
    open_periods(session, now=now)
    for period_id in undrafted(session):
        draft_weekly(session, period_id=period_id, rails=rails(settings), now=now)
    for entry in current_app.extensions["kopeck.periodic"]:
        entry.job.after_commit(session)


@demo.get("/styleguide")
@public
def styleguide() -> str:
    """Every component of our pages on one page."""
    return render_template("_styleguide.html", example=style_page.example(clock.now(db.session())))


def _whole(name: str) -> int:
    text = request.form.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise Invalid.field(name, "not_a_whole_number", _("Write a whole number."))
    return int(text)


def _doors() -> list[dict[str, str]]:
    settings: Settings = current_app.extensions["kopeck.settings"]
    if settings.production:
        return []
    doors = [
        (_("Affiliate account"), _("Links, clicks, orders, money"), "/account/", "affiliate"),
        (_("Finance desk"), _("Batches to approve"), "/finance/", "building-bank"),
        (_("Manager's desk"), _("Applications, affiliates, rules"), "/manage/", "users"),
        (_("API"), _("What shops call"), "/api/", "api"),
        (_("Clock"), _("Let a hold period pass"), "/demo/", "clock"),
    ]
    if settings.shop_url:
        shop = (_("Demo shop"), _("Buy something"), settings.shop_url, "shopping-cart")
        doors.insert(0, shop)
    if settings.mail_url:
        doors.append((_("Mails"), _("What was sent, to whom"), settings.mail_url, "mail"))
    if settings.stripe_api_base.startswith("http://"):
        doors.append(
            (_("Stripe double"), _("What was sent"), settings.stripe_api_base, "cash-banknote")
        )
    return [dict(zip(("label", "text", "url", "icon"), door, strict=True)) for door in doors]


def _moved_clock() -> dict[str, object]:
    """A line above every page while business time runs ahead."""
    ahead = clock.offset(db.session())
    if not ahead:
        return {}
    return {
        "notice": {
            "text": _("Demo: business time is %(days)s days ahead.", days=ahead.days),
            "url": url_for("demo.clock_page"),
            "label": _("Clock"),
            "tone": "warning",
        }
    }
