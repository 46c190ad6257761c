"""`kopeck local …`: any other command against the data folder of `kopeck run`."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from affiliate.core.config import ROOT
from affiliate.core.embedded import servers
from affiliate.core.embedded.binaries import EmbeddedError
from affiliate.core.embedded.environ import data_option, environment
from affiliate.core.embedded.folders import make_private
from affiliate.core.embedded.ports import choose_ports
from affiliate.core.embedded.programs import kopeck_command


@click.command("local", context_settings={"ignore_unknown_options": True})
@data_option
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED)
def local_command(data_dir: Path, words: tuple[str, ...]) -> None:
    """Run another kopeck command against the data of `kopeck run`: kopeck local audit.

    While that run is up, its servers are used; otherwise they are started for the command
    and stopped after it.
    """
    try:
        with local_environment(make_private(data_dir), os.environ) as env:
            done = subprocess.run(kopeck_command(*words), cwd=ROOT, env=env, check=False)
    except EmbeddedError as error:
        raise click.ClickException(str(error)) from error
    sys.exit(done.returncode)


@contextlib.contextmanager
def local_environment(data_dir: Path, environ: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The environment of the folder's processes, with both servers answering."""
    if environ.get("DATABASE_URL") and environ.get("REDIS_URL"):
        yield environment(data_dir, choose_ports(data_dir)[0], environ, "", "")
        return
    told = _running_now(data_dir)
    if told:
        urls = (told["database_url"], told["redis_url"])
        yield environment(data_dir, told["ports"], environ, *urls)
        return
    with servers.running(data_dir, log_dir=make_private(data_dir / "logs")) as started:
        urls = (started.database_url, started.redis_url)
        yield environment(data_dir, choose_ports(data_dir)[0], environ, *urls)


def _running_now(data_dir: Path) -> dict[str, Any]:
    """run.json, while the run that wrote it holds the data folder."""
    told = data_dir / "run.json"
    try:
        with servers.claim(data_dir):
            return {}
    except EmbeddedError:
        if not told.exists():
            raise
    found: dict[str, Any] = json.loads(told.read_text())
    return found
