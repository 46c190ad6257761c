"""The checks of orders and decisions: silent on a good order, each fires on a planted one."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa
from money_world import NOW, World
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.links.models import Link
from payouts.audit.run import run
from payouts.commissions.earn import earn
from payouts.commissions.void import take_back
from tracker.attribution.checks import CHECKS
from tracker.attribution.models import CustomerBinding, Decision
from tracker.clicks.models import Click
from tracker.orders.models import Customer, Order, Refund

CLICK, OTHER_CLICK = uuid4(), uuid4()


@pytest.fixture
def order(session: Session, world: World) -> Order:
    """One confirmed order, credited by a click, half of it refunded."""
    order = Order(
        program_id=world.program_id, order_id="A-1", source="api", status="confirmed",
        placed_at=NOW, received_at=NOW, currency="EUR", total_micros=100_000_000,
        discount_micros=0, tax_micros=0, tax_included=True, shipping_micros=0, fees_micros=0,
        credits_micros=0, net_micros=100_000_000, refunded_micros=50_000_000,
        refunded_net_micros=50_000_000, items=[], details={}, content_hash=b"x", evidence={},
    )  # fmt: skip
    anna = world.enrollments["anna"]
    link = Link(program_id=world.program_id, enrollment_id=anna, code="abcde",
                destination="https://shop.example/", created_at=NOW)  # fmt: skip
    session.add_all([order, link])
    session.flush()
    session.add_all(
        [
            Decision(
                order_id=order.id, number=1, rule_version_id=world.rule_version_id,
                outcome="attributed", trace=[], snapshot={}, decided_at=NOW,
                shares=[
                    {"enrollment_id": anna, "weight": "1", "click_id": str(CLICK),
                     "evidence": "click_token", "other_clicks": [{"click_id": str(OTHER_CLICK)}]},
                ],
            ),
            Refund(
                order_id=order.id, refund_id="R-1", amount_micros=50_000_000,
                net_micros=50_000_000, body={}, content_hash=b"x", received_at=NOW,
            ),
        ]
    )  # fmt: skip
    for click_id in (CLICK, OTHER_CLICK):
        session.execute(
            sa.insert(Click).values(
                click_id=click_id,
                clicked_at=NOW - timedelta(hours=1),
                link_id=link.id,
                program_id=world.program_id,
                enrollment_id=anna,
                visitor_id=uuid4(),
                visitor_known=False,
                is_unique=True,
                deep_link_refused=False,
                address_hash=uuid4(),
                agent="Firefox",
                referrer="",
            )
        )
    customer = Customer(program_id=world.program_id, shop_id="c-1", first_ordered_at=NOW)
    session.add(customer)
    session.flush()
    order.customer_id = customer.id
    session.add(
        CustomerBinding(program_id=world.program_id, customer_id=customer.id, enrollment_id=anna,
                        order_id=order.id, bound_at=NOW, created_at=NOW)
    )  # fmt: skip
    sale = world.sale("anna", "100.00", reference=f"order:{order.id}")
    earn(session, sale=sale, waits_for=None, now=NOW)
    take_back(session, reference=sale.reference, refund="refund:1",
              refunded_net=world.money("50"), net=sale.net, now=NOW)  # fmt: skip
    session.commit()
    return order


def broken(session: Session) -> set[str]:
    return {finding.check.name for finding in run(session, CHECKS, real_now=clock.real_now())}


def test_a_good_order_breaks_no_check(session: Session, order: Order) -> None:
    assert broken(session) == set()


PLANTED = [
    ("O1", "UPDATE refunds SET amount_micros = 1"),
    ("O1", "UPDATE orders SET total_micros = 1, net_micros = 1, refunded_net_micros = 0"),
    ("O2", "DELETE FROM decisions"),
    ("C2b", "UPDATE decisions SET shares = '[]'"),
    ("C3", "UPDATE orders SET currency = 'RUB'"),
    ("C3", "DELETE FROM orders"),
    ("C4", "UPDATE orders SET net_micros = 11000000, refunded_net_micros = 0"),
    ("C10", "UPDATE orders SET status = 'cancelled'"),
    ("C10", "UPDATE decisions SET voided_at = now()"),
    ("C11", "UPDATE orders SET refunded_net_micros = net_micros"),
    ("C12", "UPDATE commissions SET base_micros = base_micros + 1"),
    ("E1", "UPDATE orders SET currency = 'USD'"),
    ("E1", "UPDATE orders SET currency = 'USD', converted_to = 'RUB'"),
    (
        "E2",
        "UPDATE orders SET currency = 'USD', converted_to = 'EUR',"
        " received_at = now() - interval '49 hours'",
    ),
    ("K1", "UPDATE clicks SET clicked_at = clicked_at + interval '2 hours'"),
    (
        "K1",
        "UPDATE clicks SET clicked_at = clicked_at + interval '2 hours'"
        f" WHERE click_id = '{OTHER_CLICK}'",
    ),
    ("K1", "UPDATE links SET enrollment_id = enrollment_id - 1"),
    ("B1", "UPDATE customer_bindings SET enrollment_id = enrollment_id + 1"),
    ("B1", "UPDATE customer_bindings SET bound_at = bound_at - interval '1 day'"),
    ("B1", "UPDATE customers SET program_id = 999"),
    ("B1", "UPDATE orders SET status = 'unconfirmed'"),
    ("B1", "UPDATE orders SET customer_id = NULL"),
    ("B1", "UPDATE decisions SET voided_at = now()"),
    ("B1", "UPDATE decisions SET shares = jsonb_set(shares, '{0,evidence}', '\"bound_customer\"')"),
    ("B1", "DELETE FROM orders"),
    ("K2", "UPDATE commissions SET released_at = now(); UPDATE orders SET status = 'unconfirmed'"),
    (
        "K3",
        "UPDATE commissions SET released_at = now(); UPDATE decisions SET review_reason = 'flood'",
    ),
]


@pytest.mark.parametrize(("name", "corruption"), PLANTED)
def test_a_planted_contradiction_of_an_order_is_found(
    session: Session, order: Order, name: str, corruption: str
) -> None:
    session.execute(sa.text("SET LOCAL session_replication_role = replica"))
    for statement in corruption.split(";"):
        session.execute(sa.text(statement))
    assert name in broken(session)
    session.rollback()


def test_every_check_of_orders_has_its_planted_contradiction() -> None:
    # Those of versions are broken where versions live: tests/attribution/test_order_versions.py.
    elsewhere = {"V1", "V2"}
    assert {check.name for check in CHECKS} - elsewhere == {name for name, _ in PLANTED}
