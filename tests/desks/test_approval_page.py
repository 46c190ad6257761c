"""The approval on the batch's page: second factor, signatures, rules, races, who came late."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from staff import Staff, earned, hire, two_in_a_batch, url_of, url_of_item
from world import World

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.people import grants, ids, second_factor, totp, users
from affiliate.people.api_keys import SCOPES, create_key
from affiliate.people.models import Grant, SecondFactor, UserSession
from payouts.batches.models import BatchSignature, PayoutBatch, PayoutHold, PayoutItem
from payouts.policies.change import change_policy
from payouts.policies.rules import Policy
from wsgi import create_app


@pytest.fixture(autouse=True)
def no_csrf(app: Flask) -> None:
    """These tests are about the desk; the matrix has the ones about forged forms."""
    app.config["WTF_CSRF_ENABLED"] = False


def stale(world: World, **age: float) -> None:
    """Every sign-in gave its second factor so long ago."""
    world.session.execute(
        sa.update(UserSession).values(factor_at=clock.real_now() - timedelta(**age))
    )
    world.session.commit()


def give_app(world: World, who: Staff) -> None:
    with world.app.app_context():
        second_factor.begin_app(world.session, user_id=who.user_id)
        world.session.get_one(SecondFactor, who.user_id).totp_since = world.now
        world.session.commit()


def code_of(world: World, who: Staff) -> str:
    world.session.rollback()
    row = world.session.get_one(SecondFactor, who.user_id, populate_existing=True)
    with world.app.app_context():
        return totp.code_for(row.totp_secret or "", after=row.totp_counter, at=clock.real_now())


def rules_of(world: World, wanted: Policy) -> None:
    with world.app.app_context():
        change_policy(
            world.session, program_id=world.program.id, wanted=wanted, why="as agreed",
            by_user_id=hire(world, "owner").user_id, now=world.now,
        )  # fmt: skip
        world.session.commit()


def fresh(world: World, batch: PayoutBatch) -> PayoutBatch:
    world.session.rollback()
    return world.session.get_one(PayoutBatch, batch.id, populate_existing=True)


def first_item(world: World, batch: PayoutBatch) -> PayoutItem:
    return world.session.scalars(
        sa.select(PayoutItem)
        .where(PayoutItem.batch_id == batch.id)
        .order_by(PayoutItem.id)
        .limit(1)
    ).one()


def test_an_old_second_factor_is_asked_for_in_the_form_itself(world: World) -> None:
    batch, finance = two_in_a_batch(world), hire(world, "finance")
    give_app(world, finance)
    stale(world, minutes=5, seconds=1)
    assert 'name="code"' in finance.client.get(url_of(batch)).text
    path = f"{url_of(batch)}/approval"
    without = finance.client.post(path, data={"hash": batch.hash})
    assert without.status_code == 403
    assert "Type a code of your app" in without.text
    wrong = finance.client.post(path, data={"hash": batch.hash, "code": "000000"})
    assert wrong.status_code == 422
    assert "This code is not right" in wrong.text
    assert fresh(world, batch).status == "frozen"
    done = finance.client.post(path, data={"hash": batch.hash, "code": code_of(world, finance)})
    assert done.status_code == 303
    assert fresh(world, batch).status == "approved"
    signature = world.session.scalars(sa.select(BatchSignature)).one()
    assert signature.factor_at is not None
    assert clock.real_now() - signature.factor_at < timedelta(minutes=1)


def test_within_five_minutes_it_is_not_asked_for_again(world: World) -> None:
    batch, finance = two_in_a_batch(world), hire(world, "finance")
    stale(world, minutes=4, seconds=50)
    assert 'name="code"' not in finance.client.get(url_of(batch)).text
    done = finance.client.post(f"{url_of(batch)}/approval", data={"hash": batch.hash})
    assert done.status_code == 303


def test_a_good_code_approves_no_other_batch_than_the_one_that_was_seen(world: World) -> None:
    batch, finance = two_in_a_batch(world), hire(world, "finance")
    give_app(world, finance)
    stale(world, minutes=6)
    sent = {"hash": "0" * 64, "code": code_of(world, finance)}
    refused = finance.client.post(f"{url_of(batch)}/approval", data=sent)
    assert refused.status_code == 409
    assert fresh(world, batch).status == "frozen"
    stale(world, minutes=6)
    again = finance.client.post(f"{url_of(batch)}/approval", data={**sent, "hash": batch.hash})
    assert again.status_code == 422, "the code was used up all the same"


@pytest.mark.abuse("A36")
def test_a_code_that_stands_twice_is_refused(world: World) -> None:
    batch, finance = two_in_a_batch(world), hire(world, "finance")
    twice = {"hash": batch.hash, "code": ["123456", "654321"]}
    assert finance.client.post(f"{url_of(batch)}/approval", data=twice).status_code == 400


@pytest.mark.parametrize("path", ["payment", "attempts"])
def test_what_a_person_says_of_a_payout_needs_a_fresh_second_factor(
    world: World, path: str
) -> None:
    batch, finance = two_in_a_batch(world), hire(world, "finance")
    finance.client.post(f"{url_of(batch)}/approval", data={"hash": batch.hash})
    item = world.session.scalars(
        sa.select(PayoutItem).where(PayoutItem.batch_id == batch.id)
    ).first()
    assert item is not None
    stale(world, minutes=6)
    sent = {"reference": "PP 1", "reason": "looked it up"}
    led = finance.client.post(f"{url_of_item(item)}/{path}", data=sent)
    assert (led.status_code, led.location.partition("?")[0]) == (303, "/confirm-factor")
    world.session.rollback()
    assert world.session.get_one(PayoutItem, item.id).status == "queued"


def test_no_api_key_approves_whatever_its_scopes(world: World) -> None:
    batch = two_in_a_batch(world)
    with world.app.app_context():
        _key, whole = create_key(
            world.session, program_id=world.program.id, scopes=SCOPES, name="all", by=None,
            now=clock.real_now(),
        )  # fmt: skip
        world.session.commit()
    machine = world.app.test_client()
    headers = {"Authorization": f"Bearer {whole}"}
    page = machine.post(f"{url_of(batch)}/approval", data={"hash": batch.hash}, headers=headers)
    assert (page.status_code, page.location.partition("?")[0]) == (303, "/sign-in")
    for rule in world.app.url_map.iter_rules():
        # An application of a person is approved by key, money never.
        of_money = not rule.rule.startswith("/api/v1/applications/")
        assert not (rule.rule.startswith("/api/") and "approv" in rule.rule and of_money), rule.rule
    assert fresh(world, batch).status == "frozen"


def test_two_sign_and_the_page_says_who_has(world: World) -> None:
    rules_of(world, Policy(second_signature_above=world.rub("400.00")))
    batch = two_in_a_batch(world)
    fedor, galina = hire(world, "finance", name="fedor"), hire(world, "finance", name="galina")
    before = fedor.client.get(url_of(batch)).text
    assert "0 of 2 signatures" in before
    assert "Above 400.00\N{NO-BREAK SPACE}RUB two people sign." in before
    path = f"{url_of(batch)}/approval"
    first = fedor.client.post(path, data={"hash": batch.hash}, follow_redirects=True)
    assert "Signed: 1 of 2 signatures" in first.text
    assert "You have signed it" in first.text
    assert "Approve 2 payouts" not in first.text
    again = fedor.client.post(path, data={"hash": batch.hash})
    assert again.status_code == 409
    assert "another person" in again.text
    page = galina.client.get(url_of(batch)).text
    assert "1 of 2 signatures" in page
    assert "Fedor" in page
    done = galina.client.post(path, data={"hash": batch.hash}, follow_redirects=True)
    assert "Approved. Pay each" in done.text
    assert "2 of 2 signatures" in done.text
    late = fedor.client.post(path, data={"hash": batch.hash})
    assert late.status_code == 409
    assert "Galina approved this batch on" in late.text


def test_one_person_mode_is_named_on_the_batch_before_and_after(world: World) -> None:
    rules_of(world, Policy(one_person=True))
    batch, finance = two_in_a_batch(world), hire(world, "finance")
    item = world.session.scalars(
        sa.select(PayoutItem).where(PayoutItem.batch_id == batch.id)
    ).first()
    assert item is not None
    finance.client.post(f"{url_of_item(item)}/hold", data={"reason": "later"})
    page = finance.client.get(url_of(batch)).text
    assert "One-person mode: whoever made it may approve it" in page
    batch = fresh(world, batch)
    done = finance.client.post(
        f"{url_of(batch)}/approval", data={"hash": batch.hash}, follow_redirects=True
    )
    assert "whoever made it has approved it. No second person looked." in done.text


@pytest.mark.abuse("A25")
def test_a_disabled_person_and_a_role_taken_back_approve_nothing(world: World) -> None:
    batch = two_in_a_batch(world)
    disabled, revoked = hire(world, "finance", name="d"), hire(world, "finance", name="r")
    for each in (disabled, revoked):
        assert each.client.get(url_of(batch)).status_code == 200
    with world.app.app_context():
        users.disable_user(world.session, user_id=disabled.user_id, by=None, now=world.now)
        grant = world.session.scalars(
            sa.select(Grant).where(Grant.user_id == revoked.user_id)
        ).one()
        grants.revoke_role(world.session, grant_id=grant.id, by=None, now=world.now)
        world.session.commit()
    path, sent = f"{url_of(batch)}/approval", {"hash": batch.hash}
    led = disabled.client.post(path, data=sent)
    assert (led.status_code, led.location.partition("?")[0]) == (303, "/sign-in")
    assert revoked.client.post(path, data=sent).status_code == 403
    assert fresh(world, batch).status == "frozen"


BUSY = 503
"""Waited longer for the batch than a request may (affiliate.core.db.LOCK_TIMEOUT_MS)."""


def at_once(requests: list[tuple[FlaskClient, str, dict[str, str]]]) -> Counter[int]:
    """Every request at the same moment; the statuses that came back."""
    barrier, came = threading.Barrier(len(requests)), list[int]()

    def send(client: FlaskClient, path: str, data: dict[str, str]) -> None:
        barrier.wait()
        status = BUSY
        while status == BUSY:  # On a loaded machine; a person who is told so tries again.
            status = client.post(path, data=data).status_code
        came.append(status)

    threads = [threading.Thread(target=send, args=each) for each in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Counter(came)


def test_a_double_click_approves_once(world: World) -> None:
    batch, finance = two_in_a_batch(world), hire(world, "finance")
    twin = world.sign_in(finance.user_id)
    sent = {"hash": batch.hash or ""}
    path = f"{url_of(batch)}/approval"
    came = at_once([(finance.client, path, sent), (twin, path, sent)])
    assert came == {303: 1, 409: 1}
    assert world.session.scalar(sa.select(sa.func.count()).select_from(BatchSignature)) == 1


def test_a_double_click_with_one_code_says_the_same(world: World) -> None:
    """The twin's code is used up by then; what counts is that the session has shown one."""
    batch, finance = two_in_a_batch(world), hire(world, "finance")
    give_app(world, finance)
    stale(world, minutes=6)
    twin = world.app.test_client()
    cookie = finance.client.get_cookie("kopeck")
    assert cookie is not None
    twin.set_cookie("kopeck", cookie.value)
    sent = {"hash": batch.hash or "", "code": code_of(world, finance)}
    path = f"{url_of(batch)}/approval"
    assert at_once([(finance.client, path, sent), (twin, path, sent)]) == {303: 1, 409: 1}


def test_fifty_approvals_of_two_people_over_http_have_one_outcome(world: World) -> None:
    """Fifty requests at work at once need fifty connections, as several web processes have."""
    world.app = create_app(replace(world.settings, database_pool_size=25))
    world.app.config["WTF_CSRF_ENABLED"] = False
    batch = two_in_a_batch(world)
    fedor, galina = hire(world, "finance", name="fedor"), hire(world, "finance", name="galina")
    path, sent = f"{url_of(batch)}/approval", {"hash": batch.hash or ""}
    browsers = [world.sign_in((fedor, galina)[n % 2].user_id) for n in range(50)]
    came = at_once([(browser, path, sent) for browser in browsers])
    assert came == {303: 1, 409: 49}
    assert world.session.scalar(sa.select(sa.func.count()).select_from(BatchSignature)) == 1
    assert fresh(world, batch).status == "approved"
    told = fedor.client.post(path, data=sent).text
    assert "approved this batch on" in told
    with world.app.app_context():
        db.session.remove()
        db.engine.dispose()


@pytest.mark.parametrize("turn", range(3))
def test_approval_cancellation_and_hold_over_http_leave_one_story(world: World, turn: int) -> None:
    batch = two_in_a_batch(world)
    fedor, galina, vera = (hire(world, "finance", name=name) for name in ("f", "g", "v"))
    item = world.session.scalars(
        sa.select(PayoutItem).where(PayoutItem.batch_id == batch.id)
    ).first()
    assert item is not None
    deeds = [
        (fedor.client, f"{url_of(batch)}/approval", {"hash": batch.hash or ""}),
        (galina.client, f"{url_of(batch)}/cancellation", {"reason": "wrong week"}),
        (vera.client, f"{url_of_item(item)}/hold", {"reason": "asks for a call"}),
    ]
    came = at_once(deeds[turn:] + deeds[:turn])
    assert set(came) <= {303, 409}
    batch = fresh(world, batch)
    assert batch.status in ("approved", "cancelled")
    assert (batch.approved_at is None) == (batch.cancelled_at is not None)


def test_payouts_are_stopped_by_finance_and_lifted_by_an_owner_alone(world: World) -> None:
    batch = two_in_a_batch(world)
    finance, owner = hire(world, "finance"), hire(world, "owner")
    stopped = finance.client.post(
        "/finance/locks", data={"reason": "Bank holiday."}, follow_redirects=True
    )
    assert "A person stopped payouts. Bank holiday." in stopped.text
    refused = finance.client.post(f"{url_of(batch)}/approval", data={"hash": batch.hash})
    assert refused.status_code == 409
    assert finance.client.post("/finance/locks/lifting", data={"reason": "x"}).status_code == 403
    stale(world, minutes=6)
    led = owner.client.post("/finance/locks/lifting", data={"reason": "over"})
    assert led.location.startswith("/confirm-factor")
    stale(world, minutes=1)
    silent = owner.client.post("/finance/locks/lifting", data={"reason": " "})
    assert silent.status_code == 422
    lifted = owner.client.post(
        "/finance/locks/lifting", data={"reason": "over"}, follow_redirects=True
    )
    assert "Payouts are unlocked." in lifted.text
    done = finance.client.post(f"{url_of(batch)}/approval", data={"hash": batch.hash})
    assert done.status_code == 303


@pytest.mark.abuse("A25")
@pytest.mark.parametrize("what", ["attempts", "payment", "release", "lifting"])
def test_what_lets_money_go_once_more_asks_for_a_second_factor_again(
    world: World, what: str
) -> None:
    """A new attempt, a payment made elsewhere, an account that changed or was disowned."""
    batch, finance = two_in_a_batch(world), hire(world, "finance")
    item = world.session.scalars(
        sa.select(PayoutItem).where(PayoutItem.batch_id == batch.id).order_by(PayoutItem.id)
    ).first()
    assert item is not None
    path = f"{url_of_item(item)}/{what}"
    if what == "lifting":
        path = f"/finance/payees/{ids.public(item.enrollment_id)}/lifting"
    stale(world, minutes=6)
    led = finance.client.post(path, data={"reason": "x", "reference": "x", "outcome": "kept"})
    assert led.location.startswith("/confirm-factor")


@pytest.mark.abuse("A25")
def test_a_hold_is_lifted_by_who_has_just_given_the_password(world: World) -> None:
    earned(world, "Anna")
    finance = hire(world, "finance")
    public = ids.public(world.people["Anna"].enrollment.id)
    held = finance.client.post(f"/finance/affiliates/{public}/hold", data={"reason": "Odd."})
    assert held.status_code == 303
    long_ago = clock.real_now() - timedelta(days=1)
    world.session.execute(sa.update(UserSession).values(fresh_at=long_ago))
    world.session.commit()
    led = finance.client.post(f"/finance/affiliates/{public}/hold-end", data={"reason": "Known."})
    assert led.location.startswith("/confirm-password")
    assert world.session.scalars(sa.select(PayoutHold.lifted_at)).one() is None


def test_a_withdrawal_that_the_rule_left_alone_says_why(world: World) -> None:
    earned(world, "Anna")
    asked = world.withdraw("Anna", "1.00")
    batch = world.session.get_one(PayoutBatch, asked.batch_id)
    batch.not_automatic = "first_payment"
    world.session.commit()
    page = hire(world, "finance").client.get(url_of(batch)).text
    assert "A person decides here: it is the affiliate&#39;s first payout." in page


def test_a_session_in_which_none_was_given_meets_a_page_that_leads_to_it(world: World) -> None:
    batch, finance = two_in_a_batch(world), hire(world, "finance")
    world.session.execute(sa.update(UserSession).values(factor_at=None))
    world.session.commit()
    refused = finance.client.get(url_of(batch))
    assert refused.status_code == 403
    assert refused.mimetype == "text/html"
    assert "Finance and owners work with a second factor." in refused.text
    assert "/profile/second-factor?next=" in refused.text
    give_app(world, finance)
    assert "/confirm-factor?next=" in finance.client.get(url_of(batch)).text
    assert finance.client.post(f"{url_of(batch)}/approval").status_code == 403


def test_of_two_batches_each_is_bound_to_its_own_hash(world: World) -> None:
    first = two_in_a_batch(world)
    earned(world, "Vera", "900.00")
    asked = world.withdraw("Vera", "1.00")
    other = world.session.get_one(PayoutBatch, asked.batch_id)
    finance = hire(world, "finance")
    crossed = finance.client.post(f"{url_of(first)}/approval", data={"hash": other.hash})
    assert crossed.status_code == 409
    assert fresh(world, first).status == "frozen"
