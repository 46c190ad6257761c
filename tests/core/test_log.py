"""Logs: one JSON object a line, whatever the text; secrets do not get in."""

from __future__ import annotations

import io
import json
import logging

import pytest
import structlog

from affiliate.core import log


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    log.set_up("INFO")
    yield stream
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


@pytest.mark.abuse("A39")
@pytest.mark.parametrize(
    "text", ["a\r\nlevel=error fake", "\x1b[31mred\x1b[0m", "\u2028\x85x", "\ud800"]
)
def test_a_text_from_outside_stays_within_its_line(lines: io.StringIO, text: str) -> None:
    structlog.get_logger("test").info("click.seen", agent=text)
    logging.getLogger("library").info("agent %s", text)
    written = lines.getvalue()
    assert written.isascii()
    assert "\x1b" not in written
    assert [json.loads(line)["level"] for line in written.splitlines()] == ["info", "info"]


@pytest.mark.abuse("A39", "A41")
def test_secrets_are_hidden_by_name_and_by_shape(lines: io.StringIO) -> None:
    structlog.get_logger("test").info(
        "request.refused",
        authorization="Bearer kpk_ab12_topsecretvalue",
        password="hunter2",
        detail="key kpk_ab12_topsecretvalue and sk_test_51Habc were sent",
        path="x" * 10_000,
    )
    written = lines.getvalue()
    for secret in ("topsecretvalue", "hunter2", "51Habc"):
        assert secret not in written
    assert len(written) < 4_000


@pytest.mark.abuse("A41")
def test_of_a_long_traceback_the_end_is_kept_and_no_half_of_a_secret(lines: io.StringIO) -> None:
    secret = "kpk_ab12_" + "topsecret" * 300
    try:
        raise ValueError(f"{secret} is not right")
    except ValueError:
        structlog.get_logger("test").exception("request.failed", also="x" * 5_000)
    written = json.loads(lines.getvalue())
    assert written["exception"].endswith("is not right")
    assert "topsecret" not in lines.getvalue()
