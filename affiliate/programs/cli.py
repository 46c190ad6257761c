"""`kopeck program create` and `kopeck rules …`: programs and their rules without a browser."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, TextIO

import click
from flask.cli import with_appcontext
from marshmallow import ValidationError

from affiliate.core import clock
from affiliate.core.db import unit_of_work
from affiliate.core.errors import Invalid, Refusal
from affiliate.core.fields import MomentField, field_errors
from affiliate.programs import rule_versions
from affiliate.programs.announcements import Grandfather, announce
from affiliate.programs.programs import by_slug, create_program

DEFAULT_RATE_PERCENT = 10
DEFAULT_WINDOW_DAYS = 30
DEFAULT_HOLD_DAYS = 14


@click.group("program")
def program_group() -> None:
    """Programs; their rules are changed on the manager's desk."""


@program_group.command("create")
@click.option("--slug", required=True, help="Stands in addresses: /programs/<slug>.")
@click.option("--name", required=True)
@click.option("--currency", required=True, help="ISO 4217; cannot be changed later.")
@click.option("--landing-url", required=True, help="Where links lead by default.")
@click.option("--site", "sites", multiple=True, required=True, help="Host links may lead to.")
@click.option("--time-zone", default="UTC", show_default=True, help="IANA name.")
@click.option("--rail", default="manual", show_default=True, help="How its payouts leave.")
@click.option(
    "--percent", type=click.IntRange(0, 100), default=DEFAULT_RATE_PERCENT, show_default=True,
    help="Level 1, per cent of the net.",
)  # fmt: skip
@click.option("--window-days", default=DEFAULT_WINDOW_DAYS, show_default=True)
@click.option("--hold-days", default=DEFAULT_HOLD_DAYS, show_default=True)
@with_appcontext
def create_command(
    slug: str,
    name: str,
    currency: str,
    landing_url: str,
    sites: tuple[str, ...],
    time_zone: str,
    rail: str,
    percent: int,
    window_days: int,
    hold_days: int,
) -> None:
    """Make a program: last click, level 1 alone. Everything else is set on the manager's desk."""
    terms = {
        "attribution": {
            "model": "last_click",
            "window_days": window_days,
            "coupon": "loses",
            "existing_customer": "pays",
            "self_purchase": "refuses",
        },
        "commission": {
            "level_1": {"kind": "percent", "rate_ppm": percent * 10_000},
            "level_2": None,
        },
        "payout": {"hold_days": hold_days},
    }
    try:
        with unit_of_work() as session:
            create_program(
                session,
                slug=slug,
                name=name,
                currency=currency,
                landing_url=landing_url,
                allowed_sites=sites,
                time_zone=time_zone,
                rail=rail,
                terms_document=terms,
                by=None,
                now=clock.now(session),
            )
    except Refusal as refusal:
        raise _told(refusal) from refusal
    click.echo(f"The program {slug} is open: /programs/{slug}")


@click.group("rules")
def rules_group() -> None:
    """Versions of a program's rules."""


@rules_group.command("list")
@click.option("--program", "slug", required=True)
@with_appcontext
def list_command(slug: str) -> None:
    """Every version, the newest first: number, state, since when."""
    try:
        with unit_of_work() as session:
            program = by_slug(session, slug)
            now = clock.now(session)
            for version, state in rule_versions.with_states(session, program=program, now=now):
                click.echo(f"{version.number:>4}  {state:<9}  {version.effective_at.isoformat()}")
    except Refusal as refusal:
        raise _told(refusal) from refusal


@rules_group.command("announce")
@click.option("--program", "slug", required=True)
@click.option("--document", type=click.File("r"), required=True, help="JSON; - for standard input.")
@click.option("--effective-at", required=True, help="RFC 3339, such as 2026-12-01T00:00:00Z.")
@click.option("--keep-until", help="Earlier affiliates keep their commission terms until then.")
@click.option("--keep-for-good", is_flag=True, help="They keep them for good.")
@click.option("--urgent", help="Why it cannot wait for the notice period; affiliates read it.")
@with_appcontext
def announce_command(
    slug: str,
    document: TextIO,
    effective_at: str,
    keep_until: str | None,
    keep_for_good: bool,
    urgent: str | None,
) -> None:
    """Announce the next version; affiliates are told by mail."""
    try:
        grandfather = Grandfather(_moment("keep_until", keep_until) if keep_until else None)
        with unit_of_work() as session:
            version = announce(
                session,
                program_id=by_slug(session, slug).id,
                document=_document(document),
                effective_at=_moment("effective_at", effective_at),
                grandfather=grandfather if keep_until or keep_for_good else None,
                urgent_reason=urgent,
                by=None,
                now=clock.now(session),
            )
            said = f"Version {version.number} takes effect on {version.effective_at.isoformat()}."
    except Refusal as refusal:
        raise _told(refusal) from refusal
    click.echo(said)


def _document(file: TextIO) -> dict[str, Any]:
    try:
        found = json.load(file)
    except (ValueError, RecursionError):
        raise Invalid.field("document", "not_json", "This is not JSON.") from None
    if not isinstance(found, dict):
        raise Invalid.field("document", "not_an_object", "A JSON object is needed here.")
    return found


def _moment(field: str, text: str) -> datetime:
    try:
        return MomentField().deserialize(text)
    except ValidationError as error:
        raise Invalid(errors=list(field_errors(error.messages, field))) from None


def _told(refusal: Refusal) -> click.ClickException:
    wrong = "; ".join(f"{e.field}: {e.message}" for e in refusal.errors)
    return click.ClickException(wrong or refusal.detail)


commands = [program_group, rules_group]
