"""What each page of the double is in: its frame, its headers, its redirects."""

from __future__ import annotations

from html import escape
from urllib.parse import urlsplit

from .wire import Answer

CSP = (
    "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action {}"
)


def page(status: int, title: str, body: str, *, form_action: str = "'none'") -> Answer:
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="stylesheet" href="/style.css"></head>'
        f"<body><main>{body}</main></body></html>\n"
    )
    return Answer(status, text.encode(), "text/html; charset=utf-8").with_headers(
        ("Content-Security-Policy", CSP.format(form_action)),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
    )


def redirect(address: str) -> Answer:
    return Answer(303, b"", "text/html; charset=utf-8").with_headers(
        ("Location", _ascii(address)), ("Referrer-Policy", "no-referrer")
    )


def origin(address: str) -> str:
    parts = urlsplit(_ascii(address))
    return f"{parts.scheme}://{parts.netloc}".replace(";", "").replace(",", "")


def _ascii(address: str) -> str:
    """An address that cannot break out of a header."""
    return "".join(sign for sign in address if "!" <= sign <= "~")
