"""The catcher's pages: a list, a mail, its HTML in a frame that can run nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from sandbox.mail.store import Mail, Store

LINK = re.compile(r"https?://[^\s<>\"]+[^\s<>\".,;:!?)]")
HOSTS = ("127.0.0.1", "localhost", "[::1]")
PAGE_POLICY = "default-src 'none'; style-src 'self'; frame-src 'self'; base-uri 'none'"
FRAME_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 0 auto; padding: 1rem; }
table { width: 100%; border-collapse: collapse; }
th, td { text-align: left; padding: .5rem; border-bottom: 1px solid #8884; vertical-align: top; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; }
iframe { width: 100%; height: 70vh; border: 1px solid #8884; background: #fff; }
dt { font-weight: 600; }
"""


class Handler(BaseHTTPRequestHandler):
    """GET / · /messages.json[?to=address] · /messages/<id>[.html|.eml]."""

    store: Store
    server_version = "kopeck-mail"
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        if host not in HOSTS:  # A page elsewhere that resolves its name to the loopback.
            self._send(HTTPStatus.BAD_REQUEST, "text/plain", "Ask for localhost.")
            return
        parts = urlsplit(self.path)
        to = parse_qs(parts.query).get("to", [""])[0]
        if parts.path == "/":
            self._send(HTTPStatus.OK, "text/html", _list(self.store.newest_first(to)))
        elif parts.path == "/messages.json":
            mails = [_as_json(mail) for mail in self.store.newest_first(to)]
            self._send(HTTPStatus.OK, "application/json", json.dumps(mails, ensure_ascii=False))
        elif parts.path == "/style.css":
            self._send(HTTPStatus.OK, "text/css", STYLE)
        elif parts.path == "/healthz":
            self._send(HTTPStatus.OK, "text/plain", "ok")
        else:
            self._one(parts.path)

    do_HEAD = do_GET

    def _one(self, path: str) -> None:
        name, _, kind = path.removeprefix("/messages/").partition(".")
        mail = self.store.get(name) if path.startswith("/messages/") else None
        if mail is None or kind not in ("", "html", "eml"):
            self._send(HTTPStatus.NOT_FOUND, "text/plain", "There is no such mail.")
        elif kind == "eml":
            self._send(HTTPStatus.OK, "text/plain", mail.raw.decode(errors="replace"))
        elif kind == "html":
            self._send(HTTPStatus.OK, "text/html", mail.html, FRAME_POLICY)
        else:
            self._send(HTTPStatus.OK, "text/html", _page_of(mail))

    def _send(self, status: HTTPStatus, kind: str, text: str, policy: str = PAGE_POLICY) -> None:
        body = text.encode(errors="replace")
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a demo tool that is polled would fill its log."""


def _as_json(mail: Mail) -> dict[str, object]:
    return {
        "id": mail.id,
        "received_at": mail.received_at.isoformat(),
        "from": mail.sender,
        "to": list(mail.recipients),
        "subject": mail.subject,
        "text": mail.text,
        "html": mail.html,
    }


def _list(mails: Iterable[Mail]) -> str:
    rows = "".join(
        f"<tr><td>{mail.received_at:%Y-%m-%d %H:%M:%S}</td><td>{escape(', '.join(mail.recipients))}"
        f'</td><td><a href="/messages/{mail.id}">{escape(mail.subject) or "(no subject)"}</a></td>'
        "</tr>"
        for mail in mails
    )
    table = f"<table><tr><th>Received (UTC)</th><th>To</th><th>Subject</th></tr>{rows}</table>"
    return _page("Mails", table if rows else "<p>No mail has been sent yet.</p>")


def _page_of(mail: Mail) -> str:
    facts = (
        ("From", mail.sender),
        ("To", ", ".join(mail.recipients)),
        ("Received (UTC)", f"{mail.received_at:%Y-%m-%d %H:%M:%S}"),
    )
    listed = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    source = f'<p><a href="/">All mails</a> · <a href="/messages/{mail.id}.eml">Source</a></p>'
    text = f"<pre>{LINK.sub(_linked, escape(mail.text))}</pre>" if mail.text else ""
    frame = f'<iframe sandbox title="HTML" src="/messages/{mail.id}.html"></iframe>'
    return _page(mail.subject, f"{source}<dl>{listed}</dl>{text}{frame if mail.html else ''}")


def _linked(found: re.Match[str]) -> str:
    return f'<a href="{found[0]}" rel="noreferrer">{found[0]}</a>'


def _page(title: str, content: str) -> str:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)} · mail catcher</title><link rel="stylesheet" href="/style.css">'
        f"<body><h1>{escape(title)}</h1>{content}</body></html>"
    )
