"""When letters are due, what a newsletter may say, whose results it tells: by their rules."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affiliate.core.money import MICROS, Money
from affiliate.letters.rules import CHOSEN_BY, ONE_CLICK, Choice, Kind
from tracker.letters.rules import (
    AHEAD_DAYS_MAX,
    BEST_FROM,
    BODY_CHARS_MAX,
    TITLE_CHARS_MAX,
    NewsText,
    Stage,
    Told,
    as_html,
    best_results,
    day_problem,
    first_day,
    rounded_down,
    stage_of,
    text_for,
    text_problems,
    tidy_text,
    week_to_tell,
    worth_telling,
)

MOSCOW = "Europe/Moscow"


def rub(units: float) -> Money:
    return Money(round(units * MICROS), "RUB")


@pytest.mark.parametrize(
    ("zone", "now", "monday"),
    [
        # Monday 23 November 2026, 9:00 in Moscow is 6:00 UTC.
        (MOSCOW, datetime(2026, 11, 23, 5, 59, tzinfo=UTC), None),
        (MOSCOW, datetime(2026, 11, 23, 6, 0, tzinfo=UTC), date(2026, 11, 16)),
        (MOSCOW, datetime(2026, 11, 25, 5, 59, tzinfo=UTC), date(2026, 11, 16)),
        (MOSCOW, datetime(2026, 11, 25, 6, 0, tzinfo=UTC), None),
        (MOSCOW, datetime(2026, 11, 29, 20, 0, tzinfo=UTC), None),
        # In Kiritimati it is Monday long before, in Los Angeles long after.
        ("Pacific/Kiritimati", datetime(2026, 11, 22, 19, 0, tzinfo=UTC), date(2026, 11, 16)),
        ("America/Los_Angeles", datetime(2026, 11, 23, 16, 59, tzinfo=UTC), None),
        ("America/Los_Angeles", datetime(2026, 11, 23, 17, 0, tzinfo=UTC), date(2026, 11, 16)),
        # The clock went back on Sunday, 1 November: nine o'clock is 17:00 UTC now.
        ("America/Los_Angeles", datetime(2026, 11, 2, 16, 59, tzinfo=UTC), None),
        ("America/Los_Angeles", datetime(2026, 11, 2, 17, 0, tzinfo=UTC), date(2026, 10, 26)),
    ],
)
def test_a_week_is_told_on_monday_morning_by_the_programs_clock(
    zone: str, now: datetime, monday: date | None
) -> None:
    week = week_to_tell(now, zone)
    assert (week.monday if week else None) == monday
    if week:
        assert week.sunday == week.monday + timedelta(days=6)


def test_two_weeks_of_nothing_are_no_letter() -> None:
    nothing = Told(0, 0, rub(0))
    assert not worth_telling(nothing, nothing)
    for something in (Told(1, 0, rub(0)), Told(0, 1, rub(0)), Told(0, 0, rub(-1))):
        assert worth_telling(something, nothing)
        assert worth_telling(nothing, something)


def test_a_first_click_is_news_for_three_days_of_the_program() -> None:
    late = datetime(2026, 11, 22, 21, 30, tzinfo=UTC)  # 00:30 of the 23rd in Moscow.
    assert first_day(late, MOSCOW) == date(2026, 11, 21)
    assert first_day(late, "UTC") == date(2026, 11, 20)


@pytest.mark.parametrize(
    ("now", "planned", "ended", "stage"),
    [
        (datetime(2026, 11, 23, 6, 59, tzinfo=UTC), True, False, Stage.PLANNED),
        (datetime(2026, 11, 23, 7, 0, tzinfo=UTC), True, False, Stage.DUE),
        (datetime(2026, 11, 26, 6, 59, tzinfo=UTC), True, False, Stage.DUE),
        (datetime(2026, 11, 26, 7, 0, tzinfo=UTC), True, False, Stage.MISSED),
        (datetime(2026, 11, 23, 7, 0, tzinfo=UTC), False, False, Stage.DRAFT),
        (datetime(2027, 1, 1, tzinfo=UTC), True, True, Stage.SENT),
    ],
)
def test_a_newsletter_goes_out_at_ten_on_its_day_or_within_three_days(
    now: datetime, planned: bool, ended: bool, stage: Stage
) -> None:
    found = stage_of(
        send_on=date(2026, 11, 23), planned=planned, ended=ended, now=now, time_zone=MOSCOW
    )
    assert found is stage


@pytest.mark.parametrize(
    ("send_on", "code"),
    [
        (date(2026, 11, 22), "day_past"),
        (date(2026, 11, 23), None),
        (date(2026, 11, 23) + timedelta(days=AHEAD_DAYS_MAX), None),
        (date(2026, 11, 24) + timedelta(days=AHEAD_DAYS_MAX), "day_far"),
    ],
)
def test_a_day_is_today_or_some_months_ahead(send_on: date, code: str | None) -> None:
    problem = day_problem(send_on, datetime(2026, 11, 23, 15, 0, tzinfo=UTC), MOSCOW)
    assert (problem.code if problem else None) == code


@pytest.mark.parametrize(
    ("texts", "fields"),
    [
        ({"en": ("News", "Words"), "ru": ("", "")}, []),
        ({"en": ("", ""), "ru": ("Новости", "Слова")}, []),
        ({"en": ("", ""), "ru": ("", "")}, ["title_en"]),
        ({"en": ("News", "")}, ["body_en"]),
        ({"en": ("", "Words")}, ["title_en"]),
        (
            {"en": ("n" * (TITLE_CHARS_MAX + 1), "w" * (BODY_CHARS_MAX + 1))},
            ["title_en", "body_en"],
        ),
        ({"en": ("n" * TITLE_CHARS_MAX, "w" * BODY_CHARS_MAX)}, []),
        ({"en": ("News\u202e", "Words\x07")}, ["title_en", "body_en"]),
        ({"en": ("News", "Two\n\nparagraphs\tand a tab")}, []),
        ({"en": ("مرحبا", "שלום")}, []),
    ],
)
def test_what_a_newsletter_may_say(texts: dict[str, tuple[str, str]], fields: list[str]) -> None:
    given_ = {code: NewsText(*text) for code, text in texts.items()}
    assert [error.field for error in text_problems(given_)] == fields


def test_a_title_is_one_line() -> None:
    assert tidy_text(" News\r\nBcc: x@y.example ", "a\r\nb ") == NewsText(
        "News Bcc: x@y.example", "a\nb"
    )


def test_a_reader_gets_their_language_else_the_one_there_is() -> None:
    both = {"en": NewsText("News", "w"), "ru": NewsText("Новости", "с")}
    assert text_for(both, "ru").title == "Новости"
    assert text_for({"en": both["en"], "ru": NewsText("", "")}, "ru").title == "News"
    assert text_for(both, "de").title == "News"


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("One\nline\n\nTwo", "<p>One<br>line</p>\n<p>Two</p>\n"),
        ("<b>&", "<p>&lt;b&gt;&amp;</p>\n"),
        (
            "See https://shop.example/a?b=1&c=2, then",
            '<p>See <a href="https://shop.example/a?b=1&amp;c=2">https://shop.example/a?b=1&amp;c=2'
            "</a>, then</p>\n",
        ),
        ("javascript:alert(1) http://x.example", "<p>javascript:alert(1) http://x.example</p>\n"),
        ('https://x.example/"onclick="x', '<p><a href="https://x.example/">https://x.example/</a>'
                                          "&#34;onclick=&#34;x</p>\n"),
        ("{{7*7}} {% x %}", "<p>{{7*7}} {% x %}</p>\n"),
        ("(https://x.example/a).", '<p>(<a href="https://x.example/a">https://x.example/a</a>).'
                                   "</p>\n"),
        ("", ""),
    ],
)  # fmt: skip
def test_words_become_paragraphs_and_links_and_nothing_else(text: str, html: str) -> None:
    assert str(as_html(text)) == html


@given(st.text(alphabet="<>\"'&ahtps:/. \n{}%", max_size=60))
def test_no_text_makes_an_element_of_its_own(text: str) -> None:
    bare = str(as_html(text))
    for ours in ("<p>", "</p>", "<br>", "</a>"):
        bare = bare.replace(ours, "")
    while '<a href="https://' in bare:
        before, _, rest = bare.partition('<a href="https://')
        address, closed, rest = rest.partition('">')
        assert closed and "<" not in address and '"' not in address
        bare = before + rest
    assert "<" not in bare and ">" not in bare


def earned(*units: float) -> list[tuple[int, Money]]:
    return [(number, rub(each)) for number, each in enumerate(units, start=1)]


def test_the_best_are_the_three_that_earned_most_named_where_they_agreed() -> None:
    found = best_results(earned(10, 50_999, 300.5, 41_203.17, 7), {2: "Anna", 1: "Boris"})
    assert [(each.name, each.over) for each in found] == [
        ("Anna", rub(50_000)), ("", rub(41_000)), ("", rub(300)),
    ]  # fmt: skip


def test_among_few_nobody_is_told() -> None:
    assert best_results(earned(*[100] * (BEST_FROM - 1), 0, -5), {}) == ()
    assert len(best_results(earned(*[100] * BEST_FROM), {})) == 3


@pytest.mark.parametrize(
    ("amount", "over"),
    [(0.5, 0), (1, 1), (9.99, 9), (99.9, 99), (100, 100), (109.99, 100), (41_203.17, 41_000)],
)
def test_amounts_are_rounded_down_to_two_digits(amount: float, over: float) -> None:
    assert rounded_down(rub(amount)) == rub(over)


def test_only_letters_that_come_again_and_again_end_by_one_press() -> None:
    assert {Choice.DIGEST, Choice.NEWSLETTER} == ONE_CLICK
    assert {CHOSEN_BY[Kind.DIGEST], CHOSEN_BY[Kind.NEWSLETTER]} == ONE_CLICK
    assert [choice for choice in Choice if not choice.default] == [Choice.NAMED]
