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
