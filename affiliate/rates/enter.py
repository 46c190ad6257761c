"""Enter exchange rates: once, never changed; a correction is a further row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, Invalid, NotFound, Phrase
from affiliate.core.exchange import ExchangeRate
from affiliate.core.money import MoneyError
from affiliate.programs.models import Program
from affiliate.rates.files import ERRORS_SHOWN_MAX, RATE_WRONG, read_rates
from affiliate.rates.models import DatedRate
from affiliate.rates.rules import Origin, Quote, day_of, problems_of

AUDITED_MAX: Final = 20


class RateKnown(Conflict):
    code = "rate_known"
    title = "This very rate of that day is entered already."


@dataclass(frozen=True, slots=True)
class Entered:
    """What came of the rates that were brought."""

    new: int
    corrected: int
    """Days that had another rate before."""
    unchanged: int
    """Said the same as what is known; nothing is written for them."""


def enter_rate(
    session: Session,
    *,
    program_id: int,
    currency: str,
    valid_from: date,
    rate: str,
    by: int | None,
    now: datetime,
) -> Entered:
    """Enter one rate: so much of the program's currency, a decimal string, for one `currency`.

    It holds from midnight of `valid_from` in the program's zone. Another rate of the same day is
    a correction, for orders that are decided from then on. Raises NotFound, Invalid (`currency`,
    `valid_from`, `rate`) and RateKnown.
    """
    program = _lock(session, program_id)
    try:
        parsed = ExchangeRate.parse(rate, source=currency, target=program.currency)
    except MoneyError as error:
        field = "currency" if error.code == "unknown_currency" else "rate"
        raise Invalid.field(field, error.code, RATE_WRONG[error.code]) from None
    done = _enter(session, program, [Quote(valid_from, parsed)], Origin.TYPED, by=by, now=now)
    if done.unchanged:
        raise RateKnown
    return done


def import_rates(
    session: Session,
    *,
    program_id: int,
    raw: bytes,
    by: int | None,
    now: datetime,
    currencies: Iterable[str] = (),
    since: date | None = None,
) -> Entered:
    """Enter the rates of a file (`affiliate.rates.files`), all or none.

    Without `currencies` a bank's file gives those that the program takes already. Raises
    NotFound and Invalid (`file`, `currencies`). The same file again changes nothing.
    """
    program = _lock(session, program_id)
    known = session.scalars(_SOURCES, {"program_id": program_id}).all()
    sheet = read_rates(
        raw, target=program.currency, currencies=currencies, usual=known, since=since
    )
    return _enter(session, program, sheet.quotes, sheet.origin, by=by, now=now)


_SOURCES = (
    sa.select(DatedRate.source)
    .where(DatedRate.program_id == sa.bindparam("program_id"))
    .distinct()
    .order_by(DatedRate.source)
)


def _lock(session: Session, program_id: int) -> Program:
    """NO KEY UPDATE: of two who enter the rate of one day the second corrects the first, and
    orders, which refer to the program, do not wait."""
    program = session.get(
        Program, program_id, with_for_update={"key_share": True}, populate_existing=True
    )
    if program is None:
        raise NotFound("There is no such program.")
    return program


def _enter(
    session: Session,
    program: Program,
    quotes: Sequence[Quote],
    origin: Origin,
    *,
    by: int | None,
    now: datetime,
) -> Entered:
    today = day_of(now, program.time_zone)
    errors = problems_of(quotes, target=program.currency, today=today)
    if errors:
        raise Invalid(Phrase("The rates cannot be accepted."), errors=errors[:ERRORS_SHOWN_MAX])
    known = _known(session, program.id, quotes)
    rows: list[dict[str, Any]] = []
    corrected = 0
    for quote in quotes:
        revision, scaled = known.get((quote.rate.source, quote.valid_from), (0, None))
        if scaled == quote.rate.scaled:
            continue
        corrected += revision > 0
        rows.append(
            {
                "program_id": program.id,
                "source": quote.rate.source,
                "target": program.currency,
                "valid_from": quote.valid_from,
                "revision": revision + 1,
                "rate_scaled": quote.rate.scaled,
                "origin": origin.value,
                "entered_by": by,
                "entered_at": now,
            }
        )
    if rows:
        session.execute(sa.insert(DatedRate), rows)
        _record(session, program, rows, known, origin, by=by, now=now)
    return Entered(len(rows) - corrected, corrected, len(quotes) - len(rows))


def _known(
    session: Session, program_id: int, quotes: Sequence[Quote]
) -> dict[tuple[str, date], tuple[int, int]]:
    """Revision and rate of what is known of these days, the last of each."""
    days = [quote.valid_from for quote in quotes]
    query = (
        sa.select(DatedRate.source, DatedRate.valid_from, DatedRate.revision, DatedRate.rate_scaled)
        .where(
            DatedRate.program_id == program_id,
            DatedRate.source.in_({quote.rate.source for quote in quotes}),
            DatedRate.valid_from.between(min(days), max(days)),
        )
        .order_by(DatedRate.revision)
    )
    return {
        (row.source, row.valid_from): (row.revision, row.rate_scaled)
        for row in session.execute(query)
    }


def _record(
    session: Session,
    program: Program,
    rows: Sequence[dict[str, Any]],
    known: dict[tuple[str, date], tuple[int, int]],
    origin: Origin,
    *,
    by: int | None,
    now: datetime,
) -> None:
    """One line of the audit log, with the newest of the rates and how many they are."""
    shown = sorted(rows, key=lambda row: (row["valid_from"], row["source"]))[-AUDITED_MAX:]
    old, new = {}, {}
    for row in shown:
        source, day = row["source"], row["valid_from"]
        name = f"{source} {day.isoformat()}"
        new[name] = ExchangeRate(source, program.currency, row["rate_scaled"]).decimal
        before = known.get((source, day))
        if before is not None:
            old[name] = ExchangeRate(source, program.currency, before[1]).decimal
    audit.record(
        session,
        actor=audit.by_user(by),
        action="rates.enter",
        subject=f"program:{program.id}",
        scope=program.id,
        old=old or None,
        new={**new, "rates": len(rows), "origin": origin.value},
        now=now,
    )
