"""The affiliate's own figures: by day, link, sub-id, material, country, device and reason."""

from __future__ import annotations

from affiliate.core.db import db
from affiliate.imports.lookup import former_months
from affiliate.people.access import affiliates
from tracker.desks.account.blueprint import Answer, account, in_program, page
from tracker.desks.account.place import Place
from tracker.desks.statistics import read
from tracker.desks.statistics_address import Reader, asked_by
from tracker.stats.api import csv_response


@account.get("/statistics")
@affiliates
@in_program
def statistics(place: Place) -> Answer:
    """Figures of a period against the one before, and what they are made of."""
    former = former_months(db.session(), enrollment_id=place.enrollment.id, currency=place.currency)
    return page("statistics", place, view=read(_reader(place)), former=former)


@account.get("/statistics.csv")
@affiliates
@in_program
def statistics_csv(place: Place) -> Answer:
    """Every row of the same question as a file."""
    return csv_response(*asked_by(_reader(place)), name=place.program.slug)


def _reader(place: Place) -> Reader:
    return Reader(db.session(), place.program, place.enrollment.id, place.now, "account.statistics")
