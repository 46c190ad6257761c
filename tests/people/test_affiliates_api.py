"""API v1: affiliates and their links."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from builders import make_affiliate, make_program
from flask import Flask
from flask.testing import FlaskClient
from moments import NOW
from sqlalchemy.orm import Session

from affiliate.core.audit import AuditEntry
from affiliate.core.outbox import Mail
from affiliate.people import api_keys, ids
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program

ALL = ("affiliates:read", "affiliates:write")


@pytest.fixture
def program(app: Flask, session: Session) -> Program:
    made = make_program(session, now=NOW)
    session.commit()
    return made


@pytest.fixture
def anna(app: Flask, session: Session, program: Program) -> Enrollment:
    with app.app_context():
        made = make_affiliate(session, program, "anna@x.example", now=NOW)
    session.commit()
    return made


def bearer(session: Session, program: Program, scopes: tuple[str, ...] = ALL) -> dict[str, str]:
    _, key = api_keys.create_key(
        session, program_id=program.id, scopes=scopes, name="test", by=None, now=NOW
    )
    session.commit()
    return {"Authorization": f"Bearer {key}"}


def test_an_affiliate_proposed_by_the_shop_applies_and_verifies(
    client: FlaskClient, session: Session, program: Program, anna: Enrollment
) -> None:
    body = {"email": "boris@x.example", "name": "Boris", "recruiter": ids.public(anna.id)}
    answer = client.post("/api/v1/affiliates", json=body, headers=bearer(session, program))
    assert answer.status_code == 201
    assert answer.json is not None
    assert (answer.json["name"], answer.json["status"]) == ("Boris", "applied")
    assert answer.json["recruiter"] == ids.public(anna.id)
    mails = session.scalars(sa.select(Mail.template).where(Mail.recipient == "boris@x.example"))
    assert set(mails) == {"people/verify_address", "application_received"}

    again = client.post("/api/v1/affiliates", json=body, headers=bearer(session, program))
    assert (again.status_code, again.json and again.json["code"]) == (409, "already_applied")


@pytest.mark.abuse("A35")
@pytest.mark.parametrize("field", ["status", "group", "recruiter_id", "user_id", "decided_by"])
def test_fields_that_are_not_the_shops_to_set_are_refused(
    client: FlaskClient, session: Session, program: Program, field: str
) -> None:
    body = {"email": "boris@x.example", "name": "Boris", field: "active"}
    answer = client.post("/api/v1/affiliates", json=body, headers=bearer(session, program))
    assert answer.status_code == 422
    assert answer.json is not None
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert session.scalar(sa.select(sa.func.count(Enrollment.id))) == 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "Boris"}, "email"),
        ({"email": "boris@x.example"}, "name"),
        ({"email": "boris", "name": "Boris"}, "email"),
        ({"email": "a@x.example\r\nBcc: b@x.example", "name": "Boris"}, "email"),
        ({"email": "boris@x.example", "name": "B\u202e"}, "name"),
        ({"email": "boris@x.example", "name": "B", "recruiter": "aff_zzzz"}, "recruiter"),
        ({"email": "boris@x.example", "name": "B", "website": "javascript:x"}, "site"),
    ],
)
def test_odd_values_are_refused_by_field(
    client: FlaskClient, session: Session, program: Program, body: dict[str, Any], field: str
) -> None:
    answer = client.post("/api/v1/affiliates", json=body, headers=bearer(session, program))
    assert answer.status_code == 422
    assert answer.json is not None
    assert field in [error["field"] for error in answer.json["errors"]]


def test_the_list_is_read_page_by_page(
    app: Flask, client: FlaskClient, session: Session, program: Program
) -> None:
    with app.app_context():
        made = [
            make_affiliate(session, program, f"a{n}@x.example", now=NOW, approved=n < 4)
            for n in range(5)
        ]
    headers = bearer(session, program)
    seen: list[str] = []
    after: str | None = None
    for _ in range(3):
        query = {"limit": 2} if after is None else {"limit": 2, "after": after}
        page = client.get("/api/v1/affiliates", query_string=query, headers=headers).json
        assert page is not None
        seen += [one["id"] for one in page["affiliates"]]
        after = page["next"]
    assert seen == [ids.public(one.id) for one in made]
    assert after is None
    applied = client.get("/api/v1/affiliates?status=applied", headers=headers).json
    assert applied is not None
    assert [one["id"] for one in applied["affiliates"]] == [ids.public(made[4].id)]


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "status=x", "after=1", "page=2"])
def test_odd_queries_are_refused(
    client: FlaskClient, session: Session, program: Program, query: str
) -> None:
    answer = client.get(f"/api/v1/affiliates?{query}", headers=bearer(session, program))
    assert answer.status_code == 422


@pytest.mark.abuse("A24")
def test_another_programs_affiliates_are_not_found(
    client: FlaskClient, session: Session, program: Program, anna: Enrollment
) -> None:
    other = make_program(session, now=NOW, slug="other")
    session.commit()
    headers = bearer(session, other)
    path = f"/api/v1/affiliates/{ids.public(anna.id)}"
    assert client.get(path, headers=headers).status_code == 404
    assert client.get(f"{path}/links", headers=headers).status_code == 404
    assert client.post(f"{path}/links", json={}, headers=headers).status_code == 404
    assert client.get("/api/v1/affiliates/1", headers=headers).status_code == 404
    listed = client.get("/api/v1/affiliates", headers=headers).json
    assert listed == {"affiliates": [], "next": None}


def test_links_are_made_and_listed(
    client: FlaskClient, session: Session, program: Program, anna: Enrollment
) -> None:
    headers = bearer(session, program)
    path = f"/api/v1/affiliates/{ids.public(anna.id)}"
    assert client.get(path, headers=headers).json == {
        "id": ids.public(anna.id),
        "name": "Anna",
        "status": "active",
        "reason": None,
        "group": None,
        "recruiter": None,
        "customer_id": None,
        "applied_at": "2026-11-21T07:15:00Z",
        "decided_at": "2026-11-21T07:15:00Z",
    }
    made = client.post(
        f"{path}/links",
        json={
            "destination": "https://shop.example/lamps",
            "code": "anna-lamps",
            "sub_ids": {"s1": "letter"},
        },
        headers=headers,
    )
    assert made.status_code == 201
    assert made.json is not None
    assert made.json["url"] == "http://127.0.0.1:8000/r/anna-lamps"
    assert made.json["sub_ids"] == {"s1": "letter", "s2": None, "s3": None, "s4": None, "s5": None}
    listed = client.get(f"{path}/links", headers=headers).json
    assert listed == {"links": [made.json], "next": None}
    taken = client.post(f"{path}/links", json={"code": "ANNA-LAMPS"}, headers=headers)
    assert (taken.status_code, taken.json and taken.json["code"]) == (409, "code_taken")
    odd = client.post(
        f"{path}/links", json={"destination": "https://evil.example/"}, headers=headers
    )
    assert (odd.status_code, odd.json and odd.json["code"]) == (422, "destination_refused")
    assert "evil" not in odd.text


def test_reading_is_not_writing(
    client: FlaskClient, session: Session, program: Program, anna: Enrollment
) -> None:
    headers = bearer(session, program, ("affiliates:read",))
    path = f"/api/v1/affiliates/{ids.public(anna.id)}/links"
    assert client.post(path, json={}, headers=headers).status_code == 403
    assert client.post("/api/v1/affiliates", json={}, headers=headers).status_code == 403
    assert client.get(path, headers=headers).status_code == 200
    assert client.get(path).status_code == 401


class TestShopCustomer:
    """Which customer of the shop an affiliate is: what they buy is their own purchase."""

    def put(self, client: FlaskClient, headers: Any, who: Enrollment, customer_id: Any) -> Any:
        return client.put(
            f"/api/v1/affiliates/{ids.public(who.id)}/customer",
            json={"customer_id": customer_id},
            headers=headers,
        )

    def test_the_shop_says_it_changes_it_and_takes_it_back(
        self, client: FlaskClient, session: Session, program: Program, anna: Enrollment
    ) -> None:
        headers = bearer(session, program)
        for said in ("c-881", "c-881", "c-882", None):
            answer = self.put(client, headers, anna, said)
            assert (answer.status_code, answer.json["customer_id"]) == (200, said)
        changed = session.scalars(
            sa.select(AuditEntry)
            .where(AuditEntry.action == "enrollment.set_shop_customer")
            .order_by(AuditEntry.id)
        ).all()
        assert [(c.old, c.new) for c in changed] == [
            ({"customer_id": None}, {"customer_id": "c-881"}),
            ({"customer_id": "c-881"}, {"customer_id": "c-882"}),
            ({"customer_id": "c-882"}, {"customer_id": None}),
        ]
        assert {c.actor.split("_")[0] for c in changed} == {"key:kpk"}

    def test_it_may_come_with_the_proposal(
        self, client: FlaskClient, session: Session, program: Program
    ) -> None:
        body = {"email": "boris@x.example", "name": "Boris", "customer_id": "c-7"}
        answer = client.post("/api/v1/affiliates", json=body, headers=bearer(session, program))
        assert (answer.status_code, answer.json and answer.json["customer_id"]) == (201, "c-7")

    def test_one_customer_is_one_affiliate(
        self, app: Flask, client: FlaskClient, session: Session, program: Program, anna: Enrollment
    ) -> None:
        with app.app_context():
            boris = make_affiliate(session, program, "boris@x.example", now=NOW)
        session.commit()
        headers = bearer(session, program)
        assert self.put(client, headers, anna, "c-881").status_code == 200
        answer = self.put(client, headers, boris, "c-881")
        assert (answer.status_code, answer.json["code"]) == (409, "customer_taken")
        assert answer.json["errors"][0]["field"] == "customer_id"
        body = {"email": "clara@x.example", "name": "Clara", "customer_id": "c-881"}
        answer = client.post("/api/v1/affiliates", json=body, headers=headers)
        assert answer.status_code == 409
        assert session.scalar(sa.select(sa.func.count(Enrollment.id))) == 2

    @pytest.mark.parametrize("wrong", ["", "c 881", "c\u200b", 881, "x" * 256, True])
    def test_what_is_no_id_is_refused(
        self, client: FlaskClient, session: Session, program: Program, anna: Enrollment, wrong: Any
    ) -> None:
        answer = self.put(client, bearer(session, program), anna, wrong)
        assert answer.status_code == 422
        assert [e["field"] for e in answer.json["errors"]] == ["customer_id"]

    def test_another_programs_affiliate_and_a_key_that_may_not(
        self, client: FlaskClient, session: Session, program: Program, anna: Enrollment
    ) -> None:
        other = make_program(session, now=NOW, slug="other")
        assert self.put(client, bearer(session, other), anna, "c-1").status_code == 404
        reads = bearer(session, program, ("affiliates:read",))
        assert self.put(client, reads, anna, "c-1").status_code == 403
