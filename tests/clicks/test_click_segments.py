"""Reading a journal segment, the next piece while the last one is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from click_support import CHROME, Shop
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from tracker.clicks import loader, records
from tracker.clicks.loader import Loader
from tracker.clicks.recording import ClickRecorder
from tracker.clicks.segments import SegmentReader
from tracker.clicks.tokens import new_click_id

TEXTS = b"agent\0\0\0\0\0\0\0\0\0"


def record(number: int) -> bytes:
    click_id = new_click_id(1_795_245_300_000 + number, number.to_bytes(10, "big"))
    return records.encode(click_id, number, b"v" * 16, b"a" * 16, None, 0, TEXTS)


@pytest.fixture
def ahead() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def numbers(found: records.Scan) -> list[int]:
    return [entry.link_id for entry in found.records]


def test_pieces_read_ahead_are_those_that_are_asked_for(
    tmp_path: Path, ahead: ThreadPoolExecutor
) -> None:
    path = tmp_path / "one.kpj"
    raw = b"".join(record(number) for number in range(100)) + record(1)[:30]
    path.write_bytes(raw)
    seen: list[int] = []
    with path.open("rb") as file, SegmentReader(file, len(raw), ended=True, ahead=ahead) as reader:
        offset = 0
        while offset < len(raw):
            found = reader.scan(offset, 7)
            seen += numbers(found)
            offset += found.consumed
    assert seen == list(range(100))
    assert [reject.reason for reject in found.rejects] == [records.RejectReason.TORN]


def test_a_piece_that_is_asked_for_anew_is_read_anew(
    tmp_path: Path, ahead: ThreadPoolExecutor
) -> None:
    path = tmp_path / "one.kpj"
    one = len(record(0))
    path.write_bytes(b"".join(record(number) for number in range(20)))
    size = path.stat().st_size
    with path.open("rb") as file, SegmentReader(file, size, ended=False, ahead=ahead) as reader:
        assert numbers(reader.scan(0, 10)) == list(range(10))
        # The batch was refused: a smaller one from the same place, then where another was.
        assert numbers(reader.scan(0, 3)) == [0, 1, 2]
        assert numbers(reader.scan(15 * one, 3)) == [15, 16, 17]
        assert numbers(reader.scan(18 * one, 3)) == [18, 19]
        assert reader.scan(size, 3).consumed == 0


def test_what_was_written_after_the_size_was_taken_is_left_for_the_next_round(
    tmp_path: Path, ahead: ThreadPoolExecutor
) -> None:
    path = tmp_path / "one.kpj"
    path.write_bytes(record(0) + record(1))
    size = path.stat().st_size
    with path.open("rb") as file, SegmentReader(file, size, ended=False, ahead=ahead) as reader:
        with path.open("ab") as writer:
            writer.write(record(2))
        assert numbers(reader.scan(0, 1)) == [0]
        assert numbers(reader.scan(len(record(0)), 5)) == [1]


def test_many_small_batches_load_each_click_once(
    settings: Settings, shop: Shop, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "BATCH_ROWS_MAX", 7)
    begin = datetime.now(UTC) - timedelta(minutes=9)
    with ClickRecorder(settings) as recorder:
        for number in range(100):
            recorder.click(
                link_id=shop.link_id,
                clicked_at=begin + timedelta(seconds=number),
                address=f"198.51.100.{number}",
                agent=CHROME,
            )
    loading = Loader(settings)
    try:
        while loading.round():
            continue
    finally:
        loading.close()
    counted = "SELECT count(*), count(DISTINCT click_id), count(*) FILTER (WHERE is_unique)"
    assert session.execute(sa.text(f"{counted} FROM clicks")).one() == (100, 100, 100)
