"""Draw a banner: the bundled face, the program's colours, words that always fit.

What it costs is bounded by what goes in: one of some sizes, at most a hundred characters, a picture
of at most 320 pixels that we made ourselves. Nothing here reads a row or holds a lock.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from PIL import Image, ImageColor, ImageDraw, ImageFont

from affiliate.core.config import ROOT
from affiliate.promo.banner_rules import Box, Brand, Design, colours, layout
from affiliate.promo.pictures import Picture

SMOOTH: Final = 2
"""Drawn so many times larger, so that edges are smooth."""
LETTERS_PX_MAX: Final = 40
LETTERS_PX_MIN: Final = 8
"""Smaller nobody reads: what does not fit then is broken and cut with dots."""
_NO_GLYPH: Final = "\uffff"
_FONTS: Final = ROOT / "affiliate" / "core" / "fonts"
Weight = Literal["Regular", "SemiBold"]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A text in its box: lines of one size."""

    lines: tuple[str, ...]
    size: int
    line_height: int
    whole: bool
    """False: it had to be cut."""


def draw(
    design: Design, brand: Brand, picture: bytes | None = None, *, webp: bool = False
) -> Picture:
    """The banner as PNG or WebP. `picture` is one of ours (`affiliate.products.pictures`)."""
    found = layout(design.width, design.height, picture=picture is not None, name=bool(brand.name))
    ink = colours(brand, design.look)
    shown = Image.new("RGB", (design.width * SMOOTH, design.height * SMOOTH), ink.behind)
    drawn = ImageDraw.Draw(shown)
    if picture is not None and found.picture is not None:
        _place(shown, picture, scaled(found.picture))
    if found.name is not None:
        _write(drawn, brand.name, scaled(found.name), "SemiBold", ink.text, lines_max=1)
    _write(drawn, design.text, scaled(found.text), "SemiBold", ink.text)
    button = scaled(found.button)
    corners = (button.x, button.y, button.x + button.width, button.y + button.height)
    drawn.rounded_rectangle(corners, radius=min(button.height // 3, 12 * SMOOTH), fill=ink.button)
    _write(
        drawn, design.button, inside_button(button), "SemiBold", ink.button_text, lines_max=1,
        centred=True,
    )  # fmt: skip
    drawn.rectangle((0, 0, shown.width - 1, shown.height - 1), outline=_edge(ink.behind),
                    width=SMOOTH)  # fmt: skip
    out = io.BytesIO()
    size = (design.width, design.height)
    shown = shown.resize(size, Image.Resampling.LANCZOS)
    if webp:
        shown.save(out, "WEBP", quality=90, method=4)
    else:
        shown.save(out, "PNG", optimize=True)
    return Picture(out.getvalue(), "webp" if webp else "png", *size)


def undrawable(text: str) -> str:
    """The characters that the face has no letter for, each once; empty: it has all of them."""
    return "".join(dict.fromkeys(char for char in text if not char.isspace() and not _has(char)))


def fit(text: str, box: Box, weight: Weight, *, lines_max: int = 8) -> Fitted:
    """The largest letters in which a text stands in its box, broken between words.

    Only where even the smallest do not fit it is broken within words, and cut with dots.
    """
    largest = min(LETTERS_PX_MAX * SMOOTH, box.height)
    smallest = min(LETTERS_PX_MIN * SMOOTH, largest)
    for size in range(largest, smallest - 1, -1):
        face, height = _face(weight, size), line_height(weight, size)
        lines = _between_words(text, face, box.width)
        if lines and len(lines) <= lines_max and len(lines) * height <= box.height:
            return Fitted(tuple(lines), size, height, True)
    # Boxes are never so low that not one smallest line stands in them but where a line is as
    # high as the box: then letters are as small as it takes.
    size = smallest
    while size > 1 and line_height(weight, size) > box.height:
        size -= 1
    face, height = _face(weight, size), line_height(weight, size)
    most = max(1, min(lines_max, box.height // height))
    lines = list(_anywhere(text, face, box.width))
    whole = len(lines) <= most
    if not whole:
        lines = [*lines[: most - 1], _dotted(lines[most - 1], face, box.width)]
    return Fitted(tuple(lines), size, height, whole)


def placed(
    found: Fitted, box: Box, weight: Weight, *, centred: bool = False
) -> Iterator[tuple[tuple[int, int], str]]:
    """Where each line begins: in the middle of the box's height, no letter left of its edge."""
    face = _face(weight, found.size)
    top = box.y + (box.height - len(found.lines) * found.line_height) // 2
    for number, line in enumerate(found.lines):
        lead = max(0, -int(face.getbbox(line)[0]))
        room = int(box.width - _width(line, face)) // 2 if centred else 0
        yield (box.x + room + lead, top + number * found.line_height), line


def line_height(weight: Weight, size: int) -> int:
    """From the top of the highest letter to the bottom of the lowest."""
    return sum(_face(weight, size).getmetrics())


def scaled(box: Box) -> Box:
    """The box in the pixels that are drawn."""
    return Box(*(each * SMOOTH for each in box))


def inside_button(button: Box) -> Box:
    """Where a button's text stands."""
    side, above = min(button.width // 10, 12 * SMOOTH), button.height // 6
    return Box(button.x + side, button.y + above, button.width - 2 * side,
               button.height - 2 * above)  # fmt: skip


def _write(
    drawn: ImageDraw.ImageDraw,
    text: str,
    box: Box,
    weight: Weight,
    fill: str,
    *,
    lines_max: int = 8,
    centred: bool = False,
) -> None:
    found = fit(text, box, weight, lines_max=lines_max)
    face = _face(weight, found.size)
    for place, line in placed(found, box, weight, centred=centred):
        drawn.text(place, line, font=face, fill=fill)


def _place(shown: Image.Image, picture: bytes, box: Box) -> None:
    """The picture in the middle of its box, as large as it gets without being stretched; what is
    seen through is white, as most products are photographed on it."""
    with Image.open(io.BytesIO(picture), formats=("WEBP", "PNG")) as given:
        one = given.convert("RGBA")
    part = min(box.width / one.width, box.height / one.height)
    size = (max(1, int(one.width * part)), max(1, int(one.height * part)))
    one = one.resize(size, Image.Resampling.LANCZOS)
    card = Image.new("RGB", size, "#ffffff")
    card.paste(one, (0, 0), one)
    mask = Image.new("L", card.size, 0)
    ImageDraw.Draw(mask).rounded_rectangle(
        (0, 0, size[0] - 1, size[1] - 1), radius=min(6 * SMOOTH, min(size) // 8), fill=255
    )
    left, top = (box.width - size[0]) // 2, (box.height - size[1]) // 2
    shown.paste(card, (box.x + left, box.y + top), mask)


def _between_words(text: str, face: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines broken between words; none where one word alone is wider."""
    lines: list[str] = []
    for word in text.split():
        if _width(word, face) > width:
            return []
        longer = f"{lines[-1]} {word}" if lines else ""
        if longer and _width(longer, face) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _anywhere(text: str, face: ImageFont.FreeTypeFont, width: int) -> Iterator[str]:
    """Lines broken wherever they are full; each has at least one character."""
    line = ""
    for char in " ".join(text.split()):
        if line and _width(line + char, face) > width:
            yield line.rstrip()
            line = "" if char == " " else char
        else:
            line += char
    if line.strip():
        yield line.rstrip()


def _dotted(line: str, face: ImageFont.FreeTypeFont, width: int) -> str:
    while line and _width(line + "…", face) > width:
        line = line[:-1].rstrip()
    return line + "…"


def _width(text: str, face: ImageFont.FreeTypeFont) -> float:
    left, _top, right, _bottom = face.getbbox(text)
    return max(face.getlength(text), right - min(0, left))


def _edge(behind: str) -> str:
    """A thin line around: on a page of the same colour the banner would have no end."""
    parts = ImageColor.getrgb(behind)[:3]
    return "#" + "".join(f"{int(part * 0.85):02x}" for part in parts)


@lru_cache(maxsize=256)
def _face(weight: Weight, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(
        str(_FONTS / f"IBMPlexSans-{weight}.ttf"), size, layout_engine=ImageFont.Layout.BASIC
    )


@lru_cache(maxsize=4_096)
def _has(char: str) -> bool:
    return _drawn(char) != _drawn(_NO_GLYPH)


def _drawn(char: str) -> bytes:
    alone = Image.new("L", (48, 48))
    ImageDraw.Draw(alone).text((8, 8), char, font=_face("SemiBold", 20), fill=255)
    return alone.tobytes()
