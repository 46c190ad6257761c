"""Whoever launches a whole Kopeck from a program may be killed; nothing of it stays behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from affiliate.core.embedded import guard
from affiliate.core.embedded.servers import discard_data
from affiliate.core.embedded.supervise import RUN_MARK

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = """
import sys, time
from pathlib import Path
from affiliate.core.embedded.launch import launch
running = launch(Path(sys.argv[1]))
running.wait_until_ready()
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    yield folder
    discard_data(folder)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's help is Linux's")
def test_when_its_launcher_is_killed_all_of_it_ends(data_dir: Path) -> None:
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(data_dir)], cwd=ROOT, stdout=subprocess.PIPE
    )
    with launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == b"ready\n"
        assert guard.marked(RUN_MARK, str(data_dir))
        launcher.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 90
    while left := guard.marked(RUN_MARK, str(data_dir)):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def _guarded(*words: str) -> list[str]:
    return [sys.executable, "-I", str(guard.__file__), *words]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's help is Linux's")
def test_a_guard_whose_parent_is_gone_already_starts_nothing(tmp_path: Path) -> None:
    """The supervisor may be killed before its new child has asked to be ended with it."""
    started = tmp_path / "started"
    done = subprocess.run(
        _guarded("--", sys.executable, "-c", f"open({str(started)!r}, 'w')"),
        env={guard.PARENT_MARK: "1"}, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == guard.EX_TEMPFAIL
    assert "parent ended" in done.stderr
    assert not started.exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")
def test_a_lock_that_an_orphan_holds_is_taken_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "ORPHAN_WAIT_S", 0.2)
    lock = tmp_path / "server.lock"
    sleeper = _guarded(
        "--lock", str(lock), "--", sys.executable, "-c", "import time; time.sleep(99)"
    )
    # A shell in between ends at once; without the parent's death signal its child stays.
    code = (
        "import subprocess, sys, os;"
        "os.fork() or (os.setsid(), os.fork() and os._exit(0),"
        " __import__('time').sleep(0.5), os.execv(sys.argv[1], sys.argv[1:]))"
    )
    subprocess.run([sys.executable, "-c", code, *sleeper], check=True)
    deadline = time.monotonic() + 20
    while not (orphans := guard.holders(lock)):
        assert time.monotonic() < deadline, "the orphan has not taken the lock"
        time.sleep(0.05)
    guard.hold(lock, shared=False, wait_s=10)
    assert guard.holders(lock) == []
    assert orphans
