"""`kopeck replay`: history once more, under a draft or under the rules it had."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, TextIO
from zoneinfo import ZoneInfo

import click
from flask.cli import with_appcontext
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import Invalid, Refusal
from affiliate.core.money import Money
from affiliate.core.snapshot import read_once
from affiliate.core.tables import csv_rows
from affiliate.people.ids import public
from affiliate.programs import terms_document as terms_of
from affiliate.programs.programs import by_slug
from tracker.replay import booked, history
from tracker.replay.comparison import Change, Comparison
from tracker.replay.history import PastOrder, Span
from tracker.replay.runs import YEAR_MIN
from tracker.replay.trial import trial

AFFILIATES_SHOWN: Final = 20
DIFFERENCES_SHOWN: Final = 20
_DAY: Final = click.DateTime(formats=["%Y-%m-%d"])


@click.command("replay")
@click.option("--program", "slug", required=True, help="Slug of the program.")
@click.option(
    "--rules", type=click.File("r", encoding="utf-8"),
    help="A rule document (JSON); without it the rules in force are held against the books.",
)  # fmt: skip
@click.option("--from", "first", type=_DAY, required=True, help="First day, the program's.")
@click.option("--to", "last", type=_DAY, required=True, help="Last day, included.")
@click.option(
    "--out", type=click.File("w", encoding="utf-8"), help="Every order that differs, as CSV."
)
@click.option("--json", "as_json", is_flag=True, help="The whole comparison as JSON.")
@with_appcontext
def replay(
    slug: str,
    rules: TextIO | None,
    first: datetime,
    last: datetime,
    out: TextIO | None,
    as_json: bool,
) -> None:
    """What other rules would have paid for the orders of some days. Nothing is written.

    Without --rules: whether the books hold what the rules in force give; ends with 1 if not.
    """
    try:
        with read_once(db.engine) as session:
            span = _span(session, slug, first.date(), last.date())
            if rules is None:
                _against_books(session, span)
            else:
                _under(session, span, rules, out, as_json=as_json)
    except Invalid as refusal:
        lines = [f"{error.field}: {error.message}" for error in refusal.errors]
        raise click.ClickException("\n".join(lines) or refusal.detail) from None
    except Refusal as refusal:
        raise click.ClickException(refusal.detail) from None


def _span(session: Session, slug: str, first: date, last: date) -> Span:
    program = by_slug(session, slug)
    if last < first:
        raise click.UsageError("--to lies before --from.")
    if first.year < YEAR_MIN:
        raise click.UsageError("--from: no order is as old as that.")
    zone = ZoneInfo(program.time_zone)
    begins, ends = (
        datetime.combine(day, time(), zone).astimezone(UTC)
        for day in (first, last + timedelta(days=1))
    )
    return Span(program.id, program.currency, program.time_zone, begins, ends)


def _under(
    session: Session, span: Span, rules: TextIO, out: TextIO | None, *, as_json: bool
) -> None:
    try:
        document = json.load(rules)
    except ValueError as error:
        raise click.ClickException(f"--rules is not JSON: {error}") from None
    terms = terms_of.load(document, span.currency)
    writer = None if out is None else _Changes(out, span.currency)
    with _progress() as bar:
        task = bar.add_task("orders", total=None)
        found = trial(
            session,
            span,
            terms,
            now=clock.now(session),
            tell=lambda at: bar.update(task, completed=at.done, total=at.total),
            told=writer,
        )
    if as_json:
        click.echo(json.dumps(found.document(), indent=2))
    else:
        _say(found, span.currency)


def _against_books(session: Session, span: Span) -> None:
    with _progress() as bar:
        task = bar.add_task("orders", total=history.count(session, span))

        def counted() -> Iterator[list[PastOrder]]:
            for batch in history.orders(session, span):
                yield batch
                bar.advance(task, len(batch))

        wrong = list(booked.differences(counted(), session))
    for each in wrong[:DIFFERENCES_SHOWN]:
        click.echo(", ".join(f"{name}={value}" for name, value in each.row().items()))
    if wrong:
        raise click.ClickException(f"The books differ from their rules in {len(wrong)} places.")
    click.echo("The books hold what the rules give, to the micro.")


class _Changes:
    """A line of CSV for each order that differs."""

    HEADER = (
        "order", "placed_at", "credit_before", "credit_after", "currency", "booked", "would_be",
        "reasons",
    )  # fmt: skip

    def __init__(self, out: TextIO, currency: str) -> None:
        self._writer = csv_rows(out)
        self._writer.writerow(self.HEADER)
        self._currency = currency

    def __call__(self, change: Change) -> None:
        reasons = [each["line"]["reason"] for each in change.why() if each["line"]]
        self._writer.writerow(
            [
                change.past.order_id,
                change.past.subject.placed_at.isoformat(),
                _credit(change.before),
                _credit(change.after),
                self._currency,
                Money(sum(change.booked.values()), self._currency),
                Money(sum(change.would.values()), self._currency),
                " ".join(reasons),
            ]
        )


def _credit(weights: dict[int, str]) -> str:
    return " ".join(f"{public(who)}:{weight}" for who, weight in weights.items())


def _progress() -> Progress:
    """On standard error, so that what comes out can be piped."""
    return Progress(
        "{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(stderr=True),
    )  # fmt: skip


def _say(found: Comparison, currency: str) -> None:
    def told(micros: int) -> str:
        return Money(micros, currency).decimal

    click.echo(
        f"{found.orders} orders; {found.changed} would earn otherwise, "
        f"{found.changed_hands} would change hands."
    )
    table = Table("", "booked", "would be", "difference", title=currency)
    rows: list[tuple[str, Any]] = [
        *((name.replace("_", " "), pair) for name, pair in found.by_level.items()),
        ("all", found.cost),
    ]
    moved = sorted(found.affiliates.items(), key=lambda each: each[1].booked - each[1].would)
    changed = [(public(who), each) for who, each in moved if each.booked != each.would]
    for name, pair in [*rows, *_ends(changed)]:
        table.add_row(name, told(pair.booked), told(pair.would), told(pair.would - pair.booked))
    Console().print(table)
    for (gains, reason), orders in found.reasons.most_common():
        side = "gained" if gains else "lost"
        click.echo(f"credit {side} in {orders} orders: {reason or 'no line says why'}")


def _ends(changed: list[Any]) -> list[Any]:
    """Who gains most and who loses most."""
    if len(changed) <= AFFILIATES_SHOWN:
        return changed
    half = AFFILIATES_SHOWN // 2
    return [*changed[:half], *changed[-half:]]


commands = [replay]
