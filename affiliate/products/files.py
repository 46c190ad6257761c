"""Feeds as shops write them: CSV, JSON, Google Merchant's XML (RSS 2.0 and Atom). Pure.

Every file becomes the same: for each product a place that its reader finds again, and texts by the
names of Google's specification. Nothing is ever taken in part: what is wrong is told by line and
field, and then nothing of the file counts.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from affiliate.core import plain_xml, strict_json
from affiliate.core.errors import Invalid, Malformed, Phrase
from affiliate.core.tables import guarded
from affiliate.products.rules import FEED_BYTES_MAX, FileKind

GOOGLE: Final = "{http://base.google.com/ns/1.0}"
ATOM: Final = "{http://www.w3.org/2005/Atom}"
FIELDS: Final = (
    "id", "title", "description", "link", "image_link", "price", "sale_price",
    "sale_price_effective_date", "currency", "availability", "brand", "category", "gtin", "rank",
)  # fmt: skip
"""What is read of a feed; the rest of it is somebody else's business."""
NEEDED: Final = ("id", "title", "link", "price")
ALIASES: Final = {
    "sku": "id", "name": "title", "url": "link", "image": "image_link", "summary": "description",
    "content": "description", "product_type": "category", "google_product_category": "category",
}  # fmt: skip
"""Other names for a field; the field's own name goes before them, and these in this order."""
COLUMNS_MAX: Final = 200
_DELIMITERS: Final = (",", ";", "\t")
_LIST_BEGINS: Final = re.compile(r'\s*(?:\{\s*"products"\s*:\s*)?\[')
_LIST_ENDS: Final = re.compile(r"\s*\]\s*\}?\s*")
_COMMA: Final = re.compile(r"\s*,")
_SPACE: Final = re.compile(r"\s*")


@dataclass(frozen=True, slots=True)
class Entry:
    """One product as it stands in a file."""

    where: Phrase
    """`line 3`; of JSON, which may be one line, `product 3`."""
    texts: Mapping[str, str]


def kind_of(raw: bytes) -> FileKind:
    """What a file is. Raises Invalid for one that is empty or too large."""
    if len(raw) > FEED_BYTES_MAX:
        _refuse("too_large", Phrase("At most %(mb)s MB.", mb=FEED_BYTES_MAX // 1_000_000))
    start = raw.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")[:1]
    if not start:
        _refuse("empty", Phrase("The file is empty."))
    return {b"<": FileKind.XML, b"[": FileKind.JSON, b"{": FileKind.JSON}.get(start, FileKind.CSV)


def entries(raw: bytes) -> Iterator[Entry]:
    """The products of a file one after another. Raises Invalid (`file`) for what is no feed."""
    kind = kind_of(raw)
    if kind is FileKind.XML:
        return _of_xml(raw)
    text = _text(raw)
    return _of_json(text) if kind is FileKind.JSON else _of_csv(text)


def _of_csv(text: str) -> Iterator[Entry]:
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = [_name(cell) for cell in next(reader, [])]
        _require_columns(names)
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            where = Phrase("line %(number)s", number=reader.line_num)
            if len(row) > len(names):
                message = Phrase("%(where)s: more values than the first line has names.",
                                 where=where)  # fmt: skip
                _refuse("too_many_values", message)
            yield Entry(where, _chosen(zip(names, map(_unguarded, row), strict=False)))
    except csv.Error:
        message = Phrase("line %(number)s cannot be read as CSV.", number=reader.line_num)
        _refuse("not_csv", message)


def _require_columns(names: Sequence[str]) -> None:
    if len(names) > COLUMNS_MAX:
        _refuse("not_csv", Phrase("The first line has too many names."))
    known = {ALIASES.get(name, name) for name in names}
    missing = [name for name in NEEDED if name not in known]
    if missing:
        message = Phrase(
            "The first line names no %(missing)s. It has to name id, title, link and price.",
            missing=", ".join(missing),
        )
        _refuse("columns_missing", message)
    twice = next((name for name in names if name in FIELDS and names.count(name) > 1), None)
    if twice:
        _refuse("column_twice", Phrase("The first line names %(name)s twice.", name=twice))


def _unguarded(cell: str) -> str:
    """The text without the apostrophe that our own files put before what looks like a formula."""
    return cell[1:] if cell.startswith("'") and guarded(cell[1:]) == cell else cell


def _of_json(text: str) -> Iterator[Entry]:
    """A list of objects, alone or as `{"products": […]}`, read one object at a time."""
    begins = _LIST_BEGINS.match(text)
    if begins is None:
        _refuse("not_json", Phrase('Write a list of products, or {"products": [ … ]}.'))
    at, number = begins.end(), 0
    while not (ends := _LIST_ENDS.fullmatch(text, at)):
        if number:
            comma = _COMMA.match(text, at)
            if comma is None:
                _refuse("not_json", _broken(text, at))
            at = comma.end()
        space = _SPACE.match(text, at)
        at = space.end() if space else at
        number += 1
        where = Phrase("product %(number)s", number=number)
        value, at = _object(text, at, where)
        yield Entry(where, _chosen(_json_texts(value, where)))
    wrapped = begins.group().lstrip().startswith("{")
    if wrapped != ends.group().rstrip().endswith("}"):
        _refuse("not_json", _broken(text, len(text)))


def _object(text: str, at: int, where: Phrase) -> tuple[dict[str, Any], int]:
    try:
        value, end = strict_json.one(text, at)
    except Malformed:
        message = Phrase(
            "%(where)s: a name stands twice in it, or a value that is none in JSON.", where=where
        )
        _refuse("not_json", message)
    except json.JSONDecodeError as error:
        _refuse("not_json", _broken(text, error.pos))
    if not isinstance(value, dict):
        _refuse("not_json", Phrase("%(where)s is no object.", where=where))
    return value, end


def _json_texts(value: dict[str, Any], where: Phrase) -> Iterator[tuple[str, str]]:
    for key, each in value.items():
        name = _name(key)
        if ALIASES.get(name, name) not in FIELDS or each is None:
            continue
        if isinstance(each, dict) and set(each) == {"amount", "currency"}:
            each = f"{each['amount']} {each['currency']}"  # noqa: PLW2901 -- the same, as a text
        number = isinstance(each, int) and not isinstance(each, bool) and "price" not in name
        if not isinstance(each, str) and not number:
            message = Phrase("%(where)s, %(field)s: write it in quotation marks.", where=where,
                             field=name)  # fmt: skip
            _refuse("not_a_text", message)
        yield name, str(each)


def _of_xml(raw: bytes) -> Iterator[Entry]:
    names, roots = ("item", f"{ATOM}entry"), ("rss", f"{ATOM}feed")
    try:
        for part in plain_xml.parts(raw, names, roots):
            where = Phrase("line %(number)s", number=part.line)
            yield Entry(where, _chosen(_xml_texts(part)))
    except plain_xml.NotPlainXml:
        message = Phrase(
            "The file is no product feed that can be read: RSS 2.0 or Atom with Google Merchant's "
            "fields, and no document type in it."
        )
        _refuse("not_xml", message)


def _xml_texts(part: plain_xml.Part) -> Iterator[tuple[str, str]]:
    """Google's own names before those of RSS and Atom; in other namespaces other things."""
    plain = []
    for child in part.children:
        if child.name.startswith(GOOGLE):
            yield child.name.removeprefix(GOOGLE).lower(), child.text
        elif not child.name.startswith("{") or child.name.startswith(ATOM):
            name = child.name.removeprefix(ATOM)
            # An Atom entry has its own id, an address as a rule, and links of several kinds.
            linked = child.attributes.get("href")
            if name == "link" and linked is not None:
                if child.attributes.get("rel", "alternate") == "alternate":
                    plain.append((name, linked))
            elif name != "id":
                plain.append((name, child.text))
    yield from plain


def _chosen(found: Any) -> dict[str, str]:
    """One text for each field: the first that says anything, its own name before other names."""
    own: dict[str, str] = {}
    others: dict[str, str] = {}
    for name, text in found:
        if not text.strip():
            continue
        if name in FIELDS:
            own.setdefault(name, text)
        elif name in ALIASES:
            others.setdefault(name, text)
    for name, field in ALIASES.items():
        if name in others:
            own.setdefault(field, others[name])
    return own


def _name(cell: str) -> str:
    return cell.strip().lower().removeprefix("g:").replace(" ", "_")


def _text(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        _refuse("not_text", Phrase("The file is not text in UTF-8."))
    if "\0" in text:
        _refuse("not_text", Phrase("The file is not text in UTF-8."))
    return text


def _broken(text: str, at: int) -> Phrase:
    number = text.count("\n", 0, at) + 1
    return Phrase("line %(number)s: this is no JSON.", number=number)


def _refuse(code: str, message: str) -> NoReturn:
    raise Invalid.field("file", code, message)
