"""An affiliate's statement: page, PDF, CSV and XLSX from the one reader of statements."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby, islice
from typing import Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from affiliate.core.pages import percent
from affiliate.core.paper import Align, Block, Column, Figures, Note, Paper, Row, Table
from affiliate.core.tables import Cell, Sheet
from affiliate.people import ids
from affiliate.programs.models import Program
from payouts.adjustments.reading import notes_of
from payouts.batches import statements
from payouts.batches.models import PayoutBatch, PayoutItem
from payouts.batches.periods import Period
from payouts.batches.statements import Standing, StatementLine, Summary
from payouts.ledger.posting import Kind
from tracker.desks.adjustment_words import adjustment_reason
from tracker.desks.papers.words import (
    amount,
    language,
    moment_in,
    money,
    page_words,
    period_title,
    span,
)
from tracker.desks.sources import Source, sources
from tracker.desks.words import _

LINES_PRINTED_MAX: Final = 2_000
"""A longer statement is printed by day and kind; its files have every line."""
LINES_TOLD: Final = 500
"""Lines whose words are looked up at once."""
HEAD: Final = ("at", "what", "order", "how", "pending", "available", "in_payout", "currency")


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose statement it is, and over which period."""

    program: Program
    enrollment_id: int
    affiliate: str
    period: Period

    @property
    def currency(self) -> str:
        return self.program.currency

    @property
    def file_name(self) -> str:
        return f"statement-{self.program.slug}-{self.period.key}"

    @property
    def identity(self) -> str:
        """Of the document, the same whenever it is printed."""
        return f"{self.program.slug} · {ids.public(self.enrollment_id)} · {self.period.key}"


@dataclass(frozen=True, slots=True)
class Told:
    """One line in words."""

    at: datetime
    what: str
    source: Source | None
    """What a commission comes from."""
    how: str
    """How it came to its amount, or why it was booked."""
    moved: Standing


def summary_of(session: Session, subject: Subject) -> Summary:
    return statements.summary(
        session,
        enrollment_id=subject.enrollment_id,
        currency=subject.currency,
        period=subject.period,
    )


def told_lines(
    session: Session, subject: Subject, *, rows_max: int | None = None
) -> Iterator[Told]:
    """Each line in words, in the reader's language; any number fits into memory."""
    lines = statements.statement_lines(
        session,
        enrollment_id=subject.enrollment_id,
        currency=subject.currency,
        period=subject.period,
        rows_max=rows_max,
    )
    while some := list(islice(lines, LINES_TOLD)):
        yield from _tell(session, some)


def sheets_of(session: Session, subject: Subject) -> list[Sheet]:
    """The statement as a table: opening, every line, closing."""
    summary = summary_of(session, subject)
    return [
        Sheet(
            subject.period.key,
            HEAD,
            _rows(session, subject, summary),
            zone=subject.program.time_zone,
        )
    ]


def paper_of(session: Session, subject: Subject, *, now: datetime) -> Paper:
    """The statement on paper. Its instant is the period's end, so that a period that is over
    gives the same bytes whenever it is printed."""
    summary, program = summary_of(session, subject), subject.program
    period, zone = subject.period, subject.program.time_zone
    over = period.ends_at <= now
    facts = [
        (_("Period"), span(period.first, period.last)),
        (_("Affiliate"), ids.public(subject.enrollment_id)),
        (_("Currency and time zone"), f"{program.currency}, {zone}"),
    ]
    blocks: list[Block] = [
        Figures(
            [
                (_("Opening"), money(summary.opening.owed)),
                (_("Earned"), money(summary.sum_of(statements.EARNED))),
                (_("Taken back or corrected"), money(summary.sum_of(statements.TAKEN_BACK))),
                (_("Paid"), money(summary.sum_of(statements.PAID))),
                (_("Closing"), money(summary.closing.owed)),
            ]
        ),
        _table(session, subject, summary),
    ]
    if summary.count > LINES_PRINTED_MAX:
        blocks.append(
            Note(_("The lines are added up by day and kind; the CSV and XLSX files have each one."))
        )
    if not over:
        blocks.append(Note(_("The period is not over; the statement grows until it is.")))
    blocks.append(
        Note(
            _(
                "Each line is an entry of the ledger: opening and all lines together are the "
                "closing balance, to the micro. Days are those of %(zone)s; amounts are in "
                "%(currency)s.",
                zone=zone,
                currency=program.currency,
            )
        )
    )
    return Paper(
        identity=subject.identity,
        language=language(),
        made_at=period.ends_at,
        brand=program.name,
        title=_("Statement of %(month)s", month=period_title(period)),
        subtitle=subject.affiliate,
        page_words=page_words(),
        facts=facts,
        blocks=blocks,
    )


def _rows(session: Session, subject: Subject, summary: Summary) -> Iterator[Sequence[Cell]]:
    def row(at: Cell, what: str, about: str, how: str, standing: Standing) -> Sequence[Cell]:
        amounts = (standing.pending, standing.available, standing.in_payout)
        return (at, what, about, how, *amounts, subject.currency)

    yield row(subject.period.first, "opening", "", "", summary.opening)
    for line in told_lines(session, subject):
        about = line.source.text if line.source else ""
        yield row(line.at, line.what, about, line.how, line.moved)
    yield row(subject.period.last, "closing", "", "", summary.closing)


def _table(session: Session, subject: Subject, summary: Summary) -> Table:
    columns = [
        Column(_("Time"), 14),
        Column(_("What"), 36),
        *(
            Column(label, 14, Align.RIGHT)
            for label in (_("Pending"), _("Available"), _("In payout"), _("Together"))
        ),
    ]
    return Table("", columns, _printed_rows(session, subject, summary))


def _printed_rows(session: Session, subject: Subject, summary: Summary) -> Iterator[Row]:
    def row(at: str, what: str, standing: Standing, *, strong: bool = False) -> Row:
        amounts = (standing.pending, standing.available, standing.in_payout, standing.owed)
        told = money if strong else amount
        return Row((at, what, *(told(each) for each in amounts)), strong=strong)

    zone = subject.program.time_zone
    yield row("", _("Opening balance"), summary.opening, strong=True)
    lines = told_lines(session, subject)
    if summary.count > LINES_PRINTED_MAX:
        for day, what, standing in _by_day(lines, zone, Money.zero(subject.currency)):
            yield row(day, what, standing)
    else:
        for line in lines:
            about = f" {line.source.text}" if line.source else ""
            how = f": {line.how}" if line.how else ""
            yield row(moment_in(line.at, zone), f"{line.what}{about}{how}", line.moved)
    yield row("", _("Closing balance"), summary.closing, strong=True)


def _by_day(lines: Iterator[Told], zone: str, zero: Money) -> Iterator[tuple[str, str, Standing]]:
    def day(line: Told) -> date:
        return line.at.astimezone(ZoneInfo(zone)).date()

    for on, group in groupby(lines, day):
        sums: dict[str, Standing] = {}
        for line in group:
            sums[line.what] = sums.get(line.what, Standing(zero, zero, zero)) + line.moved
        for what, standing in sums.items():
            yield on.isoformat(), what, standing


def _tell(session: Session, lines: Sequence[StatementLine]) -> Iterator[Told]:
    found = sources(session, [line.about for line in lines if line.earning is not None])
    notes = notes_of(session, adjustment_ids=_numbers(lines, "adjustment"))
    batches = _batches(session, _numbers(lines, "item"))
    for line in lines:
        head, tail = _about(line)
        how = ""
        if line.earning is not None:
            how = _derived(line)
        elif line.kind in (Kind.ADJUST, Kind.WRITE_OFF):
            note = notes.get(int(tail), "") if head == "adjustment" else ""
            how = ". ".join(filter(None, (adjustment_reason(line.reason), note)))
        elif head == "item" and tail.isdecimal() and int(tail) in batches:
            how = _("batch %(number)s", number=batches[int(tail)])
        source = found.get(line.about) if line.earning is not None else None
        yield Told(line.at, KINDS[line.kind](), source, how, line.moved)


def _derived(line: StatementLine) -> str:
    """The sum behind a commission, as far as a line can hold it."""
    earning = line.earning
    assert earning is not None, "asked of lines with a commission alone"
    if line.kind is Kind.RELEASE:
        return ""
    if line.kind is not Kind.EARN:
        return _("of %(amount)s", amount=money(earning.amount))
    if earning.rate_ppm is None:
        said = _("by the program's rules, of %(base)s", base=money(earning.base))
    else:
        said = _("%(rate)s of %(base)s", rate=percent(earning.rate_ppm), base=money(earning.base))
    return said if earning.level == 1 else f"{said}, {_('level 2')}"


def _numbers(lines: Sequence[StatementLine], kind: str) -> set[int]:
    pairs = (_about(line) for line in lines if line.earning is None)
    return {int(tail) for head, tail in pairs if head == kind and tail.isdecimal()}


def _about(line: StatementLine) -> tuple[str, str]:
    """What a line is about and its number; what came back has a reference of its own behind."""
    head, number, *_rest = [*line.about.split(":"), ""]
    return head, number


def _batches(session: Session, item_ids: set[int]) -> dict[int, int]:
    """The running number of each item's batch."""
    if not item_ids:
        return {}
    rows = session.execute(
        sa.select(PayoutItem.id, PayoutBatch.number)
        .join(PayoutBatch, PayoutBatch.id == PayoutItem.batch_id)
        .where(PayoutItem.id.in_(item_ids))
    )
    return {item: number for item, number in rows}  # noqa: C416 -- rows are no pairs for mypy


KINDS: Final[dict[Kind, Callable[[], str]]] = {
    Kind.EARN: lambda: _("Commission earned"),
    Kind.RELEASE: lambda: _("Hold period over"),
    Kind.VOID: lambda: _("Commission taken back"),
    Kind.CLAW_BACK: lambda: _("Deducted after a refund"),
    Kind.BONUS: lambda: _("Bonus"),
    Kind.ADJUST: lambda: _("Correction"),
    Kind.WRITE_OFF: lambda: _("Written off"),
    Kind.RESERVE: lambda: _("Set aside for a payout"),
    Kind.RETURN: lambda: _("Returned from a payout"),
    Kind.SETTLE: lambda: _("Paid"),
    Kind.REVERSAL: lambda: _("Payout came back"),
}
