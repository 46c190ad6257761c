"""Public ids: a prefix and the hashid of the row's number (`aff_7Qk2`).

Hashids hide counts from a casual eye and are no secret: every look-up is authorised.
"""

from __future__ import annotations

from functools import lru_cache

from hashids import Hashids

from affiliate.core.errors import NotFound

ID_LENGTH_MIN = 4
CODE_LENGTH_MIN = 5
ROW_ID_MAX = 2**63 - 1
"""A longer text decodes to a number that PostgreSQL would refuse instead of not finding."""


@lru_cache(maxsize=64)
def _codec(prefix: str, length: int) -> Hashids:
    return Hashids(salt=f"kopeck:{prefix}", min_length=length)


@lru_cache(maxsize=4_096)
def public_id(prefix: str, number: int) -> str:
    """`aff_7Qk2` for ("aff", 17); kept, as an answer names the same few many times."""
    return f"{prefix}_{_codec(prefix, ID_LENGTH_MIN).encode(number)}"


def row_id(prefix: str, text: str) -> int:
    """The row's number behind a public id; NotFound when it is not one of that kind."""
    head, _, code = text.partition("_")
    numbers = list(_codec(prefix, ID_LENGTH_MIN).decode(code)) if head == prefix else []
    if len(numbers) != 1 or numbers[0] > ROW_ID_MAX:
        raise NotFound
    return int(numbers[0])


def short_code(kind: str, number: int) -> str:
    """The code of a link: the hashid alone, at least five characters."""
    return str(_codec(kind, CODE_LENGTH_MIN).encode(number))


def is_short_code(kind: str, text: str) -> bool:
    """Whether `short_code` makes this very text for some number."""
    return bool(_codec(kind, CODE_LENGTH_MIN).decode(text))
