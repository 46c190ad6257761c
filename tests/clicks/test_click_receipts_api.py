"""The receipt of a click over the API, for the shop's own program alone."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from click_support import CHROME, Shop
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.people import api_keys, ids
from affiliate.programs.models import Program
from tracker.clicks.loader import Loader
from tracker.clicks.recording import ClickRecorder
from tracker.clicks.tokens import ClickToken, read, signing_keys

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


def key_of(session: Session, program_id: int, scope: str = "statistics:read") -> dict[str, str]:
    _, key = api_keys.create_key(
        session, program_id=program_id, scopes=[scope], name="", by=None, now=NOW
    )
    session.commit()
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def click_id(settings: Settings, shop: Shop, loader: Loader) -> UUID:
    with ClickRecorder(settings) as recorder:
        token = recorder.click(
            link_id=shop.link_id, clicked_at=NOW, address="::1", agent=CHROME, sub_ids=["a"]
        )
    loader.round()
    found = read(token, signing_keys(settings.keys("click-token")))
    assert isinstance(found, ClickToken)
    return found.click_id


def test_a_receipt_says_what_became_of_the_click(
    client: FlaskClient, session: Session, shop: Shop, click_id: UUID
) -> None:
    answer = client.get(f"/api/v1/clicks/{click_id}", headers=key_of(session, shop.program_id))
    assert answer.status_code == 200
    assert answer.json == {
        "click_id": str(click_id),
        "affiliate": ids.public(shop.enrollment_id),
        "link": "abcde",
        "clicked_at": "2026-11-21T09:00:00Z",
        "counted": True,
        "unique": True,
        "credits": True,
        "reason": None,
        "referrer": "",
        "deep_link": None,
        "deep_link_refused": False,
        "sub_ids": {"s1": "a", "s2": None, "s3": None, "s4": None, "s5": None},
        "order": None,
    }


def test_other_programs_clicks_and_unknown_ones_are_not_found(
    client: FlaskClient, session: Session, shop: Shop, click_id: UUID
) -> None:
    other = Program(
        slug="other",
        name="Other",
        currency="EUR",
        landing_url="https://other.example/",
        allowed_sites=["other.example"],
        created_at=NOW,
    )
    session.add(other)
    session.flush()
    theirs, ours = key_of(session, other.id), key_of(session, shop.program_id)
    for path, headers in (
        (f"/api/v1/clicks/{click_id}", theirs),
        (f"/api/v1/clicks/{uuid4()}", ours),
        ("/api/v1/clicks/none", ours),
    ):
        assert client.get(path, headers=headers).status_code == 404, path


def test_a_receipt_needs_a_key_with_the_scope(
    client: FlaskClient, session: Session, shop: Shop, click_id: UUID
) -> None:
    path = f"/api/v1/clicks/{click_id}"
    assert client.get(path).status_code == 401
    poor = key_of(session, shop.program_id, "orders:read")
    assert client.get(path, headers=poor).status_code == 403
