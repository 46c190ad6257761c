"""What a thousand applications of one process share: compiled templates and addresses.

Each test has an application of its own. Without this most of its time goes into compiling the
same templates and the same three hundred addresses again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from werkzeug.routing import Rule

_builders: dict[tuple[Any, ...], Callable[..., tuple[str, str]]] = {}
_compile_builder = Rule._compile_builder


class KeptTemplates(BytecodeCache):
    """Compiled templates in memory; a bucket's checksum tells when the source has changed."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._kept:
            bucket.bytecode_from_string(self._kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._kept[bucket.key] = bucket.bytecode_to_string()


def share() -> None:
    """For all applications that this process makes from now on."""
    Flask.jinja_options = {"bytecode_cache": KeptTemplates()}
    Rule._compile_builder = _builder  # type: ignore[method-assign]


def _builder(rule: Rule, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
    """A builder asks the rule that it is called on for its converters, so that it fits each rule
    that is spelled the same."""
    trace, defaults = tuple(rule._trace), tuple(sorted((rule.defaults or {}).items()))
    key = (trace, defaults, append_unknown)
    if key not in _builders:
        _builders[key] = _compile_builder(rule, append_unknown)
    return _builders[key]
