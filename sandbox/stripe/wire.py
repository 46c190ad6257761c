"""Requests, answers and refusals: what crosses the socket, as values."""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

API_VERSION = "2026-10-28.endive"
ID_ALPHABET = string.ascii_letters + string.digits
REQUEST_ID_LENGTH_CHARS = 14

Fields = dict[str, Any]
"""Decoded parameters: names to text, lists or further fields."""


@dataclass(frozen=True)
class Request:
    """One HTTP request, read to its end. Header names are lower case."""

    id: str
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def idempotency_key(self) -> str | None:
        return self.headers.get("idempotency-key") or None

    @property
    def account(self) -> str:
        """The connected account that the call acts as; empty for the platform."""
        return self.headers.get("stripe-account", "")


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, not yet sent."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()

    def with_headers(self, *more: tuple[str, str]) -> Answer:
        return Answer(self.status, self.body, self.content_type, (*self.headers, *more))


class ApiError(Exception):
    """A refusal in Stripe's words.

    ``remembered`` says whether the idempotency layer saves it: true once the endpoint began
    executing, false for authentication, rate limits, conflicts and failed validation.
    Source: docs.stripe.com/api/idempotent_requests.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
        remembered: bool = False,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.kind = kind
        self.remembered = remembered
        self.headers = headers

    def answer(self, request_id: str) -> Answer:
        """The error envelope (docs.stripe.com/api/errors)."""
        error: dict[str, str] = {"message": self.message, "type": self.kind}
        if self.code:
            error["code"] = self.code
            error["doc_url"] = f"https://stripe.com/docs/error-codes/{self.code.replace('_', '-')}"
        if self.param:
            error["param"] = self.param
        error["request_log_url"] = f"https://dashboard.stripe.com/test/logs/{request_id}"
        return json_answer(self.status, {"error": error}, headers=self.headers)


def json_answer(
    status: int, content: Mapping[str, Any], *, headers: tuple[tuple[str, str], ...] = ()
) -> Answer:
    return Answer(status, json.dumps(content, indent=2).encode(), headers=headers)


def new_id(prefix: str, length_chars: int = 24) -> str:
    """A fresh object id in Stripe's form: ``tr_`` and letters and digits."""
    return prefix + "".join(secrets.choice(ID_ALPHABET) for _ in range(length_chars))


def missing(noun: str, object_id: str, *, param: str, status: int = 404) -> ApiError:
    """Stripe's refusal for an id that it does not know."""
    return ApiError(
        status,
        f"No such {noun}: '{object_id}'",
        code="resource_missing",
        param=param,
        remembered=True,
    )
