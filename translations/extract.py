"""Find every string that people read, in the code and in the templates.

Babel's own extractor for Python knows calls by their names alone. Ours reads the syntax tree,
because the sentences of refusals stand in classes and raises, where no call marks them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from babel.messages import Catalog
from jinja2.ext import babel_extract

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("affiliate", "payouts", "tracker")
TEMPLATES = "templates"

ONE = frozenset(("_", "_l", "gettext", "lazy_gettext", "gettext_noop", "N_", "Phrase"))
"""Calls whose first argument is a text; wrappers keep one of these names."""
MANY = frozenset(("ngettext", "lazy_ngettext"))
"""Calls whose first two arguments are one thing and many things."""
CONTEXT = frozenset(("pgettext", "lazy_pgettext"))
"""Calls whose first argument tells texts apart that are the same in English."""
REFUSALS = {
    "Refusal": 0,
    "field": 2,
    "of": 1,
    "FieldError": 2,
    "refuse": 1,
    "Coded": 1,
    "_error": 1,
    "wrong": 2,
}
"""What makes a refusal, and which of its arguments is the sentence."""
MACHINES_ALONE = (
    "affiliate/core/api.py",
    "affiliate/core/backup.py",
    "affiliate/core/fields.py",
    "affiliate/core/paging.py",
    "affiliate/core/strict_json.py",
    "affiliate/people/gate.py",
    "payouts/batches/api.py",
    "tracker/clicks/quarantine.py",
    "tracker/clicks/retention.py",
    "tracker/order_imports/",
    "tracker/orders/",
    "tracker/stats/api.py",
    "tracker/stats/cursors.py",
)
"""What refuses here is met over the API or on a command line, where English is spoken; titles
of refusals are translated all the same, for a page may meet the refusal of another edge."""
JINJA_KEYWORDS = ("_", "gettext", "ngettext", "pgettext")

Text = str | tuple[str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """One text, with the file that it stands in."""

    text: Text
    context: str | None
    path: str


@dataclass(frozen=True, slots=True)
class Unfit:
    """A sentence put together before anybody could translate it."""

    path: str
    line: int
    source: str


def template_catalog() -> Catalog:
    """Every text, in the order of the alphabet, with the files in which it stands."""
    places: dict[tuple[Text, str | None], set[str]] = {}
    for found in (*python_texts(), *template_texts()):
        places.setdefault((found.text, found.context), set()).add(found.path)
    catalog = Catalog(project="Kopeck", charset="utf-8", fuzzy=False)
    for (text, context), paths in sorted(places.items(), key=lambda each: _order(*each[0])):
        catalog.add(text, context=context, locations=[(path, 0) for path in sorted(paths)])
    return catalog


def python_texts() -> Iterator[Found]:
    """Marked texts of the packages, and the sentences of their refusals."""
    for path, tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield from _of_call(node, path)
            elif isinstance(node, ast.ClassDef):
                yield from (Found(title, None, path) for title in _titles(node))


def template_texts() -> Iterator[Found]:
    """Marked texts of the pages and of the letters."""
    for file in sorted((ROOT / TEMPLATES).rglob("*.*")):
        path = file.relative_to(ROOT).as_posix()
        with file.open("rb") as source:
            options = {"silent": "false", "trimmed": "true"}
            for _, name, text, _ in babel_extract(source, JINJA_KEYWORDS, (), options):
                given = [text] if isinstance(text, str) else [each or "" for each in text or ()]
                if name == "ngettext":
                    yield Found((given[0], given[1]), None, path)
                elif name == "pgettext":
                    yield Found(given[1], given[0], path)
                else:
                    yield Found(given[0], None, path)


def unfit() -> Iterator[Unfit]:
    """Sentences with their values already in them: no catalogue can know those."""
    for path, tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                at = _place(node, path)
                if at is not None and _put_together(_argument(node, at)):
                    yield Unfit(path, node.lineno, ast.unparse(node)[:100])


def _trees() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            yield file.relative_to(ROOT).as_posix(), ast.parse(file.read_text(encoding="utf-8"))


def _of_call(node: ast.Call, path: str) -> Iterator[Found]:
    name = _name(node.func)
    if name in MANY:
        one, many = _constant(_argument(node, 0)), _constant(_argument(node, 1))
        if one and many:
            yield Found((one, many), None, path)
        return
    if name in CONTEXT:
        context, text = _constant(_argument(node, 0)), _constant(_argument(node, 1))
        if context and text:
            yield Found(text, context, path)
        return
    at = _place(node, path)
    text = _constant(_argument(node, at)) if at is not None else None
    if text:
        yield Found(text, None, path)


def _place(node: ast.Call, path: str) -> int | None:
    """Which argument of the call is a text for people; None where none is."""
    name = _name(node.func)
    if name in ONE:
        return 0
    if path.startswith(MACHINES_ALONE):
        return None
    return 0 if name in refusal_names() else REFUSALS.get(name)


def refusal_names() -> frozenset[str]:
    """Names of all classes that are refusals, by what they derive from."""
    global _refusal_names  # noqa: PLW0603 -- read once, from all files
    if _refusal_names is None:
        bases: dict[str, set[str]] = {}
        for _, tree in _trees():
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    # Two classes may have one name, of which only one is a refusal.
                    bases.setdefault(node.name, set()).update(_name(base) for base in node.bases)
        names, grown = {"Refusal"}, True
        while grown:
            more = {name for name, above in bases.items() if above & names} - names
            names |= more
            grown = bool(more)
        _refusal_names = frozenset(names)
    return _refusal_names


_refusal_names: frozenset[str] | None = None


def _titles(node: ast.ClassDef) -> Iterator[str]:
    if node.name not in refusal_names():
        return
    for line in node.body:
        targets = line.targets if isinstance(line, ast.Assign) else []
        targets = [line.target] if isinstance(line, ast.AnnAssign) else targets
        if any(isinstance(each, ast.Name) and each.id == "title" for each in targets):
            title = _constant(line.value)  # type: ignore[attr-defined]
            if title:
                yield title


def _argument(node: ast.Call, at: int) -> ast.expr | None:
    return node.args[at] if at < len(node.args) else None


def _constant(node: Any) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _put_together(node: ast.expr | None) -> bool:
    return isinstance(node, ast.JoinedStr | ast.BinOp)


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _order(text: Text, context: str | None) -> tuple[str, str, str]:
    first = text if isinstance(text, str) else text[0]
    return first.lower(), first, context or ""
