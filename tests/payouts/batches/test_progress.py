"""When a batch that is being sent ends: pure, in tables, and once over real rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from money_world import NOW
from paying import Pay

from affiliate.core import clock
from payouts.batches.pause import pause_batch
from payouts.batches.progress import Recent, speed_per_s, time_left
from payouts.batches.speed import forecast

T = datetime(2026, 11, 26, 12, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return T - timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("sent", "first", "expected"),
    [
        (0, None, 0),
        (1200, 60, 20),
        (600, 120, 5),
        (100, 0.5, 20),  # claimed at once, sent at the pace
        (10, 100, 0.1),
    ],
)
def test_the_speed_of_the_last_minutes(sent: int, first: float | None, expected: float) -> None:
    recent = Recent(sent, None if first is None else ago(first))
    assert speed_per_s(recent, real_now=T, pace_per_s=20) == expected


@pytest.mark.parametrize(
    ("to_send", "sent", "first", "begun", "expected_s"),
    [
        (0, 0, None, 3600, 0),  # nothing to send
        (8_400, 2_400, 120, 3600, 420),  # 20 a second
        (100, 10, 100, 3600, 1_000),  # a tenth a second
        (10_000, 0, None, 5, 500),  # just approved: the pace is expected
        (10_000, 0, None, 61, None),  # a minute later nothing has moved: nobody can tell
    ],
)
def test_what_is_left(
    to_send: int, sent: int, first: float | None, begun: float, expected_s: float | None
) -> None:
    left = time_left(
        to_send=to_send,
        recent=Recent(sent, None if first is None else ago(first)),
        real_now=T,
        begun_at=ago(begun),
        pace_per_s=20,
    )
    assert left == (None if expected_s is None else timedelta(seconds=expected_s))


def test_the_forecast_counts_this_batch_and_what_can_move(by_stripe: Pay) -> None:
    by_stripe.affiliate("anna", "5.00")
    by_stripe.affiliate("boris", "5.00")
    first = by_stripe.approved("anna", "5.00")
    second = by_stripe.approved("boris", "5.00")
    by_stripe.run(first.batch_id)
    session, real_now = by_stripe.session, clock.real_now() + timedelta(seconds=1)

    def told(batch_id: int) -> object:
        return forecast(session, batch=by_stripe.batch(batch_id), now=NOW, real_now=real_now)

    assert told(first.batch_id) is None  # done
    waiting = told(second.batch_id)
    assert waiting is not None
    assert (waiting.per_s, waiting.left) == (0, timedelta(seconds=1))  # type: ignore[attr-defined]
    pause_batch(session, batch_id=second.batch_id, by_user_id=by_stripe.finance, why="x", now=NOW)
    session.commit()
    assert told(second.batch_id) is None
