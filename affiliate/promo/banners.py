"""Verbs of made banners: make one for all or for oneself, say what they have in common."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, FieldError, Invalid, NotFound, Phrase, TooMany
from affiliate.links.links import NotEnrolled
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program
from affiliate.promo.banner_drawing import undrawable
from affiliate.promo.banner_rules import Brand, Design, brand_problems, problems
from affiliate.promo.creatives import require_room
from affiliate.promo.models import BannerBrand, Creative, CreativePicture
from affiliate.promo.pictures import Picture
from affiliate.promo.rules import Kind

BANNERS_A_DAY_MAX: Final = 20
BANNERS_PER_ENROLLMENT_MAX: Final = 200
"""Retired ones included: their pictures stand on sites."""


class TooManyBannersToday(TooMany):
    code = "too_many_banners_today"
    title = Phrase("At most %(most)s banners a day; the next ones tomorrow.",
                   most=BANNERS_A_DAY_MAX)  # fmt: skip


class TooManyBanners(Conflict):
    code = "too_many_banners"
    title = Phrase(
        "An affiliate keeps at most %(most)s banners of their own, retired ones included.",
        most=BANNERS_PER_ENROLLMENT_MAX,
    )


def checked(design: Design) -> Design:
    """The design, its words on one line. Raises Invalid with each field that cannot be drawn."""
    found = Design(
        design.width, design.height, " ".join(design.text.split()),
        " ".join(design.button.split()), design.look,
    )  # fmt: skip
    errors = problems(found)
    wrong = {error.field for error in errors}
    for field, text in (("text", found.text), ("button", found.button)):
        missing = "" if field in wrong else undrawable(text)
        if missing:
            message = Phrase("The banner's letters have no %(chars)s.", chars=missing[:10])
            errors.append(FieldError(field, "no_letter", message))
    if errors:
        raise Invalid(Phrase("The banner cannot be drawn like this."), errors=errors)
    return found


def keep_banner(
    session: Session,
    *,
    program_id: int,
    enrollment_id: int | None,
    design: Design,
    picture: Picture,
    destination: str,
    by: int | None,
    now: datetime,
) -> Creative:
    """Keep a banner that was drawn: for one affiliate, or as a material that is offered to all.

    `destination` has been checked already: it is a product's, or empty. Raises NotEnrolled,
    TooManyBannersToday, TooManyBanners, TooManyCreatives.
    """
    if enrollment_id is None:
        require_room(session, program_id)
    else:
        _require_own_room(session, program_id, enrollment_id, now)
    made = Creative(
        program_id=program_id, enrollment_id=enrollment_id, kind=Kind.BANNER.value,
        name=design.text, alt=design.text, destination=destination, created_at=now, created_by=by,
    )  # fmt: skip
    session.add(made)
    session.flush()
    session.add(
        CreativePicture(
            creative_id=made.id, content=picture.content, extension=picture.extension,
            width=picture.width, height=picture.height, byte_count=len(picture.content),
        )
    )  # fmt: skip
    session.flush()
    audit.record(
        session, actor=audit.by_user(by), action="creative.make", subject=f"creative:{made.id}",
        scope=program_id, now=now,
        new={
            "size": f"{design.width}x{design.height}", "text": design.text,
            "button": design.button, "destination": destination,
        },
    )  # fmt: skip
    return made


def brand_of(session: Session, *, program_id: int) -> Brand:
    """What the program's banners have in common; ours where nobody has said."""
    row = session.get(BannerBrand, program_id, populate_existing=True)
    return Brand() if row is None else Brand(row.name, row.colour, row.accent)


def set_brand(
    session: Session, *, program_id: int, brand: Brand, by: int | None, now: datetime
) -> Brand:
    """Banners that are made from now on look so; those that stand on sites stay as they are.

    Raises NotFound and Invalid (`name`, `colour`, `accent`).
    """
    if session.get(Program, program_id) is None:
        raise NotFound
    found = Brand(
        " ".join(brand.name.split()), brand.colour.strip().lower(), brand.accent.strip().lower()
    )
    errors = brand_problems(found)
    missing = undrawable(found.name) if not errors else ""
    if missing:
        message = Phrase("The banner's letters have no %(chars)s.", chars=missing[:10])
        errors.append(FieldError("name", "no_letter", message))
    if errors:
        raise Invalid(Phrase("The settings cannot be kept like this."), errors=errors)
    before = brand_of(session, program_id=program_id)
    values = {"name": found.name, "colour": found.colour, "accent": found.accent}
    made = insert(BannerBrand).values(program_id=program_id, **values)
    session.execute(made.on_conflict_do_update(index_elements=["program_id"], set_=values))
    audit.record(
        session, actor=audit.by_user(by), action="banner_brand.set",
        subject=f"program:{program_id}", scope=program_id, now=now,
        old={"name": before.name, "colour": before.colour, "accent": before.accent}, new=values,
    )  # fmt: skip
    return found


def _require_own_room(session: Session, program_id: int, enrollment_id: int, now: datetime) -> None:
    # The lock makes the counts true, whoever sends two forms at once.
    enrollment = session.get(
        Enrollment, enrollment_id, with_for_update={"key_share": True}, populate_existing=True
    )
    if enrollment is None or enrollment.program_id != program_id:
        raise NotFound
    if enrollment.status != "active":
        raise NotEnrolled
    own = sa.select(sa.func.count()).where(Creative.enrollment_id == enrollment_id)
    if (session.scalar(own) or 0) >= BANNERS_PER_ENROLLMENT_MAX:
        raise TooManyBanners
    lately = own.where(Creative.created_at > now - timedelta(days=1))
    if (session.scalar(lately) or 0) >= BANNERS_A_DAY_MAX:
        raise TooManyBannersToday(retry_after_s=3_600)
