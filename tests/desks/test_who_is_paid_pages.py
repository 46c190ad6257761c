"""Pages about who is paid and who is not: an affiliate's choice, finance's holds, absences."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from staff import earned, hire, url_of, url_of_item, weekly_batch
from world import World

from affiliate.people import ids as people_ids
from payouts.batches.models import BatchAbsence, PayoutChoice, PayoutHold, PayoutItem, PayoutPeriod


@pytest.fixture(autouse=True)
def no_csrf(app: Flask) -> None:
    """These tests are about the desk; the matrix has the ones about forged forms."""
    app.config["WTF_CSRF_ENABLED"] = False


def text_of(client: FlaskClient, path: str) -> str:
    """The words of a page, without its marks."""
    page = client.get(path)
    assert page.status_code == 200, page.status
    plain = re.sub(r"<[^>]+>", " ", page.text).replace("\N{NO-BREAK SPACE}", " ")
    return re.sub(r"\s+", " ", plain.replace("&#39;", "'"))


def choices(world: World) -> list[tuple[bool, int]]:
    world.session.rollback()
    return [(row.on_request, row.minimum_micros) for row in world.session.scalars(
        sa.select(PayoutChoice))]  # fmt: skip


def test_an_affiliate_chooses_how_they_are_paid(world: World) -> None:
    earned(world, "Anna", "4100.00")
    anna = world.people["Anna"].client
    assert "goes into the weekly payout" in text_of(anna, "/account/money")
    form = {"when": "weekly", "minimum": "1 500,50"}
    assert anna.post("/account/money/choice", data=form).status_code == 303
    assert choices(world) == [(False, 1_500_500_000)]
    assert "once it is 1,500.50 RUB" in text_of(anna, "/account/money")
    assert 'value="1500.50"' in anna.get("/account/money/choice").text
    anna.post("/account/money/choice", data={"when": "on_request", "minimum": ""})
    assert choices(world) == [(True, 0)]
    assert "You chose to be paid when you ask" in text_of(anna, "/account/money")


@pytest.mark.parametrize(
    ("minimum", "said"),
    [
        ("-1", "Write the amount in digits"),
        ("many", "Write the amount in digits"),
        ("0.001", "0.01 RUB is the smallest amount."),
        ("1000000.01", "At most 1,000,000.00 RUB."),
        ("2000000000000", "At most 1,000,000.00 RUB."),
    ],
)
def test_a_minimum_that_makes_no_sense_is_told_beside_the_field(
    world: World, minimum: str, said: str
) -> None:
    anna = world.affiliate("Anna").client
    answer = anna.post("/account/money/choice", data={"when": "weekly", "minimum": minimum})
    assert answer.status_code == 422
    assert said in answer.text.replace("\N{NO-BREAK SPACE}", " ")
    assert minimum in answer.text, "what was typed is still there"
    assert choices(world) == []


def test_finance_sees_who_is_not_in_a_batch_and_why(world: World) -> None:
    earned(world, "Anna", "4100.00")
    earned(world, "Carla", "70.00")
    earned(world, "Dan", "0.01")
    world.affiliate("Eve")
    world.people["Carla"].client.post("/account/money/choice", data={"when": "on_request"})
    batch = weekly_batch(world)
    told = text_of(hire(world, "finance").client, url_of(batch))
    assert "Not in this batch" in told
    assert "1 affiliate · They chose to be paid when they ask." in told
    assert "1 affiliate · Less than the smallest coin; it stays and adds up." in told
    assert "1 affiliate · Nothing was available." in told
    assert "Carla They chose to be paid when they ask. 7.00 RUB" in told


def test_a_negative_carry_is_told_once_it_is_over(world: World) -> None:
    """Boris was below zero when the batch before was drafted, and is paid now."""
    earned(world, "Anna", "4100.00")
    first = weekly_batch(world)
    earned(world, "Boris", "21.70")
    last = sa.select(sa.func.max(PayoutPeriod.id)).where(
        PayoutPeriod.program_id == world.program.id
    )
    world.session.execute(
        sa.update(PayoutPeriod)
        .where(PayoutPeriod.id == last.scalar_subquery())
        .values(drafted_at=None)
    )
    world.session.add(
        BatchAbsence(
            batch_id=first.id, enrollment_id=world.people["Boris"].enrollment.id,
            reason="negative_balance", available_micros=-1_000_000,
        )
    )  # fmt: skip
    world.session.commit()
    finance = hire(world, "finance")
    assert "below zero before" not in text_of(finance.client, url_of(first))
    second = weekly_batch(world)
    assert second.id != first.id
    assert "1 was below zero before Boris" in text_of(finance.client, url_of(second))


def test_finance_holds_everything_of_an_affiliate_and_lets_it_go(world: World) -> None:
    earned(world, "Anna", "4100.00")
    earned(world, "Boris", "21.70")
    batch = weekly_batch(world)
    finance = hire(world, "finance").client
    (item,) = world.session.scalars(
        sa.select(PayoutItem).where(
            PayoutItem.batch_id == batch.id,
            PayoutItem.enrollment_id == world.people["Anna"].enrollment.id,
        )
    )
    public = people_ids.public(item.enrollment_id)
    assert "Hold everything" in finance.get(url_of_item(item)).text
    assert finance.post(f"/finance/affiliates/{public}/hold", data={}).status_code == 422
    held = finance.post(f"/finance/affiliates/{public}/hold", data={"reason": "Who is it?"})
    assert held.status_code == 303
    told = text_of(finance, "/finance/holds")
    assert "Anna" in told
    assert "Who is it?" in told
    assert "Held back." in text_of(finance, url_of_item(item))
    again = finance.post(f"/finance/affiliates/{public}/hold", data={"reason": "Again"})
    assert again.status_code == 409
    lifted = finance.post(f"/finance/affiliates/{public}/hold-end", data={"reason": "Known."})
    assert lifted.status_code == 303
    assert "Nothing is held back" in text_of(finance, "/finance/holds")
    world.session.rollback()
    (row,) = world.session.scalars(sa.select(PayoutHold))
    assert row.lift_reason == "Known."


def test_a_held_affiliate_is_told_so_but_not_why(world: World) -> None:
    earned(world, "Anna", "4100.00")
    finance = hire(world, "finance").client
    public = people_ids.public(world.people["Anna"].enrollment.id)
    finance.post(f"/finance/affiliates/{public}/hold", data={"reason": "Looks like a fraud."})
    anna = world.people["Anna"].client
    answer = anna.post("/account/money/withdrawals", data={"amount": ""})
    assert answer.status_code == 409
    assert "finance holds your payouts back" in answer.text
    assert "fraud" not in answer.text


def test_another_programs_affiliate_is_not_there(world: World) -> None:
    other = hire(world, "finance", program=world.euros).client
    public = people_ids.public(world.affiliate("Anna").enrollment.id)
    for verb in ("hold", "hold-end"):
        path = f"/finance/affiliates/{public}/{verb}"
        assert other.post(path, data={"reason": "x"}).status_code == 404
