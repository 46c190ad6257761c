"""The mails received, one file each, named so that their names sort by time."""

from __future__ import annotations

import email
import email.policy
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

MESSAGES_MAX = 5_000
ID = re.compile(r"[0-9]{20}-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail as it was received."""

    id: str
    received_at: datetime
    """When the catcher took it, in UTC."""
    sender: str
    """The envelope's sender (MAIL FROM)."""
    recipients: tuple[str, ...]
    """The envelope's recipients (RCPT TO), which the headers need not name."""
    subject: str
    text: str
    html: str
    raw: bytes


class Store:
    """A folder of mails; several threads may use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = threading.Lock()

    def add(self, sender: str, recipients: Sequence[str], content: bytes) -> str:
        """Write the mail to disk, then return its id: an accepted mail is never lost."""
        envelope = f"X-Envelope-From: {sender}\r\nX-Envelope-To: {', '.join(recipients)}\r\n"
        with self._lock:
            id = f"{time.time_ns():020d}-{secrets.token_hex(4)}"
            beside = self.folder / f".{id}.new"
            with beside.open("wb") as out:
                out.write(envelope.encode() + content)
                out.flush()
                os.fsync(out.fileno())
            beside.replace(self.folder / f"{id}.eml")
            for old in self._ids()[MESSAGES_MAX:]:
                (self.folder / f"{old}.eml").unlink(missing_ok=True)
        return id

    def get(self, id: str) -> Mail | None:
        """The mail of that id, if there is one."""
        if not ID.fullmatch(id):
            return None
        try:
            raw = (self.folder / f"{id}.eml").read_bytes()
        except FileNotFoundError:
            return None
        return _read(id, raw)

    def newest_first(self, to: str = "") -> Iterator[Mail]:
        """Every mail, or those to one address."""
        for id in self._ids():
            mail = self.get(id)
            if mail and (not to or to.casefold() in map(str.casefold, mail.recipients)):
                yield mail

    def _ids(self) -> list[str]:
        return sorted((path.stem for path in self.folder.glob("[0-9]*.eml")), reverse=True)


def _read(id: str, raw: bytes) -> Mail:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    recipients = str(message["X-Envelope-To"] or "").split(",")
    return Mail(
        id=id,
        received_at=datetime.fromtimestamp(int(id.split("-", maxsplit=1)[0]) / 1e9, UTC),
        sender=str(message["X-Envelope-From"] or ""),
        recipients=tuple(name.strip() for name in recipients if name.strip()),
        subject=str(message["Subject"] or ""),
        text=_body(message, "plain"),
        html=_body(message, "html"),
        raw=raw,
    )


def _body(message: EmailMessage, kind: str) -> str:
    part = message.get_body(preferencelist=(kind,))
    if part is None:
        return ""
    try:
        return str(part.get_content())
    except (LookupError, ValueError):  # An unknown charset: show what can be read.
        payload = part.get_payload(decode=True)
        return payload.decode(errors="replace") if isinstance(payload, bytes) else ""
