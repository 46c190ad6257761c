"""Every code of an error, out of the source: `python -m tests.api.codes` writes docs/errors.md."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from affiliate.core.errors import Refusal
from affiliate.core.fields import _CODES as OF_MARSHMALLOW
from affiliate.core.http import STATUS_CODES

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/errors.md"
PACKAGES = ("affiliate", "payouts", "tracker")
FIELD_CALLS = {"refuse": 0, "Coded": 0, "field": 1, "FieldError": 1}
"""Calls that name a field's code, and where it stands among their values."""
HEAD = """# Codes of errors

Written by `python -m tests.api.codes`; a test holds it to the source. What an error looks like:
[api.md](api.md), "Errors". Decide by `code`; a code keeps its meaning and its status for as long
as v1 lives. Pages refuse by the same codes, so that not all of them can come from the API.

"""


@cache
def refusals() -> list[type[Refusal]]:
    """Every refusal that any module defines, by code."""
    for package in PACKAGES:
        for module in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)

    def below(one: type[Refusal]) -> Iterator[type[Refusal]]:
        yield one
        for each in one.__subclasses__():
            yield from below(each)

    lasting = (each for each in below(Refusal) if "<locals>" not in each.__qualname__)
    ours = {each for each in lasting if each.__module__.split(".")[0] in PACKAGES}
    return sorted(
        ours - {Refusal}, key=lambda each: (each.code, each.__qualname__, each.__module__)
    )


@cache
def known() -> frozenset[str]:
    """Every code that an answer may have."""
    return frozenset({each.code for each in refusals()} | set(STATUS_CODES.values()))


@cache
def field_codes() -> frozenset[str]:
    """Every code that a field of `errors` may have."""
    found = set(OF_MARSHMALLOW.values()) | {"invalid"}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                found.update(_named(node))
    return frozenset(found)


def _named(node: ast.AST) -> Iterator[str]:
    if not isinstance(node, ast.Call):
        return
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    at = FIELD_CALLS.get(name)
    if at is not None and len(node.args) > at + 1:
        for value in ast.walk(node.args[at]):
            text = getattr(value, "value", None)
            if isinstance(text, str) and not text.startswith("_"):  # Of an f-string: a part.
                yield text


def page() -> str:
    """The document."""
    lines = [HEAD, "| code | status | meaning |\n|---|---|---|\n"]
    titles: dict[tuple[str, int], list[str]] = {}
    for each in refusals():
        said = titles.setdefault((each.code, each.status), [])
        if each.title not in said and each.title != Refusal.title:
            said.append(str(each.title))
    for number, code in STATUS_CODES.items():
        titles.setdefault((code, number), ["The framework's own."])
    for (code, status), said in sorted(titles.items()):
        lines.append(f"| `{code}` | {status} | {' '.join(said)} |\n")
    words = " ".join(f"`{code}`" for code in sorted(field_codes()))
    lines.append(
        f"\n## Codes of fields\n\nIn `errors[].code`, beside the field's path:\n\n{words}\n"
    )
    return "".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
