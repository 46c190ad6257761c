"""Groups of affiliates with terms of their own, and notes for colleagues."""

from __future__ import annotations

import html
import threading
from typing import Any

import pytest
import sqlalchemy as sa
from builders import terms_document
from flask import Flask
from sqlalchemy.orm import sessionmaker
from staff import Staff, hire
from world import DAY, Person, World

from affiliate.core.audit import AuditEntry
from affiliate.core.errors import Invalid, NotFound
from affiliate.core.money import Money
from affiliate.people import groups
from affiliate.people import ids as people_ids
from affiliate.people.groups import GroupTaken, TooManyGroups, add_note, create_group
from affiliate.people.models import AffiliateGroup, EnrollmentNote
from affiliate.programs.announcements import announce
from payouts.commissions.models import Commission
from tracker.attribution.subject import REFERENCE
from tracker.orders.models import Order


@pytest.fixture(autouse=True)
def no_csrf(app: Flask) -> None:
    """These tests are about the desk; the matrix has the ones about forged forms."""
    app.config["WTF_CSRF_ENABLED"] = False


@pytest.fixture
def manager(world: World) -> Staff:
    return hire(world, "manager")


def page_of(person: Person) -> str:
    return f"/manage/affiliates/{people_ids.public(person.enrollment.id)}"


def group_named(world: World, name: str) -> AffiliateGroup | None:
    world.session.rollback()
    return world.session.scalar(sa.select(AffiliateGroup).where(AffiliateGroup.name == name))


def earned_by(world: World, order: Order) -> str:
    micros = world.session.scalar(
        sa.select(Commission.amount_micros).where(
            Commission.reference == f"{REFERENCE}{order.id}", Commission.level == 1
        )
    )
    return Money(micros or 0, "RUB").decimal


def make(manager: Staff, name: str) -> Any:
    return manager.client.post("/manage/groups?program=demo", data={"name": name})


def test_a_group_is_made_filled_shown_and_searched_by(world: World, manager: Staff) -> None:
    anna, boris = world.affiliate("Anna"), world.affiliate("Boris")
    assert make(manager, "  press ").status_code == 303
    group = group_named(world, "press")
    assert group is not None
    answer = manager.client.post(f"{page_of(anna)}/group", data={"group": str(group.id)})
    assert answer.status_code == 303
    page = html.unescape(manager.client.get(page_of(anna)).text)
    assert "changed the group" in page
    assert "<dd>press</dd>" in page
    listed = manager.client.get(f"/manage/affiliates?group={group.id}").text
    assert page_of(anna) in listed
    assert page_of(boris) not in listed
    assert (
        '<td class="num" data-label="Affiliates" data-sort="1">1</td>'
        in manager.client.get("/manage/groups").text
    )
    assert manager.client.post(f"{page_of(anna)}/group", data={"group": ""}).status_code == 303
    world.session.expire_all()
    assert anna.enrollment.group_id is None
    entry = world.session.scalars(
        sa.select(AuditEntry).where(AuditEntry.action == "enrollment.set_group")
    ).all()[-1]
    assert (entry.old, entry.new) == ({"group": "press"}, {"group": None})


def test_terms_of_a_group_hold_from_the_next_order_on(world: World, manager: Staff) -> None:
    anna = world.affiliate("Anna")
    document = terms_document()
    document["commission"]["rules"] = [
        {"name": "Press", "when": {"groups": ["press"]},
         "earns": {"kind": "percent", "rate_ppm": 150_000}}
    ]  # fmt: skip
    with world.app.app_context():
        announce(
            world.session, program_id=world.program.id, document=document,
            effective_at=world.now - 2 * DAY, by=None, now=world.now - 40 * DAY,
        )  # fmt: skip
    world.session.commit()
    before = world.sale("Anna", "100.00", days_ago=1)
    make(manager, "press")
    group = group_named(world, "press")
    assert group is not None
    manager.client.post(f"{page_of(anna)}/group", data={"group": str(group.id)})
    after = world.sale("Anna", "100.00", days_ago=0.5)
    assert [earned_by(world, order) for order in (before, after)] == ["10.00", "15.00"]


@pytest.mark.parametrize("name", ["", " ", "x" * 61, "a\u202eb"])
def test_a_name_that_is_none_is_refused(world: World, manager: Staff, name: str) -> None:
    answer = make(manager, name)
    assert answer.status_code == 422
    assert "A name has 1 to 60 characters." in answer.text
    assert world.session.scalar(sa.select(sa.func.count()).select_from(AffiliateGroup)) == 0


def test_names_differ_by_more_than_case_and_groups_end_somewhere(
    world: World, manager: Staff, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(manager, "press")
    answer = make(manager, "Press")
    assert answer.status_code == GroupTaken.status
    assert "has a group of this name already" in answer.text
    monkeypatch.setattr(groups, "GROUPS_MAX", 1)
    with pytest.raises(TooManyGroups):
        create_group(world.session, program_id=world.program.id, name="b", by=None, now=world.now)
    world.session.rollback()
    with pytest.raises(NotFound):
        create_group(world.session, program_id=10**9, name="b", by=None, now=world.now)


def test_two_at_once_make_one_group(world: World, engine: sa.Engine) -> None:
    program_id, now, ended = world.program.id, world.now, []

    def run() -> None:
        with sessionmaker(engine)() as own:
            try:
                create_group(own, program_id=program_id, name="press", by=None, now=now)
                own.commit()
                ended.append("made")
            except GroupTaken:
                ended.append("taken")

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == ["made", "taken", "taken", "taken"]


def test_another_programs_group_and_garbage_are_not_there(world: World, manager: Staff) -> None:
    anna = world.affiliate("Anna")
    foreign = create_group(
        world.session, program_id=world.euros.id, name="euro", by=None, now=world.now
    )
    world.session.commit()
    for value in (str(foreign.id), "999999", "x", "-1", "٣", "9" * 30):
        answer = manager.client.post(f"{page_of(anna)}/group", data={"group": value})
        assert answer.status_code == 404, value
    assert manager.client.get(f"/manage/affiliates?group={foreign.id}").status_code == 404
    world.session.expire_all()
    assert anna.enrollment.group_id is None


def test_a_note_is_for_colleagues_alone_and_cannot_script(world: World, manager: Staff) -> None:
    anna = world.affiliate("Anna")
    text = "Called.\n<script>alert(1)</script>"
    answer = manager.client.post(f"{page_of(anna)}/notes", data={"text": text})
    assert answer.status_code == 303
    page = manager.client.get(page_of(anna)).text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page
    assert "Manager" in page
    for path in ("/account/", "/account/rules", "/profile"):
        assert "Called." not in anna.client.get(path).text
    curator = hire(world, "curator")
    assert (
        curator.client.post(f"{page_of(anna)}/notes", data={"text": "Second."}).status_code == 303
    )
    page = manager.client.get(page_of(anna)).text
    assert page.index("Second.") < page.index("Called.")


@pytest.mark.parametrize("text", ["", " \r\n ", "x" * 2_001, "a\0b"])
def test_a_note_that_is_none_is_refused(world: World, manager: Staff, text: str) -> None:
    anna = world.affiliate("Anna")
    answer = manager.client.post(f"{page_of(anna)}/notes", data={"text": text})
    assert answer.status_code in (400, 422)
    world.session.rollback()
    assert world.session.scalar(sa.select(sa.func.count()).select_from(EnrollmentNote)) == 0
    with pytest.raises(Invalid):
        add_note(world.session, enrollment_id=anna.enrollment.id, text=text, by=1, now=world.now)
    with pytest.raises(NotFound):
        add_note(world.session, enrollment_id=10**9, text="x", by=1, now=world.now)


def test_who_may_read_alone_writes_nothing(world: World) -> None:
    anna = world.affiliate("Anna")
    analyst, stranger = hire(world, "analyst"), hire(world, "curator", program=world.euros)
    curator = hire(world, "curator")
    assert analyst.client.post(f"{page_of(anna)}/notes", data={"text": "x"}).status_code == 403
    assert stranger.client.post(f"{page_of(anna)}/notes", data={"text": "x"}).status_code == 404
    assert curator.client.post(f"{page_of(anna)}/group", data={"group": ""}).status_code == 403
    assert make(curator, "press").status_code == 403
    assert "New note" not in analyst.client.get(page_of(anna)).text
