"""`kopeck run`: everything on one machine, under one supervisor, until Ctrl-C.

<data>/run.json (mode 0600) says what runs, and is kept true while it does:

    {"state": "starting" | "ready", "pid": 1, "supervisor": 2,
     "processes": {"postgres": 3, "valkey": 4, "web": 5, "loader": 6, …},
     "ports": {"kopeck": 8000, "shop": 8100, "mail": 8025, "smtp": 1025, "stripe": 8200},
     "urls": {"kopeck": "http://127.0.0.1:8000", "shop": …, "mail": …, "stripe": …},
     "data_dir": "…", "log_dir": "…", "database_url": "…", "redis_url": "…"}

It is removed when the run ends. Also in the data folder: ports.json, secret, demo.json (the
demo sign-ins, written by `kopeck seed`), logs/, and the servers' data or where that is.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType

import click
from rich.console import Console
from rich.table import Table

from affiliate.core.config import ROOT, Settings, SettingsError
from affiliate.core.embedded import servers
from affiliate.core.embedded.binaries import EmbeddedError
from affiliate.core.embedded.environ import data_option, environment
from affiliate.core.embedded.folders import make_private, write_private
from affiliate.core.embedded.ports import choose_ports
from affiliate.core.embedded.programs import demo_programs, kopeck_command, own_programs
from affiliate.core.embedded.supervise import APPS, SERVERS, Program, Supervisor, guarded

HEALTHY_TIMEOUT_S = 180.0
HEALTHY_POLL_S = 0.1
WATCH_INTERVAL_S = 0.5
STARTS_PER_MINUTE_MAX = 10


class _Stop(BaseException):
    """Somebody asked the run to end: Ctrl-C or SIGTERM."""


@click.command("run")
@data_option
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    help="Port of Kopeck on 127.0.0.1 (usually 8000); 0: any free ports for everything.",
)
@click.option("--browser/--no-browser", default=True, help="Open the first page when it is ready.")
def run_command(data_dir: Path, port: int | None, browser: bool) -> None:
    """Run everything here: servers, web, workers and, in demo mode, shop, mail and Stripe.

    PostgreSQL and Valkey are started out of wheels, unless DATABASE_URL and REDIS_URL name
    servers of your own. KOPECK_MODE is demo unless it is set. What dies is started again;
    Ctrl-C stops all of it; the next run finds its data.
    """
    console = Console(highlight=False)
    try:
        data_dir = make_private(data_dir)
        with servers.claim(data_dir):
            Run(data_dir, port, os.environ, console, browser=browser).go()
    except (EmbeddedError, SettingsError, OSError) as error:
        raise click.ClickException(str(error)) from error


class Run:
    """One run over one data folder, which the caller has claimed."""

    def __init__(
        self,
        data_dir: Path,
        port: int | None,
        environ: Mapping[str, str],
        console: Console,
        *,
        browser: bool,
    ) -> None:
        self.data_dir = data_dir
        self.console = console
        self.browser = browser
        self.ports, moved = choose_ports(data_dir, port)
        for sentence in moved:
            console.print(f"[yellow]{sentence}[/]")
        self.layout = None
        if not (environ.get("DATABASE_URL") and environ.get("REDIS_URL")):
            self.layout = servers.prepare(data_dir)
        urls = (self.layout.database_url, self.layout.redis_url) if self.layout else ("", "")
        self.env = environment(data_dir, self.ports, environ, *urls)
        self.settings = Settings.from_environ(self.env)
        self.supervisor = Supervisor(data_dir, self._programs(environ), self.env)
        self.state = "starting"

    def go(self) -> None:
        """Start, say where to look, watch; return once everything has stopped."""
        previous = {name: signal.signal(name, _ask_to_stop) for name in _STOPS}
        try:
            self.console.print(f"Kopeck starts; data and logs are in {self.data_dir}")
            self._start_servers()
            for step in ("migrate", "seed") if self.settings.demo else ("migrate",):
                self._step(step)
            self.supervisor.start_group(APPS)
            self._wait_until_healthy()
            if self.settings.demo:
                # Accounts at the Stripe double can be made only now that it answers.
                self._step("seed", "--payees")
            self.state = "ready"
            self._say_where()
            self._watch()
        except _Stop:
            self.console.print("Stopping…")
        finally:
            for name in _STOPS:
                signal.signal(name, signal.SIG_IGN)
            self.supervisor.stop()
            (self.data_dir / "run.json").unlink(missing_ok=True)
            for name, handler in previous.items():
                signal.signal(name, handler)
        self.console.print("Stopped. The data is kept.")

    def _programs(self, environ: Mapping[str, str]) -> list[Program]:
        programs = []
        if self.layout and not environ.get("DATABASE_URL"):
            postgres = self.layout.postgres_command()
            programs.append(Program("postgres", postgres, SERVERS, "INT", stop_wait_s=60))
        if self.layout and not environ.get("REDIS_URL"):
            programs.append(Program("valkey", self.layout.valkey_command(), SERVERS))
        programs += own_programs(self.ports)
        if self.settings.demo:
            programs += demo_programs(self.ports, self.data_dir)
        return programs

    def _start_servers(self) -> None:
        self.supervisor.start()
        self._write_state()
        if self.layout is None or not {"postgres", "valkey"} & set(self.supervisor.programs):
            return
        self.supervisor.start_group(SERVERS)
        for name in {"postgres", "valkey"} & set(self.supervisor.programs):
            servers.wait_until_ready(
                self.layout, name, lambda: self.supervisor.alive, self.supervisor.logs
            )
        self._write_state()

    def _step(self, command: str, *options: str) -> None:
        """One `kopeck` command that has to succeed before the processes start."""
        log = self.supervisor.logs / f"{command}.log"
        with self.console.status(f"kopeck {command}"), log.open("ab") as out:
            done = subprocess.run(
                guarded(self.data_dir, kopeck_command(command, *options)),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=self.env,
                check=False,
            )
        if done.returncode != 0:
            tail = log.read_text(errors="replace")[-3000:]
            raise EmbeddedError(f"`kopeck {command}` failed; the end of {log}:\n{tail}")

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + HEALTHY_TIMEOUT_S
        url = f"http://127.0.0.1:{self.ports['kopeck']}/healthz"
        while not _answers(url, self.settings.trusted_hosts[0]):
            self._write_state()
            if time.monotonic() > deadline:
                log = self.supervisor.logs / "web.log"
                tail = log.read_text(errors="replace")[-3000:] if log.exists() else ""
                raise EmbeddedError(f"{url} does not answer; the end of {log}:\n{tail}")
            time.sleep(HEALTHY_POLL_S)

    def _watch(self) -> None:
        """Keep run.json true, and supervisord alive, until somebody asks to stop."""
        starts: list[float] = []
        while True:
            self._write_state()
            time.sleep(WATCH_INTERVAL_S)
            if self.supervisor.alive:
                continue
            self.console.print("[yellow]The supervisor ended; everything is started again.[/]")
            starts = [at for at in starts if at > time.monotonic() - 60] + [time.monotonic()]
            if len(starts) > STARTS_PER_MINUTE_MAX:
                raise EmbeddedError(f"The supervisor keeps ending; see {self.supervisor.logs}.")
            self.state = "starting"
            self._start_servers()
            self.supervisor.start_group(APPS)
            self._wait_until_healthy()
            self.state = "ready"

    def _write_state(self) -> None:
        processes: dict[str, int] = {}
        with contextlib.suppress(OSError):  # supervisord was just killed; _watch sees to it.
            processes = self.supervisor.processes()
        supervisor = self.supervisor.process
        text = json.dumps(
            {
                "state": self.state,
                "pid": os.getpid(),
                "supervisor": supervisor.pid if supervisor else 0,
                "processes": processes,
                "ports": self.ports,
                "urls": self._urls(),
                "data_dir": str(self.data_dir),
                "log_dir": str(self.supervisor.logs),
                "database_url": self.settings.database_url,
                "redis_url": self.settings.redis_url,
            },
            indent=1,
        )
        write_private(self.data_dir / "run.json", text + "\n")

    def _urls(self) -> dict[str, str]:
        urls = {"kopeck": self.settings.public_url}
        if self.settings.demo:
            urls["shop"] = self.settings.shop_url
            urls["mail"] = self.settings.mail_url
            urls["stripe"] = self.settings.stripe_api_base
        return urls

    def _say_where(self) -> None:
        urls = self._urls()
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for name, path in _PAGES:
            table.add_row(name, urls["kopeck"] + path)
        if self.settings.demo:
            table.add_row("Demo clock, codes", urls["kopeck"] + "/demo/")
            table.add_row("Demo shop", urls["shop"])
            table.add_row("Mail that was sent", urls["mail"])
            table.add_row("Stripe double", urls["stripe"])
        self.console.print(table)
        for line in self._sign_ins():
            self.console.print(line)
        self.console.print("Ctrl-C stops everything; the data is kept.")
        if self.browser and sys.stdout.isatty() and _has_display():
            webbrowser.open(urls["kopeck"])

    def _sign_ins(self) -> Iterator[Table]:
        """The demo sign-ins, as `kopeck seed` wrote them."""
        path = self.data_dir / "demo.json"
        if not (self.settings.demo and path.exists()):
            return
        table = Table(title="Demo sign-ins", title_justify="left")
        table.add_column("Who", overflow="fold")
        for heading in ("E-mail", "Password", "Where"):
            # What is copied is never broken; in a narrow terminal it is the names that fold.
            table.add_column(heading, no_wrap=True)
        kopeck = self.settings.public_url
        for person in json.loads(path.read_text()):
            row = [str(person.get(key, "")) for key in ("who", "email", "password", "url")]
            table.add_row(*row[:3], row[3].removeprefix(kopeck))
        yield table


_PAGES = (
    ("Kopeck", "/"),
    ("Affiliate account", "/account/"),
    ("Finance desk", "/finance/"),
    ("Manager's desk", "/manage/"),
    ("API", "/api/"),
)
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _ask_to_stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal(2)'s shape
    raise _Stop


def _answers(url: str, host: str) -> bool:
    request = urllib.request.Request(url, headers={"Host": host})  # noqa: S310 - our own http address
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _has_display() -> bool:
    return sys.platform == "darwin" or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )


if __name__ == "__main__":
    run_command()
