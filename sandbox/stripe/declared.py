"""Check requests against the parameters that the ``stripe`` package itself declares.

The double must not drift into accepting nonsense, so it has no parameter list of its own: the
``TypedDict`` of each call in ``stripe.params`` says which names exist, which are required and of
which type each is. What fails here never reached an endpoint, so no idempotency key remembers it.
"""

from __future__ import annotations

import functools
import sys
import types
from typing import Any, Literal, Union, get_args, get_origin

from stripe import RequestOptions
from typing_extensions import get_type_hints, is_typeddict

from .wire import ApiError, Fields

INTEGER_DIGITS_MAX = 15
_OPTION_NAMES = frozenset(RequestOptions.__annotations__)
"""Options of the client (key, account, retries) that share the TypedDict but never travel."""


def checked(fields: Fields, declaration: type) -> Fields:
    """Return the fields with their declared types, or raise what Stripe would answer."""
    return _object(fields, declaration, "")


def _object(fields: Fields, declaration: type, prefix: str) -> Fields:
    hints = _hints(declaration)
    unknown = [_path(prefix, name) for name in fields if name not in hints]
    if unknown:
        plural = "s" if len(unknown) > 1 else ""
        raise ApiError(
            400,
            f"Received unknown parameter{plural}: {', '.join(unknown)[:500]}",
            code="parameter_unknown",
            param=unknown[0][:200],
        )
    required: frozenset[str] = getattr(declaration, "__required_keys__", frozenset())
    for name in sorted(required):
        if name not in fields:
            raise missing_parameter(_path(prefix, name))
    return {name: _value(raw, hints[name], _path(prefix, name)) for name, raw in fields.items()}


def missing_parameter(name: str) -> ApiError:
    return ApiError(400, f"Missing required param: {name}.", code="parameter_missing", param=name)


@functools.cache
def _hints(declaration: type) -> dict[str, Any]:
    # The options are left out before the hints are read: they name types that the package imports
    # for type checkers alone, and their words mean nothing in the module of this declaration.
    own = {
        name: hint
        for name, hint in declaration.__annotations__.items()
        if name not in _OPTION_NAMES
    }
    bare = type(declaration.__name__, (), {"__annotations__": own})
    return get_type_hints(bare, globalns=vars(sys.modules[declaration.__module__]))


def _path(prefix: str, name: str) -> str:
    return f"{prefix}[{name}]" if prefix else name


def _options(hint: Any) -> list[Any]:
    if get_origin(hint) in (Union, types.UnionType):
        return [option for part in get_args(hint) for option in _options(part)]
    return [hint]


def _value(raw: Any, hint: Any, name: str) -> Any:
    options = _options(hint)
    if isinstance(raw, dict):
        return _compound(raw, options, name)
    return _scalar(raw, options, name)


def _compound(raw: Fields, options: list[Any], name: str) -> Any:
    refusal = ApiError(400, f"Invalid string: {name} takes no nested values", param=name)
    for option in options:
        if is_typeddict(option):
            try:
                return _object(raw, option, name)
            except ApiError as cause:
                refusal = cause
        elif get_origin(option) is dict:
            return _mapping(raw, option, name)
        elif get_origin(option) is list:
            if all(key.isdigit() for key in raw):
                (inner,) = get_args(option)
                return [_value(raw[key], inner, f"{name}[{key}]") for key in sorted(raw, key=int)]
            refusal = ApiError(400, "Invalid array", param=name)
    raise refusal


def _mapping(raw: Fields, option: Any, name: str) -> Fields:
    """A free mapping such as metadata: any key; an empty value unsets its key."""
    _, inner = get_args(option)
    return {
        key: "" if value == "" else _value(value, inner, _path(name, key))
        for key, value in raw.items()
    }


def _scalar(raw: str, options: list[Any], name: str) -> Any:
    words = [
        word for option in options if get_origin(option) is Literal for word in get_args(option)
    ]
    if raw == "":
        if "" in words:
            return ""
        raise ApiError(
            400,
            f"You passed an empty string for '{name}'. We assume empty values are an attempt to "
            f"unset a field; however '{name}' cannot be unset. You should remove '{name}' from "
            "your request or supply a non-empty value.",
            code="parameter_invalid_empty",
            param=name,
        )
    choices = [word for word in words if word != ""]
    if choices:
        if raw in choices:
            return raw
        raise ApiError(400, f"Invalid {name}: must be one of {', '.join(choices)}", param=name)
    if str in options:
        return raw
    if int in options:
        return integer(raw, name)
    if bool in options:
        if raw in ("true", "false"):
            return raw == "true"
        raise ApiError(400, f"Invalid boolean: {raw[:100]}", param=name)
    if any(get_origin(option) is list for option in options):
        raise ApiError(400, "Invalid array", param=name)
    raise ApiError(400, "Invalid object", param=name)


def integer(raw: str, name: str) -> int:
    """Digits with an optional sign, nothing else: no 1.5, no 1e3, no nan."""
    digits = raw.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= INTEGER_DIGITS_MAX):
        raise ApiError(
            400, f"Invalid integer: {raw[:100]}", code="parameter_invalid_integer", param=name
        )
    return int(raw)
