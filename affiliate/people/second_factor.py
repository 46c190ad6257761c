"""What a person proves beside the password: codes of an app, passkeys, recovery codes.

Required of finance and owners, offered to everybody (docs/decisions/0018-approval.md). The
passkeys' own protocol is in affiliate.people.passkeys, the app's in affiliate.people.totp.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import audit, clock, outbox
from affiliate.core.config import Settings
from affiliate.core.errors import Conflict, NotFound, Refusal, TooMany
from affiliate.people import mail_links, sessions, totp
from affiliate.people.models import Passkey, RecoveryCode, SecondFactor, User

FAILURES_MAX = 5
"""Wrong codes of one account that are looked at in one window."""
FAILURES_WINDOW_S = 15 * 60
RECOVERY_CODES = 10
RECOVERY_CHARS = 12
TEXT_CHARS_MAX = 40


class Told(StrEnum):
    """What the owner of the address is told by mail; one sentence each in the template."""

    TOTP_ADDED = "totp_added"
    TOTP_REMOVED = "totp_removed"
    PASSKEY_ADDED = "passkey_added"
    PASSKEY_REMOVED = "passkey_removed"
    CODES_RENEWED = "codes_renewed"
    CODE_USED = "code_used"
    RESET = "reset"
    GUESSED = "guessed"


class CodeWrong(Refusal):
    code = "code_wrong"
    title = "This code is not right, or was used already. Wait for the next one."


class TooManyCodes(TooMany):
    code = "too_many_codes"
    title = "Too many wrong codes. Use a passkey, or try again in a quarter of an hour."


class AppKnownAlready(Conflict):
    code = "app_known_already"
    title = "An app gives your codes already; remove it first to use another one."


@dataclass(frozen=True)
class Factors:
    """What a person has."""

    totp_since: datetime | None
    passkeys: Sequence[Passkey]
    recovery_left: int

    @property
    def enrolled(self) -> bool:
        """Recovery codes alone are no factor: they stand in for one."""
        return self.totp_since is not None or bool(self.passkeys)


def factors_of(session: Session, *, user_id: int) -> Factors:
    """The person's second factors as they are now."""
    since = session.scalar(
        sa.select(SecondFactor.totp_since).where(SecondFactor.user_id == user_id)
    )
    keys = session.scalars(
        sa.select(Passkey)
        .where(Passkey.user_id == user_id)
        .order_by(Passkey.id)
        .execution_options(populate_existing=True)
    ).all()
    left = session.scalar(
        sa.select(sa.func.count())
        .select_from(RecoveryCode)
        .where(RecoveryCode.user_id == user_id, RecoveryCode.used_at.is_(None))
    )
    return Factors(since, keys, left or 0)


def ways_of(session: Session, *, user_id: int) -> tuple[bool, bool]:
    """Whether the person can be asked for a code of an app, and for a passkey; one query."""
    app = sa.exists().where(SecondFactor.user_id == user_id, SecondFactor.totp_since.is_not(None))
    key = sa.exists().where(Passkey.user_id == user_id)
    by_app, by_passkey = session.execute(sa.select(app, key)).one()
    return by_app, by_passkey


def begin_app(session: Session, *, user_id: int) -> None:
    """Make the secret that an app is to be given; it counts once a code of it was typed.

    Beginning again makes another secret. Raises AppKnownAlready.
    """
    row = _lock(session, user_id)
    if row.totp_since is not None:
        raise AppKnownAlready
    row.totp_secret, row.totp_counter = totp.new_secret(), None
    session.flush()


def app_being_set_up(session: Session, *, user_id: int) -> str | None:
    """The secret that waits for its first code; None when none does."""
    return session.scalar(
        sa.select(SecondFactor.totp_secret).where(
            SecondFactor.user_id == user_id, SecondFactor.totp_since.is_(None)
        )
    )


def confirm_app(
    session: Session, *, user_id: int, text: str, now: datetime, real_now: datetime
) -> list[str]:
    """Take the app's first code; the recovery codes to show, once, where there are none yet.

    Raises NotFound when no app is being set up, CodeWrong (the caller commits the failed try)
    and TooManyCodes.
    """
    row = _lock(session, user_id)
    if row.totp_since is not None or row.totp_secret is None:
        raise NotFound("Begin again: no app is being set up.")
    _refuse_guessing(row, real_now)
    if not _is_apps(row, text, real_now):
        _failed(session, row, now=now, real_now=real_now)
        raise CodeWrong
    row.totp_since, row.failures, row.failing_since = now, 0, None
    session.flush()
    tell(session, user_id=user_id, what=Told.TOTP_ADDED, action="second_factor.add", now=now)
    return first_codes(session, user_id=user_id, now=now)


def remove_app(session: Session, *, user_id: int, now: datetime) -> None:
    """The app's codes count no longer. NotFound without one. The edge asks for a fresh factor."""
    row = _lock(session, user_id)
    if row.totp_since is None:
        raise NotFound
    row.totp_secret = row.totp_since = row.totp_counter = None
    session.flush()
    after_removal(session, user_id=user_id)
    tell(session, user_id=user_id, what=Told.TOTP_REMOVED, action="second_factor.remove", now=now)


def after_removal(session: Session, *, user_id: int) -> None:
    """Without a factor there is nothing that recovery codes stand in for."""
    if factors_of(session, user_id=user_id).enrolled:
        return
    session.execute(sa.delete(RecoveryCode).where(RecoveryCode.user_id == user_id))
    sessions.forget_factor(session, user_id=user_id)


def prove(session: Session, *, user_id: int, text: str, now: datetime, real_now: datetime) -> None:
    """Take a code of the app, or a recovery code, once.

    Raises CodeWrong and TooManyCodes. The caller commits after CodeWrong too, so that the try
    counts: the row's lock makes simultaneous guesses come one after the other.
    """
    row = _lock(session, user_id)
    _refuse_guessing(row, real_now)
    by_app = row.totp_since is not None and _is_apps(row, text, real_now)
    if not by_app and not _use_recovery_code(session, user_id, text, now=now, real_now=real_now):
        _failed(session, row, now=now, real_now=real_now)
        raise CodeWrong
    row.failures, row.failing_since = 0, None
    session.flush()


def renew_codes(session: Session, *, user_id: int, now: datetime) -> list[str]:
    """Ten new recovery codes; those of before are void. NotFound without a factor."""
    if not factors_of(session, user_id=user_id).enrolled:
        raise NotFound
    made = _make_codes(session, user_id, now)
    tell(session, user_id=user_id, what=Told.CODES_RENEWED, action="second_factor.codes", now=now)
    return made


def first_codes(session: Session, *, user_id: int, now: datetime) -> list[str]:
    """Recovery codes with the first factor; none where there are some already."""
    if factors_of(session, user_id=user_id).recovery_left:
        return []
    return _make_codes(session, user_id, now)


def reset(session: Session, *, user_id: int, by: int | None, now: datetime) -> None:
    """Take every factor away, for somebody who lost them; all of their sign-ins end."""
    row = _lock(session, user_id)
    row.totp_secret = row.totp_since = row.totp_counter = row.failing_since = None
    row.failures = 0
    for table in (Passkey, RecoveryCode):
        session.execute(sa.delete(table).where(table.user_id == user_id))
    session.flush()
    sessions.revoke_all(session, user_id=user_id, now=clock.real_now())
    what, action, actor = Told.RESET, "second_factor.reset", audit.by_user(by)
    tell(session, user_id=user_id, what=what, action=action, actor=actor, now=now)


def tell(
    session: Session, *, user_id: int, what: Told, action: str, now: datetime, actor: str = ""
) -> None:
    """The notice by mail and the line in the audit log that every change leaves.

    `actor` is who did it, where it was not the person themselves.
    """
    user = session.get_one(User, user_id)
    outbox.send(
        session,
        to=user.email,
        template="people/second_factor",
        locale=user.locale,
        name=user.name,
        what=what.value,
        url=mail_links.address("/profile/second-factor"),
        reset_url=mail_links.address("/forgot-password"),
        now=now,
    )
    audit.record(
        session,
        actor=actor or audit.by_user(user_id),
        action=action,
        subject=f"user:{user_id}",
        new={"what": what.value},
        now=now,
    )


def _refuse_guessing(row: SecondFactor, real_now: datetime) -> None:
    if row.failing_since is None or row.failures < FAILURES_MAX:
        return
    over = row.failing_since + timedelta(seconds=FAILURES_WINDOW_S)
    if real_now < over:
        raise TooManyCodes(retry_after_s=max(1, int((over - real_now).total_seconds())))
    row.failures, row.failing_since = 0, None


def _failed(session: Session, row: SecondFactor, *, now: datetime, real_now: datetime) -> None:
    window = timedelta(seconds=FAILURES_WINDOW_S)
    if row.failing_since is None or real_now - row.failing_since > window:
        row.failures, row.failing_since = 0, real_now
    row.failures += 1
    session.flush()
    if row.failures == FAILURES_MAX:
        what, action = Told.GUESSED, "second_factor.guessed"
        tell(session, user_id=row.user_id, what=what, action=action, now=now)


def _is_apps(row: SecondFactor, text: str, real_now: datetime) -> bool:
    code = text.replace(" ", "")
    if row.totp_secret is None or not (
        len(code) == totp.DIGITS and code.isascii() and code.isdigit()
    ):
        return False
    found = totp.match(row.totp_secret, code, after=row.totp_counter, at=real_now)
    if found is None:
        return False
    row.totp_counter, row.totp_secret = found.counter, found.secret
    return True


def _use_recovery_code(
    session: Session, user_id: int, text: str, *, now: datetime, real_now: datetime
) -> bool:
    code = _plain(text)
    if len(code) != RECOVERY_CHARS or not code.isascii():
        return False
    used = session.scalar(
        sa.update(RecoveryCode)
        .where(
            RecoveryCode.user_id == user_id,
            RecoveryCode.code_hash.in_(_hashes(user_id, code)),
            RecoveryCode.used_at.is_(None),
        )
        .values(used_at=real_now)
        .returning(RecoveryCode.id)
        .execution_options(synchronize_session=False)
    )
    if used is None:
        return False
    what, action = Told.CODE_USED, "second_factor.recover"
    tell(session, user_id=user_id, what=what, action=action, now=now)
    return True


def _make_codes(session: Session, user_id: int, now: datetime) -> list[str]:
    session.execute(sa.delete(RecoveryCode).where(RecoveryCode.user_id == user_id))
    made = totp.recovery_codes(RECOVERY_CODES)
    session.execute(
        sa.insert(RecoveryCode).values(
            [
                {"user_id": user_id, "code_hash": hashes[0], "created_at": now}
                for hashes in (_hashes(user_id, _plain(code)) for code in made)
            ]
        )
    )
    return made


def _plain(text: str) -> str:
    return text.replace("-", "").replace(" ", "").lower()


def _hashes(user_id: int, code: str) -> list[bytes]:
    """Under the secret of today first, then under those that still verify."""
    settings: Settings = current_app.extensions["kopeck.settings"]
    text = f"{user_id}:{code}".encode()
    return [hmac.new(key, text, hashlib.sha256).digest() for key in settings.keys("recovery-code")]


def _lock(session: Session, user_id: int) -> SecondFactor:
    session.execute(insert(SecondFactor).values(user_id=user_id).on_conflict_do_nothing())
    return session.scalars(
        sa.select(SecondFactor)
        .where(SecondFactor.user_id == user_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
