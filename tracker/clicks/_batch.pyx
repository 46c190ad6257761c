# cython: language_level=3, boundscheck=False, wraparound=False, nonecheck=True
"""The loader's work on each click of a batch, compiled: reading, judging, packing, counting.

Each function does what the one of its name does in records.py, judging.py, marks.py, rows.py and
rollups.py, which say what the work is; tests hold them against each other
(tests/clicks/test_batch_compiled.py). What is rare (texts that are not ASCII, records that are not
sound) is left to them. Where nothing could be compiled when Kopeck was installed there is no such
module, and they do it all.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy

from tracker.clicks.judging import QUARTER_MS as _QUARTER_MS
from tracker.clicks.judging import agent_bits, agent_says, salt_of, slot_of
from tracker.clicks.records import REASON_OF, ClickRecord
from tracker.clicks.rows import VALUE_CHARS_MAX as _VALUE_CHARS_MAX
from tracker.clicks.rows import country_of
from tracker.clicks.rules import DUPLICATE_WINDOW_S, CountedBy, DropReason


cdef extern from "Python.h":
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    char *PyUnicode_1BYTE_DATA(object text)


cdef extern from *:
    const char *KOPECK_SOURCE


cdef extern from "_bytes.h":
    uint32_t little32(const uint8_t *bytes)
    uint64_t little64(const uint8_t *bytes)
    void put_big(uint8_t *to, uint64_t number, int bytes)
    bint is_ascii(const uint8_t *at, size_t bytes)
    void fill_crc_tables()
    uint32_t crc32_of(const uint8_t *at, size_t bytes)


cdef enum:
    ID_BYTES = 16
    MS_BYTES = 6
    # records.HEAD, records.BODY and the texts behind it; RECORD_BYTES_MAX is records'.
    HEAD_BYTES = 12
    BODY_BYTES = 58
    TEXTS = 10
    RECORD_BYTES_MAX = 16_384
    FLAG_KNOWN_VISITOR = 0x01
    FLAG_DEEP_LINK_REFUSED = 0x02
    # rows: what one row has before its texts, with a visitor.
    COLUMNS = 22
    FIXED_BYTES = 125
    ROW_BYTES_USUAL = 512
    AGENTS_REMEMBERED_MAX = 10_000

cdef int64_t QUARTER_MS = _QUARTER_MS
cdef Py_ssize_t VALUE_CHARS_MAX = _VALUE_CHARS_MAX
cdef int64_t MS_TO_2000 = 946_684_800_000
cdef uint8_t[ID_BYTES] NO_VISITOR  # All zero, as what C makes static is.
cdef object _new_tuple = tuple.__new__
cdef object _BOT = DropReason.BOT
cdef object _DUPLICATE = DropReason.DUPLICATE
cdef tuple _NO_VALUES = (b"",) * 5
cdef list _KINDS = [kind.value for kind in CountedBy]
cdef str CREATIVE_KIND = CountedBy.CREATIVE.value
cdef str COUNTRY_KIND = CountedBy.COUNTRY.value
cdef int64_t DUPLICATE_WINDOW_MS = DUPLICATE_WINDOW_S * 1000
cdef dict _agents = {}
cdef list _REASONS = [REASON_OF.get(number, NotImplemented) for number in range(256)]

SOURCE = KOPECK_SOURCE.decode()
"""What this was compiled from: see ``compiled.source_of``."""

fill_crc_tables()


def read_sound(
    bytes data not None, Py_ssize_t position, list records not None, Py_ssize_t records_max
):
    """``records.read_sound``: sound records up to the first thing that needs a closer look."""
    cdef const uint8_t *base = <const uint8_t *>PyBytes_AS_STRING(data)
    cdef const uint8_t *head
    cdef const uint8_t *body
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef Py_ssize_t wanted = records_max - len(records)
    cdef Py_ssize_t length
    cdef object record
    if position < 0:
        raise ValueError(f"no record begins at {position}")
    while wanted > 0 and position <= size - HEAD_BYTES - BODY_BYTES:
        head = base + position
        body = head + HEAD_BYTES
        length = head[6] | head[7] << 8
        if (
            memcmp(head, b"\xc7KPJ\x02", 5) != 0
            or not BODY_BYTES <= length <= RECORD_BYTES_MAX
            or position + HEAD_BYTES + length > size
            or crc32_of(body, length) != little32(head + 8)
            or body[MS_BYTES] >> 4 != 7
        ):
            break
        record = _record(data, position, length)
        if record is None:
            break
        records.append(record)
        position += HEAD_BYTES + length
        wanted -= 1
    return position


ctypedef const uint8_t *Place


cdef object _record(bytes data, Py_ssize_t position, Py_ssize_t length):
    """A sound record; None for one whose content contradicts its format."""
    cdef const uint8_t *body = <const uint8_t *>PyBytes_AS_STRING(data) + position + HEAD_BYTES
    cdef const uint8_t *end = body + length
    cdef const uint8_t *at = body + BODY_BYTES
    # Where each text begins; behind the last one an end as if another followed.
    cdef Place[TEXTS + 1] begins
    cdef int texts = 0
    reason = _REASONS[body[56]]
    if reason is NotImplemented:
        return None
    while at != NULL:
        if texts == TEXTS:
            return None
        begins[texts] = at
        texts += 1
        at = <const uint8_t *>memchr(at, 0, end - at)
        if at != NULL:
            at += 1
    if texts != TEXTS:
        return None
    begins[TEXTS] = end + 1
    place = position
    return _new_tuple(
        ClickRecord,
        (
            PyBytes_FromStringAndSize(<const char *>body, ID_BYTES),
            <int64_t>little64(body + 16),
            PyBytes_FromStringAndSize(<const char *>body + 24, ID_BYTES),
            PyBytes_FromStringAndSize(<const char *>body + 40, ID_BYTES),
            reason,
            body[57],
            _known_agent(_text(begins, 0)),
            _text(begins, 1),
            _text(begins, 2),
            _sub_ids(begins),
            _text(begins, 8),
            _text(begins, 9),
            data,
            place,
            position + HEAD_BYTES + length,
            place,
        ),
    )


cdef bytes _text(Place *begins, int number):
    return PyBytes_FromStringAndSize(
        <const char *>begins[number], begins[number + 1] - begins[number] - 1
    )


cdef bytes _known_agent(bytes agent):
    """One object for equal agents, of which a batch has few: it stays small and in the cache."""
    known = _agents.get(agent)
    if known is not None:
        return known
    if len(_agents) >= AGENTS_REMEMBERED_MAX:
        _agents.clear()
    _agents[agent] = agent
    return agent


cdef tuple _sub_ids(Place *begins):
    if begins[8] - begins[3] == 5:
        return _NO_VALUES
    return (
        _text(begins, 3), _text(begins, 4), _text(begins, 5), _text(begins, 6), _text(begins, 7)
    )


cdef enum Field:
    # Of a ClickRecord, in its order.
    CLICK_ID
    LINK_ID
    VISITOR_ID
    ADDRESS_HASH
    REASON
    FLAGS
    AGENT
    REFERRER
    DEEP_LINK
    SUB_IDS
    CREATIVE
    COUNTRY
    DATA
    BEGIN
    END
    OFFSET
    RECORD_FIELDS


cdef class Candidate:
    """``judging.Candidate``; its record is a ClickRecord and stays the same."""

    cdef readonly object record
    cdef public object facts, clicked_ms, slot, reason, device, mark, handed_out
    cdef public bint is_unique


cdef tuple _checked(each):
    """A record of which all that is read without a look here has its type and length."""
    if not isinstance(each, ClickRecord) or len(<tuple>each) != RECORD_FIELDS:
        raise TypeError(f"a batch is of ClickRecords, not of {type(each).__name__}")
    cdef tuple record = <tuple>each
    cdef bytes click_id = record[CLICK_ID]
    cdef bytes visitor_id = record[VISITOR_ID]
    cdef bytes address_hash = record[ADDRESS_HASH]
    cdef tuple sub_ids = record[SUB_IDS]
    if len(click_id) != ID_BYTES or len(visitor_id) != ID_BYTES or len(address_hash) != ID_BYTES:
        raise ValueError(f"ids and hashes of a record have {ID_BYTES} bytes")
    if len(sub_ids) != len(_NO_VALUES):
        raise ValueError(f"a record has {len(_NO_VALUES)} sub-ids")
    return record


def candidates(records, dict facts_of not None):
    """``judging.candidates``."""
    cdef list found = []
    cdef Candidate click
    cdef tuple record
    cdef int64_t clicked_ms, quarter, placed = -1
    cdef object facts, slot = None, zone = None
    for each in records:
        record = _checked(each)
        facts = facts_of[record[LINK_ID]]
        clicked_ms = _milliseconds(record[CLICK_ID])
        quarter = clicked_ms // QUARTER_MS
        # A batch has few quarters of an hour, and neighbours most often the same.
        if quarter != placed or facts.time_zone is not zone:
            placed, zone = quarter, facts.time_zone
            slot = slot_of(zone, quarter)
        click = Candidate.__new__(Candidate)
        click.record, click.facts, click.clicked_ms, click.slot = record, facts, clicked_ms, slot
        click.reason = record[REASON]
        click.device, crawls = agent_says(record[AGENT])
        if crawls and click.reason is None:
            click.reason = _BOT
        click.is_unique = False
        click.mark = 0
        found.append(click)
    return found


def leave_marks(list clicks not None):
    """``judging.leave_marks``."""
    cdef list open_clicks = []
    cdef Candidate click
    cdef tuple record
    cdef uint64_t salt
    cdef dict salts = {}
    cdef dict agents = {}
    cdef object day = None
    for click in clicks:
        if click.reason is not None:
            continue
        open_clicks.append(click)
        record = <tuple>click.record
        if click.slot.day is not day:
            day, salts = click.slot.day, {}
        known = salts.get(record[LINK_ID])
        if known is None:
            known = salts[record[LINK_ID]] = salt_of(record[LINK_ID], day)
        salt = <uint64_t><int64_t>known
        if record[FLAGS] & FLAG_KNOWN_VISITOR:
            click.mark = <int64_t>(salt ^ _later_half(record[VISITOR_ID]))
            continue
        bits = agents.get(record[AGENT])
        if bits is None:
            bits = agents[record[AGENT]] = agent_bits(record[AGENT])
        click.mark = <int64_t>(
            salt ^ _later_half(record[ADDRESS_HASH]) ^ <uint64_t><int64_t>bits
        )
        if memcmp(PyBytes_AS_STRING(record[VISITOR_ID]), NO_VISITOR, ID_BYTES) != 0:
            click.handed_out = <int64_t>(salt ^ _later_half(record[VISITOR_ID]))
    return open_clicks


def asked(list clicks not None):
    """``marks.asked``."""
    cdef set found = set()
    cdef Candidate click
    for click in clicks:
        if click.mark not in found:
            found.add(click.mark)
            if click.handed_out is not None:
                found.add(click.handed_out)
    return found


def judge(list open_clicks not None, dict seen not None):
    """``judging.judge``."""
    cdef dict touched = {}
    cdef Candidate click
    cdef object previous, latest
    for click in open_clicks:
        previous = seen.get(click.mark)
        latest = click.clicked_ms
        if previous is None:
            click.is_unique = click.handed_out is None or click.handed_out not in seen
        else:
            if abs(<int64_t>latest - <int64_t>previous) <= DUPLICATE_WINDOW_MS:
                click.reason = _DUPLICATE
            latest = max(latest, previous)
        seen[click.mark] = touched[click.mark] = latest
        if click.handed_out is not None:
            seen[click.handed_out] = click.clicked_ms
    return touched


def sorts(list clicks not None, dict facts_of not None):
    """``rollups.sorts``."""
    cdef list found = []
    cdef Candidate click
    for click in clicks:
        link_id = (<tuple>click.record)[LINK_ID]
        facts_of[link_id] = click.facts
        # `_value_` is what an Enum's `value` looks up by a descriptor of Python's.
        outcome = click.is_unique if click.reason is None else click.reason._value_
        found.append((link_id, click.slot, outcome, click.device))
    return found


def values(list clicks not None, dict of_links not None, dict of_programs not None):
    """``rollups.values``."""
    cdef Candidate click
    cdef tuple record
    cdef int number
    for click in clicks:
        record = <tuple>click.record
        if click.reason is not None or not (
            record[CREATIVE] or record[COUNTRY] or record[SUB_IDS] is not _NO_VALUES
        ):
            continue
        number = 0
        for raw in <tuple>record[SUB_IDS]:
            if raw:
                _add_value(of_links, click, record, <object>_KINDS[number], _value(raw))
            number += 1
        if record[CREATIVE]:
            value = _value(record[CREATIVE])
            _add_value(of_links, click, record, CREATIVE_KIND, value)
            _add_program_value(of_programs, click, CREATIVE_KIND, value)
        if record[COUNTRY]:
            value = country_of(record[COUNTRY])
            if value is not None:
                _add_value(of_links, click, record, COUNTRY_KIND, value)
                _add_program_value(of_programs, click, COUNTRY_KIND, value)


cdef str _value(bytes raw):
    return raw.decode("utf-8", "replace")[:VALUE_CHARS_MAX]


cdef int _add_value(dict counts, Candidate click, tuple record, kind, value) except -1:
    key = (click.facts.enrollment_id, click.slot.day, record[LINK_ID], kind, value)
    return _add_one(counts, key, click.is_unique)


cdef int _add_program_value(dict counts, Candidate click, kind, value) except -1:
    return _add_one(counts, (click.facts.program_id, click.slot.day, kind, value), click.is_unique)


cdef int _add_one(dict counts, tuple key, bint unique) except -1:
    cdef list there = counts.get(key)
    if there is None:
        counts[key] = [1, int(unique)]
    else:
        there[0] += 1
        there[1] += unique
    return 0


cdef int64_t _milliseconds(bytes click_id) noexcept:
    cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(click_id)
    cdef int64_t number = 0
    cdef int place
    for place in range(MS_BYTES):
        number = number << 8 | at[place]
    return number


cdef uint64_t _later_half(bytes raw) noexcept:
    return little64(<const uint8_t *>PyBytes_AS_STRING(raw) + ID_BYTES // 2)


# ---- rows ----

cdef struct Out:
    uint8_t *data
    Py_ssize_t size
    Py_ssize_t room


cdef uint8_t *_more(Out *out, Py_ssize_t bytes_) except NULL:
    """Where the next so many bytes go."""
    if out.size + bytes_ > out.room:
        grown = <uint8_t *>PyMem_Realloc(out.data, 2 * out.room + bytes_)
        if grown == NULL:
            raise MemoryError
        out.data, out.room = grown, 2 * out.room + bytes_
    out.size += bytes_
    return out.data + out.size - bytes_


def packed(list clicks not None):
    """``rows.packed``."""
    cdef Out out = Out(NULL, 0, 0)
    cdef Candidate click
    try:
        _more(&out, (len(clicks) + 1) * ROW_BYTES_USUAL)
        out.size = 0
        for click in clicks:
            _put_row(&out, click)
        return PyBytes_FromStringAndSize(<const char *>out.data, out.size)
    finally:
        PyMem_Free(out.data)


cdef int _put_row(Out *out, Candidate click) except -1:
    cdef tuple record = <tuple>click.record
    cdef int flags = record[FLAGS]
    cdef int64_t clicked_ms = click.clicked_ms
    cdef uint8_t *to = _more(out, FIXED_BYTES)
    cdef bint visited = memcmp(PyBytes_AS_STRING(record[VISITOR_ID]), NO_VISITOR, ID_BYTES) != 0
    put_big(to, COLUMNS, 2)
    to = _put_id(to + 2, record[CLICK_ID])
    to = _put_number(to, (clicked_ms - MS_TO_2000) * 1000)
    to = _put_number(to, record[LINK_ID])
    to = _put_number(to, click.facts.program_id)
    to = _put_number(to, click.facts.enrollment_id)
    to = _put_flag(to, flags & FLAG_KNOWN_VISITOR)
    to = _put_flag(to, click.is_unique)
    to = _put_flag(to, flags & FLAG_DEEP_LINK_REFUSED)
    to = _put_id(to, record[ADDRESS_HASH])
    if visited:
        _put_id(to, record[VISITOR_ID])
    else:
        put_big(to, -1, 4)
        out.size -= ID_BYTES
    _put_name(out, click.device)
    if click.reason is None:
        _put_null(out)
    else:
        _put_name(out, click.reason._value_)
    _put_text(out, record[AGENT])
    _put_text(out, record[REFERRER])
    if record[DEEP_LINK]:
        _put_text(out, record[DEEP_LINK])
    else:
        _put_null(out)
    for sub_id in <tuple>record[SUB_IDS]:
        _put_value(out, sub_id)
    _put_value(out, record[CREATIVE])
    country = country_of(record[COUNTRY]) if record[COUNTRY] else None
    if country is None:
        _put_null(out)
    else:
        _put_name(out, country)
    return 0


cdef uint8_t *_put_id(uint8_t *to, bytes value):
    put_big(to, ID_BYTES, 4)
    memcpy(to + 4, PyBytes_AS_STRING(value), ID_BYTES)
    return to + 4 + ID_BYTES


cdef uint8_t *_put_number(uint8_t *to, int64_t value) noexcept:
    put_big(to, 8, 4)
    put_big(to + 4, value, 8)
    return to + 12


cdef uint8_t *_put_flag(uint8_t *to, bint value) noexcept:
    put_big(to, 1, 4)
    to[4] = value != 0
    return to + 5


cdef int _put_null(Out *out) except -1:
    put_big(_more(out, 4), -1, 4)
    return 0


cdef int _put_raw(Out *out, const char *at, Py_ssize_t size) except -1:
    cdef uint8_t *to = _more(out, 4 + size)
    put_big(to, size, 4)
    memcpy(to + 4, at, size)
    return 0


cdef int _put_name(Out *out, str name) except -1:
    """A name of ours, which is ASCII."""
    return _put_raw(out, PyUnicode_1BYTE_DATA(name), PyUnicode_GET_LENGTH(name))


cdef int _put_text(Out *out, bytes raw) except -1:
    if not is_ascii(<const uint8_t *>PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw)):
        raw = raw.decode("utf-8", "replace").encode()
    return _put_raw(out, PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw))


cdef int _put_value(Out *out, bytes raw) except -1:
    """A sub-id or creative, NULL where there is none."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(raw)
    if not size:
        return _put_null(out)
    if not is_ascii(<const uint8_t *>PyBytes_AS_STRING(raw), size):
        raw = raw.decode("utf-8", "replace")[:VALUE_CHARS_MAX].encode()
        return _put_raw(out, PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw))
    return _put_raw(out, PyBytes_AS_STRING(raw), min(size, VALUE_CHARS_MAX))
