"""Refusals: one class each, with a stable code, an HTTP status and a sentence to act on.

An expected refusal is a 4xx and quiet. A broken invariant is an ordinary exception and
loud. The HTTP shape is RFC 9457 problem details (docs/api.md, "Errors").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


class Phrase(str):
    """An English sentence that remembers its pattern and the values in it.

    A value may be a phrase again, or a tuple of sentences that follow each other.

    Machines read it as the string that it is; a page says it in its reader's language
    (`affiliate.core.pages.say`), which nobody could with the values already in it.
    """

    __slots__ = ("pattern", "values")
    pattern: str
    values: dict[str, object]

    def __new__(cls, pattern: str, **values: object) -> Phrase:
        shown = {
            name: " ".join(value) if isinstance(value, tuple) else value
            for name, value in values.items()
        }
        made = super().__new__(cls, pattern % shown if values else pattern)
        made.pattern, made.values = pattern, values
        return made


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field: its path (``items.0.price.amount``), code, sentence."""

    field: str
    code: str
    message: str


class Refusal(Exception):
    """The request was understood and refused; nothing was written."""

    code: ClassVar[str] = "refused"
    status: ClassVar[int] = 422
    title: ClassVar[str] = "The request was refused."

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.detail = detail or self.title
        self.errors = tuple(errors)
        self.extra = extra or {}
        super().__init__(self.detail)

    @property
    def headers(self) -> dict[str, str]:
        return {}


class Invalid(Refusal):
    """Well-formed, but a field cannot be accepted."""

    code = "invalid"
    title = "Some fields cannot be accepted."

    @classmethod
    def field(cls, field: str, code: str, message: str) -> Invalid:
        """The refusal of one field."""
        return cls(message, errors=[FieldError(field, code, message)])


class Malformed(Refusal):
    code = "malformed"
    status = 400
    title = "The request could not be read."


class Unauthenticated(Refusal):
    code = "unauthenticated"
    status = 401
    title = "Sign in, or send a valid API key."


class Forbidden(Refusal):
    code = "forbidden"
    status = 403
    title = "Your role does not allow this."


class NotFound(Refusal):
    code = "not_found"
    status = 404
    title = "There is nothing here under that name."


class Conflict(Refusal):
    code = "conflict"
    status = 409
    title = "This contradicts what is already recorded."


class TooMany(Refusal):
    code = "too_many_requests"
    status = 429
    title = "Too many requests; wait a little and try again."

    def __init__(self, detail: str | None = None, *, retry_after_s: int = 60) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after_s)}


class Unavailable(Refusal):
    """A server that the answer needs is away; the same request may be sent again."""

    code = "unavailable"
    status = 503
    title = "Kopeck cannot answer this right now; nothing was recorded. Send it again shortly."

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": "5"}
