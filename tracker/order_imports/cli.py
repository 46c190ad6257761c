"""`kopeck orders import`: a file of orders without the API."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import click
from flask.cli import with_appcontext

from affiliate.core import clock
from affiliate.core.db import db, unit_of_work
from affiliate.core.errors import Refusal
from affiliate.programs.programs import by_slug
from tracker.order_imports.bring import begin_import, bring_rows
from tracker.order_imports.models import OrderImport, OrderImportRow
from tracker.order_imports.reading import imports_json, rows_in
from tracker.order_imports.rules import Format, Outcome, State, rows_of

ROWS_PER_FETCH = 1_000
ENDINGS = {".csv": Format.CSV, ".ndjson": Format.NDJSON, ".jsonl": Format.NDJSON}


@click.group("orders")
def orders_group() -> None:
    """Orders of a shop."""


@orders_group.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--program", "slug", required=True, help="Slug of the program.")
@click.option(
    "--format",
    "form",
    type=click.Choice([form.value for form in Format]),
    help="Where the name of the file does not say it.",
)
@with_appcontext
def import_command(file: BinaryIO, slug: str, form: str | None) -> None:
    """Report the orders of FILE, of any age: NDJSON or CSV, as docs/api.md describes it.

    Each row is taken as if it had been reported alone, so the same file again changes nothing.
    Rows that are not taken are told line by line, and the command then ends with 1.
    """
    chosen = Format(form) if form else ENDINGS.get(Path(file.name).suffix.lower())
    if chosen is None:
        raise click.UsageError("Say --format: the name of the file does not.")
    try:
        rows = rows_of(chosen, file.read)
        with unit_of_work() as session:
            what = begin_import(
                session,
                program_id=by_slug(session, slug).id,
                form=chosen,
                by="cli",
                may_import=True,
                now=clock.real_now(),
            )
        state = bring_rows(what, rows)
    except Refusal as refusal:
        told = "\n".join(error.message for error in refusal.errors) or refusal.detail
        raise click.ClickException(told) from refusal
    if not _told(what.id) or state is not State.COMPLETE:
        raise SystemExit(1)


def _told(import_id: int) -> bool:
    """Print the report; whether every row was taken."""
    session, last = db.session(), 0
    while rows := rows_in(
        session, import_id=import_id, outcomes=(Outcome.CONFLICT, Outcome.REFUSED),
        rows_max=ROWS_PER_FETCH, after_line=last,
    ):  # fmt: skip
        for row in rows:
            click.echo(_line(row))
        last = rows[-1].line
    [shown] = imports_json(session, [session.get_one(OrderImport, import_id)])
    for outcome in Outcome:
        click.echo(f"{shown[outcome.value]:>10,} {outcome.value}")
    if shown["state"] != State.COMPLETE:
        click.echo(f"The import is {shown['state']}: the file has more rows than these.")
    return last == 0


def _line(row: OrderImportRow) -> str:
    errors = "; ".join(f"{each['field']}: {each['message']}" for each in row.errors or [])
    return f"line {row.line}, {row.order_id or '—'}: {row.code}: {errors or row.detail}"


commands: list[click.Command] = [orders_group]
