"""The link in a letter that ends letters of its kind: one press, no sign-in (RFC 8058).

It is signed and has no end: a letter may be read years later, and must keep its promise. It
can do one thing: turn one kind of letter of one program off for one person.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from itsdangerous import BadSignature, URLSafeSerializer
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.errors import Refusal
from affiliate.letters.choices import ChosenBy, choices_of, choose
from affiliate.letters.rules import ONE_CLICK, Choice
from affiliate.people.models import User
from affiliate.programs.models import Program

SALT: Final = "kopeck:unsubscribe"


class UnsubscribeInvalid(Refusal):
    code = "unsubscribe_link_invalid"
    status = 400
    title = (
        "This link is not whole or not one of ours, and nothing was changed. Sign in and choose "
        "under Letters which ones you get."
    )


@dataclass(frozen=True, slots=True)
class Subscription:
    """Which letters of which program to whom."""

    user: User
    program: Program
    choice: Choice


def unsubscribe_url(settings: Settings, *, user_id: int, program_id: int, choice: Choice) -> str:
    """The whole address that stands in the letter and in its header."""
    token = _serializer(settings).dumps([user_id, program_id, choice.value])
    return f"{settings.public_url}/unsubscribe/{token}"


def read(session: Session, settings: Settings, token: str) -> Subscription:
    """What a link is about; UnsubscribeInvalid for what we have not signed."""
    try:
        user_id, program_id, word = _serializer(settings).loads(token)
        choice = Choice(word)
    except (BadSignature, TypeError, ValueError):
        raise UnsubscribeInvalid from None
    user = session.scalar(sa.select(User).where(User.id == user_id))
    program = session.scalar(sa.select(Program).where(Program.id == program_id))
    if user is None or program is None or choice not in ONE_CLICK:
        raise UnsubscribeInvalid
    return Subscription(user, program, choice)


def turn_off(session: Session, *, subscription: Subscription, now: datetime) -> bool:
    """End these letters; False where they were off already. Twice is once."""
    user_id, program_id = subscription.user.id, subscription.program.id
    known = choices_of(session, user_id=user_id, program_id=program_id)
    choose(
        session, user_id=user_id, program_id=program_id, wanted={subscription.choice: False},
        by=ChosenBy.LETTER, now=now,
    )  # fmt: skip
    return known[subscription.choice]


def _serializer(settings: Settings) -> URLSafeSerializer:
    keys = [key.hex() for key in reversed(settings.keys("unsubscribe"))]
    return URLSafeSerializer(keys, salt=SALT)
