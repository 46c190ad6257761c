"""Pages that a manager wrote and Kopeck shows, with an affiliate's link behind the button.

Looking at one is no click: only whoever follows the button is counted, by the click front, as with
any other link. A page that is no longer offered leads straight on instead of standing in the way.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from flask import Blueprint, Flask, current_app, make_response, redirect, render_template
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.links.destinations import deep_link
from affiliate.links.models import Link
from affiliate.people.access import public
from affiliate.programs.models import Program
from affiliate.promo.creatives import creative_row
from affiliate.promo.lookup import Material, material
from affiliate.promo.rules import Kind, Season, address, blocks
from affiliate.rates.rules import day_of

KEPT_S: Final = 60
LINK_CHARS_MAX: Final = 64
POLICY: Final = (
    "default-src 'none'; img-src 'self'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)

hosted = Blueprint("hosted", __name__, url_prefix="/l")


def set_up(app: Flask, settings: Settings) -> None:  # noqa: ARG001 -- the shape of every set_up
    """Register the route."""
    app.register_blueprint(hosted)


@hosted.get("/<code>/<creative>")
@public
def hosted_page(code: str, creative: str) -> Response:
    """The page for whoever came by an affiliate's link of this code; NotFound for a link of
    another program."""
    session = db.session()
    link, shown, program = _found(session, code, creative)
    href = address(
        f"{_settings().public_url}/r/{link.code}", creative=shown.code,
        destination=_destination(shown, program),
    )  # fmt: skip
    over = shown.row.retired_at is not None or shown.season is not Season.NOW
    if over or link.disabled_at is not None:
        return _unkept(redirect(href, 302))
    answer = make_response(
        render_template(
            "affiliate/promo/page.html", row=shown.row, picture=shown.picture,
            picture_path=shown.picture_path, blocks=blocks(shown.row.body), href=href,
            program=program,
        )
    )  # fmt: skip
    answer.headers["Content-Security-Policy"] = POLICY
    answer.headers["Cache-Control"] = f"public, max-age={KEPT_S}"
    return _unkept(answer)


def _found(session: Session, code: str, creative: str) -> tuple[Link, Material, Program]:
    if len(code) > LINK_CHARS_MAX or "\0" in code:
        raise NotFound
    link = session.scalar(sa.select(Link).where(Link.code == code))
    number = creative_row(creative)
    shown = material(session, creative_id=number, today=clock.now(session).date())
    if link is None or shown.kind is not Kind.PAGE or link.program_id != shown.row.program_id:
        raise NotFound
    program = session.get_one(Program, link.program_id)
    today = day_of(clock.now(session), program.time_zone)
    return link, material(session, creative_id=number, today=today), program


def _destination(shown: Material, program: Program) -> str:
    """Its page of the shop as the click front will take it; none where the sites have changed."""
    wanted = shown.row.destination
    plain = program.landing_url.startswith("http://")
    return (deep_link(wanted, program.allowed_sites, plain_loopback=plain) or "") if wanted else ""


def _unkept(answer: Response) -> Response:
    """Search engines shall send nobody here: the page is one affiliate's."""
    answer.headers["X-Robots-Tag"] = "noindex, nofollow"
    return answer


def _settings() -> Settings:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings
