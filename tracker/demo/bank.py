"""Bank accounts of the demo: those of the affiliates, and the one that the program pays from.

Numbers are sound (their control keys fit) and nobody's: no payment of the demo leaves anything
but a file.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program
from payouts.batches.own_accounts import live_own_account, set_own_account
from payouts.batches.payees import payee_of, set_payee
from payouts.rails.bank_russia import RussianRail
from payouts.rails.registry import rails

RAIL: Final = RussianRail.name
_PLACE: Final = {
    "bik": "044525225",
    "corr": "30101810400000000225",
    "bank": "ПАО Сбербанк",
}
OWN: Final = {
    "name": "ООО «Лампа и лист»",
    "inn": "7701000019",
    "kpp": "773601001",
    "account": "40702810238000000002",
    "vat": "НДС не облагается",
    **_PLACE,
}
ACCOUNTS: Final = {
    "anna@demo.example": {
        "name": "Иванова Анна Сергеевна",
        "inn": "500100732259",
        "account": "40817810438000000001",
        **_PLACE,
    },
    "boris@demo.example": {
        "name": "Петров Борис Ильич",
        "inn": "526317984689",
        "account": "40817810738000000002",
        **_PLACE,
    },
}
"""By e-mail of the affiliate."""


def give_own_account(
    session: Session, *, settings: Settings, program: Program, now: datetime
) -> None:
    """The account that the demo program pays from; one that was named already stays."""
    if live_own_account(session, program_id=program.id, rail=RAIL) is None:
        set_own_account(
            session, program_id=program.id, rail=RAIL, typed=OWN, rails=rails(settings),
            by=None, now=now,
        )  # fmt: skip


def give_account(
    session: Session, *, settings: Settings, enrollment: Enrollment, email: str, now: datetime
) -> None:
    """An account to be paid on; whoever has one keeps it."""
    if payee_of(session, affiliate_id=enrollment.affiliate_id, rail=RAIL) is None:
        rail = rails(settings)[RAIL]
        set_payee(
            session, affiliate_id=enrollment.affiliate_id, rail=RAIL,
            destination=rail.account(ACCOUNTS[email]), ready=True, by="system", now=now,
        )  # fmt: skip
