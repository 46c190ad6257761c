"""Metadata: at most 50 keys of 40 characters with values of 500 (docs.stripe.com/api/metadata)."""

from __future__ import annotations

from .wire import ApiError, Fields

KEYS_MAX = 50
KEY_LENGTH_MAX_CHARS = 40
VALUE_LENGTH_MAX_CHARS = 500
DESCRIPTION_LENGTH_MAX_CHARS = 5000


def merged(old: dict[str, str], given: Fields | str | None) -> dict[str, str]:
    """Old metadata with what was given: an empty value unsets a key, an empty whole unsets all."""
    if given is None:
        return old
    if isinstance(given, str):
        return {}
    for key, value in given.items():
        if len(key) > KEY_LENGTH_MAX_CHARS:
            raise ApiError(
                400,
                f"Metadata keys can have up to {KEY_LENGTH_MAX_CHARS} characters; "
                f"'{key[:60]}' is longer.",
                param="metadata",
            )
        if len(value) > VALUE_LENGTH_MAX_CHARS:
            raise ApiError(
                400,
                f"Metadata values can have up to {VALUE_LENGTH_MAX_CHARS} characters, but you "
                f"passed in a value that is {len(value)} characters.",
                param=f"metadata[{key}]",
            )
    after = {key: value for key, value in {**old, **given}.items() if value != ""}
    if len(after) > KEYS_MAX:
        raise ApiError(
            400, f"You can have up to {KEYS_MAX} metadata keys on an object.", param="metadata"
        )
    return after


def description(fields: Fields) -> str | None:
    text: str | None = fields.get("description")
    if text is not None and len(text) > DESCRIPTION_LENGTH_MAX_CHARS:
        raise ApiError(
            400,
            f"Invalid string: {text[:40]}…; must be at most {DESCRIPTION_LENGTH_MAX_CHARS} "
            "characters",
            param="description",
        )
    return text
