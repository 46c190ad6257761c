"""Form encoding with brackets: ``metadata[item]=7`` and ``expand[0]=x`` to nested fields."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from .wire import ApiError, Fields

DEPTH_MAX = 8
PAIRS_MAX = 1000
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")


def pairs(text: str) -> list[tuple[str, str]]:
    """Split a form or a query string; text that is no UTF-8 or has too many parts is refused."""
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=PAIRS_MAX)
    except ValueError as cause:
        raise ApiError(400, "The request could not be decoded as a form in UTF-8.") from cause


def nested(flat: list[tuple[str, str]]) -> Fields:
    """Nest bracketed names. Lists stay fields named by their index; the schema tells them apart."""
    fields: Fields = {}
    for name, value in flat:
        match = _NAME.fullmatch(name)
        if match is None:
            raise ApiError(400, f"Invalid parameter name: {name[:100]}")
        path = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        if len(path) > DEPTH_MAX:
            raise ApiError(400, f"Parameter nested too deeply: {name[:100]}")
        _place(fields, path, value, name)
    return fields


def _place(fields: Fields, path: list[str], value: str, name: str) -> None:
    for step in path[:-1]:
        inner = fields.setdefault(step or str(len(fields)), {})
        if not isinstance(inner, dict):
            raise ApiError(400, f"Invalid object: {name[:100]}", param=path[0])
        fields = inner
    last = path[-1] or str(len(fields))
    if isinstance(fields.get(last), dict):
        raise ApiError(400, f"Invalid object: {name[:100]}", param=path[0])
    fields[last] = value
