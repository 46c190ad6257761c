"""Mail: written in the caller's transaction, sent after commit over SMTP, retried.

A mail that cannot be delivered is tried again with growing pauses for three days; then it
is marked as failed and counted. A mail with a one-time link loses its body once sent.
"""

from __future__ import annotations

import contextlib
import smtplib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.headerregistry import Address, HeaderRegistry, UniqueUnstructuredHeader
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import make_msgid, parseaddr
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
import structlog
from flask import current_app
from flask_babel import force_locale
from rq.timeouts import BaseTimeoutException
from sqlalchemy.orm import Mapped, Session, mapped_column

from affiliate.core import clock, queue
from affiliate.core.config import Settings
from affiliate.core.db import Model, db

SMTP_TIMEOUT_S = 20
RETRY_PAUSES_S = (30, 120, 600, 1_800, 3_600, 6 * 3_600, 24 * 3_600, 24 * 3_600)
DELIVER_ROWS_MAX = 50
LEASE_S = 120
MAIL_DAYS = 90
"""For how long a letter is kept after it left or was given up."""
NOBODY = "@erased.invalid"
"""End of the address of whoever was erased (RFC 2606): no letter is written to it."""


SUBJECT_CHARS_MAX: Final = 200
_UNSEEN: Final = dict.fromkeys(
    number
    for number in (*range(0x20), 0x7F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    if chr(number) not in "\t\n"
)
"""Control characters, and those that turn the direction of what follows: a name with one of them
could make the rest of a letter say something else. No text of ours has any."""

log = structlog.get_logger(__name__)


class Mail(Model):
    """One message to one address."""

    __tablename__ = "outbox_mails"
    __table_args__ = (
        sa.Index(
            "ix_outbox_mails_due",
            "next_try_at",
            postgresql_where=sa.text("sent_at IS NULL AND failed_at IS NULL"),
        ),
        sa.Index(
            "ix_outbox_mails_scope",
            "scope",
            "created_at",
            postgresql_where=sa.text("scope IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    recipient: Mapped[str]
    subject: Mapped[str]
    text: Mapped[str]
    html: Mapped[str]
    template: Mapped[str]
    """Name of the template, for counting and for tests."""
    one_time: Mapped[bool]
    """The body holds a one-time link and is wiped once sent."""
    message_id: Mapped[str]
    created_at: Mapped[datetime]
    next_try_at: Mapped[datetime]
    """Real time, not business time: a moved demo clock must not delay mail."""
    attempts: Mapped[int] = mapped_column(server_default="0")
    sent_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    last_error: Mapped[str | None]
    scope: Mapped[int | None]
    """Number of the program it belongs to; none for what is about a person alone."""
    unsubscribe_url: Mapped[str | None]
    """Where mail programs end this kind of letter by one POST (RFC 8058)."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A letter as its reader gets it; both parts say the same."""

    subject: str
    text: str
    html: str


def render(template: str, *, locale: str = "en", **context: Any) -> Rendered:
    """`templates/emails/<template>.txt` and `.html`; the first line of .txt is the subject."""
    with force_locale(locale):
        # Not render_template: what it adds for pages (who is signed in, which desk) needs a
        # request, and a mail is the same whether a page, a job or a command writes it.
        mails = current_app.jinja_env
        first, _, text = (
            mails.get_template(f"emails/{template}.txt").render(context).partition("\n")
        )
        subject = _shortened(" ".join(first.translate(_UNSEEN).split()))
        html = mails.get_template(f"emails/{template}.html").render(context, subject=subject)
    return Rendered(subject, text.translate(_UNSEEN).strip() + "\n", html.translate(_UNSEEN))


def send(
    session: Session,
    *,
    to: str,
    template: str,
    now: datetime,
    locale: str = "en",
    one_time: bool = False,
    scope: int | None = None,
    unsubscribe_url: str | None = None,
    **context: Any,
) -> None:
    """Queue a letter. `scope` is the number of the program that it is about.

    Nothing for somebody who was erased. With an `unsubscribe_url` mail programs offer to end
    letters of this kind; the template gets it too. Raises ValueError for an address with line
    breaks (header injection).
    """
    if any(char in to for char in "\r\n\0") or "@" not in to:
        raise ValueError("not a mail address")
    if to.endswith(NOBODY):
        return
    if unsubscribe_url is not None and not _fits_a_header(unsubscribe_url):
        raise ValueError("not an address for a header")
    letter = render(template, locale=locale, unsubscribe_url=unsubscribe_url, **context)
    values = {
        "recipient": to,
        "subject": letter.subject,
        "text": letter.text,
        "html": letter.html,
        "template": template,
        "one_time": one_time,
        "message_id": make_msgid(domain="kopeck"),
        "created_at": now,
        "next_try_at": clock.real_now(),
        "scope": scope,
        "unsubscribe_url": unsubscribe_url,
    }
    session.execute(sa.insert(Mail).values(**values))
    deliver_due.after_commit(session)


def forget(session: Session, *, addresses: Sequence[str], template: str | None = None) -> int:
    """Delete every letter to these addresses (lower case), also those that wait; how many.

    With a `template`: those of this kind alone.
    """
    letters = sa.delete(Mail).where(sa.func.lower(Mail.recipient).in_(addresses))
    if template is not None:
        letters = letters.where(Mail.template == template)
    gone = session.execute(letters.returning(Mail.id))
    return len(gone.all())


def forget_old(session: Session, *, real_now: datetime, rows_max: int) -> int:
    """Delete letters that left or were given up long ago, a batch at most; how many."""
    ended = sa.func.coalesce(Mail.sent_at, Mail.failed_at)
    old = sa.select(Mail.id).where(ended < real_now - timedelta(days=MAIL_DAYS)).limit(rows_max)
    gone = session.execute(
        sa.delete(Mail).where(Mail.id.in_(old.with_for_update(skip_locked=True))).returning(Mail.id)
    )
    return len(gone.all())


@dataclass(frozen=True, slots=True)
class Counted:
    """What became of the letters of a template."""

    written: int
    failed: int
    """Given up after days of trying."""


def counted(session: Session, *, scope: int, since: datetime) -> dict[str, Counted]:
    """How many letters about a program were written since then, by template."""
    rows = session.execute(
        sa.select(Mail.template, sa.func.count(), sa.func.count(Mail.failed_at))
        .where(Mail.scope == scope, Mail.created_at >= since)
        .group_by(Mail.template)
    )
    return {template: Counted(written, failed) for template, written, failed in rows}


def _shortened(subject: str) -> str:
    if len(subject) <= SUBJECT_CHARS_MAX:
        return subject
    return subject[: SUBJECT_CHARS_MAX - 1] + "…"


def _fits_a_header(url: str) -> bool:
    return url.isascii() and url.isprintable() and not any(char in url for char in " <>,")


@queue.job(queue.GENERAL)
def deliver_due() -> None:
    """Send what is due; a full turn rings again."""
    session = db.session()
    sent = deliver(session, settings=current_app.extensions["kopeck.settings"])
    if sent == DELIVER_ROWS_MAX:
        deliver_due.after_commit(session)


def deliver(session: Session, *, settings: Settings) -> int:
    """Send what is due; commits after each mail. Returns how many left."""
    sent = 0
    for _ in range(DELIVER_ROWS_MAX):
        mail = _claim(session)
        if mail is None:
            return sent
        try:
            _transmit(settings, mail)
        except BaseTimeoutException:
            raise
        except Exception as error:  # noqa: BLE001 -- one bad letter must not stop the others
            _retry_later(session, mail.id, f"{type(error).__name__}: {error}")
            session.commit()
            continue
        session.execute(
            sa.update(Mail)
            .where(Mail.id == mail.id)
            .values(
                sent_at=clock.real_now(),
                text=sa.case((Mail.one_time, ""), else_=Mail.text),
                html=sa.case((Mail.one_time, ""), else_=Mail.html),
            )
        )
        session.commit()
        sent += 1
    return sent


@dataclass(frozen=True)
class _Claimed:
    id: int
    recipient: str
    subject: str
    text: str
    html: str
    message_id: str
    unsubscribe_url: str | None


def _claim(session: Session) -> _Claimed | None:
    """Lease the next mail, so that no lock is held while the SMTP server is talked to.

    One-time links go first: they are good for an hour, and a newsletter may take as long.
    """
    now = clock.real_now()
    due = (
        sa.select(Mail.id)
        .where(Mail.sent_at.is_(None), Mail.failed_at.is_(None), Mail.next_try_at <= now)
        .order_by(Mail.one_time.desc(), Mail.next_try_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = session.execute(
        sa.update(Mail)
        .where(Mail.id.in_(due))
        .values(attempts=Mail.attempts + 1, next_try_at=now + timedelta(seconds=LEASE_S))
        .returning(
            Mail.id, Mail.recipient, Mail.subject, Mail.text, Mail.html, Mail.message_id,
            Mail.unsubscribe_url,
        )
    ).one_or_none()  # fmt: skip
    session.commit()
    return _Claimed(*row) if row else None


def _retry_later(session: Session, mail_id: int, error: str) -> None:
    attempts = session.scalar(sa.select(Mail.attempts).where(Mail.id == mail_id)) or 1
    log.warning("mail.not_sent", mail=mail_id, attempts=attempts, error=error)
    values: dict[str, Any] = {"last_error": error[:500]}
    if attempts > len(RETRY_PAUSES_S):
        values["failed_at"] = clock.real_now()
    else:
        pause = timedelta(seconds=RETRY_PAUSES_S[attempts - 1])
        values["next_try_at"] = clock.real_now() + pause
    session.execute(sa.update(Mail).where(Mail.id == mail_id).values(**values))


class _OneLine(UniqueUnstructuredHeader):
    """An address in a header stays as it is: the library would write a long one as encoded words,
    in which no mail program looks for an address."""

    name: str

    def fold(self, *, policy: Any) -> str:
        return f"{self.name}: {self}{policy.linesep}"


_HEADERS: Final = HeaderRegistry()
_HEADERS.map_to_type("list-unsubscribe", cast(Any, _OneLine))
_POLICY: Final = EmailPolicy(header_factory=_HEADERS)


def _transmit(settings: Settings, mail: _Claimed) -> None:
    message = EmailMessage(policy=_POLICY)
    name, address = parseaddr(settings.mail_from)
    message["From"] = Address(name, addr_spec=address)
    message["To"] = mail.recipient
    message["Subject"] = mail.subject
    message["Message-ID"] = mail.message_id
    message["Auto-Submitted"] = "auto-generated"
    if mail.unsubscribe_url:
        message["List-Unsubscribe"] = f"<{mail.unsubscribe_url}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(mail.text)
    message.add_alternative(mail.html, subtype="html")
    url = urlsplit(settings.smtp_url)
    kind = smtplib.SMTP_SSL if url.scheme == "smtps" else smtplib.SMTP
    server = kind(url.hostname or "127.0.0.1", url.port or 25, timeout=SMTP_TIMEOUT_S)
    try:
        if url.scheme == "smtp+starttls":
            server.starttls()
        if url.username:
            server.login(unquote(url.username), unquote(url.password or ""))
        server.send_message(message)
    finally:
        # The letter was taken or refused before: what a server says to a goodbye changes neither.
        with contextlib.suppress(smtplib.SMTPException, OSError):
            server.quit()
        server.close()
