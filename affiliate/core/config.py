"""Settings: read once from the environment into one frozen value.

Every setting has its unit in its name or its comment and a default that is safe in
production: no default secret, no debug, unknown hosts refused.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
SECRET_BYTES_MIN = 32
WEBHOOK_SECRET_CHARS_MIN = 16
SMTP_URL = "smtp://127.0.0.1:25"
STRIPE_API_BASE = "https://api.stripe.com"
PROXY_HOPS_MAX = 20
MODES = ("production", "demo", "test")
STRIPE_API_BASE = "https://api.stripe.com"
SMTP_URL = "smtp://127.0.0.1:25"


class SettingsError(ValueError):
    """A setting is missing or unusable; the message names the variable and what to do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment decides. Names of variables: docs/operations.md, "Settings"."""

    mode: str
    """production, demo (clock can be moved, Stripe double allowed) or test."""
    database_url: str
    redis_url: str
    secrets: tuple[str, ...]
    """Current secret first, then older ones that still verify what they signed."""
    public_url: str
    """Scheme and host that people and shops see, without a slash at the end."""
    trusted_hosts: tuple[str, ...]
    """Host names that are answered; any other is a 400."""
    proxy_hops: int = 0
    """How many proxies in front are ours; forwarded headers are believed for that many."""
    country_header: str = ""
    """Header in which a proxy of ours names the client's country; empty: none does."""
    data_dir: Path = field(default_factory=lambda: ROOT / "var")
    """Where this node keeps journals, the link snapshot and the payout fence."""
    links_in_memory_max: int = 100_000
    """Links that a web process keeps in memory; the rest it finds in the node's snapshot."""
    journal_sync: str = "background"
    """background: fdatasync every 10 ms unwaited; grouped: the reply waits for it."""
    journal_mb_max: int = 8_192
    """Megabytes that a node's journal may take. Beyond, loaded segments are given up, oldest
    first, then an alarm is raised; a click is never refused for it."""
    journal_free_mb_min: int = 512
    """Megabytes that must stay free on the journal's file system; the same is done for it."""
    flood_address_per_minute: int = 600
    """Clicks of one address that count; 0: not looked at. docs/decisions/0007-floods.md."""
    flood_device_per_minute: int = 120
    """Clicks of one address with one agent that count; 0: not looked at."""
    flood_affiliate_per_hour: int = 20_000
    """Clicks on an affiliate beyond which their repeating devices no longer count; 0: never."""
    clicks_keep_days: int = 400
    """Days for which raw clicks are kept in the table before their month is detached; 0: for
    ever. Never less than the longest attribution window in force and its hold."""
    smtp_url: str = SMTP_URL
    mail_from: str = ""
    stripe_api_key: str = ""
    """Empty: the Stripe rail is not configured and its batches cannot be approved."""
    stripe_api_key_previous: str = ""
    """The key before, of the same account, while it is rolled: tried where the other is refused."""
    stripe_webhook_secrets: tuple[str, ...] = ()
    """Of the endpoint for the platform's own events, each valid; none: the address is a 404."""
    stripe_connect_webhook_secrets: tuple[str, ...] = ()
    """The same for events of connected accounts."""
    stripe_api_base: str = STRIPE_API_BASE
    payee_cooling_off_h: int = 72
    """Hours for which nothing goes to an account that an affiliate named in place of another."""
    shop_url: str = ""
    """Where the demo shop answers; only set in demo and test mode."""
    mail_url: str = ""
    """Where the demo's mail catcher shows what was sent; empty where mail leaves the machine."""
    log_level: str = "INFO"
    consent_mode: bool = False
    """True: Kopeck's own visitor cookie on /r/ is never set."""
    body_bytes_max: int = 1_000_000
    api_calls_per_minute: int = 6_000
    """Calls that one API key may make; 0: any number."""
    database_pool_size: int = 5
    session_idle_s: int = 7 * 86_400
    session_absolute_s: int = 30 * 86_400

    @property
    def demo(self) -> bool:
        return self.mode == "demo"

    @property
    def production(self) -> bool:
        return self.mode == "production"

    @property
    def stripe_live(self) -> bool:
        """Whether the API key moves real money: Stripe's live and test events differ by it."""
        return self.stripe_api_key.startswith(("sk_live_", "rk_live_"))

    @property
    def https(self) -> bool:
        return self.public_url.startswith("https://")

    def key(self, purpose: str, secret_index: int = 0) -> bytes:
        """32 bytes for one purpose, derived from one of the secrets (HMAC-SHA256)."""
        secret = self.secrets[secret_index].encode()
        return hmac.new(secret, f"kopeck:{purpose}".encode(), hashlib.sha256).digest()

    def keys(self, purpose: str) -> tuple[bytes, ...]:
        """The purpose's key under each secret, current one first."""
        return tuple(self.key(purpose, i) for i in range(len(self.secrets)))

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Read every setting; raise SettingsError naming the variable that is wrong."""
        mode = environ.get("KOPECK_MODE", "production")
        if mode not in MODES:
            raise SettingsError(f"KOPECK_MODE is {mode!r}; it must be one of {', '.join(MODES)}.")
        if environ.get("FLASK_DEBUG", "0") not in ("", "0") and mode == "production":
            raise SettingsError("FLASK_DEBUG is set: Kopeck refuses to debug in production.")
        public_url = _required(environ, "KOPECK_PUBLIC_URL").rstrip("/")
        parts = urlsplit(public_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path:
            raise SettingsError("KOPECK_PUBLIC_URL must be scheme and host: https://kopeck.example")
        if mode == "production" and parts.scheme != "https":
            raise SettingsError("KOPECK_PUBLIC_URL must be https in production.")
        stripe_base = environ.get("KOPECK_STRIPE_API_BASE", STRIPE_API_BASE)
        if mode == "production" and stripe_base != STRIPE_API_BASE:
            raise SettingsError("KOPECK_STRIPE_API_BASE cannot be changed in production.")
        return cls(
            mode=mode,
            database_url=_database_url(_required(environ, "DATABASE_URL")),
            redis_url=_required(environ, "REDIS_URL"),
            secrets=_secrets(_required(environ, "KOPECK_SECRET")),
            public_url=public_url,
            trusted_hosts=_words(environ.get("KOPECK_TRUSTED_HOSTS", "")) or (parts.hostname,),
            proxy_hops=_between(environ, "KOPECK_PROXY_HOPS", 0, 0, PROXY_HOPS_MAX),
            country_header=environ.get("KOPECK_COUNTRY_HEADER", "").strip(),
            data_dir=Path(environ.get("KOPECK_DATA_DIR") or ROOT / "var"),
            links_in_memory_max=_whole(environ, "KOPECK_LINKS_IN_MEMORY_MAX", 100_000),
            journal_sync=_choice(environ, "KOPECK_JOURNAL_SYNC", ("background", "grouped")),
            journal_mb_max=_whole(environ, "KOPECK_JOURNAL_MB_MAX", 8_192),
            journal_free_mb_min=_whole(environ, "KOPECK_JOURNAL_FREE_MB_MIN", 512),
            flood_address_per_minute=_whole(environ, "KOPECK_FLOOD_ADDRESS_PER_MINUTE", 600),
            flood_device_per_minute=_whole(environ, "KOPECK_FLOOD_DEVICE_PER_MINUTE", 120),
            flood_affiliate_per_hour=_whole(environ, "KOPECK_FLOOD_AFFILIATE_PER_HOUR", 20_000),
            clicks_keep_days=_whole(environ, "KOPECK_CLICKS_KEEP_DAYS", 400),
            smtp_url=environ.get("KOPECK_SMTP_URL", SMTP_URL),
            mail_from=environ.get("KOPECK_MAIL_FROM") or f"Kopeck <kopeck@{parts.hostname}>",
            stripe_api_key=environ.get("KOPECK_STRIPE_API_KEY", ""),
            stripe_api_key_previous=environ.get("KOPECK_STRIPE_API_KEY_PREVIOUS", ""),
            stripe_webhook_secrets=_webhook_secrets(environ, "KOPECK_STRIPE_WEBHOOK_SECRET"),
            stripe_connect_webhook_secrets=_webhook_secrets(
                environ, "KOPECK_STRIPE_CONNECT_WEBHOOK_SECRET"
            ),
            stripe_api_base=stripe_base,
            payee_cooling_off_h=_between(environ, "KOPECK_PAYEE_COOLING_OFF_H", 72, 0, 720),
            shop_url=environ.get("KOPECK_SHOP_URL", "").rstrip("/"),
            mail_url=environ.get("KOPECK_MAIL_URL", "").rstrip("/"),
            log_level=environ.get("KOPECK_LOG_LEVEL", "INFO").upper(),
            consent_mode=_choice(environ, "KOPECK_CONSENT_MODE", ("off", "on")) == "on",
            body_bytes_max=_whole(environ, "KOPECK_BODY_BYTES_MAX", 1_000_000),
            api_calls_per_minute=_whole(environ, "KOPECK_API_CALLS_PER_MINUTE", 6_000),
            database_pool_size=_between(environ, "KOPECK_DATABASE_POOL_SIZE", 5, 1, 1_000),
            session_idle_s=_whole(environ, "KOPECK_SESSION_IDLE_S", 7 * 86_400),
            session_absolute_s=_whole(environ, "KOPECK_SESSION_ABSOLUTE_S", 30 * 86_400),
        )


def _required(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise SettingsError(f"{name} is not set. See docs/operations.md, Settings.")
    return value


def _secrets(text: str) -> tuple[str, ...]:
    secrets = _words(text)
    for secret in secrets:
        if len(secret.encode()) < SECRET_BYTES_MIN:
            raise SettingsError(
                f"KOPECK_SECRET has a value under {SECRET_BYTES_MIN} bytes. "
                "Make one: python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
            )
    return secrets


def _webhook_secrets(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Several by commas while one is rolled. A short one could be guessed, so it is refused."""
    secrets = _words(environ.get(name, ""))
    for secret in secrets:
        if len(secret) < WEBHOOK_SECRET_CHARS_MIN or not secret.isascii():
            raise SettingsError(
                f"{name} has a value that is no signing secret of Stripe (whsec_…): copy it from "
                "the endpoint's page, several separated by commas."
            )
    return secrets


def _database_url(url: str) -> str:
    """SQLAlchemy's driver is named, so that a plain postgresql:// address works."""
    for prefix in ("postgres://", "postgresql://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url[len(prefix) :]
    if not url.startswith("postgresql+psycopg://"):
        raise SettingsError("DATABASE_URL must be a PostgreSQL address: postgresql://…")
    return url


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _choice(environ: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    value = environ.get(name) or allowed[0]
    if value not in allowed:
        raise SettingsError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}.")
    return value


def _between(environ: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    value = _whole(environ, name, default)
    if not least <= value <= most:
        raise SettingsError(f"{name} is {value}; it must be between {least} and {most}.")
    return value


def _whole(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit():
        raise SettingsError(f"{name} is {text!r}; it must be a whole number.")
    return int(text)
