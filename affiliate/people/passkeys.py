"""Passkeys (WebAuthn level 2): registered, and asked to sign as a second factor.

The challenge stands in the session's row and is taken away by the first answer. Browsers know
passkeys by host name, never by an IP address, and over https (or on localhost) alone.
"""

from __future__ import annotations

import ipaddress
import json
from datetime import datetime
from urllib.parse import urlsplit

import sqlalchemy as sa
import webauthn
from flask import current_app
from sqlalchemy.orm import Session
from webauthn.helpers import exceptions, parse_authentication_credential_json
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from affiliate.core.config import Settings
from affiliate.core.errors import Conflict, Invalid, NotFound, Refusal
from affiliate.people import second_factor, sessions, users
from affiliate.people.models import Passkey, User
from affiliate.people.second_factor import Told

ANSWER_CHARS_MAX = 20_000
NAME_CHARS_MAX = 60
PASSKEYS_MAX = 10
# What the library raises for an answer that no browser made, beside its own exceptions.
_UNREADABLE = (
    exceptions.WebAuthnException,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    RecursionError,
)


class PasskeyWrong(Refusal):
    code = "passkey_wrong"
    title = "The passkey's answer does not count: it came too late, or is not of this account."


class TooManyPasskeys(Conflict):
    code = "too_many_passkeys"
    title = "Ten passkeys are enough; remove one first."


def possible() -> bool:
    """Whether browsers would make passkeys for where this installation answers."""
    parts = urlsplit(_settings().public_url)
    host = parts.hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return parts.scheme == "https" or host == "localhost" or host.endswith(".localhost")
    return False


def creation_options(
    session: Session, *, user: User, session_id: int, real_now: datetime
) -> dict[str, object]:
    """What `navigator.credentials.create()` is given, with a new challenge."""
    known = second_factor.factors_of(session, user_id=user.id).passkeys
    options = webauthn.generate_registration_options(
        rp_id=_rp_id(),
        rp_name="Kopeck",
        user_id=f"kopeck-user-{user.id}".encode(),
        user_name=user.email,
        user_display_name=user.name or user.email,
        exclude_credentials=[PublicKeyCredentialDescriptor(id=key.credential_id) for key in known],
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.DISCOURAGED,
            user_verification=UserVerificationRequirement.PREFERRED,
        ),
    )
    sessions.set_challenge(
        session, session_id=session_id, challenge=options.challenge, now=real_now
    )
    told: dict[str, object] = json.loads(webauthn.options_to_json(options))
    return told


def request_options(
    session: Session, *, user_id: int, session_id: int, real_now: datetime
) -> dict[str, object]:
    """What `navigator.credentials.get()` is given. NotFound for who has no passkey."""
    known = second_factor.factors_of(session, user_id=user_id).passkeys
    if not known:
        raise NotFound
    options = webauthn.generate_authentication_options(
        rp_id=_rp_id(),
        allow_credentials=[PublicKeyCredentialDescriptor(id=key.credential_id) for key in known],
        user_verification=UserVerificationRequirement.PREFERRED,
    )
    sessions.set_challenge(
        session, session_id=session_id, challenge=options.challenge, now=real_now
    )
    told: dict[str, object] = json.loads(webauthn.options_to_json(options))
    return told


def add(
    session: Session,
    *,
    user_id: int,
    session_id: int,
    answer: str,
    name: str,
    now: datetime,
    real_now: datetime,
) -> list[str]:
    """Keep what the browser made; recovery codes to show once, with the first factor.

    Raises Invalid for an empty name, TooManyPasskeys, PasskeyWrong.
    """
    name = users.clean_name(name)[:NAME_CHARS_MAX]
    if not name:
        raise Invalid.field("name", "empty", "Name it, so that you recognise it later.")
    challenge = sessions.take_challenge(session, session_id=session_id, now=real_now)
    if len(second_factor.factors_of(session, user_id=user_id).passkeys) >= PASSKEYS_MAX:
        raise TooManyPasskeys
    if challenge is None or len(answer) > ANSWER_CHARS_MAX:
        raise PasskeyWrong
    try:
        made = webauthn.verify_registration_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=_rp_id(),
            expected_origin=_settings().public_url,
        )
    except _UNREADABLE:
        raise PasskeyWrong from None
    taken = session.scalar(sa.select(Passkey.id).where(Passkey.credential_id == made.credential_id))
    if taken is not None:
        raise PasskeyWrong
    session.add(
        Passkey(
            user_id=user_id,
            credential_id=made.credential_id,
            public_key=made.credential_public_key,
            sign_count=made.sign_count,
            name=name,
            created_at=now,
        )
    )
    session.flush()
    what, action = Told.PASSKEY_ADDED, "second_factor.add"
    second_factor.tell(session, user_id=user_id, what=what, action=action, now=now)
    return second_factor.first_codes(session, user_id=user_id, now=now)


def prove(
    session: Session, *, user_id: int, session_id: int, answer: str, real_now: datetime
) -> None:
    """Check what a passkey of the person signed. PasskeyWrong; the challenge is used up then too.

    A sign count that goes back is a copied key, and refused by the library.
    """
    challenge = sessions.take_challenge(session, session_id=session_id, now=real_now)
    if challenge is None or len(answer) > ANSWER_CHARS_MAX:
        raise PasskeyWrong
    try:
        credential = parse_authentication_credential_json(answer)
    except _UNREADABLE:
        raise PasskeyWrong from None
    key = session.scalars(
        sa.select(Passkey)
        .where(Passkey.user_id == user_id, Passkey.credential_id == credential.raw_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if key is None:
        raise PasskeyWrong
    try:
        proved = webauthn.verify_authentication_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=_rp_id(),
            expected_origin=_settings().public_url,
            credential_public_key=key.public_key,
            credential_current_sign_count=key.sign_count,
        )
    except _UNREADABLE:
        raise PasskeyWrong from None
    key.sign_count, key.used_at = proved.new_sign_count, real_now
    session.flush()


def remove(session: Session, *, user_id: int, passkey_id: int, now: datetime) -> None:
    """Forget one of the person's own passkeys. NotFound for anybody else's."""
    gone = session.scalar(
        sa.delete(Passkey)
        .where(Passkey.id == passkey_id, Passkey.user_id == user_id)
        .returning(Passkey.id)
    )
    if gone is None:
        raise NotFound
    second_factor.after_removal(session, user_id=user_id)
    what, action = Told.PASSKEY_REMOVED, "second_factor.remove"
    second_factor.tell(session, user_id=user_id, what=what, action=action, now=now)


def _rp_id() -> str:
    return urlsplit(_settings().public_url).hostname or ""


def _settings() -> Settings:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings
