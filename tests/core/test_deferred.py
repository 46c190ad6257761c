"""Answers that another thread gives, on the granian that is installed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.served import asked, on_granian

APPLICATION = """
import threading
from affiliate.core import deferred

meeting = threading.Barrier(3)

def page(environ, start_response):
    if environ["PATH_INFO"] == "/fails":
        raise ValueError("before it has begun")
    start_response("418 I'm a teapot", [("X-Page", environ["PATH_INFO"])])
    return [b"by the ", b"page"]

def later(given):
    meeting.wait(10)
    given.answer(201, [("X-Later", "yes")], threading.current_thread().name.encode())

def by_the_page(given, environ):
    try:
        given.answer_by(page, environ)
    except ValueError:
        given.answer(500, [], b"it failed")

def application(environ, start_response):
    given = environ.get(deferred.KEY)
    path = environ["PATH_INFO"]
    if given is None or path == "/at-once":
        start_response("200 OK", [("X-Given", str(given is not None))])
        return [b"at ", b"once"] if path != "/piecewise" else iter([b"piece", b"wise"])
    if path == "/together":
        threading.Thread(target=later, args=(given,), name="another").start()
    else:
        threading.Thread(target=by_the_page, args=(given, environ)).start()
    return given.put_off(start_response)

def make():
    deferred.offer(frozenset({"/together", "/at-once", "/page", "/fails"}))
    deferred.offer(frozenset({"/healthz"}))  # Once is enough, and the first one counts.
    return application
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("deferred")
    (made / "deferring.py").write_text(APPLICATION)
    return made


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    """One process with a single thread for requests."""
    options = ("--workers", "1", "--blocking-threads", "1")
    with on_granian("deferring:make", *options, environment={}, folder=folder) as web:
        yield web.port


def test_one_thread_takes_requests_that_wait_for_each_other(port: int) -> None:
    with ThreadPoolExecutor(3) as callers:
        answers = [callers.submit(asked, port, "GET", "/together") for _ in range(3)]
        assert [each.result() for each in answers] == [(201, b"another")] * 3


def test_an_application_may_answer_what_was_put_off(port: int) -> None:
    assert asked(port, "GET", "/page") == (418, b"by the page")
    assert asked(port, "GET", "/fails") == (500, b"it failed")


def test_whoever_is_given_one_may_answer_at_once(port: int) -> None:
    assert asked(port, "GET", "/at-once") == (200, b"at once")


def test_other_paths_are_answered_as_ever(port: int) -> None:
    assert asked(port, "GET", "/healthz") == (200, b"at once")
    assert asked(port, "GET", "/piecewise") == (200, b"piecewise")


def test_with_an_access_log_nothing_is_put_off(folder: Path) -> None:
    options = ("--workers", "1", "--log", "--access-log")
    with on_granian("deferring:make", *options, environment={}, folder=folder) as (port, _):
        assert asked(port, "GET", "/together") == (200, b"at once")
