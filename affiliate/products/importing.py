"""Verbs of imports: bring a feed, confirm it, discard it. Products change here and nowhere else.

A feed is read before anything is locked: twenty thousand products take their seconds, and nobody
waits for them. Then whoever imports holds the program's row of `product_feeds`, so that two at once
come one after the other, and products are replaced in that one transaction.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.db import be_patient
from affiliate.core.errors import Conflict, Invalid, NotFound
from affiliate.products.files import kind_of
from affiliate.products.models import ProductFeed, ProductImport, ShopProduct
from affiliate.products.reading import Rules, field_texts, products_of
from affiliate.products.rules import Difference, Product, difference, fingerprint, shrinks
from affiliate.programs.models import Program

UPLOAD: Final = "upload"
ADDRESS: Final = "address"
EXAMPLES_MAX: Final = 10
IMPORTS_KEPT: Final = 50
ROWS_AT_ONCE: Final = 1_000
STATEMENT_S: Final = 60
"""For what twenty thousand rows may take on a busy machine."""


class ImportDecided(Conflict):
    code = "import_decided"
    title = "This import has been decided on already, or a newer one took its place."


class NothingToImport(Invalid):
    code = "nothing_to_import"
    title = "The feed names no product, and there is none that it could take away."


def bring_file(
    session: Session, *, program_id: int, raw: bytes, by: int | None, now: datetime
) -> ProductImport:
    """Lay a file before whoever brought it: what it would do stands in the row, nothing is done.

    One that waits already gives way. Raises NotFound, NothingToImport, or Invalid (`file`) with
    everything that is wrong by line and field.
    """
    program = _program(session, program_id)
    products = products_of(raw, rules_of(program))
    lock_feed(session, program_id)
    found = difference(_known(session, program_id), products)
    if not products and found.nothing:
        raise NothingToImport
    return _wait(session, program_id, UPLOAD, raw, products, found, by=by, now=now)


def confirm_import(
    session: Session, *, import_id: int, by: int | None, now: datetime
) -> ProductImport:
    """Do what a waiting import says. Its difference is taken anew: another import may have come
    between. Raises NotFound, ImportDecided, and Invalid where the program's sites have changed."""
    row = _row(session, import_id)
    if row.status != "waiting":
        raise ImportDecided
    raw = session.scalar(sa.select(ProductImport.content).where(ProductImport.id == import_id))
    program = _program(session, row.program_id)
    products = products_of(zlib.decompress(raw or b""), rules_of(program)) if raw else ()
    feed = lock_feed(session, row.program_id)
    session.refresh(row)
    if row.status != "waiting" or raw is None:
        raise ImportDecided
    found = _replace(session, feed, products, now=now)
    _settle(row, "done", by=by, now=now)
    _count(row, products, found)
    session.flush()
    _record(session, row, "confirm", by=by, now=now)
    return row


def discard_import(session: Session, *, import_id: int, by: int | None, now: datetime) -> None:
    """Leave the products as they are. Raises NotFound and ImportDecided."""
    row = _row(session, import_id)
    lock_feed(session, row.program_id)
    session.refresh(row)
    if row.status != "waiting":
        raise ImportDecided
    _settle(row, "discarded", by=by, now=now)
    session.flush()
    _record(session, row, "discard", by=by, now=now)


def take_fetched(
    session: Session, *, program_id: int, raw: bytes, now: datetime, address: str | None = None
) -> ProductImport | None:
    """Import what the feed's address held; what lost more than half of its products waits for a
    person. None where it says what is known, and where the feed's `address` is another one by now.
    A feed that cannot be read is kept as refused, with what is wrong with it."""
    program = _program(session, program_id)
    wrong: Invalid | None = None
    products: tuple[Product, ...]
    try:
        products = products_of(raw, rules_of(program))
    except Invalid as refusal:
        products, wrong = (), refusal
    feed = lock_feed(session, program_id)
    if address is not None and feed.address != address:
        return None
    if wrong is not None:
        return _refuse(session, program_id, raw, wrong, now=now)
    found = difference(_known(session, program_id), products)
    _discard_waiting(session, program_id, ADDRESS, now=now)
    if found.nothing:
        return None
    if shrinks(feed.products, len(products)):
        return _wait(session, program_id, ADDRESS, raw, products, found, by=None, now=now)
    done = ProductImport(
        program_id=program_id, source=ADDRESS, status="done", file_kind=kind_of(raw).value,
        created_at=now, decided_at=now,
    )  # fmt: skip
    _count(done, products, _replace(session, feed, products, now=now))
    session.add(done)
    session.flush()
    _record(session, done, "take", by=None, now=now)
    _forget_old(session, program_id)
    return done


def lock_feed(session: Session, program_id: int) -> ProductFeed:
    """The program's row, held: whoever changes products or asks an address has it alone."""
    made = insert(ProductFeed).values(program_id=program_id).on_conflict_do_nothing()
    session.execute(made)
    return session.get_one(ProductFeed, program_id, with_for_update=True, populate_existing=True)


def rules_of(program: Program) -> Rules:
    """What the program has to say about a product."""
    # A program whose own landing page is plain http could only be made in demo mode.
    plain = program.landing_url.startswith("http://")
    return Rules(program.currency, tuple(program.allowed_sites), plain_loopback=plain)


def _replace(
    session: Session, feed: ProductFeed, products: Sequence[Product], *, now: datetime
) -> Difference:
    """Make the program's products those of the feed; rows keep their numbers and what was sold."""
    be_patient(session, statement_s=STATEMENT_S)
    program_id = feed.program_id
    found = difference(_known(session, program_id), products)
    for skus in _parts(found.gone):
        session.execute(
            sa.delete(ShopProduct)
            .where(ShopProduct.program_id == program_id, ShopProduct.sku.in_(skus))
            .execution_options(synchronize_session=False)
        )
    touched = {*found.new, *found.changed}
    rows = [_columns(program_id, each, now) for each in products if each.sku in touched]
    if rows:
        session.connection().execute(_WRITE, rows)
    feed.products, feed.imported_at = len(products), now
    feed.revision += not found.nothing
    session.flush()
    return found


_KEPT: Final = ("id", "program_id", "sku", "sold", "added_at")
"""What a product keeps from import to import."""
_INSERT: Final = insert(ShopProduct)
_WRITE: Final = _INSERT.on_conflict_do_update(
    index_elements=["program_id", "sku"],
    set_={column.name: column for column in _INSERT.excluded if column.name not in _KEPT},
)


def _columns(program_id: int, product: Product, now: datetime) -> dict[str, Any]:
    sale = product.sale_price
    return {
        "program_id": program_id, "sku": product.sku, "title": product.title,
        "description": product.description, "link": product.link,
        "image_link": product.image_link, "price_micros": product.price.micros,
        "currency": product.price.currency,
        "sale_price_micros": None if sale is None else sale.micros,
        "sale_from": product.sale_from, "sale_until": product.sale_until,
        "discount_ppm": product.discount_ppm, "availability": product.availability.value,
        "brand": product.brand, "category": product.category, "gtin": product.gtin,
        "rank": product.rank, "content_hash": fingerprint(product), "added_at": now,
        "changed_at": now,
    }  # fmt: skip


def _known(session: Session, program_id: int) -> dict[str, bytes]:
    """Fingerprints of the products that there are, by the shop's id."""
    query = sa.select(ShopProduct.sku, ShopProduct.content_hash).where(
        ShopProduct.program_id == program_id
    )
    return {sku: bytes(content_hash) for sku, content_hash in session.execute(query)}


def _wait(
    session: Session,
    program_id: int,
    source: str,
    raw: bytes,
    products: Sequence[Product],
    found: Difference,
    *,
    by: int | None,
    now: datetime,
) -> ProductImport:
    _discard_waiting(session, program_id, source, now=now)
    feed = session.get_one(ProductFeed, program_id)
    made = ProductImport(
        program_id=program_id, source=source, status="waiting", file_kind=kind_of(raw).value,
        content=zlib.compress(raw, 6), shrinks=shrinks(feed.products, len(products)),
        created_at=now, created_by=by,
    )  # fmt: skip
    _count(made, products, found)
    session.add(made)
    session.flush()
    _record(session, made, "bring", by=by, now=now)
    _forget_old(session, program_id)
    return made


def _refuse(
    session: Session, program_id: int, raw: bytes, refusal: Invalid, *, now: datetime
) -> ProductImport:
    """What an address held and what is wrong with it; the same as last time is not told twice."""
    try:
        kind = kind_of(raw).value
    except Invalid:
        kind = "csv"
    told = field_texts(refusal.errors)
    last = session.scalar(
        sa.select(ProductImport)
        .where(ProductImport.program_id == program_id)
        .order_by(ProductImport.id.desc())
        .limit(1)
    )
    if last is not None and last.status == "refused" and last.errors == told:
        last.decided_at = now
        session.flush()
        return last
    made = ProductImport(
        program_id=program_id, source=ADDRESS, status="refused", file_kind=kind, errors=told,
        created_at=now, decided_at=now,
    )  # fmt: skip
    session.add(made)
    session.flush()
    _forget_old(session, program_id)
    return made


def _discard_waiting(session: Session, program_id: int, source: str, *, now: datetime) -> None:
    """A newer import of the same source takes the place of one that nobody has decided on."""
    session.execute(
        sa.update(ProductImport)
        .where(
            ProductImport.program_id == program_id,
            ProductImport.source == source,
            ProductImport.status == "waiting",
        )
        .values(status="discarded", content=None, decided_at=now)
        .execution_options(synchronize_session="fetch")
    )


def _forget_old(session: Session, program_id: int) -> None:
    oldest = (
        sa.select(ProductImport.id)
        .where(ProductImport.program_id == program_id)
        .order_by(ProductImport.id.desc())
        .offset(IMPORTS_KEPT - 1)
        .limit(1)
        .scalar_subquery()
    )
    session.execute(
        sa.delete(ProductImport)
        .where(
            ProductImport.program_id == program_id,
            ProductImport.id < oldest,
            ProductImport.status != "waiting",
        )
        .execution_options(synchronize_session=False)
    )


def _count(row: ProductImport, products: Sequence[Product], found: Difference) -> None:
    row.total, row.new = len(products), len(found.new)
    row.changed, row.gone = len(found.changed), len(found.gone)
    row.examples = {
        name: list(getattr(found, name)[:EXAMPLES_MAX]) for name in ("new", "changed", "gone")
    }


def _settle(row: ProductImport, status: str, *, by: int | None, now: datetime) -> None:
    row.status, row.content = status, None
    row.decided_at, row.decided_by = now, by


def _row(session: Session, import_id: int) -> ProductImport:
    row = session.get(ProductImport, import_id, populate_existing=True)
    if row is None:
        raise NotFound
    return row


def _program(session: Session, program_id: int) -> Program:
    program = session.get(Program, program_id)
    if program is None:
        raise NotFound
    return program


def _parts(rows: Sequence[Any]) -> list[Sequence[Any]]:
    return [rows[at : at + ROWS_AT_ONCE] for at in range(0, len(rows), ROWS_AT_ONCE)]


def _record(
    session: Session, row: ProductImport, what: str, *, by: int | None, now: datetime
) -> None:
    audit.record(
        session, actor=audit.by_user(by), action=f"products.{what}",
        subject=f"product_import:{row.id}", scope=row.program_id, now=now,
        new={
            "source": row.source, "status": row.status, "total": row.total, "new": row.new,
            "changed": row.changed, "gone": row.gone,
        },
    )  # fmt: skip
