"""The questions behind statistics, and their answers over the API."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from world import DAY, World

from affiliate.core.money import Money
from affiliate.people import api_keys, ids
from tracker.clicks.rules import DropReason
from tracker.stats.figures import Earned
from tracker.stats.questions import (
    Figures,
    Period,
    Scope,
    by_affiliate,
    by_coupon,
    by_day,
    by_link,
    today,
    total,
)


def rub(text: str) -> Money:
    return Money.parse(text, "RUB")


def scope_of(world: World, name: str | None = None) -> Scope:
    return Scope.of(world.program, world.people[name].enrollment.id if name else None)


def span(world: World, days: int = 30) -> Period:
    return Period.ending(today(world.now, world.program.time_zone), days)


def key_of(world: World, *scopes: str) -> dict[str, str]:
    _, key = api_keys.create_key(
        world.session, program_id=world.program.id, scopes=scopes, name="shop", by=None,
        now=world.now,
    )  # fmt: skip
    world.session.commit()
    return {"Authorization": f"Bearer {key}"}


def test_a_period_counts_both_ends_and_knows_its_instants() -> None:
    period = Period.ending(date(2026, 11, 21), 7)
    assert (period.first, period.days, len(list(period))) == (date(2026, 11, 15), 7, 7)
    # Moscow is three hours ahead: its 15th begins at nine in the evening of the 14th in UTC.
    assert period.instants("Europe/Moscow") == (
        datetime(2026, 11, 14, 21, tzinfo=UTC),
        datetime(2026, 11, 21, 21, tzinfo=UTC),
    )


def test_nothing_to_divide_by_has_no_rate() -> None:
    none = Figures.none("RUB")
    assert (none.conversion_ppm, none.epc) == (None, None)
    assert (none.average_order, none.reversal_ppm, none.approval_ppm) == (None, None, None)


def test_every_figure_follows_from_its_counts() -> None:
    first = Earned(rub("12.50"), rub("2.50"), rub("4.00"))
    second = Earned(rub("2.00"), rub("0.00"), rub("0.00"))
    some = Figures(4, 3, 1, 2, 2, 1, 3, rub("125.00"), first, second)
    assert (some.conversion_ppm, some.epc) == (500_000, rub("2.50"))
    assert (some.earned, some.earned_together) == (rub("10.00"), rub("12.00"))
    assert (first.left, first.pending) == (rub("10.00"), rub("6.00"))
    # 125.00 over two orders; 2.50 of 12.50 taken back; one released of four decided.
    assert some.average_order == rub("62.50")
    assert (some.reversal_ppm, some.approval_ppm) == (200_000, 250_000)


def test_clicks_and_orders_stand_on_their_day(world: World, session: Session) -> None:
    anna = world.affiliate("Anna")
    assert anna.link is not None
    at = world.now - 3 * DAY
    token = world.click(anna.link, at=at)
    world.click(anna.link, at=at + timedelta(minutes=9), reason=DropReason.PREFETCH)
    world.order("3500.00", at=at + timedelta(minutes=20), clicks=(token,))
    days = by_day(session, scope=scope_of(world, "Anna"), period=span(world))
    assert len(days) == 30
    clicked = days[today(at, "Europe/Moscow")]
    assert (clicked.clicks, clicked.uniques) == (1, 1)
    ordered = days[today(at + timedelta(minutes=20), "Europe/Moscow")]
    assert (ordered.orders, ordered.earned) == (1, rub("350.00"))
    whole = total(days.values(), "RUB")
    assert (whole.clicks, whole.orders, whole.earned) == (1, 1, rub("350.00"))


def test_refunds_lower_what_was_earned_and_cancelled_orders_count_nowhere(
    world: World, session: Session
) -> None:
    world.affiliate("Anna")
    order = world.sale("Anna", "3500.00", days_ago=2)
    world.refund(order, "1000.00")
    world.cancel(world.sale("Anna", "9000.00", days_ago=2))
    whole = total(
        by_day(session, scope=scope_of(world, "Anna"), period=span(world)).values(), "RUB"
    )
    # 350.00 - 10 % of the 1,000.00 that went back.
    assert (whole.orders, whole.earned) == (1, rub("250.00"))


def test_level_two_is_kept_apart_and_the_program_sums_its_affiliates(
    world: World, session: Session
) -> None:
    world.affiliate("Anna")
    world.affiliate("Boris", recruiter="Anna")
    world.sale("Boris", "3500.00", days_ago=2)
    world.sale("Anna", "1000.00", days_ago=1)
    anna = total(by_day(session, scope=scope_of(world, "Anna"), period=span(world)).values(), "RUB")
    assert (anna.orders, anna.earned, anna.earned_level_2) == (1, rub("100.00"), rub("70.00"))
    all_of_it = total(by_day(session, scope=scope_of(world), period=span(world)).values(), "RUB")
    assert (all_of_it.clicks, all_of_it.orders) == (2, 2)
    assert (all_of_it.earned, all_of_it.earned_level_2) == (rub("450.00"), rub("70.00"))
    each = by_affiliate(session, scope=scope_of(world), period=span(world))
    assert total(each.values(), "RUB") == all_of_it


def test_orders_belong_to_the_link_of_their_click_or_to_their_coupon(
    world: World, session: Session
) -> None:
    anna = world.affiliate("Anna")
    assert anna.link is not None
    world.coupon("Anna", "ANNA10")
    world.sale("Anna", "1000.00", days_ago=3)
    world.order("2000.00", at=world.now - 2 * DAY, coupon=" anna10 ")
    links = by_link(session, scope=scope_of(world, "Anna"), period=span(world))
    assert {number: (f.clicks, f.orders, f.earned) for number, f in links.items()} == {
        anna.link.id: (1, 1, rub("100.00"))
    }
    coupons = by_coupon(session, scope=scope_of(world, "Anna"), period=span(world))
    assert {code: (f.orders, f.earned) for code, f in coupons.items()} == {
        "ANNA10": (1, rub("200.00"))
    }


@pytest.mark.parametrize("by", ["day", "link", "affiliate"])
def test_the_api_answers_by_each_group(world: World, client: FlaskClient, by: str) -> None:
    anna = world.affiliate("Anna")
    assert anna.link is not None
    world.sale("Anna", "3500.00", days_ago=2)
    answer = client.get(f"/api/v1/statistics?by={by}", headers=key_of(world, "statistics:read"))
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json or {}
    assert body["by"] == by
    assert body["time_zone"] == "Europe/Moscow"
    whole = body["total"]
    assert (whole["clicks"], whole["uniques"], whole["orders"]) == (1, 1, 1)
    assert whole["earned"] == whole["pending"] == {"amount": "350.00", "currency": "RUB"}
    assert whole["earned_level_2"] == {"amount": "0.00", "currency": "RUB"}
    assert (
        whole["order_value"] == whole["average_order"] == {"amount": "3500.00", "currency": "RUB"}
    )
    assert (whole["conversion_ppm"], whole["reversal_ppm"], whole["approval_ppm"]) == (
        1_000_000,
        0,
        None,
    )
    assert (body["next"], body["compared"]) == (None, None)
    keys = [row["key"] for row in body["rows"] if row["orders"]]
    if by == "day":
        assert len(body["rows"]) == 30
        assert keys == [today(world.now - 2 * DAY, "Europe/Moscow").isoformat()]
    else:
        assert keys == [anna.link.code if by == "link" else ids.public(anna.enrollment.id)]


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ("from=2026-11-21&to=2026-11-20", "from", "after_the_end"),
        ("from=2020-01-01&to=2026-01-01", "from", "too_long"),
        ("from=21.11.2026", "from", "not_a_day"),
        ("to=2026-02-30", "to", "not_a_day"),
        ("by=colour", "by", "invalid"),
        ("colour=red", "colour", "unknown_field"),
    ],
)
def test_a_question_that_cannot_be_answered_names_its_field(
    world: World, client: FlaskClient, query: str, field: str, code: str
) -> None:
    answer = client.get(f"/api/v1/statistics?{query}", headers=key_of(world, "statistics:read"))
    assert answer.status_code == 422
    assert [(e["field"], e["code"]) for e in (answer.json or {})["errors"]] == [(field, code)]


@pytest.mark.abuse("A24")
def test_an_affiliate_of_another_program_is_not_found(world: World, client: FlaskClient) -> None:
    stranger = world.affiliate("Anna").enrollment.id + 1_000
    headers = key_of(world, "statistics:read")
    for text in (ids.public(stranger), "aff_", "lnk_7Qk2", "1"):
        answer = client.get(f"/api/v1/statistics?affiliate={text}", headers=headers)
        assert answer.status_code == 404, text


def test_a_key_without_the_scope_is_refused(world: World, client: FlaskClient) -> None:
    answer = client.get("/api/v1/statistics", headers=key_of(world, "orders:read"))
    assert answer.status_code == 403
