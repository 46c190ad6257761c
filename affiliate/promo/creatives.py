"""Verbs of promo materials: add one, change its wording, retire it, bring it back."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, FieldError, Invalid, NotFound, Phrase
from affiliate.core.ids import public_id, row_id
from affiliate.links.links import checked_destination
from affiliate.programs.models import Program
from affiliate.promo.models import Creative, CreativePicture
from affiliate.promo.pictures import Picture, read_picture
from affiliate.promo.rules import ADDRESS_CHARS_MAX, FIELDS, Kind, Wording, problems, tidy

PREFIX: Final = "crt"
CREATIVES_PER_PROGRAM_MAX: Final = 1_000


class TooManyCreatives(Conflict):
    code = "too_many_creatives"
    title = Phrase(
        "A program has at most %(most)s promo materials, retired ones included.",
        most=CREATIVES_PER_PROGRAM_MAX,
    )


def add_creative(
    session: Session,
    *,
    program_id: int,
    kind: Kind,
    wording: Wording,
    picture: bytes | None = None,
    by: int | None,
    now: datetime,
) -> Creative:
    """Offer a material to the program's affiliates; `picture` is the uploaded file of a banner
    or logo. Raises NotFound, TooManyCreatives, or Invalid with every field that is wrong."""
    drawn, errors = _drawn(kind, picture)  # Takes a while, and nobody waits for it.
    program = require_room(session, program_id)
    values, of_wording = _checked(program, kind, wording)
    if errors or of_wording:
        raise _not_acceptable([*of_wording, *errors])
    made = Creative(program_id=program_id, kind=kind.value, created_at=now, created_by=by, **values)
    session.add(made)
    session.flush()
    if drawn is not None:
        session.add(
            CreativePicture(
                creative_id=made.id, content=drawn.content, extension=drawn.extension,
                width=drawn.width, height=drawn.height, byte_count=len(drawn.content),
            )
        )  # fmt: skip
        session.flush()
    said = {name: value for name, value in values.items() if value not in ("", None)}
    _record(session, made, "add", by=by, now=now, new={"kind": kind.value, **_told(said)})
    return made


def require_room(session: Session, program_id: int) -> Program:
    """The program, held until the next material is written. Raises NotFound, TooManyCreatives.

    What affiliates made for themselves does not count here.
    """
    # NO KEY UPDATE makes the count true; orders, which refer to the program, do not wait.
    program = session.get(
        Program, program_id, with_for_update={"key_share": True}, populate_existing=True
    )
    if program is None:
        raise NotFound
    count = sa.select(sa.func.count()).where(
        Creative.program_id == program_id, Creative.enrollment_id.is_(None)
    )
    if (session.scalar(count) or 0) >= CREATIVES_PER_PROGRAM_MAX:
        raise TooManyCreatives
    return program


def change_creative(
    session: Session, *, creative_id: int, wording: Wording, by: int | None, now: datetime
) -> Creative:
    """Say it anew: on pages from now on, in what was copied before not at all. The kind and the
    picture stay: another picture is another material. Raises NotFound and Invalid."""
    row = _locked(session, creative_id)
    program = session.get_one(Program, row.program_id)
    values, errors = _checked(program, Kind(row.kind), wording)
    if errors:
        raise _not_acceptable(errors)
    before = {name: getattr(row, name) for name in values}
    changed = {name for name in values if values[name] != before[name]}
    if changed:
        for name in changed:
            setattr(row, name, values[name])
        session.flush()
        _record(
            session, row, "change", by=by, now=now,
            old=_told({name: before[name] for name in changed}),
            new=_told({name: values[name] for name in changed}),
        )  # fmt: skip
    return row


def retire_creative(session: Session, *, creative_id: int, by: int | None, now: datetime) -> None:
    """Offer it no more; pictures and links that stand on sites go on working. Twice is once."""
    row = _locked(session, creative_id)
    if row.retired_at is None:
        row.retired_at = now
        session.flush()
        _record(session, row, "retire", by=by, now=now)


def bring_back(session: Session, *, creative_id: int, by: int | None, now: datetime) -> None:
    """Offer a retired one again. Twice is once."""
    row = _locked(session, creative_id)
    if row.retired_at is not None:
        row.retired_at = None
        session.flush()
        _record(session, row, "bring_back", by=by, now=now)


def creative_code(creative_id: int) -> str:
    """Its public id: in addresses, and in `cr` of a click."""
    return public_id(PREFIX, creative_id)


def creative_row(code: str) -> int:
    """The number behind it; NotFound when it is none."""
    return row_id(PREFIX, code)


def _drawn(kind: Kind, picture: bytes | None) -> tuple[Picture | None, list[FieldError]]:
    """The picture, where the kind has one, or what is wrong with it. Banners and logos are one;
    a page may do without."""
    if "picture" not in FIELDS[kind] or not (kind.is_picture or picture):
        return None, []
    try:
        return read_picture(picture or b""), []
    except Invalid as refusal:
        return None, list(refusal.errors)


def _checked(
    program: Program, kind: Kind, wording: Wording
) -> tuple[dict[str, Any], list[FieldError]]:
    """The columns, and what is wrong with them."""
    tidied = tidy(kind, wording)
    values, errors = asdict(tidied), problems(kind, tidied)
    if values["destination"] and not any(each.field == "destination" for each in errors):
        try:
            values["destination"] = checked_destination(program, values["destination"])
        except Invalid as refusal:
            errors += refusal.errors
    # Other letters than a to z are three to nine characters in an address.
    if len(values["destination"]) > ADDRESS_CHARS_MAX:
        message = Phrase("At most %(most)s visible characters.", most=ADDRESS_CHARS_MAX)
        errors.append(FieldError("destination", "destination_wrong", message))
    return values, errors


def _not_acceptable(errors: list[FieldError]) -> Invalid:
    return Invalid(Phrase("The material cannot be offered like this."), errors=errors)


def _locked(session: Session, creative_id: int) -> Creative:
    row = session.get(Creative, creative_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFound
    return row


def _record(
    session: Session,
    row: Creative,
    what: str,
    *,
    by: int | None,
    now: datetime,
    old: dict[str, Any] | None = None,
    new: dict[str, Any] | None = None,
) -> None:
    audit.record(
        session, actor=audit.by_user(by), action=f"creative.{what}", subject=f"creative:{row.id}",
        scope=row.program_id, now=now, old=old, new=new,
    )  # fmt: skip


def _told(values: dict[str, Any]) -> dict[str, Any]:
    """As the audit log keeps it: days as text."""
    return {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in values.items()
    }
