"""Schemas that read a right document in one pass; a wrong one marshmallow reads, as ever.

The rules stand in the fields and nowhere else: the quick pass calls the same fields and the
same validators, without marshmallow's collecting of errors. Whatever it does not like it
leaves to `Schema.load`, which then says everything that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from marshmallow import EXCLUDE, Schema, ValidationError, fields, post_load
from marshmallow.constants import missing

Read = Callable[[Any], Any]
REQUIRED: Final = object()
_WRONG: Final = ValidationError("read by marshmallow, which says what is wrong")


class QuickSchema(Schema):
    """Plain fields that become one value; no other hooks, no renamed or partial fields."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._plan = tuple(_plan(name, field) for name, field in self.load_fields.items())

    def make(self, values: dict[str, Any]) -> Any:
        """The value that the fields make; they are all right by now."""
        return values

    def load(
        self,
        data: Any,
        *,
        many: bool | None = None,
        partial: Any = None,
        unknown: Any = None,
    ) -> Any:
        """As `Schema.load`: the value, or ValidationError with everything that is wrong."""
        if not many and partial is None:
            try:
                return self.read(data, unknown or self.unknown)
            except ValidationError:
                pass
        return super().load(data, many=many, partial=partial, unknown=unknown)

    def read(self, document: Any, unknown: Any) -> Any:
        """The value of a document that is right; a ValidationError that says nothing else."""
        if type(document) is not dict and not isinstance(document, Mapping):
            raise _WRONG
        values: dict[str, Any] = {}
        known = 0
        for name, read, default in self._plan:
            value = document.get(name, missing)
            if value is not missing:
                values[name] = read(value)
                known += 1
            elif default is REQUIRED:
                raise _WRONG
            elif default is not missing:
                values[name] = default
        if known < len(document) and unknown != EXCLUDE:
            raise _WRONG
        return self.make(values)

    @post_load
    def _made(self, values: dict[str, Any], **_: Any) -> Any:
        return self.make(values)


def _plan(name: str, field: fields.Field[Any]) -> tuple[str, Read, Any]:
    """The field's name, how it is read, and what stands for it where it is absent."""
    if field.data_key or field.attribute or callable(field.load_default):
        raise TypeError(f"{name} is not a plain field")
    return name, _reader(field), REQUIRED if field.required else field.load_default


def _reader(field: fields.Field[Any]) -> Read:
    if field.pre_load or field.post_load:
        raise TypeError(f"{field.name} is not a plain field")
    value_of, validators, allow_none = _value_of(field), tuple(field.validators), field.allow_none

    def read(value: Any) -> Any:
        if value is None:
            if allow_none:
                return None
            raise _WRONG
        found = value_of(value)
        for validate in validators:
            validate(found)
        return found

    return read


def _value_of(field: fields.Field[Any]) -> Read:
    if isinstance(field, fields.Nested):
        schema, unknown = field.schema, field.unknown
        if not isinstance(schema, QuickSchema) or field.many:
            raise TypeError(f"{field.name} is not of a quick schema")
        return lambda value: schema.read(value, unknown or schema.unknown)
    if isinstance(field, fields.List):
        each = _reader(field.inner)

        def items(value: Any) -> list[Any]:
            if not isinstance(value, list):
                raise _WRONG
            return [each(item) for item in value]

        return items
    return partial(field._deserialize, attr=field.name, data=None)
