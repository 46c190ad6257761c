"""The people of the demo and what each of them is (values alone)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who can sign in to the demo."""

    who: str
    """What they are, as the terminal prints it."""
    name: str
    email: str
    page: str
    """Where their work is."""
    roles: tuple[str, ...] = ()
    """Staff roles: in every program of the demo."""
    affiliate: bool = False


PEOPLE: Final = (
    Person("Affiliate", "Anna", "anna@demo.example", "/account/", affiliate=True),
    Person(
        "Affiliate, recruited by Anna", "Boris", "boris@demo.example", "/account/", affiliate=True
    ),
    Person("Applicant", "Vera", "vera@demo.example", "/programs/demo", affiliate=True),
    Person("Finance", "Fedor", "finance@demo.example", "/finance/", ("finance",)),
    Person("Finance, the second", "Galina", "finance2@demo.example", "/finance/", ("finance",)),
    Person("Head of partner sales", "Maria", "manager@demo.example", "/manage/", ("manager",)),
    Person("Curator", "Kirill", "curator@demo.example", "/manage/", ("curator",)),
    Person("Analyst", "Alla", "analyst@demo.example", "/manage/", ("analyst",)),
    Person("Owner", "Olga", "owner@demo.example", "/manage/", ("owner",)),
)

DEMO: Final = "demo"
DEMO_MANUAL: Final = "demo-manual"
DEMO_BANK: Final = "demo-bank"
DEMO_EUROPE: Final = "demo-europe"


def terms_document() -> dict[str, object]:
    """10 % and 2 % of the sale, last click in 30 days, 14 days of hold."""
    return {
        "attribution": {
            "model": "last_click",
            "window_days": 30,
            "coupon": "loses",
            "existing_customer": "pays",
            "self_purchase": "refuses",
        },
        "commission": {
            "level_1": {"kind": "percent", "rate_ppm": 100_000},
            "level_2": {"of": "sale", "rate_ppm": 20_000},
        },
        "payout": {"hold_days": 14},
    }
