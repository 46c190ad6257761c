"""`kopeck loader` and `kopeck quarantine …`."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import click
from flask.cli import with_appcontext
from sqlalchemy.orm import Session

from affiliate.core import clock, log, metrics
from affiliate.core.config import Settings
from affiliate.core.db import unit_of_work
from affiliate.core.errors import Refusal
from tracker.clicks import quarantine, upkeep_cli
from tracker.clicks.loader import Loader
from tracker.clicks.models import ClickQuarantine
from tracker.clicks.quarantine import Outcome, Replayed
from tracker.clicks.records import RejectReason
from tracker.clicks.tokens import clicked_at_of

BYTES_SHOWN_MAX = 256
LIST_ROWS = 50
NICENESS = 5
"""What the loader adds to its nice value (nice(2)): about a third of the share of others."""


@click.command("loader")
def loader() -> None:
    """Carry recorded clicks from this node's journal into the database, until stopped.

    Run one on every node that serves the web. It may be killed and restarted at any time.
    Where the processor is short it gives way to those who answer visitors: clicks wait in the
    journal, people do not.
    """
    os.nice(NICENESS)
    settings = Settings.from_environ(os.environ)
    log.set_up(settings.log_level)
    metrics.begin(settings.data_dir)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Loader(settings).run(stop)


@click.group("quarantine")
def quarantine_group() -> None:
    """Bytes of the journal that the loader could not load as clicks.

    Nothing is lost in quarantine and nothing is counted. A click whose link was missing can
    be replayed once the link exists; a record of a newer version, once this program was
    upgraded. The torn end that a full disk leaves is no click and can only be dropped.
    """


@quarantine_group.command("list")
@click.option("--reason", type=click.Choice([reason.value for reason in RejectReason]))
@click.option("--after", default=0, help="Show what comes behind this number.")
@click.option("--limit", default=LIST_ROWS, show_default=True, type=click.IntRange(1, 10_000))
@with_appcontext
def list_command(reason: str | None, after: int, limit: int) -> None:
    """List the pieces in quarantine, oldest first, and how many there are by reason."""
    wanted = RejectReason(reason) if reason else None
    with unit_of_work() as session:
        numbers = quarantine.counts_by_reason(session)
        for each in quarantine.pieces(session, reason=wanted, after=after, limit=limit):
            click.echo(_line(each))
    if not numbers:
        click.echo("The quarantine is empty.")
    for name, number in sorted(numbers.items()):
        click.echo(f"{number:>10,} {name}")


@quarantine_group.command("show")
@click.argument("piece_id", type=int, metavar="ID")
@with_appcontext
def show_command(piece_id: int) -> None:
    """Show one piece: where it lay, what it says, and whether it could be replayed."""
    with _work() as session:
        found = quarantine.piece(session, piece_id=piece_id)
        read = quarantine.read_piece(found)
        click.echo(_line(found))
        shown, size = found.content[:BYTES_SHOWN_MAX], found.size
    if isinstance(read, Outcome):
        click.echo(f"It {read.sentence}.")
    else:
        click_id = UUID(bytes=read.click_id)
        click.echo(f"click    {click_id} at {clicked_at_of(click_id):%Y-%m-%d %H:%M:%S} UTC")
        click.echo(f"link     {read.link_id}")
        click.echo(f"agent    {_shown(read.agent)}")
        click.echo(f"referrer {_shown(read.referrer)}")
        click.echo(f"sub-ids  {', '.join(map(_shown, read.sub_ids))}")
        click.echo(f"A whole record. To load it: kopeck quarantine replay {piece_id}")
    for start in range(0, len(shown), 32):
        click.echo(f"{start:6} {shown[start : start + 32].hex(' ', 4)}")
    if size > len(shown):
        click.echo(f"       … {size - len(shown):,} more bytes")


@quarantine_group.command("replay")
@click.argument("piece_ids", nargs=-1, type=int, metavar="[ID]…")
@click.option("--all", "everything", is_flag=True, help="Every piece that is there now.")
@with_appcontext
def replay_command(piece_ids: tuple[int, ...], everything: bool) -> None:
    """Load pieces as clicks, each exactly once; say of the others why they cannot be.

    Exits with 1 when one of the named pieces could not be loaded.
    """
    if bool(piece_ids) == everything:
        raise click.UsageError("Name the pieces, or say --all.")
    totals: Counter[Outcome] = Counter()
    for batch in _batches(piece_ids):
        with _work() as session:
            now = clock.now(session)
            answers = quarantine.replay(session, piece_ids=batch, by="cli", now=now)
        gone = set(batch) - {each.piece_id for each in answers}
        for number in () if everything else sorted(gone):
            click.echo(f"{number} is not in quarantine", err=True)
        for each in answers:
            totals[each.outcome] += 1
            if not everything or each.outcome is Outcome.REFUSED:
                click.echo(_answer(each))
    for outcome, number in sorted(totals.items()):
        click.echo(f"{number:>10,} {outcome.value}")
    if not everything and totals[Outcome.LOADED] != len(set(piece_ids)):
        raise SystemExit(1)


@quarantine_group.command("drop")
@click.argument("piece_id", type=int, metavar="ID")
@click.option("--reason", required=True, help="Kept in the audit log.")
@with_appcontext
def drop_command(piece_id: int, reason: str) -> None:
    """Give a piece up for good."""
    with _work() as session:
        now = clock.now(session)
        quarantine.drop(session, piece_id=piece_id, reason=reason, by="cli", now=now)
    click.echo(f"{piece_id} is dropped; the audit log says why.")


def _batches(piece_ids: tuple[int, ...]) -> Iterator[list[int]]:
    """The named ids, or without any all that are there, in transactions of a fair size."""
    size = quarantine.REPLAY_ROWS_MAX
    if piece_ids:
        for start in range(0, len(piece_ids), size):
            yield list(piece_ids[start : start + size])
        return
    last = 0
    while True:
        with unit_of_work() as session:
            batch = [each.id for each in quarantine.pieces(session, after=last, limit=size)]
        if not batch:
            return
        yield batch
        last = batch[-1]


@contextmanager
def _work() -> Iterator[Session]:
    """One transaction; a refusal becomes the command's error."""
    try:
        with unit_of_work() as session:
            yield session
    except Refusal as refusal:
        raise click.ClickException(refusal.detail) from refusal


def _line(each: ClickQuarantine) -> str:
    return (
        f"{each.id:>8}  {each.found_at:%Y-%m-%d %H:%M:%S}  {each.reason:15}  "
        f"{each.size:>7,} bytes  {each.segment} at {each.segment_offset:,}"
    )


def _answer(each: Replayed) -> str:
    detail = f" ({each.detail})" if each.detail else ""
    return f"{each.piece_id} {each.outcome.sentence}{detail}"


def _shown(raw: bytes) -> str:
    """Text of strangers: no control character reaches the terminal."""
    text = raw.decode("utf-8", "replace")
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


commands = [loader, quarantine_group, *upkeep_cli.commands]
