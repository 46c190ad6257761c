"""The public id of an affiliate: `aff_…`, one per enrollment.

Balances, links and the recruiter tree are per program, so the id that shops and addresses
carry is the enrollment's. The same person has another id in another program; no shop can
tell from it who else they work for.
"""

from __future__ import annotations

from typing import Final

from affiliate.core import ids

PREFIX: Final = "aff"


def public(enrollment_id: int) -> str:
    """`aff_7Qk2`: as it stands in the API and in recruiting links."""
    return ids.public_id(PREFIX, enrollment_id)


def enrollment_of(text: str) -> int:
    """The enrollment's number behind `aff_7Qk2`; NotFound when it is not such an id."""
    return ids.row_id(PREFIX, text)
