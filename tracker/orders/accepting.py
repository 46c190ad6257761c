"""What of a report the program cannot take: its currency, its time, a total that is not its parts.

Rule: docs/api.md, "Orders".
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from affiliate.core.errors import FieldError, Invalid
from tracker.orders.converting import Exchange, exchange_for
from tracker.orders.records import ProgramFacts
from tracker.orders.refusals import TotalMismatch
from tracker.orders.rules import (
    PLACED_AHEAD_MAX,
    PLACED_EARLIEST,
    OrderReportIn,
    expected_total,
    net_of,
    placed_at_fits,
    total_matches,
)


def exchange_of(
    session: Session, report: OrderReportIn, program: ProgramFacts, *, now: datetime
) -> Exchange | None:
    """How the report's order is converted; None also where the program does not take it."""
    return exchange_for(
        session,
        program_id=program.id,
        target=program.currency,
        zone=program.time_zone,
        currency=report.currency,
        # Beyond these the report is refused; a day of a time zone may lie past the calendar.
        placed_at=min(max(report.placed_at, PLACED_EARLIEST), now + PLACED_AHEAD_MAX),
    )


def check_report(
    report: OrderReportIn,
    program: ProgramFacts,
    *,
    now: datetime,
    may_import: bool,
    may_mismatch: bool = False,
    exchange: Exchange | None = None,
) -> None:
    """Refuse what the program cannot take: currency, time, a total that is not its parts.

    `may_mismatch`: a person has looked at the total and takes it as it is.
    """
    errors = _wrong_currencies(report, program, exchange)
    wrong_time = placed_at_fits(report.placed_at, now, may_import=may_import)
    if wrong_time is not None:
        errors.append(FieldError("placed_at", wrong_time, _TIMES[wrong_time]))
    if errors:
        raise Invalid(errors=errors)
    if not may_mismatch and not total_matches(report):
        expected = expected_total(report)
        raise TotalMismatch(
            f"The parts sum to {expected}, the total says {report.total}.",
            errors=[FieldError("total.amount", "total_mismatch", f"Expected {expected}.")],
        )


def _wrong_currencies(
    report: OrderReportIn, program: ProgramFacts, exchange: Exchange | None
) -> list[FieldError]:
    """An order has one currency: the program's, or one of which it has entered a rate."""
    taken = program.currency if exchange is None else report.currency
    errors = [
        FieldError(
            path,
            "currency_mismatch",
            f"The order is in {taken}; all of its amounts are in one currency."
            if report.currency == taken
            else f"The program is in {taken} and has no exchange rate of {amount.currency}. Send "
            f"the order in {taken}, or let a manager enter a rate on the desk first.",
        )
        for path, amount in report.amounts
        if amount.currency != taken
    ]
    if not errors and exchange is not None and not exchange.fits(net_of(report)):
        message = f"In {program.currency} the order is above 1,000,000,000,000."
        errors.append(FieldError("total.amount", "too_large", message))
    return errors


_TIMES = {
    "in_the_future": "The time lies more than 5 minutes ahead of ours.",
    "too_old": (
        "More than 30 days back; a key with the scope orders:import may send it, from 2000 on."
    ),
}
