"""Tables of clicks: the rows, where the loader stands, what it could not read, the counters.

Only the loader writes them (the spill table: the front, when its journal is broken). They
carry no foreign keys: the loader checks each link once and a bulk load checks nothing more.
"""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model
from tracker.clicks.records import RejectReason
from tracker.clicks.rules import CountedBy, DeviceClass, DropReason


def _one_of(column: str, words: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(word.value) for word in words)})"


class Click(Model):
    """One click, accepted or dropped. Partitioned by month; the id names its instant."""

    __tablename__ = "clicks"
    __table_args__ = (
        sa.CheckConstraint(_one_of("reason", DropReason), name="reason_known"),
        sa.CheckConstraint(_one_of("device", DeviceClass), name="device_known"),
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
    device: Mapped[str] = mapped_column(server_default=DeviceClass.OTHER.value)
    """DeviceClass, by the agent."""
    creative: Mapped[str | None]
    """The promo material that was clicked, as the link's address named it."""
    country: Mapped[str | None]
    """ISO 3166-1, two letters; known where a proxy of ours says so."""


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


class ClickNode(Model):
    """How far a node's journal has been loaded, as its loader said last."""

    __tablename__ = "click_nodes"

    node: Mapped[str] = mapped_column(primary_key=True)
    """Host name and data folder."""
    loaded_until: Mapped[datetime]
    """Business time: every click that the node recorded before it is in the table."""
    reported_at: Mapped[datetime]
    """Real time."""


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


_ROOM: Final = {"postgresql_with": {"fillfactor": 70}}
"""Room in each page for the next version of its rows: an update then touches no index."""


class CountedClicks:
    """Columns that every counter has. A click is in exactly one of clicks, duplicates, dropped."""

    clicks: Mapped[int] = mapped_column(server_default="0")
    """Clicks that count: no reason against them, repeats within seconds left out."""
    uniques: Mapped[int] = mapped_column(server_default="0")
    """Different visitors of a link on a day among them."""
    duplicates: Mapped[int] = mapped_column(server_default="0")
    """Repeats within seconds: they credit, and are not counted as clicks."""
    dropped: Mapped[int] = mapped_column(server_default="0")
    """Clicks with any other reason against them; `…_day_drops` says which."""


class CountedDevices:
    """The counted clicks of a day once more, by DeviceClass; they sum to `clicks`."""

    desktop: Mapped[int] = mapped_column(server_default="0")
    mobile: Mapped[int] = mapped_column(server_default="0")
    tablet: Mapped[int] = mapped_column(server_default="0")
    other: Mapped[int] = mapped_column(server_default="0")


def _counted() -> sa.CheckConstraint:
    return sa.CheckConstraint("uniques <= clicks AND uniques >= 0", name="uniques_within_clicks")


class LinkDay(CountedClicks, CountedDevices, Model):
    """A link's clicks of one day in its program's time zone.

    The key begins with the affiliate, so that a month of theirs lies together.
    """

    __tablename__ = "link_days"
    __table_args__ = (
        _counted(),
        sa.Index("ix_link_days_program_id_day", "program_id", "day"),
        _ROOM,
    )

    enrollment_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(primary_key=True)
    link_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    program_id: Mapped[int]


class LinkHour(CountedClicks, Model):
    """A link's clicks of one hour."""

    __tablename__ = "link_hours"
    __table_args__ = (_counted(), _ROOM)

    enrollment_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    hour: Mapped[datetime] = mapped_column(primary_key=True)
    """Its first instant: UTC hours, or those of the program's zone where it is half an hour off."""
    link_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class LinkDayDrop(Model):
    """How many clicks of a link and day were dropped, by reason (duplicates: link_days)."""

    __tablename__ = "link_day_drops"
    __table_args__ = (sa.CheckConstraint(_one_of("reason", DropReason), name="reason_known"), _ROOM)

    enrollment_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(primary_key=True)
    link_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    reason: Mapped[str] = mapped_column(primary_key=True)
    clicks: Mapped[int]


class LinkDayValue(Model):
    """A link's counted clicks of one day by a value that came with them.

    At most `VALUES_PER_LINK_DAY_MAX` values of a kind; the rest lies in `OTHER_VALUES`.
    """

    __tablename__ = "link_day_values"
    __table_args__ = (sa.CheckConstraint(_one_of("kind", CountedBy), name="kind_known"), _ROOM)

    enrollment_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(primary_key=True)
    link_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(primary_key=True)
    """CountedBy."""
    value: Mapped[str] = mapped_column(primary_key=True)
    clicks: Mapped[int]
    uniques: Mapped[int]


class ProgramDay(CountedClicks, CountedDevices, Model):
    """All clicks of a program on one of its days: what makes a quarter instant."""

    __tablename__ = "program_days"
    __table_args__ = (_counted(), _ROOM)

    program_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(primary_key=True)


class ProgramHour(CountedClicks, Model):
    """All clicks of a program in one hour; `hour` as in link_hours."""

    __tablename__ = "program_hours"
    __table_args__ = (_counted(), _ROOM)

    program_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    hour: Mapped[datetime] = mapped_column(primary_key=True)


class ProgramDayDrop(Model):
    """How many clicks of a program and day were dropped, by reason."""

    __tablename__ = "program_day_drops"
    __table_args__ = (sa.CheckConstraint(_one_of("reason", DropReason), name="reason_known"), _ROOM)

    program_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(primary_key=True)
    reason: Mapped[str] = mapped_column(primary_key=True)
    clicks: Mapped[int]


class ProgramDayValue(Model):
    """A program's counted clicks of one day by country or creative; capped like link_day_values."""

    __tablename__ = "program_day_values"
    __table_args__ = (sa.CheckConstraint(_one_of("kind", CountedBy), name="kind_known"), _ROOM)

    program_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str] = mapped_column(primary_key=True)
    clicks: Mapped[int]
    uniques: Mapped[int]


class DetachedMonth(Model):
    """A month of raw clicks that was taken out of the table; its counters stay as they are."""

    __tablename__ = "detached_months"

    month: Mapped[date] = mapped_column(primary_key=True)
    """Its first day, UTC."""
    detached_at: Mapped[datetime]
    """Business time."""
    dropped_at: Mapped[datetime | None]
    """Business time at which its rows were given up for good."""


# Visitors' marks, which make uniques exact, lie in a table for each day (`clicks_seen_<day>`)
# that tracker.clicks.marks makes and drops.

PARTITION_DDL: Final = ("CREATE TABLE clicks_default PARTITION OF clicks DEFAULT",)
"""What SQLAlchemy cannot express, to be run after the tables. Months are made ahead by
`tracker.clicks.partitions.ensure_partitions`; whatever has none yet lies in the default."""
