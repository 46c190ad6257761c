"""Connect a shop system: its source, its secrets, its mapping; each change is in the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit, ids
from affiliate.core.config import Settings
from affiliate.core.errors import Invalid, NotFound, Phrase
from tracker.sources import generic, secrets
from tracker.sources.models import Source
from tracker.sources.rules import Kind
from tracker.sources.signatures import Scheme

PREFIX: Final = "src"
ROTATION_DAYS: Final = 7
"""How long the secret before still counts after a new one was set."""
NAME_CHARS_MAX: Final = 100
SECRET_CHARS_MIN, SECRET_CHARS_MAX = 16, 500
HEADER_CHARS_MAX: Final = 100
SOURCES_MAX: Final = 50
"""Of one program."""
COUPONS_MAX: Final = 500
_OURS: Final = frozenset({Kind.WOOCOMMERCE, Kind.GENERIC})
"""Systems that take a secret that was made here."""


def public(source_id: int) -> str:
    """The public id of a source, which stands in its address."""
    return ids.public_id(PREFIX, source_id)


def source_of(session: Session, text: str) -> Source:
    """The source of a public id. Raises NotFound."""
    found = session.get(Source, ids.row_id(PREFIX, text))
    if found is None:
        raise NotFound
    return found


def add_source(
    session: Session,
    *,
    program_id: int,
    kind: Kind,
    name: str,
    secret: str,
    by: str,
    settings: Settings,
    now: datetime,
    scheme: Scheme = Scheme.HMAC_HEX,
    header: str = "",
) -> tuple[Source, str | None]:
    """Connect a system. Gives the secret back where it was made up here: it is shown once.

    Shopify and Stripe make their own once they know the address: theirs may follow by
    `set_secret`, and until then nothing is taken. Raises Invalid.
    """
    name = name.strip()
    if not 0 < len(name) <= NAME_CHARS_MAX:
        raise Invalid.field("name", "required", Phrase("Give it a name of up to 100 characters."))
    _check_room(session, program_id)
    plain, made = _secret(kind, secret, scheme) if secret.strip() or kind in _OURS else ("", None)
    is_generic = kind is Kind.GENERIC
    source = Source(
        program_id=program_id,
        kind=kind.value,
        name=name,
        secret=secrets.closed(plain, settings) if plain else None,
        scheme=scheme.value if is_generic else "",
        header=_header(header, scheme) if is_generic else "",
        mapping=generic.STARTING if is_generic else {},
        options={},
        created_at=now,
        created_by=by,
    )
    session.add(source)
    session.flush()
    _record(session, source, "source.add", by, now, new={"kind": kind.value, "name": name})
    return source, made


def set_secret(
    session: Session,
    *,
    source_id: int,
    secret: str,
    by: str,
    settings: Settings,
    now: datetime,
    real_now: datetime,
) -> str | None:
    """Set another secret; the one before counts for ROTATION_DAYS more. As `add_source`."""
    source = _locked(session, source_id)
    plain, made = _secret(Kind(source.kind), secret, Scheme(source.scheme or Scheme.HMAC_HEX))
    if source.secret is not None:
        source.previous_secret = source.secret
        source.previous_until = real_now + timedelta(days=ROTATION_DAYS)
    source.secret = secrets.closed(plain, settings)
    _record(session, source, "source.set_secret", by, now)
    return made


def end_previous_secret(session: Session, *, source_id: int, by: str, now: datetime) -> None:
    """The secret before counts no longer, at once."""
    source = _locked(session, source_id)
    source.previous_secret = source.previous_until = None
    _record(session, source, "source.end_previous_secret", by, now)


def set_on(session: Session, *, source_id: int, is_on: bool, by: str, now: datetime) -> None:
    """Turn the source's address on or off."""
    source = _locked(session, source_id)
    source.is_on = is_on
    _record(session, source, "source.turn_on" if is_on else "source.turn_off", by, now)


def set_options(
    session: Session,
    *,
    source_id: int,
    takes_tests: bool,
    coupons: Mapping[str, str],
    by: str,
    now: datetime,
) -> None:
    """Say whether test orders count, and which code is which. Raises Invalid."""
    if len(coupons) > COUPONS_MAX or any(
        len(each) > 100 for pair in coupons.items() for each in pair
    ):
        raise Invalid.field("coupons", "too_many", Phrase("These are too many, or too long."))
    source = _locked(session, source_id)
    before, source.options = source.options, {"takes_tests": takes_tests, "coupons": dict(coupons)}
    _record(session, source, "source.set_options", by, now, old=before, new=source.options)


def set_mapping(
    session: Session,
    *,
    source_id: int,
    document: Mapping[str, Any],
    scheme: Scheme,
    header: str,
    by: str,
    now: datetime,
) -> None:
    """Say what stands where in a generic source's bodies, and how they are signed.

    Raises Invalid, whose fields are those of the mapping, and NotFound for other kinds.
    """
    source = _locked(session, source_id)
    if source.kind != Kind.GENERIC:
        raise NotFound
    generic.mapping_of(document)
    before = source.mapping
    source.mapping, source.scheme = dict(document), scheme.value
    source.header = _header(header, scheme)
    _record(session, source, "source.set_mapping", by, now, old=before, new=source.mapping)


def secrets_of(source: Source, settings: Settings, real_now: datetime) -> list[str]:
    """The secrets that count now, the current one first."""
    stored = [source.secret]
    if source.previous_secret and source.previous_until and real_now < source.previous_until:
        stored.append(source.previous_secret)
    found = (secrets.opened(each, settings) for each in stored if each)
    return [each for each in found if each]


def _secret(kind: Kind, given: str, scheme: Scheme) -> tuple[str, str | None]:
    """The secret, and once more where it was made up here."""
    given = given.strip()
    if not given and kind in _OURS:
        made = secrets.made_up(standard=kind is Kind.GENERIC and scheme is Scheme.STANDARD)
        return made, made
    if not SECRET_CHARS_MIN <= len(given) <= SECRET_CHARS_MAX or not given.isascii():
        message = Phrase("Paste the secret as the system shows it; it has at least 16 characters.")
        raise Invalid.field("secret", "not_a_secret", message)
    return given, None


def _header(header: str, scheme: Scheme) -> str:
    header = header.strip()
    if scheme is Scheme.STANDARD:
        return ""
    plain = header.replace("-", "")
    if not (plain.isascii() and plain.isalnum() and len(header) <= HEADER_CHARS_MAX):
        message = Phrase("Name the header that holds the signature: X-Signature, say.")
        raise Invalid.field("header", "not_a_header", message)
    return header


def _check_room(session: Session, program_id: int) -> None:
    count = sa.select(sa.func.count()).select_from(Source).where(Source.program_id == program_id)
    if (session.scalar(count) or 0) >= SOURCES_MAX:
        raise Invalid.field("name", "too_many", Phrase("A program has at most 50 of them."))


def _locked(session: Session, source_id: int) -> Source:
    return session.get_one(Source, source_id, with_for_update=True, populate_existing=True)


def _record(
    session: Session,
    source: Source,
    action: str,
    by: str,
    now: datetime,
    *,
    old: dict[str, Any] | None = None,
    new: dict[str, Any] | None = None,
) -> None:
    session.flush()
    audit.record(
        session, actor=by, action=action, subject=f"source:{source.id}", scope=source.program_id,
        old=old, new=new, now=now,
    )  # fmt: skip
