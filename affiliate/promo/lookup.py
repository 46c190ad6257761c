"""Which promo materials there are, and which of them are offered today."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import NotFound
from affiliate.promo.creatives import CREATIVES_PER_PROGRAM_MAX, creative_code, creative_row
from affiliate.promo.models import Creative, CreativePicture
from affiliate.promo.rules import Kind, Season, season_on


@dataclass(frozen=True, slots=True)
class Material:
    """A material as pages read it."""

    row: Creative
    picture: CreativePicture | None
    """Without its bytes."""
    season: Season

    @property
    def code(self) -> str:
        return creative_code(self.row.id)

    @property
    def kind(self) -> Kind:
        return Kind(self.row.kind)

    @property
    def picture_path(self) -> str | None:
        """Where anybody's browser finds the picture."""
        return f"/promo/{self.code}.{self.picture.extension}" if self.picture else None


def listed(session: Session, *, program_id: int, today: date) -> list[Material]:
    """All that a program offers or offered to everybody, the newest first, retired ones last."""
    query = (
        sa.select(Creative, CreativePicture)
        .outerjoin(CreativePicture, CreativePicture.creative_id == Creative.id)
        .where(Creative.program_id == program_id, Creative.enrollment_id.is_(None))
        .order_by(Creative.retired_at.is_not(None), Creative.id.desc())
        .limit(CREATIVES_PER_PROGRAM_MAX)
    )
    return [_material(row, picture, today) for row, picture in session.execute(query)]


def page_of(
    session: Session,
    *,
    program_id: int,
    today: date,
    conditions: Iterable[sa.ColumnElement[bool]] = (),
    before_id: int | None = None,
    rows_max: int,
) -> list[Material]:
    """A page of what a program offers or offered to everybody, the newest first."""
    query = (
        sa.select(Creative, CreativePicture)
        .outerjoin(CreativePicture, CreativePicture.creative_id == Creative.id)
        .where(Creative.program_id == program_id, Creative.enrollment_id.is_(None), *conditions)
        .order_by(Creative.id.desc())
        .limit(rows_max)
    )
    if before_id is not None:
        query = query.where(Creative.id < before_id)
    return [_material(row, picture, today) for row, picture in session.execute(query)]


def offered(session: Session, *, program_id: int, today: date) -> list[Material]:
    """What affiliates may take: neither retired nor over; by kind, the newest first."""
    order = list(Kind)
    found = [
        each
        for each in listed(session, program_id=program_id, today=today)
        if each.row.retired_at is None and each.season is not Season.OVER
    ]
    return sorted(found, key=lambda each: order.index(each.kind))


def material(session: Session, *, creative_id: int, today: date) -> Material:
    """One of them; NotFound."""
    row = session.get(Creative, creative_id)
    if row is None:
        raise NotFound
    return _material(row, session.get(CreativePicture, creative_id), today)


def own_banners(session: Session, *, enrollment_id: int, today: date) -> list[Material]:
    """What an affiliate made for themselves and has not retired, the newest first."""
    query = (
        sa.select(Creative, CreativePicture)
        .join(CreativePicture, CreativePicture.creative_id == Creative.id)
        .where(Creative.enrollment_id == enrollment_id, Creative.retired_at.is_(None))
        .order_by(Creative.id.desc())
    )
    return [_material(row, picture, today) for row, picture in session.execute(query)]


def names_of(
    session: Session, *, program_id: int, codes: Iterable[str], enrollment_id: int | None = None
) -> dict[str, str]:
    """The names behind the codes that clicks came with; whatever else they say has none.

    For an affiliate, whose own they may be: what another made for themselves is nobody's business.
    """
    wanted = {}
    for code in codes:
        try:
            wanted[creative_row(code)] = code
        except NotFound:
            continue
    query = sa.select(Creative.id, Creative.name).where(
        Creative.program_id == program_id, Creative.id.in_(wanted)
    )
    if enrollment_id is not None:
        shared = Creative.enrollment_id.is_(None)
        query = query.where(shared | (Creative.enrollment_id == enrollment_id))
    return {wanted[number]: name for number, name in session.execute(query)} if wanted else {}


def _material(row: Creative, picture: CreativePicture | None, today: date) -> Material:
    return Material(row, picture, season_on(today, row.starts_on, row.ends_on))
