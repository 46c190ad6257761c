"""Each check of who approved what is silent on sound books and fires on a planted lie."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from money_world import NOW
from paying import Pay

from affiliate.core.clock import real_now
from payouts.audit.approval_checks import APPROVALS
from payouts.audit.run import run
from payouts.policies.change import change_policy
from payouts.policies.rules import Automatic, Policy

Plant = Callable[[Pay, int], None]


def broken(pay: Pay) -> set[str]:
    pay.session.commit()
    return {each.check.name for each in run(pay.session, APPROVALS, real_now=real_now())}


def approved(pay: Pay, wanted: Policy | None = None) -> int:
    """A batch of 5.00 that finance has approved."""
    if wanted is not None:
        change_policy(
            pay.session, program_id=pay.world.program_id, wanted=wanted, why="test", now=NOW,
            by_user_id=pay.world.user("owner", role="owner"),
        )  # fmt: skip
    pay.affiliate("anna", "5.00")
    return pay.approved("anna", "5.00").batch_id


def change(statement: str) -> Plant:
    """Plant a lie in the batch's own row or beside it."""

    def plant(pay: Pay, batch_id: int) -> None:
        values = {"batch": batch_id, "finance": pay.finance, "anna": pay.world.users["anna"]}
        used = {name: value for name, value in values.items() if f":{name}" in statement}
        pay.session.execute(sa.text(statement), used)

    return plant


BATCH = "UPDATE payout_batches SET {} WHERE id = :batch"
LIES: dict[str, tuple[Plant, set[str]]] = {
    "unknown policy": (change(BATCH.format("approval_policy = 'trust_me'")), {"P3"}),
    "no policy": (change(BATCH.format("approval_policy = NULL")), {"P3"}),
    "nobody approved": (change(BATCH.format("approved_by = NULL")), {"P3", "P17"}),
    "approver without the role": (change(BATCH.format("approved_by = :anna")), {"P3", "P17"}),
    "approver is the creator": (change(BATCH.format("created_by = approved_by")), {"P3", "P17"}),
    "approver is a maker": (
        change("INSERT INTO batch_makers VALUES (:batch, :finance, 'hold_item', now())"),
        {"P3", "P17"},
    ),
    "one person without the mode": (
        change(BATCH.format("approval_policy = 'one_person'")),
        {"P3"},
    ),
    "nobody's automatic": (
        change(BATCH.format("approval_policy = 'automatic', approved_by = NULL")),
        {"P17", "P18"},
    ),
    "somebody's automatic": (
        change(BATCH.format("approval_policy = 'automatic', signatures_needed = 0")),
        {"P3", "P18"},
    ),
    "signature gone": (
        change("DELETE FROM batch_signatures WHERE batch_id = :batch"),
        {"P17"},
    ),
    "signature void": (
        change("UPDATE batch_signatures SET voided_at = now() WHERE batch_id = :batch"),
        {"P17"},
    ),
    "signature under another hash": (
        change("UPDATE batch_signatures SET hash = 'other' WHERE batch_id = :batch"),
        {"P17"},
    ),
    "fewer asked for than one": (change(BATCH.format("signatures_needed = 0")), {"P17"}),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_about_an_approval_is_found(by_hand: Pay, lie: str) -> None:
    batch_id = approved(by_hand)
    assert broken(by_hand) == set()
    plant, names = LIES[lie]
    plant(by_hand, batch_id)
    assert broken(by_hand) == names


def test_one_signature_where_two_were_needed_is_found(by_hand: Pay) -> None:
    batch_id = approved(by_hand, Policy(second_signature_above=by_hand.world.money("5.00")))
    assert broken(by_hand) == set()
    by_hand.session.execute(sa.text("UPDATE payout_policies SET second_signature_micros = 1"))
    assert broken(by_hand) == {"P17"}
    change(BATCH.format("signatures_needed = 2"))(by_hand, batch_id)
    assert broken(by_hand) == {"P17"}, "asked for, and there is one"


def test_an_automatic_approval_above_its_limit_is_found(by_hand: Pay) -> None:
    limit = by_hand.world.money("5.00")
    batch_id = approved(by_hand, Policy(automatic=Automatic(limit, limit, 1)))
    change(
        BATCH.format("approval_policy = 'automatic', approved_by = NULL, signatures_needed = 0")
    )(by_hand, batch_id)
    assert broken(by_hand) == set()
    by_hand.session.execute(sa.text("UPDATE payout_policies SET automatic_item_micros = 4999999"))
    assert broken(by_hand) == {"P18"}


def test_batches_of_before_signatures_were_rows_are_left_to_the_older_check(
    by_hand: Pay,
) -> None:
    batch_id = approved(by_hand)
    change("DELETE FROM batch_signatures WHERE batch_id = :batch")(by_hand, batch_id)
    change(BATCH.format("signatures_needed = NULL"))(by_hand, batch_id)
    assert broken(by_hand) == set()
