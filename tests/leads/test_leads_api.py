"""The calls about leads: what is taken, what is refused, what comes again."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from lead_world import Leads

from tests.orders.shop_world import DAY, earned, of
from tracker.leads.models import Lead, LeadDecision

MINUTE = timedelta(minutes=1)


def count(world: Leads, model: Any) -> int:
    world.tick()
    return world.session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


def test_a_lead_is_kept_decided_and_earns(leads: Leads) -> None:
    anna = leads.affiliate("anna")
    made = leads.reported(
        kind="inquiry", clicks=[leads.click(leads.link(anna))], metadata={"form": "contact"}
    )
    assert (made["lead_id"], made["kind"], made["status"]) == ("L-1", "inquiry", "confirmed")
    assert made["metadata"] == {"form": "contact"}
    assert made["attribution"]["outcome"] == "attributed"
    assert earned(made) == [(of(anna), 1, "150.00", "pending", "hold_period")]
    [commission] = made["commissions"]
    assert (commission["rule"], commission["rate"]) == ("per lead", None)
    shown = leads.show()
    assert shown["attribution"]["trace"][-1]["outcome"] == "won"
    assert shown["attribution"]["trace"][-1]["text"]
    leads.sound()


def test_the_decision_is_kept_where_nobody_is_paid(leads: Leads) -> None:
    made = leads.reported(coupon="NOBODYS")
    assert made["commissions"] == []
    assert made["attribution"]["reason"] == "coupon_unknown"
    assert count(leads, LeadDecision) == 1
    leads.sound()


def test_a_program_that_pays_nothing_for_leads_says_so(make: Any) -> None:
    leads = make(commission={"per_lead": None})
    anna = leads.affiliate("anna")
    made = leads.reported(clicks=[leads.click(leads.link(anna))])
    [commission] = made["commissions"]
    assert (commission["status"], commission["reason"]) == ("not_earned", "no_rate")
    leads.sound()


def test_the_same_again_changes_nothing(leads: Leads) -> None:
    body = leads.lead(clicks=[leads.click(leads.link(leads.affiliate("anna")))])
    first = leads.report(body)
    again = leads.report(body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.get_json() == first.get_json()
    assert (count(leads, Lead), count(leads, LeadDecision)) == (1, 1)


@pytest.mark.parametrize(
    "change", [{"kind": "other"}, {"coupon": "ANNA"}, {"metadata": {"a": 1}}, {"visitor": "x"}]
)
def test_the_id_with_other_content_is_a_conflict_and_the_first_stands(
    leads: Leads, change: dict[str, Any]
) -> None:
    leads.reported(kind="inquiry")
    answer = leads.report(leads.lead(**{"kind": "inquiry", **change}))
    assert (answer.status_code, answer.get_json()["code"]) == (409, "lead_conflict")
    assert leads.show()["kind"] == "inquiry"
    assert count(leads, LeadDecision) == 1


def test_a_replay_a_month_later_is_still_a_replay(leads: Leads) -> None:
    leads.reported()
    leads.session.execute(sa.update(Lead).values(placed_at=leads.now - 60 * DAY))
    leads.session.commit()
    assert leads.report(leads.lead(placed_at=(leads.now - 60 * DAY).isoformat())).status_code == 409
    assert leads.report(leads.lead()).status_code == 200


def test_eight_reports_of_one_lead_at_once_make_one(leads: Leads, app: Flask) -> None:
    body = leads.lead(clicks=[leads.click(leads.link(leads.affiliate("anna")))])
    answers: list[int] = []
    gate = threading.Barrier(8)

    def send() -> None:
        client = app.test_client()
        gate.wait()
        answers.append(
            client.post("/api/v1/leads", json=body, headers=leads.lead_headers).status_code
        )

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] * 7 + [201]
    assert (count(leads, Lead), count(leads, LeadDecision)) == (1, 1)
    leads.sound()


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "field", "code"),
        [
            ({"lead_id": None}, "lead_id", "required"),
            ({"lead_id": "two words"}, "lead_id", "not_an_id"),
            ({"placed_at": None}, "placed_at", "required"),
            ({"placed_at": "2026-11-21 10:15"}, "placed_at", "not_a_moment"),
            ({"kind": "x" * 65}, "kind", "too_long"),
            ({"kind": 7}, "kind", "not_a_string"),
            ({"visitor": "x" * 65}, "visitor", "too_long"),
            ({"coupon": "x" * 65}, "coupon", "too_long"),
            ({"clicks": ["x"] * 21}, "clicks", "invalid"),
            ({"clicks": "x"}, "clicks", "not_a_list"),
            ({"customer": {"email_sha256": "anna@shop.example"}}, "customer.email_sha256", None),
            ({"customer": {"name": "Anna"}}, "customer.name", "unknown_field"),
            ({"metadata": {"a": {}}}, "metadata", "not_flat"),
            ({"total": {"amount": "1.00", "currency": "RUB"}}, "total", "unknown_field"),
        ],
    )
    def test_a_field_that_is_wrong_is_named(
        self, leads: Leads, changes: dict[str, Any], field: str, code: str | None
    ) -> None:
        answer = leads.report(leads.lead(**changes))
        assert answer.status_code == 422, answer.text
        [error] = answer.get_json()["errors"]
        assert error["field"] == field
        if code is not None:
            assert error["code"] == code
        assert count(leads, Lead) == 0

    @pytest.mark.parametrize(
        ("at", "code"), [(6 * MINUTE, "in_the_future"), (-31 * DAY, "too_old")]
    )
    def test_a_time_too_far_away(self, leads: Leads, at: timedelta, code: str) -> None:
        answer = leads.report(leads.lead(placed_at=(leads.now + at).isoformat()))
        assert answer.status_code == 422
        [error] = answer.get_json()["errors"]
        assert (error["field"], error["code"]) == ("placed_at", code)
        assert count(leads, Lead) == 0

    def test_a_key_that_may_import_sends_old_ones(self, leads: Leads) -> None:
        body = leads.lead(placed_at=(leads.now - 60 * DAY).isoformat())
        importer = leads.key("leads:write", "leads:import")
        assert leads.report(body, headers=importer).status_code == 201

    def test_an_order_key_may_not(self, leads: Leads) -> None:
        answer = leads.report(leads.lead(), headers=leads.headers)
        assert (answer.status_code, answer.get_json()["code"]) == (403, "scope_missing")
        writer = leads.key("leads:write")
        assert leads.client.get("/api/v1/leads/L-1", headers=writer).status_code == 403

    def test_another_programs_lead_is_not_there(self, leads: Leads) -> None:
        assert leads.client.get("/api/v1/leads/L-1", headers=leads.lead_headers).status_code == 404
        assert leads.report({}, "/L-1/cancellation").status_code == 404

    @pytest.mark.parametrize("body", [b"{", b"[]", b'{"lead_id": "a", "lead_id": "b"}'])
    def test_garbage(self, leads: Leads, body: bytes) -> None:
        assert leads.report(body).status_code in (400, 422)
        assert count(leads, Lead) == 0


class TestCancellation:
    def test_what_it_earned_goes_back_and_the_reason_is_kept(self, leads: Leads) -> None:
        anna = leads.affiliate("anna")
        leads.reported(clicks=[leads.click(leads.link(anna))])
        answer = leads.report({"reason": "a test of ours"}, "/L-1/cancellation")
        assert answer.status_code == 200
        shown = answer.get_json()
        assert (shown["status"], shown["cancel_reason"]) == ("cancelled", "a test of ours")
        [commission] = shown["commissions"]
        assert (commission["status"], commission["reason"]) == ("voided", "lead_cancelled")
        leads.sound()

    def test_again_changes_nothing(self, leads: Leads) -> None:
        leads.reported()
        leads.report({"reason": "first"}, "/L-1/cancellation")
        again = leads.report({"reason": "second"}, "/L-1/cancellation")
        assert (again.status_code, again.get_json()["cancel_reason"]) == (200, "first")
        assert again.headers["Idempotent-Replayed"] == "true"

    def test_without_a_body(self, leads: Leads) -> None:
        leads.reported()
        assert leads.report(b"", "/L-1/cancellation").get_json()["status"] == "cancelled"

    def test_a_reason_too_long(self, leads: Leads) -> None:
        leads.reported()
        answer = leads.report({"reason": "x" * 501}, "/L-1/cancellation")
        assert (answer.status_code, answer.get_json()["errors"][0]["field"]) == (422, "reason")
        assert leads.show()["status"] == "confirmed"
