"""What a made banner consists of: sizes, words, colours that can be read, where each part stands.

Pure. Rule: docs/promo.md, "The banner maker".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from affiliate.core.errors import FieldError, Phrase
from affiliate.links.rules import unprintable

TEXT_CHARS_MAX: Final = 80
BUTTON_CHARS_MAX: Final = 24
BRAND_CHARS_MAX: Final = 30
SIZES: Final = (
    (300, 250), (336, 280), (250, 250), (728, 90), (970, 250), (468, 60), (160, 600), (120, 600),
    (300, 600), (320, 100), (320, 50),
)  # fmt: skip
"""What most sites have a place for; the last two are for phones."""
NAME_FROM_PX: Final = 90
"""In lower banners there is no room for the shop's name beside the text."""
COLOUR_DEFAULT: Final = "#0b6264"
ACCENT_DEFAULT: Final = "#f4be5c"
CONTRAST_MIN: Final = 4.5
"""WCAG 2.2, 1.4.3: text of ordinary size."""
_COLOUR: Final = re.compile(r"#(?a:[0-9a-f]{6})")
_WHITE, _BLACK = "#ffffff", "#000000"


class Look(StrEnum):
    """How the brand's two colours are used; closed."""

    FULL = "full"
    """The brand's colour behind, the accent in the button."""
    LIGHT = "light"
    """White behind, the brand's colour in the button."""
    ACCENT = "accent"
    """The accent behind, the brand's colour in the button."""


class Box(NamedTuple):
    """A part of the picture, in pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Brand:
    """What all banners of a program have in common."""

    name: str = ""
    """The shop's, as it stands on banners; empty: it stands on none."""
    colour: str = COLOUR_DEFAULT
    accent: str = ACCENT_DEFAULT


@dataclass(frozen=True, slots=True)
class Design:
    """What somebody chose."""

    width: int
    height: int
    text: str
    button: str
    look: Look


@dataclass(frozen=True, slots=True)
class Colours:
    """What is drawn in which colour."""

    behind: str
    text: str
    button: str
    button_text: str


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything stands; no two of them overlap, and none touches the edge."""

    text: Box
    button: Box
    picture: Box | None
    name: Box | None


def problems(design: Design) -> list[FieldError]:
    """What cannot be drawn, by the form's fields; none: it can."""
    found = []
    if (design.width, design.height) not in SIZES:
        found.append(FieldError("size", "unknown_size", "Choose one of the sizes."))
    for field, text, most in (
        ("text", design.text, TEXT_CHARS_MAX), ("button", design.button, BUTTON_CHARS_MAX),
    ):  # fmt: skip
        if not text:
            found.append(FieldError(field, "required", "Please fill this in."))
        elif len(text) > most or unprintable(text):
            message = Phrase("At most %(most)s visible characters.", most=most)
            found.append(FieldError(field, f"{field}_wrong", message))
    return found


def brand_problems(brand: Brand) -> list[FieldError]:
    """What is wrong with a brand's settings."""
    found = []
    if len(brand.name) > BRAND_CHARS_MAX or unprintable(brand.name):
        message = Phrase("At most %(most)s visible characters.", most=BRAND_CHARS_MAX)
        found.append(FieldError("name", "name_wrong", message))
    for field, colour in (("colour", brand.colour), ("accent", brand.accent)):
        if not _COLOUR.fullmatch(colour):
            message = Phrase("Write it as #0b6264: a hash and six digits from 0 to f.")
            found.append(FieldError(field, "not_a_colour", message))
    return found


def colours(brand: Brand, look: Look) -> Colours:
    """The colours of a look; text is black or white, whichever can be read better.

    One of the two always can: their contrast to any colour is at least 4.5 together.
    """
    behind, button = {
        Look.FULL: (brand.colour, brand.accent),
        Look.LIGHT: (_WHITE, brand.colour),
        Look.ACCENT: (brand.accent, brand.colour),
    }[look]
    return Colours(behind, readable_on(behind), button, readable_on(button))


def readable_on(colour: str) -> str:
    """Black or white."""
    return max((_WHITE, _BLACK), key=lambda each: contrast(each, colour))


def contrast(one: str, other: str) -> float:
    """How well one colour stands out from the other, 1 to 21 (WCAG 2.2, "contrast ratio")."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def layout(width: int, height: int, *, picture: bool, name: bool) -> Layout:
    """Where everything stands: beside each other in a wide banner, else below each other."""
    margin = max(6, min(width, height) // 12)
    name = name and height >= NAME_FROM_PX
    wide = width >= 2 * height
    return (_wide if wide else _tall)(width, height, margin, picture, name)


def _wide(width: int, height: int, margin: int, picture: bool, name: bool) -> Layout:
    inner = height - 2 * margin
    left, shown = margin, None
    if picture:
        shown = Box(margin, margin, inner, inner)
        left += inner + margin
    button_width = max(70, width * 22 // 100)
    button_height = min(inner, max(24, height * 42 // 100), 56)
    right = width - margin - button_width
    button = Box(right, (height - button_height) // 2, button_width, button_height)
    room = right - margin - left
    called = Box(left, margin, room, inner * 22 // 100) if name else None
    top = called.y + called.height + inner * 4 // 100 if called else margin
    return Layout(Box(left, top, room, height - margin - top), button, shown, called)


def _tall(width: int, height: int, margin: int, picture: bool, name: bool) -> Layout:
    inner, top = width - 2 * margin, margin
    gap = max(4, margin // 2)
    called = shown = None
    if name:
        called = Box(margin, top, inner, max(14, height * 6 // 100))
        top += called.height + gap
    button_height = max(26, min(44, height * 14 // 100))
    button = Box(margin, height - margin - button_height, inner, button_height)
    bottom = button.y - margin
    if picture:
        shown = Box(margin, top, inner, (bottom - top) // 2)
        top += shown.height + gap
    return Layout(Box(margin, top, inner, bottom - top), button, shown, called)


def _luminance(colour: str) -> float:
    """Relative luminance, 0 to 1 (WCAG 2.2)."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
