"""Letters out of the outbox, and what their readers would read in them."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.outbox import Mail
from affiliate.letters.rules import Kind


def letters(session: Session, kind: Kind) -> list[Mail]:
    """Of one kind, oldest first."""
    session.rollback()
    query = sa.select(Mail).where(Mail.template == kind.template).order_by(Mail.id)
    return list(session.scalars(query.execution_options(populate_existing=True)))


class _Words(HTMLParser):
    """What is read of a letter's HTML part, where it leads and what it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.tags: set[str] = set()
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = {name: value or "" for name, value in attrs}
        if tag in ("style", "title"):
            self._hidden += 1
        if tag == "a":
            self.links.append(values.get("href", ""))
        self.loads += [values[name] for name in ("src", "srcset", "background") if name in values]
        assert not any(name.startswith("on") for name in values), values

    def handle_endtag(self, tag: str) -> None:
        if tag in ("style", "title"):
            self._hidden -= 1

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.found.append(data)


def read(html: str) -> _Words:
    reader = _Words()
    reader.feed(html)
    return reader


def words(text: str) -> str:
    """A text with single spaces."""
    return " ".join(text.split())


def urls(text: str) -> set[str]:
    return {found.rstrip(".,;:") for found in re.findall(r"https?://[^\s<>\"]+", text)}
