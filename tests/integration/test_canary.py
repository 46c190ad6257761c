"""The canary: over real HTTP through the installation's own door, broken, alarmed, mended."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from front_door import Door
from sqlalchemy.orm import Session
from untouched import everything

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.outbox import Mail
from affiliate.people import api_keys, grants
from affiliate.people.models import ApiKey
from affiliate.programs.models import Program
from tests.builders import make_program, make_user
from tests.served import replying, serving
from tracker.clicks.partitions import ensure_partitions
from tracker.clicks.tokens import signing_keys
from tracker.integration import canary, trying, way
from tracker.integration.canary import NotOn
from tracker.integration.jobs import walk_canaries
from tracker.integration.marks import PREFIX, canary_order_id, is_canarys
from tracker.integration.models import Canary, CanaryRun, TestOrder
from tracker.integration.way import Problem, Step, Walk, Ways, walk


class Cage:
    """A program with a manager and a canary, behind the door."""

    def __init__(self, door: Door, session: Session) -> None:
        self.door, self.session = door, session
        self.now = clock.real_now()
        with door.app.app_context():
            self.program: Program = make_program(
                session, now=self.now - timedelta(days=30), slug="lamps"
            )
            ensure_partitions(session, now=self.now)
            manager = make_user(session, "manager@example.com", now=self.now)
            grants.grant_role(
                session, user_id=manager.id, role="manager", program_id=self.program.id, by=None,
                now=self.now,
            )  # fmt: skip
            self.manager = manager.id
            session.commit()

    def switch(self, *, on: bool) -> None:
        now = clock.real_now()
        if on:
            canary.switch_on(
                self.session, program_id=self.program.id, settings=self.door.settings,
                by=self.manager, now=now, real=now,
            )  # fmt: skip
        else:
            canary.switch_off(self.session, program_id=self.program.id, by=self.manager, now=now)
        self.session.commit()

    def let_out(self) -> CanaryRun:
        """It is its turn; the job takes it."""
        self.session.execute(sa.update(Canary).values(next_run_at=clock.real_now()))
        self.session.commit()
        with self.door.app.app_context():
            walk_canaries()
        self.session.expire_all()
        self.session.rollback()
        return self.session.scalars(sa.select(CanaryRun).order_by(CanaryRun.id.desc())).first()  # type: ignore[return-value]

    @property
    def row(self) -> Canary:
        return self.session.get_one(Canary, self.program.id, populate_existing=True)

    def letters(self) -> list[str]:
        self.session.rollback()
        return list(self.session.scalars(sa.select(Mail.template).order_by(Mail.id)))

    def alarms(self) -> list[str]:
        said = self.door.app.test_client().get("/readyz", headers={"Host": "127.0.0.1"}).get_json()
        return [alarm for alarm in said["alarms"] if "canary" in alarm]


@pytest.fixture
def cage(door: Door, session: Session) -> Cage:
    return Cage(door, session)


def test_it_comes_through_and_leaves_nothing_behind(cage: Cage) -> None:
    cage.switch(on=True)
    cage.door.open()
    before = everything(cage.session)
    run = cage.let_out()
    assert (run.step, run.problem, run.detail) == (None, None, "")
    assert list(run.millis) and set(run.millis) == {step.value for step in Step}
    changed = {name for name, said in everything(cage.session).items() if said != before[name]}
    # Its own tables, and when its key was last used.
    assert changed == {"canaries", "canary_runs", "api_keys"}
    assert cage.session.scalar(sa.select(sa.func.count(TestOrder.id))) == 0
    assert cage.row.last_well_at is not None
    assert cage.letters() == []


def test_a_closed_door_alarms_at_the_second_walk_and_is_said_to_be_well_again(cage: Cage) -> None:
    cage.switch(on=True)
    first = cage.let_out()
    assert (first.step, first.problem) == (Step.CLICK.value, Problem.UNREACHABLE.value)
    assert (cage.row.broken_since, cage.letters(), cage.alarms()) == (None, [], [])
    cage.let_out()
    assert cage.row.broken_since == first.begun_at
    assert cage.letters() == ["integration/canary_broken"]
    assert cage.alarms() == [
        "canary_broken: the canary of lamps does not come through; see /manage/integration"
    ]
    cage.let_out()
    assert cage.letters() == ["integration/canary_broken"]
    cage.door.open()
    assert cage.let_out().problem is None
    assert (cage.row.broken_since, cage.row.failures, cage.alarms()) == (None, 0, [])
    assert cage.letters() == ["integration/canary_broken", "integration/canary_well"]


def test_a_revoked_key_breaks_it_at_the_last_step(cage: Cage) -> None:
    cage.switch(on=True)
    cage.door.open()
    api_keys.revoke_key(
        cage.session, program_id=cage.program.id, key_id=cage.row.api_key_id, by=None, now=cage.now
    )
    cage.session.commit()
    run = cage.let_out()
    assert (run.step, run.problem, run.detail) == ("api", "wrong_answer", "401 key_refused")
    cage.let_out()
    assert cage.row.broken_since is not None
    # Off and on again is the way to mend it: that makes another key.
    cage.switch(on=False)
    cage.switch(on=True)
    assert cage.let_out().problem is None


def test_a_secret_that_is_gone_breaks_it_and_one_that_is_kept_does_not(cage: Cage) -> None:
    from dataclasses import replace

    cage.switch(on=True)
    cage.door.open()
    settings = cage.door.settings
    other = "another-secret-for-tests-that-is-long-enough-0123456789"
    both = replace(settings, secrets=(other, *settings.secrets))
    gone = replace(settings, secrets=(other,))
    with cage.door.app.app_context():
        for each, known in ((both, True), (gone, False)):
            cage.session.execute(sa.update(Canary).values(next_run_at=clock.real_now()))
            due = canary.claim_due(cage.session, settings=each, real=clock.real_now())
            assert due is not None
            assert (due.key is not None) is known
            cage.session.rollback()


def test_a_token_of_another_secret_is_no_token(cage: Cage) -> None:
    cage.door.open()
    ways = ways_to(cage, token_keys=signing_keys((b"x" * 32,)))
    done = walk(ways)
    assert (done.step, done.problem, done.detail) == (
        Step.TOKEN, Problem.BAD_TOKEN, "unknown_key",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "step", "problem", "detail"),
    [
        (replying(b"hello"), Step.CLICK, Problem.WRONG_ANSWER, "200"),
        (replying(b"", 500), Step.CLICK, Problem.WRONG_ANSWER, "500"),
        (
            replying(b"", 302, Location="https://shop.example/"),
            Step.TOKEN, Problem.NO_TOKEN, "",
        ),
        (
            replying(b"", 302, Location="https://shop.example/?kpk=" + "A" * 79),
            Step.TOKEN, Problem.BAD_TOKEN, "unknown_version",
        ),
        (
            replying(b"", 302, Location="http://[broken?kpk=x"),
            Step.TOKEN, Problem.NO_TOKEN, "",
        ),
    ],
)  # fmt: skip
def test_whatever_else_stands_at_the_address(
    cage: Cage, answer: Any, step: Step, problem: Problem, detail: str
) -> None:
    with serving(answer) as url:
        done = walk(ways_to(cage, public_url=url))
    assert (done.step, done.problem, done.detail) == (step, problem, detail)


def test_a_redirect_is_read_and_never_followed(cage: Cage) -> None:
    asked = []

    def note(handler: Any) -> None:
        asked.append(handler.path)
        replying(b"", 302, Location=f"http://127.0.0.1:{handler.server.server_port}/inside")(
            handler
        )

    with serving(note) as url:
        walk(ways_to(cage, public_url=url))
    assert asked == ["/r/~lamps"]


def test_a_walk_ends_however_slowly_it_is_answered(
    cage: Cage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each packet comes in time, and the answer never."""
    monkeypatch.setattr(way, "WALK_S", 1.0)
    over = threading.Event()

    def drip(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not over.wait(0.1):
            handler.wfile.write(b"x")

    began = time.monotonic()
    with serving(drip) as url:
        done = walk(ways_to(cage, public_url=url))
        took_s = time.monotonic() - began
        over.set()
    assert (done.step, done.problem) == (Step.CLICK, Problem.TOO_SLOW)
    assert 1 <= took_s < way.STEP_S


def ways_to(cage: Cage, **changes: Any) -> Ways:
    settings = cage.door.settings
    values: dict[str, Any] = {
        "public_url": settings.public_url, "slug": "lamps", "currency": "RUB", "key": None,
        "token_keys": signing_keys(settings.keys("click-token")), "now": cage.now,
        "order_id": lambda: "T-1", "came_through": lambda _id: False, **changes,
    }  # fmt: skip
    return Ways(**values)


def test_a_report_that_comes_to_nothing_is_a_break(cage: Cage) -> None:
    cage.door.open()
    done = walk(ways_to(cage))
    assert (done.step, done.problem) == (Step.REPORT, Problem.NOT_TAKEN)
    done = walk(ways_to(cage, came_through=lambda _id: True))
    assert (done.step, done.problem) == (Step.API, Problem.NO_KEY)


def test_strangers_who_flood_the_tests_of_pages_do_not_make_it_alarm(
    cage: Cage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trying, "TESTS_PER_HOUR_MAX", 1)
    cage.switch(on=True)
    cage.door.open()
    total = {"amount": "1.00", "currency": "RUB"}
    for number in range(3):
        order = {"order_id": f"{PREFIX}{number:016}-{'0' * 32}", "total": total, "test": True}
        body = json.dumps({"program": "lamps", "type": "order", "order": order})
        cage.door.app.test_client().post("/v1/events", data=body, headers={"Host": "127.0.0.1"})
    assert cage.session.scalar(sa.select(sa.func.count(TestOrder.id))) == 1
    assert cage.let_out().problem is None


def test_whoever_read_an_id_of_the_canary_gets_no_more_than_one_through_with_it(
    cage: Cage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was refused stands in the log of refused calls."""
    monkeypatch.setattr(trying, "TESTS_PER_HOUR_MAX", 1)
    cage.door.open()
    order_id = canary_order_id(cage.door.settings.key("canary-order"), "0123456789abcdef")
    order = {"order_id": order_id, "total": {"amount": "1.00", "currency": "RUB"}, "test": True}
    body = json.dumps({"program": "lamps", "type": "order", "order": order})
    for _ in range(4):
        cage.door.app.test_client().post("/v1/events", data=body, headers={"Host": "127.0.0.1"})
    assert cage.session.scalar(sa.select(sa.func.count(TestOrder.id))) == 1


def test_only_the_installation_makes_ids_of_a_canary() -> None:
    made = canary_order_id(b"key", "0123456789abcdef")
    assert is_canarys(made, (b"other", b"key"))
    for wrong in (made[:-1] + "x", made.replace("0123", "1123"), PREFIX, "A-1", f"{PREFIX}1-"):
        assert not is_canarys(wrong, (b"key",)), wrong


def test_two_people_switch_it_on_at_once(cage: Cage) -> None:
    barrier = threading.Barrier(2)

    def switch() -> None:
        with cage.door.app.app_context(), suppress(sa.exc.IntegrityError):
            session = db.session()
            barrier.wait()
            now = clock.real_now()
            canary.switch_on(
                session, program_id=cage.program.id, settings=cage.door.settings,
                by=cage.manager, now=now, real=now,
            )  # fmt: skip
            session.commit()
            db.session.remove()

    threads = [threading.Thread(target=switch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    live = sa.select(sa.func.count(ApiKey.id)).where(ApiKey.revoked_at.is_(None))
    assert cage.session.scalar(live) == 1
    assert cage.row.off_since is None


def test_off_is_off(cage: Cage) -> None:
    with pytest.raises(NotOn):
        cage.switch(on=False)
    cage.session.rollback()
    cage.switch(on=True)
    cage.switch(on=False)
    assert cage.session.scalar(sa.select(ApiKey.revoked_at)) is not None
    with cage.door.app.app_context():
        walk_canaries()
    assert cage.session.scalar(sa.select(sa.func.count(CanaryRun.id))) == 0


def test_a_walk_that_ends_after_it_was_switched_off_is_not_noted(cage: Cage) -> None:
    cage.switch(on=True)
    with cage.door.app.app_context():
        real = clock.real_now()
        due = canary.claim_due(cage.session, settings=cage.door.settings, real=real)
        assert due is not None
        assert canary.claim_due(cage.session, settings=cage.door.settings, real=real) is None
        cage.session.commit()
        cage.switch(on=False)
        canary.note_walk(
            cage.session, due=due, walk=Walk(step=Step.API, problem=Problem.NO_KEY),
            settings=cage.door.settings, now=real, real=real,
        )  # fmt: skip
        cage.session.commit()
    assert cage.session.scalar(sa.select(sa.func.count(CanaryRun.id))) == 0
    assert cage.letters() == []
