"""The account's page and its ways to Stripe and back, against the real double."""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from staff import earned, hire, url_of_item
from stripe_double import DEADLINE_S, KEY, Double
from werkzeug.test import TestResponse
from world import Person, World

from affiliate.core.audit import AuditEntry
from affiliate.core.clock import real_now
from affiliate.core.config import Settings
from affiliate.core.outbox import Mail
from affiliate.people import addresses, ids
from affiliate.people.models import UserSession
from payouts.batches import jobs
from payouts.batches.models import PayeeAccount, PayoutItem
from payouts.batches.payee_models import PayeeOnboarding, PayeeStop

MONEY = "/account/money"
BEGIN = f"{MONEY}/payee/onboarding"


@pytest.fixture(scope="module")
def shared_double() -> Iterator[Double]:
    folder = Path(tempfile.mkdtemp(prefix="kpk-double-"))
    double = Double(folder)
    yield double
    double.end()
    shutil.rmtree(folder)


@pytest.fixture
def double(shared_double: Double) -> Iterator[Double]:
    yield shared_double
    shared_double.control("DELETE", "/faults")


@pytest.fixture
def settings(settings: Settings, double: Double) -> Settings:
    """As everywhere, and Stripe is the double."""
    return replace(settings, stripe_api_key=KEY, stripe_api_base=double.url)


@pytest.fixture
def anna(world: World) -> Person:
    """Anna, in a program that Stripe pays."""
    person = world.affiliate("Anna")
    world.program.rail = "stripe"
    world.session.commit()
    return person


def send(client: FlaskClient, path: str, page: str = MONEY, **fields: Any) -> TestResponse:
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get(page).text)
    assert found, f"{page} has no form"
    return client.post(path, data={"csrf_token": found[1], **fields})


def text_of(client: FlaskClient, path: str = MONEY) -> str:
    page = client.get(path)
    assert page.status_code == 200, (path, page.status)
    plain = re.sub(r"<[^>]+>", " ", page.text).replace("&#39;", "'")
    return re.sub(r"\s+", " ", plain.replace("\N{NO-BREAK SPACE}", " "))


def at_stripe(url: str, outcome: str) -> str:
    """Press the double's button; the path of ours to which it leads back."""
    page = requests.get(url, timeout=DEADLINE_S).text
    session = page.split('name="session" value="')[1].split('"')[0]
    given = {"session": session, "outcome": outcome}
    done = requests.post(url, data=given, allow_redirects=False, timeout=DEADLINE_S)
    return done.headers["Location"].removeprefix("http://127.0.0.1:8000")


def rows(session: Session) -> list[PayeeAccount]:
    session.expire_all()
    return list(session.scalars(sa.select(PayeeAccount).order_by(PayeeAccount.id)))


def requests_made(double: Double, path: str) -> int:
    return int(double.control("GET", "/requests", query={"method": "POST", "path": path})["count"])


# ---- the walk ----


def test_the_walk_from_nothing_to_ready(anna: Person, session: Session, double: Double) -> None:
    page = anna.client.get(MONEY)
    assert f"form-action 'self' {double.url}" in page.headers["Content-Security-Policy"]
    assert "Set up your payout account with Stripe" in text_of(anna.client)
    away = send(anna.client, BEGIN, country="FR")
    assert away.status_code == 303
    assert away.location.startswith(f"{double.url}/connect/onboarding/")
    assert away.headers["Cache-Control"] == "no-store"
    (row,) = rows(session)
    assert (row.ready_at, row.pays_from, row.named_by) == (None, None, f"user:{anna.user_id}")
    mail = session.scalars(sa.select(Mail).where(Mail.template == "payee_changed")).one()
    assert mail.recipient == "anna@example.com"
    assert "being asked" in text_of(anna.client)
    # The visit alone proves nothing.
    anna.client.get(f"{BEGIN}/return")
    page_text = text_of(anna.client)
    assert "details missing" in page_text
    assert "the bank account that your money goes to" in page_text
    assert rows(session)[0].ready_at is None
    back = at_stripe(away.location, "review")
    assert back == f"{BEGIN}/return?program=demo"
    assert anna.client.get(back).status_code == 303
    assert "Stripe checks what you gave" in text_of(anna.client)
    again = send(anna.client, f"{BEGIN}/link")
    anna.client.get(at_stripe(again.location, "complete"))
    assert "Stripe says that your account is ready." in text_of(anna.client)
    assert rows(session)[0].ready_at is not None
    kept = session.scalars(sa.select(AuditEntry.action)).all()
    assert "payee.ready" in kept
    # The address lets whoever has it act for Anna: it is written nowhere.
    token = again.location.rsplit("/", 1)[1]
    for table in sa.inspect(session.get_bind()).get_table_names():
        found = session.execute(
            sa.text(f'SELECT count(*) FROM "{table}" t WHERE t::text LIKE :token'),
            {"token": f"%{token}%"},
        )
        assert found.scalar() == 0, table


@pytest.mark.parametrize(
    ("outcome", "words", "button"),
    [
        ("refused", "stopped by Stripe", "Set up another account with Stripe"),
        ("leave", "details missing", "Go on at Stripe"),
    ],
)
def test_what_else_can_become_of_it(anna: Person, outcome: str, words: str, button: str) -> None:
    away = send(anna.client, BEGIN, country="FR")
    anna.client.get(at_stripe(away.location, outcome))
    page = text_of(anna.client)
    assert words in page
    assert button in page


def test_a_bank_that_refuses_and_an_account_that_is_gone_are_said_in_words(
    anna: Person, session: Session, double: Double
) -> None:
    away = send(anna.client, BEGIN, country="FR")
    anna.client.get(at_stripe(away.location, "complete"))
    (row,) = rows(session)
    states = {"id": row.destination, "payouts_enabled": False, "bank_status": "errored"}
    double.control("POST", "/accounts", states)
    send(anna.client, f"{BEGIN}/state")
    page = text_of(anna.client)
    assert "your bank refuses" in page
    assert "Go on at Stripe" in page
    row.destination = "acct_gone"
    session.commit()
    send(anna.client, f"{BEGIN}/state")
    assert "you have ended our access to it" in text_of(anna.client)
    answer = send(anna.client, f"{BEGIN}/link")
    assert answer.status_code == 422
    assert "Stripe has closed this account" in answer.text


def test_another_bank_at_stripe_waits_and_the_page_says_how_it_ends(
    anna: Person, world: World, session: Session, double: Double
) -> None:
    away = send(anna.client, BEGIN, country="FR")
    anna.client.get(at_stripe(away.location, "complete"))
    send(anna.client, f"{BEGIN}/state")
    (row,) = rows(session)
    double.control(
        "POST", "/accounts", {"id": row.destination, "bank_number": "GB29 NWBK 6016 1331 9268 19"}
    )
    send(anna.client, f"{BEGIN}/state")
    page = text_of(anna.client)
    assert "with another bank account: its safety wait begins" in page
    assert "The bank account behind it was changed at Stripe" in page
    assert "the bank account was changed at the provider" in page
    assert "bank account …6819" in page
    assert "bank account …3000" in page
    assert "Go back to the account before" not in page
    refused = send(anna.client, "/account/money/payee/former")
    assert refused.status_code == 409
    mail = session.scalars(sa.select(Mail).where(Mail.template == "payee_bank_changed")).one()
    link = re.search(r"/account/disowned/\S+", mail.text)
    assert link
    send(anna.client, link[0], page=link[0])
    manager = hire(world, "manager").client
    public = ids.public(anna.enrollment.id)
    desk = manager.get(f"/manage/affiliates/{public}").text
    assert "bank account …6819" in desk
    assert "Only the bank account behind it was changed" in desk
    assert 'value="put_back"' not in desk


def test_a_used_link_leads_back_and_a_new_one_is_given_to_whoever_is_signed_in(
    anna: Person, world: World, app: Flask, session: Session
) -> None:
    away = send(anna.client, BEGIN, country="FR")
    requests.get(away.location, timeout=DEADLINE_S)
    spent = requests.get(away.location, allow_redirects=False, timeout=DEADLINE_S)
    path = spent.headers["Location"].removeprefix("http://127.0.0.1:8000")
    assert path == f"{BEGIN}/refresh?program=demo"
    fresh = anna.client.get(path, headers={"Sec-Fetch-Site": "cross-site"})
    assert fresh.status_code == 303
    assert "/connect/onboarding/" in fresh.location
    assert fresh.location != away.location
    stranger = app.test_client().get(path)
    assert stranger.location.startswith("/sign-in")
    # Through a form of ours a browser would not go on to Stripe: the button does.
    formed = anna.client.get(path, headers={"Sec-Fetch-Site": "same-origin"})
    assert formed.location.endswith("/account/money#payee")
    boris = world.affiliate("Boris")
    assert boris.client.get(path).location.endswith("/account/money#payee")
    session.execute(sa.update(UserSession).values(fresh_at=real_now() - timedelta(minutes=16)))
    session.commit()
    stale = anna.client.get(path, headers={"Sec-Fetch-Site": "cross-site"})
    assert stale.location.endswith("/account/money#payee")


@pytest.mark.parametrize("country", ["", "RU", "ZZ", "<b>"])
def test_a_country_that_stripe_does_not_serve_is_refused(
    anna: Person, session: Session, country: str
) -> None:
    answer = send(anna.client, BEGIN, country=country)
    assert answer.status_code == 422
    assert "Choose a country of the list." in answer.text
    assert session.scalar(sa.select(sa.func.count()).select_from(PayeeOnboarding)) == 0


@pytest.mark.parametrize(
    "path", [BEGIN, f"{BEGIN}/link", f"{MONEY}/payee/former", f"{MONEY}/payee"]
)
def test_each_change_asks_for_the_password_again(anna: Person, session: Session, path: str) -> None:
    send(anna.client, BEGIN, country="FR")
    session.execute(sa.update(UserSession).values(fresh_at=real_now() - timedelta(minutes=16)))
    session.commit()
    answer = send(anna.client, path, country="FR")
    assert answer.location.startswith("/confirm-password")
    assert len(rows(session)) == 1


def test_another_program_has_no_onboarding(world: World) -> None:
    boris = world.affiliate("Boris")
    assert send(boris.client, BEGIN, country="FR").status_code == 404
    assert boris.client.get(f"{BEGIN}/return").status_code == 404


# ---- once, whatever happens ----


def test_an_answer_that_is_lost_leads_to_the_same_account(
    anna: Person, session: Session, double: Double
) -> None:
    double.fault("accept-then-drop", path="/v1/accounts", method="POST")
    lost = send(anna.client, BEGIN, country="FR")
    assert lost.status_code == 503
    assert "Nothing is lost" in lost.text
    assert rows(session) == []
    # Another country now changes nothing: the first request may have been heard.
    away = send(anna.client, BEGIN, country="DE")
    assert away.status_code == 303
    (row,) = rows(session)
    (intent,) = session.scalars(sa.select(PayeeOnboarding)).all()
    assert intent.account == row.destination
    kept = double.client().v1.accounts.retrieve(row.destination)
    assert kept.country == "FR"
    assert kept.metadata is not None
    assert kept.metadata.to_dict()["affiliate_id"] == str(anna.affiliate_id)


def test_a_double_click_makes_one_account(
    anna: Person, world: World, session: Session, double: Double
) -> None:
    before = requests_made(double, "/v1/accounts")
    clients = [world.sign_in(anna.user_id) for _ in range(3)]
    for client in clients:
        client.get(MONEY)
    answers: list[TestResponse] = []

    def click(client: FlaskClient) -> None:
        answers.append(send(client, BEGIN, country="FR"))

    threads = [threading.Thread(target=click, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} <= {303, 503}
    assert 303 in {answer.status_code for answer in answers}
    assert len(rows(session)) == 1
    assert session.scalar(sa.select(sa.func.count()).select_from(PayeeOnboarding)) == 1
    assert requests_made(double, "/v1/accounts") >= before + 1
    mails = sa.select(sa.func.count()).where(Mail.template == "payee_changed")
    assert session.scalar(mails) == 1


def test_another_account_at_stripe_waits_and_the_one_before_can_be_put_back(
    anna: Person, session: Session
) -> None:
    anna.client.get(at_stripe(send(anna.client, BEGIN, country="FR").location, "complete"))
    (first,) = rows(session)
    away = send(anna.client, BEGIN, country="DE", instead_of=str(first.id))
    anna.client.get(at_stripe(away.location, "complete"))
    page = text_of(anna.client)
    assert "the safety wait goes on" in page
    assert "A safety wait." in page
    assert "named by you" in page
    again = send(anna.client, BEGIN, country="DE", instead_of=str(first.id))
    assert again.status_code == 303
    assert len(rows(session)) == 2  # The same form once more replaces nothing.
    back = send(anna.client, f"{MONEY}/payee/former")
    assert back.status_code == 303
    live = next(row for row in rows(session) if row.replaced_at is None)
    assert (live.destination, live.pays_from) == (first.destination, None)
    assert live.ready_at is not None
    mails = sa.select(sa.func.count()).where(Mail.template == "payee_changed")
    assert session.scalar(mails) == 3
    too_late = send(anna.client, f"{MONEY}/payee/former")
    assert too_late.status_code == 409


def test_whoever_waits_for_money_is_asked_about_by_itself(
    anna: Person, world: World, app: Flask, session: Session, double: Double
) -> None:
    send(anna.client, BEGIN, country="FR")
    (row,) = rows(session)
    double.control("POST", "/accounts", {"id": row.destination, "transfers": "active",
                                         "payouts_enabled": True})  # fmt: skip
    with app.app_context():
        jobs.ask_about_payees()
    assert rows(session)[0].ready_at is None  # Nothing waits for it yet.
    world.sale("Anna", "4100.00", days_ago=30)
    world.release()
    with app.app_context():
        jobs.ask_about_payees()
    assert rows(session)[0].ready_at is not None


def test_a_bank_of_which_no_webhook_told_is_seen_within_a_day(
    anna: Person, world: World, app: Flask, session: Session, double: Double
) -> None:
    away = send(anna.client, BEGIN, country="FR")
    anna.client.get(at_stripe(away.location, "complete"))
    (row,) = rows(session)
    double.control("POST", "/accounts", {"id": row.destination, "bank_number": "GB1234"})
    world.sale("Anna", "4100.00", days_ago=30)
    world.release()
    for hours, count in ((23, 1), (25, 2)):
        session.execute(
            sa.update(PayeeAccount).values(asked_at=real_now() - timedelta(hours=hours))
        )
        session.commit()
        with app.app_context():
            jobs.ask_about_payees()
        assert len(rows(session)) == count
    mails = sa.select(sa.func.count()).where(Mail.template == "payee_bank_changed")
    assert session.scalar(mails) == 1


# ---- by hand: change, disown, lift ----


def stop_path(session: Session, email: str) -> str:
    text = session.scalars(
        sa.select(Mail.text)
        .where(Mail.template == "payee_changed", Mail.recipient == email)
        .order_by(Mail.id.desc())
        .limit(1)
    ).one()
    found = re.search(r"http://127\.0\.0\.1:8000(/account/disowned/\S+)", text)
    assert found
    return found[1]


@pytest.mark.abuse("A29")
def test_a_take_over_is_stopped_by_the_address_before(
    world: World, app: Flask, session: Session
) -> None:
    earned(world, "Anna")
    anna = world.people["Anna"]
    addresses.note_former(session, user_id=anna.user_id, email="anna@old.example", now=world.now)
    session.commit()
    send(anna.client, f"{MONEY}/payee", destination="Thief, GB29 NWBK 6016 1331 9268 19")
    asked = send(anna.client, f"{MONEY}/withdrawals", amount="")
    assert asked.status_code == 303
    assert "The clock begins on" in text_of(anna.client)
    finance = hire(world, "finance")
    (item,) = session.scalars(sa.select(PayoutItem)).all()
    batch = re.search(r"/finance/batches/\w+", finance.client.get(url_of_item(item)).text)
    assert batch
    assert "the account was named lately" in text_of(finance.client, batch[0])

    reader = app.test_client()
    path = stop_path(session, "anna@old.example")
    page = reader.get(path)
    assert page.status_code == 200
    assert "ends in …6819" in text_of(reader, path)
    assert session.scalar(sa.select(sa.func.count()).select_from(PayeeStop)) == 0
    done = send(reader, path, path)
    assert "Payouts are stopped" in done.text
    assert anna.client.get(MONEY).location.startswith("/sign-in")

    assert "says that they have not named their account" in text_of(finance.client, "/finance/")
    public = ids.public(anna.enrollment.id)
    own = f"/finance/payees/{public}"
    assert "Disowned." in text_of(finance.client, own)
    assert "Anna" in text_of(finance.client, "/finance/payees")
    empty = send(finance.client, f"{own}/lifting", own, outcome="put_back", reason=" ")
    assert empty.status_code == 422
    wrong = send(finance.client, f"{own}/lifting", own, outcome="whatever", reason="x")
    assert wrong.status_code == 404
    lifted = send(finance.client, f"{own}/lifting", own, outcome="put_back", reason="By phone.")
    assert lifted.status_code == 303
    live = next(row for row in rows(session) if row.replaced_at is None)
    assert live.destination.startswith("Anna, DE89")
    again = send(reader, path, path)
    assert again.status_code == 409


def test_a_manager_lifts_a_stop_and_sees_the_end_of_a_number_alone(
    world: World, app: Flask, session: Session
) -> None:
    anna = world.affiliate("Anna")
    send(anna.client, f"{MONEY}/payee", destination="Anna, DE89 3704 0044 0532 0130 00")
    reader = app.test_client()
    path = stop_path(session, "anna@example.com")
    send(reader, path, path)
    manager = hire(world, "manager")
    page = f"/manage/affiliates/{ids.public(anna.enrollment.id)}"
    shown = text_of(manager.client, page)
    assert "Disowned." in shown
    assert "…3000" in shown and "DE89 3704" not in shown
    done = send(manager.client, f"{page}/payee/lifting", page, outcome="kept", reason="It was her.")
    assert done.status_code == 303
    assert session.scalars(sa.select(PayeeStop.outcome)).one() == "kept"
    analyst = hire(world, "analyst")
    assert send(
        analyst.client, f"{page}/payee/lifting", "/profile", outcome="kept", reason="x"
    ).status_code in (403, 404)


def test_a_link_that_is_none_is_refused_in_words(world: World, app: Flask) -> None:
    assert world
    answer = app.test_client().get("/account/disowned/nothing")
    assert answer.status_code == 410


def test_a_stranger_of_another_program_sees_no_account(world: World) -> None:
    anna = world.affiliate("Anna")
    other = hire(world, "finance", program=world.euros)
    own = f"/finance/payees/{ids.public(anna.enrollment.id)}"
    assert other.client.get(own).status_code == 404
    assert "Anna" not in text_of(other.client, "/finance/payees")


def test_a_changed_account_lets_finance_release_the_payout_or_not(
    world: World, session: Session
) -> None:
    earned(world, "Anna")
    anna = world.people["Anna"]
    world.withdraw("Anna", None)
    finance = hire(world, "finance")
    (item,) = session.scalars(sa.select(PayoutItem)).all()
    batch = re.search(r"/finance/batches/\w+", finance.client.get(url_of_item(item)).text)
    assert batch
    page = finance.client.get(batch[0]).text
    seen = re.search(r'name="hash" value="(\w+)"', page)
    assert seen
    send(finance.client, f"{batch[0]}/approval", batch[0], hash=seen[1])
    send(anna.client, f"{MONEY}/payee", destination="Anna, GB29 NWBK 6016 1331 9268 19")
    own = url_of_item(item)
    assert "Another account was named" in text_of(finance.client, own)
    assert send(finance.client, f"{own}/release", own, reason="").status_code == 422
    done = send(finance.client, f"{own}/release", own, reason="Both are hers.")
    assert done.status_code == 303
    assert "Let it go" not in text_of(finance.client, own)
    told = session.scalars(
        sa.select(AuditEntry).where(AuditEntry.action == "item.release_to_approved")
    ).one()
    assert told.reason == "Both are hers."
