"""The front: what a link answers, to whom, and what it writes down."""

from __future__ import annotations

import re
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import RFC_4122, UUID

import pytest
import sqlalchemy as sa
from click_support import (
    CHROME,
    HOST,
    Ask,
    Shop,
    add_enrollment,
    add_link,
    ask_of,
    flask_stand_in,
    need_compiled,
)
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.links.models import Link
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program
from tracker.clicks import records, tokens
from tracker.clicks.compiled import Answer, common_clicks
from tracker.clicks.front import ClickFront, _forget_parent
from tracker.clicks.links import SNAPSHOT
from tracker.clicks.redirecting import PREPARED_AT_ONCE
from tracker.clicks.rules import DropReason

AWAY = "postgresql+psycopg://nobody@127.0.0.1:9/none"


@pytest.fixture(autouse=True, params=["compiled", "step by step"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of answering; the compiled one from the first click on."""
    if request.param == "step by step":
        monkeypatch.setattr("tracker.clicks.compiled.COMPILED", False)
        return
    need_compiled()

    def acquainted(*args: Any) -> Answer:
        _, _, agents, hosts, *_ = args
        agents.meet(CHROME)
        hosts.add(HOST)
        return common_clicks(*args)

    monkeypatch.setattr("tracker.clicks.front.common_clicks", acquainted)


def journalled(settings: Settings) -> list[records.ClickRecord]:
    found: list[records.ClickRecord] = []
    for path in sorted((settings.data_dir / "journal").glob("*.kpj")):
        found += records.scan(path.read_bytes(), ended=True).records
    return found


def read_token(settings: Settings, token: str) -> tokens.ClickToken:
    read = tokens.read(token, tokens.signing_keys(settings.keys("click-token")))
    assert isinstance(read, tokens.ClickToken)
    return read


def eventually(holds: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


class TestRedirect:
    def test_a_click_is_written_down_and_leaves_with_its_token(
        self, ask: Ask, settings: Settings, shop: Shop
    ) -> None:
        answer = ask(HTTP_REFERER="https://blog.example/post?mail=a@b.example#x")
        assert answer.status == "302 Found"
        assert re.fullmatch(
            r"https://shop\.example/tea\?a=1&kpk=[A-Za-z0-9_-]{79}#cup", answer.location
        )
        token = read_token(settings, answer.token)
        (record,) = journalled(settings)
        assert record.click_id == token.click_id.bytes
        assert (record.link_id, token.link_id) == (shop.link_id, shop.link_id)
        assert token.visitor_id is not None
        assert record.visitor_id == token.visitor_id.bytes
        assert record.reason is None
        assert not token.unrecorded
        assert record.referrer == b"https://blog.example/post"
        assert record.sub_ids == (b"blog", b"", b"", b"", b"")
        assert abs(token.clicked_at - datetime.now(UTC)) < timedelta(minutes=1)

    @pytest.mark.abuse("A42", "A44")
    def test_nothing_may_keep_or_frame_the_answer(self, ask: Ask) -> None:
        for answer in (ask(), ask("/r/nobody"), ask(REQUEST_METHOD="POST")):
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "strict-origin-when-cross-origin"
        for answer in (ask("/r/nobody"), ask(HTTP_SEC_FETCH_DEST="iframe")):
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
            assert "noindex" in answer.headers["X-Robots-Tag"]

    def test_everything_else_is_passed_on(self, ask: Ask) -> None:
        for path in ("/", "/r", "/rx/abcde", "/account", "/R/abcde"):
            assert ask(path).headers == {"X-Behind": path}

    def test_nothing_is_opened_before_the_first_click(self, settings: Settings) -> None:
        ask = ask_of(ClickFront(flask_stand_in, settings))
        ask("/account")
        assert list(settings.data_dir.iterdir()) == []

    def test_the_visitor_is_remembered_by_a_signed_cookie(
        self, ask: Ask, settings: Settings
    ) -> None:
        first = ask()
        cookie = first.headers["Set-Cookie"]
        assert re.fullmatch(
            r"kpk_v=[A-Za-z0-9_-]{43}; Max-Age=31536000; Path=/; HttpOnly; SameSite=Lax", cookie
        )
        again = ask(HTTP_COOKIE="a=b;" + cookie.partition(";")[0])
        assert "Set-Cookie" not in again.headers
        visitors = {read_token(settings, answer.token).visitor_id for answer in (first, again)}
        assert len(visitors) == 1
        assert [r.flags & records.FLAG_KNOWN_VISITOR for r in journalled(settings)] == [0, 1]

    @pytest.mark.abuse("A16")
    def test_a_tampered_cookie_is_a_new_visitor_and_no_error(self, ask: Ask) -> None:
        answer = ask(HTTP_COOKIE="kpk_v=" + "A" * 43)
        assert answer.status == "302 Found"
        assert "Set-Cookie" in answer.headers

    @pytest.mark.abuse("A16")
    def test_the_cookie_is_bound_to_the_host_over_https(
        self, production_settings: Settings, shop: Shop
    ) -> None:
        front = ClickFront(flask_stand_in, production_settings)
        try:
            answer = ask_of(front)()
        finally:
            front.stop()
        assert answer.headers["Set-Cookie"].startswith("__Host-kpk_v=")
        assert answer.headers["Set-Cookie"].endswith("; Secure")
        assert answer.headers["Strict-Transport-Security"]

    def test_consent_mode_sets_no_cookie_and_names_no_visitor(
        self, settings: Settings, shop: Shop
    ) -> None:
        front = ClickFront(flask_stand_in, replace(settings, consent_mode=True))
        try:
            answer = ask_of(front)(HTTP_COOKIE="kpk_v=" + "A" * 43)
        finally:
            front.stop()
        assert "Set-Cookie" not in answer.headers
        assert read_token(settings, answer.token).visitor_id is None

    def test_a_vanity_code_is_found_in_any_case(
        self, session: Session, shop: Shop, ask: Ask
    ) -> None:
        add_link(session, shop, "SpringTea", vanity=True)
        add_link(session, shop, "Xy12z")
        session.commit()
        for path in ("/r/SpringTea", "/r/springtea", "/r/SPRINGTEA/"):
            assert ask(path).status == "302 Found", path
        assert ask("/r/Xy12z").status == "302 Found"
        assert ask("/r/xy12Z").status == "404 Not Found"

    def test_the_demo_clock_dates_the_click(
        self, session: Session, settings: Settings, shop: Shop, ask: Ask
    ) -> None:
        clock.advance(session, by=timedelta(days=40), settings=settings)
        session.commit()
        ahead = datetime.now(UTC) + timedelta(days=40)
        assert abs(read_token(settings, ask().token).clicked_at - ahead) < timedelta(minutes=1)

    def test_grouped_sync_answers_all_the_same(self, settings: Settings, shop: Shop) -> None:
        front = ClickFront(flask_stand_in, replace(settings, journal_sync="grouped"))
        try:
            assert not read_token(settings, ask_of(front)().token).unrecorded
        finally:
            front.stop()


class TestDropped:
    @pytest.mark.parametrize(
        ("environ", "reason"),
        [
            ({"REQUEST_METHOD": "HEAD"}, DropReason.HEAD_REQUEST),
            ({"HTTP_SEC_PURPOSE": "prefetch;prerender"}, DropReason.PREFETCH),
            ({"HTTP_SEC_FETCH_DEST": "iframe"}, DropReason.FRAMED),
            ({"HTTP_SEC_FETCH_DEST": "image"}, DropReason.SUBRESOURCE),
            ({"HTTP_USER_AGENT": ""}, DropReason.EMPTY_AGENT),
            ({"HTTP_USER_AGENT": "TelegramBot (like TwitterBot)"}, DropReason.LINK_PREVIEW),
            ({"HTTP_USER_AGENT": "Googlebot/2.1"}, DropReason.BOT),
        ],
    )
    @pytest.mark.abuse("A17", "A19")
    def test_clicks_redirect_without_a_token_or_cookie_and_are_written_down(
        self, ask: Ask, settings: Settings, environ: dict[str, str], reason: DropReason
    ) -> None:
        answer = ask(**environ)
        assert answer.status == "302 Found"
        assert answer.location == "https://shop.example/tea?a=1#cup"
        assert "Set-Cookie" not in answer.headers
        assert answer.body == b""
        assert [record.reason for record in journalled(settings)] == [reason]

    def test_a_disabled_link_leads_to_the_programs_page(
        self, session: Session, shop: Shop, settings: Settings, ask: Ask
    ) -> None:
        session.execute(sa.update(Link).values(disabled_at=datetime.now(UTC)))
        session.commit()
        assert ask().location == "http://127.0.0.1:8000/programs/tea"
        assert [r.reason for r in journalled(settings)] == [DropReason.LINK_DISABLED]

    def test_a_suspended_affiliates_link_leads_there_too_and_soon(
        self, session: Session, shop: Shop, ask: Ask
    ) -> None:
        assert ask().token
        session.execute(sa.update(Enrollment).values(status="suspended"))
        session.commit()
        assert eventually(lambda: ask().location == "http://127.0.0.1:8000/programs/tea")
        session.execute(sa.update(Enrollment).values(status="active"))
        session.commit()
        assert eventually(lambda: "kpk=" in ask().location)

    @pytest.mark.parametrize(
        ("status", "closes_in_days", "credits"),
        [
            ("open", None, True),
            ("closing", 1, True),
            ("closing", None, True),
            ("closing", -1, False),
            ("closed", 1, True),
            ("closed", -1, False),
            ("closed", None, False),
        ],
    )
    def test_a_closed_program_credits_for_its_notice_period(
        self,
        session: Session,
        shop: Shop,
        ask: Ask,
        status: str,
        closes_in_days: int | None,
        credits: bool,
    ) -> None:
        closes_at = None
        if closes_in_days is not None:
            closes_at = datetime.now(UTC) + timedelta(days=closes_in_days)
        session.execute(sa.update(Program).values(status=status, closes_at=closes_at))
        session.commit()
        location = ask().location
        assert ("kpk=" in location) is credits
        assert credits or location == "http://127.0.0.1:8000/programs/tea"


class TestBadRequests:
    """docs/security.md: A1, A2, A3, A4, A5, A16, A44, A46."""

    @pytest.mark.abuse("A1")
    def test_a1_a_deep_link_goes_to_allowed_sites_alone(self, ask: Ask, settings: Settings) -> None:
        assert ask(query="to=https://m.shop.example/cup%3Fx=1").location.startswith(
            "https://m.shop.example/cup?x=1&kpk="
        )
        refused = ask(query="to=https://shop.example@evil.example/")
        assert refused.location.startswith("https://shop.example/tea?a=1&kpk=")
        first, second = journalled(settings)
        assert first.deep_link == b"https://m.shop.example/cup?x=1"
        assert not first.flags & records.FLAG_DEEP_LINK_REFUSED
        assert second.deep_link == b""
        assert second.flags & records.FLAG_DEEP_LINK_REFUSED

    @pytest.mark.abuse("A2")
    def test_a2_an_unknown_host_is_refused(self, ask: Ask) -> None:
        for host in ("evil.example", "", "127.0.0.1.evil.example", "127.0.0.1:8000@evil"):
            assert ask(HTTP_HOST=host).status == "400 Bad Request"
        spoofed = ask(HTTP_X_FORWARDED_HOST="evil.example", HTTP_X_FORWARDED_FOR="6.6.6.6")
        assert spoofed.status == "302 Found"

    @pytest.mark.abuse("A2")
    def test_a2_forwarded_headers_count_behind_our_own_proxy(
        self, settings: Settings, shop: Shop
    ) -> None:
        front = ClickFront(flask_stand_in, replace(settings, proxy_hops=1))
        try:
            ask = ask_of(front)
            ask(HTTP_X_FORWARDED_FOR="198.51.100.7")
            ask(HTTP_X_FORWARDED_FOR="6.6.6.6, 198.51.100.7")
            ask(REMOTE_ADDR="198.51.100.7")
            assert ask(HTTP_X_FORWARDED_HOST="evil.example").status == "400 Bad Request"
            for _ in range(2):
                inside = ask(HTTP_HOST="web:8000", HTTP_X_FORWARDED_HOST="127.0.0.1")
                assert inside.status == "302 Found"
                outside = ask(
                    HTTP_HOST="127.0.0.1", HTTP_X_FORWARDED_HOST="127.0.0.1, evil.example"
                )
                assert outside.status == "400 Bad Request"
                own = ask(HTTP_HOST="web:8000", HTTP_X_FORWARDED_HOST="evil.example, 127.0.0.1")
                assert own.status == "302 Found"
                assert ask(HTTP_HOST="evil.example, 127.0.0.1").status == "400 Bad Request"
        finally:
            front.stop()
        assert len({record.address_hash for record in journalled(settings)[:3]}) == 1

    @pytest.mark.parametrize("query", ["s1=a%0d%0aSet-Cookie:b=c", "to=https://shop.example/%0a"])
    @pytest.mark.abuse("A3")
    def test_a3_line_breaks_are_refused_and_not_reflected(self, ask: Ask, query: str) -> None:
        answer = ask(query=query)
        assert answer.status == "400 Bad Request"
        assert b"Set-Cookie" not in answer.body
        assert "Set-Cookie" not in answer.headers

    @pytest.mark.parametrize("query", ["s1=" + "x" * 5000, "&".join(["a=1"] * 1000)])
    @pytest.mark.abuse("A4")
    def test_a4_too_long_a_query_is_refused(self, ask: Ask, query: str) -> None:
        assert ask(query=query).status == "414 Request-URI Too Long"

    @pytest.mark.abuse("A4")
    def test_a4_headers_of_any_size_are_cut(self, ask: Ask, settings: Settings) -> None:
        answer = ask(
            HTTP_USER_AGENT="M" * 50_000,
            HTTP_REFERER="https://blog.example/" + "p" * 50_000,
            HTTP_COOKIE="kpk_v=" + "A" * 50_000,
            query="s1=" + "y" * 4000,
        )
        assert answer.status == "302 Found"
        (record,) = journalled(settings)
        assert (len(record.agent), len(record.referrer)) == (300, 500)
        assert record.sub_ids[0] == b"y" * 100

    @pytest.mark.abuse("A5")
    def test_a5_bytes_that_are_no_text_are_cleaned_and_the_click_goes_on(
        self, ask: Ask, settings: Settings
    ) -> None:
        answer = ask(
            query="s1=%ff%00a%01&s2=%E2%80%AEb\xff&to=%ff",
            HTTP_USER_AGENT="Mozilla/5.0 \xff\xfe\0 (X)",
            HTTP_REFERER="https://blog.example/\xff\0\n\r",
        )
        assert answer.status == "302 Found"
        (record,) = journalled(settings)
        assert record.sub_ids[:2] == (b"a", b"b")
        assert b"\0" not in record.agent + record.referrer

    @pytest.mark.parametrize(
        "code", ["", "nobody", "\xff\xfe", "a\0b", "a" * 65, "../etc/passwd", "a b", "abcde/x", "%"]
    )
    def test_an_unknown_code_is_a_page_that_leads_on(self, ask: Ask, code: str) -> None:
        answer = ask(f"/r/{code}")
        assert answer.status == "404 Not Found"
        assert b"https://shop.example/" in answer.body
        assert b"/programs" in answer.body
        assert ask(f"/r/{code}", REQUEST_METHOD="HEAD").body == b""

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "TRACE", "OPTIONS", "X", "get"])
    @pytest.mark.abuse("A46")
    def test_a46_other_methods_are_refused(self, ask: Ask, method: str) -> None:
        answer = ask(REQUEST_METHOD=method)
        assert answer.status == "405 Method Not Allowed"
        assert answer.headers["Allow"] == "GET, HEAD"


class TestLinks:
    def test_a_link_made_a_moment_ago_is_looked_up_once(
        self, session: Session, shop: Shop, ask: Ask
    ) -> None:
        assert ask().token
        add_link(session, shop, "fresh")
        session.commit()
        assert ask("/r/fresh").status == "302 Found"

    def test_an_unknown_code_is_remembered_for_at_most_five_seconds(
        self, session: Session, shop: Shop, ask: Ask
    ) -> None:
        assert ask("/r/later").status == "404 Not Found"
        add_link(session, shop, "later")
        session.commit()
        assert eventually(lambda: ask("/r/later").status == "302 Found", seconds=6)

    def test_a_change_of_the_destination_arrives(
        self, session: Session, shop: Shop, ask: Ask
    ) -> None:
        assert ask().token
        session.execute(sa.update(Link).values(destination="https://shop.example/coffee"))
        session.commit()
        assert eventually(lambda: "/coffee" in ask().location)

    def test_a_link_of_a_new_program_is_found_with_its_program(
        self, session: Session, shop: Shop, ask: Ask
    ) -> None:
        assert ask().token
        program = Program(
            slug="coffee",
            name="Coffee",
            currency="EUR",
            landing_url="https://coffee.example/",
            allowed_sites=["coffee.example"],
            created_at=datetime.now(UTC),
        )
        session.add(program)
        session.flush()
        enrollment_id = add_enrollment(session, program.id, "vera", datetime.now(UTC))
        add_link(
            session,
            Shop(program.id, enrollment_id, 0),
            "roast",
            destination="https://coffee.example/",
        )
        session.commit()
        assert ask("/r/roast").location.startswith("https://coffee.example/?kpk=")


class TestFailures:
    @pytest.mark.abuse("A49")
    def test_f17_a_restarted_process_redirects_while_the_database_is_away(
        self, settings: Settings, shop: Shop, front: ClickFront, ask: Ask
    ) -> None:
        assert ask().token
        away = replace(settings, database_url=AWAY, redis_url="redis://127.0.0.1:9")
        restarted = ClickFront(flask_stand_in, away)
        try:
            answer = ask_of(restarted)()
            unknown = ask_of(restarted)("/r/nobody")
        finally:
            restarted.stop()
        assert not read_token(settings, answer.token).unrecorded
        assert len(journalled(settings)) == 2
        assert unknown.status == "404 Not Found"

    def test_a_process_that_never_knew_a_link_asks_to_come_again(self, settings: Settings) -> None:
        front = ClickFront(flask_stand_in, replace(settings, database_url=AWAY))
        try:
            answer = ask_of(front)()
        finally:
            front.stop()
        assert answer.status == "503 Service Unavailable"
        assert answer.headers["Retry-After"] == "5"

    def test_f19_a_journal_that_cannot_be_written_sends_clicks_to_the_database(
        self, settings: Settings, session: Session, shop: Shop, ask: Ask
    ) -> None:
        (settings.data_dir / "journal").write_text("a file where the folder should be")
        token = read_token(settings, ask().token)
        assert not token.unrecorded
        ((raw,),) = session.execute(sa.text("SELECT record FROM click_spill")).all()
        (record,) = records.scan(bytes(raw), ended=True).records
        assert record.click_id == token.click_id.bytes

    @pytest.mark.abuse("A49")
    def test_f19_a_click_that_nothing_can_record_says_so_in_its_token(
        self, settings: Settings, shop: Shop, front: ClickFront, ask: Ask
    ) -> None:
        assert ask().token
        front.stop()
        away = replace(settings, database_url=AWAY, data_dir=settings.data_dir / "other")
        away.data_dir.mkdir()
        (settings.data_dir / SNAPSHOT).rename(away.data_dir / SNAPSHOT)
        (away.data_dir / "journal").write_text("a file where the folder should be")
        broken = ClickFront(flask_stand_in, away)
        try:
            answers = [ask_of(broken)() for _ in range(5)]
        finally:
            broken.stop()
        assert {answer.status for answer in answers} == {"302 Found"}
        assert all(read_token(settings, answer.token).unrecorded for answer in answers)

    def test_f20_a_stuck_database_does_not_hold_up_a_click(
        self, settings: Settings, session: Session, shop: Shop, ask: Ask
    ) -> None:
        assert ask().token
        session.execute(sa.text("LOCK TABLE links, click_spill IN ACCESS EXCLUSIVE MODE"))
        statuses: list[str] = []
        threads = [
            threading.Thread(target=lambda: statuses.append(ask("/r/nobody").status))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        assert ask().status == "302 Found"
        for thread in threads:
            thread.join(timeout=30)
        session.rollback()
        assert statuses == ["404 Not Found"] * 8

    def test_a_forked_process_opens_a_segment_of_its_own(
        self, settings: Settings, shop: Shop, ask: Ask, front: ClickFront
    ) -> None:
        assert ask().token
        _forget_parent(weakref.ref(front))  # what the interpreter calls in a forked child
        assert ask().token
        assert len(list((settings.data_dir / "journal").glob("*.kpj"))) == 2


class TestWhatTheAddressAndTheProxySay:
    @pytest.mark.parametrize(
        ("query", "creative"),
        [
            ("cr=banner-7", b"banner-7"),
            ("cr=" + "b" * 40, b"b" * 40),
            ("cr=" + "b" * 41, b""),
            ("cr=two%20words", b""),
            ("cr=%F0%9F%98%80", b""),
            ("cr=", b""),
        ],
    )
    def test_a_creative_is_written_down_by_its_code(
        self, ask: Ask, settings: Settings, query: str, creative: bytes
    ) -> None:
        assert ask(QUERY_STRING=query).token
        (record,) = journalled(settings)
        assert record.creative == creative

    @pytest.mark.parametrize(
        ("header", "said", "country"),
        [
            ("CF-IPCountry", "ru", b"RU"),
            ("CF-IPCountry", "RUS", b""),
            ("CF-IPCountry", "T1", b""),
            ("CF-IPCountry", "é1", b""),
            ("", "RU", b""),
        ],
    )
    def test_a_country_is_believed_from_the_configured_header_alone(
        self, settings: Settings, shop: Shop, header: str, said: str, country: bytes
    ) -> None:
        front = ClickFront(flask_stand_in, replace(settings, country_header=header))
        try:
            assert ask_of(front)(HTTP_CF_IPCOUNTRY=said).token
        finally:
            front.stop()
        (record,) = journalled(settings)
        assert record.country == country

    def test_ids_and_cookies_prepared_ahead_are_each_used_once(
        self, ask: Ask, settings: Settings
    ) -> None:
        clicks = 3 * PREPARED_AT_ONCE
        cookies = {ask().headers["Set-Cookie"] for _ in range(clicks)}
        found = journalled(settings)
        assert len(cookies) == len({record.visitor_id for record in found}) == clicks
        assert len({record.click_id for record in found}) == clicks
        assert all(tokens.is_click_id(UUID(bytes=record.click_id)) for record in found)
        assert all(UUID(bytes=record.click_id).variant == RFC_4122 for record in found)

    def test_more_agents_than_are_remembered_are_written_down_all_the_same(
        self, ask: Ask, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tracker.clicks.redirecting.AGENTS_REMEMBERED_MAX", 3)
        agents = [f"Mozilla/5.0 (Windows NT 10.0) Browser/{number}" for number in range(10)]
        for agent in agents * 2:
            assert ask(HTTP_USER_AGENT=agent).token
        assert [record.agent.decode() for record in journalled(settings)] == agents * 2
