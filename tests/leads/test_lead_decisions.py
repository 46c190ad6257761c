"""Whose a lead is, by the rules of orders; hold, late verdicts, reviews, payouts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from lead_world import Leads, Make

from affiliate.people.models import Enrollment
from payouts.commissions.models import Commission
from payouts.commissions.release import release_budgeted, release_due
from payouts.ledger.balances import balances
from tests.orders.shop_world import DAY, VISITOR, earned, email_sha256, of, rub
from tracker.attribution.click_checks import check_clicks
from tracker.attribution.subject import ReviewOutcome
from tracker.clicks.rules import DropReason
from tracker.leads.click_checks import LEADS
from tracker.leads.intake import review_lead
from tracker.leads.models import LeadDecision
from tracker.leads.refusals import LeadCancelled, NoLeadToReview

HOUR = timedelta(hours=1)


@pytest.fixture
def anna(leads: Leads) -> Enrollment:
    return leads.affiliate("anna")


def in_app(leads: Leads, verb: Callable[[], Any]) -> Any:
    with leads.app.app_context():
        done = verb()
        leads.session.commit()
    return done


def check(leads: Leads, after: timedelta = HOUR) -> int:
    return int(in_app(leads, lambda: check_clicks(leads.session, now=leads.now + after, of=LEADS)))


def review(leads: Leads, outcome: ReviewOutcome) -> None:
    in_app(
        leads,
        lambda: review_lead(
            leads.session, program_id=leads.program.id, lead_id="L-1", outcome=outcome,
            reason="looked at", by="user:1", now=leads.now,
        ),
    )  # fmt: skip


def release(leads: Leads, after: timedelta) -> None:
    in_app(leads, lambda: release_due(leads.session, now=leads.now + after))


def available(leads: Leads, who: Enrollment) -> str:
    leads.tick()
    found = balances(leads.session, enrollment_id=who.id, currency="RUB")
    return found.available.decimal


class TestEvidence:
    def test_by_click_token(self, leads: Leads, anna: Enrollment) -> None:
        made = leads.reported(clicks=[leads.click(leads.link(anna))])
        assert made["attribution"]["shares"][0]["evidence"] == "click_token"

    def test_by_visitor(self, leads: Leads, anna: Enrollment) -> None:
        leads.click(leads.link(anna))
        made = leads.reported(visitor=str(UUID(bytes=VISITOR)))
        assert made["attribution"]["shares"][0]["evidence"] == "visitor_click"
        assert earned(made)[0][:3] == (of(anna), 1, "150.00")

    def test_by_coupon(self, leads: Leads, anna: Enrollment) -> None:
        leads.coupon(anna, "ANNA10")
        made = leads.reported(coupon=" anna10 ")
        assert made["attribution"]["shares"][0]["evidence"] == "coupon"

    def test_outside_the_window(self, leads: Leads, anna: Enrollment) -> None:
        made = leads.reported(clicks=[leads.click(leads.link(anna), ago=31 * DAY)])
        assert made["attribution"]["reason"] == "outside_window"

    def test_own_leads_are_refused_where_own_purchases_are(
        self, leads: Leads, anna: Enrollment
    ) -> None:
        made = leads.reported(
            clicks=[leads.click(leads.link(anna))],
            customer={"email_sha256": email_sha256("anna@blog.example")},
        )
        assert made["attribution"]["reason"] == "self_purchase"

    def test_an_existing_customer_is_refused_where_they_are(self, make: Make) -> None:
        leads = make(attribution={"existing_customer": "refuses"})
        anna = leads.affiliate("anna")
        token = leads.click(leads.link(anna))
        old = (leads.now - 5 * DAY).isoformat()
        assert leads.post(leads.order(customer={"id": "c-1"}, placed_at=old)).status_code == 201
        made = leads.reported(clicks=[token], customer={"id": "c-1"})
        assert made["attribution"]["reason"] == "existing_customer"

    def test_a_lead_makes_nobody_a_customer(self, make: Make) -> None:
        """Who asked a question has bought nothing: their first order is a new customer's."""
        leads = make(attribution={"existing_customer": "refuses"})
        anna = leads.affiliate("anna")
        leads.reported(customer={"id": "c-1"}, placed_at=(leads.now - 5 * DAY).isoformat())
        token = leads.click(leads.link(anna))
        body = leads.post(leads.order(clicks=[token], customer={"id": "c-1"})).get_json()
        assert body["attribution"]["outcome"] == "attributed"


class TestAmounts:
    def test_there_is_no_level_2(self, leads: Leads, anna: Enrollment) -> None:
        boris = leads.affiliate("boris", recruiter=anna)
        made = leads.reported(clicks=[leads.click(leads.link(boris))])
        assert [line[:3] for line in earned(made)] == [(of(boris), 1, "150.00")]
        leads.sound()

    def test_shares_of_several_sum_to_the_whole(self, make: Make) -> None:
        leads = make(attribution={"model": "linear"}, commission={"per_lead": "100.00"})
        tokens, names = [], ("anna", "boris", "clara")
        for number, name in enumerate(names):
            link = leads.link(leads.affiliate(name))
            tokens.append(leads.click(link, ago=(3 - number) * DAY, visitor=bytes([number]) * 16))
        made = leads.reported(clicks=tokens)
        assert sorted(line[2] for line in earned(made)) == ["33.333333", "33.333333", "33.333334"]
        leads.sound()

    def test_the_cap_of_a_period_holds_for_leads_and_orders_together(self, make: Make) -> None:
        cap = {"per_order": "10.00", "per_period": {"amount": "200.00", "period": "year"}}
        leads = make(commission={"caps": cap})
        anna = leads.affiliate("anna")
        token = leads.click(leads.link(anna))
        assert earned(leads.reported(clicks=[token]))[0][2] == "150.00"
        assert earned(leads.reported(lead_id="L-2", clicks=[token]))[0][2] == "50.00"
        third = leads.reported(lead_id="L-3", clicks=[token])
        assert third["commissions"][0]["reason"] == "cap_reached"
        order = leads.post({"order_id": "A-1", "placed_at": leads.now.isoformat(),
                            "total": rub("50.00"), "clicks": [token]})  # fmt: skip
        assert order.get_json()["commissions"][0]["reason"] == "cap_reached"
        leads.sound()

    def test_leads_are_no_sales_for_tiers(self, make: Make) -> None:
        bands = [{"from": 0, "rate_ppm": 100_000}, {"from": 1, "rate_ppm": 300_000}]
        tiers = {"measure": "orders", "period": "year", "apply": "marginal", "bands": bands}
        leads = make(commission={"tiers": tiers})
        token = leads.click(leads.link(leads.affiliate("anna")))
        leads.reported(clicks=[token])
        order = leads.post({"order_id": "A-1", "placed_at": leads.now.isoformat(),
                            "total": rub("100.00"), "clicks": [token]})  # fmt: skip
        assert earned(order.get_json())[0][2] == "10.00"


class TestMoney:
    def test_it_is_released_after_its_hold_and_not_before(
        self, leads: Leads, anna: Enrollment
    ) -> None:
        leads.reported(clicks=[leads.click(leads.link(anna))])
        release(leads, 14 * DAY - timedelta(seconds=1))
        assert available(leads, anna) == "0.00"
        release(leads, 14 * DAY)
        assert available(leads, anna) == "150.00"
        assert leads.show()["commissions"][0]["status"] == "available"
        leads.sound()

    def test_cancelled_after_its_release_it_is_taken_out_of_the_balance(
        self, leads: Leads, anna: Enrollment
    ) -> None:
        leads.reported(clicks=[leads.click(leads.link(anna))])
        release(leads, 15 * DAY)
        leads.report({}, "/L-1/cancellation")
        assert available(leads, anna) == "0.00"
        leads.sound()

    def test_it_waits_for_the_budget_as_anything_does(self, make: Make) -> None:
        leads = make(commission={"budget": {"amount": "200.00", "period": None}})
        anna = leads.affiliate("anna")
        token = leads.click(leads.link(anna))
        for number in (1, 2):
            leads.reported(lead_id=f"L-{number}", clicks=[token])
        release(leads, 15 * DAY)
        assert available(leads, anna) == "150.00"
        assert leads.show("L-2")["commissions"][0]["waits_for"] == "budget"
        leads.report({}, "/L-1/cancellation")
        in_app(leads, lambda: release_budgeted(leads.session, now=leads.now + 16 * DAY))
        assert available(leads, anna) == "150.00"
        leads.sound()


class TestLateVerdicts:
    def test_a_lead_before_its_clicks_row_waits_and_a_good_verdict_clears_it(
        self, leads: Leads, anna: Enrollment
    ) -> None:
        link = leads.link(anna)
        token = leads.click(link, loaded=False)
        made = leads.reported(clicks=[token])
        assert earned(made)[0][4] == "click_check"
        assert check(leads) == 0
        leads.load(token, link)
        assert check(leads) == 1
        assert earned(leads.show())[0][4] == "hold_period"
        assert check(leads) == 0

    def test_a_bad_verdict_voids_and_decides_anew(self, leads: Leads, anna: Enrollment) -> None:
        boris = leads.affiliate("boris")
        older = leads.click(leads.link(boris), ago=2 * DAY, visitor=b"b" * 16)
        link = leads.link(anna)
        token = leads.click(link, loaded=False)
        leads.reported(clicks=[older, token])
        leads.load(token, link, reason=DropReason.BOT)
        assert check(leads) == 1
        assert earned(leads.show())[0][:3] == (of(boris), 1, "150.00")
        leads.tick()
        voided = leads.session.execute(
            sa.select(LeadDecision.number, LeadDecision.void_reason).order_by(LeadDecision.number)
        ).all()
        assert [tuple(row) for row in voided] == [(1, "click_invalid"), (2, None)]
        leads.sound()

    def test_after_a_day_the_token_stands(self, leads: Leads, anna: Enrollment) -> None:
        leads.reported(clicks=[leads.click(leads.link(anna), loaded=False)])
        assert check(leads, after=25 * HOUR) == 1
        assert earned(leads.show())[0][4] == "hold_period"

    def test_a_visitors_click_that_is_loaded_later_is_found(
        self, leads: Leads, anna: Enrollment
    ) -> None:
        link = leads.link(anna)
        token = leads.click(link, ago=HOUR, loaded=False)
        made = leads.reported(visitor=str(UUID(bytes=VISITOR)))
        assert made["attribution"]["outcome"] == "unattributed"
        leads.load(token, link)
        assert check(leads, after=timedelta(minutes=1)) == 1
        assert earned(leads.show())[0][:3] == (of(anna), 1, "150.00")
        leads.sound()

    def test_it_keeps_what_it_was_reckoned_by(self, leads: Leads, anna: Enrollment) -> None:
        link = leads.link(anna)
        token = leads.click(link, loaded=False)
        leads.reported(clicks=[token])
        leads.load(token, link, reason=DropReason.FLOOD)
        check(leads)
        review(leads, ReviewOutcome.RELEASED)
        leads.tick()
        versions = set(leads.session.scalars(sa.select(Commission.rule_version_id)))
        assert len(versions) == 1


class TestFloods:
    @pytest.fixture
    def held(self, leads: Leads, anna: Enrollment) -> dict[str, Any]:
        return leads.reported(clicks=[leads.click(leads.link(anna), reason=DropReason.FLOOD)])

    def test_a_flooded_click_holds_the_lead(self, leads: Leads, held: dict[str, Any]) -> None:
        assert earned(held)[0][4] == "review"
        release(leads, 15 * DAY)
        assert leads.show()["commissions"][0]["status"] == "pending"
        leads.sound()

    def test_released_by_a_person_it_goes_on(
        self, leads: Leads, anna: Enrollment, held: dict[str, Any]
    ) -> None:
        review(leads, ReviewOutcome.RELEASED)
        release(leads, 15 * DAY)
        assert available(leads, anna) == "150.00"
        with pytest.raises(NoLeadToReview):
            review(leads, ReviewOutcome.DECLINED)
        leads.sound()

    def test_declined_it_is_decided_without_it(self, leads: Leads, held: dict[str, Any]) -> None:
        review(leads, ReviewOutcome.DECLINED)
        shown = leads.show()
        assert (shown["attribution"]["reason"], shown["commissions"]) == ("review_declined", [])
        leads.sound()

    def test_a_cancelled_lead_is_not_reviewed(self, leads: Leads, held: dict[str, Any]) -> None:
        leads.report({}, "/L-1/cancellation")
        with pytest.raises(LeadCancelled):
            review(leads, ReviewOutcome.RELEASED)
        leads.sound()

    def test_a_flood_that_is_found_late_holds_it_too(self, leads: Leads, anna: Enrollment) -> None:
        link = leads.link(anna)
        token = leads.click(link, loaded=False)
        leads.reported(clicks=[token])
        leads.load(token, link, reason=DropReason.FLOOD)
        assert check(leads) == 1
        assert earned(leads.show())[0][4] == "review"
        leads.sound()
