"""The demo program's promo materials: banners drawn here, texts in both languages, a sale."""

from __future__ import annotations

import io
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from PIL import Image, ImageDraw, ImageFont
from sqlalchemy.orm import Session

from affiliate.core.config import ROOT
from affiliate.programs.models import Program
from affiliate.promo.creatives import add_creative
from affiliate.promo.models import Creative
from affiliate.promo.rules import Kind, Wording

BANNERS: Final = ((728, 90), (300, 250), (160, 600), (320, 100))
"""The sizes that most sites have a place for, and the one of phones."""
DARK, LIGHT, WARM = (15, 76, 70), (236, 244, 240), (244, 190, 92)
TITLE, LINE = "Lamp & Leaf", "Light for small flats"
SMOOTH: Final = 3
"""Drawn so many times larger, so that edges are smooth."""
SALE_DAYS: Final = 21
_FONTS: Final = ROOT / "affiliate" / "core" / "fonts"

_WORDS: Final = (
    (Kind.TEXT, Wording(
        "A lamp for small flats", language="en", body="The lamp that made my desk bigger: it "
        "bends its neck where you read and takes the room of a book. {link}",
    )),
    (Kind.TEXT, Wording(
        "Лампа для маленькой комнаты", language="ru", body="Лампа, с которой стол стал больше: "
        "наклоняется туда, где читаешь, и занимает место книги. {link}",
    )),
    (Kind.EMAIL, Wording(
        "Letter: plants that forgive", language="en",
        subject="Three plants that forgive a month of holidays",
        body="Hello,\n\nI water mine when I remember. These three do not mind:\n\n{link}\n\n"
        "The snake plant is the one to begin with.",
    )),
    (Kind.PAGE, Wording(
        "Light for small flats", language="en", button="See the lamps",
        body="A small flat has no room for a large lamp, and needs more light than a large one.\n\n"
        "- a neck that bends where you read\n- the room of a book on the desk\n"
        "- a warm bulb that comes with it",
    )),
    (Kind.KEYWORDS, Wording(
        "What buyers search for", language="en",
        body="desk lamp small desk\nplants that need no light\nbalcony lantern\nclay pot, saucer",
    )),
    (Kind.NOTES, Wording(
        "Who buys", body="Two thirds live in a flat of under 50 square metres. They come in the "
        "evening, read twice before they buy, and begin with a plant or a pot.",
    )),
)  # fmt: skip


def offer(session: Session, *, program: Program, now: datetime) -> None:
    """Give a program its materials; one that has any keeps them as they are."""
    known = sa.select(Creative.id).where(Creative.program_id == program.id).limit(1)
    if session.scalar(known) is not None:
        return
    today = now.astimezone(ZoneInfo(program.time_zone)).date()
    sale = Wording(
        "Winter lights are cheaper", language="en", starts_on=today,
        ends_on=today + timedelta(days=SALE_DAYS),
        body="Every lamp is cheaper until the days grow longer again: {link}",
    )  # fmt: skip
    for kind, wording in (*_WORDS, (Kind.NEWS, sale)):
        add_creative(session, program_id=program.id, kind=kind, wording=wording, by=None, now=now)
    for width, height in BANNERS:
        add_creative(
            session, program_id=program.id, kind=Kind.BANNER,
            wording=Wording("Light for small flats", alt="Lamp & Leaf: light for small flats"),
            picture=banner(width, height), by=None, now=now,
        )  # fmt: skip


def banner(width: int, height: int) -> bytes:
    """A lamp's light, the shop's name and what it sells, in a PNG."""
    whole = (width * SMOOTH, height * SMOOTH)
    picture = Image.new("RGB", whole, DARK)
    drawn = ImageDraw.Draw(picture)
    wide = width > 2 * height
    radius = int(whole[1] * 0.8) if wide else int(min(whole) * 0.75)
    _light(drawn, (whole[0] - radius // 3, whole[1] // 2) if wide else (whole[0] // 2, whole[1]),
           radius)  # fmt: skip
    margin = max(14 * SMOOTH, min(whole) // 10)
    size = _size(whole[0] - 2 * margin - (radius if wide else 0))
    top = (whole[1] - int(size * 2.1)) // 2 if wide else margin
    drawn.text((margin, top), TITLE, font=_font("SemiBold", size), fill=LIGHT)
    line = _font("Regular", size * 6 // 10)
    drawn.text((margin, top + int(size * 1.35)), LINE, font=line, fill=WARM)
    out = io.BytesIO()
    picture.resize((width, height), Image.Resampling.LANCZOS).save(out, "PNG", optimize=True)
    return out.getvalue()


def _light(drawn: ImageDraw.ImageDraw, centre: tuple[int, int], radius: int) -> None:
    for step in range(6, 0, -1):
        part, warmth = radius * step // 6, (7 - step) / 8
        drawn.ellipse(
            (centre[0] - part, centre[1] - part, centre[0] + part, centre[1] + part),
            fill=tuple(int(d + (w - d) * warmth) for d, w in zip(DARK, WARM, strict=True)),
        )


def _size(room: int) -> int:
    """The largest letters with which both lines fit."""
    for size in range(34 * SMOOTH, 10 * SMOOTH, -1):
        if _font("SemiBold", size).getlength(TITLE) <= room:
            return size
    return 10 * SMOOTH


def _font(weight: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(_FONTS / f"IBMPlexSans-{weight}.ttf"), size)
