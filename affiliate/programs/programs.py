"""Verbs of programs: create, change, close."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, FieldError, Invalid, NotFound, Phrase
from affiliate.core.money import MoneyError, exponent
from affiliate.links.destinations import LOOPBACK, ascii_host, deep_link
from affiliate.programs import rule_versions
from affiliate.programs.models import Program

NOTICE_DAYS_MIN: Final = 7
"""A program that closes goes on crediting for at least this long (docs/rules.md, "Closing")."""
NOTICE_DAYS_DEFAULT: Final = 7
"""How long new rules are announced ahead; at least a day, at most 90."""
RULES_NOTICE_DAYS: Final = range(1, 91)
RATE_DAYS: Final = range(1, 367)
"""For how many days an exchange rate may hold where none is later."""
RATE_DAYS_DEFAULT: Final = 14
"""Central banks pause for up to eleven days over New Year; a rate that is older is forgotten."""
NAME_CHARS_MAX: Final = 80
SUMMARY_CHARS_MAX: Final = 400
SITES_MAX: Final = 50
CHANGEABLE: Final = frozenset(
    (
        "name",
        "summary",
        "landing_url",
        "allowed_sites",
        "auto_approve",
        "rail",
        "payout_weekday",
        "payout_hour",
        "time_zone",
        "contact_email",
        "notice_days",
        "rate_days_max",
    )
)
"""Currency and slug stay: balances are in the one, addresses of pages are built on the other."""

_SLUG = re.compile(r"(?a:[a-z0-9][a-z0-9-]{1,62})")
_RAIL = re.compile(r"(?a:[a-z][a-z0-9_]{0,31})")
_MAIL = re.compile(r"[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+")


class SlugTaken(Conflict):
    code = "slug_taken"
    title = "Another program has this address; choose another one."


class AlreadyClosing(Conflict):
    code = "already_closing"
    title = "The program is closing or closed already."


def create_program(
    session: Session,
    *,
    slug: str,
    name: str,
    currency: str,
    landing_url: str,
    allowed_sites: Sequence[str],
    terms_document: dict[str, Any],
    by: int | None,
    now: datetime,
    rail: str = "manual",
    payout_weekday: int = 0,
    payout_hour: int = 9,
    time_zone: str = "UTC",
    auto_approve: bool = False,
    summary: str = "",
    contact_email: str = "",
    notice_days: int = NOTICE_DAYS_DEFAULT,
    rate_days_max: int = RATE_DAYS_DEFAULT,
    plain_loopback: bool = False,
) -> Program:
    """Create a program together with version 1 of its rules, in force from `now`.

    `payout_weekday` counts from Monday 0, `payout_hour` is local to `time_zone` (IANA).
    `plain_loopback` lets http://localhost be a site; edges pass it in demo and test mode
    alone. Refuses with Invalid (the path of each wrong field) or SlugTaken.
    """
    values: dict[str, Any] = {
        "name": name,
        "summary": summary,
        "landing_url": landing_url,
        "allowed_sites": list(allowed_sites),
        "auto_approve": auto_approve,
        "rail": rail,
        "payout_weekday": payout_weekday,
        "payout_hour": payout_hour,
        "time_zone": time_zone,
        "contact_email": contact_email,
        "notice_days": notice_days,
        "rate_days_max": rate_days_max,
    }
    errors = [] if _SLUG.fullmatch(slug) else [_error("slug", "Small letters, digits, hyphens.")]
    try:
        exponent(currency)
    except MoneyError as error:
        errors.append(FieldError("currency", error.code, error.message))
    values = _checked(values, plain_loopback=plain_loopback, errors=errors)
    made = (
        insert(Program)
        .values(slug=slug, currency=currency, status="open", created_at=now, **values)
        .on_conflict_do_nothing(index_elements=["slug"])
        .returning(Program)
    )
    program = session.scalar(made)
    if program is None:
        raise SlugTaken
    rule_versions.add_version(
        session, program=program, document=terms_document, effective_at=now, by=by, now=now
    )
    _record(session, program, "program.create", by=by, now=now, new={"slug": slug, **values})
    return program


def update_program(
    session: Session,
    *,
    program_id: int,
    changes: dict[str, Any],
    by: int | None,
    now: datetime,
    plain_loopback: bool = False,
) -> Program:
    """Change settings named in CHANGEABLE; what is equal stays, what changed is audited.

    Sites that are taken away stop new links; links that were made lead on to where they lead.
    """
    program = _lock(session, program_id)
    unknown = [_error(name, "This cannot be changed.") for name in changes.keys() - CHANGEABLE]
    current = {name: getattr(program, name) for name in CHANGEABLE}
    values = _checked({**current, **changes}, plain_loopback=plain_loopback, errors=unknown)
    changed = {name: value for name, value in values.items() if value != current[name]}
    if changed:
        for name, value in changed.items():
            setattr(program, name, value)
        session.flush()
        old = {name: current[name] for name in changed}
        _record(session, program, "program.update", by=by, now=now, old=old, new=changed)
    return program


def close_program(
    session: Session, *, program_id: int, notice: timedelta, by: int | None, now: datetime
) -> Program:
    """Take no more applications; credit clicks and orders until `now + notice`, then none.

    Once closed (affiliates' balances stay theirs and are paid), its page still shows the rules.
    """
    program = _lock(session, program_id)
    if program.status != "open":
        raise AlreadyClosing
    if notice < timedelta(days=NOTICE_DAYS_MIN):
        raise Invalid.field(
            "notice",
            "too_short",
            Phrase("Affiliates are told at least %(days)s days ahead.", days=NOTICE_DAYS_MIN),
        )
    program.status, program.closes_at = "closing", now + notice
    session.flush()
    new = {"status": "closing", "closes_at": program.closes_at.isoformat()}
    _record(session, program, "program.close", by=by, now=now, old={"status": "open"}, new=new)
    return program


def close_due(session: Session, *, now: datetime) -> int:
    """Close the programs whose notice period is over. Returns how many."""
    due = (
        sa.select(Program.id)
        .where(Program.status == "closing", Program.closes_at <= now)
        .order_by(Program.id)
    )
    ids = list(session.scalars(due.with_for_update(skip_locked=True, key_share=True)))
    for program_id in ids:
        program = session.get_one(Program, program_id, populate_existing=True)
        program.status = "closed"
        session.flush()
        _record(session, program, "program.closed", by=None, now=now)
    return len(ids)


def by_slug(session: Session, slug: str) -> Program:
    """The program of an address; NotFound when there is none."""
    program = session.scalar(sa.select(Program).where(Program.slug == slug))
    if program is None:
        raise NotFound("There is no program under that address.")
    return program


def _lock(session: Session, program_id: int) -> Program:
    """NO KEY UPDATE: two changes wait for one another, rows that refer to it do not."""
    program = session.get(
        Program, program_id, with_for_update={"key_share": True}, populate_existing=True
    )
    if program is None:
        raise NotFound("There is no such program.")
    return program


def _checked(
    values: dict[str, Any], *, plain_loopback: bool, errors: list[FieldError]
) -> dict[str, Any]:
    """Every setting judged, all that is wrong told at once; sites in lower case and ASCII."""
    errors = list(errors)
    if not 1 <= len(values["name"].strip()) <= NAME_CHARS_MAX:
        errors.append(_error("name", Phrase("1 to %(most)s characters.", most=NAME_CHARS_MAX)))
    if len(values["summary"]) > SUMMARY_CHARS_MAX:
        errors.append(
            _error("summary", Phrase("At most %(most)s characters.", most=SUMMARY_CHARS_MAX))
        )
    if values["payout_weekday"] not in range(7):
        errors.append(_error("payout_weekday", "0 for Monday to 6 for Sunday."))
    if values["payout_hour"] not in range(24):
        errors.append(_error("payout_hour", "0 to 23."))
    if values["notice_days"] not in RULES_NOTICE_DAYS:
        errors.append(_error("notice_days", "1 to 90 days."))
    if values["rate_days_max"] not in RATE_DAYS:
        errors.append(_error("rate_days_max", "1 to 366 days."))
    if not _is_zone(values["time_zone"]):
        errors.append(_error("time_zone", "An IANA time zone such as Europe/Moscow."))
    if not _RAIL.fullmatch(values["rail"]):
        errors.append(_error("rail", "The name of a rail, such as manual or stripe."))
    if values["contact_email"] and not _MAIL.fullmatch(values["contact_email"]):
        errors.append(_error("contact_email", "A mail address."))
    sites = [_site(site, plain_loopback=plain_loopback) for site in values["allowed_sites"]]
    if not 1 <= len(sites) <= SITES_MAX or None in sites:
        errors.append(_error("allowed_sites", "Host names such as shop.example or .shop.example."))
    landing = deep_link(
        values["landing_url"],
        [site for site in sites if site],
        plain_loopback=plain_loopback,
    )
    if landing is None:
        errors.append(_error("landing_url", "An https page of one of the allowed sites."))
    if errors:
        raise Invalid("The program's settings cannot be accepted.", errors=errors)
    return {
        **values,
        "allowed_sites": sites,
        "landing_url": landing,
        "name": values["name"].strip(),
    }


def _site(text: str, *, plain_loopback: bool) -> str | None:
    """`shop.example`, `.shop.example` or either with a port; None when it is no site."""
    dot = "." if text.startswith(".") else ""
    try:
        parts = urlsplit(f"//{text.removeprefix('.')}")
        host, port = ascii_host(parts.hostname or ""), parts.port
    except ValueError:
        return None
    if host is None or "@" in parts.netloc or parts.path or parts.query or parts.fragment:
        return None
    if host in LOOPBACK:
        if not plain_loopback or dot:
            return None
    elif "." not in host.strip("."):
        return None  # `com` alone would allow everybody's shop below it
    shown = f"[{host}]" if ":" in host else host
    return f"{dot}{shown}:{port}" if port is not None else f"{dot}{shown}"


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _error(field: str, message: str) -> FieldError:
    return FieldError(field, "invalid", message)


def _record(
    session: Session,
    program: Program,
    action: str,
    *,
    by: int | None,
    now: datetime,
    old: dict[str, Any] | None = None,
    new: dict[str, Any] | None = None,
) -> None:
    audit.record(
        session,
        actor=audit.by_user(by),
        action=action,
        subject=f"program:{program.id}",
        scope=program.id,
        old=old,
        new=new,
        now=now,
    )
