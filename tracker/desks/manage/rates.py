"""Exchange rates of a program: the table, a rate to enter, a bank's file to bring."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Final

from flask import request, url_for
from flask_babel import lazy_gettext as _l
from flask_wtf.file import FileField
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response
from wtforms import StringField
from wtforms.validators import Length, Optional

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import Invalid, NotFound, Phrase
from affiliate.core.tables import Number
from affiliate.people import access
from affiliate.programs.models import Program
from affiliate.rates.enter import Entered, enter_rate, import_rates
from affiliate.rates.lookup import currencies_of, listed
from affiliate.rates.rules import day_of
from tracker.desks.acting import Answer, submit
from tracker.desks.files import csv_answer
from tracker.desks.manage import people
from tracker.desks.manage.blueprint import actors, manage, page, place, readers, require_acting
from tracker.desks.manage.rules_form import NEEDED, Form
from tracker.desks.words import _, ngettext
from tracker.orders.jobs import convert_waiting_orders
from tracker.orders.rates import waiting_for_rates

ROWS_MAX: Final = 100
CSV_ROWS_MAX: Final = 10_000
"""As many as one file may bring back."""
CURRENCIES_CHARS_MAX: Final = 400


class RateForm(Form):
    """One rate."""

    currency = StringField(
        _l("Currency of the orders"), [NEEDED, Length(max=10)], description=_l("Such as USD.")
    )
    rate = StringField(_l("Rate"), [NEEDED, Length(max=30)], render_kw={"inputmode": "decimal"})
    valid_from = StringField(_l("Holds from"), [NEEDED, Length(max=10)], render_kw={"type": "date"})

    def day(self) -> date:
        """Raises Invalid."""
        try:
            return date.fromisoformat(self.valid_from.data or "")
        except ValueError:
            message = Phrase("Write the date as 2026-11-26.")
            raise Invalid.field("valid_from", "not_a_date", message) from None


class RatesFileForm(Form):
    """Many rates."""

    file = FileField(_l("File"))
    currencies = StringField(
        _l("Currencies"),
        [Optional(), Length(max=CURRENCIES_CHARS_MAX)],
        description=_l("Such as USD EUR. Empty: those in the table already."),
    )

    def raw(self) -> bytes:
        """What the file holds. Raises Invalid."""
        if not self.file.data or not getattr(self.file.data, "filename", ""):
            raise Invalid.field("file", "required", Phrase("Choose a file."))
        content: bytes = self.file.data.read()
        return content


@manage.get("/rates")
@readers
def rates() -> str:
    """The program's rates, the latest day first, and the orders that wait for some."""
    return _rates_page()


@manage.get("/rates.csv")
@readers
def rates_csv() -> Response:
    """The rates in force as a file that can be brought in again."""
    program = place().required
    found = listed(db.session(), program=program, rows_max=CSV_ROWS_MAX)
    return csv_answer(
        f"rates-{program.slug}.csv",
        ("currency", "date", "rate"),
        [
            (one.row.source, one.row.valid_from.isoformat(), Number(one.rate.decimal))
            for one in found
            if not one.replaced
        ],
    )


@manage.post("/rates")
@actors
def enter_one_rate() -> Answer:
    """Enter a rate; of a day that has one it is a correction, for orders from then on."""
    form = RateForm()

    def verb(session: Session, program: Program, now: datetime) -> Entered:
        return enter_rate(
            session,
            program_id=program.id,
            currency=(form.currency.data or "").strip().upper(),
            valid_from=form.day(),
            rate=(form.rate.data or "").strip(),
            by=access.actor().user_id,
            now=now,
        )

    return _entered(form, verb, lambda: _rates_page(form))


@manage.post("/rates/files")
@actors
def bring_rates() -> Answer:
    """Enter the rates of a file, all or none."""
    form = RatesFileForm()

    def verb(session: Session, program: Program, now: datetime) -> Entered:
        return import_rates(
            session,
            program_id=program.id,
            raw=form.raw(),
            currencies=(form.currencies.data or "").upper().replace(",", " ").split(),
            by=access.actor().user_id,
            now=now,
        )

    return _entered(form, verb, lambda: _rates_page(brought=form))


def _entered(
    form: Form,
    verb: Callable[[Session, Program, datetime], Entered],
    shown: Callable[[], str],
) -> Answer:
    """Run the verb, say what came of it, and let orders that waited be converted."""
    program = place().required
    require_acting(program.id)

    def entered(session: Session, now: datetime) -> Entered:
        done = verb(session, program, now)
        convert_waiting_orders.after_commit(session)
        return done

    return submit(form, entered, done=_told, back=url_for("manage.rates"), page=shown)


def _told(done: Entered) -> str:
    if not done.new and not done.corrected:
        return _("Every rate of it was known already; nothing has changed.")
    parts = [
        ngettext("%(num)d rate is entered.", "%(num)d rates are entered.", done.new)
        if done.new
        else "",
        ngettext(
            "%(num)d corrects an earlier one, for orders that are decided from now on.",
            "%(num)d correct earlier ones, for orders that are decided from now on.",
            done.corrected,
        )
        if done.corrected
        else "",
        ngettext("%(num)d was known already.", "%(num)d were known already.", done.unchanged)
        if done.unchanged
        else "",
    ]
    return " ".join(part for part in parts if part)


def _rates_page(form: RateForm | None = None, brought: RatesFileForm | None = None) -> str:
    here = place()
    program, session = here.required, db.session()
    today = day_of(clock.now(session), program.time_zone)
    if form is None:
        form = RateForm(formdata=None, valid_from=today.isoformat())
    found = listed(session, program=program, rows_max=ROWS_MAX + 1, after=_after())
    shown = found[:ROWS_MAX]
    names = people.user_names(session, {f"user:{one.row.entered_by}" for one in shown})
    more = len(found) > ROWS_MAX
    last = shown[-1].row if more else None
    return page(
        "rates",
        here,
        program=program,
        form=form,
        brought=brought or RatesFileForm(formdata=None),
        rates=[(one, names.get(f"user:{one.row.entered_by}")) for one in shown],
        currencies=currencies_of(session, program_id=program.id),
        waiting=waiting_for_rates(session, program_id=program.id),
        origins=_origins(),
        older=last and url_for("manage.rates", after=f"{last.valid_from}.{last.id}"),
        newest=url_for("manage.rates") if request.args.get("after") else None,
    )


def _origins() -> dict[str, str]:
    return {
        "typed": _("typed in"),
        "csv": _("a file"),
        "ecb": _("the European Central Bank's file"),
        "cbr": _("the Bank of Russia's file"),
    }


def _after() -> tuple[date, int] | None:
    """Where a page of the table goes on; NotFound for what no page of ours says."""
    text: Any = request.args.get("after")
    if text is None:
        return None
    day, _point, number = text.partition(".")
    if not (number.isascii() and number.isdigit() and len(number) <= 18):
        raise NotFound
    try:
        return date.fromisoformat(day), int(number)
    except ValueError:
        raise NotFound from None
