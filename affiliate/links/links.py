"""Verbs of referral links: make one, disable one."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from itertools import product
from typing import Any, Final

import sqlalchemy as sa
from psycopg.errors import UniqueViolation
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, FieldError, Invalid, NotFound, Phrase
from affiliate.core.ids import is_short_code, short_code
from affiliate.links import rules
from affiliate.links.destinations import deep_link
from affiliate.links.models import Link
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program

LINKS_PER_ENROLLMENT_MAX: Final = 1_000
"""Every link stands in the memory of every web process."""
MADE_CODE_CHARS_MAX: Final = 8
"""Codes up to the ten-billionth link have no more characters than this."""


class DestinationRefused(Invalid):
    code = "destination_refused"
    title = "This program's links may lead to its own sites alone, over https."


class CodeTaken(Conflict):
    code = "code_taken"
    title = "This code is taken; choose another one."


class NotEnrolled(Conflict):
    code = "not_enrolled"
    title = "Only an active affiliate of the program can have links and coupons."


class TooManyLinks(Conflict):
    code = "too_many_links"
    title = Phrase(
        "An affiliate has at most %(most)s links in a program.", most=LINKS_PER_ENROLLMENT_MAX
    )


def create_link(
    session: Session,
    *,
    enrollment_id: int,
    destination: str | None = None,
    code: str | None = None,
    name: str = "",
    sub_ids: Mapping[str, str | None] | None = None,
    now: datetime,
) -> Link:
    """Make a link of an active enrollment; without a destination it leads to the program's.

    `code` is a vanity code; without one the code is made from the row's number. Refuses with
    DestinationRefused, CodeTaken, NotEnrolled, TooManyLinks or Invalid (code, name, sub-ids).
    Rule: docs/rules.md, "Links and coupons".
    """
    # The lock makes the count of links true and keeps a suspension from slipping between.
    enrollment = _lock_active(session, enrollment_id)
    program = session.get_one(Program, enrollment.program_id)
    count = sa.select(sa.func.count()).where(Link.enrollment_id == enrollment_id)
    if (session.scalar(count) or 0) >= LINKS_PER_ENROLLMENT_MAX:
        raise TooManyLinks
    values: dict[str, Any] = {
        "program_id": program.id,
        "enrollment_id": enrollment_id,
        "name": rules.link_name(name),
        "destination": checked_destination(program, destination),
        "created_at": now,
        **rules.sub_id_values(sub_ids or {}),
    }
    if code is None or not code.strip():
        return _insert_made(session, values)
    return _insert_vanity(session, rules.vanity_code(code), values)


def disable_link(
    session: Session,
    *,
    link_id: int,
    now: datetime,
    by: int | None = None,
    actor: str | None = None,
) -> Link:
    """From `now` on the link credits no click; clicks before it keep their credit.

    Disabling twice changes nothing. There is no way back: a second beginning would make it
    unclear which clicks count, and a new link costs nothing.
    """
    link = session.get(Link, link_id, with_for_update=True, populate_existing=True)
    if link is None:
        raise NotFound
    if link.disabled_at is None:
        link.disabled_at = now
        session.flush()
        audit.record(
            session,
            actor=actor or audit.by_user(by),
            action="link.disable",
            subject=f"link:{link.id}",
            scope=link.program_id,
            now=now,
        )
    return link


def checked_destination(program: Program, destination: str | None) -> str:
    """The address rebuilt from its parts; the program's landing page when none is given."""
    if destination is None or not destination.strip():
        return program.landing_url
    # A program whose own landing page is plain http could only be made in demo mode.
    plain = program.landing_url.startswith("http://")
    found = deep_link(destination.strip(), program.allowed_sites, plain_loopback=plain)
    if found is None:
        sites = ", ".join(site.lstrip(".") for site in program.allowed_sites)
        message = Phrase(
            "Links of this program lead to pages of %(sites)s, over https.", sites=sites
        )
        raise DestinationRefused(
            message, errors=[FieldError("destination", "destination_refused", message)]
        )
    return found


def _lock_active(session: Session, enrollment_id: int) -> Enrollment:
    enrollment = session.get(
        Enrollment,
        enrollment_id,
        with_for_update={"key_share": True},
        populate_existing=True,
    )
    if enrollment is None:
        raise NotFound
    if enrollment.status != "active":
        raise NotEnrolled
    return enrollment


def _insert_made(session: Session, values: dict[str, Any]) -> Link:
    """The code comes from the row's identity, so two links never ask for the same one.

    The row is written with a random code first and leaves this transaction with its own; a
    number whose code somebody has as a vanity code (in any case) is passed over.
    """
    while True:
        with session.begin_nested() as point:
            link = Link(code=f"new-{secrets.token_hex(16)}", vanity=False, **values)
            session.add(link)
            session.flush()
            code = short_code("link", link.id)
            if not _vanity_exists(session, code):
                link.code = code
                session.flush()
                session.refresh(link)
                return link
            point.rollback()


def _vanity_exists(session: Session, code: str) -> bool:
    taken = sa.select(Link.id).where(Link.vanity, sa.func.lower(Link.code) == code.lower())
    return session.scalar(taken) is not None


def _insert_vanity(session: Session, code: str, values: dict[str, Any]) -> Link:
    """Vanity codes differ by more than case, from one another and from made codes."""
    if _made_exists(session, code):
        raise CodeTaken
    link = Link(code=code, vanity=True, **values)
    try:
        with session.begin_nested():
            session.add(link)
            session.flush()
    except IntegrityError as error:
        if not isinstance(error.orig, UniqueViolation):
            raise
        raise CodeTaken from None
    session.refresh(link)
    return link


def _made_exists(session: Session, code: str) -> bool:
    if len(code) > MADE_CODE_CHARS_MAX or not code.isalnum():
        return False
    spellings = [
        spelling
        for spelling in map("".join, product(*({char.lower(), char.upper()} for char in code)))
        if is_short_code("link", spelling)
    ]
    return session.scalar(sa.select(Link.id).where(Link.code.in_(spellings))) is not None
