"""The demo: the same after any number of runs, and never in production."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from moments import NOW
from sqlalchemy.orm import Session
from stripe_double import KEY, Double

from affiliate.core.clock import real_now
from affiliate.core.config import Settings
from affiliate.core.db import Model
from affiliate.links.coupons import owner_of
from affiliate.links.models import Link
from affiliate.people import account, enrollments, sent_keys, users
from affiliate.people.models import Enrollment, Grant
from affiliate.products.models import ProductFeed
from affiliate.programs.models import Program
from affiliate.programs.rule_versions import in_force
from payouts.audit.checks import CHECKS
from payouts.audit.run import run
from payouts.batches.own_accounts import live_own_account
from payouts.batches.payees import payee_of
from payouts.batches.withdraw import withdraw
from payouts.rails.registry import rails
from tracker.cli import seed_command
from tracker.demo import payees
from tracker.demo import seed as seeding
from tracker.demo.people import PEOPLE
from tracker.demo.seed import NoDemoInProduction, seed


@pytest.fixture(autouse=True)
def inside_the_application(app: Flask) -> Iterator[None]:
    with app.app_context():
        yield


def counts(session: Session) -> dict[str, int]:
    return {
        table.name: session.scalar(sa.select(sa.func.count()).select_from(table)) or 0
        for table in Model.metadata.sorted_tables
    }


def sign_ins(settings: Settings) -> dict[str, dict[str, str]]:
    rows = json.loads((settings.data_dir / "demo.json").read_text())
    return {row["email"]: row for row in rows}


def test_a_second_seed_changes_nothing(session: Session, settings: Settings) -> None:
    seed(session, settings=settings, now=NOW)
    session.commit()
    before, signs = counts(session), sign_ins(settings)
    key = (settings.data_dir / "shop-api-key").read_text()
    seed(session, settings=settings, now=NOW)
    session.commit()
    assert counts(session) == before
    assert sign_ins(settings) == signs
    assert (settings.data_dir / "shop-api-key").read_text() == key


def test_the_demo_is_what_the_story_needs(session: Session, settings: Settings) -> None:
    seed(session, settings=replace(settings, shop_url="http://localhost:8123"), now=NOW)
    demo = session.scalars(sa.select(Program).where(Program.slug == "demo")).one()
    assert (demo.currency, demo.rail, demo.landing_url) == (
        "RUB",
        "stripe",
        "http://localhost:8123/",
    )
    terms = in_force(session, program_id=demo.id, at=NOW).terms
    assert terms.payout.hold.days == 14
    people = {
        one.email: enrollments.of_user(
            session, user_id=_user_id(session, one.email), program_id=demo.id
        )
        for one in PEOPLE
        if one.affiliate
    }
    anna, boris, vera = people.values()
    assert anna is not None and boris is not None and vera is not None
    assert [anna.status, boris.status, vera.status] == ["active", "active", "applied"]
    assert boris.recruiter_id == anna.id
    assert owner_of(session, program_id=demo.id, code="anna10", at=NOW) == anna.id
    assert set(session.scalars(sa.select(Link.code))) == {"anna", "boris"}
    feed = session.get_one(ProductFeed, demo.id)
    assert (feed.address, feed.next_fetch_at) == ("http://localhost:8123/feed.xml", NOW)
    roles = session.execute(sa.select(Grant.role, sa.func.count()).group_by(Grant.role))
    assert dict(roles.all()) == {
        "finance": 8,
        "manager": 4,
        "curator": 4,
        "analyst": 4,
        "owner": 1,
    }


def test_the_ruble_program_by_bank_file_can_be_paid_at_once(
    session: Session, settings: Settings
) -> None:
    seed(session, settings=settings, now=NOW)
    program = session.scalars(sa.select(Program).where(Program.slug == "demo-bank")).one()
    assert (program.currency, program.rail) == ("RUB", "bank_russia")
    assert live_own_account(session, program_id=program.id, rail=program.rail) is not None
    made = [
        withdraw(
            session, enrollment_id=enrollment.id, amount=None, requested_by=None, by="test",
            rails=rails(settings), now=NOW,
        )
        for enrollment in session.scalars(
            sa.select(Enrollment).where(Enrollment.program_id == program.id)
        )
    ]  # fmt: skip
    assert [each.amount.decimal for each in made] == ["1234.56", "1234.56"]
    assert run(session, CHECKS, real_now=NOW) == []


def test_the_euro_program_pays_by_stripe_and_a_ruble_program_by_hand(
    session: Session, settings: Settings, tmp_path: Path
) -> None:
    double = Double(tmp_path)
    try:
        towards = replace(settings, stripe_api_key=KEY, stripe_api_base=double.url)
        seed(session, settings=towards, now=NOW)
        payees.give_accounts(session, settings=towards, now=NOW)
    finally:
        double.end()
    asked = {}
    for slug in ("demo-europe", "demo-manual"):
        program = session.scalars(sa.select(Program).where(Program.slug == slug)).one()
        made = [
            withdraw(
                session, enrollment_id=enrollment.id, amount=None, requested_by=None, by="test",
                rails=rails(towards), now=NOW,
            )
            for enrollment in session.scalars(
                sa.select(Enrollment)
                .where(Enrollment.program_id == program.id)
                .order_by(Enrollment.id)
            )
        ]  # fmt: skip
        asked[slug] = (program.currency, program.rail, [each.amount.decimal for each in made])
    assert asked == {
        "demo-europe": ("EUR", "stripe", ["61.50", "14.20"]),
        "demo-manual": ("RUB", "manual", ["870.00"]),
    }
    assert run(session, CHECKS, real_now=NOW) == []


def test_a_program_of_an_earlier_version_in_another_currency_stays_as_it_is(
    session: Session, settings: Settings
) -> None:
    earlier = {**seeding._manual(settings), "currency": "EUR"}
    seeding._program(session, settings, earlier, now=NOW)
    seed(session, settings=settings, now=NOW)
    inside = sa.select(sa.func.count(Enrollment.id)).join(
        Program, Program.id == Enrollment.program_id
    )
    assert session.scalar(inside.where(Program.slug == "demo-manual")) == 0
    assert session.scalar(inside.where(Program.slug == "demo-europe")) == 2


def test_sign_ins_and_the_shops_key_work_and_are_for_their_owner_alone(
    session: Session, settings: Settings
) -> None:
    seed(session, settings=settings, now=NOW)
    session.commit()
    for email, row in sign_ins(settings).items():
        assert set(row) == {"who", "email", "password", "url"}
        assert row["url"].startswith(settings.public_url)
        assert account.authenticate(session, email=email, password=row["password"]) is not None
    key = (settings.data_dir / "shop-api-key").read_text().strip()
    identity = sent_keys.authenticate(session, authorization=f"Bearer {key}", now=real_now())
    assert identity.scopes == {"orders:read", "orders:write"}
    for name in ("demo.json", "shop-api-key"):
        assert stat.S_IMODE((settings.data_dir / name).stat().st_mode) == 0o600


def test_lost_files_are_made_again_and_what_they_say_works(
    session: Session, settings: Settings
) -> None:
    seed(session, settings=settings, now=NOW)
    session.commit()
    for name in ("demo.json", "shop-api-key"):
        (settings.data_dir / name).unlink()
    seed(session, settings=settings, now=NOW)
    session.commit()
    row = sign_ins(settings)["anna@demo.example"]
    assert account.authenticate(session, email=row["email"], password=row["password"]) is not None
    key = (settings.data_dir / "shop-api-key").read_text().strip()
    assert sent_keys.authenticate(session, authorization=f"Bearer {key}", now=real_now())


def test_the_shop_may_move_to_another_port(session: Session, settings: Settings) -> None:
    for port in (8123, 8456):
        moved = replace(settings, shop_url=f"http://localhost:{port}")
        seed(session, settings=moved, now=NOW)
    landings = set(session.scalars(sa.select(Program.landing_url)))
    assert landings == {"http://localhost:8456/"}
    assert set(session.scalars(sa.select(ProductFeed.address))) == {
        "http://localhost:8456/feed.xml"
    }


@pytest.mark.abuse("A48")
def test_production_refuses_the_demo(session: Session, production_settings: Settings) -> None:
    with pytest.raises(NoDemoInProduction):
        seed(session, settings=production_settings, now=NOW)
    with pytest.raises(NoDemoInProduction):
        payees.give_accounts(session, settings=production_settings, now=NOW)
    assert session.scalar(sa.select(sa.func.count(Program.id))) == 0


def test_affiliates_get_accounts_at_the_double_once(
    session: Session, settings: Settings, tmp_path: Path
) -> None:
    double = Double(tmp_path)
    try:
        towards = replace(settings, stripe_api_key=KEY, stripe_api_base=double.url)
        seed(session, settings=towards, now=NOW)
        assert payees.wait_for_double(towards, timeout_s=10)
        assert payees.give_accounts(session, settings=towards, now=NOW) == 2
        assert payees.give_accounts(session, settings=towards, now=NOW) == 0
        active = session.scalars(sa.select(Enrollment).where(Enrollment.status == "active"))
        for enrollment in active:
            payee = payee_of(session, affiliate_id=enrollment.affiliate_id, rail="stripe")
            assert payee is not None and payee.ready
            assert payee.destination.startswith("acct_")
    finally:
        double.end()


def test_the_command_says_what_to_do_without_the_double(app: Flask, settings: Settings) -> None:
    answer = app.test_cli_runner().invoke(seed_command, [])
    assert answer.exit_code == 0, answer.output
    assert "kopeck seed --payees" in answer.output
    assert str(settings.data_dir / "demo.json") in answer.output


def _user_id(session: Session, email: str) -> int:
    user = users.find(session, email=email)
    assert user is not None
    return user.id
