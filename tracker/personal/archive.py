"""Everything that is held about a person, as one ZIP that is written row by row."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import IO, Any, Final

import sqlalchemy as sa
from flask_babel import gettext as _
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.db import be_patient
from affiliate.core.money import Money
from affiliate.core.personal import Held
from affiliate.core.tables import BYTE_ORDER_MARK, csv_rows
from affiliate.people import ids
from affiliate.personal.erase import find_person
from tracker.personal.held import HELD

INDEX: Final = "index.txt"
ROWS_PER_FETCH: Final = 2_000
ROWS_MAX: Final = 500_000
"""Of one file: a workbook's worth. The index says where there are more; statistics and
statements have them by period."""
STATEMENT_S: Final = 120
"""How long a file's question may run: an affiliate of years has millions of entries."""


def write_archive(session: Session, *, user_id: int, to: IO[bytes], now: datetime) -> None:
    """Write the ZIP and note in the audit log that it was taken. One file is in memory a few
    kilobytes at a time."""
    person = find_person(session, user_id=user_id)
    be_patient(session, statement_s=STATEMENT_S)
    given = {"user_id": user_id, "affiliate_id": person.affiliate_id}
    lines = []
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
        for held in HELD:
            if person.affiliate_id is None and ":user_id" not in held.query:
                continue
            with (
                archive.open(held.file, "w", force_zip64=True) as raw,
                io.TextIOWrapper(raw, encoding="utf-8", newline="") as text,
            ):
                count = _write(session, held, given, text)
            if count:
                lines.append(_line(held, count))
        archive.writestr(INDEX, _index(lines, now))
    actor = audit.by_user(user_id)
    subject = f"user:{user_id}"
    audit.record(session, actor=actor, action="person.take_away", subject=subject, now=now)


def _write(session: Session, held: Held, given: Mapping[str, Any], to: IO[str]) -> int:
    """The rows of a file; how many, one above ROWS_MAX where some were left out."""
    result = session.execute(
        sa.text(held.query), dict(given), execution_options={"yield_per": ROWS_PER_FETCH}
    )
    names = list(result.keys())
    counted = _Counted(result.mappings())
    if held.file.endswith(".csv"):
        to.write(BYTE_ORDER_MARK)
        cells = csv_rows(to)
        cells.writerow([name.removesuffix("_micros") for name in names])
        for row in counted:
            cells.writerow([_cell(name, row) for name in names])
    else:
        for number, row in enumerate(counted):
            to.write("[\n" if number == 0 else ",\n")
            document = {name.removesuffix("_micros"): _plain(_cell(name, row)) for name in names}
            json.dump(document, to, ensure_ascii=False, indent=1)
        to.write("\n]\n" if counted.count else "[]\n")
    result.close()
    return counted.count


class _Counted:
    """At most ROWS_MAX rows, and how many there were."""

    def __init__(self, rows: Any) -> None:
        self.rows, self.count = rows, 0

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for row in self.rows:
            self.count += 1
            if self.count > ROWS_MAX:
                return
            yield row


def _cell(name: str, row: Mapping[str, Any]) -> Any:
    value = row[name]
    if value is not None and name.endswith("_micros"):
        return Money(value, row["currency"])
    if value is not None and name in ("affiliate", "recruiter"):
        return ids.public(value)
    return value


def _plain(value: Any) -> Any:
    """As JSON has it: amounts as decimal strings, moments by ISO 8601."""
    if isinstance(value, Money):
        return value.decimal
    return value.isoformat() if isinstance(value, datetime | date) else value


def _line(held: Held, count: int) -> str:
    if count > ROWS_MAX:
        cut = _("The first %(most)s rows; there are more.", most=ROWS_MAX)
        return f"{held.file}: {held.says} {cut}"
    return f"{held.file}: {held.says} ({count})"


def _index(lines: Sequence[str], now: datetime) -> str:
    """What is in the archive, in the reader's words; files that hold nothing are not named."""
    parts = (
        _(
            "Everything that this installation holds about you, as of %(at)s UTC.",
            at=f"{now:%Y-%m-%d %H:%M}",
        ),
        "\n".join(lines),
        _("Passwords, codes and keys are kept as hashes or encrypted, and are not in here."),
        _("Amounts are decimal numbers beside their currency; moments are in UTC."),
    )
    return BYTE_ORDER_MARK + "\n\n".join(parts) + "\n"
