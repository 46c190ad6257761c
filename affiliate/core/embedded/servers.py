"""Real PostgreSQL and real Valkey out of wheels, in a folder of their own.

The wheels give the programs only: what starts, watches and stops them is here (`running`,
for tests and short commands) and in `run` (under supervisord). Sockets are private, there is
no TCP port and no password: whoever can enter the socket folder is trusted.

As root the servers run as KOPECK_SERVER_USER (default: nobody), because PostgreSQL refuses
root, and everything of theirs lies under /var/lib/kopeck (KOPECK_SERVER_HOME), because that
user cannot pass through a private clone. As anybody else all of it lies in the data folder.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg
import redis
from psycopg import sql
from sqlalchemy.engine import make_url

from affiliate.core.embedded import guard
from affiliate.core.embedded.binaries import Binaries, EmbeddedError, find_binaries, home_as_root
from affiliate.core.embedded.folders import make_own, make_private, short_folder, write_private
from affiliate.core.embedded.memory import shared_buffers

DATABASE = "kopeck"
START_TIMEOUT_S = 1800.0
"""Crash recovery replays the whole write-ahead log: a server that is alive is waited for."""
STOP_TIMEOUT_S = 60.0
POLL_S = 0.03
THROWN_AWAY = "thrown-away-"
FORGOTTEN_AFTER_S = 3 * 3600
GUARD = Path(guard.__file__).resolve()


@dataclass(frozen=True)
class Servers:
    """Two running servers."""

    data_dir: Path
    socket_dir: Path
    database_url: str
    """postgresql+psycopg://…?host=<socket folder>: for SQLAlchemy."""
    redis_url: str
    """unix:///…/valkey.sock"""
    pids: Mapping[str, int] = field(default_factory=dict)
    """postgres and valkey: the pid of each server's first process."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the two servers of one data folder live, and how each is started."""

    data_dir: Path
    home: Path
    """Belongs to the servers' user, mode 0700."""
    socket_dir: Path
    user: str | None
    """Who the servers run as; None: whoever runs Kopeck."""
    binaries: Binaries
    durable: bool

    @property
    def database_url(self) -> str:
        return f"postgresql+psycopg://{DATABASE}@/{DATABASE}?host={quote(str(self.socket_dir))}"

    @property
    def redis_url(self) -> str:
        return f"unix://{quote(str(self.socket_dir / 'valkey.sock'))}"

    def postgres_command(self) -> list[str]:
        """The guarded command line of PostgreSQL; it stays in the foreground.

        The guard's signal, SIGINT, is PostgreSQL's fast shutdown: open transactions are
        rolled back and nothing has to be recovered at the next start.
        """
        data = str(self.home / "postgres")
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.socket_dir),
            "unix_socket_permissions": "0700",
            "max_connections": "100",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_destination": "stderr",
            "logging_collector": "off",
            "fsync": "on" if self.durable else "off",
            "full_page_writes": "on" if self.durable else "off",
            "synchronous_commit": "on" if self.durable else "off",
            # Data that is thrown away may lie in memory: its log should not fill it.
            "max_wal_size": "1GB" if self.durable else "128MB",
            "shared_buffers": shared_buffers() if self.durable else "128MB",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [
            *self._guard("SIGINT", "postgres"),
            *("--postgres", data, str(self.socket_dir), "--"),
            *(str(self.binaries.postgres), "-D", data, *options),
        ]

    def valkey_command(self) -> list[str]:
        """The guarded command line of Valkey: append-only file, nothing is ever evicted."""
        return [
            *self._guard("SIGTERM", "valkey"),
            *("--", str(self.binaries.valkey), "--port", "0", "--daemonize", "no"),
            *("--unixsocket", str(self.socket_dir / "valkey.sock"), "--unixsocketperm", "700"),
            *("--dir", str(self.home / "valkey"), "--save", ""),
            *("--appendonly", "yes", "--appendfsync", "everysec" if self.durable else "no"),
            *("--maxmemory-policy", "noeviction", "--loglevel", "notice"),
        ]

    def _guard(self, death_signal: str, lock: str) -> list[str]:
        user = ["--user", self.user] if self.user else []
        lock_file = str(self.home / f"{lock}.lock")
        return [
            *(sys.executable, "-I", str(GUARD), "--bare", *user),
            *("--death-signal", death_signal, "--lock", lock_file),
        ]


@contextlib.contextmanager
def running(
    data_dir: Path,
    *,
    durable: bool = True,
    keep: bool = True,
    log_dir: Path | None = None,
    base: Path | None = None,
) -> Iterator[Servers]:
    """Start both servers on the data folder and stop them at the end, whatever happens.

    :param data_dir: created (0700) if missing; data is found again at the next start.
    :param durable: False for tests: no fsync, what a power cut may take is not kept.
    :param keep: False: the servers' data and logs are removed at the end, and the data
        folder with them if it holds nothing else.
    :param log_dir: where postgres.log and valkey.log are written; the data folder by default.
    :param base: as root: the folder in which the servers' data lies, instead of that of
        KOPECK_SERVER_HOME; the servers' user must be able to pass through it.

    Start it from the main thread: on Linux the servers end when the *thread* that started
    them does, also by kill -9 (prctl(2), PR_SET_PDEATHSIG).
    Raises EmbeddedError, also when somebody else holds the folder (it says who).
    """
    data_dir = make_private(data_dir)
    with claim(data_dir), contextlib.ExitStack() as stack:
        layout = prepare(data_dir, durable=durable, keep=keep, base=base)
        logs = make_private(log_dir or data_dir)
        if not keep:
            stack.callback(discard, layout, logs)
        pids: dict[str, int] = {}
        for name, command, stop in (
            ("postgres", layout.postgres_command(), signal.SIGINT),
            ("valkey", layout.valkey_command(), signal.SIGTERM),
        ):
            process = _start(command, logs / f"{name}.log")
            stack.callback(_stop, process, stop)
            pids[name] = process.pid
            wait_until_ready(layout, name, lambda p=process: p.poll() is None, logs)  # type: ignore[misc]
        yield Servers(
            layout.data_dir, layout.socket_dir, layout.database_url, layout.redis_url, pids
        )


@contextlib.contextmanager
def claim(data_dir: Path) -> Iterator[None]:
    """Hold the data folder against any other start; raise EmbeddedError naming who holds it."""
    fd = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not guard.try_lock(fd, shared=False):
            held_by = os.pread(fd, 200, 0).decode(errors="replace").strip() or "another process"
            raise EmbeddedError(
                f"{data_dir} is already in use by {held_by}. "
                "Stop that first, or choose another folder."
            )
        command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]])
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"pid {os.getpid()} ({command})\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def prepare(
    data_dir: Path, *, durable: bool = True, keep: bool = True, base: Path | None = None
) -> Layout:
    """Make the servers' folders and the database cluster where they are missing."""
    user = os.environ.get("KOPECK_SERVER_USER", "nobody") if os.geteuid() == 0 else None
    home = _home_of(data_dir, base, keep=keep) if user else data_dir / "servers"
    socket_dir = short_folder(home / "sockets", data_dir, base=home_as_root() if user else None)
    layout = Layout(data_dir, home, socket_dir, user, find_binaries(copied=bool(user)), durable)
    for folder in (home, home / "valkey", socket_dir):
        make_own(folder, user)
    if not (home / "postgres").is_dir():
        _init_database(layout)
    return layout


def discard(layout: Layout, logs: Path) -> None:
    """Remove what the servers wrote; they must have been stopped."""
    shutil.rmtree(layout.home, ignore_errors=True)
    shutil.rmtree(layout.socket_dir, ignore_errors=True)
    for left in (logs / "postgres.log", logs / "valkey.log"):
        left.unlink(missing_ok=True)
    for left in (layout.data_dir / "servers.path", layout.data_dir / "lock"):
        left.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # Something else lies there: not ours to remove.
        layout.data_dir.rmdir()


def discard_data(data_dir: Path) -> None:
    """Remove a data folder and, as root, what its servers keep outside of it."""
    remembered = data_dir / "servers.path"
    if remembered.exists():
        shutil.rmtree(remembered.read_text().strip(), ignore_errors=True)
    shutil.rmtree(data_dir, ignore_errors=True)


def _home_of(data_dir: Path, base: Path | None, *, keep: bool) -> Path:
    """The servers' folder outside a root-owned data folder, remembered inside it.

    Remembered, not computed from the name: a data folder that is moved finds its database,
    a new one of the same name does not find an old one's.
    """
    if (data_dir / "servers").is_dir():
        owner = (data_dir / "servers").stat().st_uid
        raise EmbeddedError(f"{data_dir} was made by user id {owner}: run Kopeck as that user.")
    remembered = data_dir / "servers.path"
    if remembered.exists():
        return Path(remembered.read_text().strip())
    base = base or home_as_root()
    _remove_forgotten(base)
    home = base / f"{'' if keep else THROWN_AWAY}{secrets.token_hex(6)}"
    write_private(remembered, f"{home}\n")
    return home


def _remove_forgotten(base: Path) -> None:
    """Servers' folders that were to be removed, had their start not been killed."""
    for home in base.glob(f"{THROWN_AWAY}*"):
        try:
            age_s = time.time() - home.stat().st_mtime
        except FileNotFoundError:
            # Another start is removing it at this moment.
            continue
        if age_s > FORGOTTEN_AFTER_S and not guard.holders(home / "postgres.lock"):
            shutil.rmtree(home, ignore_errors=True)


def _init_database(layout: Layout) -> None:
    """initdb beside the final place, then one rename: a killed initdb leaves no half cluster."""
    for left in layout.home.glob("initdb-*"):
        shutil.rmtree(left)
    beside = layout.home / f"initdb-{secrets.token_hex(4)}"
    user = ["--user", layout.user] if layout.user else []
    done = subprocess.run(
        [
            *(sys.executable, "-I", str(GUARD), "--bare", *user),
            *("--death-signal", "SIGKILL", "--"),
            *(str(layout.binaries.initdb), "-D", str(beside), "--username", DATABASE),
            *("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *(() if layout.durable else ("--no-sync",)),
        ],
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )
    if done.returncode != 0:
        raise EmbeddedError(f"initdb failed: {(done.stderr or done.stdout).strip()[-2000:]}")
    beside.rename(layout.home / "postgres")


def _start(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """In a session of its own, so that Ctrl-C reaches us and not the servers."""
    with log.open("ab") as out:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        )


def _stop(process: subprocess.Popen[bytes], stop: signal.Signals) -> None:
    for death_signal, timeout_s in ((stop, STOP_TIMEOUT_S), (signal.SIGQUIT, 5.0)):
        process.send_signal(death_signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout_s)
            return
    process.kill()
    process.wait()


def wait_until_ready(layout: Layout, name: str, alive: Callable[[], bool], logs: Path) -> None:
    """Return when the server answers; raise EmbeddedError with its log when it has ended."""
    answers = _postgres_answers if name == "postgres" else _valkey_answers
    deadline = time.monotonic() + START_TIMEOUT_S
    while not answers(layout):
        if not alive() or time.monotonic() > deadline:
            tail = _tail(logs / f"{name}.log")
            raise EmbeddedError(f"{name} did not start. The end of its log:\n{tail}")
        time.sleep(POLL_S)


def _postgres_answers(layout: Layout) -> bool:
    """Whether it takes connections; makes our database at the first one."""
    try:
        with psycopg.connect(_libpq(layout.database_url, "postgres"), autocommit=True) as conn:
            query = "SELECT FROM pg_database WHERE datname = %s"
            if conn.execute(query, [DATABASE]).fetchone() is None:
                conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    except psycopg.OperationalError:
        return False
    return True


def _valkey_answers(layout: Layout) -> bool:
    try:
        with contextlib.closing(redis.Redis.from_url(layout.redis_url)) as client:
            return bool(client.ping())
    except (redis.ConnectionError, redis.exceptions.BusyLoadingError):
        return False


def _tail(log: Path, bytes_max: int = 2000) -> str:
    return log.read_bytes()[-bytes_max:].decode(errors="replace") if log.exists() else ""


def create_database(database_url: str, name: str, *, template: str | None = None) -> str:
    """CREATE DATABASE on that server, copied from `template` if given; return its address."""
    statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    if template:
        statement += sql.SQL(" TEMPLATE {} STRATEGY FILE_COPY").format(sql.Identifier(template))
    with psycopg.connect(_libpq(database_url, "postgres"), autocommit=True) as conn:
        conn.execute(statement)
    url = make_url(database_url).set(database=name)
    return url.render_as_string(hide_password=False)


def drop_database(database_url: str) -> None:
    """DROP the database that the address names, ending whoever is connected to it."""
    name = make_url(database_url).database
    assert name, "the address names no database"
    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    with psycopg.connect(_libpq(database_url, "postgres"), autocommit=True) as conn:
        conn.execute(statement)


def _libpq(database_url: str, database: str) -> str:
    url = make_url(database_url).set(drivername="postgresql", database=database)
    return url.render_as_string(hide_password=False)
