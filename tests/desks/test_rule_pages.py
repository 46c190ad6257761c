"""The life of the rules on pages: managers draft and announce, affiliates read and answer."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from builders import terms_document
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from staff import Staff, hire
from test_manage import RULES
from world import DAY, Person, World

from affiliate.core.audit import AuditEntry
from affiliate.people.ids import public
from affiliate.people.models import AffiliateGroup
from affiliate.programs import drafts, rule_versions
from affiliate.programs.announcements import Grandfather, announce
from affiliate.programs.models import Program as ProgramRow
from affiliate.programs.models import RuleAnswer, RuleAssignment, RuleDraft, RuleVersion
from tracker.desks.manage.forms import local_text

CUT = terms_document(
    commission={
        "level_1": {"kind": "percent", "rate_ppm": 50_000},
        "level_2": {"of": "sale", "rate_ppm": 20_000},
    }
)


@pytest.fixture(autouse=True)
def _no_tokens(app: Flask) -> None:
    """Forms' tokens are the matrix's matter (test_route_role_matrix.py)."""
    app.config["WTF_CSRF_ENABLED"] = False


@pytest.fixture
def manager(world: World) -> Staff:
    return hire(world, "manager")


@pytest.fixture
def anna(world: World) -> Person:
    return world.affiliate("Anna")


def text_of(client: FlaskClient, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.status_code
    return " ".join(answer.text.split())


def draft(world: World, *, name: str = "Winter") -> RuleDraft:
    with world.app.app_context():
        made = drafts.begin_draft(
            world.session, program_id=world.program.id, name=name, document=CUT, by=None,
            now=world.now,
        )  # fmt: skip
        world.session.commit()
    return made


def coming(world: World, **more: Any) -> RuleVersion:
    """Version 2, five percent, in ten days."""
    with world.app.app_context():
        made = announce(
            world.session, program_id=world.program.id, document=CUT,
            effective_at=world.now + 10 * DAY, by=None, now=world.now, **more,
        )  # fmt: skip
        world.session.commit()
    return made


def local(world: World, moment: datetime) -> str:
    return local_text(moment, world.program.time_zone)


def versions(session: Session, program: ProgramRow) -> list[int]:
    session.rollback()
    found = rule_versions.versions(session, program_id=program.id)
    return [one.number for one in found]


# ---- managers ----


def test_a_draft_is_shown_with_what_it_changes_and_saved_again(
    world: World, manager: Staff, anna: Person
) -> None:
    assert anna.link
    made = draft(world)
    url = f"/manage/rules/drafts/{made.id}"
    page = text_of(manager.client, url)
    assert "5% of every sale" in page
    assert "Until then" in page
    assert "10% of the net amount" in page
    assert "at least 7 days ahead" in page
    assert "Winter" in text_of(manager.client, "/manage/rules")
    done = manager.client.post(url, data={**RULES, "revision": "1"}, follow_redirects=True)
    assert "12.5% of every sale" in done.text
    stale = manager.client.post(url, data={**RULES, "revision": "1"})
    assert stale.status_code == 409
    assert "saved the draft meanwhile" in stale.text
    odd = manager.client.post(url, data={**RULES, "revision": "²"})
    assert odd.status_code == 409
    wrong = manager.client.post(url, data={**RULES, "revision": "2", "window_days": "0"})
    assert wrong.status_code == 422


def test_a_draft_is_announced_from_its_page(world: World, manager: Staff, anna: Person) -> None:
    assert anna.link
    made = draft(world)
    url = f"/manage/rules/drafts/{made.id}/announcement"
    at = (world.now + 9 * DAY).replace(minute=0, second=0)
    sent = {
        "revision": "1", "effective_at": local(world, at), "keep": "until",
        "grandfather_until": local(world, at + 30 * DAY),
    }  # fmt: skip
    done = manager.client.post(url, data=sent, follow_redirects=True)
    assert "Version 2 is announced, in force from" in done.text
    assert "earlier affiliates keep their terms" in done.text
    world.session.rollback()
    version = rule_versions.numbered(world.session, program_id=world.program.id, number=2)
    assert (version.effective_at, version.grandfather_until) == (at, at + 30 * DAY)
    assert version.created_by == manager.user_id
    assert manager.client.get(f"/manage/rules/drafts/{made.id}").status_code == 404
    page = text_of(manager.client, "/manage/rules/versions/2")
    assert "keep their commission terms until" in page
    assert "Nobody has answered" in page


@pytest.mark.parametrize(
    ("changed", "status", "told"),
    [
        ({"effective_at": ""}, 422, "Choose the day and the hour."),
        ({"effective_at": "soon"}, 422, "Choose the day and the hour."),
        ({"effective_at": "0001-01-01T00:00"}, 422, "Choose the day and the hour."),
        ({"effective_at": "2020-01-01T09:00"}, 422, "never in the past"),
        ({"keep": "until"}, 422, "Choose the day and the hour."),
        ({"keep": "until", "grandfather_until": "2020-01-01T09:00"}, 422, "beyond the moment"),
        ({"keep": "perhaps"}, 422, "Not a valid choice"),
        ({"revision": "7"}, 409, "saved the draft meanwhile"),
    ],
)
def test_an_announcement_that_cannot_be_is_refused_on_the_drafts_page(
    world: World, manager: Staff, changed: dict[str, str], status: int, told: str
) -> None:
    made = draft(world)
    url = f"/manage/rules/drafts/{made.id}/announcement"
    sent = {
        "revision": "1", "effective_at": local(world, world.now + 9 * DAY), "keep": "no",
        "grandfather_until": "", **changed,
    }  # fmt: skip
    answer = manager.client.post(url, data=sent)
    assert answer.status_code == status
    assert told in answer.text
    assert versions(world.session, world.program) == [1]


def test_inside_the_notice_period_the_form_says_how_many_days(
    world: World, manager: Staff, anna: Person
) -> None:
    assert anna.link
    made = draft(world)
    sent = {"revision": "1", "effective_at": local(world, world.now + 6 * DAY), "keep": "no"}
    answer = manager.client.post(f"/manage/rules/drafts/{made.id}/announcement", data=sent)
    assert answer.status_code == 422
    assert "told at least 7 days ahead" in answer.text


def test_a_draft_is_discarded(world: World, manager: Staff) -> None:
    made = draft(world)
    done = manager.client.post(f"/manage/rules/drafts/{made.id}/discarding", follow_redirects=True)
    assert "The draft is discarded" in done.text
    assert manager.client.get(f"/manage/rules/drafts/{made.id}").status_code == 404


def test_drafts_and_assignments_of_another_program_are_not_found(
    world: World, anna: Person
) -> None:
    stranger = hire(world, "manager", program=world.euros)
    made = draft(world)
    assigned = _assign(world, hire(world, "manager"), {"affiliate": _id(anna)})
    for path in (
        f"/manage/rules/drafts/{made.id}",
        f"/manage/rules/drafts/{made.id}/discarding",
        f"/manage/rules/drafts/{made.id}/announcement",
        f"/manage/rules/assignments/{assigned}/ending",
    ):
        assert stranger.client.post(path, data=RULES).status_code == 404
    assert stranger.client.get(f"/manage/rules/drafts/{made.id}").status_code == 404


def _id(person: Person) -> str:
    return public(person.enrollment.id)


def _assign(world: World, manager: Staff, whom: dict[str, str], **changed: str) -> int:
    first = rule_versions.numbered(world.session, program_id=world.program.id, number=1)
    sent = {
        "affiliate": "", "group": "0", "version": str(first.id), "begins_at": "", "ends_at": "",
        "reason": "Agreed by mail.", **whom, **changed,
    }  # fmt: skip
    done = manager.client.post("/manage/rules/assignments", data=sent, follow_redirects=True)
    assert "The version is assigned" in done.text, done.text
    world.session.rollback()
    return (
        world.session.scalars(
            sa.select(RuleAssignment.id).order_by(RuleAssignment.id.desc())
        ).first()
        or 0
    )


def test_a_version_is_assigned_and_ended_with_reasons(
    world: World, manager: Staff, anna: Person
) -> None:
    assigned = _assign(world, manager, {"affiliate": _id(anna)})
    page = text_of(manager.client, "/manage/rules/people")
    assert "Agreed by mail." in page
    assert "<strong>assigned</strong>" in page
    url = f"/manage/rules/assignments/{assigned}/ending"
    assert manager.client.post(url, data={"reason": ""}).status_code == 422
    done = manager.client.post(url, data={"reason": "Over."}, follow_redirects=True)
    assert "The assignment has ended" in done.text
    assert manager.client.post(url, data={"reason": "Over."}).status_code == 409
    reasons = world.session.scalars(
        sa.select(AuditEntry.reason).where(AuditEntry.action == "rules.end_assignment")
    )
    assert list(reasons) == ["Over."]


def test_a_version_is_assigned_to_a_group(world: World, manager: Staff, anna: Person) -> None:
    group = AffiliateGroup(program_id=world.program.id, name="Gold")
    world.session.add(group)
    world.session.flush()
    anna.enrollment.group_id = group.id
    world.session.commit()
    _assign(world, manager, {"group": str(group.id)})
    page = text_of(manager.client, "/manage/rules/people")
    assert "Group Gold" in page
    assert "assigned to the group" in page


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"affiliate": "nobody"}, "no affiliate of this id"),
        ({"affiliate": ""}, "Name one affiliate or one group."),
        ({"reason": ""}, "Please fill this in."),
        ({"version": "9"}, "Not a valid choice"),
        ({"begins_at": "2020-01-01T09:00"}, "It begins now or later"),
        ({"begins_at": "soon"}, "Choose the day and the hour."),
        ({"ends_at": "2020-01-01T09:00"}, "It ends after it begins."),
    ],
)
def test_an_assignment_that_cannot_be_is_refused_on_its_form(
    world: World, manager: Staff, anna: Person, changed: dict[str, str], told: str
) -> None:
    first = rule_versions.numbered(world.session, program_id=world.program.id, number=1)
    sent = {
        "affiliate": _id(anna), "group": "0", "version": str(first.id), "begins_at": "",
        "ends_at": "", "reason": "Agreed.", **changed,
    }  # fmt: skip
    answer = manager.client.post("/manage/rules/assignments", data=sent)
    assert answer.status_code == 422
    assert told in answer.text


def test_analysts_read_and_do_nothing(world: World, anna: Person) -> None:
    assert anna.link
    analyst = hire(world, "analyst")
    made = draft(world)
    assert "Winter" in text_of(analyst.client, "/manage/rules")
    assert "Assign a version" not in text_of(analyst.client, "/manage/rules/people")
    assert analyst.client.get(f"/manage/rules/drafts/{made.id}").status_code == 403
    assert "Announced" in text_of(analyst.client, "/manage/rules/versions/1")
    assert analyst.client.get("/manage/rules/versions/2").status_code == 404


# ---- affiliates ----


def test_a_coming_version_is_read_and_accepted(world: World, anna: Person) -> None:
    version = coming(world)
    page = text_of(anna.client, "/account/rules")
    assert "Read it and answer" in page
    assert "You have not answered; silence is acceptance." in page
    page = text_of(anna.client, "/account/rules/2")
    assert "10% of the net amount" in page
    assert "5% of the net amount" in page
    assert "What declining means" in page
    done = anna.client.post(
        "/account/rules/2/answer", data={"answer": "accepted"}, follow_redirects=True
    )
    assert "You accepted version 2." in done.text
    page = text_of(anna.client, "/account/rules/2")
    assert "You agreed to this version on" in page
    assert "Decline and leave" not in page
    fact = world.session.scalars(
        sa.select(RuleAnswer).where(RuleAnswer.rule_version_id == version.id)
    ).one()
    assert (fact.answer, fact.answered_by) == ("accepted", anna.user_id)


def test_declining_is_confirmed_once_its_meaning_was_read(world: World, anna: Person) -> None:
    version = coming(world)
    url = "/account/rules/2/answer"
    answer = anna.client.post(url, data={"answer": "declined"})
    assert answer.status_code == 422
    assert "Tick that you have read what declining means." in answer.text
    assert world.session.scalars(sa.select(RuleAnswer)).all() == []
    sent = {"answer": "declined", "understood": "yes"}
    done = anna.client.post(url, data=sent, follow_redirects=True)
    assert (
        "You declined new rules: your links are credited on your present terms until" in done.text
    )
    world.session.refresh(anna.enrollment)
    assert anna.enrollment.closes_at == version.effective_at + 7 * DAY
    assert "declined" in text_of(hire(world, "manager").client, "/manage/rules/versions/2")


@pytest.mark.parametrize("said", ["", "perhaps"])
def test_an_answer_is_one_of_two(world: World, anna: Person, said: str) -> None:
    coming(world)
    answer = anna.client.post("/account/rules/2/answer", data={"answer": said})
    assert answer.status_code == 422


def test_rules_in_force_are_not_answered(world: World, anna: Person) -> None:
    assert world
    answer = anna.client.post("/account/rules/1/answer", data={"answer": "accepted"})
    assert answer.status_code == 409
    assert (
        anna.client.post("/account/rules/7/answer", data={"answer": "accepted"}).status_code == 404
    )
    assert anna.client.get("/account/rules/7").status_code == 404


def test_whoever_keeps_their_terms_reads_those(world: World, anna: Person) -> None:
    """Announced eleven days ago, in force since yesterday."""
    with world.app.app_context():
        announce(
            world.session, program_id=world.program.id, document=CUT,
            effective_at=world.now - DAY, by=None, now=world.now - 11 * DAY,
            grandfather=Grandfather(world.now + 30 * DAY),
        )  # fmt: skip
        world.session.commit()
    page = text_of(anna.client, "/account/rules")
    assert "Version 2, in force since" in page
    assert "Your commission is reckoned by version 1." in page
    assert "You were here before the terms changed and keep yours until" in page
    assert "10% of the net amount" in page
    assert "Silence: you kept your commission terms." in page
    people = text_of(hire(world, "manager").client, "/manage/rules/people")
    assert "keeps the terms of before, until" in people


def test_silence_is_told_as_acceptance(world: World, anna: Person) -> None:
    with world.app.app_context():
        announce(
            world.session, program_id=world.program.id, document=CUT,
            effective_at=world.now - DAY, by=None, now=world.now - 11 * DAY,
        )  # fmt: skip
        world.session.commit()
    assert "Accepted by silence on" in text_of(anna.client, "/account/rules")


def test_another_programs_affiliate_does_not_find_them(world: World) -> None:
    """An applicant reads that they wait, and answers nothing."""
    waits = world.affiliate("Carl", approved=False)
    coming(world)
    answer = waits.client.post("/account/rules/2/answer", data={"answer": "accepted"})
    assert answer.status_code == 409


def test_days_ahead_are_shown_whole(world: World) -> None:
    assert local_text(world.now.replace(minute=0, second=0), "UTC")[-5:] == (f"{world.now:%H}:00")
    later = world.now.replace(minute=0, second=0) + timedelta(seconds=1)
    assert local_text(later, "UTC") == f"{later + timedelta(hours=1):%Y-%m-%dT%H}:00"
