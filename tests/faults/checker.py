"""What must hold afterwards: every answered click is stored, none twice, the counters agree."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from affiliate.core.config import ROOT
from tests.faults import clients
from tests.faults.nemesis import Nemesis
from tests.faults.stage import Process, Stage

DRAIN_WAIT_S = 900.0

MISSING = """
    SELECT acked.click_id FROM acked LEFT JOIN clicks USING (click_id)
     WHERE clicks.click_id IS NULL LIMIT 1000000
"""
TWICE = """
    SELECT count(*) FROM (SELECT FROM clicks GROUP BY click_id HAVING count(*) > 1) AS twice
"""
COUNTED_WRONG = """
    WITH raw AS (
        SELECT c.link_id, CAST(c.clicked_at AT TIME ZONE p.time_zone AS date) AS day,
               count(*) FILTER (WHERE c.reason IS NULL) AS clicks,
               count(*) FILTER (WHERE c.is_unique) AS uniques,
               count(*) FILTER (WHERE c.reason = 'duplicate') AS duplicates
          FROM clicks c JOIN programs p ON p.id = c.program_id
         GROUP BY 1, 2
    )
    SELECT count(*)
      FROM raw FULL JOIN link_days AS days USING (link_id, day)
     WHERE (raw.clicks, raw.uniques, raw.duplicates)
           IS DISTINCT FROM (days.clicks, days.uniques, days.duplicates)
"""


@dataclass
class Verdict:
    """The campaign's table, and what must not have been."""

    numbers: dict[str, str] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def note(self, name: str, value: object) -> None:
        self.numbers[name] = f"{value:,}" if isinstance(value, int) else str(value)

    def must_be_zero(self, name: str, number: int, detail: object = "") -> None:
        self.note(name, number)
        if number:
            self.violations.append(f"{name}: {number:,} {detail}".rstrip())


def drain(stage: Stage) -> float:
    """Let a last loader load all that the dead left behind; the seconds that it took."""
    began = time.monotonic()
    last: Process = stage.a_loader("last-loader")
    last.start()
    try:
        while not _drained(stage):
            if time.monotonic() - began > DRAIN_WAIT_S:
                return float("inf")
            if not last.runs:
                last.start()
            time.sleep(0.1)
    finally:
        last.kill()
    return time.monotonic() - began


def check(stage: Stage, *, client_count: int, hurts: Nemesis) -> Verdict:
    """Read everything back and compare."""
    verdict = Verdict()
    folder = stage.folder
    with stage.connect() as connection:
        _check_acked(connection, folder, client_count, verdict)
        _check_unrecorded(folder, client_count, hurts, verdict)
        _check_quarantine(connection, verdict)
        wrong = _one(connection, COUNTED_WRONG)
        verdict.must_be_zero("links and days counted wrong", wrong)
    _check_roll_ups(stage, verdict)
    _check_answers(folder, client_count, hurts, verdict)
    return verdict


def _check_acked(
    connection: psycopg.Connection, folder: Path, client_count: int, verdict: Verdict
) -> None:
    connection.execute("CREATE TEMP TABLE acked (click_id uuid NOT NULL)")
    acked = 0
    with connection.cursor() as cursor, cursor.copy("COPY acked FROM STDIN") as copy:
        for number in range(client_count):
            for click_id in clients.ids_of(clients.acked_file(folder, number)):
                copy.write(f"{click_id.hex()}\n")
                acked += 1
    connection.execute("ANALYZE acked")
    verdict.note("acknowledged clicks", acked)
    verdict.note("stored clicks", _one(connection, "SELECT count(*) FROM clicks"))
    missing = [str(row[0]) for row in connection.execute(MISSING)]
    verdict.must_be_zero("acknowledged and missing", len(missing), missing[:3] or "")
    verdict.must_be_zero("stored twice", _one(connection, TWICE))
    distinct = _one(connection, "SELECT count(DISTINCT click_id) FROM acked")
    verdict.must_be_zero("ids given to two clicks", acked - distinct)


def _check_unrecorded(folder: Path, client_count: int, hurts: Nemesis, verdict: Verdict) -> None:
    """Only while neither disk nor database could take a click may a token say so."""
    inside = 0
    outside: Counter[str] = Counter()
    for number in range(client_count):
        data = clients.unrecorded_file(folder, number).read_bytes()
        for _, at in clients.UNRECORDED.iter_unpack(data):
            if any(began <= at <= ended for began, ended in hurts.nowhere):
                inside += 1
            else:
                outside[hurts.during(at)] += 1
    verdict.note("told to be unrecorded, disk and database away", inside)
    verdict.must_be_zero(
        "told to be unrecorded at other times", outside.total(), dict(outside) or ""
    )


def _check_quarantine(connection: psycopg.Connection, verdict: Verdict) -> None:
    """Bytes of a half-written record are expected of a full disk, and nothing else."""
    rows = connection.execute("SELECT reason, count(*) FROM click_quarantine GROUP BY 1").fetchall()
    by_reason = {str(reason): int(number) for reason, number in rows}
    verdict.note("torn pieces in quarantine", by_reason.pop("torn", 0))
    verdict.must_be_zero("other pieces in quarantine", sum(by_reason.values()), by_reason or "")


def _check_answers(folder: Path, client_count: int, hurts: Nemesis, verdict: Verdict) -> None:
    totals = [
        clients.Board(clients.board_file(folder, number), create=False).totals()
        for number in range(client_count)
    ]
    surprises = "".join(
        clients.surprises_file(folder, number).read_text() for number in range(client_count)
    )
    verdict.must_be_zero(
        "answers that were no redirect", sum(each["surprises"] for each in totals), surprises[:2000]
    )
    stalled = sum(each["stalled"] for each in totals)
    verdict.must_be_zero(f"no answer in {clients.ANSWER_WAIT_S:.0f} s", stalled)
    slowest = max(totals, key=lambda each: each["slowest_us"])
    verdict.note("slowest answer", f"{slowest['slowest_us'] / 1e6:.2f} s")
    verdict.note("  it came", hurts.during(slowest["slowest_at_us"] / 1e6))
    verdict.note("connections cut by a kill", sum(each["reset"] for each in totals))


def _check_roll_ups(stage: Stage, verdict: Verdict) -> None:
    """All counters against a recount of the rows, by the command that operators have."""
    run = [sys.executable, "-m", "wsgi", "rollups", "check"]
    done = subprocess.run(
        run, env=stage.environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    verdict.note("kopeck rollups check", "agrees" if done.returncode == 0 else "differs")
    if done.returncode != 0:
        said = (done.stdout + done.stderr)[-1500:]
        verdict.violations.append(f"kopeck rollups check: {said}")


def _drained(stage: Stage) -> bool:
    """No segment is left to load, none of another's spilled records either."""
    if any(stage.journal.glob("*.kpj")):
        return False
    try:
        with stage.connect() as connection:
            return _one(connection, "SELECT count(*) FROM click_spill") == 0
    except psycopg.Error:
        return False


def _one(connection: psycopg.Connection, statement: str) -> int:
    row = connection.execute(statement).fetchone()
    assert row is not None
    return int(row[0])
