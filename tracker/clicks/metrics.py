"""What /metrics and /readyz say about clicks: counts of all processes, the loader's state, tables.

The loader is a process of its own: it leaves its state in a file of the node, so that the lag
is told also while the database, or the loader itself, is away.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import sqlalchemy as sa
from flask import Flask
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from affiliate.core import health
from affiliate.core.config import Settings
from affiliate.core.db import db
from tracker.clicks.crawlers import FILTER_VERSION
from tracker.clicks.models import ClickQuarantine, ClickSpill, ProgramDay, ProgramDayDrop
from tracker.clicks.room import Alarm
from tracker.clicks.rules import DropReason
from tracker.clicks.watch import budget_of, read_state


def set_up(app: Flask, settings: Settings) -> None:
    """Add clicks to what the health addresses report."""
    health.report(
        app,
        metrics=[lambda: _loader(settings), _tables],
        alarms=lambda: [f"{alarm.value}: {alarm.sentence}" for alarm in alarms(settings)],
    )


def alarms(settings: Settings) -> list[Alarm]:
    """What is wrong with this node's journal, by its loader, or with the loader itself.

    A node on which no loader ever ran raises no alarm: it may serve no clicks.
    """
    state = read_state(settings.data_dir)
    if state is None:
        return []
    return [Alarm.LOADER_SILENT] if state.silent else list(state.alarms)


def _loader(settings: Settings) -> Iterable[Metric]:
    state = read_state(settings.data_dir)
    if state is None:
        return
    taken, budget = state.taken, budget_of(settings)
    silent_s = max(0.0, time.time() - state.at)
    # A loader that says nothing loads nothing: what waited then has waited longer by now.
    lag_s = taken.lag_s + (silent_s if taken.waiting_bytes and state.silent else 0.0)
    for name, text, value in (
        ("unloaded_bytes", "Bytes of the journal that are not loaded.", taken.waiting_bytes),
        ("lag_seconds", "Age of the oldest record that is not loaded.", lag_s),
        ("kept_bytes", "Loaded segments that are kept for a restore.", taken.kept_bytes),
        ("free_bytes", "Free room on the journal's file system.", taken.free_bytes),
        ("budget_bytes", "What the journal may take.", budget.bytes_max),
    ):
        yield GaugeMetricFamily(f"kopeck_journal_{name}", text, value)
    said = "Seconds since this node's loader said how it stands."
    yield GaugeMetricFamily("kopeck_loader_silent_seconds", said, silent_s)
    alarm = GaugeMetricFamily(
        "kopeck_journal_alarm", "1: a person should look (docs/operations.md).", labels=["alarm"]
    )
    raised = alarms(settings)
    for each in Alarm:
        alarm.add_metric([each.value], float(each in raised))
    yield alarm


def _tables() -> Iterable[Metric]:
    """Of the whole installation, not of the node: every node says the same."""
    dropped = CounterMetricFamily(
        "kopeck_clicks_dropped", "Stored clicks that do not count, by reason.", labels=["reason"]
    )
    numbers: dict[str, int] = {}
    for name, number in db.session.execute(
        sa.select(ProgramDayDrop.reason, sa.func.sum(ProgramDayDrop.clicks)).group_by(
            ProgramDayDrop.reason
        )
    ):
        numbers[name] = int(number)
    repeats = db.session.scalar(sa.select(sa.func.sum(ProgramDay.duplicates)))
    numbers[DropReason.DUPLICATE.value] = int(repeats or 0)
    for reason in DropReason:
        dropped.add_metric([reason.value], numbers.get(reason.value, 0))
    yield dropped
    edition = GaugeMetricFamily(
        "kopeck_click_filter_info", "1: which edition of the filter judges.", labels=["version"]
    )
    edition.add_metric([FILTER_VERSION], 1)
    yield edition
    pieces = GaugeMetricFamily(
        "kopeck_quarantine_pieces", "Pieces of journals in quarantine.", labels=["reason"]
    )
    for name, number in db.session.execute(
        sa.select(ClickQuarantine.reason, sa.func.count()).group_by(ClickQuarantine.reason)
    ):
        pieces.add_metric([name], number)
    yield pieces
    spilled = db.session.scalar(sa.select(sa.func.count()).select_from(ClickSpill))
    text = "Clicks that wait in the database to be loaded."
    yield GaugeMetricFamily("kopeck_spill_waiting", text, spilled or 0)
