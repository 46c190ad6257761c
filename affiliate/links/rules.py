"""What codes, names, sub-ids and coupons may look like. Pure.

Rule: docs/rules.md, "Links and coupons".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

from affiliate.core.errors import FieldError, Invalid, Phrase

SUB_IDS: Final = ("s1", "s2", "s3", "s4", "s5")
SUB_ID_CHARS_MAX: Final = 100
NAME_CHARS_MAX: Final = 80
VANITY_CHARS_MIN: Final = 3
VANITY_CHARS_MAX: Final = 40
COUPON_CHARS_MIN: Final = 3
COUPON_CHARS_MAX: Final = 40
RESERVED: Final = frozenset(
    (
        "about",
        "account",
        "admin",
        "administrator",
        "affiliate",
        "api",
        "app",
        "billing",
        "contact",
        "finance",
        "help",
        "kopeck",
        "login",
        "logout",
        "mail",
        "manage",
        "official",
        "null",
        "owner",
        "password",
        "payout",
        "payouts",
        "pay",
        "pixel",
        "privacy",
        "program",
        "programs",
        "root",
        "security",
        "settings",
        "shop",
        "sign-in",
        "sign-out",
        "sign-up",
        "signin",
        "signup",
        "static",
        "status",
        "support",
        "system",
        "terms",
        "test",
        "undefined",
        "verify",
        "webhooks",
        "www",
    )
)
"""Words that would let a link pass for the program itself."""

_VANITY = re.compile(r"(?a:[A-Za-z0-9][A-Za-z0-9_-]*)")
_COUPON = re.compile(r"(?a:[A-Z0-9][A-Z0-9._-]*)")


def vanity_code(text: str) -> str:
    """The code an affiliate chose, as it was written; Invalid says what to change."""
    code = text.strip()
    if not VANITY_CHARS_MIN <= len(code) <= VANITY_CHARS_MAX or not _VANITY.fullmatch(code):
        raise Invalid.field(
            "code",
            "code_shape",
            Phrase(
                "A code has %(least)s to %(most)s letters a-z, digits, hyphens or underscores, "
                "and begins with a letter or digit.",
                least=VANITY_CHARS_MIN,
                most=VANITY_CHARS_MAX,
            ),
        )
    if code.lower() in RESERVED:
        raise Invalid.field("code", "code_reserved", "This word is kept for the program itself.")
    return code


def link_name(text: str) -> str:
    """The affiliate's own word for a link: one line, without invisible characters."""
    name = " ".join(text.split())
    if len(name) > NAME_CHARS_MAX or unprintable(name):
        raise Invalid.field(
            "name",
            "name_shape",
            Phrase("A name has at most %(most)s visible characters.", most=NAME_CHARS_MAX),
        )
    return name


def sub_id_values(given: Mapping[str, str | None]) -> dict[str, str | None]:
    """All five sub-ids, None where there is none.

    Too long or with control characters is refused here, where the maker can correct it; in
    a click's address the same is cut, because a click must go on (docs/security.md, A5).
    """
    errors = [
        FieldError(f"sub_ids.{name}", "unknown_field", "Sub-ids are named s1 to s5.")
        for name in given
        if name not in SUB_IDS
    ]
    values: dict[str, str | None] = {}
    for name in SUB_IDS:
        value = given.get(name) or None
        if value is not None and (len(value) > SUB_ID_CHARS_MAX or unprintable(value)):
            errors.append(
                FieldError(
                    f"sub_ids.{name}",
                    "sub_id_shape",
                    Phrase(
                        "A sub-id has at most %(most)s visible characters.", most=SUB_ID_CHARS_MAX
                    ),
                )
            )
        values[name] = value
    if errors:
        raise Invalid("A sub-id cannot be accepted.", errors=errors)
    return values


def coupon_code(text: str) -> str:
    """A coupon as it is stored, in upper case; Invalid when it cannot be one."""
    code = folded_coupon(text)
    length = len(code) if text.strip().isascii() else 0
    if not COUPON_CHARS_MIN <= length <= COUPON_CHARS_MAX or not _COUPON.fullmatch(code):
        raise Invalid.field(
            "code",
            "coupon_shape",
            Phrase(
                "A coupon has %(least)s to %(most)s letters A-Z, digits, points, hyphens or "
                "underscores.",
                least=COUPON_CHARS_MIN,
                most=COUPON_CHARS_MAX,
            ),
        )
    return code


def folded_coupon(text: str) -> str:
    """What a buyer typed, as coupons are compared: without outer spaces, in upper case."""
    return text.strip().upper()


def unprintable(text: str) -> bool:
    """Whether a text holds control, invisible, undecodable or direction-changing characters."""
    return any(char == "\ufffd" or unicodedata.category(char)[0] == "C" for char in text)
