"""`kopeck user …` and `kopeck api-key …`: the first owner, and keys without a browser."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import click
import sqlalchemy as sa
from flask.cli import with_appcontext
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.db import unit_of_work
from affiliate.core.errors import Refusal
from affiliate.people import account, api_keys, grants, second_factor, users
from affiliate.people.models import ApiKey, User
from affiliate.programs.models import Program


@contextmanager
def _work() -> Iterator[Session]:
    """A unit of work whose refusals are told as a command tells them."""
    try:
        with unit_of_work() as session:
            yield session
    except Refusal as refusal:
        details = " ".join(e.message for e in refusal.errors) or refusal.detail
        raise click.ClickException(details) from refusal


@click.group("user")
def user_group() -> None:
    """People who sign in."""


@user_group.command("create")
@click.option("--email", required=True, help="The address they sign in with.")
@click.option("--role", required=True, type=click.Choice(grants.STAFF_ROLES))
@click.option("--program", "slug", help="Slug of the program; an owner has all of them.")
@click.option("--name", default="", help="As shown to others.")
@click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input, for scripts."
)
@with_appcontext
def create_command(
    email: str, role: str, slug: str | None, name: str, password_stdin: bool
) -> None:
    """Make a staff member, or give a known user the role.

    Without --password-stdin the password is asked for; leave it empty to have a link mailed
    by which they set it themselves. A known user keeps theirs.
    """
    with _work() as session:
        now = clock.now(session)
        user = users.find(session, email=email)
        if user is None:
            password = _read_password(password_stdin)
            user = users.create_user(
                session, email=email, password=password, name=name, verified=True, now=now
            )
            if password is None:
                account.ask_reset(session, email=user.email, now=now)
        grants.grant_role(
            session,
            user_id=user.id,
            role=role,
            program_id=None if slug is None else _program(session, slug).id,
            by=None,
            now=now,
        )
        click.echo(f"{user.email} is {role}{'' if slug is None else ' of ' + slug}.")


@user_group.command("disable")
@click.option("--email", required=True)
@with_appcontext
def disable_command(email: str) -> None:
    """Shut a person out; their sessions end at the next request."""
    with _work() as session:
        user = _user(session, email)
        users.disable_user(session, user_id=user.id, by=None, now=clock.now(session))
        click.echo(f"{user.email} is disabled and signed out.")


@user_group.command("enable")
@click.option("--email", required=True)
@with_appcontext
def enable_command(email: str) -> None:
    """Let a disabled person in again."""
    with _work() as session:
        user = _user(session, email)
        users.enable_user(session, user_id=user.id, by=None, now=clock.now(session))
        click.echo(f"{user.email} can sign in again.")


@user_group.command("reset-second-factor")
@click.option("--email", required=True)
@with_appcontext
def reset_second_factor_command(email: str) -> None:
    """Take the second factors off somebody who lost them; their sessions end, they are told.

    Make sure that it is them who asks: the password alone signs in from now on.
    """
    with _work() as session:
        user = _user(session, email)
        second_factor.reset(session, user_id=user.id, by=None, now=clock.now(session))
        click.echo(f"{user.email} has no second factor any more and is signed out everywhere.")


@click.group("api-key")
def key_group() -> None:
    """Keys by which shops call the API."""


@key_group.command("create")
@click.option("--program", "slug", required=True, help="Slug of the program.")
@click.option(
    "--scope",
    "scopes",
    required=True,
    multiple=True,
    type=click.Choice(api_keys.SCOPES),
    help="What it may do; may be given several times.",
)
@click.option("--name", required=True, help="What it is for.")
@with_appcontext
def create_key_command(slug: str, scopes: tuple[str, ...], name: str) -> None:
    """Make a key. It is printed once, alone on standard output, and can never be read again."""
    with _work() as session:
        _key, whole = api_keys.create_key(
            session,
            program_id=_program(session, slug).id,
            scopes=scopes,
            name=name,
            by=None,
            now=clock.now(session),
        )
    click.echo(whole)
    click.echo("Keep it now: it cannot be shown again.", err=True)


@key_group.command("rotate")
@click.option("--program", "slug", required=True)
@click.option(
    "--days",
    default=api_keys.OVERLAP_DAYS,
    show_default=True,
    type=click.IntRange(0, api_keys.OVERLAP_DAYS_MAX),
    help="How long the old key goes on working.",
)
@click.argument("prefix")
@with_appcontext
def rotate_key_command(slug: str, days: int, prefix: str) -> None:
    """Make the key that takes the place of PREFIX; printed once, as by create."""
    with _work() as session:
        key = _key(session, slug, prefix)
        _new, whole = api_keys.rotate_key(
            session,
            program_id=key.program_id,
            key_id=key.id,
            by=None,
            now=clock.real_now(),
            overlap=timedelta(days=days),
        )
    click.echo(whole)
    click.echo(f"Keep it now. The old key works for {days} more days.", err=True)


@key_group.command("revoke")
@click.option("--program", "slug", required=True)
@click.argument("prefix")
@with_appcontext
def revoke_key_command(slug: str, prefix: str) -> None:
    """End the key whose prefix is PREFIX (the part between kpk_ and the next _)."""
    with _work() as session:
        key = _key(session, slug, prefix)
        api_keys.revoke_key(
            session, program_id=key.program_id, key_id=key.id, by=None, now=clock.now(session)
        )
        click.echo(f"kpk_{key.prefix} is revoked.")


def _key(session: Session, slug: str, prefix: str) -> ApiKey:
    program = _program(session, slug)
    for key in api_keys.keys_of(session, program_ids=[program.id]):
        if key.prefix == prefix.removeprefix("kpk_"):
            return key
    raise click.ClickException("There is no such key in this program.")


def _read_password(from_stdin: bool) -> str | None:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n") or None
    typed: str = click.prompt("Password", default="", hide_input=True, show_default=False, err=True)
    return typed or None


def _program(session: Session, slug: str) -> Program:
    program = session.scalar(sa.select(Program).where(Program.slug == slug))
    if program is None:
        raise click.ClickException(f"There is no program {slug!r}.")
    return program


def _user(session: Session, email: str) -> User:
    user = users.find(session, email=email)
    if user is None:
        raise click.ClickException(f"There is no user {email!r}.")
    return user


commands: list[click.Command] = [user_group, key_group]
