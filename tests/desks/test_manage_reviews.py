"""Orders to review, as a manager sees and decides them."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from staff import Staff, hire
from test_manage import audited, order_url
from world import World

from affiliate.core import ids
from payouts.commissions.rules import VoidReason
from tracker.attribution import words
from tracker.attribution.models import Decision
from tracker.attribution.rules import Reason
from tracker.attribution.subject import WaitsFor
from tracker.clicks.rules import DropReason
from tracker.desks.account import sentences as account_sentences
from tracker.desks.manage import sentences as manage_sentences
from tracker.orders.models import Order


@pytest.fixture(autouse=True)
def _forms_without_tokens(app: Flask) -> None:
    app.config["WTF_CSRF_ENABLED"] = False


@pytest.fixture
def manager(world: World) -> Staff:
    return hire(world, "manager")


@pytest.fixture
def held(world: World) -> Order:
    """An order of Anna's whose click, as its row says now, came in a flood."""
    world.affiliate("Anna")
    order = world.sale("Anna", "500.00", days_ago=1)
    session = world.session
    [share] = session.scalars(sa.select(Decision.shares).where(Decision.order_id == order.id)).one()
    session.execute(
        sa.text("UPDATE clicks SET reason = 'flood', is_unique = false WHERE click_id = :id"),
        {"id": share["click_id"]},
    )
    session.execute(
        sa.update(Decision)
        .where(Decision.order_id == order.id)
        .values(click_check_due_at=None, review_reason="flood")
    )
    session.execute(
        sa.text("UPDATE commissions SET waits_for = 'review' WHERE reference = :reference"),
        {"reference": f"order:{order.id}"},
    )
    session.commit()
    return order


def live(world: World, order: Order) -> Any:
    world.session.rollback()
    return world.session.execute(
        sa.select(Decision.number, Decision.outcome, Decision.reason).where(
            Decision.order_id == order.id, Decision.voided_at.is_(None)
        )
    ).one()


@pytest.mark.abuse("A18")
def test_an_order_to_review_is_named_on_the_overview_and_listed(
    world: World, manager: Staff, held: Order
) -> None:
    world.affiliate("Boris")
    other = world.sale("Boris", "100.00", days_ago=1)
    assert "1 order waits for a review" in manager.client.get("/manage/").text
    listed = manager.client.get("/manage/orders?credit=review").text
    assert held.order_id in listed
    assert other.order_id not in listed
    page = manager.client.get(order_url(held)).text
    assert "The click came in a flood" in page
    assert "waits for a person" in page


@pytest.mark.abuse("A18")
def test_a_manager_releases_it_with_a_reason(world: World, manager: Staff, held: Order) -> None:
    url = f"{order_url(held)}/release"
    assert manager.client.post(url, data={"reason": ""}).status_code == 422
    page = manager.client.post(
        url, data={"reason": "a newsletter of hers"}, follow_redirects=True
    ).text
    assert "A person released it." in page
    assert live(world, held)[:2] == (1, "attributed")
    found = audited(world.session, "order.review_released")
    assert found == (f"user:{manager.user_id}", "a newsletter of hers")
    assert held.order_id not in manager.client.get("/manage/orders?credit=review").text
    assert manager.client.post(url, data={"reason": "again"}).status_code == 409


@pytest.mark.abuse("A18")
def test_a_manager_declines_it_and_the_order_is_decided_anew(
    world: World, manager: Staff, held: Order
) -> None:
    page = manager.client.post(
        f"{order_url(held)}/refusal", data={"reason": "a click farm"}, follow_redirects=True
    ).text
    assert "a review turned it down" in page
    assert live(world, held) == (2, "unattributed", "review_declined")
    found = audited(world.session, "order.review_declined")
    assert found == (f"user:{manager.user_id}", "a click farm")


@pytest.mark.abuse("A18")
def test_an_affiliate_learns_that_a_person_looks_and_not_why(world: World, held: Order) -> None:
    client = world.people["Anna"].client
    page = client.get(f"/account/orders/{ids.public_id('ord', held.id)}").text
    assert "Waits for a review by the program" in page
    assert "flood" not in page


def test_a_page_tells_of_a_token_that_is_nobodys(world: World, manager: Staff, held: Order) -> None:
    """A line of the trace that names no affiliate took the whole page down."""
    trace = world.session.scalars(
        sa.select(Decision.trace).where(Decision.order_id == held.id)
    ).one()
    forged = {
        "candidate": "click_token",
        "check": "signature",
        "outcome": "removed",
        "reason": "token_not_genuine",
    }
    world.session.execute(
        sa.update(Decision).where(Decision.order_id == held.id).values(trace=[forged, *trace])
    )
    world.session.commit()
    answer = manager.client.get(order_url(held))
    assert answer.status_code == 200
    assert (
        "A click for nobody known was left out: the click token was not made by us" in answer.text
    )


def test_every_reason_has_its_sentence_on_every_desk(app: Flask) -> None:
    assert set(account_sentences.FILTERED) == set(DropReason)
    assert set(account_sentences.WHY_NOT) == set(Reason)
    assert set(account_sentences.VOIDED) == set(VoidReason)
    with app.test_request_context():
        for reason in Reason:
            assert manage_sentences.reason(reason.value) != reason.value
            assert words.reason(reason.value)
        for wait in WaitsFor:
            assert manage_sentences.waits_for(wait.value) != wait.value
            assert words.waiting(wait.value)
        for code in VoidReason:
            assert manage_sentences.void_reason(code.value) != code.value


@pytest.mark.abuse("A18")
def test_an_affiliate_sees_a_flooded_click_for_what_it_is(world: World, held: Order) -> None:
    page = world.people["Anna"].client.get("/account/clicks").text
    assert "more clicks came together than people make" in page
