"""Guards that a run can go without, so that the campaign is seen to turn red.

Each is what a careless version of the code would do; applied in a work-horse, gone with it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from payouts.batches import claims, execute, intents
from payouts.rails.protocol import Answer, LookUp, NotFound, Order
from payouts.rails.stripe import StripeRail


def _no_attempt_row() -> None:
    """Intent, call and answer are one transaction, and the key is made for the call.

    What a process that dies on the way has sent is written nowhere.
    """

    def go(self: Any) -> bool:
        sending = self.sending
        with sending.sessions() as session:
            found = list(session.scalars(intents.movable(sending.real_now(), self.batch_id)))
        for item_id in found:
            if not self.sender.wait_for_slot():
                break
            with sending.sessions.begin() as session:
                claimed = intents.claim(
                    session, item_id=item_id, now=sending.now(session), real_now=sending.real_now()
                )
                if claimed is None:
                    continue
                sending.at("sending")
                answer = self.sender.rail.send(claimed.order, key=uuid.uuid4().hex)
                sending.at("answered")
                claims.record(
                    session, claimed=claimed, answer=answer, now=sending.now(session),
                    real_now=sending.real_now(),
                )  # fmt: skip
        return False

    execute._Run.go = go  # type: ignore[method-assign]


def _no_key_reuse() -> None:
    """Every call has a key of its own, and nobody looks into the list."""
    real = StripeRail.send

    def send(self: StripeRail, order: Order, *, key: str) -> Answer:
        return real(self, order, key=f"{key}:{uuid.uuid4().hex}")

    def find(self: StripeRail, order: Order) -> LookUp:
        return NotFound()

    StripeRail.send = send  # type: ignore[method-assign]
    StripeRail.find = find  # type: ignore[method-assign]


def _no_key_life() -> None:
    """A key is sent again at any age."""
    intents.KEY_LIFE_H = 24 * 365


GUARDS: dict[str, Callable[[], None]] = {
    "attempt-row": _no_attempt_row,
    "key-reuse": _no_key_reuse,
    "key-life": _no_key_life,
}
