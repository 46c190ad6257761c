"""The watch over the journal: what is given up for room, what is an alarm, and who is told."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click_support import CHROME, Shop
from flask.testing import FlaskClient

from affiliate.core.config import Settings
from affiliate.core.log import set_up
from tracker.clicks import watch as watches
from tracker.clicks.loader import Loader
from tracker.clicks.recording import ClickRecorder
from tracker.clicks.room import MB, Alarm, Budget, Taken, alarms_of, how_many_to_give_up
from tracker.clicks.watch import LOADED, STATE, State, Watch, read_state

ROOMY = Budget(bytes_max=1_000, free_bytes_min=100)


def taken(
    waiting: int = 0, segments: int = 0, kept: int = 0, free: int = 500, lag_s: float = 0.0
) -> Taken:
    return Taken(waiting, segments, kept, free, lag_s)


@pytest.mark.parametrize(
    ("stands", "goes"),
    [
        (taken(segments=400, kept=600), 0),  # exactly the budget
        (taken(segments=401, kept=600), 1),  # one byte over
        (taken(segments=600, kept=600), 1),  # 200 over, the oldest has 200
        (taken(segments=601, kept=600), 2),  # 201 over
        (taken(segments=5_000, kept=600), 3),  # nothing helps: all that may go goes
        (taken(kept=600, free=100), 0),  # just enough free
        (taken(kept=600, free=99), 1),
        (taken(kept=600, free=0), 1),
        (taken(segments=700, kept=600, free=0), 2),  # 300 over weighs more than 100 short
    ],
)
def test_the_oldest_go_until_budget_and_free_room_are_kept(stands: Taken, goes: int) -> None:
    assert how_many_to_give_up([200, 200, 200], stands, ROOMY) == goes


@pytest.mark.parametrize(
    ("stands", "raised"),
    [
        (taken(), []),
        (taken(lag_s=60.0), []),
        (taken(lag_s=60.1), [Alarm.LAGS]),
        (taken(waiting=1_000, segments=1_000), []),
        (taken(waiting=1_001, segments=1_001), [Alarm.OVER_BUDGET]),
        (taken(waiting=1, segments=5_000), []),  # loaded, its writer is only not done with it
        (taken(free=99), [Alarm.DISK_NEARLY_FULL]),
        (taken(1_001, 1_001, 0, 0, 90), [Alarm.LAGS, Alarm.OVER_BUDGET, Alarm.DISK_NEARLY_FULL]),
    ],
)
def test_alarms(stands: Taken, raised: list[Alarm]) -> None:
    assert alarms_of(stands, ROOMY) == raised


@pytest.fixture
def recorder(settings: Settings, shop: Shop) -> Iterator[ClickRecorder]:
    with ClickRecorder(settings) as made:
        yield made


@pytest.fixture
def every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "LOOK_INTERVAL_S", -1.0)
    monkeypatch.setattr(watches, "KEPT_INTERVAL_S", -1.0)


def keep(settings: Settings, name: str, size: int, age_s: int) -> Path:
    """A loaded segment that is kept for a restore."""
    folder = settings.data_dir / "journal" / LOADED
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.kpj"
    path.write_bytes(bytes(size))
    at = time.time() - age_s
    os.utime(path, (at, at))
    return path


@pytest.mark.usefixtures("every_look")
def test_the_oldest_loaded_segments_are_given_up_and_waiting_clicks_never(
    settings: Settings, recorder: ClickRecorder, shop: Shop
) -> None:
    recorder.click(link_id=shop.link_id, clicked_at=datetime.now(UTC), address="::1", agent=CHROME)
    (waiting,) = (settings.data_dir / "journal").glob("*.kpj")
    old, older = keep(settings, "b", MB // 2, 100), keep(settings, "a", MB // 2, 200)
    young = keep(settings, "c", MB // 2, 10)
    Watch(replace(settings, journal_mb_max=1, journal_free_mb_min=0)).look({})
    # A million bytes may be kept, three halves and a click were.
    assert [path.exists() for path in (older, old, young, waiting)] == [False, False, True, True]
    Watch(replace(settings, journal_mb_max=0, journal_free_mb_min=0)).look({})
    assert [young.exists(), waiting.exists()] == [False, True]
    state = read_state(settings.data_dir)
    assert state is not None
    assert state.alarms == (Alarm.OVER_BUDGET,)
    assert state.taken.waiting_bytes == waiting.stat().st_size


@pytest.mark.usefixtures("every_look")
def test_lag_is_the_age_of_the_oldest_record_that_is_not_loaded(
    settings: Settings, recorder: ClickRecorder, shop: Shop
) -> None:
    now = datetime.now(UTC)
    for age_s in (3_600, 100):
        at = now - timedelta(seconds=age_s)
        recorder.click(link_id=shop.link_id, clicked_at=at, address="::1", agent=CHROME)
    (path,) = (settings.data_dir / "journal").glob("*.kpj")
    half = path.stat().st_size // 2
    watch = Watch(settings)
    for offset, low, high in ((0, 3_600, 3_700), (half, 100, 200), (2 * half, 0, 0)):
        watch.look({path.stem: offset})
        state = read_state(settings.data_dir)
        assert state is not None
        assert low <= state.taken.lag_s <= high
        assert (Alarm.LAGS in state.alarms) == (low > 60)
    # Business time that runs ahead makes clicks look younger than they are.
    watch.look({}, ahead_ms=1_000_000)
    state = read_state(settings.data_dir)
    assert state is not None
    assert state.taken.lag_s >= 4_600


@pytest.mark.usefixtures("every_look")
def test_an_alarm_is_said_once_a_minute_and_when_it_is_over(
    settings: Settings,
    recorder: ClickRecorder,
    shop: Shop,
    capfd: pytest.CaptureFixture[str],
) -> None:
    at = datetime.now(UTC) - timedelta(hours=1)
    recorder.click(link_id=shop.link_id, clicked_at=at, address="::1", agent=CHROME)
    (path,) = (settings.data_dir / "journal").glob("*.kpj")
    set_up("INFO")
    watch = Watch(settings)
    for _ in range(3):
        watch.look({})
    said = "".join(capfd.readouterr())
    assert said.count(Alarm.LAGS.sentence) == 1
    watch.look({path.stem: path.stat().st_size})
    watch.look({path.stem: path.stat().st_size})
    assert "".join(capfd.readouterr()).count("the journal is well again") == 1


@pytest.mark.usefixtures("every_look")
def test_a_loader_whose_database_is_away_still_says_how_it_stands(
    settings: Settings, recorder: ClickRecorder, shop: Shop
) -> None:
    at = datetime.now(UTC) - timedelta(hours=1)
    recorder.click(link_id=shop.link_id, clicked_at=at, address="::1", agent=CHROME)
    away = Loader(replace(settings, database_url="postgresql+psycopg://x@127.0.0.1:9/x"))
    stop = threading.Event()
    runs = threading.Thread(target=away.run, args=(stop,))
    runs.start()
    deadline = time.monotonic() + 60
    try:
        while read_state(settings.data_dir) is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        stop.set()
        runs.join(timeout=60)
    state = read_state(settings.data_dir)
    assert state is not None
    assert state.alarms == (Alarm.LAGS,)


@pytest.mark.usefixtures("every_look")
def test_a_node_without_a_click_yet_has_nothing_to_be_alarmed_about(settings: Settings) -> None:
    Watch(settings).look({})
    state = read_state(settings.data_dir)
    assert state is not None
    assert state.alarms == ()
    assert state.taken.free_bytes > 0


def test_the_state_is_written_in_place_so_that_a_full_disk_cannot_silence_it(
    settings: Settings, shop: Shop
) -> None:
    (settings.data_dir / "journal").mkdir()
    watch = Watch(settings)
    watch.look({})
    before = (settings.data_dir / STATE).stat()
    watches._write(settings.data_dir / STATE, State(1.0, taken(lag_s=5), (Alarm.LAGS,)))
    after = (settings.data_dir / STATE).stat()
    assert (before.st_ino, before.st_blocks) == (after.st_ino, after.st_blocks)
    assert read_state(settings.data_dir) == State(1.0, taken(lag_s=5), (Alarm.LAGS,))


def test_a_state_that_cannot_be_read_is_none(settings: Settings) -> None:
    assert read_state(settings.data_dir) is None
    for content in (b"{", b"[]", b'{"at": 1, "taken": {"x": 1}, "alarms": []}'):
        (settings.data_dir / STATE).write_bytes(content)
        assert read_state(settings.data_dir) is None


def test_alarms_stand_at_readyz_and_do_not_make_the_node_unready(
    client: FlaskClient, settings: Settings
) -> None:
    assert client.get("/readyz").get_json()["alarms"] == []
    path = settings.data_dir / STATE
    watches._write(path, State(time.time(), taken(free=1), (Alarm.DISK_NEARLY_FULL,)))
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.get_json()["alarms"] == [f"disk_nearly_full: {Alarm.DISK_NEARLY_FULL.sentence}"]
    watches._write(path, State(time.time() - 31, taken(waiting=5, lag_s=2), ()))
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.get_json()["alarms"] == [f"loader_silent: {Alarm.LOADER_SILENT.sentence}"]
    said = client.get("/metrics").text
    assert 'kopeck_journal_alarm{alarm="loader_silent"} 1.0' in said
    assert 'kopeck_journal_alarm{alarm="journal_lags"} 0.0' in said
    assert "kopeck_journal_unloaded_bytes 5.0" in said
