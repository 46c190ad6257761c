"""The processes of one installation, each as the command that starts it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from affiliate.core.embedded.supervise import Program

DEMO_STRIPE_KEY = "sk_test_kopeck_demo"
DEMO_WEBHOOK_SECRET = "whsec_kopeck_demo_platform"  # noqa: S105 -- the demo's own
DEMO_CONNECT_WEBHOOK_SECRET = "whsec_kopeck_demo_connect"  # noqa: S105 -- the demo's own
DEMO_CURRENCIES = ("EUR", "USD", "RUB")
DEMO_BALANCE_MINOR = 10_000_000
"""What the double's platform account holds at first, in cents and kopecks."""
WEB_WORKERS = 2
WEB_THREADS = 8
"""Per worker; one open stream then blocks one of eight."""
WEB_STOP_WAIT_S = 20
WEBHOOKS_STOP_WAIT_S = 35
"""What is being sent comes to its end."""


def kopeck_command(*words: str) -> list[str]:
    """The `kopeck` command line with this very Python, whatever PATH says."""
    return [sys.executable, "-m", "wsgi", *words]


def own_programs(ports: Mapping[str, int]) -> list[Program]:
    """What runs in production too."""
    return [
        Program("web", _web(ports["kopeck"]), stop_wait_s=WEB_STOP_WAIT_S, sweeps=True),
        Program("loader", kopeck_command("loader")),
        Program("payouts", kopeck_command("worker", "payouts")),
        Program("general", kopeck_command("worker", "general")),
        Program("history", kopeck_command("worker", "history")),
        Program("scheduler", kopeck_command("scheduler")),
        Program("webhooks", kopeck_command("webhooks"), stop_wait_s=WEBHOOKS_STOP_WAIT_S),
    ]


def demo_programs(ports: Mapping[str, int], data_dir: Path) -> list[Program]:
    """What a newcomer plays against, each its own process."""
    mail = ("--smtp-port", str(ports["smtp"]), "--http-port", str(ports["mail"]))
    shop = ("--port", str(ports["shop"]))
    stripe = ["--port", str(ports["stripe"]), "--key", DEMO_STRIPE_KEY]
    webhooks = f"http://127.0.0.1:{ports['kopeck']}/webhooks"
    stripe += ["--platform-webhook", f"{webhooks}/stripe", DEMO_WEBHOOK_SECRET]
    stripe += ["--connect-webhook", f"{webhooks}/stripe-connect", DEMO_CONNECT_WEBHOOK_SECRET]
    for currency in DEMO_CURRENCIES:
        stripe += ["--balance", f"{currency}={DEMO_BALANCE_MINOR}"]
    return [
        Program("shop", _sandbox("shop", data_dir, *shop), sweeps=True),
        Program("mail", _sandbox("mail", data_dir, *mail)),
        Program("stripe", _sandbox("stripe", data_dir, *stripe)),
    ]


def _web(port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1"),
        *("--port", str(port), "--http", "1", "--workers", str(WEB_WORKERS)),
        *("--blocking-threads", str(WEB_THREADS), "--respawn-failed-workers"),
        *("--respawn-interval", "0.5", "--workers-kill-timeout", "15"),
        *("--factory", "wsgi:make_application"),
    ]


def _sandbox(name: str, data_dir: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", f"sandbox.{name}", "--data", str(data_dir / name), *words]
