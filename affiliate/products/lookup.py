"""Which products a program has: a page of them, their categories, all of them for a feed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import NotFound
from affiliate.core.ids import public_id, row_id
from affiliate.core.money import Money
from affiliate.products.models import ProductFeed, ProductImport, ShopProduct
from affiliate.products.rules import Search, Sort

PREFIX: Final = "prd"
CATEGORIES_SHOWN_MAX: Final = 100
ROWS_PER_FETCH: Final = 500
After = tuple[int, int, int]
"""Where a page of products ends: what it was sorted by, and the number of the row."""


@dataclass(frozen=True, slots=True)
class PageOfProducts:
    """Some products, and where the next ones begin."""

    rows: list[ShopProduct]
    next: After | None


def product_code(product_id: int) -> str:
    """Its public id: what clicks on it say in `cr`."""
    return public_id(PREFIX, product_id)


def product_of(session: Session, *, program_id: int, code: str) -> ShopProduct:
    """The product behind a public id; NotFound for another program's."""
    row = session.get(ShopProduct, row_id(PREFIX, code))
    if row is None or row.program_id != program_id:
        raise NotFound
    return row


def page_of(
    session: Session,
    *,
    program_id: int,
    search: Search,
    now: datetime,
    after: After | None,
    rows_max: int,
) -> PageOfProducts:
    """Up to `rows_max` products behind `after`."""
    keys = _keys(search.sort)
    query = sa.select(ShopProduct).where(
        ShopProduct.program_id == program_id, *_conditions(search, now)
    )
    if after is not None:
        query = query.where(sa.tuple_(*keys) > sa.tuple_(*(sa.literal(each, sa.BigInteger)
                                                           for each in after)))  # fmt: skip
    found = session.scalars(query.order_by(*keys).limit(rows_max + 1)).all()
    more = len(found) > rows_max
    shown = list(found[:rows_max])
    return PageOfProducts(shown, _place(search.sort, shown[-1]) if more else None)


def count_of(session: Session, *, program_id: int, search: Search, now: datetime) -> int:
    """How many there are of what is looked for."""
    query = sa.select(sa.func.count()).where(
        ShopProduct.program_id == program_id, *_conditions(search, now)
    )
    return session.scalar(query) or 0


def categories_of(session: Session, *, program_id: int) -> list[tuple[str, int]]:
    """Categories with the number of their products, the largest hundred by name."""
    count = sa.func.count()
    query = (
        sa.select(ShopProduct.category, count)
        .where(ShopProduct.program_id == program_id, ShopProduct.category != "")
        .group_by(ShopProduct.category)
        .order_by(count.desc(), ShopProduct.category)
        .limit(CATEGORIES_SHOWN_MAX)
    )
    return sorted((name, number) for name, number in session.execute(query))


def all_of(session: Session, *, program_id: int) -> Iterator[ShopProduct]:
    """Every product, as one statement sees them; any number in constant memory."""
    query = (
        sa.select(ShopProduct)
        .where(ShopProduct.program_id == program_id)
        .order_by(ShopProduct.id)
        .execution_options(yield_per=ROWS_PER_FETCH)
    )
    for row in session.scalars(query):
        yield row
        session.expunge(row)


def feed_of(session: Session, *, program_id: int) -> ProductFeed | None:
    """Where the program's products come from; none where nobody has brought any."""
    return session.get(ProductFeed, program_id, populate_existing=True)


def imports_of(session: Session, *, program_id: int, rows_max: int) -> Sequence[ProductImport]:
    """The latest imports, the newest first; what waits for a decision before all others."""
    query = (
        sa.select(ProductImport)
        .where(ProductImport.program_id == program_id)
        .order_by(ProductImport.status != "waiting", ProductImport.id.desc())
        .limit(rows_max)
    )
    return session.scalars(query).all()


def names_of_products(session: Session, *, program_id: int, codes: Iterable[str]) -> dict[str, str]:
    """The titles behind the codes that clicks came with; whatever else they say has none."""
    wanted = {}
    for code in codes:
        try:
            wanted[row_id(PREFIX, code)] = code
        except NotFound:
            continue
    query = sa.select(ShopProduct.id, ShopProduct.title).where(
        ShopProduct.program_id == program_id, ShopProduct.id.in_(wanted)
    )
    return {wanted[number]: title for number, title in session.execute(query)} if wanted else {}


def _keys(sort: Sort) -> list[sa.ColumnElement[int]]:
    """What each order goes by, all of it rising, so that a page can begin behind a row."""
    newest: sa.ColumnElement[int] = -ShopProduct.id
    if sort is Sort.NEW:
        return [sa.literal(0, sa.BigInteger), sa.literal(0, sa.BigInteger), newest]
    if sort is Sort.SALE:
        return [-ShopProduct.discount_ppm, sa.cast(ShopProduct.rank, sa.BigInteger), newest]
    return [sa.cast(ShopProduct.rank, sa.BigInteger), -ShopProduct.sold, newest]


def _place(sort: Sort, row: ShopProduct) -> After:
    """The keys of a row."""
    if sort is Sort.NEW:
        return 0, 0, -row.id
    if sort is Sort.SALE:
        return -row.discount_ppm, row.rank, -row.id
    return row.rank, -row.sold, -row.id


def _conditions(search: Search, now: datetime) -> Iterator[sa.ColumnElement[bool]]:
    on_sale = (
        (ShopProduct.sale_price_micros.is_not(None))
        & (ShopProduct.sale_from.is_(None) | (ShopProduct.sale_from <= now))
        & (ShopProduct.sale_until.is_(None) | (ShopProduct.sale_until > now))
    )
    if search.text:
        yield sa.or_(
            *(
                column.icontains(search.text, autoescape=True)
                for column in (ShopProduct.title, ShopProduct.brand, ShopProduct.sku)
            )
        )
    if search.category:
        yield ShopProduct.category == search.category
    paid = sa.case((on_sale, ShopProduct.sale_price_micros), else_=ShopProduct.price_micros)
    yield from _between(paid, search.least, search.most)
    if search.sort is Sort.SALE:
        yield on_sale


def _between(
    paid: sa.ColumnElement[Any], least: Money | None, most: Money | None
) -> Iterator[sa.ColumnElement[bool]]:
    for bound in (least, most):
        if bound is not None:
            yield ShopProduct.currency == bound.currency
            yield paid >= bound.micros if bound is least else paid <= bound.micros
