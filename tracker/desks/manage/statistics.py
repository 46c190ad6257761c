"""A program's figures: by day, affiliate, link, material, country, device, reason, coupon."""

from __future__ import annotations

from flask import Response

from affiliate.core import clock
from affiliate.core.db import db
from tracker.desks.manage.blueprint import Place, manage, page, place, readers
from tracker.desks.statistics import read
from tracker.desks.statistics_address import Reader, asked_by
from tracker.stats.api import csv_response


@manage.get("/statistics")
@readers
def statistics() -> str:
    """Figures of a period against the one before, and what they are made of."""
    here = place()
    return page("statistics", here, view=read(_reader(here)))


@manage.get("/statistics.csv")
@readers
def statistics_csv() -> Response:
    """Every row of the same question as a file."""
    here = place()
    return csv_response(*asked_by(_reader(here)), name=here.required.slug)


def _reader(here: Place) -> Reader:
    session = db.session()
    now = clock.now(session)
    return Reader(session, here.required, None, now, "manage.statistics")
