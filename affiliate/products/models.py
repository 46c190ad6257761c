"""Tables of products, of where they come from and of who takes them away."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model
from affiliate.core.money import Money


class ShopProduct(Model):
    """A product of the program's shop, as the last import said it."""

    __tablename__ = "products"
    __table_args__ = (
        sa.UniqueConstraint("program_id", "sku"),
        sa.CheckConstraint("price_micros BETWEEN 0 AND 1000000000000000000", name="price_in_range"),
        sa.CheckConstraint("sale_price_micros BETWEEN 0 AND price_micros", name="sale_below_price"),
        sa.CheckConstraint("sale_until > sale_from", name="sale_lasts"),
        sa.CheckConstraint(
            "availability IN ('in_stock', 'out_of_stock', 'preorder', 'backorder')",
            name="availability_known",
        ),
        sa.CheckConstraint("rank BETWEEN 1 AND 1000000", name="rank_in_range"),
        sa.CheckConstraint("sold >= 0", name="sold_not_negative"),
        sa.CheckConstraint("discount_ppm BETWEEN 0 AND 1000000", name="discount_in_range"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    sku: Mapped[str]
    """The shop's id, the same as in the items of orders; what an import knows it again by."""
    title: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    link: Mapped[str]
    """Checked against the program's sites when it was imported, and again when it is shown."""
    image_link: Mapped[str] = mapped_column(server_default="")
    price_micros: Mapped[int]
    currency: Mapped[str]
    sale_price_micros: Mapped[int | None]
    sale_from: Mapped[datetime | None]
    sale_until: Mapped[datetime | None]
    """First instant at which the sale is over."""
    discount_ppm: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    """How much lower the sale price is; 0 without one. To sort by."""
    availability: Mapped[str]
    brand: Mapped[str] = mapped_column(server_default="")
    category: Mapped[str] = mapped_column(server_default="")
    gtin: Mapped[str] = mapped_column(server_default="")
    rank: Mapped[int] = mapped_column(sa.Integer, server_default="1000000")
    """The manager's place among the best sellers; a million: none was given."""
    sold: Mapped[int] = mapped_column(server_default="0")
    """Pieces in confirmed orders of late, counted by a job of the tracker; survives imports."""
    content_hash: Mapped[bytes]
    """Changes with anything that the feed says of it."""
    added_at: Mapped[datetime]
    """When an import named it for the first time."""
    changed_at: Mapped[datetime]

    @property
    def price(self) -> Money:
        return Money(self.price_micros, self.currency)

    @property
    def sale_price(self) -> Money | None:
        """As the feed says it, whenever it holds."""
        if self.sale_price_micros is None:
            return None
        return Money(self.sale_price_micros, self.currency)

    def sale_price_at(self, now: datetime) -> Money | None:
        """What it costs instead of its price; none where there is no sale now."""
        begun = self.sale_from is None or self.sale_from <= now
        over = self.sale_until is not None and self.sale_until <= now
        return self.sale_price if begun and not over else None


class ProductFeed(Model):
    """Where a program's products come from; whoever changes them holds this row."""

    __tablename__ = "product_feeds"
    __table_args__ = (
        sa.CheckConstraint("products >= 0 AND revision >= 0", name="counts"),
        sa.Index(
            "ix_product_feeds_next_fetch_at", "next_fetch_at",
            postgresql_where=sa.text("next_fetch_at IS NOT NULL"),
        ),
    )  # fmt: skip

    program_id: Mapped[int] = mapped_column(
        sa.ForeignKey("programs.id"), primary_key=True, autoincrement=False
    )
    address: Mapped[str] = mapped_column(server_default="")
    """Fetched every day; empty: files are brought by hand."""
    next_fetch_at: Mapped[datetime | None]
    fetched_at: Mapped[datetime | None]
    """When it was asked last, whatever came of it."""
    failures: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    """In a row; each makes the next pause longer."""
    trouble: Mapped[str | None]
    """Why the last fetch brought nothing (affiliate.core.fetch.Trouble, or `unreadable`)."""
    products: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    revision: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    """Counts the imports that changed anything: what was copied before has an older one."""
    imported_at: Mapped[datetime | None]


class ProductImport(Model):
    """A feed that was brought: what it would do, what became of it, and who decided."""

    __tablename__ = "product_imports"
    __table_args__ = (
        sa.CheckConstraint("source IN ('upload', 'address')", name="source_known"),
        sa.CheckConstraint(
            "status IN ('waiting', 'done', 'refused', 'discarded')", name="status_known"
        ),
        sa.CheckConstraint("(status = 'waiting') = (content IS NOT NULL)", name="content_waits"),
        sa.Index(
            "uq_product_imports_waiting", "program_id", "source", unique=True,
            postgresql_where=sa.text("status = 'waiting'"),
        ),
        sa.Index("ix_product_imports_program_id", "program_id", "id"),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    source: Mapped[str]
    status: Mapped[str]
    shrinks: Mapped[bool] = mapped_column(server_default=sa.false())
    """It names less than half as many products as there were when it came."""
    file_kind: Mapped[str]
    content: Mapped[bytes | None] = mapped_column(deferred=True)
    """The file, deflated, as long as somebody has to decide about it."""
    total: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    new: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    changed: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    gone: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    examples: Mapped[dict[str, Any]] = mapped_column(server_default=sa.text("'{}'"))
    """Some ids of each: `{"new": […], "changed": […], "gone": […]}`."""
    errors: Mapped[list[Any]] = mapped_column(server_default=sa.text("'[]'"))
    """What is wrong with it, as patterns and values; nothing of it counts then."""
    created_at: Mapped[datetime]
    created_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    """None for what was fetched."""
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))


class ProductPicture(Model):
    """A small picture of a product, made here out of what its address held."""

    __tablename__ = "product_pictures"
    __table_args__ = (
        sa.UniqueConstraint("program_id", "source"),
        sa.CheckConstraint("(content IS NULL) = (trouble IS NOT NULL)", name="picture_or_trouble"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    source: Mapped[str]
    """The address; the same one is not asked again, so that browsers may keep the picture."""
    content: Mapped[bytes | None] = mapped_column(deferred=True)
    """WebP."""
    width: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    height: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    trouble: Mapped[str | None]
    """Why there is none; it is tried again after some days."""
    fetched_at: Mapped[datetime]


class ProductFeedKey(Model):
    """An affiliate's private address of the feed with their own link in it; can be taken back."""

    __tablename__ = "product_feed_keys"
    __table_args__ = (
        sa.Index(
            "uq_product_feed_keys_live", "enrollment_id", unique=True,
            postgresql_where=sa.text("revoked_at IS NULL"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    enrollment_id: Mapped[int] = mapped_column(sa.ForeignKey("enrollments.id"))
    link_id: Mapped[int] = mapped_column(sa.ForeignKey("links.id"))
    """The link that stands in it."""
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    """Last time somebody asked for it, to the hour."""
    revoked_at: Mapped[datetime | None]
