"""A shop's buyer is erased by id or address; orders and what they earned stay."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
import sqlalchemy as sa
from marked import books, broken, holding
from world import DAY, World

from affiliate.core.money import Money
from tracker.leads.intake import report_lead
from tracker.leads.rules import LeadReportIn
from tracker.orders.intake import report_order
from tracker.orders.keys import order_keys
from tracker.orders.models import Customer, Order, Refund
from tracker.orders.refunds import refund_order
from tracker.orders.rules import CustomerIn, OrderReportIn, RefundIn, Source
from tracker.personal.cli import people_group
from tracker.personal.customers import Buyer, NobodyKnown, erase_customer

ANNA = "anna@buyers.example"
MARK = "buyermark"
VISITOR = f"{MARK}-visitor"


def customer(email: str = ANNA, **more: Any) -> CustomerIn:
    given = {"id": f"{MARK}-881", "email_sha256": sha256(email.encode()).hexdigest(), **more}
    return CustomerIn(**given)


def report(world: World, number: str, buyer: CustomerIn, *, source: Source = Source.API) -> Order:
    with world.app.app_context():
        done = report_order(
            world.session, program_id=world.program.id, source=source,
            reported_by="key:kpk_test", now=world.now,
            report=OrderReportIn(
                order_id=number, placed_at=world.now - DAY, total=Money(900_000_000, "RUB"),
                customer=buyer, visitor=VISITOR, ip="203.0.113.9",
                metadata={"note": f"{MARK} lives here"},
            ),
        )  # fmt: skip
        world.session.commit()
    return world.session.get_one(Order, done.order_row_id)


def email_hash(world: World, email: str = ANNA) -> str:
    with world.app.app_context():
        return order_keys().email_hash(sha256(email.encode()).hexdigest()).hex()


def erase(world: World, customer_id: str | None = None, email: str | None = None) -> Any:
    with world.app.app_context():
        done = erase_customer(
            world.session, program_id=world.program.id, buyer=Buyer(customer_id, email),
            keys=order_keys(), by="cli", now=world.now,
        )  # fmt: skip
        world.session.commit()
    return done


@pytest.mark.abuse("A40")
def test_a_buyer_is_found_nowhere_and_nothing_that_was_earned_changes(world: World) -> None:
    world.affiliate("Anna")
    first = report(world, "B-1", customer())
    with world.app.app_context():
        refund_order(
            world.session, program_id=world.program.id, order_id="B-1",
            refund=RefundIn("R-1", Money(100_000_000, "RUB"), reason=f"{MARK} did not like it"),
            now=world.now,
        )  # fmt: skip
        report_lead(
            world.session, program_id=world.program.id, reported_by="key:kpk_test", now=world.now,
            report=LeadReportIn(
                lead_id="L-1", placed_at=world.now - DAY, customer=customer(), visitor=VISITOR,
                metadata={"note": MARK},
            ),
        )  # fmt: skip
        world.session.commit()
    hashed = email_hash(world)
    assert holding(world, MARK) >= {
        "orders.evidence", "orders.details", "order_reports.body", "refunds.reason",
        "refunds.body", "customers.shop_id", "leads.evidence", "leads.details",
    }  # fmt: skip
    assert holding(world, hashed) >= {"orders.evidence", "order_reports.body", "leads.evidence"}
    before = {name: rows for name, rows in books(world.session).items() if "order" not in name}
    done = erase(world, f"{MARK}-881", ANNA)
    assert (done.customers, done.orders, done.leads) == (1, 1, 1)
    assert holding(world, MARK) == set()
    assert holding(world, hashed) == set()
    after = {name: rows for name, rows in books(world.session).items() if "order" not in name}
    assert after == before
    world.session.expire_all()
    row = world.session.get_one(Order, first.id)
    assert (row.net_micros, row.refunded_micros) == (900_000_000, 100_000_000)
    kept = world.session.scalars(sa.select(Customer)).one()
    assert (kept.shop_id, kept.email_hash, kept.id) == (None, None, row.customer_id)
    assert broken(world) == []


def test_others_of_the_same_shop_and_other_programs_keep_theirs(world: World) -> None:
    report(world, "B-1", customer())
    report(world, "B-2", customer("boris@buyers.example", id="c-2"))
    erase(world, f"{MARK}-881")
    assert holding(world, "c-2") >= {"orders.evidence", "customers.shop_id"}
    assert holding(world, email_hash(world, "boris@buyers.example")) >= {"orders.evidence"}
    with pytest.raises(NobodyKnown), world.app.app_context():
        erase_customer(
            world.session, program_id=world.euros.id, buyer=Buyer("c-2", None), keys=order_keys(),
            by="cli", now=world.now,
        )  # fmt: skip


def test_a_buyer_is_found_by_address_alone_where_the_shop_gave_no_id(world: World) -> None:
    report(world, "B-1", customer(id=None))
    report(world, "B-2", customer("boris@buyers.example", id=None))
    assert erase(world, email=f" {ANNA.upper()} ").orders == 1
    assert holding(world, email_hash(world)) == set()
    assert world.session.scalar(sa.select(sa.func.count(Customer.id)).where(
        Customer.email_hash.is_not(None))) == 1  # fmt: skip


def test_the_same_report_again_is_the_same_order(world: World) -> None:
    """What a report was is compared by its hash, which names nobody."""
    first = report(world, "B-1", customer())
    erase(world, f"{MARK}-881")
    again = report(world, "B-1", customer())
    assert again.id == first.id


def test_nobody_known_is_a_refusal(world: World) -> None:
    with pytest.raises(NobodyKnown) as refusal:
        erase(world, "nobody")
    assert (refusal.value.status, refusal.value.code) == (404, "no_such_customer")
    assert world.session.scalar(sa.select(sa.func.count(Refund.id))) == 0


def test_the_commands_erase_buyers_and_people(world: World) -> None:
    anna = world.affiliate("Anna")
    report(world, "B-1", customer())
    runner = world.app.test_cli_runner()
    done = runner.invoke(people_group, ["erase-customer", "--program", "demo", "--email", ANNA])
    assert (done.exit_code, "Erased: 1 customers, of 1 orders" in done.output) == (0, True)
    again = runner.invoke(people_group, ["erase-customer", "--program", "demo", "--email", ANNA])
    assert (again.exit_code, "is known by that" in again.output) == (1, True)
    assert runner.invoke(people_group, ["erase-customer", "--program", "demo"]).exit_code == 2
    unknown = runner.invoke(people_group, ["erase", "--email", "x@example.com", "--yes"])
    assert (unknown.exit_code, "There is no user" in unknown.output) == (1, True)
    stopped = runner.invoke(people_group, ["erase", "--email", "anna@example.com"], input="n\n")
    assert stopped.exit_code == 1
    gone = runner.invoke(people_group, ["erase", "--email", "ANNA@example.com", "--yes"])
    assert gone.exit_code == 0, gone.output
    assert f"Erased: user {anna.user_id}." in gone.output
    assert "anna@example.com" not in gone.output
    assert holding(world, "anna@example.com") == set()
