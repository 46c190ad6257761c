"""Logs hold neither one-time links nor what was bound to a statement."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from affiliate.core.db import db

TOKEN = "a-token-that-was-mailed-to-somebody"


@pytest.fixture
def lines(app: Flask) -> Iterator[io.StringIO]:
    """What the application's own handler writes."""
    (handler,) = (h for h in logging.getLogger().handlers if isinstance(h, logging.StreamHandler)
                  and type(h) is logging.StreamHandler)  # fmt: skip
    written, root = io.StringIO(), logging.getLogger()
    level, stream = root.level, handler.setStream(written)
    root.setLevel("INFO")
    yield written
    root.setLevel(level)
    if stream is not None:
        handler.setStream(stream)


@pytest.mark.abuse("A39", "A40", "A41")
@pytest.mark.parametrize(
    "path", ["/reset-password/", "/verify/", "/profile/email/", "/invitations/"]
)
def test_a_one_time_link_is_not_written_into_the_log(
    client: FlaskClient, lines: io.StringIO, path: str
) -> None:
    assert client.get(path + TOKEN).status_code in (400, 404, 410)
    assert client.post(path + TOKEN).status_code == 400
    told = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert {each["path"] for each in told if "path" in each} == {path + "<token>"}
    assert TOKEN not in lines.getvalue()


@pytest.mark.abuse("A39", "A40")
def test_an_error_of_the_database_names_no_bound_value(app: Flask) -> None:
    with app.app_context(), pytest.raises(sa.exc.DataError) as raised:
        db.session.execute(
            sa.text("SELECT CAST(:a AS integer), :b"), {"a": "x", "b": "anna@blog.example"}
        )
    assert "anna@blog.example" not in str(raised.value)
