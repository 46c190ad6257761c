"""What a loader says of how far its node's journal is in the table."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from click_support import CHROME, Shop, rows
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.config import Settings
from tracker.clicks.loader import FOLDER, RECORDED_WITHIN, Loader
from tracker.clicks.recording import ClickRecorder

NODES = "SELECT node, loaded_until, reported_at FROM click_nodes ORDER BY reported_at"


@pytest.fixture(autouse=True)
def recorded(settings: Settings, shop: Shop) -> Iterator[None]:
    """One click in the journal, whose writer goes on."""
    with ClickRecorder(settings) as recorder:
        recorder.click(
            link_id=shop.link_id, clicked_at=datetime.now(UTC), address="203.0.113.9",
            agent=CHROME, visitor_id=None, visitor_known=False,
        )  # fmt: skip
        yield


def test_a_round_that_loaded_everything_says_how_far(session: Session, settings: Settings) -> None:
    loader = Loader(settings)
    before = clock.real_now()
    assert loader.round() == 1
    [(node, until, reported)] = rows(session, NODES)
    assert node.endswith(str((settings.data_dir / FOLDER).resolve()))
    # What is said holds for what was recorded before the round began, and a minute less.
    assert before - RECORDED_WITHIN <= until <= clock.real_now() - RECORDED_WITHIN
    assert reported == until + RECORDED_WITHIN
    loader.round()
    assert rows(session, NODES) == [(node, until, reported)], "not every round writes it"
    loader._report_due = 0.0
    loader.round()
    [(_, later, _)] = rows(session, NODES)
    assert later > until
    loader.close()


def test_while_a_segment_cannot_be_read_nothing_is_said(
    session: Session, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = Loader(settings)

    def broken(_connection: object, _path: Path) -> int:
        raise OSError("Input/output error")

    monkeypatch.setattr(loader, "_load_segment", broken)
    loader.round()
    assert rows(session, NODES) == []
    monkeypatch.undo()
    loader.round()
    assert len(rows(session, NODES)) == 1
    loader.close()


def test_a_node_that_is_gone_is_forgotten(session: Session, settings: Settings) -> None:
    now = clock.real_now()
    for days in (7, 9):
        at = now - timedelta(days=days)
        session.execute(
            sa.text("INSERT INTO click_nodes VALUES (:node, :at, :at)"),
            {"node": f"silent for {days}", "at": at},
        )
    session.commit()
    loader = Loader(settings)
    loader.round()
    names = [name for name, *_rest in rows(session, NODES)]
    assert names[0] == "silent for 7"
    assert len(names) == 2
    loader.close()
