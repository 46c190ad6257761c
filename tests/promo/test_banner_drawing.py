"""Made banners: colours that can be read, parts that do not meet, words that always fit."""

from __future__ import annotations

import io
import itertools
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw

from affiliate.core.errors import Invalid
from affiliate.promo.banner_drawing import (
    SMOOTH,
    _face,
    draw,
    fit,
    inside_button,
    placed,
    scaled,
    undrawable,
)
from affiliate.promo.banner_rules import (
    BUTTON_CHARS_MAX,
    CONTRAST_MIN,
    SIZES,
    TEXT_CHARS_MAX,
    Box,
    Brand,
    Design,
    Look,
    brand_problems,
    colours,
    contrast,
    layout,
    problems,
)
from affiliate.promo.banners import checked
from affiliate.promo.pictures import small_picture

LONG = "Превысокомногорассмотрительствующий светильникдлямаленькойкомнаты"
WORDS = "Ёлка Йод Щи: лампа, которая наклоняется туда, где читаешь"
ALL = list(itertools.product(SIZES, (True, False), (True, False)))


def photo() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (300, 200), (200, 40, 40)).save(out, "PNG")
    return small_picture(out.getvalue(), side_px=320).content


def design(size: tuple[int, int] = (300, 250), text: str = WORDS, button: str = "В магазин",
           look: Look = Look.FULL) -> Design:  # fmt: skip
    return Design(*size, text, button, look)


def inside(inner: Box, outer: Box) -> bool:
    return (
        outer.x <= inner.x and inner.x + inner.width <= outer.x + outer.width
        and outer.y <= inner.y and inner.y + inner.height <= outer.y + outer.height
    )  # fmt: skip


def apart(one: Box, other: Box) -> bool:
    return (
        one.x + one.width <= other.x or other.x + other.width <= one.x
        or one.y + one.height <= other.y or other.y + other.height <= one.y
    )  # fmt: skip


@pytest.mark.parametrize(("size", "picture", "name"), ALL)
def test_no_part_meets_another_or_the_edge(
    size: tuple[int, int], picture: bool, name: bool
) -> None:
    found = layout(*size, picture=picture, name=name)
    parts = [each for each in (found.text, found.button, found.picture, found.name) if each]
    assert len(parts) == 2 + picture + (name and size[1] >= 90)
    for part in parts:
        assert inside(part, Box(4, 4, size[0] - 8, size[1] - 8)), part
        assert min(part.width, part.height) >= 8, part
    for one, other in itertools.combinations(parts, 2):
        assert apart(one, other), (one, other)


def ink(text: str, box: Box, *, lines_max: int = 8) -> tuple[int, int, int, int] | None:
    """Where a fitted text has its pixels, drawn as the banner draws it."""
    found = fit(text, box, "SemiBold", lines_max=lines_max)
    canvas = Image.new("L", (box.x + box.width + 400, box.y + box.height + 400))
    drawn = ImageDraw.Draw(canvas)
    for place, line in placed(found, box, "SemiBold", centred=lines_max == 1):
        drawn.text(place, line, font=_face("SemiBold", found.size), fill=255)
    return canvas.getbbox()


@given(
    st.sampled_from(ALL),
    st.text(
        st.characters(min_codepoint=32, max_codepoint=0x45F, exclude_categories=["C"]),
        min_size=1, max_size=TEXT_CHARS_MAX,
    ),
)  # fmt: skip
@example(((320, 50), True, True), LONG)
@example(((120, 600), True, True), LONG)
@example(((468, 60), True, False), WORDS)
@example(((160, 600), True, True), "W" * TEXT_CHARS_MAX)
@example(((120, 600), False, True), "i " * 40)
def test_a_text_stays_in_its_box_whatever_it_is(
    case: tuple[tuple[int, int], bool, bool], text: str
) -> None:
    size, picture, name = case
    if not text.strip():
        return
    found = layout(*size, picture=picture, name=name)
    boxes = [(scaled(found.text), 8), (inside_button(scaled(found.button)), 1)]
    if found.name:
        boxes.append((scaled(found.name), 1))
    for box, lines_max in boxes:
        marks = ink(text, box, lines_max=lines_max)
        if marks is None:
            continue
        assert marks[0] >= box.x and marks[2] <= box.x + box.width, (text, box)
        # Two marks on one capital (Ǖ) rise a pixel above what the face calls its height.
        assert marks[1] >= box.y - SMOOTH and marks[3] <= box.y + box.height + SMOOTH, (text, box)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("picture", [True, False])
def test_ordinary_words_fit_whole_in_every_size(size: tuple[int, int], picture: bool) -> None:
    found = layout(*size, picture=picture, name=True)
    for text in (WORDS, "Light for small flats: three lamps that take no room"):
        fitted = fit(text, scaled(found.text), "SemiBold")
        assert fitted.whole, (size, fitted)
        assert " ".join(fitted.lines) == text
    for button in ("В магазин", "To the shop", "Подробнее"):
        assert fit(button, inside_button(scaled(found.button)), "SemiBold", lines_max=1).whole


def test_a_word_that_is_too_long_is_broken_and_what_is_left_cut_with_dots() -> None:
    fitted = fit(LONG, Box(0, 0, 120, 60), "SemiBold")
    assert not fitted.whole
    assert fitted.lines[-1].endswith("…")
    assert "".join(fitted.lines)[:-1].replace(" ", "") in LONG.replace(" ", "")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("webp", [False, True])
def test_a_banner_has_the_size_that_was_chosen_and_nothing_but_pixels(
    size: tuple[int, int], webp: bool
) -> None:
    made = draw(design(size), Brand("Lamp & Leaf"), photo(), webp=webp)
    assert (made.width, made.height, made.extension) == (*size, "webp" if webp else "png")
    with Image.open(io.BytesIO(made.content)) as shown:
        assert (shown.size, shown.format) == (size, "WEBP" if webp else "PNG")
        assert not shown.info.get("exif") and not shown.info.get("icc_profile")
    assert len(made.content) < 150_000


def test_the_picture_stands_in_its_box_and_the_words_outside_of_it() -> None:
    plain, with_words = (
        draw(design(text=text, look=Look.LIGHT), Brand(), photo()).content for text in (".", WORDS)
    )
    found = layout(300, 250, picture=True, name=False)
    with Image.open(io.BytesIO(plain)) as one, Image.open(io.BytesIO(with_words)) as other:
        changed = ImageChops.difference(one, other).getbbox()
    assert changed is not None and found.picture is not None
    box = Box(changed[0], changed[1], changed[2] - changed[0], changed[3] - changed[1])
    text = found.text
    grown = Box(text.x - 2, text.y - 2, text.width + 4, text.height + 4)  # Smoothing spreads.
    assert inside(box, grown)
    assert apart(box, found.picture)


COLOURS = st.from_regex(re.compile(r"#[0-9a-f]{6}"), fullmatch=True)


@given(COLOURS, COLOURS, st.sampled_from(Look))
@example("#757575", "#767676", Look.FULL)
def test_every_colour_has_a_text_that_can_be_read_on_it(
    colour: str, accent: str, look: Look
) -> None:
    found = colours(Brand("", colour, accent), look)
    assert contrast(found.text, found.behind) >= CONTRAST_MIN
    assert contrast(found.button_text, found.button) >= CONTRAST_MIN


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert contrast("#0b6264", "#0b6264") == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"width": 301}, "size"), ({"width": 10_000, "height": 10_000}, "size"),
        ({"text": ""}, "text"), ({"text": "x" * (TEXT_CHARS_MAX + 1)}, "text"),
        ({"text": "a\u202eb"}, "text"), ({"text": "a\0b"}, "text"),
        ({"text": "漢字"}, "text"), ({"text": "Lamp \U0001f4a1"}, "text"),
        ({"button": ""}, "button"), ({"button": "x" * (BUTTON_CHARS_MAX + 1)}, "button"),
        ({"button": "→漢"}, "button"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_named_by_its_field(changes: dict[str, object], field: str) -> None:
    values = {"width": 300, "height": 250, "text": "Lamp", "button": "Go", "look": Look.FULL}
    with pytest.raises(Invalid) as caught:
        checked(Design(**{**values, **changes}))  # type: ignore[arg-type]
    assert [error.field for error in caught.value.errors] == [field]


def test_words_are_taken_on_one_line() -> None:
    assert checked(design(text="  a \n b ")).text == "a b"
    assert problems(design()) == []


def test_the_face_has_latin_and_cyrillic_and_says_what_it_lacks() -> None:
    assert undrawable("Ёж, щука – «ąäßçñ» 100 % €₽…") == ""
    assert undrawable("漢 Lamp 漢 \U0001f4a1") == "漢\U0001f4a1"


@pytest.mark.parametrize(
    ("brand", "field"),
    [
        (Brand("x" * 31), "name"), (Brand("a\u200bb"), "name"), (Brand("", "red"), "colour"),
        (Brand("", "#12345"), "colour"), (Brand("", "#0B6264"), "colour"),
        (Brand("", "#000000", "url(x)"), "accent"), (Brand("", "#000000", ""), "accent"),
    ],
)  # fmt: skip
def test_a_brand_is_a_name_and_two_colours(brand: Brand, field: str) -> None:
    assert [each.field for each in brand_problems(brand)] == [field]
