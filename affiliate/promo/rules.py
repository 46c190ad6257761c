"""What promo materials are, how an affiliate's link gets into them, when they are offered (pure).

Rule: docs/promo.md. No template language stands behind a text: `{link}` is replaced, and
nothing else is read out of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from html import escape
from typing import Final
from urllib.parse import urlencode, urlsplit

from affiliate.core.errors import FieldError, Phrase
from affiliate.links.rules import unprintable

NAME_CHARS_MAX: Final = 120
SUBJECT_CHARS_MAX: Final = 200
ALT_CHARS_MAX: Final = 200
BUTTON_CHARS_MAX: Final = 40
BODY_CHARS_MAX: Final = 20_000
ADDRESS_CHARS_MAX: Final = 1_000
POINT_MARKS: Final = ("- ", "– ", "• ", "* ")
"""How a point of a list begins."""
LINK_MARK: Final = "{link}"
"""Where in a text the affiliate's link stands; without it, at the text's end."""


class Kind(StrEnum):
    """What a material is; closed. Pages show them in this order."""

    BANNER = "banner"
    LOGO = "logo"
    TEXT = "text"
    EMAIL = "email"
    LANDING = "landing"
    PAGE = "page"
    VIDEO = "video"
    KEYWORDS = "keywords"
    ARTICLE = "article"
    NEWS = "news"
    NOTES = "notes"

    @property
    def is_picture(self) -> bool:
        return self in (Kind.BANNER, Kind.LOGO)

    @property
    def is_written(self) -> bool:
        """Its body is what it is."""
        return self in (*LINKED_TEXTS, Kind.KEYWORDS, Kind.NOTES, Kind.PAGE)

    @property
    def carries_link(self) -> bool:
        """A link goes into its text; keywords and notes are read by the affiliate alone."""
        return self in LINKED_TEXTS


LINKED_TEXTS: Final = (Kind.TEXT, Kind.EMAIL, Kind.ARTICLE, Kind.NEWS)


_ALWAYS: Final = ("language", "starts_on", "ends_on")
FIELDS: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.BANNER: ("name", "picture", "alt", "destination", *_ALWAYS),
    Kind.LOGO: ("name", "picture", "alt", "destination", *_ALWAYS),
    Kind.TEXT: ("name", "body", "destination", *_ALWAYS),
    Kind.EMAIL: ("name", "subject", "body", "destination", *_ALWAYS),
    Kind.LANDING: ("name", "destination", "body", *_ALWAYS),
    Kind.PAGE: ("name", "picture", "alt", "body", "button", "destination", *_ALWAYS),
    Kind.VIDEO: ("name", "video_url", "body", "destination", *_ALWAYS),
    Kind.KEYWORDS: ("name", "body", *_ALWAYS),
    Kind.ARTICLE: ("name", "body", "destination", *_ALWAYS),
    Kind.NEWS: ("name", "body", "destination", *_ALWAYS),
    Kind.NOTES: ("name", "body", *_ALWAYS),
}
"""What is said of each kind, in the order of its form."""


class Season(StrEnum):
    """Where a day lies in a material's season."""

    COMING = "coming"
    NOW = "now"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a page that we host."""

    lines: tuple[str, ...]
    is_list: bool


@dataclass(frozen=True, slots=True)
class Wording:
    """What a manager says about a material; everything but its kind and picture."""

    name: str
    language: str = ""
    """Two letters; empty: it fits readers of any language."""
    subject: str = ""
    """Of an e-mail."""
    body: str = ""
    alt: str = ""
    """What a picture shows, for whoever does not see it."""
    destination: str = ""
    """A page of the shop; empty: wherever the affiliate's link leads."""
    video_url: str = ""
    button: str = ""
    """Of a page that we host: what stands on the button that leads to the shop."""
    starts_on: date | None = None
    ends_on: date | None = None
    """Its last day."""


def tidy(kind: Kind, wording: Wording) -> Wording:
    """One-line texts without outer and doubled spaces, line ends of one kind; what a material of
    this kind does not have is empty, whatever was sent."""

    def line(text: str) -> str:
        return " ".join(text.split())

    def own(field: str, text: str) -> str:
        return text if field in FIELDS[kind] else ""

    return Wording(
        name=line(wording.name), language=wording.language.strip().lower(),
        subject=own("subject", line(wording.subject)),
        body=own("body", wording.body.replace("\r\n", "\n").strip()),
        alt=own("alt", line(wording.alt)),
        destination=own("destination", wording.destination.strip()),
        video_url=own("video_url", wording.video_url.strip()),
        button=own("button", line(wording.button)),
        starts_on=wording.starts_on, ends_on=wording.ends_on,
    )  # fmt: skip


def problems(kind: Kind, wording: Wording) -> list[FieldError]:
    """What cannot be accepted, by the form's fields; none: it may be offered."""
    found = [
        *_too_long_or_invisible(wording),
        *_missing(kind, wording),
        *_of_season(wording.starts_on, wording.ends_on),
    ]
    if wording.language and not (
        len(wording.language) == 2 and wording.language.isascii() and wording.language.isalpha()
    ):
        found.append(_error("language", "Two letters, such as en or ru; empty for any language."))
    if wording.video_url and not is_web_address(wording.video_url):
        found.append(_error("video_url", "Write the whole address, beginning with https://."))
    return found


def needed(kind: Kind) -> tuple[str, ...]:
    """What a material of this kind cannot do without, besides its picture."""
    by_kind = {
        "name": True,
        "body": kind.is_written,
        "subject": kind is Kind.EMAIL,
        "alt": kind.is_picture,
        "destination": kind is Kind.LANDING,
        "video_url": kind is Kind.VIDEO,
        "button": kind is Kind.PAGE,
    }
    return tuple(field for field, wanted in by_kind.items() if wanted)


def is_web_address(text: str) -> bool:
    """Whether it is an https address without a name and password in it."""
    if len(text) > ADDRESS_CHARS_MAX or unprintable(text) or " " in text:
        return False
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return False
    return parts.scheme == "https" and bool(host) and "." in str(host) and "@" not in parts.netloc


def season_on(day: date, starts_on: date | None, ends_on: date | None) -> Season:
    """Both ends belong to the season; an open end is open."""
    if starts_on is not None and day < starts_on:
        return Season.COMING
    return Season.OVER if ends_on is not None and day > ends_on else Season.NOW


def address(link_url: str, *, creative: str, destination: str) -> str:
    """The affiliate's link as it stands in a material: says which one was clicked, leads to its
    page of the shop. `creative` is the material's public id."""
    values = {"cr": creative, **({"to": destination} if destination else {})}
    return f"{link_url}?{urlencode(values)}"


def hosted_address(public_url: str, *, link: str, creative: str) -> str:
    """Where a page that we host stands for one affiliate; `link` is the code of theirs."""
    return f"{public_url}/l/{link}/{creative}"


def blocks(body: str) -> tuple[Block, ...]:
    """A plain text as paragraphs and lists: lines that begin with a hyphen are points, an empty
    line ends a paragraph. Nothing else is read out of it."""
    found: list[Block] = []
    fresh = True
    for line in (each.strip() for each in body.split("\n")):
        if not line:
            fresh = True
            continue
        is_point = line.startswith(POINT_MARKS)
        text = line.lstrip("-–•* ") if is_point else line
        last = found[-1] if found else None
        if is_point and last is not None and last.is_list and text:
            found[-1] = Block((*last.lines, text), True)
        elif not is_point and last is not None and not last.is_list and not fresh:
            found[-1] = Block((*last.lines, text), False)
        elif text:
            found.append(Block((text,), is_point))
        fresh = False
    return tuple(found)


def with_link(body: str, link: str) -> str:
    """A text with the affiliate's link where it belongs."""
    if LINK_MARK in body:
        return body.replace(LINK_MARK, link)
    return f"{body}\n\n{link}" if body else link


def banner_code(link: str, *, picture_url: str, width: int, height: int, alt: str) -> str:
    """What is pasted into a site's HTML. `sponsored` is how search engines ask for paid links."""
    return (
        f'<a href="{escape(link)}" rel="sponsored noopener" target="_blank">'
        f'<img src="{escape(picture_url)}" width="{width}" height="{height}" '
        f'alt="{escape(alt)}" loading="lazy"></a>'
    )


def _too_long_or_invisible(wording: Wording) -> list[FieldError]:
    found = []
    for field, most in (
        ("name", NAME_CHARS_MAX),
        ("subject", SUBJECT_CHARS_MAX),
        ("alt", ALT_CHARS_MAX),
        ("button", BUTTON_CHARS_MAX),
        ("destination", ADDRESS_CHARS_MAX),
        ("video_url", ADDRESS_CHARS_MAX),
        ("body", BODY_CHARS_MAX),
    ):
        text: str = getattr(wording, field)
        lines = text.replace("\n", " ").replace("\t", " ") if field == "body" else text
        if len(text) > most or unprintable(lines):
            found.append(_error(field, Phrase("At most %(most)s visible characters.", most=most)))
    return found


def _missing(kind: Kind, wording: Wording) -> list[FieldError]:
    return [
        FieldError(field, "required", "Please fill this in.")
        for field in needed(kind)
        if not getattr(wording, field)
    ]


def _of_season(starts_on: date | None, ends_on: date | None) -> list[FieldError]:
    if starts_on and ends_on and ends_on < starts_on:
        return [_error("ends_on", "The last day is before the first.")]
    return []


def _error(field: str, message: str) -> FieldError:
    return FieldError(field, f"{field}_wrong", message)
