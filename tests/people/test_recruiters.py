"""The recruiter tree stays a tree, also when changes race."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from builders import make_affiliate, make_program
from flask import Flask
from moments import NOW
from sqlalchemy.orm import Session

from affiliate.core.audit import AuditEntry
from affiliate.core.db import session_for
from affiliate.core.errors import Invalid
from affiliate.people.models import Enrollment
from affiliate.people.recruiters import (
    RecruiterCycle,
    RecruiterRefused,
    line_above,
    recruits_of,
    set_recruiter,
)

WAIT_S = 20


@pytest.fixture(autouse=True)
def inside_the_application(app: Flask) -> Iterator[None]:
    with app.app_context():
        yield


@pytest.fixture
def four(session: Session) -> list[int]:
    """A, B, C, D of one program, nobody recruited by anybody."""
    program = make_program(session, now=NOW)
    made = [make_affiliate(session, program, f"{who}@x.example", now=NOW) for who in "abcd"]
    session.commit()
    return [enrollment.id for enrollment in made]


def recruit(session: Session, enrollment_id: int, recruiter_id: int | None) -> Enrollment:
    return set_recruiter(
        session,
        enrollment_id=enrollment_id,
        recruiter_id=recruiter_id,
        by=None,
        now=NOW,
        reason="Told us so.",
    )


def test_a_recruiter_is_set_moved_and_taken_away_and_each_change_is_audited(
    session: Session, four: list[int]
) -> None:
    a, b, c, _ = four
    recruit(session, a, b)
    recruit(session, a, b)
    recruit(session, a, c)
    assert recruits_of(session, enrollment_id=b) == []
    assert [one.id for one in recruits_of(session, enrollment_id=c)] == [a]
    recruit(session, a, None)
    query = sa.select(AuditEntry.old, AuditEntry.new, AuditEntry.reason).where(
        AuditEntry.action == "enrollment.set_recruiter"
    )
    assert [tuple(row) for row in session.execute(query.order_by(AuditEntry.id))] == [
        ({"recruiter": None}, {"recruiter": b}, "Told us so."),
        ({"recruiter": b}, {"recruiter": c}, "Told us so."),
        ({"recruiter": c}, {"recruiter": None}, "Told us so."),
    ]


@pytest.mark.abuse("A21")
def test_nobody_recruits_themselves(session: Session, four: list[int]) -> None:
    with pytest.raises(RecruiterCycle):
        recruit(session, four[0], four[0])


@pytest.mark.abuse("A21")
@pytest.mark.parametrize("length", [2, 3, 4])
def test_a_circle_of_any_length_is_refused(session: Session, four: list[int], length: int) -> None:
    ring = four[:length]
    for below, above in itertools.pairwise(ring):
        recruit(session, below, above)
    with pytest.raises(RecruiterCycle):
        recruit(session, ring[-1], ring[0])
    assert RecruiterCycle.status == 422


@pytest.mark.abuse("A21")
def test_a_chain_of_five_hundred_is_walked(session: Session, four: list[int]) -> None:
    a = session.get_one(Enrollment, four[0])
    chain = [four[0]]
    for number in range(500):
        made = sa.text(
            "WITH u AS (INSERT INTO users (email, fs_uniquifier, created_at) "
            "VALUES (:mail, :mail, :now) RETURNING id), "
            "f AS (INSERT INTO affiliates (user_id, name, created_at) "
            "SELECT id, 'x', :now FROM u RETURNING id) "
            "INSERT INTO enrollments (program_id, affiliate_id, status, recruiter_id, answers, "
            "applied_at) SELECT :program, id, 'active', :above, '{}', :now FROM f RETURNING id"
        )
        values = {"mail": f"n{number}@x.example", "now": NOW, "program": a.program_id}
        chain.append(session.execute(made, {**values, "above": chain[-1]}).scalar_one())
    assert line_above(session, chain[-1]) == chain[::-1]
    with pytest.raises(RecruiterCycle):
        recruit(session, chain[0], chain[-1])


@pytest.mark.abuse("A21")
def test_the_database_itself_refuses_ones_own_recruiter(session: Session, four: list[int]) -> None:
    with pytest.raises(sa.exc.IntegrityError, match="not_own_recruiter"):
        session.execute(
            sa.update(Enrollment).where(Enrollment.id == four[0]).values(recruiter_id=four[0])
        )


def test_a_recruiter_of_another_program_or_not_active_is_refused(
    session: Session, four: list[int]
) -> None:
    other = make_program(session, now=NOW, slug="other")
    elsewhere = make_affiliate(session, other, "e@x.example", now=NOW)
    program_id = session.get_one(Enrollment, four[0]).program_id
    session.get_one(Enrollment, four[1]).status = "suspended"
    session.flush()
    for recruiter_id in (elsewhere.id, four[1], 999_999):
        with pytest.raises(RecruiterRefused):
            recruit(session, four[0], recruiter_id)
    assert session.get_one(Enrollment, four[0]).program_id == program_id


def test_a_change_without_a_reason_is_refused(session: Session, four: list[int]) -> None:
    with pytest.raises(Invalid):
        set_recruiter(
            session, enrollment_id=four[0], recruiter_id=four[1], by=None, now=NOW, reason=" "
        )


@pytest.mark.abuse("A21")
@pytest.mark.parametrize(
    ("before", "first", "second"),
    [
        # Two nodes: A under B and B under A.
        ([], ("a", "b"), ("b", "a")),
        # Disjoint pairs: with A under B and C under D already, B under C and D under A are
        # each fine alone, touch no common row, and together close a circle of four.
        ([("a", "b"), ("c", "d")], ("b", "c"), ("d", "a")),
        # Three nodes.
        ([("a", "b")], ("b", "c"), ("c", "a")),
    ],
)
def test_of_two_racing_changes_that_would_close_a_circle_exactly_one_is_refused(
    engine: sa.Engine,
    session: Session,
    four: list[int],
    before: list[tuple[str, str]],
    first: tuple[str, str],
    second: tuple[str, str],
) -> None:
    node = dict(zip("abcd", four, strict=True))
    for below, above in before:
        recruit(session, node[below], node[above])
    session.commit()
    start = threading.Barrier(2, timeout=WAIT_S)
    outcomes: dict[str, str] = {}

    def change(name: str, pair: tuple[str, str]) -> None:
        with session_for(engine)() as own:
            # The transaction and its first read begin before either has written anything.
            own.execute(sa.select(sa.func.count()).select_from(Enrollment))
            start.wait()
            try:
                recruit(own, node[pair[0]], node[pair[1]])
                own.commit()
                outcomes[name] = "done"
            except RecruiterCycle:
                own.rollback()
                outcomes[name] = "refused"
            except sa.exc.DBAPIError as error:
                own.rollback()
                outcomes[name] = f"failed: {error}"

    threads = [
        threading.Thread(target=change, args=("first", first)),
        threading.Thread(target=change, args=("second", second)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert sorted(outcomes.values()) == ["done", "refused"]


@pytest.mark.abuse("A21")
def test_a_second_change_waits_for_the_first_and_sees_it(
    engine: sa.Engine, session: Session, four: list[int]
) -> None:
    """The order is forced: the second begins while the first has written and not committed."""
    a, b, c, d = four
    recruit(session, a, b)
    recruit(session, c, d)
    session.commit()
    outcome: list[str] = []
    recruit(session, b, c)

    def later() -> None:
        with session_for(engine)() as own:
            try:
                recruit(own, d, a)
                outcome.append("done")
            except RecruiterCycle:
                outcome.append("refused")

    thread = threading.Thread(target=later)
    thread.start()
    _wait_until_somebody_waits(engine)
    assert outcome == []
    session.commit()
    thread.join(WAIT_S)
    assert outcome == ["refused"]


def test_a_change_of_the_tree_does_not_stop_the_rest_of_the_program(
    engine: sa.Engine, session: Session, four: list[int]
) -> None:
    """An insert that refers to the program's row goes through while a change is open."""
    recruit(session, four[0], four[1])
    program_id = session.get_one(Enrollment, four[0]).program_id
    with session_for(engine)() as own:
        own.execute(sa.text("SET LOCAL lock_timeout = '1s'"))
        own.execute(
            sa.text("INSERT INTO affiliate_groups (program_id, name) VALUES (:program, 'x')"),
            {"program": program_id},
        )
        own.commit()


def _wait_until_somebody_waits(engine: sa.Engine) -> None:
    waiting = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    deadline = threading.Event()
    for _ in range(WAIT_S * 20):
        with engine.connect() as connection:
            if connection.scalar(waiting):
                return
        deadline.wait(0.05)
    raise AssertionError("the second change never waited for the first")
