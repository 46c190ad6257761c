"""What stands between a parent and a server that it starts: `python guard.py … -- command`.

It becomes the server's user, asks the kernel to end the server with its parent, takes the
server's lock and then turns into the command (exec), so that pid and lock are the server's.
The lock is inherited by every process that the server forks: whoever holds it alone knows
that no process of an earlier start is alive, whatever pids a stale file names.

Only the standard library, and everything is imported before the user changes: the clone may
be closed to that user.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import pwd
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

LOCK_WAIT_S = 60.0
LOCK_POLL_S = 0.05
PR_SET_PDEATHSIG = 1
ORPHAN_WAIT_S = 10.0
"""For so long a holder of the lock that is nobody's child of ours may end by itself."""
SWEEP_MARK = "KOPECK_SWEEP"
PARENT_MARK = "KOPECK_GUARDED"
"""Pid of the nearest guarded process above: the parent that a guard expects to have."""
EX_TEMPFAIL = 75


class GuardError(RuntimeError):
    """The command was not started; the message says why."""


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare as the arguments say, then become the command."""
    args = _arguments(argv)
    expected = os.environ.get(PARENT_MARK, "")
    try:
        if args.bare:
            _forget_environment()
        if args.user:
            become(args.user)
        die_with_parent(signal.Signals[args.death_signal], expected)
        if args.sweep:
            sweep(Path(args.sweep))
        for path in args.lock:
            hold(Path(path), shared=False)
        for path in args.shared_lock:
            hold(Path(path), shared=True)
        if args.postgres:
            forget_dead_postmaster(Path(args.postgres[0]), Path(args.postgres[1]))
    except (GuardError, OSError) as error:
        sys.stderr.write(f"kopeck: {error}\n")
        raise SystemExit(EX_TEMPFAIL) from error
    os.umask(args.umask)
    if not args.bare:
        os.environ[PARENT_MARK] = str(os.getpid())
    os.execv(args.command[0], args.command)  # noqa: S606 - our own list of words, no shell


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="guard", description=__doc__)
    parser.add_argument("--user", help="become this user first (only as root)")
    parser.add_argument("--bare", action="store_true", help="pass no environment on")
    parser.add_argument("--death-signal", default="SIGTERM", help="sent when the parent dies")
    parser.add_argument("--lock", action="append", default=[], help="hold this file alone")
    parser.add_argument("--shared-lock", action="append", default=[], help="hold it with others")
    parser.add_argument("--sweep", help="end every process that still has this file open first")
    parser.add_argument("--postgres", nargs=2, metavar=("DATA", "SOCKETS"))
    parser.add_argument("--umask", type=lambda text: int(text, 8), default=0o077)
    parser.add_argument("command", nargs="+")
    return parser.parse_args(argv)


def _forget_environment() -> None:
    """A server needs none of our settings, and its user shall not read our secrets."""
    os.environ.clear()
    os.environ.update(PATH=os.defpath, LC_ALL="C", TZ="UTC")


def become(user: str) -> None:
    """Give up root for `user` and its own group alone; stand in a folder open to it."""
    entry = pwd.getpwnam(user)
    os.chdir("/")
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ["HOME"] = "/"
    os.environ["USER"] = os.environ["LOGNAME"] = user


def die_with_parent(death_signal: signal.Signals, expected: str = "") -> None:
    """Have the kernel send `death_signal` when the parent ends, also by kill -9 (Linux only).

    `expected` is the parent's pid, where it is known: a parent that ended before this line
    would otherwise be mistaken for the process that adopts orphans, and nothing would ever
    end the server.

    Source: prctl(2), PR_SET_PDEATHSIG. A change of user clears it, exec keeps it, so this
    comes after `become`. Other systems lack it; there the next start ends what was left.
    """
    if not sys.platform.startswith("linux"):
        return
    known = expected not in ("", str(os.getpid()))  # Its own pid: a guard became this guard.
    parent = int(expected) if known else os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
        raise GuardError(f"prctl(PR_SET_PDEATHSIG) failed: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        raise GuardError("the parent ended while the command was being started.")


def hold(path: Path, *, shared: bool, wait_s: float = LOCK_WAIT_S) -> int:
    """Lock the file for as long as this process or any child of it lives; return its fd."""
    fd = _keep_open(path)
    begun = time.monotonic()
    while not try_lock(fd, shared=shared):
        waited_s = time.monotonic() - begun
        if waited_s > ORPHAN_WAIT_S and not shared:
            end_all(_orphans(holders(path)))
        if waited_s > wait_s:
            pids = ", ".join(map(str, holders(path))) or "unknown"
            raise GuardError(f"{path} is still held after {wait_s:.0f} s, by pid {pids}.")
        time.sleep(LOCK_POLL_S)
    return fd


def _orphans(pids: Sequence[int]) -> list[int]:
    """Those that our own parent did not start: what a killed supervisor left behind.

    The data folder's claim keeps a second supervisor away, so nobody else's server is met.
    """
    found = []
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        if f"PPid:\t{os.getppid()}\n" not in status:
            found.append(pid)
    return found


def try_lock(fd: int, *, shared: bool) -> bool:
    """Take the lock if it is free now; say whether it was."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sweep(path: Path) -> None:
    """End what an earlier start of this program left, and mark this one by the file.

    A program that forks (the web server) leaves its workers behind when it is killed, and
    they still have its port. They have inherited the open file, or the mark in the
    environment where a program closes files.
    """
    end_all(holders(path) + marked(SWEEP_MARK, str(path)))
    _keep_open(path)
    os.environ[SWEEP_MARK] = str(path)


def holders(path: Path) -> list[int]:
    """Pids of the other processes that have the file open (Linux; elsewhere nothing is known)."""
    return _others(
        lambda process: any(_links_to(link, path) for link in (process / "fd").iterdir())
    )


def marked(name: str, value: str) -> list[int]:
    """Pids of the other processes started with this environment variable (Linux)."""
    mark = f"{name}={value}".encode()
    return _others(lambda process: mark in (process / "environ").read_bytes().split(b"\0"))


def _others(matches: Callable[[Path], bool]) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if int(process.name) != os.getpid() and matches(process):
                found.append(int(process.name))
        except OSError:  # It ended meanwhile, or belongs to somebody else.
            continue
    return sorted(found)


def _links_to(link: Path, path: Path) -> bool:
    try:
        return str(link.readlink()) == str(path)
    except OSError:
        return False


def end_all(pids: Sequence[int], death_signal: signal.Signals = signal.SIGKILL) -> None:
    """Send the signal to each pid that is still there."""
    for pid in pids:
        try:
            os.kill(pid, death_signal)
        except ProcessLookupError:
            continue


def forget_dead_postmaster(data: Path, sockets: Path) -> None:
    """Remove what a killed postmaster left, once its lock proves that all of it has ended.

    PostgreSQL refuses to start while postmaster.pid or the socket's lock file names a living
    pid, and in a container that pid is soon somebody else's. Our lock is the better witness:
    the caller holds it, so no postmaster or backend started by Kopeck is alive. One that was
    started by hand on the same folder is recognised by its working folder and respected.
    """
    pid_file = data / "postmaster.pid"
    try:
        first_line = pid_file.read_text().split("\n", 1)[0].strip()
    except FileNotFoundError:
        first_line = ""
    if first_line.isdigit() and _works_in(int(first_line), data):
        raise GuardError(f"{data} is in use by PostgreSQL with pid {first_line}; stop that first.")
    pid_file.unlink(missing_ok=True)
    for left in sockets.glob(".s.PGSQL.*"):
        left.unlink(missing_ok=True)


def _works_in(pid: int, folder: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == folder.resolve()
    except OSError:
        return False


def _keep_open(path: Path) -> int:
    """Open the file so that exec and fork keep it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    os.set_inheritable(fd, True)
    return fd


if __name__ == "__main__":
    main()
