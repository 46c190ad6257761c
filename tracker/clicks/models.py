"""Tables of clicks: the rows, where the loader stands, what it could not read, the counters.

Only the loader writes them (the spill table: the front, when its journal is broken). They
carry no foreign keys: the loader checks each link once and a bulk load checks nothing more.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model
from tracker.clicks.records import RejectReason
from tracker.clicks.rules import DropReason


def _one_of(column: str, words: type[DropReason] | type[RejectReason]) -> str:
    return f"{column} IN ({', '.join(repr(word.value) for word in words)})"


class Click(Model):
    """One click, accepted or dropped. Partitioned by month; the id names its instant."""

    __tablename__ = "clicks"
    __table_args__ = (
        sa.CheckConstraint(_one_of("reason", DropReason), name="reason_known"),
        sa.CheckConstraint("NOT (is_unique AND reason IS NOT NULL)", name="unique_counts"),
        sa.Index("ix_clicks_link_id_clicked_at", "link_id", "clicked_at"),
        sa.Index("ix_clicks_enrollment_id_clicked_at", "enrollment_id", "clicked_at"),
        sa.Index(
            "ix_clicks_visitor_id_clicked_at",
            "visitor_id",
            "clicked_at",
            postgresql_where=sa.text("visitor_id IS NOT NULL"),
        ),
        {"postgresql_partition_by": "RANGE (clicked_at)"},
    )

    click_id: Mapped[UUID] = mapped_column(primary_key=True)
    """UUID of version 7; its first 48 bits are the millisecond of `clicked_at`."""
    clicked_at: Mapped[datetime] = mapped_column(primary_key=True)
    """Business time at the front, to the millisecond."""
    link_id: Mapped[int]
    program_id: Mapped[int]
    """The link's, written by the loader."""
    enrollment_id: Mapped[int]
    """The link's, written by the loader."""
    visitor_id: Mapped[UUID | None]
    """None in consent mode and for clicks that were given no cookie."""
    visitor_known: Mapped[bool]
    """Whether the visitor's cookie came with the click; False: it was handed out then."""
    is_unique: Mapped[bool]
    """The first counted click of this visitor on this link on this day."""
    reason: Mapped[str | None]
    """DropReason; None for a click that counts."""
    deep_link_refused: Mapped[bool]
    """A deep link was asked for that the program does not allow."""
    address_hash: Mapped[UUID]
    """Keyed hash of the client's address (IPv6: its /64); the key changes every UTC day."""
    agent: Mapped[str]
    """User-Agent, cut to 300 characters."""
    referrer: Mapped[str]
    """Scheme, host and path of the referring page, cut; never its query."""
    deep_link: Mapped[str | None]
    """Where the click led when that was not the link's own destination."""
    s1: Mapped[str | None]
    s2: Mapped[str | None]
    s3: Mapped[str | None]
    s4: Mapped[str | None]
    s5: Mapped[str | None]


class ClickSegment(Model):
    """A journal segment and how far it has been loaded, in the same transaction as its rows."""

    __tablename__ = "click_segments"
    __table_args__ = (sa.CheckConstraint("loaded_offset >= 0", name="offset_not_negative"),)

    segment: Mapped[str] = mapped_column(primary_key=True)
    """Random name of the file, without its suffix."""
    node: Mapped[str]
    """Host name of the node whose loader read it last."""
    loaded_offset: Mapped[int]
    """Bytes from the beginning that are loaded or in quarantine."""
    clicks: Mapped[int] = mapped_column(server_default="0")
    """Rows that it gave."""
    seen_at: Mapped[datetime]
    """Real time of the last load."""
    finished_at: Mapped[datetime | None]
    """Real time at which all of it was loaded and no writer was left."""


class ClickSpill(Model):
    """Records that the front could not append to its journal; the loader takes them out."""

    __tablename__ = "click_spill"

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    record: Mapped[bytes]
    """A journal record, byte for byte."""


class ClickQuarantine(Model):
    """Bytes of a journal that are no click, kept for a person to look at."""

    __tablename__ = "click_quarantine"
    __table_args__ = (
        sa.UniqueConstraint("segment", "segment_offset"),
        sa.CheckConstraint(_one_of("reason", RejectReason), name="reason_known"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    segment: Mapped[str]
    """The journal segment, or `spill`."""
    segment_offset: Mapped[int]
    """Where in it; for `spill` the row's number."""
    reason: Mapped[str]
    """RejectReason."""
    size: Mapped[int]
    """How many bytes were stepped over."""
    content: Mapped[bytes]
    """The bytes themselves, at most 64 KiB of them."""
    found_at: Mapped[datetime]
    """Real time."""


class LinkDay(Model):
    """A link's clicks of one day in its program's time zone."""

    __tablename__ = "link_days"
    __table_args__ = (
        sa.CheckConstraint("uniques <= clicks AND uniques >= 0", name="uniques_within_clicks"),
        sa.Index("ix_link_days_enrollment_id_day", "enrollment_id", "day"),
        sa.Index("ix_link_days_program_id_day", "program_id", "day"),
    )

    link_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(primary_key=True)
    program_id: Mapped[int]
    enrollment_id: Mapped[int]
    clicks: Mapped[int]
    """Clicks that count: no reason against them, repeats within seconds left out."""
    uniques: Mapped[int]
    """Different visitors among them."""
    duplicates: Mapped[int]
    """Repeats within seconds: they credit, and are not counted as clicks."""


class LinkDayDrop(Model):
    """How many clicks of a link and day were dropped, by reason (duplicates: link_days)."""

    __tablename__ = "link_day_drops"
    __table_args__ = (sa.CheckConstraint(_one_of("reason", DropReason), name="reason_known"),)

    link_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(primary_key=True)
    reason: Mapped[str] = mapped_column(primary_key=True)
    program_id: Mapped[int]
    enrollment_id: Mapped[int]
    clicks: Mapped[int]


class LinkDayVisitor(Model):
    """A visitor's mark on a link and day: makes uniques exact, also between nodes."""

    __tablename__ = "link_day_visitors"

    link_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(primary_key=True)
    visitor_key: Mapped[UUID] = mapped_column(primary_key=True)
    """The visitor id, or a keyed hash of address and agent for whom no cookie is known."""
    last_ms: Mapped[int]
    """Business time of the latest click that counted or repeated one; ms since the epoch."""
    previous_ms: Mapped[int | None]
    """`last_ms` before the last load that touched the mark; the loader's own memory."""


PARTITION_DDL: Final = ("CREATE TABLE clicks_default PARTITION OF clicks DEFAULT",)
"""What SQLAlchemy cannot express, to be run after the tables. Months are made ahead by
`tracker.clicks.partitions.ensure_partitions`; whatever has none yet lies in the default."""
