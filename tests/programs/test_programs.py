"""Programs and the versions of their rules."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from builders import make_affiliate, make_program, terms_document
from flask import Flask
from moments import NOW
from sqlalchemy.orm import Session

from affiliate.core.audit import AuditEntry
from affiliate.core.clock import real_now
from affiliate.core.db import session_for
from affiliate.core.errors import Invalid, NotFound
from affiliate.people.ids import public
from affiliate.programs import rule_versions
from affiliate.programs.announcements import announce
from affiliate.programs.jobs import close_programs
from affiliate.programs.models import Program, RuleVersion
from affiliate.programs.programs import (
    AlreadyClosing,
    SlugTaken,
    by_slug,
    close_due,
    close_program,
    update_program,
)
from affiliate.programs.terms import Percent

FIVE_PERCENT = terms_document(
    commission={"level_1": {"kind": "percent", "rate_ppm": 50_000}, "level_2": None}
)


def test_a_program_has_rules_from_its_creation(session: Session) -> None:
    program = make_program(session, now=NOW)
    version = rule_versions.in_force(session, program_id=program.id, at=NOW)
    assert (version.number, version.effective_at) == (1, NOW)
    assert version.terms.commission.level_1 == Percent(100_000)
    assert by_slug(session, "lamps").id == program.id


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"slug": "Lamps"}, "slug"),
        ({"slug": "-lamps"}, "slug"),
        ({"slug": "l"}, "slug"),
        ({"currency": "XXY"}, "currency"),
        ({"currency": "rub"}, "currency"),
        ({"time_zone": "Moscow"}, "time_zone"),
        ({"time_zone": "../etc/passwd"}, "time_zone"),
        ({"payout_weekday": 7}, "payout_weekday"),
        ({"payout_weekday": -1}, "payout_weekday"),
        ({"payout_hour": 24}, "payout_hour"),
        ({"rail": "No Rail"}, "rail"),
        ({"name": " "}, "name"),
        ({"summary": "x" * 401}, "summary"),
        ({"contact_email": "nobody"}, "contact_email"),
        ({"contact_email": "a@b\r\nBcc: c@d"}, "contact_email"),
        ({"allowed_sites": []}, "allowed_sites"),
        ({"allowed_sites": ["shop.example", "com"]}, "allowed_sites"),
        ({"allowed_sites": ["https://shop.example"]}, "allowed_sites"),
        ({"allowed_sites": ["shop.example", "user@shop.example"]}, "allowed_sites"),
        ({"allowed_sites": ["shop.example", "localhost"]}, "allowed_sites"),
        ({"landing_url": "https://elsewhere.example/"}, "landing_url"),
        ({"landing_url": "http://shop.example/"}, "landing_url"),
        ({"landing_url": "javascript:alert(1)"}, "landing_url"),
    ],
)
def test_odd_settings_are_refused_by_name(
    session: Session, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        make_program(session, now=NOW, **changes)
    assert field in [error.field for error in refused.value.errors]


def test_loopback_is_a_site_in_demo_mode_alone(session: Session) -> None:
    demo: dict[str, Any] = {"landing_url": "http://localhost:8100/", "allowed_sites": ["localhost"]}
    with pytest.raises(Invalid):
        make_program(session, now=NOW, **demo)
    assert make_program(session, now=NOW, plain_loopback=True, **demo).id


def test_rules_that_are_wrong_are_refused_by_path(session: Session) -> None:
    document = terms_document()
    document["attribution"]["window_days"] = 0
    with pytest.raises(Invalid) as refused:
        make_program(session, now=NOW, terms_document=document)
    assert [error.field for error in refused.value.errors] == ["attribution.window_days"]


def test_rules_name_affiliates_of_their_own_program_alone(app: Flask, session: Session) -> None:
    program = make_program(session, now=NOW)
    other = make_program(session, now=NOW, slug="tea")
    with app.app_context():
        own = make_affiliate(session, program, "anna@example.com", now=NOW)
        stranger = make_affiliate(session, other, "boris@example.com", now=NOW)
    document = terms_document()
    document["attribution"]["windows"] = [
        {"affiliates": [public(own.id)], "days": 60},
        {"affiliates": [public(own.id), public(stranger.id), public(999_999)], "days": 90},
    ]
    with pytest.raises(Invalid) as refused:
        publish(session, program, document)
    assert [(error.field, error.code) for error in refused.value.errors] == [
        ("attribution.windows.1.affiliates.1", "unknown_affiliate"),
        ("attribution.windows.1.affiliates.2", "unknown_affiliate"),
    ]
    del document["attribution"]["windows"][1]
    version = publish(session, program, document)
    (window,) = version.terms["attribution"]["windows"]
    assert window == {"groups": [], "affiliates": [public(own.id)], "days": 60}


@pytest.mark.parametrize("name", ["per_lead", "per_click"])
def test_a_version_may_promise_leads_and_clicks(session: Session, name: str) -> None:
    program = make_program(session, now=NOW)
    document = terms_document()
    document["commission"][name] = "1.00"
    assert publish(session, program, document).terms["commission"][name] == "1.00"


def publish(session: Session, program: Program, document: dict[str, Any]) -> RuleVersion:
    later = NOW + timedelta(days=8)
    return announce(
        session, program_id=program.id, document=document, effective_at=later, by=None, now=NOW
    )


def test_a_slug_is_given_once(session: Session) -> None:
    make_program(session, now=NOW)
    with pytest.raises(SlugTaken):
        make_program(session, now=NOW)


@pytest.mark.parametrize(
    ("at", "number"),
    [
        (timedelta(days=-5), 1),
        (timedelta(0), 1),
        (timedelta(days=10) - timedelta(microseconds=1), 1),
        (timedelta(days=10), 2),
        (timedelta(days=400), 2),
    ],
)
def test_a_version_rules_from_its_first_instant(
    session: Session, at: timedelta, number: int
) -> None:
    program = make_program(session, now=NOW)
    announce(
        session,
        program_id=program.id,
        document=FIVE_PERCENT,
        effective_at=NOW + timedelta(days=10),
        by=None,
        now=NOW,
    )
    found = rule_versions.in_force(session, program_id=program.id, at=NOW + at)
    assert found.number == number
    rate = {1: Percent(100_000), 2: Percent(50_000)}[number]
    assert found.terms.commission.level_1 == rate


def test_of_two_versions_at_one_instant_the_higher_number_rules(session: Session) -> None:
    program = make_program(session, now=NOW)
    for _ in range(2):
        announce(
            session,
            program_id=program.id,
            document=FIVE_PERCENT,
            effective_at=NOW,
            by=None,
            now=NOW,
        )
    assert rule_versions.in_force(session, program_id=program.id, at=NOW).number == 3
    numbers = [one.number for one in rule_versions.versions(session, program_id=program.id)]
    assert numbers == [3, 2, 1]


@pytest.mark.parametrize(
    ("lateness", "accepted"),
    [(timedelta(minutes=1), True), (timedelta(minutes=1, microseconds=1), False)],
)
def test_rules_never_take_effect_in_the_past(
    session: Session, lateness: timedelta, accepted: bool
) -> None:
    program = make_program(session, now=NOW - timedelta(days=1))
    call: dict[str, Any] = {
        "program_id": program.id,
        "document": FIVE_PERCENT,
        "effective_at": NOW - lateness,
        "by": None,
        "now": NOW,
    }
    if accepted:
        assert announce(session, **call).number == 2
    else:
        with pytest.raises(Invalid):
            announce(session, **call)


@pytest.mark.parametrize(
    "statement", ["UPDATE rule_versions SET number = 9", "DELETE FROM rule_versions"]
)
def test_the_database_refuses_to_change_a_version(session: Session, statement: str) -> None:
    make_program(session, now=NOW)
    with pytest.raises(sa.exc.DBAPIError):
        session.execute(sa.text(statement))


def test_two_versions_announced_at_once_get_two_numbers(
    session: Session, engine: sa.Engine
) -> None:
    program = make_program(session, now=NOW)
    session.commit()
    start = threading.Barrier(2, timeout=20)

    def announce_now() -> None:
        with session_for(engine)() as own:
            start.wait()
            announce(
                own,
                program_id=program.id,
                document=FIVE_PERCENT,
                effective_at=NOW,
                by=None,
                now=NOW,
            )
            own.commit()

    threads = [threading.Thread(target=announce_now) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    numbers = session.scalars(sa.select(RuleVersion.number).order_by(RuleVersion.number))
    assert list(numbers) == [1, 2, 3]


def test_rules_of_no_program_are_not_found(session: Session) -> None:
    with pytest.raises(NotFound):
        rule_versions.in_force(session, program_id=999, at=NOW)
    with pytest.raises(NotFound):
        announce(session, program_id=999, document=FIVE_PERCENT, effective_at=NOW, by=None, now=NOW)
    with pytest.raises(NotFound):
        by_slug(session, "nothing")


def test_what_changed_is_audited_and_what_did_not_is_not(session: Session) -> None:
    program = make_program(session, now=NOW)
    changes = {"payout_hour": 10, "name": "Lamp & Leaf"}
    update_program(session, program_id=program.id, changes=changes, by=None, now=NOW)
    entry = session.scalars(sa.select(AuditEntry).where(AuditEntry.action == "program.update"))
    one = entry.one()
    assert (one.old, one.new, one.scope) == ({"payout_hour": 9}, {"payout_hour": 10}, program.id)


@pytest.mark.abuse("A35")
@pytest.mark.parametrize("name", ["currency", "slug", "status", "closes_at", "id"])
def test_what_is_fixed_cannot_be_changed(session: Session, name: str) -> None:
    program = make_program(session, now=NOW)
    with pytest.raises(Invalid) as refused:
        update_program(session, program_id=program.id, changes={name: "EUR"}, by=None, now=NOW)
    assert [error.field for error in refused.value.errors] == [name]


def test_a_program_closes_after_its_notice(session: Session) -> None:
    program = make_program(session, now=NOW)
    call: dict[str, Any] = {"program_id": program.id, "by": None, "now": NOW}
    with pytest.raises(Invalid):
        close_program(session, notice=timedelta(days=6), **call)
    close_program(session, notice=timedelta(days=7), **call)
    assert (program.status, program.closes_at) == ("closing", NOW + timedelta(days=7))
    with pytest.raises(AlreadyClosing):
        close_program(session, notice=timedelta(days=7), **call)

    assert close_due(session, now=NOW + timedelta(days=7) - timedelta(microseconds=1)) == 0
    assert close_due(session, now=NOW + timedelta(days=7)) == 1
    assert program.status == "closed"
    assert close_due(session, now=NOW + timedelta(days=8)) == 0


def test_the_periodic_job_closes_what_is_due(app: Flask, session: Session) -> None:
    past = real_now() - timedelta(days=30)
    program = make_program(session, now=past)
    close_program(session, program_id=program.id, notice=timedelta(days=7), by=None, now=past)
    session.commit()
    with app.app_context():
        close_programs()
    session.expire_all()
    assert program.status == "closed"
