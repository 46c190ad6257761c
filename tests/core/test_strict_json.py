"""JSON that two readers could read differently is refused."""

from __future__ import annotations

import pytest

from affiliate.core.errors import Malformed
from affiliate.core.strict_json import loads


def test_ordinary_json_is_read() -> None:
    assert loads('{"a": [1, 2.5, "ж\\u0436", null, true]}'.encode()) == {
        "a": [1, 2.5, "жж", None, True]
    }


@pytest.mark.abuse("A36")
@pytest.mark.parametrize("raw", [b'{"total": 1, "total": 2}', b'{"a": {"b": 1, "b": 1}}'])
def test_a_key_that_stands_twice_is_refused(raw: bytes) -> None:
    with pytest.raises(Malformed, match="twice"):
        loads(raw)


@pytest.mark.abuse("A6")
@pytest.mark.parametrize(
    "raw",
    [b"NaN", b"[Infinity]", b'{"a": -Infinity}', b"[1e400]", b"9" * 5000, b"[1" + b"0" * 19 + b"]"],
)
def test_numbers_that_are_none_or_too_large_are_refused(raw: bytes) -> None:
    with pytest.raises(Malformed):
        loads(raw)


@pytest.mark.abuse("A5")
@pytest.mark.parametrize(
    "raw",
    [b'{"a": "\xff"}', b'"\\ud800"', b'{"\\udfff": 1}', b'"a\\u0000b"', b"[" * 100_000, b"", b"{"],
)
def test_bad_text_and_bottomless_nesting_are_refused(raw: bytes) -> None:
    with pytest.raises(Malformed):
        loads(raw)
