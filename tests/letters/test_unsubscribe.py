"""Letters that come again and again end by one press: headers, link, page, refusals, real SMTP."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
import sqlalchemy as sa
from aiosmtpd.controller import Controller
from flask import Flask
from itsdangerous import URLSafeSerializer
from world import World

from affiliate.core import outbox
from affiliate.core.clock import real_now
from affiliate.core.config import Settings
from affiliate.letters.choices import choices_of
from affiliate.letters.models import LetterChoice
from affiliate.letters.rules import Choice
from affiliate.letters.unsubscribe import SALT, unsubscribe_url
from tracker.letters.catalogue import BY_SLUG, Frame, render

BASE = "http://127.0.0.1:8000"
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
def anna(world: World) -> World:
    world.affiliate("Anna")
    world.app.config["WTF_CSRF_ENABLED"] = True
    return world


def path_for(
    world: World, choice: Choice = Choice.DIGEST, *, settings: Settings | None = None,
    user_id: int | None = None,
) -> str:  # fmt: skip
    url = unsubscribe_url(
        settings or world.settings, user_id=user_id or world.people["Anna"].user_id,
        program_id=world.program.id, choice=choice,
    )  # fmt: skip
    return url.removeprefix(BASE)


def wanted(world: World, choice: Choice = Choice.DIGEST) -> bool:
    world.session.rollback()
    found = choices_of(
        world.session, user_id=world.people["Anna"].user_id, program_id=world.program.id
    )
    return found[choice]


def test_a_mail_programs_one_press_ends_the_letters(anna: World) -> None:
    """It has no cookie and no token of a form, follows no redirect, and may press twice."""
    stranger = anna.app.test_client()
    for _ in range(2):
        answer = stranger.post(path_for(anna), data=ONE_CLICK)
        assert answer.status_code == 200
        assert "Weekly digest" in answer.text and anna.program.name.replace("&", "&amp;") in (
            answer.text
        )
        assert f"/account/letters?program={anna.program.slug}" in answer.text
    assert not wanted(anna)
    assert wanted(anna, Choice.NEWSLETTER), "other letters still come"
    row = anna.session.scalars(sa.select(LetterChoice)).one()
    assert (row.chosen_by, row.wanted) == ("letter", False)


def test_a_scanner_that_opens_the_link_ends_nothing(anna: World) -> None:
    stranger = anna.app.test_client()
    for call in (stranger.get, stranger.head):
        assert call(path_for(anna)).status_code == 200
    assert wanted(anna)
    page = stranger.get(path_for(anna)).text
    assert '<form method="post">' in page
    assert "anna" not in page.lower(), "whoever holds the link is told of nobody"


def test_the_page_says_what_was_ended_and_the_account_turns_it_on_again(anna: World) -> None:
    anna.app.test_client().post(path_for(anna), data=ONE_CLICK)
    anna.app.config["WTF_CSRF_ENABLED"] = False
    client = anna.people["Anna"].client
    client.post("/account/letters", data={"letters": ["digest", "newsletter"]})
    assert wanted(anna)


@pytest.mark.abuse("A23")
def test_another_sites_page_cannot_press_the_button(anna: World) -> None:
    answer = anna.app.test_client().post(path_for(anna), headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert wanted(anna)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_forged_cut_or_foreign_link_is_refused_in_words(anna: World, method: str) -> None:
    good = path_for(anna)
    other = replace(anna.settings, secrets=("another-secret-that-is-long-enough-0123456789",))
    keys = [anna.settings.key("unsubscribe").hex()]
    ours = URLSafeSerializer(keys, salt=SALT)
    user_id, program_id = anna.people["Anna"].user_id, anna.program.id
    tokens = [
        good[:-1], good + "x", path_for(anna, settings=other), "/unsubscribe/x",
        f"/unsubscribe/{URLSafeSerializer(keys, salt='kopeck:disown-payee').dumps([1, 1, 'x'])}",
        *(
            f"/unsubscribe/{ours.dumps(value)}"
            for value in (
                [user_id, program_id, "named"], [user_id, program_id, "money_sent"],
                [user_id, program_id, "batches"], [user_id + 99, program_id, "digest"],
                [user_id, program_id + 99, "digest"], [user_id, program_id], "digest", None, {},
            )
        ),
    ]  # fmt: skip
    for path in tokens:
        answer = anna.app.test_client().open(path, method=method)
        assert answer.status_code == 400, path
        assert "nothing was changed" in answer.text
    anna.session.rollback()
    assert anna.session.scalars(sa.select(LetterChoice)).all() == []


def test_a_link_outlives_a_change_of_the_secret(anna: World) -> None:
    old = replace(anna.settings, secrets=("an-older-secret-that-is-long-enough-0123456789",))
    both = replace(anna.settings, secrets=(*anna.settings.secrets, *old.secrets))
    anna.app.extensions["kopeck.settings"] = both
    assert anna.app.test_client().post(path_for(anna, settings=old)).status_code == 200
    assert not wanted(anna)


class Mailbox:
    """What a real SMTP server received, byte for byte."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self.raw.append(envelope.content)
        return "250 taken"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    yield box, port
    controller.stop()


def deliver(world: World, mailbox: tuple[Mailbox, int], **more: Any) -> tuple[bytes, EmailMessage]:
    """Send the sample of a digest over real SMTP."""
    box, port = mailbox
    world.session.execute(sa.delete(outbox.Mail))  # Those of how Anna came in.
    with world.app.app_context():
        frame = Frame(world.program, world.settings, world.now)
        entry = BY_SLUG["letters-digest"]
        values = {"name": "Anna", "program": world.program, **entry.sample(frame), **more}
        outbox.send(
            world.session, to="anna@example.com", template=entry.template, now=real_now(),
            **values,
        )  # fmt: skip
    world.session.commit()
    mailing = replace(world.settings, smtp_url=f"smtp://127.0.0.1:{port}")
    assert outbox.deliver(world.session, settings=mailing) == 1
    letter = message_from_bytes(box.raw[-1], policy=policy.default)
    assert isinstance(letter, EmailMessage)
    return box.raw[-1], letter


def test_the_headers_arrive_whole_however_long_the_address_is(
    anna: World, mailbox: tuple[Mailbox, int]
) -> None:
    long = replace(anna.settings, public_url="https://" + "partners." * 20 + "example")
    url = unsubscribe_url(long, user_id=17, program_id=anna.program.id, choice=Choice.NEWSLETTER)
    assert len(url) > 200
    raw, letter = deliver(anna, mailbox, unsubscribe_url=url)
    assert f"\r\nList-Unsubscribe: <{url}>\r\n".encode() in raw
    assert letter["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    bodies = {part.get_content_type(): part.get_content() for part in letter.iter_parts()}
    assert url in bodies["text/plain"] and url in bodies["text/html"]


def test_other_letters_have_no_such_header(anna: World, mailbox: tuple[Mailbox, int]) -> None:
    raw, letter = deliver(anna, mailbox)
    assert letter["List-Unsubscribe"] is None
    assert b"List-Unsubscribe" not in raw


@pytest.mark.abuse("A3")
@pytest.mark.parametrize(
    "url", ["https://x.example/\r\nBcc: a@b.example", "https://x.example/a b", "https://ä.example",
            "https://x.example/>,<mailto:a@b.example"],
)  # fmt: skip
def test_an_address_that_would_break_the_header_is_refused(anna: World, url: str) -> None:
    with anna.app.app_context(), pytest.raises(ValueError, match="header"):
        outbox.send(
            anna.session, to="anna@example.com", template="application_approved", now=anna.now,
            unsubscribe_url=url, name="Anna", program=anna.program,
        )  # fmt: skip


def test_the_sample_shows_the_footer(anna: World, app: Flask) -> None:
    with app.app_context():
        frame = Frame(anna.program, anna.settings, anna.now)
        shown = render(BY_SLUG["letters-digest"], frame, language="en")
    assert "End these letters" in shown.text and "End these letters" in shown.html
