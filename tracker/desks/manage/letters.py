"""What letters a program sends and when, with one of each to look at, in every language."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from flask import Response, current_app

from affiliate.core import clock, languages, outbox
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.outbox import Rendered
from tracker.desks.manage.blueprint import Place, manage, page, place, readers
from tracker.desks.words import _
from tracker.letters.catalogue import BY_SLUG, ENTRIES, Audience, Entry, Frame, render

COUNTED_DAYS: Final = 30
FRAMED: Final = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; "
    "base-uri 'none'; form-action 'none'"
)
"""A letter in a frame of our own page: it can run, load and send nothing."""


@manage.get("/letters")
@readers
def letters() -> str:
    """Every letter, its occasion, and how many went out lately."""
    here = place()
    session = db.session()
    since = clock.now(session) - timedelta(days=COUNTED_DAYS)
    return page(
        "letters",
        here,
        program=here.required,
        groups=[
            (label, [entry for entry in ENTRIES if entry.audience is audience])
            for audience, label in _audiences().items()
        ],
        counted=outbox.counted(session, scope=here.required.id, since=since),
        days=COUNTED_DAYS,
    )


@manage.get("/letters/<slug>")
@readers
def letter(slug: str) -> str:
    """One letter with made-up values, in every language."""
    here, entry = place(), _entry(slug)
    return page(
        "letter",
        here,
        program=here.required,
        entry=entry,
        shown=[
            (code, name, _rendered(here, entry, code)) for code, name in languages.NAMES.items()
        ],
    )


@manage.get("/letters/<slug>/<language>.html")
@readers
def letter_as_sent(slug: str, language: str) -> Response:
    """The letter's own HTML, for the frame of the page before."""
    if language not in languages.LANGUAGES:
        raise NotFound
    return framed(_rendered(place(), _entry(slug), language).html)


def framed(html: str) -> Response:
    """HTML of a letter that may stand in a frame of a page of ours, and can do nothing there."""
    answer = Response(html, content_type="text/html; charset=utf-8")
    answer.headers["Content-Security-Policy"] = FRAMED
    answer.headers["X-Frame-Options"] = "SAMEORIGIN"
    return answer


def _rendered(here: Place, entry: Entry, language: str) -> Rendered:
    frame = Frame(here.required, settings(), clock.now(db.session()))
    return render(entry, frame, language=language)


def _entry(slug: str) -> Entry:
    if slug not in BY_SLUG:
        raise NotFound
    return BY_SLUG[slug]


def _audiences() -> dict[Audience, str]:
    return {
        Audience.AFFILIATES: _("To affiliates"),
        Audience.FINANCE: _("To those who approve payouts"),
        Audience.MANAGERS: _("To managers and curators"),
        Audience.EVERYBODY: _("To everybody who signs in"),
    }


def settings() -> Settings:
    """The installation's."""
    found: Settings = current_app.extensions["kopeck.settings"]
    return found
