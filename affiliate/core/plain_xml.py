"""XML that strangers bring, read without the parts of it that can do harm (pure).

Entities are what XML bombs and readers of files are made of, and no file that we take declares
any: a document type is refused. The parser is asked and not the bytes, because in UTF-16 a
declaration looks like something else.
"""

from __future__ import annotations

from typing import Final
from xml.etree import ElementTree

DEPTH_MAX: Final = 64
"""Elements in each other; a bank's statement has some fifteen."""


class NotPlainXml(ValueError):
    """No XML, or XML with a document type or without end in its depth."""


class _Plain(ElementTree.TreeBuilder):
    """Builds the tree, and stops at what has no place in it."""

    depth = 0

    def doctype(self, _name: str, _pubid: str | None, _system: str | None) -> None:
        raise NotPlainXml("a document type")

    def start(self, tag: str, attrs: dict[str, str]) -> ElementTree.Element:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise NotPlainXml("elements in each other without end")
        return super().start(tag, attrs)

    def end(self, tag: str) -> ElementTree.Element:
        self.depth -= 1
        return super().end(tag)


def parse(raw: bytes) -> ElementTree.Element:
    """The root of a document. Raises NotPlainXml."""
    parser = ElementTree.XMLParser(target=_Plain())  # noqa: S314 -- it reads no document type
    try:
        root: ElementTree.Element = ElementTree.fromstring(raw, parser)  # noqa: S314 -- as above
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise NotPlainXml(str(error)) from error
    return root
