"""Small pictures of products, fetched once and made anew; pages show nothing of other sites.

A page that showed the shop's own pictures would tell the shop's servers who reads it, and our
Content-Security-Policy names no foreign host. (docs/security.md, A30 and A33.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from affiliate.core.errors import Invalid
from affiliate.core.fetch import FetchFailed, fetch
from affiliate.core.ids import public_id
from affiliate.products.importing import rules_of
from affiliate.products.models import ProductPicture, ShopProduct
from affiliate.programs.models import Program
from affiliate.promo.pictures import FILE_BYTES_MAX, Picture, small_picture

PREFIX: Final = "ppc"
PICTURES_PER_PROGRAM_MAX: Final = 5_000
"""Some ten kilobytes each, of what sells best."""
PICTURES_AT_ONCE: Final = 50
"""In one run of the job, so that the next job has its turn."""
FETCH_S: Final = 10.0
SIDE_PX: Final = 320
TRY_AGAIN: Final = timedelta(days=3)
NO_PICTURE: Final = "no_picture"
"""The trouble of an address that holds something else."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A picture that is to be fetched."""

    program_id: int
    source: str
    plain_loopback: bool


def wanted(session: Session, *, now: datetime) -> list[Wanted]:
    """Which pictures are missing: of the best sellers first, some at a time.

    Where a program has as many as it may, the others stay without; those of products that are gone
    make room (`forget_pictures`).
    """
    held = aliased(ProductPicture)
    room = (
        sa.select(sa.func.count())
        .where(held.program_id == Program.id, held.content.is_not(None))
        .correlate(Program)
        .scalar_subquery()
    )
    query = (
        sa.select(Program, ShopProduct.image_link)
        .join(ShopProduct, ShopProduct.program_id == Program.id)
        .outerjoin(
            ProductPicture,
            (ProductPicture.program_id == Program.id)
            & (ProductPicture.source == ShopProduct.image_link),
        )
        .where(
            ShopProduct.image_link != "",
            Program.status != "closed",
            ProductPicture.id.is_(None)
            | (
                ProductPicture.trouble.is_not(None) & (ProductPicture.fetched_at <= now - TRY_AGAIN)
            ),
            room < PICTURES_PER_PROGRAM_MAX,
        )
        .order_by(ShopProduct.rank, ShopProduct.sold.desc(), ShopProduct.id.desc())
        .limit(PICTURES_AT_ONCE)
    )
    found = [
        Wanted(program.id, source, rules_of(program).plain_loopback)
        for program, source in session.execute(query)
    ]
    return list(dict.fromkeys(found))


def ask(each: Wanted, *, production: bool) -> Picture | str:
    """The small picture, or why there is none. Reads and writes no row."""
    plain = each.plain_loopback and not production
    try:
        raw = fetch(each.source, plain_loopback=plain, bytes_max=FILE_BYTES_MAX, total_s=FETCH_S)
        return small_picture(raw, side_px=SIDE_PX)
    except FetchFailed as failed:
        return failed.trouble.value
    except Invalid:
        return NO_PICTURE


def note_picture(session: Session, *, each: Wanted, answer: Picture | str, now: datetime) -> None:
    """Keep it, or that there is none; one that is there already stays as it is."""
    values: dict[str, object] = {
        "program_id": each.program_id, "source": each.source, "fetched_at": now,
    }  # fmt: skip
    if isinstance(answer, Picture):
        values |= {"content": answer.content, "width": answer.width, "height": answer.height}
    else:
        values["trouble"] = answer
    made = insert(ProductPicture).values(**values)
    news = {name: made.excluded[name] for name in
            ("content", "width", "height", "trouble", "fetched_at")}  # fmt: skip
    session.execute(
        made.on_conflict_do_update(
            index_elements=["program_id", "source"], set_=news,
            where=ProductPicture.content.is_(None),
        )
    )  # fmt: skip


def forget_pictures(session: Session) -> int:
    """Drop those that no product names any more; how many there were."""
    named = sa.exists().where(
        ShopProduct.program_id == ProductPicture.program_id,
        ShopProduct.image_link == ProductPicture.source,
    )
    gone = session.execute(
        sa.delete(ProductPicture)
        .where(~named)
        .returning(ProductPicture.id)
        .execution_options(synchronize_session=False)
    )
    return len(gone.all())


def paths_of(session: Session, *, program_id: int, sources: Iterable[str]) -> Mapping[str, str]:
    """Where browsers find the pictures of these addresses; those without one are missing."""
    asked = {source for source in sources if source}
    if not asked:
        return {}
    query = sa.select(ProductPicture.source, ProductPicture.id).where(
        ProductPicture.program_id == program_id,
        ProductPicture.source.in_(asked),
        ProductPicture.content.is_not(None),
    )
    return {source: f"/promo/products/{public_id(PREFIX, number)}.webp"
            for source, number in session.execute(query)}  # fmt: skip


def content_of(session: Session, *, program_id: int, source: str) -> bytes | None:
    """The picture itself, for whoever draws with it."""
    if not source:
        return None
    return session.scalar(
        sa.select(ProductPicture.content).where(
            ProductPicture.program_id == program_id, ProductPicture.source == source
        )
    )
