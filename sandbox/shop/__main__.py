"""``python -m sandbox.shop``: the shop on granian, bound to this machine alone."""

from __future__ import annotations

import os
from pathlib import Path

import click
from granian import Granian
from granian.constants import Interfaces

from sandbox.shop.config import CURRENCIES, MODES, ShopConfig

THREADS = 8
KEY_FILE = "shop-api-key"
"""What `kopeck seed` writes into Kopeck's data folder."""


@click.command()
@click.option("--port", default=8100, show_default=True, type=click.IntRange(1, 65_535))
@click.option(
    "--kopeck",
    "kopeck_url",
    default=lambda: os.environ.get("KOPECK_PUBLIC_URL") or "http://127.0.0.1:8000",
    show_default="KOPECK_PUBLIC_URL, else http://127.0.0.1:8000",
    help="Where Kopeck answers.",
)
@click.option("--program", default="demo", show_default=True, help="Slug of the shop's program.")
@click.option("--api-key", default="", help="A key with the scope orders:write.")
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=lambda: os.environ.get("KOPECK_API_KEY_FILE"),
    show_default=f"KOPECK_API_KEY_FILE, else {KEY_FILE} beside the shop's data folder",
    help="A file with the key; read anew for each call.",
)
@click.option(
    "--data",
    "data_dir",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the shop's own orders.",
)
@click.option("--mode", type=click.Choice(MODES), default="server", show_default=True)
@click.option("--currency", type=click.Choice(CURRENCIES), default="RUB", show_default=True)
@click.option("--path", default="", help="A path of the shop's own for Kopeck, as /kopeck.")
@click.option("--path-secret", default="", help="What `kopeck pixel` prints for that path.")
def main(
    port: int,
    kopeck_url: str,
    program: str,
    api_key: str,
    api_key_file: Path | None,
    data_dir: Path,
    mode: str,
    currency: str,
    path: str,
    path_secret: str,
) -> None:
    """Run the demo shop Lamp & Leaf on http://localhost:PORT until it is stopped."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    config = ShopConfig(
        kopeck_url=kopeck_url.rstrip("/"),
        program=program,
        data_dir=data_dir,
        api_key=api_key,
        api_key_file=api_key_file or data_dir.parent / KEY_FILE,
        mode=mode,
        currency=currency,
        path=path,
        path_secret=path_secret,
    )
    os.environ.update(config.to_environ())
    Granian(
        "sandbox.shop.app:create",
        address="127.0.0.1",
        port=port,
        interface=Interfaces.WSGI,
        factory=True,
        websockets=False,
        workers=1,
        blocking_threads=THREADS,
        respawn_failed_workers=True,
    ).serve()


if __name__ == "__main__":
    main()
