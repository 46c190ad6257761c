"""The page on which the heads of the books are given out, and what to do with one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, Flask, Response, jsonify, render_template
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from affiliate.core import health
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.people.access import public
from payouts.ledger.seals.models import Seal
from payouts.ledger.seals.rules import moment, summary_of
from tracker.desks.proofs import seal_number

SHOWN = 10
HEADS_MAX = 1_000

seals = Blueprint("seals", __name__)


def set_up(app: Flask, settings: Settings) -> None:  # noqa: ARG001 -- the shape of every set_up
    """Register the page and its figures."""
    app.register_blueprint(seals)
    health.report(app, metrics=[_figures])


@seals.get("/seals")
@public
def page() -> str:
    """The newest heads, for whoever wants to note one."""
    return render_template("tracker/seals.html", found=_heads(None, SHOWN))


@seals.get("/seals/heads")
@public
def heads() -> Response:
    """Heads, newest first, `?before=` a number: each follows from the one before it.

    A head is `SHA-256(2, number, head before, summary, time)`; summaries tell nothing else.
    """
    found = _heads(seal_number("before"), HEADS_MAX)
    links = [
        {
            "number": seal.number,
            "head": seal.head.hex(),
            "summary": summary_of(root=seal.root, leaves=seal.leaves, emptied=seal.emptied).hex(),
            "sealed_at": moment(seal.sealed_at),
        }
        for seal in found
    ]
    more = found[-1].number if len(found) == HEADS_MAX and found[-1].number > 1 else None
    return jsonify(heads=links, next_before=more)


def _heads(before: int | None, rows_max: int) -> list[Any]:
    asked = sa.select(
        Seal.number, Seal.head, Seal.root, Seal.leaves, Seal.emptied, Seal.sealed_at
    ).order_by(Seal.number.desc())
    if before is not None:
        asked = asked.where(Seal.number < before)
    return list(db.session.execute(asked.limit(rows_max)))


def _figures() -> Iterable[Metric]:
    newest = _heads(None, 1)
    number, at = (newest[0].number, newest[0].sealed_at.timestamp()) if newest else (0, 0.0)
    yield GaugeMetricFamily("kopeck_seals", "Blocks of the books that are sealed.", number)
    text = "When the newest block was sealed, in seconds since 1970."
    yield GaugeMetricFamily("kopeck_sealed_timestamp_seconds", text, at)
