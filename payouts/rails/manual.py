"""The manual rail: finance pays by any bank and types the reference of each payment."""

from __future__ import annotations

from typing import ClassVar

from payouts.rails.protocol import Answer, LookUp, NotFound, Order, Postponed


class ManualRail:
    """Items wait until a person marks them as paid."""

    name: ClassVar[str] = "manual"
    by_hand: ClassVar[bool] = True

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
