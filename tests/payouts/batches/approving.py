"""Rules of approval, and people who sign, for the tests of approval."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import sqlalchemy as sa
from money_world import NOW
from paying import Pay
from sqlalchemy.orm import Session

from affiliate.core.db import session_for
from affiliate.core.errors import Refusal
from payouts.batches.draft import draft_weekly, open_periods, undrafted
from payouts.batches.models import BatchSignature
from payouts.policies.change import change_policy
from payouts.policies.rules import Automatic, Policy

Deed = Callable[[Session], object]


def rules_of(
    pay: Pay,
    *,
    second: str | None = None,
    automatic: tuple[str, str, int] | None = None,
    one_person: bool = False,
) -> None:
    """Let an owner put rules of approval in force for the program."""
    owner = pay.world.users.get("owner") or pay.world.user("owner", role="owner")
    rule = None
    if automatic is not None:
        rule = Automatic(pay.world.money(automatic[0]), pay.world.money(automatic[1]), automatic[2])
    above = None if second is None else pay.world.money(second)
    change_policy(
        pay.session,
        program_id=pay.world.program_id,
        wanted=Policy(None, above, rule, one_person),
        why="as the bank wants it",
        by_user_id=owner,
        now=NOW,
    )
    pay.session.commit()


def weekly(pay: Pay) -> int:
    """The batch of the payout days that have come."""
    open_periods(pay.session, now=NOW)
    made = [
        batch_id
        for period_id in undrafted(pay.session)
        if (batch_id := draft_weekly(pay.session, period_id=period_id, rails=pay.rails, now=NOW))
    ]
    pay.session.commit()
    return made[-1]


def signatures(pay: Pay, batch_id: int) -> list[tuple[int, str | None]]:
    """Who signed, and why it is void."""
    pay.session.rollback()
    return [
        (row.user_id, row.void_reason)
        for row in pay.session.scalars(
            sa.select(BatchSignature)
            .where(BatchSignature.batch_id == batch_id)
            .order_by(BatchSignature.id)
            .execution_options(populate_existing=True)
        )
    ]


def at_once(pay: Pay, deeds: list[Deed]) -> Counter[str]:
    """Do all of it in a session each, begun at the same moment: codes of what came of them."""
    barrier, came = threading.Barrier(len(deeds)), list[str]()

    def run(deed: Deed) -> None:
        with session_for(pay.engine)() as session:
            barrier.wait()
            try:
                deed(session)
                session.commit()
                came.append("done")
            except Refusal as refusal:
                session.rollback()
                came.append(refusal.code)

    threads = [threading.Thread(target=run, args=(deed,)) for deed in deeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Counter(came)
