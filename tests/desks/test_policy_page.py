"""The rules of approval on a page: read by finance, changed by an owner, kept for good."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from staff import hire
from world import World

from affiliate.core import clock
from affiliate.core.audit import AuditEntry
from affiliate.people.models import UserSession
from payouts.policies.models import PayoutPolicy

PAGE = "/finance/policies?program=demo"
SEND = "/finance/policies/demo"


@pytest.fixture(autouse=True)
def no_csrf(app: Flask) -> None:
    """These tests are about the desk; the matrix has the ones about forged forms."""
    app.config["WTF_CSRF_ENABLED"] = False


def rows(world: World) -> list[PayoutPolicy]:
    world.session.rollback()
    return list(world.session.scalars(sa.select(PayoutPolicy).order_by(PayoutPolicy.id)))


def test_a_program_begins_with_four_eyes_and_one_signature(world: World) -> None:
    text = hire(world, "finance").client.get(PAGE).text
    assert "Four eyes: whoever made or changed a batch cannot approve it." in text
    assert "One signature is enough for any amount." in text
    assert "Each withdrawal is approved by a person." in text
    assert "Only an owner changes them." in text
    assert '<form method="post" action="/finance/policies' not in text


def test_an_owner_changes_them_and_every_set_stays_to_be_read(world: World) -> None:
    owner = hire(world, "owner").client
    done = owner.post(SEND, data={
        "second_signature": "400 000,00", "automatic_item": "1500", "automatic_day": "20000",
        "account_days": "30", "reason": "the bank asks for it",
    }, follow_redirects=True)  # fmt: skip
    assert "These rules are in force from now on" in done.text
    assert "Above 400,000.00\N{NO-BREAK SPACE}RUB two people sign." in done.text
    assert "the bank asks for it" in done.text
    owner.post(SEND, data={"one_person": "y", "reason": "alone since May"})
    (first, second) = rows(world)
    assert (first.second_signature_micros, first.automatic_account_days) == (400_000_000_000, 30)
    assert (second.second_signature_micros, second.one_person) == (None, True)
    page = owner.get(PAGE).text
    assert "This program works without a second person." in page
    assert "the bank asks for it" in page
    entries = world.session.scalars(
        sa.select(AuditEntry).where(AuditEntry.action == "policy.change").order_by(AuditEntry.id)
    ).all()
    assert (entries[1].old or {})["second_signature_above"] == "400000.00 RUB"
    assert (entries[1].new or {})["second_signature_above"] is None
    same = owner.post(SEND, data={"one_person": "y", "reason": "again"}, follow_redirects=True)
    assert "in force already" in same.text
    assert len(rows(world)) == 2


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"second_signature": "many"}, "Write an amount such as 1500.00, in RUB."),
        ({"second_signature": "-1"}, "Write an amount such as 1500.00, in RUB."),
        ({"second_signature": "1.001"}, "Write an amount such as 1500.00, in RUB."),
        ({"second_signature": "NaN"}, "Write an amount such as 1500.00, in RUB."),
        ({"automatic_item": "10"}, "For small withdrawals all three are needed."),
        (
            {"automatic_item": "10", "automatic_day": "9", "account_days": "3"},
            "At least as much as one withdrawal may be.",
        ),
        (
            {"automatic_item": "0", "automatic_day": "9", "account_days": "3"},
            "More than zero.",
        ),
        (
            {"automatic_item": "10", "automatic_day": "10", "account_days": "x"},
            "Write a whole number.",
        ),
        (
            {"automatic_item": "10", "automatic_day": "10", "account_days": "0"},
            "Between one day and ten years.",
        ),
        (
            {"second_signature": "5", "automatic_item": "10", "automatic_day": "10",
             "account_days": "3"},
            "What needs two signatures cannot be approved by itself.",
        ),
        (
            {"second_signature": "5", "one_person": "y"},
            "A second signature needs a second person",
        ),
        ({"reason": ""}, "Please fill this in."),
        ({"reason": "  "}, "Say why, in a few words"),
    ],
    ids=range(13),
)  # fmt: skip
def test_what_cannot_be_is_said_beside_its_field(
    world: World, sent: dict[str, Any], said: str
) -> None:
    owner = hire(world, "owner").client
    refused = owner.post(SEND, data={"reason": "why not", **sent})
    assert refused.status_code == 422
    assert said in refused.text
    assert rows(world) == []


def test_changing_them_needs_an_owner_and_a_fresh_second_factor(world: World) -> None:
    sent = {"one_person": "y", "reason": "why not"}
    assert hire(world, "finance").client.post(SEND, data=sent).status_code == 403
    owner = hire(world, "owner").client
    world.session.execute(
        sa.update(UserSession).values(factor_at=clock.real_now() - timedelta(minutes=6))
    )
    world.session.commit()
    led = owner.post(SEND, data=sent)
    assert (led.status_code, led.location.partition("?")[0]) == (303, "/confirm-factor")
    assert rows(world) == []


@pytest.mark.abuse("A24")
def test_another_programs_rules_are_not_there(world: World) -> None:
    stranger = hire(world, "finance", program=world.euros).client
    assert stranger.get(PAGE).status_code == 404
    assert "Nordic Tea" in stranger.get("/finance/policies").text
    assert hire(world, "owner").client.post(
        "/finance/policies/none", data={"reason": "x"}
    ).status_code == 404  # fmt: skip
