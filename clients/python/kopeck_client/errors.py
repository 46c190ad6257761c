"""What a call can end in besides an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class NotAnswered(Exception):
    """No answer came, at any try; whether the call was done is not known. Send it again."""


class Refused(Exception):
    """The API refused; decide by `code`. Codes: docs/errors.md."""

    def __init__(
        self, status: int, problem: Mapping[str, Any], retry_after_s: float | None
    ) -> None:
        self.status = status
        self.code = str(problem.get("code", ""))
        self.detail = str(problem.get("detail", ""))
        self.errors: list[dict[str, str]] = list(problem.get("errors") or ())
        """What is wrong with each field: `field`, `code`, `message`."""
        self.request_id = problem.get("request_id")
        """Name it when you ask the installation's operators."""
        self.retry_after_s = retry_after_s
        fields = "; ".join(f"{each['field']}: {each['message']}" for each in self.errors)
        super().__init__(f"{status} {self.code}: {fields or self.detail}")


class Invalid(Refused):
    """400, 413, 415, 422: the request cannot be accepted as it is."""


class NotAllowed(Refused):
    """401, 403: no valid key, or one without the scope."""


class NotFound(Refused):
    """404: nothing of that name in the key's program."""


class Conflict(Refused):
    """409: it contradicts what is recorded."""


class TooManyCalls(Refused):
    """429: wait `retry_after_s`."""


class Unavailable(Refused):
    """5xx: nothing was recorded; send the same again."""


def refused(status: int, problem: Mapping[str, Any], retry_after_s: float | None = None) -> Refused:
    """The refusal of this status."""
    kinds: dict[int, type[Refused]] = {
        401: NotAllowed,
        403: NotAllowed,
        404: NotFound,
        409: Conflict,
        429: TooManyCalls,
    }
    kind = Unavailable if status >= 500 else kinds.get(status, Invalid)
    return kind(status, problem, retry_after_s)
