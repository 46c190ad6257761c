"""A person whose every field holds one word, made by the verbs that real traffic takes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from world import World

from affiliate.core import outbox
from affiliate.core.clock import real_now
from affiliate.links.coupons import create_coupon
from affiliate.links.links import create_link
from affiliate.people import (
    account,
    addresses,
    api_keys,
    enrollments,
    invitations,
    joining,
    passwords,
    shop_customers,
)
from affiliate.people import sessions as browser_sessions
from affiliate.people.applications import Answers, Audience, Channel
from affiliate.people.groups import add_note
from affiliate.people.models import Affiliate, Passkey, RecoveryCode, SecondFactor, User
from affiliate.programs.assignments import assign
from affiliate.programs.rule_versions import in_force
from affiliate.promo.models import Creative, CreativePicture
from affiliate.webhooks.endpoints import Owner, Wanted, create_endpoint, send_test
from affiliate.webhooks.models import WebhookAttempt, WebhookDelivery
from payouts.adjustments import adjust
from payouts.adjustments.rules import AdjustmentKind, Reason
from payouts.audit.run import Severity, registered, run
from payouts.batches.holds import hold_payouts, lift_hold
from payouts.batches.models import PayeeAccount
from payouts.batches.payee_models import PayeeOnboarding
from payouts.batches.payee_stops import Outcome, lift, stop
from payouts.batches.payees import NamedFrom, set_payee
from payouts.invoices.parties import TaxData
from payouts.invoices.profiles import set_tax_data
from payouts.provider.models import EventCursor, SeenAccount, SeenBankPayout
from tests.desks.staff import hire
from tracker.attribution.facts import BuyerBy
from tracker.attribution.sightings import note_sighting
from tracker.claims.ask import ask_about_order
from tracker.claims.decide import decline
from tracker.claims.notes import add_own_note, add_staff_note

MARK = "mqxz"
NAME = "Mqxz"
EMAIL = f"{MARK}@example.com"
PASSWORD = "three lamps and a leaf"
SUB_IDS = {f"s{number}": f"{MARK}{number}" for number in range(1, 6)}
ACCOUNT = f"acct_{MARK}"
BOOKS = ("ledger_%", "commission%", "payout_items", "payout_attempts", "payout_batches",
         "batch_%", "invoice%", "withdrawals", "decisions", "orders", "order_%")  # fmt: skip


@dataclass
class Marked:
    """Who it is, and a browser in which they are signed in."""

    user_id: int
    affiliate_id: int
    enrollment_id: int
    client: FlaskClient


def marked(world: World) -> Marked:
    """The word is in every field that an erasure has to find; all money is paid out."""
    person = world.affiliate(NAME)
    with world.app.app_context():
        _identity(world, person.user_id, person.affiliate_id)
        _second_program(world, person.user_id)
        _links_and_orders(world, person.enrollment.id)
        _accounts(world, person.user_id, person.affiliate_id)
        _finance(world, person.enrollment.id)
        _cases(world, person.user_id, person.enrollment.id)
        world.session.commit()
    world.release()
    world.pay(world.withdraw(NAME, None))
    with world.app.app_context():
        # Last, for whoever stops payouts takes it back.
        account.ask_change_email(
            world.session, user_id=person.user_id, email=f"new.{EMAIL}", now=world.now
        )
        browser_sessions.begin(
            world.session, user_id=person.user_id, agent=f"{MARK} browser", now=real_now()
        )
        world.session.commit()
    client = world.sign_in(person.user_id)
    return Marked(person.user_id, person.affiliate_id, person.enrollment.id, client)


def _identity(world: World, user_id: int, affiliate_id: int) -> None:
    session, now = world.session, world.now
    user = session.get_one(User, user_id)
    user.password = passwords.hashed(PASSWORD)
    session.get_one(Affiliate, affiliate_id).website = f"https://{MARK}.example/"
    session.flush()
    invitations.invite(
        session, email=EMAIL.upper(), role="analyst", program_id=world.program.id, by=None, now=now
    )
    addresses.note_former(session, user_id=user_id, email=f"old.{EMAIL}", now=now)
    account.ask_reset(session, email=EMAIL, now=now)
    outbox.send(
        session, to=EMAIL, template="enrollment_reinstated", name=NAME, program=world.program,
        unsubscribe_url=f"https://kopeck.example/unsubscribe/{MARK}", now=now,
    )  # fmt: skip
    session.add(SecondFactor(user_id=user_id, totp_secret=MARK))
    session.add(
        Passkey(user_id=user_id, credential_id=MARK.encode(), public_key=MARK.encode(),
                sign_count=0, name=f"{MARK} key", created_at=now)
    )  # fmt: skip
    session.add(RecoveryCode(user_id=user_id, code_hash=MARK.encode(), created_at=now))
    note_sighting(session, affiliate_id=affiliate_id, marks={uuid4(): BuyerBy.DEVICE}, now=now)


def _second_program(world: World, user_id: int) -> None:
    """Rejected in the other program, with what they wrote there."""
    answers = Answers(
        (Channel.BLOG,), f"A blog about {MARK} and lamps.", Audience.MORE, f"https://{MARK}.example"
    )
    made = joining.apply(
        world.session, user_id=user_id, program_id=world.euros.id, name=NAME, answers=answers,
        now=world.now,
    )  # fmt: skip
    enrollments.reject(
        world.session, enrollment_id=made.id, reason=f"{MARK} sells no tea", by=None, now=world.now
    )


def _links_and_orders(world: World, enrollment_id: int) -> None:
    session, begun = world.session, world.program.created_at + timedelta(days=2)
    link = create_link(
        session, enrollment_id=enrollment_id, name=f"{MARK} link", code=f"{MARK}-code",
        destination=f"https://shop.example/lamps?from={MARK}", sub_ids=SUB_IDS, now=begun,
    )  # fmt: skip
    create_coupon(session, enrollment_id=enrollment_id, code=f"{MARK}10", by=None, now=begun)
    shop_customers.set_shop_customer(
        session, enrollment_id=enrollment_id, customer_id=f"{MARK}-customer", by="key:kpk_x",
        now=world.now,
    )  # fmt: skip
    enrollments.suspend(
        session, enrollment_id=enrollment_id, reason=f"{MARK} is looked at", by=None, now=world.now
    )
    enrollments.reinstate(session, enrollment_id=enrollment_id, by=None, now=world.now)
    assign(
        session, program_id=world.program.id, enrollment_id=enrollment_id, begins_at=world.now,
        version_id=in_force(session, program_id=world.program.id, at=world.now).id, ends_at=None,
        reason=f"{MARK} asked", by=None, now=world.now,
    )  # fmt: skip
    session.commit()
    at = world.now - timedelta(days=30)
    token = world.click(
        link, at=at - timedelta(hours=2), referrer=f"https://{MARK}.example/page",
        sub_ids=tuple(SUB_IDS.values()),  # type: ignore[arg-type]
    )  # fmt: skip
    world.order("4100.00", at=at, clicks=(token,))
    api_keys.create_own_key(
        world.session, enrollment_id=enrollment_id, scopes=["own:read"], name=f"{MARK} sheet",
        by=world.people[NAME].user_id, now=world.now,
    )  # fmt: skip
    drawn = Creative(
        program_id=world.program.id, enrollment_id=enrollment_id, kind="banner",
        name=f"{MARK} banner", alt=f"{MARK} banner", destination="https://shop.example/",
        created_at=begun,
    )  # fmt: skip
    session.add(drawn)
    session.flush()
    session.add(
        CreativePicture(
            creative_id=drawn.id, content=MARK.encode(), extension="png", width=1, height=1,
            byte_count=4,
        )
    )  # fmt: skip
    owner = Owner(world.program.id, enrollment_id)
    postback, _ = create_endpoint(
        world.session, owner=owner,
        wanted=Wanted(f"https://{MARK}.example/", ["commission.earned"], f"{MARK} tracker", "GET"),
        settings=world.settings, actor=f"user:{world.people[NAME].user_id}", by=None,
        now=world.now,
    )  # fmt: skip
    delivery_id = send_test(
        world.session, owner=owner, endpoint_id=postback.id, now=world.now
    )  # fmt: skip
    world.session.get_one(WebhookDelivery, delivery_id).address = f"https://{MARK}.example/?1"
    world.session.add(
        WebhookAttempt(
            delivery_id=delivery_id, at=world.now, took_ms=1, status=200, answer=f"hello {MARK}"
        )
    )  # fmt: skip
    add_note(
        world.session, enrollment_id=enrollment_id, text=f"{MARK} called",
        by=world.people[NAME].user_id, now=world.now,
    )  # fmt: skip


def _accounts(world: World, user_id: int, affiliate_id: int) -> None:
    session, begun = world.session, world.program.created_at + timedelta(days=2)
    given: dict[str, Any] = {"affiliate_id": affiliate_id, "ready": True, "now": begun}
    payee_id = set_payee(
        session, rail="manual", destination=f"{MARK}, DE89 3704 0044 0532 0130 00",
        by=f"user:{user_id}", named_from=NamedFrom(f"{MARK}-network", f"{MARK} browser"), **given,
    )  # fmt: skip
    stripe_id = set_payee(session, rail="stripe", destination=ACCOUNT, by="cli", **given)
    session.get_one(PayeeAccount, stripe_id).state = {"bank_masked": MARK}
    stop(session, payee_id=payee_id, now=world.now)
    lift(session, affiliate_id=affiliate_id, outcome=Outcome.KEPT, by="user:1", why=f"{MARK} rang",
         now=world.now)  # fmt: skip
    session.add(
        PayeeOnboarding(
            affiliate_id=affiliate_id, rail="stripe", number=1, idempotency_key="acct:1",
            params={"country": MARK}, asked_by=f"user:{user_id}", asked_at=begun, account=ACCOUNT,
            ended_at=begun,
        )
    )  # fmt: skip
    session.add(
        SeenAccount(rail="stripe", id=ACCOUNT, ready=False, disabled_reason=MARK, due=MARK,
                    asked_at=begun)
    )  # fmt: skip
    session.add(EventCursor(rail="stripe", account=ACCOUNT, listed_until=begun))
    session.add(
        SeenBankPayout(
            rail="stripe", id="po_1", account=ACCOUNT, amount_micros=1, currency="RUB",
            status="failed", failure=MARK, arrives_at=begun, created_at=begun, seen_at=begun,
        )
    )  # fmt: skip
    set_tax_data(
        session, affiliate_id=affiliate_id, agreed=True, by_user_id=user_id, now=world.now,
        given=TaxData("self_employed", f"{NAME} Leaf", f"{MARK} street", "LV", "010190-11111",
                      "not_registered", "", ""),
    )  # fmt: skip


def _finance(world: World, enrollment_id: int) -> None:
    session, one = world.session, world._finance()
    two = hire(world, "finance", name="second.finance").user_id
    for verb in (hold_payouts, lift_hold):
        verb(session, enrollment_id=enrollment_id, by_user_id=one, why=f"{MARK} was asked",
             now=world.now)  # fmt: skip
    made = adjust.propose(
        session, enrollment_id=enrollment_id, kind=AdjustmentKind.ADJUST, amount=world.rub("1.00"),
        reason=Reason.AGREED_BONUS, note=f"{MARK} waited", by_user_id=one, now=world.now,
    )  # fmt: skip
    adjust.confirm(session, adjustment_id=made, by_user_id=two, now=world.now)


def _cases(world: World, user_id: int, enrollment_id: int) -> None:
    session = world.session
    manager = hire(world, "manager", name="decider").user_id
    for number in ("X-1", "X-2"):
        asked = ask_about_order(
            session, enrollment_id=enrollment_id, order_id=number, said=f"{MARK} misses it",
            day=(world.now - timedelta(days=2)).date(), by=user_id, now=world.now,
        )  # fmt: skip
        assert asked.claim_id is not None
        add_own_note(
            session, claim_id=asked.claim_id, enrollment_id=enrollment_id, text=f"{MARK} again",
            by=user_id, now=world.now,
        )  # fmt: skip
        add_staff_note(
            session, claim_id=asked.claim_id, text=f"Is it {MARK}?", for_affiliate=True,
            by=manager, now=world.now,
        )  # fmt: skip
        if number == "X-1":
            decline(
                session, claim_id=asked.claim_id, reason=f"Not {MARK}'s", by=manager, now=world.now
            )


def holding(world: World, word: str) -> set[str]:
    """Every `table.column` of the database that holds the word, partitions under their table."""
    session = world.session
    session.rollback()
    columns = session.execute(
        sa.text(
            """
            SELECT table_name, column_name, data_type FROM information_schema.columns
             WHERE table_schema = 'public'
               AND data_type IN ('text', 'jsonb', 'json', 'bytea', 'character varying', 'ARRAY')
            """
        )
    ).all()
    found = set()
    for table, column, kind in columns:
        text = f"encode(\"{column}\", 'escape')" if kind == "bytea" else f'"{column}"::text'
        asked = f'SELECT count(*) FROM "{table}" WHERE lower({text}) LIKE :word'
        if session.scalar(sa.text(asked), {"word": f"%{word.lower()}%"}):
            found.add(f"{'clicks' if table.startswith('clicks_') else table}.{column}")
    return found


def books(session: Session) -> dict[str, list[str]]:
    """The rows of the books as they are to the byte."""
    session.rollback()
    tables = session.scalars(
        sa.text(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' "
            "AND table_name LIKE ANY(:names) ORDER BY 1"
        ),
        {"names": list(BOOKS)},
    ).all()
    assert {"ledger_entries", "ledger_seals", "commissions", "payout_items"} <= set(tables)
    return {
        table: list(session.scalars(sa.text(f'SELECT t::text FROM "{table}" t ORDER BY 1')))
        for table in tables
    }


def broken(world: World) -> list[str]:
    with world.app.app_context():
        world.session.rollback()
        found = run(world.session, registered(world.app), real_now=real_now())
        world.session.rollback()
    return [str(each) for each in found if each.check.severity is Severity.INTEGRITY]
