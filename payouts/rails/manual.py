"""The manual rail: finance pays by any bank and types the reference of each payment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from affiliate.core.errors import Phrase
from payouts.rails.one_line import OneLine, one_line
from payouts.rails.protocol import AccountField, Answer, LookUp, NotFound, Order, Postponed
from payouts.rails.rehearsal import MayAsk, Planned, Rehearsed


class ManualRail(OneLine):
    """Items wait until a person marks them as paid."""

    name: ClassVar[str] = "manual"
    title: ClassVar[Phrase] = Phrase("by hand")
    by_hand: ClassVar[bool] = True
    account_fields: ClassVar[tuple[AccountField, ...]] = one_line(
        Phrase("Bank account or another way to pay you"),
        Phrase("As a person needs it to pay you: name, bank, account number."),
    )

    def pays(self, currency: str) -> bool:
        return True

    def granularity(self, currency: str) -> int:
        return 1

    def configured(self) -> bool:
        return True

    def send(self, order: Order, *, key: str) -> Answer:
        """Nothing leaves by itself."""
        return Postponed("by_hand", "A person pays this item and types the reference.")

    def find(self, order: Order) -> LookUp:
        return NotFound()

    def payee_ready(self, destination: str) -> bool:
        return bool(destination.strip())

    def rehearse(self, currency: str, payouts: Sequence[Planned], *, may_ask: MayAsk) -> Rehearsed:
        """There is nobody to ask: a person's bank answers when they pay."""
        return Rehearsed(len(payouts))
