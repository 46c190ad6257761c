"""The pages: a person's own, and the manager's; who may, and what is said when it is refused."""

from __future__ import annotations

import html
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from builders import ANSWERS, make_program
from marked import PASSWORD
from world import Person, World

from affiliate.core.clock import real_now
from affiliate.people import grants, ids, passwords
from affiliate.people.models import Affiliate, Enrollment, Passkey, User
from tests.desks.staff import hire

PAGE = "/profile/data"


def text_of(answer: Any) -> str:
    return html.unescape(answer.get_data(as_text=True))


def with_password(world: World, name: str) -> Person:
    person = world.affiliate(name)
    world.session.get_one(User, person.user_id).password = passwords.hashed(PASSWORD)
    world.session.commit()
    return person


def is_erased(world: World, person: Person) -> bool:
    world.session.rollback()
    world.session.expire_all()
    return world.session.get_one(User, person.user_id).erased_at is not None


def erasure_url(person: Person) -> str:
    return f"/manage/affiliates/{ids.public(person.enrollment.id)}/erasure"


def test_a_person_erases_themselves_with_their_password(world: World) -> None:
    anna = with_password(world, "Anna")
    page = text_of(anna.client.get(PAGE))
    assert "No way back" in page and "for 10 years" in page
    assert PAGE in text_of(anna.client.get("/profile"))
    wrong = anna.client.post(f"{PAGE}/erasure", data={"erase-password": "something else here"})
    assert wrong.status_code == 422
    assert "This is not your password." in text_of(wrong)
    empty = anna.client.post(f"{PAGE}/erasure", data={})
    assert (empty.status_code, is_erased(world, anna)) == (422, False)
    done = anna.client.post(f"{PAGE}/erasure", data={"erase-password": PASSWORD})
    assert (done.status_code, done.location, is_erased(world, anna)) == (303, "/", True)
    assert "You are erased and signed out." in text_of(anna.client.get("/"))
    assert anna.client.get(PAGE).status_code == 303


def test_money_in_the_way_is_said_before_and_beside_the_form(world: World) -> None:
    anna = with_password(world, "Anna")
    world.sale("Anna", "100.00", days_ago=2)
    page = text_of(anna.client.get(PAGE))
    assert "Not yet:" in page and "is in its hold period" in page
    refused = anna.client.post(f"{PAGE}/erasure", data={"erase-password": PASSWORD})
    assert refused.status_code == 409
    assert text_of(refused).count("is in its hold period") == 1
    assert not is_erased(world, anna)


def test_leaving_asks_for_the_password_and_is_final(world: World) -> None:
    anna = with_password(world, "Anna")
    refused = anna.client.post(f"{PAGE}/leaving", data={"leave-password": "wrong wrong wrong"})
    assert refused.status_code == 422
    done = anna.client.post(f"{PAGE}/leaving", data={"leave-password": PASSWORD})
    assert (done.status_code, done.location) == (303, PAGE)
    world.session.expire_all()
    assert world.session.get_one(Enrollment, anna.enrollment.id).status == "closed"
    page = text_of(anna.client.get(PAGE))
    assert "You have left." in page and "Leave all programs" not in page
    assert anna.client.get("/account").status_code in (200, 308)


def test_whoever_has_a_second_factor_gives_it(world: World) -> None:
    anna = with_password(world, "Anna")
    world.session.add(
        Passkey(user_id=anna.user_id, credential_id=b"1", public_key=b"1", sign_count=0, name="k",
                created_at=world.now)
    )  # fmt: skip
    world.session.commit()
    with time_machine.travel(real_now() + timedelta(minutes=6), tick=False):
        asked = anna.client.post(f"{PAGE}/erasure", data={"erase-password": PASSWORD})
    assert asked.location.startswith("/confirm-factor")
    assert not is_erased(world, anna)


def test_the_last_owner_is_told_so(world: World) -> None:
    owner = hire(world, "owner")
    world.session.get_one(User, owner.user_id).password = passwords.hashed(PASSWORD)
    world.session.commit()
    refused = owner.client.post(f"{PAGE}/erasure", data={"erase-password": PASSWORD})
    assert refused.status_code == 409
    assert "This is the last owner." in text_of(refused)


def test_a_manager_erases_an_affiliate_who_asked(world: World) -> None:
    anna, manager = world.affiliate("Anna"), hire(world, "manager")
    public = ids.public(anna.enrollment.id)
    assert erasure_url(anna) in text_of(manager.client.get(f"/manage/affiliates/{public}"))
    page = text_of(manager.client.get(erasure_url(anna)))
    assert "Make sure that it is them who ask." in page
    slip = manager.client.post(erasure_url(anna), data={"affiliate": "aff_0000"})
    assert (slip.status_code, is_erased(world, anna)) == (422, False)
    assert "This is not their id." in text_of(slip)
    done = manager.client.post(erasure_url(anna), data={"affiliate": public})
    assert (done.status_code, is_erased(world, anna)) == (303, True)
    shown = text_of(manager.client.get(f"/manage/affiliates/{public}"))
    assert f"Erased affiliate {anna.affiliate_id}" in shown
    assert erasure_url(anna) not in shown
    assert "Change the recruiter" not in shown
    assert "They are erased already." in text_of(manager.client.get(erasure_url(anna)))


def test_a_manager_gives_the_password_again(world: World) -> None:
    anna, manager = world.affiliate("Anna"), hire(world, "manager")
    given = {"affiliate": ids.public(anna.enrollment.id)}
    with time_machine.travel(real_now() + timedelta(minutes=16), tick=False):
        asked = manager.client.post(erasure_url(anna), data=given)
    assert asked.location.startswith("/confirm-password")
    assert not is_erased(world, anna)


@pytest.mark.abuse("A25")
def test_a_manager_erases_nobody_of_other_programs_and_no_colleague(world: World) -> None:
    anna, boris = world.affiliate("Anna"), world.affiliate("Boris")
    manager, owner = hire(world, "manager"), hire(world, "owner")
    with world.app.app_context():
        from affiliate.people import joining

        other = make_program(world.session, now=world.program.created_at, slug="other")
        joining.apply(
            world.session, user_id=anna.user_id, program_id=other.id, name="Anna", answers=ANSWERS,
            now=world.now,
        )  # fmt: skip
        grants.grant_role(
            world.session, user_id=boris.user_id, role="analyst", program_id=world.program.id,
            by=None, now=world.now,
        )  # fmt: skip
        world.session.commit()
    for person in (anna, boris):
        given = {"affiliate": ids.public(person.enrollment.id)}
        refused = manager.client.post(erasure_url(person), data=given)
        assert refused.status_code == 403
        assert "an owner can erase them" in text_of(refused)
        assert not is_erased(world, person)
        assert owner.client.post(erasure_url(person), data=given).status_code == 303
        assert is_erased(world, person)


@pytest.mark.abuse("A24", "A25")
@pytest.mark.parametrize("role", ["curator", "analyst", "finance"])
def test_other_roles_and_other_programs_managers_do_not(world: World, role: str) -> None:
    anna = world.affiliate("Anna")
    given = {"affiliate": ids.public(anna.enrollment.id)}
    assert hire(world, role).client.post(erasure_url(anna), data=given).status_code == 403
    stranger = hire(world, "manager", program=world.euros)
    assert stranger.client.get(erasure_url(anna)).status_code == 404
    assert stranger.client.post(erasure_url(anna), data=given).status_code == 404
    assert anna.client.post(erasure_url(anna), data=given).status_code == 403
    assert world.session.scalars(sa.select(Affiliate.name)).one() == "Anna"
