"""What the shop was told on its command line, handed to its worker by the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

CURRENCIES = ("RUB", "EUR", "USD", "GBP")
"""Two digits each, so that a price in minor units is always hundredths."""
MODES = ("server", "pixel")


@dataclass(frozen=True, slots=True)
class ShopConfig:
    """One shop: where Kopeck is, whose program this is, who reports the orders."""

    kopeck_url: str
    program: str
    data_dir: Path
    api_key: str = ""
    api_key_file: Path | None = None
    mode: str = "server"
    """server: the shop's server sends each order; pixel: only the buyer's browser reports it."""
    currency: str = "RUB"
    path: str = ""
    """A path of the shop's own that leads to Kopeck, as `/kopeck`; empty: there is none."""
    path_secret: str = ""
    """What Kopeck believes the buyer's address by; `kopeck pixel` prints it."""

    @property
    def pixel_url(self) -> str:
        """Where pages find the pixel."""
        return self.path or self.kopeck_url

    def key(self) -> str:
        """The API key as it is now: the file may be written after the shop has started."""
        if self.api_key:
            return self.api_key
        try:
            return self.api_key_file.read_text().strip() if self.api_key_file else ""
        except OSError:
            return ""

    @property
    def kopeck_origin(self) -> str:
        parts = urlsplit(self.kopeck_url)
        return f"{parts.scheme}://{parts.netloc}"

    def to_environ(self) -> dict[str, str]:
        return {
            "SHOP_KOPECK_URL": self.kopeck_url,
            "SHOP_PROGRAM": self.program,
            "SHOP_DATA": str(self.data_dir),
            "SHOP_API_KEY": self.api_key,
            "SHOP_API_KEY_FILE": str(self.api_key_file or ""),
            "SHOP_MODE": self.mode,
            "SHOP_CURRENCY": self.currency,
            "SHOP_PATH": self.path,
            "SHOP_PATH_SECRET": self.path_secret,
        }

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> ShopConfig:
        key_file = environ.get("SHOP_API_KEY_FILE", "")
        return cls(
            kopeck_url=environ["SHOP_KOPECK_URL"].rstrip("/"),
            program=environ["SHOP_PROGRAM"],
            data_dir=Path(environ["SHOP_DATA"]),
            api_key=environ.get("SHOP_API_KEY", ""),
            api_key_file=Path(key_file) if key_file else None,
            mode=environ.get("SHOP_MODE", "server"),
            currency=environ.get("SHOP_CURRENCY", "RUB"),
            path=environ.get("SHOP_PATH", ""),
            path_secret=environ.get("SHOP_PATH_SECRET", ""),
        )
