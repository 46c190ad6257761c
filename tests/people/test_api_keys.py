"""API keys: shown once, stored as a hash, scoped, compared in constant time, never logged."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from browsing import BASE, Browser, make_person
from builders import make_program
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from affiliate.core.clock import real_now
from affiliate.core.config import Settings
from affiliate.core.errors import Invalid, NotFound
from affiliate.core.http import csrf
from affiliate.people import access, api_keys, cli, grants, sent_keys
from affiliate.people.api_keys import OURS, KeyEnded, KeyIsOurs
from affiliate.people.models import ApiKey
from affiliate.people.sent_keys import KeyRefused
from affiliate.programs.models import Program

PATH = "/api/v1/probe"


@pytest.fixture
def program(session: Session) -> Program:
    made = make_program(session, now=real_now())
    session.commit()
    return made


def make(session: Session, program: Program, *scopes: str, **more: Any) -> tuple[ApiKey, str]:
    made = api_keys.create_key(
        session,
        program_id=program.id,
        scopes=scopes or ("orders:write",),
        name="the shop",
        by=None,
        now=real_now(),
        **more,
    )
    session.commit()
    return made


@pytest.fixture
def client(settings: Settings) -> Iterator[FlaskClient]:
    """The application with one more view of the API, which tells who calls."""
    from affiliate.core.db import db
    from wsgi import create_app

    app = create_app(settings)

    @app.route(PATH, methods=["GET", "POST"])
    @csrf.exempt
    @access.api_scope("orders:write")
    def probe() -> dict[str, Any]:
        key = access.api_key()
        return {"program": key.program_id, "label": key.label, "scopes": sorted(key.scopes)}

    yield app.test_client()
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


def call(client: FlaskClient, authorization: str | None, path: str = PATH) -> TestResponse:
    headers = {} if authorization is None else {"Authorization": authorization}
    return client.post(path, base_url=BASE, headers=headers)


def test_a_key_opens_what_its_scopes_name(
    client: FlaskClient, session: Session, program: Program
) -> None:
    key, whole = make(session, program)
    answer = call(client, f"Bearer {whole}")
    assert answer.status_code == 200
    assert answer.json == {
        "program": program.id,
        "label": f"key:kpk_{key.prefix}",
        "scopes": ["orders:write"],
    }


def test_a_key_without_the_scope_is_a_403(
    client: FlaskClient, session: Session, program: Program
) -> None:
    _, whole = make(session, program, "orders:read")
    answer = call(client, f"Bearer {whole}")
    assert answer.status_code == 403
    assert answer.json is not None and answer.json["code"] == "scope_missing"


@pytest.mark.abuse("A15")
def test_no_wrong_or_malformed_key_is_a_401_that_says_how(
    client: FlaskClient, session: Session, program: Program
) -> None:
    key, whole = make(session, program)
    wrong = [
        None,
        "",
        "Bearer",
        f"Basic {whole}",
        whole,
        f"Bearer {whole}x",
        f"Bearer {whole[:-1]}",
        f"Bearer kpk_{key.prefix}_" + "A" * 43,
        "Bearer kpk_00000000_" + "A" * 43,
        f"Bearer {whole} {whole}",
        "Bearer kpk_\xe9_" + "A" * 43,
    ]
    for authorization in wrong:
        answer = call(client, authorization)
        assert answer.status_code == 401, authorization
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.json is not None and answer.json["code"] == "key_refused"


@pytest.mark.abuse("A41")
def test_a_revoked_or_expired_key_is_a_401(
    client: FlaskClient, session: Session, program: Program
) -> None:
    key, revoked = make(session, program)
    api_keys.revoke_key(session, program_id=program.id, key_id=key.id, by=None, now=real_now())
    session.commit()
    _, expired = make(session, program, expires_at=real_now() - timedelta(seconds=1))
    _, alive = make(session, program, expires_at=real_now() + timedelta(minutes=1))
    answers = [call(client, f"Bearer {k}").status_code for k in (revoked, expired, alive)]
    assert answers == [401, 401, 200]


@pytest.mark.abuse("A41")
def test_a_rotated_key_works_until_its_date_beside_the_new_one(
    client: FlaskClient, session: Session, program: Program
) -> None:
    key, old = make(session, program, "orders:read", "orders:write")
    now = real_now()
    new, whole = api_keys.rotate_key(
        session, program_id=program.id, key_id=key.id, by=None, now=now, overlap=timedelta(days=3)
    )
    session.commit()
    assert (new.scopes, new.name, new.expires_at) == (key.scopes, key.name, None)
    assert new.prefix != key.prefix and new.secret_hash != key.secret_hash
    assert [call(client, f"Bearer {k}").status_code for k in (old, whole)] == [200, 200]
    for after, refused in ((timedelta(days=3, seconds=-1), False), (timedelta(days=3), True)):
        try:
            sent_keys.authenticate(session, authorization=f"Bearer {old}", now=now + after)
            assert not refused
        except KeyRefused:
            assert refused
    sent_keys.authenticate(session, authorization=f"Bearer {whole}", now=now + timedelta(days=400))


@pytest.mark.abuse("A41")
def test_rotating_prolongs_no_key(session: Session, program: Program) -> None:
    now = real_now()
    key, _ = make(session, program, expires_at=now + timedelta(hours=1))
    api_keys.rotate_key(session, program_id=program.id, key_id=key.id, by=None, now=now)
    assert key.expires_at == now + timedelta(hours=1)


def test_what_has_ended_is_not_rotated(session: Session, program: Program) -> None:
    now = real_now()
    revoked, _ = make(session, program)
    api_keys.revoke_key(session, program_id=program.id, key_id=revoked.id, by=None, now=now)
    expired, _ = make(session, program, expires_at=now)
    for key in (revoked, expired):
        with pytest.raises(KeyEnded):
            api_keys.rotate_key(session, program_id=program.id, key_id=key.id, by=None, now=now)
    alive, _ = make(session, program)
    for days in (-1, 91):
        with pytest.raises(Invalid):
            api_keys.rotate_key(
                session, program_id=program.id, key_id=alive.id, by=None, now=now,
                overlap=timedelta(days=days),
            )  # fmt: skip
    with pytest.raises(NotFound):
        api_keys.rotate_key(session, program_id=program.id + 1, key_id=alive.id, by=None, now=now)


def test_a_key_that_kopeck_made_for_itself_is_not_rotated(
    session: Session, program: Program
) -> None:
    key, _ = api_keys.create_key(
        session, program_id=program.id, scopes=["orders:read"], name=f"{OURS}canary", by=None,
        now=real_now(),
    )  # fmt: skip
    with pytest.raises(KeyIsOurs):
        api_keys.rotate_key(session, program_id=program.id, key_id=key.id, by=None, now=real_now())


@pytest.mark.abuse("A41")
@pytest.mark.abuse("A15")
@pytest.mark.parametrize("query", ["?key={}", "?authorization=Bearer%20{}", "?a=1&api_key={}"])
def test_a_key_in_the_address_is_refused_and_said_to_be_burnt(
    client: FlaskClient, session: Session, program: Program, query: str
) -> None:
    _, whole = make(session, program)
    answer = call(client, f"Bearer {whole}", PATH + query.format(whole))
    assert answer.status_code == 401
    assert answer.json is not None
    assert answer.json["code"] == "key_in_address"
    assert "burnt" in answer.json["detail"]
    assert whole not in answer.text


@pytest.mark.abuse("A41")
def test_only_a_hash_is_stored_and_the_key_is_shown_once(
    session: Session, program: Program
) -> None:
    key, whole = make(session, program)
    secret = whole.split("_", 2)[2]
    assert key.secret_hash == hashlib.sha256(secret.encode()).digest()
    row = session.execute(sa.text("SELECT row_to_json(k)::text FROM api_keys k")).scalar_one()
    audit = session.execute(sa.text("SELECT json_agg(a)::text FROM audit_log a")).scalar_one()
    assert secret not in row + audit


@pytest.mark.abuse("A41")
def test_a_key_does_not_come_into_the_logs(
    client: FlaskClient, session: Session, program: Program, capfd: pytest.CaptureFixture[str]
) -> None:
    from affiliate.core import log

    _, whole = make(session, program, "orders:read")
    capfd.readouterr()
    log.set_up("DEBUG")
    call(client, f"Bearer {whole}")
    call(client, f"Bearer {whole}", f"{PATH}?key={whole}")
    printed = capfd.readouterr()
    log.set_up("WARNING")
    assert "request.refused" in printed.err
    assert whole.split("_", 2)[2] not in printed.err + printed.out


@pytest.mark.abuse("A37")
def test_an_unknown_prefix_costs_the_same_comparison(
    app: Flask, session: Session, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, _whole = make(session, program)
    compared: list[tuple[int, int]] = []

    def comparing(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return hmac.compare_digest(a, b)

    monkeypatch.setattr(
        sent_keys, "hmac", type("Hmac", (), {"compare_digest": staticmethod(comparing)})
    )
    for prefix in (key.prefix, "00000000"):
        with pytest.raises(KeyRefused):
            sent_keys.authenticate(
                session, authorization=f"Bearer kpk_{prefix}_{'A' * 43}", now=real_now()
            )
    assert compared == [(32, 32), (32, 32)]


@pytest.mark.abuse("A37")
def test_nobody_calls_with_the_stand_in_for_unknown_keys(session: Session) -> None:
    with pytest.raises(KeyRefused):
        sent_keys.authenticate(
            session, authorization="Bearer kpk_00000000_no key has this secret", now=real_now()
        )


def test_the_last_use_is_noted_to_the_minute(
    client: FlaskClient, session: Session, program: Program
) -> None:
    key, whole = make(session, program)
    call(client, f"Bearer {whole}")
    session.refresh(key)
    first = key.last_used_at
    assert first is not None and (first.second, first.microsecond) == (0, 0)
    session.rollback()
    assert not sent_keys.note_use(session, key_id=key.id, now=first + timedelta(seconds=59))
    assert sent_keys.note_use(session, key_id=key.id, now=first + timedelta(seconds=60))


@pytest.mark.parametrize("scopes", [(), ("everything",), ("orders:write", "root")])
def test_a_key_names_known_scopes(
    session: Session, program: Program, scopes: tuple[str, ...]
) -> None:
    with pytest.raises(Invalid):
        api_keys.create_key(
            session, program_id=program.id, scopes=scopes, name="x", by=None, now=real_now()
        )


@pytest.mark.abuse("A24")
def test_a_key_of_another_program_is_not_there(session: Session, program: Program) -> None:
    key, _ = make(session, program)
    with pytest.raises(NotFound):
        api_keys.revoke_key(
            session, program_id=program.id + 1, key_id=key.id, by=None, now=real_now()
        )


@pytest.mark.abuse("A41")
def test_the_desk_shows_a_new_key_once_and_revokes_it(
    app: Flask, session: Session, program: Program
) -> None:
    make_person(session, "owner@example.com", role="owner")
    owner = Browser(app)
    owner.sign_in("owner@example.com")
    form = {"name": "Shop", "program": "lamps", "scopes": ["orders:write", "orders:read"]}
    made = owner.post("/manage/keys", **form)
    assert made.status_code == 201
    key = session.scalars(sa.select(ApiKey)).one()
    number, prefix = key.id, key.prefix
    assert f"kpk_{prefix}_" in made.text
    whole = made.text.split('value="kpk_')[1].split('"')[0]
    assert whole.split("_", 1)[1] not in owner.get("/manage/keys").text
    rotated = owner.post(f"/manage/keys/{number}/rotation", page="/manage/keys")
    assert rotated.status_code == 201
    new = rotated.text.split('value="kpk_')[1].split('"')[0]
    session.rollback()
    for one in (whole, new):
        sent_keys.authenticate(session, authorization=f"Bearer kpk_{one}", now=real_now())
    session.rollback()
    owner.post(f"/manage/keys/{number}/revocation", page="/manage/keys")
    with pytest.raises(KeyRefused):
        sent_keys.authenticate(session, authorization=f"Bearer kpk_{whole}", now=real_now())
    assert owner.post("/manage/keys", name="Shop", program="lamps").status_code == 422


def test_the_desk_folds_a_long_list_of_rights_and_lists_ended_keys_last(
    app: Flask, session: Session, program: Program
) -> None:
    make_person(session, "owner@example.com", role="owner")
    for name, scopes in (("Everything", api_keys.SCOPES), ("Ended", ["orders:read"])):
        key, _ = api_keys.create_key(
            session, program_id=program.id, scopes=scopes, name=name, by=None, now=real_now()
        )
    key.revoked_at = real_now()
    session.commit()
    owner = Browser(app)
    owner.sign_in("owner@example.com")
    page = owner.get("/manage/keys").text
    assert f"and {len(api_keys.SCOPES) - 3} more" in page
    assert page.index("Everything") < page.index("<strong>Ended")


def test_scopes_stand_in_the_order_of_the_form() -> None:
    assert api_keys.in_order(["old:scope", "orders:write", "affiliates:read", "orders:read"]) == [
        "orders:read", "orders:write", "affiliates:read", "old:scope",
    ]  # fmt: skip


@pytest.mark.abuse("A24")
def test_a_manager_makes_and_ends_keys_of_the_own_program_alone(
    app: Flask, session: Session, program: Program
) -> None:
    other = make_program(session, now=real_now(), slug="other", name="Other")
    theirs, _ = make(session, other)
    person = make_person(session, "manager@example.com")
    grants.grant_role(
        session, user_id=person.id, role="manager", program_id=program.id, by=None, now=real_now()
    )
    session.commit()
    number, prefix = theirs.id, theirs.prefix
    manager = Browser(app)
    manager.sign_in("manager@example.com")
    assert prefix not in manager.get("/manage/keys").text
    for verb in ("revocation", "rotation"):
        path = f"/manage/keys/{number}/{verb}"
        assert manager.post(path, page="/manage/keys").status_code == 404
    form = {"name": "x", "program": "other", "scopes": ["orders:read"]}
    assert manager.post("/manage/keys", **form).status_code == 422


def test_the_command_prints_the_key_alone_and_once(
    app: Flask, session: Session, program: Program
) -> None:
    run = app.test_cli_runner()
    made = run.invoke(
        cli.key_group,
        ["create", "--program", "lamps", "--scope", "orders:write", "--name", "shop"],
    )
    assert made.exit_code == 0, made.output
    whole = made.stdout.strip()
    found = sent_keys.authenticate(session, authorization=f"Bearer {whole}", now=real_now())
    assert found.scopes == {"orders:write"}
    session.rollback()
    rotated = run.invoke(
        cli.key_group, ["rotate", "--program", "lamps", "--days", "1", f"kpk_{found.prefix}"]
    )
    assert rotated.exit_code == 0, rotated.output
    new = sent_keys.authenticate(
        session, authorization=f"Bearer {rotated.stdout.strip()}", now=real_now()
    )
    assert new.prefix != found.prefix
    session.rollback()
    ended = run.invoke(cli.key_group, ["revoke", "--program", "lamps", found.prefix])
    assert ended.exit_code == 0, ended.output
    with pytest.raises(KeyRefused):
        sent_keys.authenticate(session, authorization=f"Bearer {whole}", now=real_now())
    missing = run.invoke(cli.key_group, ["revoke", "--program", "lamps", "00000000"])
    assert missing.exit_code == 1
