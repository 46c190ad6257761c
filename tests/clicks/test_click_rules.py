"""The pure rules of clicks: tokens, visitors, filters, destinations, duplicates."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import product
from uuid import RFC_4122, UUID

import pytest

from tracker.clicks import destinations, filters, tokens, visitors
from tracker.clicks.rules import (
    DUPLICATE_WINDOW_S,
    REASON_NUMBERS,
    DropReason,
    Verdict,
    is_duplicate,
)

KEY, OTHER_KEY = tokens.signing_keys((b"k" * 32, b"o" * 32))
NOW_MS = 1_795_245_300_123
CLICK_ID = tokens.new_click_id(NOW_MS, b"\xff" * 10)
VISITOR = bytes(range(16))
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36"
)


def minted(**changes: bool) -> str:
    return tokens.mint(KEY, CLICK_ID, 4_242, VISITOR, **changes)


class TestClickId:
    def test_is_a_uuid_of_version_7_that_names_its_millisecond(self) -> None:
        click_id = UUID(bytes=CLICK_ID)
        assert (click_id.version, click_id.variant) == (7, "specified in RFC 4122")
        assert tokens.clicked_ms_of(CLICK_ID) == NOW_MS
        # 1,795,245,300 s are 2026-11-21 07:15:00 UTC.
        assert tokens.clicked_at_of(click_id) == datetime(
            2026, 11, 21, 7, 15, 0, 123000, tzinfo=UTC
        )

    @pytest.mark.parametrize(
        ("text", "is_one"),
        [
            (str(UUID(bytes=CLICK_ID)), True),
            ("00000000-0000-4000-8000-000000000000", False),
            # 2^48 - 1 ms lie in the year 10889, which no date can name.
            ("ffffffff-ffff-7000-8000-000000000000", False),
        ],
    )
    def test_other_uuids_are_not_click_ids(self, text: str, is_one: bool) -> None:
        assert tokens.is_click_id(UUID(text)) is is_one


class TestClickToken:
    def test_says_what_was_minted(self) -> None:
        read = tokens.read(minted(), [KEY])
        assert read == tokens.ClickToken(
            click_id=UUID(bytes=CLICK_ID),
            link_id=4_242,
            visitor_id=UUID(bytes=VISITOR),
            clicked_at=datetime(2026, 11, 21, 7, 15, 0, 123000, tzinfo=UTC),
            unrecorded=False,
        )

    def test_is_short_and_url_safe(self) -> None:
        token = minted()
        assert len(token) == tokens.TOKEN_CHARS <= tokens.TOKEN_CHARS_MAX
        assert token.isascii()
        assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")

    def test_says_when_the_click_could_not_be_recorded(self) -> None:
        read = tokens.read(minted(unrecorded=True), [KEY])
        assert isinstance(read, tokens.ClickToken)
        assert read.unrecorded

    def test_has_no_visitor_in_consent_mode(self) -> None:
        read = tokens.read(tokens.mint(KEY, CLICK_ID, 1, tokens.NO_VISITOR), [KEY])
        assert isinstance(read, tokens.ClickToken)
        assert read.visitor_id is None

    def test_of_an_older_key_is_believed_while_that_key_is_kept(self) -> None:
        old = tokens.mint(OTHER_KEY, CLICK_ID, 1, VISITOR)
        assert isinstance(tokens.read(old, [KEY, OTHER_KEY]), tokens.ClickToken)
        assert tokens.read(old, [KEY]) == tokens.BadToken(tokens.BadTokenReason.UNKNOWN_KEY)

    @pytest.mark.abuse("A16")
    def test_with_any_character_changed_is_not_believed(self) -> None:
        token = minted()
        for place in range(len(token)):
            for other in "A_":
                if token[place] != other:
                    changed = token[:place] + other + token[place + 1 :]
                    assert isinstance(tokens.read(changed, [KEY]), tokens.BadToken), place

    @pytest.mark.abuse("A16")
    def test_of_a_stranger_with_our_key_id_has_a_bad_signature(self) -> None:
        forger = tokens.SigningKey(KEY.key_id, b"guess")
        forged = tokens.mint(forger, CLICK_ID, 1, VISITOR)
        assert tokens.read(forged, [KEY]) == tokens.BadToken(tokens.BadTokenReason.BAD_SIGNATURE)

    @pytest.mark.parametrize(
        "text", ["", "a", "a" * 78, "a" * 80, "a" * 10_000, "=" * 79, "é" * 79, "\0" * 79, " " * 79]
    )
    def test_that_is_none_is_malformed(self, text: str) -> None:
        assert tokens.read(text, [KEY]) == tokens.BadToken(tokens.BadTokenReason.MALFORMED)

    def test_of_an_unknown_version_says_so(self) -> None:
        assert tokens.read("I" + minted()[1:], [KEY]) == tokens.BadToken(
            tokens.BadTokenReason.UNKNOWN_VERSION
        )


COOKIE = visitors.VisitorCookie([b"k" * 32], https=False)


def signed(visitor_id: bytes, key: bytes = b"k" * 32) -> str:
    """The cookie as a browser sends it back."""
    (header,) = visitors.VisitorCookie([key], https=False).headers([visitor_id])
    return header.partition(";")[0]


class TestVisitorCookie:
    def test_comes_back_as_it_was_signed(self) -> None:
        assert COOKIE.read(f"a=1; {signed(VISITOR)};b=2") == VISITOR

    def test_is_signed_for_many_as_for_one(self) -> None:
        ids = [bytes([number]) * 16 for number in range(64)]
        assert [header.partition(";")[0] for header in COOKIE.headers(ids)] == [
            signed(visitor_id) for visitor_id in ids
        ]
        assert COOKIE.headers([]) == []

    def test_is_signed_and_read_by_many_threads_at_once(self) -> None:
        def sign_and_read(number: int) -> bool:
            ids = [bytes([number, place]) * 8 for place in range(200)]
            cookies = (header.partition(";")[0] for header in COOKIE.headers(ids))
            return [COOKIE.read(cookie) for cookie in cookies] == ids

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(sign_and_read, range(200)))

    def test_that_an_older_key_signed_is_still_read(self) -> None:
        turned = visitors.VisitorCookie([b"n" * 32, b"k" * 32], https=False)
        assert turned.read(signed(VISITOR)) == VISITOR

    @pytest.mark.parametrize(
        "header",
        [
            "",
            "kpk_v=",
            "kpk_v=" + "A" * 43,
            "kpk_v=" + "A" * 42,
            "kpk_v=" + "é" * 43,
            "kpk_v=" + "=" * 43,
            "x" + signed(VISITOR),
            "a" * 9_000 + ";" + signed(VISITOR),
            signed(VISITOR, b"x" * 32),
            signed(VISITOR)[:-1] + ("A" if signed(VISITOR)[-1] != "A" else "Q"),
        ],
    )
    @pytest.mark.abuse("A16")
    def test_that_is_foreign_tampered_or_oversized_is_no_visitor(self, header: str) -> None:
        assert COOKIE.read(header) is None

    def test_names_a_visitor_by_the_time_and_by_chance(self) -> None:
        begin_ms = time.time_ns() // 1_000_000
        raw = visitors.new_visitor_ids(500)
        ids = [UUID(bytes=raw[at : at + 16]) for at in range(0, len(raw), 16)]
        assert len(set(ids)) == 500
        assert {one.version for one in ids} == {7}
        assert {one.variant for one in ids} == {RFC_4122}
        (at_ms,) = {one.int >> 80 for one in ids}
        assert begin_ms <= at_ms <= time.time_ns() // 1_000_000
        assert visitors.new_visitor_ids(0) == b""

    def test_is_bound_to_the_host_over_https(self) -> None:
        assert visitors.cookie_name(https=True) == "__Host-kpk_v"
        assert visitors.cookie_name(https=False) == "kpk_v"
        attributes = visitors.cookie_attributes(https=True)
        for word in ("Path=/", "HttpOnly", "SameSite=Lax", "Secure"):
            assert word in attributes
        assert "Domain" not in attributes
        assert "Secure" not in visitors.cookie_attributes(https=False)


class TestAddress:
    @pytest.mark.parametrize(
        ("hops", "forwarded", "address"),
        [
            (0, "203.0.113.9", "10.0.0.1"),
            (1, "203.0.113.9", "203.0.113.9"),
            (1, "6.6.6.6, 203.0.113.9", "203.0.113.9"),
            (2, "203.0.113.9, 10.0.0.2", "203.0.113.9"),
            (2, "203.0.113.9", "10.0.0.1"),
            (1, "", "10.0.0.1"),
            (1, ",", "10.0.0.1"),
            (2, "6.6.6.6, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
            (2, ",203.0.113.9,10.0.0.2", "203.0.113.9"),
            # A proxy may write the port behind the address.
            (1, "203.0.113.9:4711", "203.0.113.9"),
            (1, "[2001:DB8::1]:443", "2001:db8::1"),
            (1, "2001:db8::1", "2001:db8::1"),
            (1, " 2001:db8:0:0::1 ", "2001:db8:0:0::1"),
            (1, "::ffff:203.0.113.9", "::ffff:203.0.113.9"),
            # What is no address is nobody's.
            (1, "x" * 46, "10.0.0.1"),
            (1, "unknown", "10.0.0.1"),
            (1, "203.0.113", "10.0.0.1"),
            (1, "203.0.113.9.", "10.0.0.1"),
            (1, "203.0.113.9.7", "10.0.0.1"),
            (1, "203.0.113.09", "10.0.0.1"),
            (1, "255.255.255.255", "255.255.255.255"),
            (1, "256.0.0.1", "10.0.0.1"),
            (1, "_hidden", "10.0.0.1"),
            (1, "203.0.113.999", "10.0.0.1"),
            (1, "0xcb007109", "10.0.0.1"),
            (1, "203.0.113.9; DROP", "10.0.0.1"),
            (1, "２０３.0.113.9", "10.0.0.1"),
            (1, "203.0.113.9" + " " * 60, "10.0.0.1"),
            (1, "2001:db8::" + "0" * 60, "10.0.0.1"),
            (1, "6.6.6.6," * 10_000 + "203.0.113.9", "203.0.113.9"),
            (3, "203.0.113.9, 10.0.0.2", "10.0.0.1"),
        ],
    )
    @pytest.mark.abuse("A2", "A18")
    def test_is_believed_for_our_own_hops_alone(
        self, hops: int, forwarded: str, address: str
    ) -> None:
        environ = {
            "REMOTE_ADDR": "10.0.0.1",
            "HTTP_X_FORWARDED_FOR": forwarded,
            "HTTP_FORWARDED": "for=6.6.6.6",
            "HTTP_X_REAL_IP": "6.6.6.6",
            "HTTP_CLIENT_IP": "6.6.6.6",
            "HTTP_TRUE_CLIENT_IP": "6.6.6.6",
        }
        assert visitors.client_address(environ, hops) == address

    def test_is_hashed_by_day_and_by_network(self) -> None:
        hasher = visitors.AddressHasher(b"k" * 32)
        monday, tuesday = (day * visitors.DAY_MS + 7 for day in (1, 2))
        hashed = hasher.hash("203.0.113.9", monday)
        assert len(hashed) == 16
        assert hashed == hasher.hash("::ffff:203.0.113.9", monday)
        assert hashed != hasher.hash("203.0.113.9", tuesday)
        assert hashed != hasher.hash("203.0.113.8", monday)
        one_household = {
            hasher.hash(f"2001:db8:1:2:{device}", monday) for device in (":1", "3:4:5:6")
        }
        assert len(one_household) == 1
        assert hasher.hash("not:an:address", monday)


class TestFrontFilters:
    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({}, None),
            ({"HTTP_SEC_FETCH_DEST": "document"}, None),
            ({"HTTP_PURPOSE": "something"}, None),
            # Web views and older browsers are silent about it, and a page may send people on.
            ({"HTTP_SEC_FETCH_MODE": "navigate", "HTTP_SEC_FETCH_SITE": "cross-site"}, None),
            ({"HTTP_SEC_FETCH_SITE": "none", "HTTP_SEC_FETCH_USER": "?1"}, None),
            ({"HTTP_SEC_FETCH_MODE": "cors"}, None),
            ({"HTTP_SEC_PURPOSE": ""}, None),
            ({"HTTP_SEC_PURPOSE": "a" * 60 + "prefetch"}, None),
            ({"HTTP_SEC_PURPOSE": "other", "HTTP_PURPOSE": "prefetch"}, DropReason.PREFETCH),
            ({"HTTP_SEC_PURPOSE": "prefetch;anonymous-client-ip"}, DropReason.PREFETCH),
            ({"HTTP_SEC_PURPOSE": "PREFETCH"}, DropReason.PREFETCH),
            ({"REQUEST_METHOD": "HEAD"}, DropReason.HEAD_REQUEST),
            ({"HTTP_SEC_PURPOSE": "prefetch"}, DropReason.PREFETCH),
            ({"HTTP_SEC_PURPOSE": "prefetch;prerender"}, DropReason.PREFETCH),
            ({"HTTP_PURPOSE": "Prefetch"}, DropReason.PREFETCH),
            ({"HTTP_X_MOZ": "prefetch"}, DropReason.PREFETCH),
            ({"HTTP_X_PURPOSE": "preview"}, DropReason.PREFETCH),
            ({"HTTP_SEC_FETCH_DEST": "iframe"}, DropReason.FRAMED),
            ({"HTTP_SEC_FETCH_DEST": "object"}, DropReason.FRAMED),
            ({"HTTP_SEC_FETCH_DEST": "frame"}, DropReason.FRAMED),
            ({"HTTP_SEC_FETCH_DEST": "fencedframe"}, DropReason.FRAMED),
            ({"HTTP_SEC_FETCH_DEST": "embed"}, DropReason.FRAMED),
            ({"HTTP_SEC_FETCH_DEST": "script"}, DropReason.SUBRESOURCE),
            ({"HTTP_SEC_FETCH_DEST": "video"}, DropReason.SUBRESOURCE),
            ({"HTTP_SEC_FETCH_DEST": "serviceworker"}, DropReason.SUBRESOURCE),
            ({"HTTP_SEC_FETCH_DEST": "x" * 9_000}, DropReason.SUBRESOURCE),
            ({"HTTP_SEC_FETCH_DEST": "image"}, DropReason.SUBRESOURCE),
            ({"HTTP_SEC_FETCH_DEST": "empty"}, DropReason.SUBRESOURCE),
            ({"HTTP_SEC_FETCH_DEST": ""}, None),
            ({"HTTP_USER_AGENT": ""}, DropReason.EMPTY_AGENT),
            ({"HTTP_USER_AGENT": "  "}, DropReason.EMPTY_AGENT),
            ({"HTTP_USER_AGENT": "WhatsApp/2.23.20.0 A"}, DropReason.LINK_PREVIEW),
            ({"HTTP_USER_AGENT": "TelegramBot (like TwitterBot)"}, DropReason.LINK_PREVIEW),
            ({"HTTP_USER_AGENT": "curl/8.5.0"}, DropReason.BOT),
            ({"HTTP_USER_AGENT": CHROME.replace("Chrome", "HeadlessChrome")}, DropReason.BOT),
            # The first check that answers wins.
            ({"REQUEST_METHOD": "HEAD", "HTTP_USER_AGENT": ""}, DropReason.HEAD_REQUEST),
        ],
    )
    @pytest.mark.abuse("A17", "A19")
    def test_say_why_a_request_is_no_visit(
        self, changes: dict[str, str], reason: DropReason | None
    ) -> None:
        environ = {"REQUEST_METHOD": "GET", "HTTP_USER_AGENT": CHROME, **changes}
        assert filters.front_reason(environ) is reason

    @pytest.mark.parametrize(
        "agent",
        [
            CHROME,
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, "
            "like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
            "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
            "Mozilla/5.0 (Linux; Android 10; CUBOT X30) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/120.0.0.0 Mobile Safari/537.36",
            "Mozilla/5.0 (Linux; Android 14; SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) "
            "SamsungBrowser/27.0 Chrome/125.0.0.0 Mobile Safari/537.36",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/140.0.0.0 YaBrowser/25.10.0.0 Safari/537.36",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, "
            "like Gecko) Mobile/15E148 Instagram 300.0.0.0",
        ],
    )
    @pytest.mark.abuse("A19")
    def test_never_drop_a_browser(self, agent: str) -> None:
        assert filters.agent_reason(agent) is None


class TestDestination:
    @pytest.mark.parametrize(
        ("url", "with_token"),
        [
            ("https://shop.example", "https://shop.example/?kpk=T"),
            ("https://shop.example/a", "https://shop.example/a?kpk=T"),
            ("https://shop.example/a?b=c%20d&e", "https://shop.example/a?b=c%20d&e&kpk=T"),
            ("https://shop.example/a#part?x", "https://shop.example/a?kpk=T#part?x"),
            ("https://shop.example/a?kpk=old&b=1#f", "https://shop.example/a?b=1&kpk=T#f"),
            ("https://shop.example?x=1", "https://shop.example/?x=1&kpk=T"),
        ],
    )
    def test_keeps_its_query_and_fragment_around_the_token(self, url: str, with_token: str) -> None:
        prefix, suffix = destinations.split_destination(url)
        assert f"{prefix}T{suffix}" == with_token

    @pytest.mark.parametrize(
        ("to", "rebuilt"),
        [
            ("https://shop.example/p?q=1#f", "https://shop.example/p?q=1#f"),
            ("HTTPS://SHOP.example:443", "https://shop.example/"),
            ("https://a.b.wild.example/ü", "https://a.b.wild.example/%C3%BC"),
            ("https://port.example:8443/", "https://port.example:8443/"),
            ("https://shop.example/%0d%0aX", "https://shop.example/%0d%0aX"),
            ("https://shop.example/a'b\"c<d>", "https://shop.example/a'b%22c%3Cd%3E"),
            ("https://магазин.example/", "https://xn--80aairftm.example/"),
        ],
    )
    @pytest.mark.abuse("A1")
    def test_deep_links_to_allowed_sites_are_rebuilt(self, to: str, rebuilt: str) -> None:
        sites = ("shop.example", ".wild.example", "port.example:8443", "магазин.example")
        assert destinations.deep_link(to, sites, plain_loopback=False) == rebuilt

    @pytest.mark.parametrize(
        "to",
        [
            "",
            "/path",
            "shop.example",
            "//shop.example/",
            "http://shop.example/",
            "https:/shop.example",
            "https:///shop.example",
            "https:\\\\shop.example",
            "https://evil.example/",
            "https://shop.example.evil.example/",
            "https://evilshop.example/",
            "https://wild.example/",
            "https://evilwild.example/",
            "https://shop.example@evil.example/",
            "https://evil.example@shop.example/",
            "https://user:pw@shop.example/",
            "https://shop.example:8443/",
            "https://shop.example:99999/",
            "https://shop.example:x/",
            "https://port.example/",
            "https://shop.example\\@evil.example/",
            "https://evil.example\\.shop.example/",
            "https://evil.example#@shop.example/",
            "https://evil.example?@shop.example/",
            "https://evil.example/https://shop.example/",
            "https%3A%2F%2Fshop.example/",
            "https://shop%2eexample/",
            "https://shop.examplе/",  # the last letter is Cyrillic
            "https://shop.example./",
            "javascript:alert(1)//shop.example",
            "javascript://shop.example/%0aalert(1)",
            "data:text/html,shop.example",
            "ftp://shop.example/",
            " https://shop.example/",
            "https://shop.example/\r\nSet-Cookie: a=b",
            "https://shop.example/\0",
            "https://shop.example/\u202e",
            "https://[::1]/",
            "https://[shop.example/",
            "http://localhost:5000/",
            "https://127.0.0.1/",
            "https://shop.example/" + "a" * 2048,
        ],
    )
    @pytest.mark.abuse("A1")
    def test_deep_links_elsewhere_are_refused(self, to: str) -> None:
        sites = ("shop.example", ".wild.example", "port.example:8443")
        assert destinations.deep_link(to, sites, plain_loopback=False) is None

    @pytest.mark.parametrize(
        ("to", "rebuilt"),
        [
            ("http://localhost:5000/p", "http://localhost:5000/p"),
            ("http://[::1]:5000/", "http://[::1]:5000/"),
            ("http://127.0.0.1/", None),
            ("http://shop.example/", None),
        ],
    )
    def test_plain_http_is_for_allowed_loopback_hosts_in_demo_mode(
        self, to: str, rebuilt: str | None
    ) -> None:
        sites = ("localhost", "[::1]", "shop.example")
        assert destinations.deep_link(to, sites, plain_loopback=True) == rebuilt


class TestPlainRequests:
    @pytest.mark.abuse("A17")
    def test_the_short_way_says_what_the_long_one_says(self) -> None:
        """Whatever headers come together: a plain request is judged by its agent alone."""
        headers: dict[str, tuple[str | None, ...]] = {
            "REQUEST_METHOD": ("GET", "HEAD"),
            "HTTP_SEC_FETCH_DEST": (None, "", "document", "iframe", "image"),
            "HTTP_SEC_PURPOSE": (None, "", "prefetch"),
            "HTTP_PURPOSE": (None, "prefetch", "other"),
            "HTTP_X_PURPOSE": (None, "preview"),
            "HTTP_X_MOZ": (None, "prefetch"),
            "HTTP_USER_AGENT": (None, CHROME, "curl/8.5.0"),
        }
        plain = 0
        for values in product(*headers.values()):
            environ = {k: v for k, v in zip(headers, values, strict=True) if v is not None}
            if filters.is_plain(environ):
                plain += 1
                agent = environ.get("HTTP_USER_AGENT", "")
                assert filters.front_reason(environ) is filters.agent_reason(agent), environ
        assert plain == 2 * 3


class TestQuery:
    def test_sub_ids_and_deep_link_are_read_and_the_first_of_equals_wins(self) -> None:
        read = destinations.read_query("s1=a%20b&s1=c&s3=%D0%B6+x&to=https%3A%2F%2Fx&utm=1")
        assert read == destinations.ClickQuery("https://x", ("a b", None, "ж x", None, None))

    @pytest.mark.parametrize(
        ("query", "kept"),
        [
            ("s1=%00a%01b", "ab"),
            ("s1=%ff%feab", "ab"),
            ("s1=a%E2%80%AEb%E2%80%8Bc", "abc"),
            ("s1=" + "x" * 101, "x" * 100),
            ("s1=%20%20", None),
            ("s1=", None),
            ("s1=%C3%28", "("),
            ("s1=\xff", None),
        ],
    )
    @pytest.mark.abuse("A4", "A5")
    def test_sub_ids_are_cleaned_and_cut(self, query: str, kept: str | None) -> None:
        read = destinations.read_query(query)
        assert isinstance(read, destinations.ClickQuery)
        assert read.sub_ids[0] == kept

    @pytest.mark.parametrize("name", ["s1", "s5", "to"])
    @pytest.mark.parametrize("mark", ["%0d", "%0A", "%0D%0ASet-Cookie:x"])
    @pytest.mark.abuse("A3")
    def test_line_breaks_are_refused(self, name: str, mark: str) -> None:
        assert destinations.read_query(f"{name}=a{mark}b") is destinations.BadQuery.LINE_BREAK

    @pytest.mark.parametrize("query", ["a=" + "x" * 4095, "&".join(["a=1"] * 101)])
    @pytest.mark.abuse("A4")
    def test_too_much_is_refused(self, query: str) -> None:
        assert destinations.read_query(query) is destinations.BadQuery.TOO_LONG


class TestVerdicts:
    @pytest.mark.parametrize(
        ("distance_ms", "duplicate"),
        [
            (0, True),
            (DUPLICATE_WINDOW_S * 1000, True),
            (-DUPLICATE_WINDOW_S * 1000, True),
            (DUPLICATE_WINDOW_S * 1000 + 1, False),
            (-DUPLICATE_WINDOW_S * 1000 - 1, False),
        ],
    )
    def test_a_repeat_within_the_window_is_a_duplicate(
        self, distance_ms: int, duplicate: bool
    ) -> None:
        assert is_duplicate(NOW_MS + distance_ms, NOW_MS) is duplicate

    def test_a_first_click_repeats_nothing(self) -> None:
        assert not is_duplicate(NOW_MS, None)

    def test_only_duplicates_credit_in_spite_of_their_reason(self) -> None:
        at = datetime(2026, 11, 21, tzinfo=UTC)
        crediting = {reason for reason in DropReason if Verdict(UUID(int=1), 1, at, reason).credits}
        assert crediting == {DropReason.DUPLICATE}
        assert Verdict(UUID(int=1), 1, at, None).credits

    def test_every_reason_has_a_number_in_the_journal(self) -> None:
        assert set(REASON_NUMBERS) == set(DropReason)
        assert sorted(REASON_NUMBERS.values()) == list(range(1, len(DropReason) + 1))
