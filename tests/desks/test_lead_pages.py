"""Leads and paid clicks as affiliates, managers and finance see them."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from staff import Staff, hire, unmarked, url_of_item, weekly_batch
from test_manage import audited
from world import DAY, World

from affiliate.core import ids
from affiliate.core.config import Settings
from affiliate.programs.announcements import announce
from payouts.batches.models import PayoutItem
from payouts.commissions.models import Commission
from payouts.commissions.rules import VoidReason
from tests.builders import terms_document
from tracker.attribution.subject import ReviewOutcome
from tracker.clicks.rules import DropReason
from tracker.desks.account import sentences as account_sentences
from tracker.desks.manage import sentences as manage_sentences
from tracker.desks.sources import sources
from tracker.leads.intake import report_lead
from tracker.leads.models import Lead
from tracker.leads.rules import LeadReportIn
from tracker.paid_clicks.book import book_due
from tracker.paid_clicks.models import PaidClickDay


@pytest.fixture
def world(app: Flask, settings: Settings, session: Any) -> World:
    """The program has paid for leads and clicks since its tenth day."""
    with app.app_context():
        made = World.build(app, settings, session)
        document = terms_document()
        document["commission"] |= {"per_lead": "40.00", "per_click": "0.003"}
        begun = made.program.created_at
        announce(
            session, program_id=made.program.id, document=document,
            effective_at=begun + 10 * DAY, by=None, now=begun + DAY,
        )  # fmt: skip
        session.commit()
    made.affiliate("Anna")
    return made


@pytest.fixture(autouse=True)
def _forms_without_tokens(app: Flask) -> None:
    app.config["WTF_CSRF_ENABLED"] = False


@pytest.fixture
def manager(world: World) -> Staff:
    return hire(world, "manager")


def lead(
    world: World,
    lead_id: str = "L-1",
    *,
    at: datetime | None = None,
    days_ago: float = 0.1,
    reason: DropReason | None = None,
) -> Lead:
    """A lead of a click of Anna's, two hours before it."""
    link = world.people["Anna"].link
    assert link is not None
    at = at or world.now - timedelta(days=days_ago)
    token = world.click(link, at=at - timedelta(hours=2), reason=reason)
    report = LeadReportIn(
        lead_id=lead_id, placed_at=at, kind="inquiry", clicks=(token,),
        metadata={"form": "contact <b>"},
    )  # fmt: skip
    with world.app.app_context():
        done = report_lead(
            world.session, program_id=world.program.id, report=report, reported_by="key:kpk_test",
            now=at + timedelta(minutes=1),
        )  # fmt: skip
        world.session.commit()
    return world.session.get_one(Lead, done.lead_row_id)


def noon(world: World, days_ago: int) -> datetime:
    """Of the program's day; so that what lies an hour or two off falls on the same day."""
    return world.local.replace(hour=12, minute=0) - days_ago * DAY


def clicks(world: World, count: int, *, days_ago: int = 2, flooded: int = 0) -> PaidClickDay:
    """Clicks of a whole day on Anna's link, booked."""
    link = world.people["Anna"].link
    assert link is not None
    at = noon(world, days_ago)
    for number in range(count + flooded):
        reason = DropReason.FLOOD if number >= count else None
        world.click(link, at=at + timedelta(minutes=number), reason=reason)
    with world.app.app_context():
        while book_due(world.session, now=world.now):
            world.session.commit()
        world.session.commit()
    return world.session.scalars(sa.select(PaidClickDay).order_by(PaidClickDay.id.desc())).first()  # type: ignore[return-value]


def account_url(found: Lead) -> str:
    return f"/account/orders/leads/{ids.public_id('led', found.id)}"


def manage_url(found: Lead) -> str:
    return f"/manage/leads/{ids.public_id('led', found.id)}"


class TestAffiliate:
    def test_the_list_tells_for_what_why_and_when(self, world: World) -> None:
        lead(world)
        clicks(world, 3)
        client = world.people["Anna"].client
        assert "/account/orders/leads" in client.get("/account/orders").text
        page = client.get("/account/orders/leads").text
        assert "L-1" in page
        assert "your click, 2 hours before the lead" in page
        assert "when the hold period is over" in page
        assert "3 unique clicks at 0.003" in page
        assert "40.00" in page
        assert "0.009" in page
        only = client.get("/account/orders/leads?show=clicks").text
        assert "L-1" not in only
        assert "3 unique clicks" in only
        assert "3 unique clicks" not in client.get("/account/orders/leads?show=leads").text

    def test_a_lead_is_told_in_full_and_to_nobody_else(self, world: World) -> None:
        found = lead(world)
        page = world.people["Anna"].client.get(account_url(found)).text
        assert "wins: the order is yours" in page
        assert "A lead earns" in page
        assert "inquiry" in page
        world.affiliate("Boris")
        assert world.people["Boris"].client.get(account_url(found)).status_code == 404
        assert world.people["Anna"].client.get("/account/orders/leads/led_zzzzz").status_code == 404

    def test_the_same_as_a_file(self, world: World) -> None:
        lead(world, at=noon(world, 2))
        clicks(world, 2)
        answer = world.people["Anna"].client.get("/account/orders/leads.csv")
        rows = list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff"))))
        assert [row[0] for row in rows] == ["kind", "clicks", "lead"]
        assert [row[4] for row in rows[1:]] == ["0.009", "40.00"]

    def test_a_cancelled_lead_says_so(self, world: World, manager: Staff) -> None:
        found = lead(world)
        manager.client.post(f"{manage_url(found)}/cancellation", data={"reason": "a test"})
        page = world.people["Anna"].client.get("/account/orders/leads").text
        assert "The lead was cancelled" in page

    def test_the_statement_names_them(self, world: World) -> None:
        lead(world, at=noon(world, 2))
        clicks(world, 2)
        month = f"{noon(world, 2):%Y-%m}"
        client = world.people["Anna"].client
        found = [client.get(f"/account/money/statements/{month}").text,
                 client.get(f"/account/money/statements/{month}.csv").text]  # fmt: skip
        for text in found:
            assert "L-1" in text
            assert "Clicks of" in text

    def test_without_any_the_page_says_where_to_look(self, world: World) -> None:
        assert "Nothing yet" in world.people["Anna"].client.get("/account/orders/leads").text


class TestManager:
    def test_leads_are_listed_searched_and_told(self, world: World, manager: Staff) -> None:
        found = lead(world)
        lead(world, "L-2")
        listed = manager.client.get("/manage/leads").text
        assert "L-1" in listed
        assert "L-2" in listed
        assert "L-2" not in manager.client.get("/manage/leads?q=L-1").text
        assert "L-1" not in manager.client.get("/manage/leads?status=cancelled").text
        assert "L-1" in manager.client.get("/manage/leads?credit=attributed").text
        assert manager.client.get("/manage/leads?credit=nonsense").status_code == 404
        page = manager.client.get(manage_url(found)).text
        assert "The click for Anna" in page
        assert "contact &lt;b&gt;" in page
        assert "A lead earns" in page

    def test_a_flooded_lead_is_reviewed(self, world: World, manager: Staff) -> None:
        found = lead(world, reason=DropReason.FLOOD)
        assert "1 lead waits for a review" in manager.client.get("/manage/").text
        assert "L-1" in manager.client.get("/manage/leads?credit=review").text
        url = f"{manage_url(found)}/release"
        assert manager.client.post(url, data={"reason": ""}).status_code == 422
        page = manager.client.post(url, data={"reason": "a newsletter"}, follow_redirects=True).text
        assert "A person released it." in page
        assert audited(world.session, "lead.review_released") == (
            f"user:{manager.user_id}", "a newsletter",
        )  # fmt: skip
        assert manager.client.post(url, data={"reason": "again"}).status_code == 409

    def test_a_declined_lead_is_decided_anew(self, world: World, manager: Staff) -> None:
        found = lead(world, reason=DropReason.FLOOD)
        page = manager.client.post(
            f"{manage_url(found)}/refusal", data={"reason": "a farm"}, follow_redirects=True
        ).text
        assert "a review turned it down" in page

    def test_a_lead_is_cancelled_with_a_reason(self, world: World, manager: Staff) -> None:
        found = lead(world)
        url = f"{manage_url(found)}/cancellation"
        assert manager.client.post(url, data={"reason": " "}).status_code == 422
        page = manager.client.post(url, data={"reason": "spam"}, follow_redirects=True).text
        assert "the lead was cancelled" in page
        assert "spam" in page
        assert audited(world.session, "lead.cancel") == (f"user:{manager.user_id}", "spam")

    def test_another_programs_manager_sees_none(self, world: World) -> None:
        found = lead(world)
        other = hire(world, "manager", program=world.euros)
        assert other.client.get(manage_url(found)).status_code == 404
        answer = other.client.post(f"{manage_url(found)}/cancellation", data={"reason": "x"})
        assert answer.status_code == 404

    def test_paid_clicks_are_listed_and_a_flooded_day_reviewed(
        self, world: World, manager: Staff
    ) -> None:
        row = clicks(world, 3, flooded=1)
        assert "1 link and day wait" in manager.client.get("/manage/").text
        page = unmarked(manager.client.get("/manage/leads/clicks?show=review").text)
        assert "Clicks of a flood" in page
        assert "0.009" in page
        url = f"/manage/leads/clicks/{ids.public_id('pcd', row.id)}"
        assert manager.client.post(f"{url}/release", data={"reason": ""}).status_code == 422
        page = manager.client.post(
            f"{url}/refusal", data={"reason": "a script"}, follow_redirects=True
        ).text
        assert "what they earned is taken back" in page
        assert "not accepted" in manager.client.get("/manage/leads/clicks?show=declined").text
        assert manager.client.post(f"{url}/release", data={"reason": "x"}).status_code == 409
        world.session.rollback()
        world.session.expire_all()
        assert world.session.get_one(PaidClickDay, row.id).review_outcome == ReviewOutcome.DECLINED
        other = hire(world, "manager", program=world.euros)
        assert other.client.post(f"{url}/release", data={"reason": "x"}).status_code == 404

    def test_an_affiliates_page_names_what_their_commissions_come_from(
        self, world: World, manager: Staff
    ) -> None:
        found = lead(world)
        clicks(world, 2)
        enrollment = world.people["Anna"].enrollment
        page = manager.client.get(f"/manage/affiliates/{ids.public_id('aff', enrollment.id)}").text
        assert manage_url(found) in page
        assert "Clicks of" in page
        assert "First order" not in page


def test_finance_sees_what_a_payout_pays_for(world: World) -> None:
    lead(world, days_ago=40)
    clicks(world, 5, days_ago=40)
    world.payee("Anna")
    world.release()
    weekly_batch(world)
    item = world.session.scalars(sa.select(PayoutItem)).one()
    # 40.00 and 0.015: a payout takes whole kopecks, the rest stays.
    assert item.amount_micros == 40_010_000
    page = hire(world, "finance").client.get(url_of_item(item)).text
    assert "L-1" in page
    assert "Clicks of" in page


def test_every_void_has_words_for_both_sides(world: World) -> None:
    with world.app.test_request_context():
        assert set(account_sentences.VOIDED) == set(VoidReason)
        for reason in VoidReason:
            assert account_sentences.VOIDED[reason]()
            assert manage_sentences.void_reason(reason.value) != reason.value


def test_an_order_that_was_given_away_still_has_its_page(world: World, manager: Staff) -> None:
    """The reason that a person decided had no words in the account."""
    order = world.sale("Anna", "100.00", days_ago=1)
    boris = world.affiliate("Boris")
    public = ids.public_id("ord", order.id)
    data = {"affiliate": ids.public_id("aff", boris.enrollment.id), "reason": "his"}
    manager.client.post(f"/manage/orders/{public}/assignment", data=data)
    answer = world.people["Anna"].client.get(f"/account/orders/{public}")
    assert answer.status_code == 200
    assert "decided it anew" in answer.text


def test_every_reference_has_words(world: World) -> None:
    order = world.sale("Anna", "100.00", days_ago=1)
    found = lead(world)
    link = world.people["Anna"].link
    assert link is not None
    wanted = [
        f"order:{order.id}", f"lead:{found.id}", f"clicks:{link.id}:2026-11-21",
        "tier:4:2026-Q4", "order:999999", "lead:999999", "something",
    ]  # fmt: skip
    with world.app.test_request_context():
        told = {key: value.text for key, value in sources(world.session, wanted).items()}
    assert told == {
        f"order:{order.id}": order.order_id,
        f"lead:{found.id}": "L-1",
        f"clicks:{link.id}:2026-11-21": f"Clicks of 21 Nov 2026 on the link {link.code}",
        "tier:4:2026-Q4": "Volume tiers of 2026-Q4",
        "order:999999": "order:999999",
        "lead:999999": "lead:999999",
        "something": "something",
    }
    assert world.session.scalar(sa.select(sa.func.count(Commission.id))) == 2
