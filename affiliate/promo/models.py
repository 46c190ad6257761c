"""Tables of promo materials and of their pictures."""

from __future__ import annotations

from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model


class Creative(Model):
    """A promo material of a program."""

    __tablename__ = "creatives"
    __table_args__ = (
        sa.CheckConstraint(
            "kind IN ('banner', 'logo', 'text', 'email', 'landing', 'page', 'video', 'keywords', "
            "'article', 'news', 'notes')",
            name="kind_known",
        ),
        sa.CheckConstraint("language ~ '^([a-z]{2})?$'", name="language_shape"),
        sa.CheckConstraint("ends_on >= starts_on", name="season_in_order"),
        sa.Index("ix_creatives_program_id", "program_id"),
        sa.Index(
            "ix_creatives_enrollment_id", "enrollment_id",
            postgresql_where=sa.text("enrollment_id IS NOT NULL"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    enrollment_id: Mapped[int | None] = mapped_column(sa.ForeignKey("enrollments.id"))
    """Of an affiliate who made it for themselves; none: it is offered to all."""
    kind: Mapped[str]
    """Never changed: figures of one material must be those of one thing."""
    name: Mapped[str]
    language: Mapped[str] = mapped_column(server_default="")
    subject: Mapped[str] = mapped_column(server_default="")
    body: Mapped[str] = mapped_column(server_default="")
    alt: Mapped[str] = mapped_column(server_default="")
    destination: Mapped[str] = mapped_column(server_default="")
    """Of the shop, checked as links' are; empty: wherever the affiliate's link leads."""
    video_url: Mapped[str] = mapped_column(server_default="")
    button: Mapped[str] = mapped_column(server_default="")
    """Of a page that we host."""
    starts_on: Mapped[date | None] = mapped_column(sa.Date)
    ends_on: Mapped[date | None] = mapped_column(sa.Date)
    """The last day, by the program's calendar."""
    created_at: Mapped[datetime]
    created_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    """None for what the command line or the demo made."""
    retired_at: Mapped[datetime | None]
    """Offered no more; what stands on sites already goes on working."""


class CreativePicture(Model):
    """The picture of a banner or logo, as it was written anew from what was uploaded."""

    __tablename__ = "creative_pictures"
    __table_args__ = (
        sa.CheckConstraint("extension IN ('png', 'jpg', 'gif', 'webp')", name="extension_known"),
        sa.CheckConstraint("width > 0 AND height > 0", name="has_size"),
    )

    creative_id: Mapped[int] = mapped_column(
        sa.ForeignKey("creatives.id"), primary_key=True, autoincrement=False
    )
    content: Mapped[bytes] = mapped_column(deferred=True)
    """Never changed: browsers keep it for a year."""
    extension: Mapped[str]
    width: Mapped[int] = mapped_column(sa.Integer)
    height: Mapped[int] = mapped_column(sa.Integer)
    byte_count: Mapped[int] = mapped_column(sa.Integer)


class BannerBrand(Model):
    """What all banners that are made in a program have in common."""

    __tablename__ = "banner_brands"
    __table_args__ = (
        sa.CheckConstraint("colour ~ '^#[0-9a-f]{6}$'", name="colour_shape"),
        sa.CheckConstraint("accent ~ '^#[0-9a-f]{6}$'", name="accent_shape"),
    )

    program_id: Mapped[int] = mapped_column(
        sa.ForeignKey("programs.id"), primary_key=True, autoincrement=False
    )
    name: Mapped[str] = mapped_column(server_default="")
    """The shop's, as it stands on banners; empty: it stands on none."""
    colour: Mapped[str]
    accent: Mapped[str]
