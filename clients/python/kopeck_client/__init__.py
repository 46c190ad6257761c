"""A thin client of Kopeck's API v1, of the standard library alone."""

from kopeck_client.client import Kopeck
from kopeck_client.errors import (
    Conflict,
    Invalid,
    NotAllowed,
    NotAnswered,
    NotFound,
    Refused,
    TooManyCalls,
    Unavailable,
)
from kopeck_client.tokens import money, order_token

__all__ = [
    "Conflict",
    "Invalid",
    "Kopeck",
    "NotAllowed",
    "NotAnswered",
    "NotFound",
    "Refused",
    "TooManyCalls",
    "Unavailable",
    "money",
    "order_token",
]
