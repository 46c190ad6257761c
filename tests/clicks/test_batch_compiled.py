"""The loader's compiled steps do what the plain ones do, to sound clicks and to garbage."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from click_support import CHROME, need_compiled
from hypothesis import given
from hypothesis import strategies as st

from tracker.clicks import judging, records, rows
from tracker.clicks.compiled import STEP_BY_STEP, Steps, _is_fresh, loader_steps, source_of
from tracker.clicks.judging import Candidate, LinkFacts
from tracker.clicks.records import FLAG_KNOWN_VISITOR, ClickRecord
from tracker.clicks.rollups import Counts
from tracker.clicks.rules import DropReason
from tracker.clicks.tokens import NO_VISITOR, new_click_id

NOON_MS = 1_795_000_000_000
FACTS = {
    1: LinkFacts(program_id=7, enrollment_id=70, time_zone="Europe/Moscow"),
    2: LinkFacts(program_id=8, enrollment_id=80, time_zone="America/St_Johns"),
    2**62: LinkFacts(program_id=2**40, enrollment_id=2**50, time_zone="Europe/Moscow"),
}


@pytest.fixture(scope="module")
def compiled() -> Steps:
    need_compiled()
    return loader_steps()


def _text(*usual: bytes) -> st.SearchStrategy[bytes]:
    """Empty, one of these, or any bytes that a field may have."""
    anything = st.binary(max_size=130).map(lambda raw: raw.replace(b"\0", b"\1"))
    return st.one_of(st.just(b""), st.sampled_from(usual), anything)


TEXTS = st.tuples(
    _text(CHROME.encode(), b"curl/8", b"Mozilla/5.0 (iPhone) Mobile Safari", b"SeznamBot/4.0"),
    _text(b"https://blog.example/post", "https://блог.рф/".encode()),
    _text(b"https://shop.example/deep"),
    *[_text(b"campaign", b"x" * 101, "ё".encode() * 101)] * 5,
    _text(b"banner-1"),
    _text(b"RU", b"ru", b"XX", b"T1"),
).map(b"\0".join)
TEXT = CHROME.encode() + b"\0" * 9
VISITORS = st.sampled_from([NO_VISITOR, b"\1" * 16, b"\xff" * 16, bytes(range(16))])
RECORDS = st.builds(
    records.encode,
    st.builds(
        new_click_id,
        st.integers(0, 200).map(lambda n: NOON_MS + n * 433_000),
        st.binary(min_size=10, max_size=10),
    ),
    st.sampled_from(list(FACTS)),
    VISITORS,
    st.sampled_from([b"\2" * 16, b"\xfe" * 16, bytes(range(16, 32))]),
    st.sampled_from([None, None, None, *DropReason]),
    st.integers(0, 255),
    TEXTS,
)


def _touched(raw: bytes, place: int, byte: int) -> bytes:
    place %= len(raw)
    return raw[:place] + bytes([byte]) + raw[place + 1 :]


def _with_sum(body: bytes, version: int) -> bytes:
    """Whatever it is, its checksum is right."""
    return records.HEAD.pack(records.MAGIC, version, 0, len(body), records.crc32(body)) + body


PIECES = st.one_of(
    RECORDS,
    RECORDS,
    st.builds(lambda raw, size: raw[:size], RECORDS, st.integers(0, 200)),
    st.builds(_touched, RECORDS, st.integers(0, 400), st.integers(0, 255)),
    st.builds(_with_sum, st.binary(max_size=120), st.sampled_from([1, 2, 3])),
    # Sound by its checksum, with a byte of its content changed.
    st.builds(
        lambda raw, place, byte: _with_sum(_touched(raw[12:], place, byte), 2),
        RECORDS, st.integers(0, 300), st.integers(0, 255),
    ),
    st.binary(max_size=40),
)  # fmt: skip


@given(st.lists(PIECES, max_size=6).map(b"".join), st.booleans(), st.integers(1, 8))
def test_a_segment_is_read_alike(
    compiled: Steps, data: bytes, ended: bool, records_max: int
) -> None:
    plain, fast = (
        records.scan(data, ended=ended, records_max=records_max, reader=steps.read_sound)
        for steps in (STEP_BY_STEP, compiled)
    )
    assert fast == plain
    assert {type(record) for record in fast.records} <= {ClickRecord}


def _said(click: Candidate) -> tuple[Any, ...]:
    return tuple(getattr(click, name) for name in judging.Candidate.__slots__)


SEEN = st.dictionaries(st.integers(-3, 3), st.integers(0, 200), max_size=3)


@given(st.lists(RECORDS, max_size=8), SEEN)
def test_a_batch_is_judged_packed_and_counted_alike(
    compiled: Steps, raws: list[bytes], before: dict[int, int]
) -> None:
    found = records.scan(b"".join(raws), ended=True).records
    assert len(found) == len(raws)
    plain, fast = (_worked(steps, found, before) for steps in (STEP_BY_STEP, compiled))
    assert fast == plain


def _worked(steps: Steps, found: list[ClickRecord], before: dict[int, int]) -> dict[str, Any]:
    """All that a batch leaves; some of its visitors were ``before`` it, by place and minute."""
    facts_of: dict[int, LinkFacts] = {}
    clicks = steps.candidates(found, FACTS)
    open_clicks = steps.leave_marks(clicks)
    asked = steps.asked(open_clicks)
    # Cookies that were handed out with later clicks of a visitor too: somebody may have them.
    handed_out = {each.handed_out for each in open_clicks if each.handed_out is not None}
    usual = sorted(asked | handed_out)
    seen = {
        usual[place % len(usual)]: NOON_MS + minute * 433_000
        for place, minute in before.items()
        if usual
    }
    of_links: Counts = {(70, 0, 1, "s1", "campaign"): [4, 2]}
    of_programs: Counts = {}
    touched = steps.judge(open_clicks, seen)
    return {
        "clicks": [_said(click) for click in clicks],
        "open": [click.record.offset for click in open_clicks],
        "asked": asked,
        "seen": seen,
        "touched": touched,
        "rows": steps.packed(clicks),
        "sorts": steps.sorts(clicks, facts_of),
        "facts": facts_of,
        "values": steps.values(clicks, of_links, of_programs),
        "of links": of_links,
        "of programs": of_programs,
        "in order": [*of_links, *of_programs],
    }


@given(st.lists(RECORDS, max_size=8), SEEN)
def test_the_judge_needs_no_mark_that_is_not_asked_for(
    compiled: Steps, raws: list[bytes], before: dict[int, int]
) -> None:
    found = records.scan(b"".join(raws), ended=True).records
    for steps in (compiled, STEP_BY_STEP):
        said = []
        for all_of_them in (True, False):
            clicks = steps.leave_marks(steps.candidates(found, FACTS))
            asked = steps.asked(clicks)
            handed_out = {each.handed_out for each in clicks if each.handed_out is not None}
            usual = sorted({each.mark for each in clicks} | handed_out)
            seen = {
                usual[place % len(usual)]: NOON_MS + minute * 433_000
                for place, minute in before.items()
                if usual
            }
            if not all_of_them:
                seen = {mark: at for mark, at in seen.items() if mark in asked}
            touched = steps.judge(clicks, seen)
            said.append((touched, [_said(click) for click in clicks]))
        assert said[0] == said[1]


def test_of_each_visitor_one_cookie_that_was_handed_out_is_asked_for(compiled: Steps) -> None:
    """Of the first click: whoever was seen before it is no new visitor in the ones behind."""
    raws = [
        records.encode(new_click_id(NOON_MS + n, bytes(10)), 1, visitor, address, None, flags, TEXT)
        for n, (visitor, address, flags) in enumerate(
            [
                (b"\1" * 16, b"\2" * 16, 0),
                (b"\3" * 16, b"\2" * 16, 0),
                (b"\4" * 16, b"\5" * 16, 0),
                (b"\3" * 16, b"\6" * 16, FLAG_KNOWN_VISITOR),
            ]
        )
    ]
    found = records.scan(b"".join(raws), ended=True).records
    for steps in (compiled, STEP_BY_STEP):
        clicks = steps.leave_marks(steps.candidates(found, FACTS))
        first, again, other, back = clicks
        assert first.mark == again.mark
        assert back.mark == again.handed_out
        assert steps.asked(clicks) == {
            first.mark, first.handed_out, other.mark, other.handed_out, back.mark,
        }  # fmt: skip
        assert steps.asked(clicks[:3]) == {
            first.mark, first.handed_out, other.mark, other.handed_out,
        }  # fmt: skip


def test_marks_are_told_apart_by_link_and_day(compiled: Steps) -> None:
    def marks(*clicks: tuple[int, int]) -> list[int]:
        raws = [
            records.encode(new_click_id(ms, bytes(10)), link, b"\1" * 16, b"\2" * 16, None, 1, TEXT)
            for link, ms in clicks
        ]
        found = compiled.candidates(records.scan(b"".join(raws), ended=True).records, FACTS)
        return [click.mark for click in compiled.leave_marks(found)]

    day = 86_400_000  # milliseconds
    first, other_link, other_day, again = marks(
        (1, NOON_MS), (2, NOON_MS), (1, NOON_MS + day), (1, NOON_MS + 60_000)
    )
    assert first == again
    assert len({first, other_link, other_day}) == 3


def test_what_is_no_record_is_refused(compiled: Steps) -> None:
    raw = records.encode(new_click_id(NOON_MS, bytes(10)), 1, NO_VISITOR, b"\2" * 16, None, 0, TEXT)
    (found,) = records.scan(raw, ended=True).records
    for wrong in (("a", "tuple"), None):
        with pytest.raises(TypeError, match="a batch is of ClickRecords, not of"):
            compiled.candidates([wrong], FACTS)  # type: ignore[list-item]
    for short in ({"click_id": b"x"}, {"visitor_id": b"x"}, {"address_hash": b""}):
        with pytest.raises(ValueError, match="have 16 bytes"):
            compiled.candidates([found._replace(**short)], FACTS)
    with pytest.raises(ValueError, match="5 sub-ids"):
        compiled.candidates([found._replace(sub_ids=(b"",))], FACTS)
    with pytest.raises(TypeError):
        compiled.packed([judging.Candidate])  # type: ignore[list-item]
    for step in (compiled.packed, compiled.leave_marks, compiled.asked):
        with pytest.raises((TypeError, AttributeError)):
            step([None])  # type: ignore[list-item]
    for wrong_data in ("text", None):
        with pytest.raises(TypeError):
            compiled.read_sound(wrong_data, 0, [], 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no record begins at -1"):
        compiled.read_sound(raw, -1, [], 1)


def test_what_is_compiled_from_another_source_is_not_used(compiled: Steps) -> None:
    made = ModuleType("tracker.clicks._batch")
    for source, fresh in (("", False), ("another", False), (source_of("_batch"), True)):
        made.SOURCE = source  # type: ignore[attr-defined]
        assert _is_fresh(made) == fresh
    assert not _is_fresh(ModuleType("tracker.clicks._batch")), "of a release without a source"
    assert not _is_fresh(ModuleType("tracker.clicks._no_source"))


def test_a_link_without_facts_is_an_error_in_both(compiled: Steps) -> None:
    raw = records.encode(
        new_click_id(NOON_MS, bytes(10)), 99, NO_VISITOR, b"\2" * 16, None, 0, b"\0" * 9
    )
    found = records.scan(raw, ended=True).records
    for steps in (STEP_BY_STEP, compiled):
        with pytest.raises(KeyError, match="99"):
            steps.candidates(found, FACTS)


def test_an_empty_batch_has_no_rows(compiled: Steps) -> None:
    assert compiled.packed([]) == rows.packed([]) == b""
    assert compiled.leave_marks(compiled.candidates([], FACTS)) == []
