"""Rules over the command line and the API."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from builders import make_affiliate, make_program, terms_document
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from affiliate.core.clock import real_now
from affiliate.people import api_keys
from affiliate.programs import rule_versions
from affiliate.programs.announcements import Grandfather, announce
from affiliate.programs.cli import rules_group
from affiliate.programs.models import Program

DAY = timedelta(days=1)


@pytest.fixture
def program(app: Flask, session: Session) -> Program:
    """A month old, with somebody in it."""
    with app.app_context():
        made = make_program(session, now=real_now() - 30 * DAY)
        make_affiliate(session, made, "anna@example.com", now=real_now() - 20 * DAY)
        session.commit()
    return made


def call(app: Flask, *arguments: str, document: object = None) -> tuple[int, str]:
    text = document if isinstance(document, str) else json.dumps(document)
    done = app.test_cli_runner().invoke(rules_group, list(arguments), input=text)
    return done.exit_code, done.output


def announced(app: Flask, at: str, *more: str, document: object = None) -> tuple[int, str]:
    return call(
        app, "announce", "--program", "lamps", "--document", "-", "--effective-at", at, *more,
        document=terms_document(payout={"hold_days": 7}) if document is None else document,
    )  # fmt: skip


def test_rules_are_announced_and_listed(app: Flask, session: Session, program: Program) -> None:
    at = (real_now() + 8 * DAY).replace(microsecond=0)
    code, said = announced(app, at.isoformat(), "--keep-for-good")
    assert (code, said) == (0, f"Version 2 takes effect on {at.isoformat()}.\n")
    version = rule_versions.numbered(session, program_id=program.id, number=2)
    assert (version.grandfathers, version.grandfather_until) == (True, None)
    code, said = call(app, "list", "--program", "lamps")
    assert [line.split()[:2] for line in said.splitlines()] == [
        ["2", "announced"], ["1", "in_force"],
    ]  # fmt: skip


def test_what_cannot_wait_needs_its_reason(app: Flask, session: Session, program: Program) -> None:
    soon = (real_now() + DAY).isoformat()
    code, said = announced(app, soon)
    assert code == 1
    assert "effective_at: Affiliates are told at least 7 days ahead" in said
    code, said = announced(app, soon, "--urgent", "The law of December.")
    assert code == 0
    version = rule_versions.numbered(session, program_id=program.id, number=2)
    assert version.urgent_reason == "The law of December."


@pytest.mark.parametrize(
    ("at", "more", "document", "told"),
    [
        ("tomorrow", (), None, "effective_at: "),
        ("2099-01-01T00:00:00Z", ("--keep-until", "later"), None, "keep_until: "),
        ("2099-01-01T00:00:00Z", ("--keep-until", "2098-01-01T00:00:00Z"), None,
         "grandfather_until: "),
        ("2099-01-01T00:00:00Z", (), "{", "document: This is not JSON."),
        ("2099-01-01T00:00:00Z", (), "[" * 100_000, "document: This is not JSON."),
        ("2099-01-01T00:00:00Z", (), [1], "document: A JSON object is needed here."),
        ("2099-01-01T00:00:00Z", (), {}, "attribution: "),
    ],
)  # fmt: skip
def test_what_cannot_be_announced_is_refused_by_name(
    app: Flask, program: Program, at: str, more: tuple[str, ...], document: object, told: str
) -> None:
    assert program.id
    code, said = announced(app, at, *more, document=document)
    assert code == 1
    assert told in said


def test_there_are_no_rules_of_no_program(app: Flask) -> None:
    code, said = call(app, "list", "--program", "nothing")
    assert (code, said) == (1, "Error: There is no program under that address.\n")


def test_a_shop_reads_the_versions_of_its_own_program_alone(
    app: Flask, client: FlaskClient, session: Session, program: Program
) -> None:
    at = (real_now() + 9 * DAY).replace(microsecond=0)
    with app.app_context():
        announce(
            session, program_id=program.id, document=terms_document(payout={"hold_days": 7}),
            effective_at=at, by=None, now=real_now(), grandfather=Grandfather(at + 30 * DAY),
        )  # fmt: skip
        make_program(session, now=real_now(), slug="other")
        keys = {}
        for scope in ("affiliates:read", "orders:read"):
            _, keys[scope] = api_keys.create_key(
                session, program_id=program.id, scopes=[scope], name="shop", by=None,
                now=real_now(),
            )  # fmt: skip
        session.commit()

    def get(path: str, scope: str = "affiliates:read") -> tuple[int, dict[str, object]]:
        found = client.get(path, headers={"Authorization": f"Bearer {keys[scope]}"})
        return found.status_code, found.get_json()

    status, found = get("/api/v1/programs/lamps/rules")
    assert status == 200
    assert found["notice_days"] == 7
    second, first = found["versions"]  # type: ignore[misc]
    assert (second["version"], second["state"]) == (2, "announced")
    assert second["effective_at"] == at.isoformat().replace("+00:00", "Z")
    assert second["kept_until"] == (at + 30 * DAY).isoformat().replace("+00:00", "Z")
    assert second["terms"]["payout"] == {"hold_days": 7}
    assert (first["version"], first["state"], first["kept_until"]) == (1, "in_force", None)
    assert get("/api/v1/programs/other/rules")[0] == 404
    assert get("/api/v1/programs/nothing/rules")[0] == 404
    assert get("/api/v1/programs/lamps/rules", "orders:read")[0] == 403
