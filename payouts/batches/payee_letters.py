"""The letter about a named account, and its link by which somebody says "this was not me".

It goes to the address on file and to those that it replaced lately. The link is not bound to
the password or the address, as links of sign-in are: whoever took the account over changes
these, and the link must outlive that. It can do one thing: stop payouts to one affiliate.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from itsdangerous import BadSignature, URLSafeTimedSerializer
from sqlalchemy.orm import Session

from affiliate.core import outbox
from affiliate.core.config import Settings
from affiliate.people import addresses
from affiliate.people.mail_links import LinkInvalid
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.programs.models import Program
from payouts.batches.models import PayeeAccount
from payouts.rails.registry import rails

LINK_DAYS = 30
SALT = "kopeck:disown-payee"


def tell_of_account(
    session: Session, *, payee_id: int, program: Program, settings: Settings, now: datetime
) -> int:
    """Write the letter, in the caller's transaction; to how many addresses."""
    payee = session.get_one(PayeeAccount, payee_id)
    destination = known_by(settings, payee)
    return _tell(session, "payee_changed", payee, program, settings, now, destination=destination)


def tell_of_bank(
    session: Session, *, payee_id: int, bank: str | None, settings: Settings, now: datetime
) -> int:
    """The same where only the bank account behind it is another; `bank`: what it is known by.

    It names the first program that pays the affiliate this way.
    """
    payee = session.get_one(PayeeAccount, payee_id)
    program = session.scalars(
        sa.select(Program)
        .join(Enrollment, Enrollment.program_id == Program.id)
        .where(Enrollment.affiliate_id == payee.affiliate_id)
        .order_by(Program.rail != payee.rail, Program.id)
        .limit(1)
    ).one()
    return _tell(session, "payee_bank_changed", payee, program, settings, now, bank=bank)


def _tell(
    session: Session, template: str, payee: PayeeAccount, program: Program, settings: Settings,
    now: datetime, **words: Any,
) -> int:  # fmt: skip
    affiliate = session.get_one(Affiliate, payee.affiliate_id)
    user = session.get_one(User, affiliate.user_id)
    found = [user.email, *addresses.former(session, user_id=user.id, now=now)]
    for address in found:
        outbox.send(
            session,
            to=address,
            template=template,
            locale=user.locale,
            one_time=True,
            scope=program.id,
            name=affiliate.name,
            program=program,
            at=now,
            pays_from=payee.pays_from,
            former=address != user.email,
            stop_url=f"{settings.public_url}/account/disowned/{link_token(settings, payee.id)}",
            now=now,
            **words,
        )
    return len(found)


def known_by(settings: Settings, payee: PayeeAccount) -> str:
    """What an account is known by, and no more; empty where its rail is one of the past."""
    found = rails(settings).get(payee.rail)
    return found.account_masked(payee.destination) if found is not None else ""


def link_token(settings: Settings, payee_id: int) -> str:
    """What the link of the letter about this account carries."""
    return str(_serializer(settings).dumps(payee_id))


def payee_of_link(session: Session, settings: Settings, token: str) -> PayeeAccount:
    """The account that a letter's link is about; LinkInvalid when it is none of ours or old."""
    try:
        payee_id = _serializer(settings).loads(token, max_age=LINK_DAYS * 86_400)
    except (BadSignature, TypeError, ValueError):
        raise LinkInvalid from None
    if not isinstance(payee_id, int):
        raise LinkInvalid
    payee = session.scalars(
        sa.select(PayeeAccount)
        .where(PayeeAccount.id == payee_id)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if payee is None:
        raise LinkInvalid
    return payee


def _serializer(settings: Settings) -> URLSafeTimedSerializer:
    keys = [key.hex() for key in reversed(settings.keys("disown-payee"))]
    return URLSafeTimedSerializer(keys, salt=SALT)
