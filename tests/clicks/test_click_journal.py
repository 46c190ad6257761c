"""The journal: what was appended is read again, whatever became of the file."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.clicks import journal as journals
from tracker.clicks import reading as readings
from tracker.clicks import records
from tracker.clicks.journal import Journal, JournalUnavailable
from tracker.clicks.reading import Reading
from tracker.clicks.records import RejectReason, scan
from tracker.clicks.rules import DropReason
from tracker.clicks.tokens import new_click_id

TEXTS = b"agent\0https://blog.example/\0\0one\0\0\0\0\0banner-7\0RU"


def record(number: int, texts: bytes = TEXTS) -> bytes:
    click_id = new_click_id(1_795_245_300_000 + number, number.to_bytes(10, "big"))
    return records.encode(click_id, number, b"v" * 16, b"a" * 16, DropReason.BOT, 3, texts)


def numbers(found: records.Scan) -> list[int]:
    return [entry.link_id for entry in found.records]


class TestScan:
    def test_reads_what_was_encoded(self) -> None:
        raw = record(7)
        found = scan(raw * 2, ended=False)
        assert found.consumed == 2 * len(raw)
        assert found.rejects == []
        first, second = found.records
        assert (first.link_id, first.visitor_id, first.address_hash) == (7, b"v" * 16, b"a" * 16)
        assert (first.reason, first.flags) == (DropReason.BOT, 3)
        assert (first.agent, first.referrer) == (b"agent", b"https://blog.example/")
        assert (first.deep_link, first.sub_ids) == (b"", (b"one", b"", b"", b"", b""))
        assert (first.creative, first.country) == (b"banner-7", b"RU")
        assert (first.offset, second.offset) == (0, len(raw))

    def test_reads_a_segment_that_the_first_release_left(self) -> None:
        body = record(7, TEXTS.removesuffix(b"\0banner-7\0RU"))
        found = scan(body.replace(b"\xc7KPJ\x02", b"\xc7KPJ\x01"), ended=True)
        (first,) = found.records
        assert (first.link_id, first.sub_ids) == (7, (b"one", b"", b"", b"", b""))
        assert (first.creative, first.country) == (b"", b"")

    def test_waits_for_the_rest_of_the_last_record(self) -> None:
        raw = record(1)
        for size in range(1, len(raw)):
            found = scan(raw + raw[:size], ended=False)
            assert (numbers(found), found.rejects, found.consumed) == ([1], [], len(raw)), size

    def test_gives_up_the_last_record_when_nothing_will_follow(self) -> None:
        raw = record(1)
        for size in range(1, len(raw)):
            found = scan(raw + raw[:size], ended=True)
            assert numbers(found) == [1]
            assert found.consumed == len(raw) + size
            assert [(entry.offset, entry.raw) for entry in found.rejects] == [
                (len(raw), raw[:size])
            ]

    def test_steps_over_a_torn_record_in_the_middle(self) -> None:
        raw = record(1)
        for size in range(1, len(raw)):
            data = raw + raw[:size] + record(2) + record(3)
            found = scan(data, ended=False)
            assert numbers(found) == [1, 2, 3], size
            assert found.consumed == len(data)
            assert b"".join(entry.raw for entry in found.rejects) == raw[:size]

    def test_steps_over_foreign_bytes(self) -> None:
        data = b"not ours" + record(1) + b"\0" * 100 + record(2) + records.MAGIC[:2]
        found = scan(data, ended=True)
        assert numbers(found) == [1, 2]
        assert [(entry.raw, entry.reason) for entry in found.rejects] == [
            (b"not ours", RejectReason.FOREIGN),
            (b"\0" * 100, RejectReason.FOREIGN),
            (records.MAGIC[:2], RejectReason.FOREIGN),
        ]

    def test_steps_over_a_record_with_a_changed_bit(self) -> None:
        raw = bytearray(record(1))
        raw[-1] ^= 1
        found = scan(bytes(raw) + record(2), ended=False)
        assert numbers(found) == [2]
        assert [entry.reason for entry in found.rejects] == [RejectReason.TORN]

    @pytest.mark.parametrize(
        ("raw", "reason"),
        [
            (record(1).replace(b"\xc7KPJ\x02", b"\xc7KPJ\x03"), RejectReason.UNKNOWN_VERSION),
            (record(1, b"too\0few"), RejectReason.UNREADABLE),
            (
                records.encode(b"\0" * 16, 1, b"v" * 16, b"a" * 16, None, 0, TEXTS),
                RejectReason.UNREADABLE,
            ),
        ],
    )
    def test_sets_aside_what_is_sound_but_not_understood(
        self, raw: bytes, reason: RejectReason
    ) -> None:
        found = scan(raw + record(2), ended=False)
        assert numbers(found) == [2]
        assert [(entry.raw, entry.reason) for entry in found.rejects] == [(raw, reason)]

    def test_stops_after_the_wanted_number_of_records(self) -> None:
        data = b"".join(record(number) for number in range(5))
        found = scan(data, ended=False, records_max=2)
        assert numbers(found) == [0, 1]
        assert numbers(scan(data[found.consumed :], ended=False)) == [2, 3, 4]

    @settings(deadline=None)
    @given(
        pieces=st.lists(
            st.one_of(
                st.integers(0, 9).map(lambda number: (record(number), True)),
                st.binary(min_size=1, max_size=60)
                .filter(lambda junk: records.MAGIC[:1] not in junk)
                .map(lambda junk: (junk, False)),
                st.integers(1, 90).map(lambda size: (record(3)[:size], False)),
            ),
            max_size=12,
        ),
        cuts=st.lists(st.integers(0, 1500), max_size=4),
    )
    def test_finds_every_record_and_loses_no_byte_however_it_is_cut(
        self, pieces: list[tuple[bytes, bool]], cuts: list[int]
    ) -> None:
        data = b"".join(raw for raw, _ in pieces)
        found: list[records.ClickRecord] = []
        rejected = offset = 0
        for end in [*sorted(min(cut, len(data)) for cut in cuts), len(data), len(data)]:
            ended = end == len(data)
            part = scan(data[offset:end], ended=ended)
            found += part.records
            rejected += sum(len(entry.raw) for entry in part.rejects)
            offset += part.consumed
        assert offset == len(data)
        assert sum(len(entry.raw) for entry in found) + rejected == len(data)
        assert [entry.raw for entry in found] == [raw for raw, whole in pieces if whole]


@pytest.fixture(params=["background", "grouped"])
def journal(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Journal]:
    opened = Journal(tmp_path, grouped=request.param == "grouped")
    opened.start()
    yield opened
    opened.stop()


def segments(folder: Path) -> list[Path]:
    return sorted((folder / journals.FOLDER).glob(f"*{journals.SUFFIX}"))


def written(folder: Path) -> list[int]:
    found: list[int] = []
    for path in segments(folder):
        found += numbers(scan(path.read_bytes(), ended=True))
    return found


class TestReading:
    def test_reads_in_pieces_what_it_reads_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(readings, "RECORDS_AT_ONCE", 2)
        torn, foreign = record(3)[:-5], b"no click at all"
        raw = record(1) + record(2) + torn + record(4) + foreign + record(5) + record(6)[:-1]
        for ended in (False, True):
            for records_max in (1, 2, 3, 4, 100):
                whole = scan(raw, ended=ended, records_max=records_max)
                for pieces in range(5):
                    reading = Reading(raw, 70, ended=ended, records_max=records_max)
                    for _ in range(pieces):
                        reading.go_on()
                    found = reading.whole()
                    assert numbers(found) == numbers(whole)
                    # Whether damage behind the last record wanted is met now or with the next
                    # batch depends on the pieces; that no byte is lost does not.
                    sizes = sum(len(one.raw) for one in (*found.records, *found.rejects))
                    assert found.consumed == sizes >= whole.consumed

    def test_reads_nothing_until_it_is_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[int] = []

        def counted(data: bytes, *, records_max: int, **how: Any) -> records.Scan:
            asked.append(records_max)
            return scan(data, records_max=records_max, **how)

        monkeypatch.setattr(readings, "scan", counted)
        monkeypatch.setattr(readings, "RECORDS_AT_ONCE", 2)
        reading = Reading(record(1) * 5, 0, ended=True, records_max=4)
        assert asked == []
        reading.go_on()
        reading.go_on()
        reading.go_on()
        assert asked == [2, 2]
        assert reading.whole().consumed == 4 * len(record(1))
        assert asked == [2, 2]


class TestJournal:
    def test_has_each_record_in_the_file_when_append_returns(
        self, journal: Journal, tmp_path: Path
    ) -> None:
        for number in range(20):
            journal.append(record(number))
            assert written(tmp_path) == list(range(number + 1))

    def test_takes_records_of_many_threads_whole_while_segments_change(
        self, journal: Journal, tmp_path: Path
    ) -> None:
        def write(first: int) -> None:
            for number in range(first, first + 100):
                journal.append(record(number))

        threads = [threading.Thread(target=write, args=(100 * i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            journal._rotate()
        for thread in threads:
            thread.join()
        assert sorted(written(tmp_path)) == list(range(400))

    def test_holds_its_segment_until_it_stops(self, journal: Journal, tmp_path: Path) -> None:
        journal.append(record(1))
        (path,) = segments(tmp_path)
        with path.open("rb") as file:
            with pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            journal.stop()
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_refuses_after_it_stopped(self, journal: Journal, tmp_path: Path) -> None:
        journal.stop()
        with pytest.raises(JournalUnavailable):
            journal.append(record(1))
        assert written(tmp_path) == []


def test_grouped_says_so_at_once_when_the_disk_refuses_and_begins_a_new_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "REOPEN_INTERVAL_S", 0.01)
    monkeypatch.setattr(journals, "GROUP_TIMEOUT_S", 30.0)
    journal = Journal(tmp_path, grouped=True)
    journal.start()
    try:
        # A pipe takes what is written and refuses to be synced.
        reading, writing = os.pipe()
        os.dup2(writing, journal.fd)
        with pytest.raises(JournalUnavailable, match="refused"):
            journal.append(record(1))
        deadline = time.monotonic() + 30
        while stat.S_ISFIFO(os.fstat(journal.fd).st_mode):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        journal.append(record(2))
        assert written(tmp_path) == [2]
    finally:
        journal.stop()
        os.close(reading)
        os.close(writing)


def test_a_folder_that_cannot_be_written_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "REOPEN_INTERVAL_S", 0.01)
    (tmp_path / journals.FOLDER).write_text("a file where the folder should be")
    journal = Journal(tmp_path)
    journal.start()
    try:
        with pytest.raises(JournalUnavailable):
            journal.append(record(1))
        (tmp_path / journals.FOLDER).unlink()
        appended = threading.Event()
        for _ in range(1000):
            try:
                journal.append(record(2))
            except JournalUnavailable:
                appended.wait(0.01)
            else:
                appended.set()
                break
        assert appended.is_set()
        assert written(tmp_path) == [2]
    finally:
        journal.stop()


FULL_DISK = """
import resource, sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from test_click_journal import record
from tracker.clicks.journal import Journal, JournalUnavailable
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
journal = Journal(Path({folder!r}))
journal.start()
for number in range(30):
    try:
        journal.append(record(number))
        print(number)
    except JournalUnavailable:
        print(-number)
sys.stdout.flush()
"""


def test_a_full_disk_refuses_and_tears_nothing_that_was_taken(tmp_path: Path) -> None:
    """RLIMIT_FSIZE cuts the write short exactly as a full disk does."""
    root = Path(__file__).resolve().parents[2]
    limit = int(len(record(1)) * 10.5)
    program = FULL_DISK.format(
        root=str(root), tests=str(Path(__file__).parent), limit=limit, folder=str(tmp_path)
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    said = [int(line) for line in run.stdout.split() if line.lstrip("-").isdigit()]
    taken = [number for number in said if number >= 0]
    assert len(said) == 30
    assert 10 <= len(taken) < 30
    assert sorted(written(tmp_path)) == taken


def test_a_dead_process_leaves_its_segment_unlocked(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    program = (
        f"import os, sys\nfrom pathlib import Path\n"
        f"sys.path[:0] = [{str(root)!r}, {str(Path(__file__).parent)!r}]\n"
        "from test_click_journal import record\nfrom tracker.clicks.journal import Journal\n"
        f"journal = Journal(Path({str(tmp_path)!r}))\njournal.start()\n"
        "journal.append(record(5))\nos.kill(os.getpid(), 9)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    assert run.returncode == -9
    assert written(tmp_path) == [5]
    with segments(tmp_path)[0].open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_forked_child_writes_into_a_segment_of_its_own(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    program = (
        f"import os, sys\nfrom pathlib import Path\n"
        f"sys.path[:0] = [{str(root)!r}, {str(Path(__file__).parent)!r}]\n"
        "from test_click_journal import record\nfrom tracker.clicks.journal import Journal\n"
        f"journal = Journal(Path({str(tmp_path)!r}))\njournal.start()\n"
        "journal.append(record(1))\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    journal.abandon()\n"
        f"    own = Journal(Path({str(tmp_path)!r}))\n    own.start()\n"
        "    own.append(record(2))\n    os._exit(0)\n"
        "os.waitpid(child, 0)\njournal.append(record(3))\n"
    )
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)
    contents = sorted(numbers(scan(p.read_bytes(), ended=True)) for p in segments(tmp_path))
    assert contents == [[1, 3], [2]]
