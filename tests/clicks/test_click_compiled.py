"""The compiled clicks: the same record and answer as step by step, whatever a request says."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from click_support import CHROME, HOST, Shop, add_link, flask_stand_in, need_compiled
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from tracker.clicks import records, tokens
from tracker.clicks.compiled import Answer, common_clicks
from tracker.clicks.filters import PURPOSE_HEADERS
from tracker.clicks.front import ClickFront
from tracker.clicks.journal import Journal
from tracker.clicks.links import LinkTable
from tracker.clicks.redirecting import Agents, Environ, StartResponse
from tracker.clicks.rules import DropReason
from tracker.clicks.tokens import NO_VISITOR, SigningKey
from tracker.clicks.visitors import DAY_MS, VisitorCookie


@pytest.fixture(autouse=True)
def is_compiled() -> None:
    need_compiled()


class CountedFront(ClickFront):
    """Counts what was answered step by step."""

    steps = 0

    def answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.steps += 1
        return super().answer(environ, start_response)


class Sides:
    """One front, asked by its compiled way and step by step."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._cookie = VisitorCookie(settings.keys("visitor"), https=settings.https)
        self.front = CountedFront(flask_stand_in, settings)
        self.front.start()

    def agree(self, environ: Environ) -> None:
        """Ask the same of both; AssertionError where they differ or contradict themselves."""
        step_by_step = self.ask(self.front.answer, environ)
        assert self.ask(self.front, environ) == step_by_step

    def stand_still(self) -> None:
        """What is changed in memory from now on is not read anew."""
        self.front._refresher.stop()

    def ask(self, asked: Answer, environ: Environ) -> tuple[Any, ...]:
        """Status, headers, body and record, without what chance has made."""
        said: list[Any] = []
        before = len(self._journal())
        body = asked(dict(environ), lambda status, headers: said.extend((status, headers)))
        found = records.scan(self._journal()[before:], ended=True)
        assert found.rejects == []
        (status, headers), clicks = said, found.records
        assert len(clicks) <= 1
        return (
            status,
            [self._without_chance(*header, clicks) for header in headers],
            b"".join(body),
            [self._plain(click) for click in clicks],
        )

    def read(self, location: str) -> tokens.ClickToken:
        """The token that leads there."""
        text = location.partition("kpk=")[2][: tokens.TOKEN_CHARS]
        token = tokens.read(text, tokens.signing_keys(self._settings.keys("click-token")))
        assert isinstance(token, tokens.ClickToken)
        return token

    def _without_chance(
        self, name: str, value: str, clicks: list[records.ClickRecord]
    ) -> tuple[str, str]:
        if name == "Set-Cookie":
            cookie, _, rest = value.partition(";")
            assert [self._cookie.read(cookie)] == [click.visitor_id for click in clicks]
            return name, rest
        if name == "Location" and "kpk=" in value:
            token, before = self.read(value), value.partition("kpk=")[0]
            visitor = NO_VISITOR if token.visitor_id is None else token.visitor_id.bytes
            assert [(token.click_id.bytes, token.link_id, visitor, token.unrecorded)] == [
                (click.click_id, click.link_id, click.visitor_id, False) for click in clicks
            ]
            return name, before + value[len(before) + len("kpk=") + tokens.TOKEN_CHARS :]
        return name, value

    def _plain(self, click: records.ClickRecord) -> records.ClickRecord:
        assert tokens.is_click_id(UUID(bytes=click.click_id))
        now_ms = time.time() * 1000 + self.front.table.offset_ms
        assert abs(tokens.clicked_ms_of(click.click_id) - now_ms) < 60_000
        known = click.flags & records.FLAG_KNOWN_VISITOR or click.visitor_id == NO_VISITOR
        visitor = click.visitor_id if known else b"new"
        assert known or tokens.is_click_id(UUID(bytes=click.visitor_id)), "made like a click's id"
        return click._replace(click_id=b"", visitor_id=visitor, data=b"", begin=0, end=0, offset=0)

    def _journal(self) -> bytes:
        folder = self._settings.data_dir / "journal"
        return b"".join(path.read_bytes() for path in sorted(folder.glob("*.kpj")))


WAYS: dict[str, dict[str, Any]] = {
    "direct": {},
    "one_proxy": {"proxy_hops": 1, "country_header": "CF-IPCountry"},
    "two_proxies": {"proxy_hops": 2},
    "consent": {"consent_mode": True},
    "https": {"public_url": "https://go.example"},
}


@pytest.fixture(params=WAYS)
def sides(
    request: pytest.FixtureRequest, settings: Settings, shop: Shop, session: Session
) -> Iterator[Sides]:
    """A front of each kind of installation, with links of each kind."""
    add_link(session, shop, "foreign", destination="https://shop.example/чай", s2="ё")
    add_link(session, shop, "disabled", disabled_at=shop_time())
    add_link(session, shop, "Vanity", vanity=True)
    session.commit()
    made = Sides(replace(settings, **WAYS[request.param]))
    yield made
    made.front.stop()


def shop_time() -> datetime:
    return datetime.fromisoformat("2026-11-01T00:00:00+00:00")


def request_of(**environ: str) -> Environ:
    """A common click's environ, as a server makes it."""
    return {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/r/abcde",
        "QUERY_STRING": "",
        "HTTP_HOST": HOST,
        "REMOTE_ADDR": "203.0.113.9",
        "HTTP_USER_AGENT": CHROME,
        "wsgi.input": io.BytesIO(),
        **environ,
    }


def _header(*values: str) -> st.SearchStrategy[str | None]:
    """Left out, one of these, or anything that a server hands on."""
    anything = st.text(st.characters(max_codepoint=255), max_size=120)
    return st.one_of(st.none(), st.sampled_from(values), anything)


ADDRESSES = (
    "203.0.113.9", "198.51.100.7, 203.0.113.9", "2001:db8::1", "[2001:db8::1]:443",
    "203.0.113.9:80", " 203.0.113.9", "203.0.113.009", "::ffff:203.0.113.9", "1.2.3.4\0", "",
    "9" * 61,
)  # fmt: skip
REQUESTS = st.fixed_dictionaries(
    {
        "REQUEST_METHOD": st.sampled_from(["GET"] * 6 + ["HEAD", "POST"]),
        "PATH_INFO": st.sampled_from(
            ["/r/abcde"] * 4
            + ["/r/foreign", "/r/disabled", "/r/vanity", "/r/abcde/", "/r/", "/r/no", "/r", "/"]
        ),
        "QUERY_STRING": st.sampled_from([""] * 6 + ["s1=x", "to=https://shop.example/b", "s1=%zz"]),
        "REMOTE_ADDR": st.sampled_from(ADDRESSES),
        "HTTP_HOST": st.sampled_from([HOST] * 6 + ["evil.example", ""]),
        "HTTP_USER_AGENT": _header(CHROME, CHROME, "curl/8", "", "Googlebot", "x" * 301),
        "HTTP_X_FORWARDED_FOR": _header(*ADDRESSES),
        "HTTP_X_FORWARDED_HOST": st.sampled_from([None] * 4 + ["127.0.0.1", "evil.example"]),
        "HTTP_COOKIE": _header("a=b", "kpk_v=" + "A" * 43, "kpk_v=short"),
        "HTTP_REFERER": _header("https://blog.example/a?b#c", "", "\0"),
        "HTTP_SEC_FETCH_DEST": st.sampled_from([None] * 4 + ["document", "iframe", "image", ""]),
        "HTTP_SEC_PURPOSE": st.sampled_from([None] * 6 + ["prefetch", ""]),
        "HTTP_PURPOSE": st.sampled_from([None] * 6 + ["prefetch"]),
        "HTTP_X_MOZ": st.sampled_from([None] * 6 + ["prefetch"]),
        "HTTP_X_PURPOSE": st.sampled_from([None] * 6 + ["preview"]),
        "HTTP_CF_IPCOUNTRY": _header("RU", "de", "XX", "T1"),
    }
)


def test_both_ways_say_and_write_the_same(sides: Sides) -> None:
    @examples(suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(REQUESTS)
    def agree(drawn: dict[str, str | None]) -> None:
        sides.agree({name: value for name, value in drawn.items() if value is not None})

    agree()
    assert sides.front.steps


COMMON = (
    {},
    {"HTTP_REFERER": "https://blog.example/a?b"},
    {"HTTP_COOKIE": "a=b"},
    {"HTTP_SEC_FETCH_DEST": "document"},
    {"REMOTE_ADDR": "2001:db8::1"},
    {"HTTP_X_FORWARDED_FOR": "198.51.100.7"},
    {"HTTP_X_FORWARDED_FOR": "198.51.100.7, 198.51.100.8"},
    {"HTTP_X_FORWARDED_FOR": "198.51.100.7\0"},
    {"HTTP_X_FORWARDED_FOR": "198.51.100.7\0.1"},
    {"HTTP_CF_IPCOUNTRY": "RU"},
    {"PATH_INFO": "/r/foreign"},
)
UNCOMMON = (
    {"PATH_INFO": "/"},
    {"PATH_INFO": "/r/disabled"},
    {"HTTP_HOST": "evil.example"},
    {"HTTP_USER_AGENT": "curl/8"},
    {"QUERY_STRING": "s1=x"},
    {"REQUEST_METHOD": "HEAD"},
    {"HTTP_SEC_FETCH_DEST": "iframe"},
    *({name: "prefetch"} for name in PURPOSE_HEADERS),
)


def test_common_clicks_take_the_compiled_way_and_others_do_not(sides: Sides) -> None:
    for said in COMMON:
        environ = request_of(**said)
        sides.ask(sides.front, environ)  # Its agent, host and link are met.
        before = sides.front.steps
        sides.ask(sides.front, environ)
        assert sides.front.steps == before, said
        sides.agree(environ)
    for said in UNCOMMON:
        before = sides.front.steps
        sides.agree(request_of(**said))
        assert sides.front.steps == before + 2, said


def test_a_visitor_comes_back(sides: Sides) -> None:
    said: list[Any] = []
    for _ in range(2):
        sides.front(request_of(), lambda status, headers: said.append(dict(headers)))
    if "Set-Cookie" not in said[1]:
        assert WAYS["consent"]["consent_mode"], "only there nobody is remembered"
        assert sides.read(said[1]["Location"]).visitor_id is None
        return
    cookie = said[1]["Set-Cookie"].partition(";")[0]
    sides.agree(request_of(HTTP_COOKIE=f"a=b; {cookie}"))
    sides.front(request_of(HTTP_COOKIE=cookie), lambda status, headers: said.append(dict(headers)))
    assert "Set-Cookie" not in said[2]
    assert len({sides.read(told["Location"]).visitor_id for told in said[1:]}) == 1


def test_a_program_that_closes_is_noticed_at_once(sides: Sides) -> None:
    sides.agree(request_of())
    sides.stand_still()
    (program,) = sides.front.table.programs.values()
    program.status = "closed"
    _, headers, _, [click] = sides.ask(sides.front, request_of())
    assert (click.reason, "kpk=" in dict(headers)["Location"]) == (DropReason.PROGRAM_CLOSED, False)
    sides.agree(request_of())


def test_the_salt_of_addresses_changes_at_midnight(sides: Sides) -> None:
    def address_hash() -> bytes:
        sides.agree(request_of())
        *_, [click] = sides.ask(sides.front, request_of())
        return bytes(click.address_hash)

    sides.agree(request_of())
    sides.stand_still()
    today = address_hash()
    assert address_hash() == today
    sides.front.table.offset_ms += DAY_MS
    assert address_hash() != today


def test_many_threads_draw_nothing_twice(settings: Settings, shop: Shop) -> None:
    sides = Sides(settings)
    seen: list[tokens.ClickToken] = []

    def click() -> None:
        for _ in range(1_000):
            sides.front(
                request_of(), lambda _, headers: seen.append(sides.read(dict(headers)["Location"]))
            )

    threads = [threading.Thread(target=click) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sides.front.stop()
    assert (
        len({token.click_id for token in seen})
        == len({token.visitor_id for token in seen})
        == 4_000
    )
    data = sides._journal()
    found = records.scan(data, ended=True)
    assert {click.click_id for click in found.records} == {token.click_id.bytes for token in seen}
    assert found.rejects == []


def test_a_record_that_nobody_could_read_again_is_not_written(sides: Sides) -> None:
    sides.agree(request_of())
    sides.stand_still()
    link = sides.front.table.find("abcde")
    assert link is not None
    link.sub_ids_bytes = b"x" * records.RECORD_BYTES_MAX
    for asked in (sides.front, sides.front.answer):
        with pytest.raises(ValueError, match="would not be read again"):
            sides.ask(asked, request_of())


def test_a_signal_in_the_middle_of_a_write_costs_no_click(sides: Sides) -> None:
    sides.agree(request_of())
    assert sides.front._journal is not None
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    os.set_blocking(writing, True)
    segment = os.dup(sides.front._journal.fd)
    drained: list[int] = []

    def drain(*_: object) -> None:
        drained.append(len(os.read(reading, 1 << 20)))

    before = signal.signal(signal.SIGUSR1, drain)
    here = threading.get_ident()
    later = threading.Timer(0.2, lambda: signal.pthread_kill(here, signal.SIGUSR1))
    answered: list[str] = []
    try:
        os.dup2(writing, sides.front._journal.fd)
        later.start()
        sides.front(request_of(), lambda status, _: answered.append(status))
    finally:
        later.join()
        signal.signal(signal.SIGUSR1, before)
        os.dup2(segment, sides.front._journal.fd)
    (click,) = records.scan(os.read(reading, 1 << 20)[-1_000:], ended=True).records
    for each in (reading, writing, segment):
        os.close(each)
    assert drained
    assert answered == ["302 Found"]
    assert click.agent == CHROME.encode()


@pytest.mark.parametrize("key", [b"", bytes(65)])
def test_a_key_that_cannot_be_one_is_refused(
    key: bytes, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SigningKey, "of", lambda _: SigningKey(b"id", key))
    with pytest.raises(ValueError, match="1 to 64 bytes"):
        common_clicks(
            settings, LinkTable(), Agents(), set(), Journal(settings.data_dir),
            lambda record, error: False, lambda environ, start_response: [],
        )  # fmt: skip
