"""Every action that the code writes into the audit log, read out of the code itself."""

from __future__ import annotations

import ast
import importlib
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import product
from pathlib import Path

from affiliate.core.config import ROOT

PACKAGES = ("affiliate", "payouts", "tracker")
OF_CLASSES = {
    ("payouts/invoices/issue.py", "document.kind"): ("invoice", "credit_note"),
}
"""What an attribute may hold that no annotation tells."""
NEVER = {
    "claim.open": "a decision of a case is never to open it",
    "claim.withdrawn": "who takes a case back decides nothing",
    "postback.rotate": "a postback has no secret",
}
"""What the types allow and no path of the code writes, with why."""
RECORD = "audit.record"
Function = ast.FunctionDef | None


class Untold(AssertionError):
    """An action whose texts cannot be read out of the code."""


@dataclass(frozen=True, eq=False)
class Module:
    """One file of ours, and which function each of its calls stands in."""

    path: str

    @property
    def name(self) -> str:
        return self.path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse((ROOT / self.path).read_text(encoding="utf-8"))

    @cached_property
    def calls(self) -> list[tuple[ast.Call, Function]]:
        return list(_calls(self.tree, None))


def actions() -> dict[str, str]:
    """Each action by the file that writes it."""
    modules = [
        Module(str(path.relative_to(ROOT)))
        for package in PACKAGES
        for path in sorted(Path(ROOT / package).rglob("*.py"))
    ]
    found: dict[str, str] = {}
    for module in modules:
        for call, function in module.calls:
            if ast.unparse(call.func) == RECORD:
                [said] = [each.value for each in call.keywords if each.arg == "action"]
                found |= dict.fromkeys(_texts(said, function, module, modules), module.path)
    return {code: path for code, path in found.items() if code not in NEVER}


def _calls(node: ast.AST, function: Function) -> Iterator[tuple[ast.Call, Function]]:
    for child in ast.iter_child_nodes(node):
        inner = child if isinstance(child, ast.FunctionDef) else function
        if isinstance(child, ast.Call):
            yield child, inner
        yield from _calls(child, inner)


def _texts(said: ast.expr, function: Function, module: Module, modules: list[Module]) -> set[str]:
    """Every text that an expression may be there."""

    def texts(part: ast.expr) -> set[str]:
        return _texts(part, function, module, modules)

    match said:
        case ast.Constant(value=str(text)):
            return {text}
        case ast.IfExp():
            return texts(said.body) | texts(said.orelse)
        case ast.FormattedValue():
            return texts(said.value)
        case ast.JoinedStr():
            return {"".join(parts) for parts in product(*map(texts, said.values))}
        case ast.Attribute():
            return _of_attribute(said, function, module)
        case ast.Name() if function is not None and _place(function, said.id) is not None:
            return _of_callers(said.id, function, module, modules)
        case ast.Name():
            return set().union(*map(texts, _assigned(said.id, function, module)))
    raise Untold(f"{module.path}: {ast.unparse(said)}")


def _of_attribute(said: ast.Attribute, function: Function, module: Module) -> set[str]:
    """The members of the enum that an argument is annotated as."""
    told = OF_CLASSES.get((module.path, ast.unparse(said)))
    if told is not None:
        return set(told)
    if function is not None and isinstance(said.value, ast.Name) and said.attr == "value":
        for argument in (*function.args.args, *function.args.kwonlyargs):
            if argument.arg == said.value.id and argument.annotation is not None:
                named = vars(importlib.import_module(module.name))
                of = eval(ast.unparse(argument.annotation), named)  # our own annotations
                if isinstance(of, type) and issubclass(of, StrEnum):
                    return {each.value for each in of}
                return {each.value for each in typing.get_args(of)}
    raise Untold(f"{module.path}: {ast.unparse(said)}")


def _of_callers(
    name: str, function: ast.FunctionDef, module: Module, modules: list[Module]
) -> set[str]:
    """What the callers of a function give for an argument, and its default."""
    found = {
        text for each in _default(function, name) for text in _texts(each, None, module, modules)
    }
    where = [module] if function.name.startswith("_") else modules
    for other in where:
        for call, caller in other.calls:
            called = ast.unparse(call.func)
            if called != RECORD and called.rpartition(".")[2] == function.name:
                for said in _given(call, name, _place(function, name)):
                    found |= _texts(said, caller, other, modules)
    return found


def _place(function: ast.FunctionDef, name: str) -> int | None:
    """Which argument it is; -1 where it can only be given by name, None where it is none."""
    if name in [each.arg for each in function.args.args]:
        return [each.arg for each in function.args.args].index(name)
    return -1 if name in [each.arg for each in function.args.kwonlyargs] else None


def _given(call: ast.Call, name: str, place: int | None) -> Iterable[ast.expr]:
    yield from (each.value for each in call.keywords if each.arg == name)
    if place is not None and 0 <= place < len(call.args):
        yield call.args[place]


def _default(function: ast.FunctionDef, name: str) -> Iterable[ast.expr]:
    named = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    yield from (default for each, default in named if each.arg == name and default is not None)


def _assigned(name: str, function: Function, module: Module) -> list[ast.expr]:
    """What a name is set to in the function, else in its module."""
    for scope in (function, module.tree):
        if scope is not None and (found := list(_assignments(name, scope))):
            return found
    raise Untold(f"{module.path}: {name}")


def _assignments(name: str, scope: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(scope):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            targets = [node.target]
        for target in targets:
            if isinstance(target, ast.Name) and target.id == name:
                yield node.value  # type: ignore[union-attr]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):  # type: ignore[union-attr]
                pairs = zip(target.elts, node.value.elts, strict=True)  # type: ignore[union-attr]
                yield from (
                    value for each, value in pairs if isinstance(each, ast.Name) and each.id == name
                )
