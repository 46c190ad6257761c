"""Affiliates' own API keys: they reach what is their owner's in one program, and nothing else."""

from __future__ import annotations

import re
import threading
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import sessionmaker
from staff import hire
from world import Person, World

from affiliate.core.audit import AuditEntry
from affiliate.core.errors import Invalid, NotFound
from affiliate.people import api_keys, enrollments, ids, users
from affiliate.people.access import Kind, mark_of
from affiliate.people.api_keys import KeysOfActiveOnly, TooManyKeys
from affiliate.people.models import ApiKey

BOTH = ("own:read", "own:links")


@pytest.fixture
def anna(world: World) -> Person:
    return world.affiliate("Anna")


def key_of(world: World, person: Person, *scopes: str) -> str:
    _row, secret = api_keys.create_own_key(
        world.session, enrollment_id=person.enrollment.id, scopes=scopes or BOTH,
        name="sheet", by=person.user_id, now=world.now,
    )  # fmt: skip
    world.session.commit()
    return secret


def call(world: World, secret: str, path: str, method: str = "GET", **more: Any) -> Any:
    headers = {"Authorization": f"Bearer {secret}"}
    return world.app.test_client().open(f"/api/v1{path}", method=method, headers=headers, **more)


def public(person: Person) -> str:
    return ids.public(person.enrollment.id)


def test_an_own_key_reads_what_is_its_owners(world: World, anna: Person) -> None:
    world.sale("Anna", "100.00", days_ago=1)
    world.affiliate("Boris")
    world.sale("Boris", "7000.00", days_ago=1)
    secret = key_of(world, anna)
    me = call(world, secret, f"/affiliates/{public(anna)}")
    assert (me.status_code, me.json["name"]) == (200, "Anna")
    figures = call(world, secret, "/statistics").json
    assert figures["total"]["orders"] == 1
    same = call(world, secret, f"/statistics?affiliate={public(anna)}").json
    assert same["total"] == figures["total"]
    by_affiliate = call(world, secret, "/statistics?by=affiliate").json["rows"]
    assert [row["key"] for row in by_affiliate] == [public(anna)]
    file = call(world, secret, "/statistics.csv?by=day")
    assert file.status_code == 200
    assert "7000" not in file.text
    balance = call(world, secret, f"/affiliates/{public(anna)}/balance").json
    assert balance["pending"] == {"amount": "10.00", "currency": "RUB"}
    links = call(world, secret, f"/affiliates/{public(anna)}/links").json["links"]
    assert len(links) == 1


def test_commissions_are_told_with_what_they_come_from_page_by_page(
    world: World, anna: Person
) -> None:
    orders = [world.sale("Anna", "100.00", days_ago=days) for days in (5, 4, 3)]
    world.refund(orders[0], "50.00")
    world.sale(world.affiliate("Boris", recruiter="Anna").name, "10.00", days_ago=1)
    secret = key_of(world, anna)
    path = f"/affiliates/{public(anna)}/commissions"
    first = call(world, secret, f"{path}?limit=3").json
    second = call(world, secret, f"{path}?limit=3&after={first['next']}").json
    assert second["next"] is None
    told = first["commissions"] + second["commissions"]
    assert [(one["level"], one["amount"]["amount"]) for one in told] == [
        (2, "0.20"), (1, "10.00"), (1, "10.00"), (1, "10.00"),
    ]  # fmt: skip
    last = told[-1]
    assert (last["kind"], last["source"], last["status"]) == (
        "order", orders[0].order_id, "pending",
    )  # fmt: skip
    assert last["taken_back"]["amount"] == "5.00"
    for bad in ("limit=0", "limit=201", "after=zzz", "unknown=1"):
        assert call(world, secret, f"{path}?{bad}").status_code in (404, 422), bad


def test_an_own_key_makes_links_for_its_owner(world: World, anna: Person) -> None:
    secret = key_of(world, anna)
    path = f"/affiliates/{public(anna)}/links"
    made = call(world, secret, path, "POST", json={"code": "anna-by-key"})
    assert made.status_code == 201
    assert made.json["affiliate"] == public(anna)
    reader = key_of(world, anna, "own:read")
    assert call(world, reader, path, "POST", json={}).status_code == 403


@pytest.mark.abuse("A24")
def test_an_own_key_reaches_nothing_of_others_by_any_call(
    world: World, anna: Person, app: Flask
) -> None:
    """Every view of the API, out of the URL map: closed, or 404 for somebody else's id."""
    boris = world.affiliate("Boris")
    secret = key_of(world, anna)
    opened = set()
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            mark = mark_of(app.view_functions[rule.endpoint], rule.endpoint, method)
            if mark is None or mark.kind is not Kind.SCOPE:
                continue
            path = re.sub(r"<uuid:[^>]+>", str(uuid4()), rule.rule).removeprefix("/api/v1")
            path = re.sub(r"<int:[^>]+>", "1", path)
            path = re.sub(r"<[^>]+>", public(boris), path)
            query = f"?affiliate={public(boris)}" if "statistics" in path else ""
            body = {"json": {}} if method in ("POST", "PUT") else {}
            answer = call(world, secret, path + query, method, **body)
            if mark.own:
                opened.add(rule.endpoint)
                assert answer.status_code == 404, f"{method} {rule.rule}: {answer.status_code}"
            else:
                assert answer.status_code == 403, f"{method} {rule.rule}: {answer.status_code}"
                assert answer.json["code"] == "scope_missing"
    assert len(opened) >= 15


@pytest.mark.abuse("A24")
def test_a_shops_key_has_no_scope_of_own_keys_nor_the_other_way(world: World, anna: Person) -> None:
    for scopes in (["own:read"], ["orders:read", "own:links"]):
        with pytest.raises(Invalid):
            api_keys.create_key(
                world.session, program_id=world.program.id, scopes=scopes, name="x", by=None,
                now=world.now,
            )  # fmt: skip
    for wanted in ((), ("orders:read",), ("own:read", "affiliates:read")):
        with pytest.raises(Invalid):
            api_keys.create_own_key(
                world.session, enrollment_id=anna.enrollment.id, scopes=wanted, name="x",
                by=anna.user_id, now=world.now,
            )  # fmt: skip


def test_an_own_key_ends_with_its_owners_sign_in_and_enrollment(world: World, anna: Person) -> None:
    secret = key_of(world, anna)
    me = f"/affiliates/{public(anna)}"
    with world.app.app_context():
        enrollments.suspend(
            world.session, enrollment_id=anna.enrollment.id, reason="No.", by=None, now=world.now
        )
        world.session.commit()
    assert call(world, secret, me).status_code == 200
    assert call(world, secret, f"{me}/links", "POST", json={}).status_code == 409
    users.disable_user(world.session, user_id=anna.user_id, by=None, now=world.now)
    world.session.commit()
    assert call(world, secret, me).status_code == 401
    users.enable_user(world.session, user_id=anna.user_id, by=None, now=world.now)
    world.session.commit()
    assert call(world, secret, me).status_code == 200
    anna.enrollment.status = "closed"
    world.session.commit()
    assert call(world, secret, me).status_code == 401


def test_only_active_affiliates_make_keys_and_not_without_end(
    world: World, anna: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    applicant = world.affiliate("Vera", approved=False)
    with pytest.raises(KeysOfActiveOnly):
        key_of(world, applicant)
    world.session.rollback()
    with pytest.raises(NotFound):
        api_keys.create_own_key(
            world.session, enrollment_id=10**9, scopes=BOTH, name="", by=anna.user_id,
            now=world.now,
        )  # fmt: skip
    monkeypatch.setattr(api_keys, "OWN_KEYS_MAX", 2)
    key_of(world, anna)
    key_of(world, anna)
    with pytest.raises(TooManyKeys):
        key_of(world, anna)


def test_keys_made_at_once_do_not_pass_the_limit(
    world: World, anna: Person, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_keys, "OWN_KEYS_MAX", 3)
    enrollment_id, user_id, now = anna.enrollment.id, anna.user_id, world.now
    ended = []

    def run() -> None:
        with sessionmaker(engine)() as own:
            try:
                api_keys.create_own_key(
                    own, enrollment_id=enrollment_id, scopes=BOTH, name="", by=user_id, now=now
                )
                own.commit()
                ended.append(True)
            except TooManyKeys:
                ended.append(False)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(ended) == 3
    assert len(ended) == 6


def test_the_page_shows_a_key_once_and_revokes_it(world: World, anna: Person, app: Flask) -> None:
    app.config["WTF_CSRF_ENABLED"] = False
    page = anna.client.get("/account/api").text
    assert public(anna) in page
    assert "No key yet" in page
    made = anna.client.post("/account/api/keys", data={"name": "sheet", "scopes": ["own:read"]})
    assert made.status_code == 201
    found = re.search(r"kpk_[0-9a-f]{8}_[A-Za-z0-9_-]{43}", made.text)
    assert found
    assert call(world, found[0], f"/affiliates/{public(anna)}").status_code == 200
    again = anna.client.get("/account/api").text
    assert found[0] not in again
    assert "sheet" in again
    row = world.session.scalars(sa.select(ApiKey)).one()
    boris = world.affiliate("Boris")
    assert boris.client.post(f"/account/api/keys/{row.id}/revocation").status_code == 404
    assert anna.client.post(f"/account/api/keys/{row.id}/revocation").status_code == 303
    assert call(world, found[0], f"/affiliates/{public(anna)}").status_code == 401
    actions = world.session.scalars(
        sa.select(AuditEntry.action).where(AuditEntry.action.startswith("api_key."))
    ).all()
    assert actions == ["api_key.create", "api_key.revoke"]


def test_the_form_says_what_is_missing_and_asks_for_the_password(
    world: World, anna: Person, app: Flask
) -> None:
    app.config["WTF_CSRF_ENABLED"] = False
    answer = anna.client.post("/account/api/keys", data={"name": "<b>x</b>"})
    assert answer.status_code == 422
    assert "Name at least one of: own:read, own:links." in answer.text
    assert "<b>x</b>" not in answer.text
    world.session.execute(sa.text("UPDATE user_sessions SET fresh_at = now() - interval '1 hour'"))
    world.session.commit()
    late = anna.client.post("/account/api/keys", data={"scopes": ["own:read"]})
    assert late.status_code in (302, 303, 401)
    assert world.session.scalar(sa.select(sa.func.count()).select_from(ApiKey)) == 0


def test_managers_neither_see_nor_revoke_keys_of_affiliates(
    world: World, anna: Person, app: Flask
) -> None:
    app.config["WTF_CSRF_ENABLED"] = False
    secret = key_of(world, anna)
    row = world.session.scalars(sa.select(ApiKey)).one()
    manager = hire(world, "manager")
    assert row.prefix not in manager.client.get("/manage/keys").text
    assert manager.client.post(f"/manage/keys/{row.id}/revocation").status_code == 404
    assert call(world, secret, f"/affiliates/{public(anna)}").status_code == 200


@pytest.mark.parametrize(
    ("typed", "kept"),
    [("  my \n sheet ", "my sheet"), ("a\0b", "a b"), ("a\u202eb", "a b"), ("x" * 120, "x" * 100),
     ("", "")],
)  # fmt: skip
def test_a_keys_name_is_one_line_that_can_be_read(
    world: World, anna: Person, typed: str, kept: str
) -> None:
    row, _secret = api_keys.create_own_key(
        world.session, enrollment_id=anna.enrollment.id, scopes=BOTH, name=typed,
        by=anna.user_id, now=world.now,
    )  # fmt: skip
    assert row.name == kept
