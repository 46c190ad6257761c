"""`kopeck run`: what dies comes back, what is killed leaves nothing, the data stays.

The servers, the supervisor, the web server, the mail catcher and the Stripe double are the
real ones; Kopeck's own commands are stood in for, so that each start takes a second. The
story test does the same with the whole of it.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from affiliate.core.embedded import guard
from affiliate.core.embedded.launch import Running
from affiliate.core.embedded.servers import discard_data
from affiliate.core.embedded.supervise import RUN_MARK

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = """
import json, os, sys, time
def make_application():
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
    return application
if __name__ == "__main__":
    if sys.argv[1] == "seed":
        people = [{"who": "Affiliate", "email": "a@b.test", "password": "p", "url": "/account/"}]
        with open(os.environ["KOPECK_DATA_DIR"] + "/demo.json", "w") as out:
            json.dump(people, out)
    elif sys.argv[1] == "fail":
        sys.exit("the database is on fire")
    while sys.argv[1] in ("loader", "worker", "scheduler"):
        time.sleep(1)
"""
SHOP = """
import argparse, http.server
parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
parser.add_argument("--data")
port = parser.parse_args().port
http.server.HTTPServer(("127.0.0.1", port), http.server.BaseHTTPRequestHandler).serve_forever()
"""
RUN = """
import sys
from pathlib import Path
from affiliate.core.embedded import run, supervise
run.ROOT = supervise.ROOT = Path(sys.argv.pop(1))
run.run_command(prog_name="kopeck run")
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A folder with the stand-in for Kopeck beside the real sandbox."""
    folder = tmp_path / "program"
    (folder / "sandbox" / "shop").mkdir(parents=True)
    (folder / "wsgi.py").write_text(STAND_IN)
    (folder / "sandbox" / "__init__.py").write_text("")
    (folder / "sandbox" / "shop" / "__main__.py").write_text(SHOP)
    for name in ("mail", "stripe"):
        (folder / "sandbox" / name).symlink_to(ROOT / "sandbox" / name)
    return folder


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    yield folder
    discard_data(folder)


@contextmanager
def started(program: Path, data_dir: Path, **env: str) -> Iterator[Running]:
    """A run in a process of its own, ready unless it has ended."""
    command = [sys.executable, "-c", RUN, str(program), "--data", str(data_dir), "--port", "0"]
    output = data_dir / "run.out"
    with output.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **env},
        )
    running = Running(process, data_dir, output)
    try:
        running.wait_until_ready(60)
        yield running
    finally:
        running.stop()


def everything_of(running: Running) -> list[int]:
    """Every process of that run: supervised, forked by those, and the servers."""
    marked = guard.marked(RUN_MARK, str(running.data_dir))
    return sorted({*marked, *running.processes.values(), running.info()["supervisor"]})


def assert_nothing_left(pids: list[int], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while alive := [pid for pid in pids if _is_alive(pid)]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def connect(running: Running) -> psycopg.Connection[tuple[int]]:
    url = running.info()["database_url"].replace("+psycopg", "")
    return psycopg.connect(url, autocommit=True)


def answer(running: Running) -> int:
    with urllib.request.urlopen(f"{running.urls['kopeck']}/healthz", timeout=10) as page:
        return int(page.read())


def test_each_process_killed_in_turn_comes_back_with_its_data(
    program: Path, data_dir: Path
) -> None:
    with started(program, data_dir) as running:
        with connect(running) as conn:
            conn.execute("CREATE TABLE kept AS SELECT 7 AS number")
        for name in (*running.processes, "supervisor"):
            old = running.kill(name)
            assert running.wait_until_back(name, old) != old
        with connect(running) as conn:
            assert conn.execute("SELECT number FROM kept").fetchone() == (7,)
        assert answer(running) in everything_of(running)
        pids = everything_of(running)
    assert_nothing_left(pids, timeout_s=0)
    assert running.process.returncode == 0
    assert not (data_dir / "run.json").exists()


def test_a_killed_run_leaves_nothing_and_the_next_one_has_its_data_and_ports(
    program: Path, data_dir: Path
) -> None:
    with started(program, data_dir) as running:
        with connect(running) as conn:
            conn.execute("CREATE TABLE kept AS SELECT 7 AS number")
        urls, pids = running.urls, everything_of(running)
        assert len(pids) >= 11
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait()
        assert_nothing_left(pids)
    with started(program, data_dir) as again:
        assert again.urls == urls
        with connect(again) as conn:
            assert conn.execute("SELECT number FROM kept").fetchone() == (7,)


def test_kill_9_of_everything_at_once_is_cleared_up_by_the_next_run(
    program: Path, data_dir: Path
) -> None:
    with started(program, data_dir) as running:
        web = answer(running)
        everything = [running.process.pid, *everything_of(running)]
        everything.remove(web)  # A worker of the web server outlives it, with its port.
        guard.end_all(everything)
        running.process.wait()
    with started(program, data_dir) as again:
        assert_nothing_left([*everything, web], timeout_s=0)
        assert answer(again) != web


def test_a_second_run_says_who_holds_the_folder_and_secrets_are_private(
    program: Path, data_dir: Path
) -> None:
    with started(program, data_dir, KOPECK_MAIL_FROM="Shop <s@shop.test>") as running:
        command = [sys.executable, "-c", RUN, str(program), "--data", str(data_dir)]
        second = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        assert second.returncode == 1
        assert f"already in use by pid {running.process.pid}" in second.stderr
        secret = (data_dir / "secret").read_text().strip()
        assert len(secret) >= 32
        for path in data_dir.rglob("*"):
            if path.is_file() and path.name != "secret":
                assert secret not in path.read_text(errors="replace"), path
        for name in ("secret", "run.json", "supervisord.conf"):
            assert stat.S_IMODE((data_dir / name).stat().st_mode) == 0o600, name
        environ = Path(f"/proc/{running.processes['postgres']}/environ").read_bytes()
        assert secret.encode() not in environ
        told = running.output.read_text()
        assert "a@b.test" in told
        for url in running.urls.values():
            assert url in told
        mails = urllib.request.urlopen(f"{running.urls['mail']}/messages.json", timeout=10)
        with mails:
            assert json.loads(mails.read()) == []


def test_a_step_that_fails_stops_the_run_with_its_own_words(program: Path, data_dir: Path) -> None:
    (program / "wsgi.py").write_text(STAND_IN.replace('== "fail"', '== "migrate"'))
    command = [sys.executable, "-c", RUN, str(program), "--data", str(data_dir), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert "`kopeck migrate` failed" in done.stderr
    assert "the database is on fire" in done.stderr
    assert guard.marked(RUN_MARK, str(data_dir)) == []


def test_with_servers_of_our_own_it_starts_none(program: Path, data_dir: Path, servers) -> None:  # type: ignore[no-untyped-def]
    env = {"DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url}
    with started(program, data_dir, **env) as running:
        assert {"postgres", "valkey"} & set(running.processes) == set()
        assert running.info()["database_url"] == servers.database_url
    assert not (data_dir / "servers.path").exists()
