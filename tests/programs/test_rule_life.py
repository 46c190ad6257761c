"""The life of a version: drafted, announced, told, answered, kept, assigned."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from builders import ANSWERS, make_affiliate, make_program, make_user, terms_document
from flask import Flask
from moments import NOW
from sqlalchemy.orm import Session

from affiliate.core.audit import AuditEntry
from affiliate.core.db import session_for
from affiliate.core.errors import Invalid, NotFound, Refusal
from affiliate.core.outbox import Mail
from affiliate.people import enrollments, joining
from affiliate.people.models import AffiliateGroup, Enrollment
from affiliate.programs import drafts, rule_versions, telling
from affiliate.programs.announcements import Grandfather, announce
from affiliate.programs.answers import (
    AlreadyAnswered,
    AlreadyInForce,
    NotEnrolled,
    answer,
)
from affiliate.programs.assignments import AssignmentOver, assign, end_assignment
from affiliate.programs.commission_versions import commission_version, standings
from affiliate.programs.models import Program, RuleAnswer, RuleDraft, RuleNotice, RuleVersion
from affiliate.programs.programs import update_program
from affiliate.programs.standing import Because, Said
from affiliate.programs.terms_document import dump, load

DAY = timedelta(days=1)
WEEK = 7 * DAY
TICK = timedelta(microseconds=1)
MINUTE = timedelta(minutes=1)
FIVE_PERCENT = terms_document(
    commission={"level_1": {"kind": "percent", "rate_ppm": 50_000}, "level_2": None}
)


@pytest.fixture
def program(app: Flask, session: Session) -> Iterator[Program]:
    """A program of a month ago, in an application context, as mails need it."""
    with app.app_context():
        made = make_program(session, now=NOW - 30 * DAY)
        session.commit()
        yield made


@pytest.fixture
def anna(session: Session, program: Program) -> Enrollment:
    """Let in twenty days ago."""
    made = make_affiliate(session, program, "anna@example.com", now=NOW - 20 * DAY)
    session.commit()
    return made


def next_version(session: Session, program: Program, **changes: Any) -> RuleVersion:
    """Five percent, a week from now."""
    values: dict[str, Any] = {
        "document": FIVE_PERCENT, "effective_at": NOW + WEEK, "by": None, "now": NOW, **changes,
    }  # fmt: skip
    made = announce(session, program_id=program.id, **values)
    session.commit()
    return made


def user_of(session: Session, enrollment: Enrollment) -> int:
    return session.execute(
        sa.text("SELECT user_id FROM affiliates WHERE id = :id"), {"id": enrollment.affiliate_id}
    ).scalar_one()


def say(
    session: Session,
    enrollment: Enrollment,
    version: RuleVersion,
    said: Said,
    *,
    ago: timedelta = DAY,
) -> RuleAnswer:
    """Their answer, by default a day before the version takes effect."""
    made = answer(
        session, enrollment_id=enrollment.id, version_id=version.id, said=said,
        by=user_of(session, enrollment), now=version.effective_at - ago,
    )  # fmt: skip
    session.commit()
    return made


def number_of(session: Session, enrollment: Enrollment, at: Any) -> int:
    """Number of the version by which their commission is reckoned."""
    found = commission_version(session, enrollment_ids=[enrollment.id], at=at)
    return found[enrollment.id].number


def letters(session: Session, template: str) -> list[Mail]:
    query = sa.select(Mail).where(Mail.template == template).order_by(Mail.id)
    return list(session.scalars(query))


def audited(session: Session, action: str) -> AuditEntry:
    return session.scalars(sa.select(AuditEntry).where(AuditEntry.action == action)).one()


def fields(refused: pytest.ExceptionInfo[Invalid]) -> list[tuple[str, str]]:
    return [(error.field, error.code) for error in refused.value.errors]


# ---- the notice period ----


@pytest.mark.parametrize(
    ("ahead", "accepted"),
    [(WEEK, True), (WEEK - MINUTE, True), (WEEK - MINUTE - TICK, False), (timedelta(0), False)],
)
def test_rules_are_announced_a_notice_period_ahead(
    session: Session, program: Program, anna: Enrollment, ahead: timedelta, accepted: bool
) -> None:
    """Within the minute between two clocks; `anna` is enrolled."""
    assert anna.status == "active"
    if accepted:
        assert next_version(session, program, effective_at=NOW + ahead).number == 2
        return
    with pytest.raises(Invalid) as refused:
        next_version(session, program, effective_at=NOW + ahead)
    assert fields(refused) == [("effective_at", "inside_notice_period")]
    assert "at least 7 days ahead" in refused.value.errors[0].message


@pytest.mark.parametrize("status", ["applied", "rejected", "closed"])
def test_where_nobody_is_bound_rules_may_begin_at_once(
    session: Session, program: Program, anna: Enrollment, status: str
) -> None:
    anna.status = status
    session.commit()
    assert next_version(session, program, effective_at=NOW).effective_at == NOW


def test_whoever_is_suspended_is_told_ahead_too(
    session: Session, program: Program, anna: Enrollment
) -> None:
    anna.status = "suspended"
    session.commit()
    with pytest.raises(Invalid):
        next_version(session, program, effective_at=NOW)


def test_the_notice_is_the_programs(session: Session, program: Program, anna: Enrollment) -> None:
    assert anna.id
    update_program(session, program_id=program.id, changes={"notice_days": 30}, by=None, now=NOW)
    with pytest.raises(Invalid, match="30 days ahead"):
        next_version(session, program)
    assert next_version(session, program, effective_at=NOW + 30 * DAY).number == 2


@pytest.mark.parametrize("days", [0, 91, -1])
def test_a_notice_of_no_day_or_of_many_is_refused(
    session: Session, program: Program, days: int
) -> None:
    with pytest.raises(Invalid) as refused:
        update_program(
            session, program_id=program.id, changes={"notice_days": days}, by=None, now=NOW
        )
    assert fields(refused) == [("notice_days", "invalid")]


def test_what_cannot_wait_says_why_and_affiliates_read_it(
    session: Session, program: Program, anna: Enrollment
) -> None:
    assert anna.id
    why = "The law of 1 December forbids the old terms."
    version = next_version(session, program, effective_at=NOW + DAY, urgent_reason=why)
    assert version.urgent_reason == why
    entry = audited(session, "rules.announce")
    assert (entry.reason, entry.scope) == (why, program.id)
    telling.tell(session, now=NOW)
    (letter,) = letters(session, "rules_announced")
    assert why in letter.text
    assert why in letter.html


@pytest.mark.parametrize("reason", ["", "  ", "x" * 1_001])
def test_an_urgent_announcement_without_a_reason_is_refused(
    session: Session, program: Program, anna: Enrollment, reason: str
) -> None:
    assert anna.id
    with pytest.raises(Invalid) as refused:
        next_version(session, program, effective_at=NOW, urgent_reason=reason)
    assert fields(refused) == [("urgent_reason", "length")]


def test_urgent_rules_begin_in_the_past_no_more_than_others(
    session: Session, program: Program, anna: Enrollment
) -> None:
    assert anna.id
    with pytest.raises(Invalid) as refused:
        next_version(session, program, effective_at=NOW - DAY, urgent_reason="A mistake.")
    assert fields(refused) == [("effective_at", "in_the_past")]


@pytest.mark.parametrize("until", [NOW + WEEK, NOW])
def test_terms_are_kept_beyond_the_beginning_of_the_new_ones_or_not_at_all(
    session: Session, program: Program, until: Any
) -> None:
    with pytest.raises(Invalid) as refused:
        next_version(session, program, grandfather=Grandfather(until))
    assert fields(refused) == [("grandfather_until", "not_after_effective_at")]


# ---- drafts ----


def draft(session: Session, program: Program, name: str = "Winter") -> RuleDraft:
    made = drafts.begin_draft(session, program_id=program.id, name=name, by=None, now=NOW)
    session.commit()
    return made


def as_stored(document: dict[str, Any]) -> dict[str, Any]:
    """With every default filled in, as documents are kept."""
    return dump(load(document, "RUB"))


def save(session: Session, made: RuleDraft, **changes: Any) -> RuleDraft:
    values: dict[str, Any] = {
        "name": made.name, "document": FIVE_PERCENT, "note": "", "revision": made.revision,
        "by": None, "now": NOW + DAY, **changes,
    }  # fmt: skip
    return drafts.save_draft(session, draft_id=made.id, **values)


def test_a_draft_begins_as_the_rules_in_force_and_becomes_a_version(
    session: Session, program: Program
) -> None:
    made = draft(session, program)
    assert made.document == as_stored(terms_document())
    save(session, made, note="Ask finance first.")
    assert (made.revision, made.note, made.saved_at) == (2, "Ask finance first.", NOW + DAY)
    version = drafts.announce_draft(
        session, draft_id=made.id, revision=2, effective_at=NOW + 9 * DAY, by=None, now=NOW + DAY
    )
    assert version.terms == as_stored(FIVE_PERCENT)
    assert (made.closed_at, made.rule_version_id) == (NOW + DAY, version.id)
    assert drafts.open_drafts(session, program_id=program.id) == []
    actions = session.scalars(sa.select(AuditEntry.action).order_by(AuditEntry.id)).all()
    assert actions[-3:] == ["rules.draft", "rules.save_draft", "rules.announce"]


def test_a_discarded_draft_is_kept_and_done_with(session: Session, program: Program) -> None:
    made = draft(session, program)
    drafts.discard_draft(session, draft_id=made.id, by=None, now=NOW)
    assert made.closed_at == NOW
    assert audited(session, "rules.discard_draft").subject == f"rule_draft:{made.id}"
    verbs: list[Callable[[], object]] = [
        lambda: save(session, made),
        lambda: drafts.discard_draft(session, draft_id=made.id, by=None, now=NOW),
        lambda: drafts.announce_draft(
            session, draft_id=made.id, revision=1, effective_at=NOW, by=None, now=NOW
        ),
    ]
    for verb in verbs:
        with pytest.raises(drafts.DraftClosed):
            verb()


def test_nobody_saves_or_announces_what_they_have_not_seen(
    session: Session, program: Program
) -> None:
    made = draft(session, program)
    save(session, made)
    with pytest.raises(drafts.DraftChanged):
        save(session, made, revision=1)
    with pytest.raises(drafts.DraftChanged):
        drafts.announce_draft(
            session, draft_id=made.id, revision=1, effective_at=NOW, by=None, now=NOW
        )


def test_a_program_has_a_few_drafts_at_most(session: Session, program: Program) -> None:
    for number in range(drafts.DRAFTS_OPEN_MAX):
        made = draft(session, program, f"Draft {number}")
    with pytest.raises(drafts.TooManyDrafts):
        draft(session, program, "One more")
    session.rollback()
    drafts.discard_draft(session, draft_id=made.id, by=None, now=NOW)
    assert draft(session, program, "One more").id


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": "x" * 81}, "name"),
        ({"note": "x" * 2_001}, "note"),
        ({"document": terms_document(payout={"hold_days": -1})}, "payout.hold_days"),
    ],
)
def test_a_draft_that_cannot_be_is_refused_by_path(
    session: Session, program: Program, changes: dict[str, Any], field: str
) -> None:
    made = draft(session, program)
    with pytest.raises(Invalid) as refused:
        save(session, made, **changes)
    assert [error.field for error in refused.value.errors] == [field]


def test_there_is_no_draft_of_nothing(session: Session, program: Program) -> None:
    with pytest.raises(NotFound):
        drafts.discard_draft(session, draft_id=999, by=None, now=NOW)
    with pytest.raises(NotFound):
        drafts.begin_draft(session, program_id=999, name="X", by=None, now=NOW)
    with pytest.raises(NotFound):
        rule_versions.numbered(session, program_id=program.id, number=9)


# ---- told ----


def test_everybody_enrolled_is_told_once_what_changes(
    session: Session, program: Program, anna: Enrollment
) -> None:
    make_affiliate(session, program, "boris@example.com", now=NOW - DAY)
    make_affiliate(session, program, "waits@example.com", now=NOW - DAY, approved=False)
    next_version(session, program)
    assert telling.tell(session, now=NOW) == 2
    assert telling.tell(session, now=NOW + MINUTE) == 0
    told = letters(session, "rules_announced")
    assert [letter.recipient for letter in told] == ["anna@example.com", "boris@example.com"]
    text = told[0].text
    assert "takes effect on 28 Nov 2026, 10:15 (Europe/Moscow)" in text
    assert "Until then: 10% of the net amount" in text
    assert "From then on: 5% of the net amount" in text
    assert "This program has one level" in text
    assert "How long does a click count?" not in text
    assert "your membership ends on 5 Dec 2026, 10:15 (Europe/Moscow)" in text
    assert f"/account/rules/2?program={program.slug}" in text
    assert anna.id


def test_whoever_comes_after_the_announcement_is_told_as_well(
    session: Session, program: Program, anna: Enrollment
) -> None:
    assert anna.id
    next_version(session, program)
    telling.tell(session, now=NOW)
    make_affiliate(session, program, "carl@example.com", now=NOW + DAY)
    assert telling.tell(session, now=NOW + DAY) == 1
    assert letters(session, "rules_announced")[-1].recipient == "carl@example.com"


@pytest.mark.parametrize(
    ("before", "written"), [(3 * DAY + TICK, 0), (3 * DAY, 1), (TICK, 1), (timedelta(0), 0)]
)
def test_silence_is_reminded_once_some_days_before(
    session: Session, program: Program, anna: Enrollment, before: timedelta, written: int
) -> None:
    assert anna.id
    version = next_version(session, program)
    telling.tell(session, now=NOW)
    assert telling.tell(session, now=version.effective_at - before) == written
    assert telling.tell(session, now=version.effective_at - before) == 0
    assert len(letters(session, "rules_reminder")) == written


@pytest.mark.parametrize("said", list(Said))
def test_whoever_answered_is_not_reminded(
    session: Session, program: Program, anna: Enrollment, said: Said
) -> None:
    version = next_version(session, program)
    telling.tell(session, now=NOW)
    say(session, anna, version, said, ago=5 * DAY)
    assert telling.tell(session, now=version.effective_at - DAY) == 0


def test_whoever_was_told_late_is_not_told_twice_in_a_row(
    session: Session, program: Program, anna: Enrollment
) -> None:
    assert anna.id
    version = next_version(session, program, effective_at=NOW + DAY, urgent_reason="The law.")
    assert telling.tell(session, now=NOW) == 1
    assert telling.tell(session, now=version.effective_at - MINUTE) == 0


def test_letters_of_two_jobs_at_once_are_written_once(
    session: Session, engine: sa.Engine, app: Flask, program: Program, anna: Enrollment
) -> None:
    assert anna.id
    next_version(session, program)
    start = threading.Barrier(2, timeout=20)

    def job() -> None:
        with app.app_context(), session_for(engine)() as mine:
            start.wait()
            telling.tell(mine, now=NOW)
            mine.commit()

    in_two_threads(job, job)
    assert len(letters(session, "rules_announced")) == 1
    assert session.scalar(sa.select(sa.func.count(RuleNotice.id))) == 1


# ---- answered ----


def test_the_application_forms_agreement_is_the_first_acceptance(
    session: Session, program: Program
) -> None:
    user = make_user(session, "dora@example.com", now=NOW)
    made = joining.apply(
        session, user_id=user.id, program_id=program.id, name="Dora",
        answers=replace(ANSWERS, rule_version=1), now=NOW,
    )  # fmt: skip
    (fact,) = session.scalars(sa.select(RuleAnswer))
    assert (fact.enrollment_id, fact.answer, fact.answered_at, fact.answered_by) == (
        made.id, "accepted", NOW, user.id,
    )  # fmt: skip


@pytest.mark.parametrize("number", [None, 0, 2, 77])
def test_agreement_to_rules_that_were_not_shown_is_no_fact(
    session: Session, program: Program, number: int | None
) -> None:
    """Version 2 is announced, not in force."""
    next_version(session, program)
    user = make_user(session, "dora@example.com", now=NOW)
    joining.apply(
        session, user_id=user.id, program_id=program.id, name="Dora",
        answers=replace(ANSWERS, rule_version=number), now=NOW,
    )  # fmt: skip
    assert session.scalars(sa.select(RuleAnswer)).all() == []


def test_declining_keeps_the_old_terms_and_closes_after_the_notice(
    session: Session, program: Program, anna: Enrollment
) -> None:
    version = next_version(session, program)
    say(session, anna, version, Said.DECLINED)
    ends = version.effective_at + WEEK
    assert anna.closes_at == ends
    assert program.versions_differ
    assert number_of(session, anna, version.effective_at - TICK) == 1
    assert number_of(session, anna, ends - TICK) == 1
    assert standings(session, enrollment_ids=[anna.id], at=ends)[anna.id].closed
    assert enrollments.close_due(session, now=ends - TICK) == 0
    assert enrollments.close_due(session, now=ends) == 1
    assert enrollments.close_due(session, now=ends) == 0
    assert anna.status == "closed"
    (declined,) = letters(session, "rules_declined")
    assert "until your membership ends on 5 Dec 2026, 10:15 (Europe/Moscow)" in declined.text
    assert len(letters(session, "enrollment_closed")) == 1
    assert audited(session, "rules.decline").new == {"version": 2}
    assert audited(session, "enrollment.close").subject == f"enrollment:{anna.id}"


def test_silence_is_acceptance(session: Session, program: Program, anna: Enrollment) -> None:
    version = next_version(session, program)
    assert number_of(session, anna, version.effective_at - TICK) == 1
    assert number_of(session, anna, version.effective_at) == 2
    assert anna.closes_at is None


@pytest.mark.parametrize(("ago", "accepted"), [(TICK, True), (timedelta(0), False), (-DAY, False)])
@pytest.mark.parametrize("said", list(Said))
def test_an_answer_is_taken_until_the_effective_instant(
    session: Session,
    program: Program,
    anna: Enrollment,
    ago: timedelta,
    accepted: bool,
    said: Said,
) -> None:
    version = next_version(session, program)
    if accepted:
        assert say(session, anna, version, said, ago=ago).answer == said
        return
    with pytest.raises(AlreadyInForce):
        say(session, anna, version, said, ago=ago)


def test_an_answer_is_a_fact(session: Session, program: Program, anna: Enrollment) -> None:
    version = next_version(session, program)
    first = say(session, anna, version, Said.ACCEPTED)
    assert say(session, anna, version, Said.ACCEPTED).id == first.id
    with pytest.raises(AlreadyAnswered):
        say(session, anna, version, Said.DECLINED)
    session.rollback()
    for statement in ("UPDATE rule_answers SET answer = 'declined'", "DELETE FROM rule_answers"):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"):
            session.execute(sa.text(statement))
        session.rollback()


def test_whoever_leaves_or_is_not_in_has_nothing_to_answer(
    session: Session, program: Program, anna: Enrollment
) -> None:
    version = next_version(session, program)
    waits = make_affiliate(session, program, "w@example.com", now=NOW, approved=False)
    with pytest.raises(NotEnrolled):
        say(session, waits, version, Said.ACCEPTED)
    session.rollback()
    say(session, anna, version, Said.DECLINED)
    later = next_version(session, program, effective_at=NOW + 10 * DAY)
    with pytest.raises(NotEnrolled):
        say(session, anna, later, Said.ACCEPTED)


def test_another_programs_rules_are_not_found(
    session: Session, program: Program, anna: Enrollment
) -> None:
    other = make_program(session, now=NOW, slug="other")
    version = next_version(session, other)
    assert program.id != other.id
    with pytest.raises(NotFound):
        say(session, anna, version, Said.ACCEPTED)
    with pytest.raises(NotFound):
        answer(session, enrollment_id=anna.id, version_id=999, said=Said.ACCEPTED, by=1, now=NOW)


# ---- kept ----


def test_whoever_was_there_keeps_their_terms_and_whoever_comes_does_not(
    session: Session, program: Program, anna: Enrollment
) -> None:
    version = next_version(session, program, grandfather=Grandfather(NOW + 99 * DAY))
    assert (version.grandfathers, version.grandfather_until) == (True, NOW + 99 * DAY)
    new = make_affiliate(session, program, "new@example.com", now=version.effective_at)
    assert number_of(session, anna, version.effective_at) == 1
    assert number_of(session, anna, NOW + 99 * DAY - TICK) == 1
    assert number_of(session, anna, NOW + 99 * DAY) == 2
    assert number_of(session, new, version.effective_at) == 2
    why = standings(session, enrollment_ids=[anna.id], at=version.effective_at)[anna.id]
    assert (why.because, why.until) == (Because.GRANDFATHERED, NOW + 99 * DAY)
    telling.tell(session, now=NOW)
    kept = "You keep the commission terms that are yours today until 28 Feb 2027"
    assert kept in letters(session, "rules_announced")[0].text


def test_a_letter_compares_with_what_is_the_readers_own(
    session: Session, program: Program, anna: Enrollment
) -> None:
    """Anna keeps 10 % when 5 % begins, and then 5 % on a shorter hold."""
    version = next_version(session, program, grandfather=Grandfather())
    after = version.effective_at + DAY
    document = {**FIVE_PERCENT, "payout": {"hold_days": 7}}
    make_affiliate(session, program, "boris@example.com", now=after)
    next_version(session, program, document=document, effective_at=after + WEEK, now=after)
    assert telling.tell(session, now=after) == 2
    to_anna, to_boris = letters(session, "rules_announced")
    assert "Until then: 10% of the net amount" in to_anna.text
    assert "You keep the commission terms that are yours today for good" in to_anna.text
    assert "5% of the net amount" not in to_boris.text
    assert "you keep your commission terms" not in to_boris.text
    for letter in (to_anna, to_boris):
        assert "From then on: 7 days after the order" in letter.text


def test_accepting_takes_the_new_terms_where_silence_would_keep_the_old(
    session: Session, program: Program, anna: Enrollment
) -> None:
    version = next_version(session, program, grandfather=Grandfather())
    say(session, anna, version, Said.ACCEPTED)
    assert number_of(session, anna, version.effective_at) == 2


def test_a_suspension_does_not_cost_what_was_promised(
    session: Session, program: Program, anna: Enrollment
) -> None:
    version = next_version(session, program, grandfather=Grandfather())
    after = version.effective_at + DAY
    enrollments.suspend(session, enrollment_id=anna.id, reason="Look.", by=None, now=after)
    enrollments.reinstate(session, enrollment_id=anna.id, by=None, now=after + DAY)
    assert number_of(session, anna, after + 2 * DAY) == 1


# ---- assigned ----


def put(session: Session, program: Program, **changes: Any) -> int:
    first = rule_versions.numbered(session, program_id=program.id, number=1)
    values: dict[str, Any] = {
        "version_id": first.id, "begins_at": NOW + 8 * DAY, "ends_at": NOW + 9 * DAY,
        "reason": "Agreed by mail.", "by": None, "now": NOW, **changes,
    }  # fmt: skip
    made = assign(session, program_id=program.id, **values)
    session.commit()
    return made.id


def test_an_assignment_is_theirs_from_until(
    session: Session, program: Program, anna: Enrollment
) -> None:
    next_version(session, program)
    put(session, program, enrollment_id=anna.id)
    session.refresh(program)
    assert program.versions_differ
    times = (NOW + 8 * DAY - TICK, NOW + 8 * DAY, NOW + 9 * DAY - TICK, NOW + 9 * DAY)
    assert [number_of(session, anna, at) for at in times] == [2, 1, 1, 2]
    entry = audited(session, "rules.assign")
    assert (entry.reason, entry.new and entry.new["enrollment"]) == ("Agreed by mail.", anna.id)


def test_whoever_has_terms_of_their_own_reads_that_they_stay(
    session: Session, program: Program, anna: Enrollment
) -> None:
    put(session, program, enrollment_id=anna.id, begins_at=NOW, ends_at=None)
    document = {**FIVE_PERCENT, "payout": {"hold_days": 7}}
    document["attribution"] = {**document["attribution"], "window_days": 45}
    next_version(session, program, document=document)
    telling.tell(session, now=NOW)
    (letter,) = letters(session, "rules_announced")
    assert "Your commission terms are agreed with you and stay" in letter.text
    assert "within 45 days after the click" in letter.text
    assert "of the net amount" not in letter.text
    assert "days after the order" not in letter.text


def test_a_groups_assignment_is_its_members(
    session: Session, program: Program, anna: Enrollment
) -> None:
    boris = make_affiliate(session, program, "boris@example.com", now=NOW - DAY)
    group = AffiliateGroup(program_id=program.id, name="Gold")
    session.add(group)
    session.flush()
    anna.group_id = group.id
    next_version(session, program)
    put(session, program, group_id=group.id)
    found = commission_version(session, enrollment_ids=[anna.id, boris.id], at=NOW + 8 * DAY)
    assert {id_: one.number for id_, one in found.items()} == {anna.id: 1, boris.id: 2}


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"begins_at": NOW - MINUTE - TICK}, ("begins_at", "in_the_past")),
        ({"ends_at": NOW + 8 * DAY}, ("ends_at", "not_after_begins_at")),
        ({"reason": " "}, ("reason", "length")),
        ({"reason": "x" * 1_001}, ("reason", "length")),
        ({"version_id": 999}, ("version", "unknown")),
        ({"enrollment_id": None}, ("who", "one_of_two")),
        ({"group_id": 1}, ("who", "one_of_two")),
        ({"enrollment_id": 999}, ("who", "unknown")),
        ({"enrollment_id": None, "group_id": 999}, ("who", "unknown")),
    ],
)
def test_an_assignment_that_cannot_be_is_refused_by_field(
    session: Session,
    program: Program,
    anna: Enrollment,
    changes: dict[str, Any],
    wrong: tuple[str, str],
) -> None:
    with pytest.raises(Invalid) as refused:
        put(session, program, **{"enrollment_id": anna.id, **changes})
    assert fields(refused) == [wrong]


def test_a_version_and_an_affiliate_of_another_program_are_refused(
    session: Session, program: Program, anna: Enrollment
) -> None:
    other = make_program(session, now=NOW, slug="other")
    theirs = rule_versions.numbered(session, program_id=other.id, number=1)
    with pytest.raises(Invalid) as refused:
        put(session, program, enrollment_id=anna.id, version_id=theirs.id)
    assert fields(refused) == [("version", "unknown")]
    with pytest.raises(Invalid) as refused:
        put(session, other, enrollment_id=anna.id, version_id=theirs.id)
    assert fields(refused) == [("who", "unknown")]


def test_an_assignment_ends_now_or_later_and_stays_for_what_was(
    session: Session, program: Program, anna: Enrollment
) -> None:
    next_version(session, program)
    made = put(session, program, enrollment_id=anna.id, ends_at=None)
    during = NOW + 10 * DAY
    call: dict[str, Any] = {"assignment_id": made, "reason": "Over.", "by": None, "now": during}
    for changes, wrong in (
        ({"ends_at": during - DAY}, ("ends_at", "in_the_past")),
        ({"ends_at": during, "reason": ""}, ("reason", "length")),
    ):
        with pytest.raises(Invalid) as refused:
            end_assignment(session, **{**call, **changes})
        assert fields(refused) == [wrong]
    end_assignment(session, **call, ends_at=during)
    assert number_of(session, anna, during - TICK) == 1
    assert number_of(session, anna, during) == 2
    assert audited(session, "rules.end_assignment").reason == "Over."
    with pytest.raises(AssignmentOver):
        end_assignment(session, **call, ends_at=during)
    with pytest.raises(NotFound):
        end_assignment(session, **{**call, "assignment_id": 999}, ends_at=during)


def test_an_assignment_that_has_not_begun_is_taken_back(
    session: Session, program: Program, anna: Enrollment
) -> None:
    next_version(session, program)
    made = put(session, program, enrollment_id=anna.id)
    end_assignment(session, assignment_id=made, ends_at=NOW, reason="A slip.", by=None, now=NOW)
    assert number_of(session, anna, NOW + 8 * DAY) == 2
    assert audited(session, "rules.unassign").reason == "A slip."


@pytest.mark.parametrize("ago", [timedelta(minutes=5) - TICK, timedelta(0)])
def test_an_assignment_that_is_about_to_begin_is_not_taken_back(
    session: Session, program: Program, anna: Enrollment, ago: timedelta
) -> None:
    """An order of a shop whose clock runs ahead may have been reckoned by it."""
    made = put(session, program, enrollment_id=anna.id)
    begins = NOW + 8 * DAY
    with pytest.raises(Invalid) as refused:
        end_assignment(
            session, assignment_id=made, ends_at=begins, reason="No.", by=None, now=begins - ago
        )
    assert fields(refused) == [("ends_at", "not_after_begins_at")]


# ---- races ----


def in_two_threads(*work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_a_draft_announced_by_two_becomes_one_version(
    session: Session, engine: sa.Engine, app: Flask, program: Program
) -> None:
    made = draft(session, program)
    start = threading.Barrier(2, timeout=20)
    refused: list[Refusal] = []

    def announce_it() -> None:
        with app.app_context(), session_for(engine)() as mine:
            start.wait()
            try:
                drafts.announce_draft(
                    mine, draft_id=made.id, revision=1, effective_at=NOW, by=None, now=NOW
                )
                mine.commit()
            except Refusal as refusal:
                refused.append(refusal)

    in_two_threads(announce_it, announce_it)
    numbers = session.scalars(sa.select(RuleVersion.number).order_by(RuleVersion.number)).all()
    assert numbers == [1, 2]
    assert [type(one) for one in refused] == [drafts.DraftClosed]


def test_of_accepting_and_declining_at_once_one_is_the_fact(
    session: Session, engine: sa.Engine, app: Flask, program: Program, anna: Enrollment
) -> None:
    version = next_version(session, program)
    person = user_of(session, anna)
    start = threading.Barrier(2, timeout=20)
    refused: list[Refusal] = []

    def say_it(said: Said) -> Callable[[], None]:
        def saying() -> None:
            with app.app_context(), session_for(engine)() as mine:
                start.wait()
                try:
                    answer(
                        mine, enrollment_id=anna.id, version_id=version.id, said=said,
                        by=person, now=NOW + DAY,
                    )  # fmt: skip
                    mine.commit()
                except Refusal as refusal:
                    refused.append(refusal)

        return saying

    in_two_threads(say_it(Said.ACCEPTED), say_it(Said.DECLINED))
    (fact,) = session.scalars(sa.select(RuleAnswer))
    session.refresh(anna)
    assert (anna.closes_at is not None) == (fact.answer == "declined")
    assert [type(one) for one in refused] == [AlreadyAnswered]


def test_an_answer_that_waits_for_the_row_is_judged_by_the_instant_at_which_it_was_given(
    session: Session, engine: sa.Engine, app: Flask, program: Program, anna: Enrollment
) -> None:
    """The closing job holds the row while the effective instant passes."""
    version = next_version(session, program)
    person = user_of(session, anna)
    said: list[str] = []
    holding = session_for(engine)()
    holding.execute(sa.select(Enrollment.id).where(Enrollment.id == anna.id).with_for_update())

    def decline(before: timedelta) -> Callable[[], None]:
        def declining() -> None:
            with app.app_context(), session_for(engine)() as mine:
                try:
                    answer(
                        mine, enrollment_id=anna.id, version_id=version.id, said=Said.DECLINED,
                        by=person, now=version.effective_at - before,
                    )  # fmt: skip
                    mine.commit()
                    said.append("in time")
                except AlreadyInForce:
                    said.append("late")

        return declining

    threads = [threading.Thread(target=decline(before)) for before in (TICK, timedelta(0))]
    for thread in threads:
        thread.start()
    holding.rollback()
    holding.close()
    for thread in threads:
        thread.join(30)
    # The late one either comes first and is refused, or finds the fact and repeats it.
    assert "in time" in said
    session.refresh(anna)
    assert anna.closes_at == version.effective_at + WEEK
    assert session.scalar(sa.select(sa.func.count(RuleAnswer.id))) == 1
