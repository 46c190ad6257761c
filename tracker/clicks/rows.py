"""Clicks as rows of COPY's binary format (pure).

PostgreSQL's documentation, COPY, "Binary Format": sixteen bits for the number of columns,
then each with its length before it, -1 for NULL. Columns of a fixed size come first, so
that one pack makes them all; it is a third of the time of text, on both ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from struct import Struct
from typing import Final

from tracker.clicks.judging import Candidate
from tracker.clicks.records import FLAG_DEEP_LINK_REFUSED, FLAG_KNOWN_VISITOR, ClickRecord
from tracker.clicks.rules import DropReason
from tracker.clicks.tokens import NO_VISITOR

COPY_CLICKS: Final = """
    COPY clicks (click_id, clicked_at, link_id, program_id, enrollment_id, visitor_known,
                 is_unique, deep_link_refused, address_hash, visitor_id, device, reason, agent,
                 referrer, deep_link, s1, s2, s3, s4, s5, creative, country)
    FROM STDIN (FORMAT binary)
"""
BEGIN: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END: Final = b"\xff\xff"
ROWS_AT_ONCE: Final = 500
"""So many are handed over together: PostgreSQL works on them while the next are made."""
VALUE_CHARS_MAX: Final = 100
"""Of a sub-id or creative, as the front cuts them; records of others are cut here."""

_CODES: Final = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO "
    "BQ BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ "
    "DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP "
    "GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG "
    "KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML "
    "MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE "
    "PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL "
    "SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM "
    "US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW"
)
COUNTRIES: Final = frozenset(_CODES.split())
"""ISO 3166-1, and XK, by which every table of addresses knows Kosovo. Proxies say XX or T1
when they do not know; that is no country."""

_COLUMNS: Final = 22
_VISITOR: Final = Struct(">hi16siqiqiqiqi?i?i?i16si16s")
_NO_VISITOR: Final = Struct(">hi16siqiqiqiqi?i?i?i16si")
_LENGTH: Final = Struct(">i")
_NULL: Final = _LENGTH.pack(-1)
_EMPTY: Final = _LENGTH.pack(0)
_NO_VALUES: Final = (b"",) * 5
_FIVE_NULLS: Final = _NULL * 5
_TWO_NULLS: Final = _NULL * 2
_MS_TO_2000: Final = 946_684_800_000


def in_parts(clicks: list[Candidate]) -> Iterator[list[Candidate]]:
    """A batch, some hundred at a time."""
    for first in range(0, len(clicks), ROWS_AT_ONCE):
        yield clicks[first : first + ROWS_AT_ONCE]


def packed(clicks: Iterable[Candidate]) -> bytes:
    """Their rows, which belong between `BEGIN` and `END`."""
    return b"".join([_row(click) for click in clicks])


def _row(click: Candidate) -> bytes:
    record = click.record
    flags = record.flags
    facts = click.facts
    # Every number before a value is the value's length in bytes.
    fixed = (
        _COLUMNS, 16, record.click_id, 8, (click.clicked_ms - _MS_TO_2000) * 1000,
        8, record.link_id, 8, facts.program_id, 8, facts.enrollment_id,
        1, flags & FLAG_KNOWN_VISITOR, 1, click.is_unique, 1, flags & FLAG_DEEP_LINK_REFUSED,
        16, record.address_hash,
    )  # fmt: skip
    if record.visitor_id == NO_VISITOR:
        head = _NO_VISITOR.pack(*fixed, -1)
    else:
        head = _VISITOR.pack(*fixed, 16, record.visitor_id)
    creative, country = record.creative, record.country
    return (
        head
        + _verdict(click.device, click.reason)
        + _remembered(record.agent)
        + (_remembered(record.referrer) if record.referrer else _EMPTY)
        + (_text(record.deep_link) if record.deep_link else _NULL)
        + (_FIVE_NULLS if record.sub_ids == _NO_VALUES else _values(record.sub_ids))
        + (_creative_country(creative, country) if creative or country else _TWO_NULLS)
    )


def values_of(record: ClickRecord) -> tuple[str | None, ...]:
    """The sub-ids, the creative and the country as the row has them, None where there is none."""
    return (
        *(_cut(raw) if raw else None for raw in record.sub_ids),
        _cut(record.creative) if record.creative else None,
        country_of(record.country) if record.country else None,
    )


@lru_cache(maxsize=1_000)
def country_of(raw: bytes) -> str | None:
    """The country that a proxy named, None when it is none."""
    code = raw.decode("ascii", "replace").upper()
    return code if code in COUNTRIES else None


@lru_cache(maxsize=100)
def _verdict(device: str, reason: DropReason | None) -> bytes:
    return _of_text(device) + (_NULL if reason is None else _of_text(reason.value))


def _values(raws: Sequence[bytes]) -> bytes:
    return b"".join([_of_text(_cut(raw)) if raw else _NULL for raw in raws])


@lru_cache(maxsize=20_000)
def _creative_country(creative: bytes, country: bytes) -> bytes:
    known = country_of(country) if country else None
    return (_of_text(_cut(creative)) if creative else _NULL) + (_of_text(known) if known else _NULL)


@lru_cache(maxsize=20_000)
def _remembered(raw: bytes) -> bytes:
    return _text(raw)


def _text(raw: bytes) -> bytes:
    return _of_text(raw.decode("utf-8", "replace"))


def _cut(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")[:VALUE_CHARS_MAX]


def _of_text(text: str) -> bytes:
    raw = text.encode()
    return _LENGTH.pack(len(raw)) + raw
