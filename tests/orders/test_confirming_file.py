"""Unconfirmed orders confirmed by a file out of the shop's books."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from affiliate.core.audit import AuditEntry
from affiliate.core.config import Settings
from affiliate.core.errors import Invalid, NotFound
from tests.orders.shop_world import World, rub
from tracker.orders.confirming_file import Confirmations, confirm_file
from tracker.orders.models import Order

pytestmark = pytest.mark.abuse("A13")


@pytest.fixture
def world(app: Flask, settings: Settings, client: FlaskClient, session: Session) -> World:
    made = World.build(app, settings, client, session)
    for number in range(3):
        made.event({"order_id": f"A-{number}", "total": rub("10.00")})
    return made


def bring(world: World, text: str, program_id: int | None = None) -> Confirmations:
    world.tick()
    with world.app.app_context():
        done = confirm_file(
            world.session, program_id=program_id or world.program.id, raw=text.encode(), by=1,
            now=world.now,
        )  # fmt: skip
    world.session.commit()
    return done


def statuses(world: World) -> dict[str, str]:
    world.tick()
    found = world.session.execute(sa.select(Order.order_id, Order.status))
    return {row.order_id: row.status for row in found}


def test_what_fits_is_confirmed_and_what_differs_is_told(world: World) -> None:
    world.post(world.order("A-9"))
    world.post({}, "/A-2/cancellation")
    done = bring(world, "order_id;total\nA-1;10.00\nA-0;10.01\nA-7;3.00\nA-9;4490.00\nA-2;10.00\n")
    assert done == Confirmations(
        confirmed=1, known=1, unknown=1, cancelled=1, differing=((3, "A-0"),)
    )
    assert statuses(world) == {
        "A-0": "unconfirmed", "A-1": "confirmed", "A-2": "cancelled", "A-9": "confirmed",
    }  # fmt: skip
    assert world.get("A-1")["source"] == "browser"


def test_the_same_file_again_changes_nothing(world: World) -> None:
    text = "order_id,total,currency\nA-1,10.00,RUB\n"
    assert bring(world, text).confirmed == 1
    assert bring(world, text) == Confirmations(known=1)
    found = sa.select(sa.func.count()).where(AuditEntry.action == "order.confirm_file")
    assert world.session.scalar(found) == 1


@pytest.mark.parametrize("currency", ["EUR", "USD"])
def test_the_same_number_in_another_currency_is_another_total(world: World, currency: str) -> None:
    done = bring(world, f"order_id,total,currency\nA-1,10.00,{currency}\n")
    assert done.differing == ((2, "A-1"),)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("order_id,total\nA-1,ten\n", "not_a_decimal"),
        ("order_id,total\nA-1,-1.00\n", "not_a_decimal"),
        ("order_id,total\nA-1,10.00\nA-1,10.00\n", "twice"),
        ("order_id,total\nA-1,\n", "required"),
        ("order_id\nA-1\n", "columns_missing"),
        ("order_id,total,amount\nA-1,1.00,1.00\n", "columns_unknown"),
        ("order_id,total,currency\nA-1,1.00,rub\n", "unknown_currency"),
    ],
)
def test_a_file_that_is_wrong_confirms_nothing(world: World, text: str, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        bring(world, text)
    assert [error.code for error in refused.value.errors] == [code]
    world.session.rollback()
    assert set(statuses(world).values()) == {"unconfirmed"}


@pytest.mark.abuse("A24")
def test_another_programs_orders_are_not_there(world: World) -> None:
    from tests.builders import make_program

    other = make_program(world.session, now=world.now, slug="other", name="Other")
    world.session.commit()
    assert bring(world, "order_id,total\nA-1,10.00\n", other.id).unknown == 1
    with pytest.raises(NotFound):
        bring(world, "order_id,total\nA-1,10.00\n", other.id + 1)
    assert statuses(world)["A-1"] == "unconfirmed"
