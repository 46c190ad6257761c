"""Mail: after commit, over real SMTP, again after a refused connection, wiped, no injection."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
import sqlalchemy as sa
from aiosmtpd.controller import Controller
from flask import Flask
from redis import Redis
from sqlalchemy.orm import Session

from affiliate.core import outbox, queue
from affiliate.core.clock import real_now
from affiliate.core.config import Settings
from affiliate.core.outbox import Mail

LINK = "http://127.0.0.1:8000/verify/one-time"


class Mailbox:
    """What a real SMTP server received."""

    def __init__(self) -> None:
        self.letters: list[EmailMessage] = []
        self.refuse = False

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        if self.refuse:
            return "451 come back later"
        letter = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(letter, EmailMessage)
        self.letters.append(letter)
        return "250 taken"


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def smtp(mailbox: Mailbox, port: int) -> Iterator[None]:
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    yield
    controller.stop()


@pytest.fixture
def mailing(settings: Settings, port: int) -> Settings:
    return replace(settings, smtp_url=f"smtp://127.0.0.1:{port}")


def write(session: Session, to: str = "ada@example.com", **more: Any) -> None:
    values: dict[str, Any] = {"name": "Ada", "url": LINK, "days": 3, "one_time": True, **more}
    outbox.send(session, to=to, template="people/verify_address", now=real_now(), **values)


def only(session: Session) -> Mail:
    session.rollback()
    return session.scalars(sa.select(Mail).execution_options(populate_existing=True)).one()


def due_again(session: Session) -> None:
    session.execute(sa.update(Mail).values(next_try_at=real_now() - timedelta(seconds=1)))
    session.commit()


def test_a_mail_is_woken_after_the_commit_and_not_before(
    app: Flask, session: Session, redis_url: str
) -> None:
    redis = Redis.from_url(redis_url)
    jobs = queue.queue_on(redis, queue.GENERAL)
    with app.test_request_context(base_url="http://127.0.0.1:8000"):
        write(session)
        assert jobs.count == 0
        session.commit()
        assert jobs.count == 1
        write(session)
        session.rollback()
        assert jobs.count == 1
    redis.close()
    assert only(session).sent_at is None


def test_a_mail_arrives_with_both_bodies_and_its_headers(
    app: Flask, session: Session, mailing: Settings, mailbox: Mailbox, smtp: None
) -> None:
    with app.test_request_context(base_url="http://127.0.0.1:8000"):
        write(session)
    session.commit()
    assert outbox.deliver(session, settings=mailing) == 1
    letter = mailbox.letters[0]
    assert letter["To"] == "ada@example.com"
    assert letter["Subject"] == "Verify your address"
    assert letter["From"] == "Kopeck <kopeck@127.0.0.1>"
    assert letter["Auto-Submitted"] == "auto-generated"
    bodies = {part.get_content_type(): part.get_content() for part in letter.iter_parts()}
    assert LINK in bodies["text/plain"] and LINK in bodies["text/html"]
    assert "<script" not in bodies["text/html"]
    assert outbox.deliver(session, settings=mailing) == 0, "it is sent once"


@pytest.mark.abuse("A28")
def test_a_one_time_link_does_not_stay_in_the_database(
    app: Flask, session: Session, mailing: Settings, mailbox: Mailbox, smtp: None
) -> None:
    with app.test_request_context(base_url="http://127.0.0.1:8000"):
        write(session)
    session.commit()
    outbox.deliver(session, settings=mailing)
    mail = only(session)
    assert mail.sent_at is not None
    assert (mail.text, mail.html) == ("", "")


def test_other_mails_keep_their_body(
    app: Flask, session: Session, mailing: Settings, mailbox: Mailbox, smtp: None
) -> None:
    with app.test_request_context(base_url="http://127.0.0.1:8000"):
        write(session, one_time=False)
    session.commit()
    outbox.deliver(session, settings=mailing)
    assert LINK in only(session).text


def test_a_refused_connection_is_tried_again_and_nothing_is_lost(
    app: Flask, session: Session, mailing: Settings, mailbox: Mailbox, port: int
) -> None:
    with app.test_request_context(base_url="http://127.0.0.1:8000"):
        write(session)
    session.commit()
    assert outbox.deliver(session, settings=mailing) == 0
    mail = only(session)
    assert mail.attempts == 1 and mail.sent_at is None and mail.last_error
    assert mail.next_try_at > real_now()
    assert LINK in mail.text
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        assert outbox.deliver(session, settings=mailing) == 0, "its pause is not over"
        due_again(session)
        assert outbox.deliver(session, settings=mailing) == 1
    finally:
        controller.stop()
    assert len(mailbox.letters) == 1


def test_a_server_that_says_later_is_asked_later(
    app: Flask, session: Session, mailing: Settings, mailbox: Mailbox, smtp: None
) -> None:
    mailbox.refuse = True
    with app.test_request_context(base_url="http://127.0.0.1:8000"):
        write(session)
    session.commit()
    assert outbox.deliver(session, settings=mailing) == 0
    mailbox.refuse = False
    due_again(session)
    assert outbox.deliver(session, settings=mailing) == 1


def test_a_mail_that_never_leaves_is_given_up_and_counted(
    app: Flask, session: Session, mailing: Settings
) -> None:
    with app.test_request_context(base_url="http://127.0.0.1:8000"):
        write(session)
    session.commit()
    for _ in range(len(outbox.RETRY_PAUSES_S) + 1):
        due_again(session)
        outbox.deliver(session, settings=mailing)
    mail = only(session)
    assert mail.failed_at is not None
    due_again(session)
    assert outbox.deliver(session, settings=mailing) == 0
    assert only(session).attempts == len(outbox.RETRY_PAUSES_S) + 1


@pytest.mark.abuse("A3")
@pytest.mark.parametrize(
    "to", ["a@b.example\r\nBcc: x@y.example", "a@b.example\nX: 1", "a\0@b.example", "nobody"]
)
def test_an_address_that_would_add_headers_is_refused(
    app: Flask, session: Session, to: str
) -> None:
    with app.test_request_context(base_url="http://127.0.0.1:8000"), pytest.raises(ValueError):
        write(session, to=to)


@pytest.mark.abuse("A3")
def test_a_name_cannot_add_a_header_or_markup(
    app: Flask, session: Session, mailing: Settings, mailbox: Mailbox, smtp: None
) -> None:
    with app.test_request_context(base_url="http://127.0.0.1:8000"):
        outbox.send(
            session,
            to="ada@example.com",
            template="people/invitation",
            inviter="Eve\r\nBcc: x@y.example<b>",
            role="owner",
            program="",
            name="",
            url=LINK,
            days=7,
            now=real_now(),
        )
    session.commit()
    outbox.deliver(session, settings=mailing)
    letter = mailbox.letters[0]
    assert letter["Bcc"] is None
    html = next(p for p in letter.iter_parts() if p.get_content_type() == "text/html")
    assert "<b>" not in html.get_content()


def test_a_mail_that_cannot_be_written_down_does_not_stop_the_others(
    app: Flask, session: Session, mailing: Settings, mailbox: Mailbox, smtp: None
) -> None:
    with app.test_request_context(base_url="http://127.0.0.1:8000"):
        write(session, to=".@")  # Python's own parser of addresses fails on it.
        write(session)
    session.commit()
    assert outbox.deliver(session, settings=mailing) == 1
    assert [letter["To"] for letter in mailbox.letters] == ["ada@example.com"]
    broken = session.scalars(sa.select(Mail).where(Mail.recipient == ".@")).one()
    assert (broken.attempts, broken.sent_at) == (1, None)
    assert broken.last_error
    assert broken.next_try_at > real_now()


def test_a_letter_with_a_one_time_link_goes_before_thousands_of_others(
    app: Flask, session: Session, mailing: Settings, mailbox: Mailbox, smtp: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It is good for an hour, and a newsletter to many takes longer than that."""
    monkeypatch.setattr(outbox, "DELIVER_ROWS_MAX", 1)
    with app.test_request_context(base_url="http://127.0.0.1:8000"):
        write(session, one_time=False)
        session.commit()
        write(session, "boris@example.com")
        session.commit()
    assert [outbox.deliver(session, settings=mailing) for _ in range(3)] == [1, 1, 0]
    assert [letter["To"] for letter in mailbox.letters] == ["boris@example.com", "ada@example.com"]


def test_a_full_turn_rings_again(
    app: Flask, session: Session, mailing: Settings, mailbox: Mailbox, smtp: None, redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(outbox, "DELIVER_ROWS_MAX", 1)
    monkeypatch.setitem(app.extensions, "kopeck.settings", mailing)
    with app.test_request_context(base_url="http://127.0.0.1:8000"):
        write(session)
        session.commit()
    redis = Redis.from_url(redis_url)
    jobs = queue.queue_on(redis, queue.GENERAL)
    before = jobs.count
    with app.app_context():
        outbox.deliver_due()
        assert jobs.count == before + 1
        outbox.deliver_due()
        assert jobs.count == before + 1
    redis.close()
    assert len(mailbox.letters) == 1


def test_a_server_that_is_rude_at_the_end_has_the_letter_all_the_same(
    app: Flask, session: Session, mailing: Settings, mailbox: Mailbox, smtp: None
) -> None:
    """Else it would be sent again, and again."""

    async def rude(_server: Any, _session: Any, _envelope: Any) -> str:
        return "421 no time"

    mailbox.handle_QUIT = rude  # type: ignore[attr-defined]
    with app.test_request_context(base_url="http://127.0.0.1:8000"):
        write(session)
    session.commit()
    assert outbox.deliver(session, settings=mailing) == 1
    assert only(session).sent_at is not None
    assert len(mailbox.letters) == 1
