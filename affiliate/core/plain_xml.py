"""XML that strangers bring, read without the parts of it that can do harm (pure).

Entities are what XML bombs and readers of files are made of, and no file that we take declares
any: a document type is refused. The parser is asked and not the bytes, because in UTF-16 a
declaration looks like something else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree
from xml.parsers import expat

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


CHILDREN_MAX: Final = 500
PART_CHARS_MAX: Final = 200_000
SLICE_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Child:
    """A direct child of a part: its name, the text in it and its attributes."""

    name: str
    text: str
    attributes: dict[str, str]


@dataclass(frozen=True, slots=True)
class Part:
    """One element of a long document, with its direct children; names are `{namespace}local`."""

    line: int
    """Where it begins."""
    children: tuple[Child, ...]


def parts(raw: bytes, names: Collection[str], roots: Collection[str]) -> Iterator[Part]:
    """The elements of these names one by one, so that a long document never stands as a tree.

    What lies deeper than their children is passed over. Raises NotPlainXml, also for a document
    whose root is none of `roots`.
    """
    reader = _Parts(frozenset(names), frozenset(roots))
    try:
        for at in range(0, len(raw) or 1, SLICE_BYTES):
            reader.parser.Parse(raw[at : at + SLICE_BYTES], at + SLICE_BYTES >= len(raw))
            yield from reader.done
            reader.done.clear()
    except (expat.ExpatError, ValueError, LookupError) as error:
        if isinstance(error, NotPlainXml):
            raise
        raise NotPlainXml(str(error)) from error


class _Parts:
    """What expat tells, gathered into parts."""

    def __init__(self, names: frozenset[str], roots: frozenset[str]) -> None:
        self.names, self.roots = names, roots
        self.done: list[Part] = []
        self.depth = self.line = self.chars = self.part_depth = 0
        self.children: list[Child] = []
        self.texts: list[str] = []
        self.attributes: dict[str, str] = {}
        self.parser = expat.ParserCreate(namespace_separator="}")
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def _doctype(self, *_: object) -> None:
        raise NotPlainXml("a document type")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = _clark(name)
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise NotPlainXml("elements in each other without end")
        if self.depth == 1 and name not in self.roots:
            raise NotPlainXml("another kind of document")
        if not self.part_depth and name in self.names:
            self.part_depth, self.line = self.depth, self.parser.CurrentLineNumber
            self.children, self.chars = [], 0
        elif self.part_depth and self.depth == self.part_depth + 1:
            self.texts, self.attributes = [], {_clark(k): v for k, v in attributes.items()}

    def _end(self, name: str) -> None:
        if self.part_depth and self.depth == self.part_depth + 1:
            text = "".join(self.texts)
            self.children.append(Child(_clark(name), text, self.attributes))
            if len(self.children) > CHILDREN_MAX:
                raise NotPlainXml("an element of too many parts")
        elif self.part_depth == self.depth:
            self.done.append(Part(self.line, tuple(self.children)))
            self.part_depth = 0
        self.depth -= 1

    def _text(self, text: str) -> None:
        if self.part_depth and self.depth == self.part_depth + 1:
            self.chars += len(text)
            if self.chars > PART_CHARS_MAX:
                raise NotPlainXml("an element without end")
            self.texts.append(text)


def _clark(name: str) -> str:
    return "{" + name if "}" in name else name
