"""The journal's record: one click as bytes, and how to find records in a file (pure).

``magic(4) version(1) reserved(1) length(2) crc32(4)`` and ``length`` bytes of body, little
endian. The checksum covers the body: a fixed part, then text fields separated by NUL, eight
in version 1 (of releases before creatives and countries), ten in version 2. A reader that
meets anything else looks for the next magic.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from tracker.clicks.rules import REASON_NUMBERS, REASON_OF_NUMBER, DropReason

MAGIC: Final = b"\xc7KPJ"
VERSION: Final = 2
RECORD_BYTES_MAX: Final = 16_384
REFERRER_CHARS_MAX: Final = 500

FLAG_KNOWN_VISITOR: Final = 0x01
"""The visitor's cookie came with the request."""
FLAG_DEEP_LINK_REFUSED: Final = 0x02
"""A deep link was asked for that the program does not allow."""

HEAD: Final = Struct("<4sBBHI")
BODY: Final = Struct("<16sq16s16sBB")
TEXT_FIELDS: Final = {1: 8, 2: 10}
"""How many texts each version has: agent, referrer, deep link, s1 … s5, then creative and
country (ISO 3166-1, two letters); an absent one is empty."""
SUB_ID_FIELDS: Final = slice(3, 8)
REASON_OF: Final[dict[int, DropReason | None]] = {0: None, **REASON_OF_NUMBER}


class RejectReason(StrEnum):
    """Why bytes of a journal went to quarantine."""

    FOREIGN = "foreign"
    """Bytes that do not begin like a record."""
    TORN = "torn"
    """The beginning of a record whose rest is missing or damaged."""
    UNKNOWN_VERSION = "unknown_version"
    """A sound record of a version that this program does not know."""
    UNREADABLE = "unreadable"
    """A sound record whose content contradicts its format."""
    UNKNOWN_LINK = "unknown_link"
    """A sound record of a link that the database does not have."""


class ClickRecord(NamedTuple):
    """One click as the front saw it.

    A named tuple because a frozen dataclass of this size takes four times as long to make.
    """

    click_id: bytes
    link_id: int
    visitor_id: bytes
    """16 zero bytes in consent mode."""
    address_hash: bytes
    reason: DropReason | None
    """What the front decided; None: nothing against it so far."""
    flags: int
    agent: bytes
    referrer: bytes
    deep_link: bytes
    sub_ids: tuple[bytes, ...]
    creative: bytes
    country: bytes
    data: bytes
    """The bytes that were scanned, in which the record goes from ``begin`` to ``end``."""
    begin: int
    end: int
    offset: int
    """Its place in its source, for quarantine: ``begin``, or a spilled record's row."""

    @property
    def raw(self) -> bytes:
        """The whole record, for quarantine; made when it is asked for, which is rare."""
        return self.data[self.begin : self.end]


@dataclass(frozen=True, slots=True)
class Reject:
    """Bytes that are no click, where they lay and why."""

    offset: int
    raw: bytes
    reason: RejectReason


@dataclass(frozen=True, slots=True)
class Scan:
    """What a stretch of journal holds; ``consumed`` is where the next reading begins."""

    records: list[ClickRecord]
    rejects: list[Reject]
    consumed: int


def encode(
    click_id: bytes,
    link_id: int,
    visitor_id: bytes,
    address_hash: bytes,
    reason: DropReason | None,
    flags: int,
    texts: bytes,
) -> bytes:
    """One record. ``texts`` are the ten text fields joined by NUL, none containing one.

    Raises ValueError for more than RECORD_BYTES_MAX.
    """
    number = 0 if reason is None else REASON_NUMBERS[reason]
    body = BODY.pack(click_id, link_id, visitor_id, address_hash, number, flags) + texts
    if len(body) > RECORD_BYTES_MAX:
        raise ValueError(f"a record of {len(body)} bytes would not be read again")
    return HEAD.pack(MAGIC, VERSION, 0, len(body), crc32(body)) + body


SoundReader = Callable[[bytes, int, list[ClickRecord], int], int]


@contextmanager
def collector_paused() -> Iterator[None]:
    """Let the cyclic garbage collector wait while many small things are made.

    It looks through all of them again and again and finds nothing: records hold no cycles.
    With ten thousand of them at a time it took longer than everything else together.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


@collector_paused()
def scan(
    data: bytes,
    *,
    ended: bool,
    records_max: int = 1 << 30,
    start: int = 0,
    reader: SoundReader | None = None,
) -> Scan:
    """Read records out of ``data`` from ``start`` on, stepping over what is none.

    ``ended`` says that nothing will be appended any more: an incomplete record at the end
    is then torn; otherwise it is left for the next reading. ``reader`` does the same as
    ``read_sound``.
    """
    read = reader or read_sound
    records: list[ClickRecord] = []
    rejects: list[Reject] = []
    position = start
    while position < len(data) and len(records) < records_max:
        position = read(data, position, records, records_max)
        if position == len(data) or len(records) == records_max:
            break
        found = _record_at(data, position)
        if isinstance(found, int):
            if found == _INCOMPLETE and not ended:
                break
            end = data.find(MAGIC, position + 1)
            end = _before_partial_magic(data, position) if end < 0 and not ended else end
            end = len(data) if end < 0 else end
            if end == position:
                break
            torn = data.startswith(MAGIC, position)
            reason = RejectReason.TORN if torn else RejectReason.FOREIGN
            rejects.append(Reject(position, data[position:end], reason))
            position = end
            continue
        end, version = found
        record = _decode(data, position, end, version)
        if record is not None:
            records.append(record)
        else:
            unread = version in TEXT_FIELDS
            reason = RejectReason.UNREADABLE if unread else RejectReason.UNKNOWN_VERSION
            rejects.append(Reject(position, data[position:end], reason))
        position = end
    return Scan(records, rejects, position)


def read_sound(data: bytes, position: int, records: list[ClickRecord], records_max: int) -> int:
    """Read sound records of this version up to the first thing that needs a closer look.

    All but a few records pass here, so the checks of the closer look stand once more, inline.
    """
    head, body, add = HEAD.unpack_from, BODY.unpack_from, records.append
    last = len(data) - HEAD.size - BODY.size
    wanted = records_max - len(records)
    while wanted > 0 and position <= last:
        magic, version, _, length, checksum = head(data, position)
        start = position + HEAD.size
        end = start + length
        content = data[start:end]
        if (
            magic != MAGIC
            or version != VERSION
            or not BODY.size <= length <= RECORD_BYTES_MAX
            or len(content) != length
            or crc32(content) != checksum
        ):
            break
        click_id, link_id, visitor_id, address_hash, number, flags = body(content)
        texts = content[BODY.size :].split(b"\0")
        if len(texts) != _TEXTS or number not in REASON_OF or click_id[6] >> 4 != 7:
            break
        agent, referrer, deep_link, s1, s2, s3, s4, s5, creative, country = texts
        add(
            ClickRecord(
                click_id,
                link_id,
                visitor_id,
                address_hash,
                REASON_OF[number],
                flags,
                agent,
                referrer,
                deep_link,
                (s1, s2, s3, s4, s5),
                creative,
                country,
                data,
                position,
                end,
                position,
            )
        )
        position = end
        wanted -= 1
    return position


_TEXTS = TEXT_FIELDS[VERSION]
_INCOMPLETE = -1
_NO_RECORD = -2


def _record_at(data: bytes, position: int) -> tuple[int, int] | int:
    """End and version of a sound record, or why there is none here."""
    rest = len(data) - position
    if rest < HEAD.size:
        seen = data[position : position + len(MAGIC)]
        return _INCOMPLETE if MAGIC.startswith(seen) or seen == MAGIC else _NO_RECORD
    magic, version, _, length, checksum = HEAD.unpack_from(data, position)
    if magic != MAGIC or length > RECORD_BYTES_MAX or length < BODY.size:
        return _NO_RECORD
    end = position + HEAD.size + length
    if end > len(data):
        # A torn record in mid-file claims bytes of its successors; a sound one behind it
        # shows that waiting for the rest would be waiting for ever.
        return _NO_RECORD if _sound_later(data, position + 1) else _INCOMPLETE
    if crc32(memoryview(data)[position + HEAD.size : end]) != checksum:
        return _NO_RECORD
    return end, version


def _sound_later(data: bytes, start: int) -> bool:
    while (position := data.find(MAGIC, start)) >= 0:
        if len(data) - position >= HEAD.size:
            _, _, _, length, checksum = HEAD.unpack_from(data, position)
            end = position + HEAD.size + length
            body = memoryview(data)[position + HEAD.size : end]
            if BODY.size <= length == len(body) and crc32(body) == checksum:
                return True
        start = position + 1
    return False


def _before_partial_magic(data: bytes, position: int) -> int:
    """Leave the last bytes when they may be the beginning of a record not yet whole."""
    for size in range(len(MAGIC) - 1, 0, -1):
        if data.endswith(MAGIC[:size]):
            return max(position, len(data) - size)
    return len(data)


def _decode(data: bytes, offset: int, end: int, version: int) -> ClickRecord | None:
    raw = data[offset:end]
    click_id, link_id, visitor_id, address_hash, number, flags = BODY.unpack_from(raw, HEAD.size)
    texts = raw[HEAD.size + BODY.size :].split(b"\0")
    if len(texts) != TEXT_FIELDS.get(version) or (number and number not in REASON_OF_NUMBER):
        return None
    # A click id is a UUID of version 7; anything else would name an absurd instant.
    if click_id[6] >> 4 != 7:
        return None
    return ClickRecord(
        click_id,
        link_id,
        visitor_id,
        address_hash,
        REASON_OF_NUMBER.get(number),
        flags,
        texts[0],
        texts[1],
        texts[2],
        tuple(texts[SUB_ID_FIELDS]),
        texts[8] if version > 1 else b"",
        texts[9] if version > 1 else b"",
        data,
        offset,
        end,
        offset,
    )
