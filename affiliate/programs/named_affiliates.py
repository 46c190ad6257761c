"""Affiliates that the rules name must be of the program whose rules they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import FieldError, Invalid
from affiliate.people import ids
from affiliate.people.models import Enrollment


def refuse_strangers(session: Session, *, program_id: int, document: dict[str, Any]) -> None:
    """Refuse a document that names anybody else, by the path of each.

    The document was read before, so that every id in it is one. An affiliate who left stays
    of the program: rules of before may name them.
    """
    named = [(path, ids.enrollment_of(text)) for path, text in _affiliates(document, "")]
    if not named:
        return
    query = sa.select(Enrollment.id).where(
        Enrollment.program_id == program_id, Enrollment.id.in_({number for _, number in named})
    )
    known = set(session.scalars(query))
    errors = [
        FieldError(path, "unknown_affiliate", "No affiliate of this program has this id.")
        for path, number in named
        if number not in known
    ]
    if errors:
        raise Invalid("The rules cannot be accepted.", errors=errors)


def _affiliates(part: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every public id with its path: whatever stands in a list called `affiliates`."""
    places = part.items() if isinstance(part, dict) else enumerate(part)
    for key, value in places:
        here = f"{path}.{key}".strip(".")
        if key == "affiliates":
            yield from ((f"{here}.{place}", text) for place, text in enumerate(value))
        elif isinstance(value, dict | list):
            yield from _affiliates(value, here)
