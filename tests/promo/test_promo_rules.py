"""Promo materials by their rules: what is taken, how a link gets in, when it is offered."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from affiliate.promo.rules import (
    Kind,
    Season,
    Wording,
    address,
    banner_code,
    blocks,
    is_web_address,
    problems,
    season_on,
    tidy,
    with_link,
)

GOOD = {
    Kind.BANNER: Wording("Spring", alt="Lamps in spring"),
    Kind.LOGO: Wording("Logo", alt="Lamp & Leaf"),
    Kind.TEXT: Wording("Short", body="Lamps: {link}"),
    Kind.EMAIL: Wording("Letter", subject="Lamps", body="Dear reader"),
    Kind.LANDING: Wording("Sale", destination="https://shop.example/sale"),
    Kind.PAGE: Wording("Sale", body="Cheaper", button="To the shop"),
    Kind.VIDEO: Wording("Film", video_url="https://video.example/1"),
    Kind.KEYWORDS: Wording("Words", body="lamp\nleaf"),
    Kind.ARTICLE: Wording("Long", body="Much"),
    Kind.NEWS: Wording("New", body="Cheaper"),
    Kind.NOTES: Wording("Who buys", body="Everybody"),
}


@pytest.mark.parametrize("kind", list(Kind))
def test_each_kind_has_what_it_needs_and_lacks_it_where_it_is_not_given(kind: Kind) -> None:
    good = GOOD[kind]
    assert problems(kind, good) == []
    given = [
        name
        for name in ("name", "alt", "body", "subject", "destination", "video_url", "button")
        if getattr(good, name)
    ]
    for name in given:
        lacking = problems(kind, replace(good, **{name: ""}))
        assert [(each.field, each.code) for each in lacking] == [(name, "required")]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "x" * 121),
        ("name", "a\u202eb"),
        ("subject", "x" * 201),
        ("alt", "a\x00b"),
        ("button", "x" * 41),
        ("body", "x" * 20_001),
        ("body", "a\u200bb"),
        ("destination", "https://shop.example/" + "x" * 1_000),
        ("language", "eng"),
        ("language", "e1"),
        ("language", "ру"),
        ("video_url", "http://video.example/1"),
        ("video_url", "javascript:alert(1)"),
        ("video_url", "https://user:secret@video.example/1"),
        ("video_url", "https://localhost/1"),
        ("video_url", "https://video.example/a b"),
        ("video_url", "https://[::1"),
    ],
)
def test_what_cannot_be_offered_is_named_by_its_field(field: str, value: str) -> None:
    film = Wording("Film", video_url="https://video.example/1", body="b")
    found = problems(Kind.VIDEO, replace(film, **{field: value}))
    assert [each.field for each in found] == [field]


def test_a_season_that_ends_before_it_begins_is_none() -> None:
    wording = replace(GOOD[Kind.NEWS], starts_on=date(2026, 12, 2), ends_on=date(2026, 12, 1))
    assert [each.field for each in problems(Kind.NEWS, wording)] == ["ends_on"]


@pytest.mark.parametrize(
    ("day", "starts_on", "ends_on", "season"),
    [
        (2, None, None, Season.NOW),
        (2, 3, None, Season.COMING),
        (3, 3, 3, Season.NOW),
        (4, 3, 3, Season.OVER),
        (4, None, 3, Season.OVER),
        (4, 1, None, Season.NOW),
    ],
)
def test_both_ends_of_a_season_belong_to_it(
    day: int, starts_on: int | None, ends_on: int | None, season: Season
) -> None:
    def of(number: int | None) -> date | None:
        return date(2026, 12, number) if number else None

    assert season_on(date(2026, 12, day), of(starts_on), of(ends_on)) is season


def test_tidy_takes_doubled_spaces_and_foreign_line_ends() -> None:
    given = Wording("  Spring \n sale ", body=" a\r\nb ", language=" RU ")
    assert tidy(Kind.TEXT, given) == Wording("Spring sale", body="a\nb", language="ru")


def test_what_a_kind_does_not_have_is_empty_whatever_was_sent() -> None:
    sent = Wording(
        "It", subject="s", body="b", alt="a", destination="https://shop.example/",
        video_url="javascript:alert(1)",
    )  # fmt: skip
    assert tidy(Kind.NOTES, sent) == Wording("It", body="b")
    assert tidy(Kind.BANNER, sent) == Wording("It", alt="a", destination="https://shop.example/")


def test_a_link_says_which_material_was_clicked_and_where_to() -> None:
    plain = address("https://kpk.example/r/abc", creative="crt_1aBc", destination="")
    assert plain == "https://kpk.example/r/abc?cr=crt_1aBc"
    deep = address("https://kpk.example/r/abc", creative="crt_1aBc",
                   destination="https://shop.example/a?b=1&c=2")  # fmt: skip
    assert deep == (
        "https://kpk.example/r/abc?cr=crt_1aBc&to=https%3A%2F%2Fshop.example%2Fa%3Fb%3D1%26c%3D2"
    )


def test_a_link_stands_where_the_text_wants_it_else_at_its_end() -> None:
    assert with_link("See {link} or {link}.", "L") == "See L or L."
    assert with_link("See it.", "L") == "See it.\n\nL"
    assert with_link("", "L") == "L"


@pytest.mark.abuse("A47")
def test_a_text_is_no_template_and_no_format() -> None:
    text = "{{ config }} {0.__class__} %(name)s ${x} {link}"
    assert with_link(text, "L") == "{{ config }} {0.__class__} %(name)s ${x} L"


@pytest.mark.abuse("A32")
def test_the_code_of_a_banner_cannot_be_broken_out_of() -> None:
    code = banner_code(
        'https://kpk.example/r/a?cr=x&to="><script>', picture_url="https://kpk.example/promo/x.png",
        width=468, height=60, alt='"><script>alert(1)</script>',
    )  # fmt: skip
    assert code == (
        '<a href="https://kpk.example/r/a?cr=x&amp;to=&quot;&gt;&lt;script&gt;" '
        'rel="sponsored noopener" target="_blank">'
        '<img src="https://kpk.example/promo/x.png" width="468" height="60" '
        'alt="&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;" loading="lazy"></a>'
    )


def test_web_addresses() -> None:
    assert is_web_address("https://video.example/watch?v=1")
    assert not is_web_address("https://")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", []),
        ("One.\nTwo.", [(("One.", "Two."), False)]),
        ("One.\n\nTwo.", [(("One.",), False), (("Two.",), False)]),
        ("Why:\n- light\n– small\n• cheap\n\nBuy.",
         [(("Why:",), False), (("light", "small", "cheap"), True), (("Buy.",), False)]),
        ("- a\nthen\n- b", [(("a",), True), (("then",), False), (("b",), True)]),
        ("-5 % today\n-", [(("-5 % today", "-"), False)]),
        ("\n\n\n", []),
    ],
)  # fmt: skip
def test_a_hosted_pages_text_is_paragraphs_and_points(
    body: str, expected: list[tuple[tuple[str, ...], bool]]
) -> None:
    assert [(block.lines, block.is_list) for block in blocks(body)] == expected
