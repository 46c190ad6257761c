"""What the processes of a data folder are told through their environment."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import click

from affiliate.core.config import ROOT
from affiliate.core.embedded.folders import write_private
from affiliate.core.embedded.programs import (
    DEMO_CONNECT_WEBHOOK_SECRET,
    DEMO_STRIPE_KEY,
    DEMO_WEBHOOK_SECRET,
)

data_option = click.option(
    "--data",
    "data_dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=lambda: Path(os.environ.get("KOPECK_DATA_DIR") or ROOT / "var"),
    show_default="KOPECK_DATA_DIR, else var/ beside the program",
    help="Folder of the database, journals, logs and the secret; kept between runs.",
)


def environment(
    data_dir: Path,
    ports: Mapping[str, int],
    environ: Mapping[str, str],
    database_url: str,
    redis_url: str,
) -> dict[str, str]:
    """What `environ` says wins; what it leaves open is our choice (demo mode, our servers)."""
    mode = environ.get("KOPECK_MODE") or "demo"
    ours = {
        "KOPECK_PUBLIC_URL": f"http://127.0.0.1:{ports['kopeck']}",
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
    }
    if mode == "demo":
        ours |= {
            "KOPECK_TRUSTED_HOSTS": "127.0.0.1,localhost",
            "KOPECK_SMTP_URL": f"smtp://127.0.0.1:{ports['smtp']}",
            "KOPECK_STRIPE_API_BASE": f"http://127.0.0.1:{ports['stripe']}",
            "KOPECK_STRIPE_API_KEY": DEMO_STRIPE_KEY,
            "KOPECK_STRIPE_WEBHOOK_SECRET": DEMO_WEBHOOK_SECRET,
            "KOPECK_STRIPE_CONNECT_WEBHOOK_SECRET": DEMO_CONNECT_WEBHOOK_SECRET,
            "KOPECK_SHOP_URL": f"http://localhost:{ports['shop']}",
            "KOPECK_MAIL_URL": f"http://127.0.0.1:{ports['mail']}",
        }
    if not environ.get("KOPECK_SECRET"):
        ours["KOPECK_SECRET"] = _secret(data_dir / "secret")
    said = {name: value for name, value in environ.items() if value}
    forced = {"KOPECK_MODE": mode, "KOPECK_DATA_DIR": str(data_dir), "PYTHONUNBUFFERED": "1"}
    return {**ours, **said, **forced}


def _secret(path: Path) -> str:
    """The installation's secret, made once."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(48) + "\n")
    return path.read_text().strip()
