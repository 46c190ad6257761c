"""Pages that Kopeck hosts: written by a manager, shown for one affiliate's link, never a click."""

from __future__ import annotations

import html
import io
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from staff import Staff, hire
from world import Person, World

from affiliate.links.links import disable_link
from affiliate.promo import creatives
from affiliate.promo.creatives import add_creative
from affiliate.promo.models import Creative
from affiliate.promo.rules import Kind, Wording
from tests.products.feeds import png

NASTY = "\"'><script>alert(1)</script>{{ 7*7 }}"


@pytest.fixture(autouse=True)
def no_csrf(app: Flask) -> None:
    """These tests are about the pages; the matrix has the ones about forged forms."""
    app.config["WTF_CSRF_ENABLED"] = False


@pytest.fixture
def manager(world: World) -> Staff:
    return hire(world, "manager")


@pytest.fixture
def anna(world: World) -> Person:
    return world.affiliate("Anna")


def write(manager: Staff, **fields: Any) -> Any:
    values = {
        "name": "Light for small flats", "body": "Why:\n- bends its neck\n- folds flat",
        "button": "See the lamps", "destination": "https://shop.example/lamps?a=1", **fields,
    }  # fmt: skip
    return manager.client.post("/manage/promo/new?kind=page", data=values)


def code_of(world: World) -> str:
    world.session.rollback()
    number = world.session.scalars(sa.select(Creative.id).order_by(Creative.id.desc())).first()
    assert number is not None
    return creatives.creative_code(number)


def path_of(world: World, person: Person) -> str:
    assert person.link is not None
    return f"/l/{person.link.code}/{code_of(world)}"


def text_of(answer: Any) -> str:
    return html.unescape(answer.get_data(as_text=True))


def test_a_page_is_written_shared_and_leads_to_the_shop_by_the_affiliates_link(
    world: World, anna: Person, manager: Staff, app: Flask
) -> None:
    assert write(manager, picture=(io.BytesIO(png()), "a.png"), alt="A lamp").status_code == 303
    path = path_of(world, anna)
    assert f"http://127.0.0.1:8000{path}" in text_of(anna.client.get("/account/promo?kind=page"))
    answer = app.test_client().get(path)
    page = text_of(answer)
    assert answer.status_code == 200
    assert "<h1>Light for small flats</h1>" in page
    assert "<li>bends its neck</li><li>folds flat</li>" in page
    assert f'<img src="/promo/{code_of(world)}.png" alt="A lamp"' in page
    assert anna.link is not None
    assert (
        f'href="http://127.0.0.1:8000/r/{anna.link.code}?cr={code_of(world)}'
        '&to=https%3A%2F%2Fshop.example%2Flamps%3Fa%3D1"'
    ) in page


def test_a_page_does_nothing_but_be_read(
    world: World, anna: Person, manager: Staff, app: Flask
) -> None:
    write(manager)
    answer = app.test_client().get(path_of(world, anna))
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["X-Robots-Tag"] == "noindex, nofollow"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "script" not in policy
    assert "<script" not in answer.text and "<form" not in answer.text
    assert '<meta name="robots" content="noindex, nofollow">' in answer.text


@pytest.mark.abuse("A32", "A47")
def test_a_managers_words_are_text_and_nothing_else(
    world: World, anna: Person, manager: Staff, app: Flask
) -> None:
    assert (
        write(manager, name=NASTY, body=f"{NASTY}\n- {NASTY}", button=NASTY[:40]).status_code == 303
    )
    page = app.test_client().get(path_of(world, anna)).text
    assert "<script>alert" not in page
    assert "{{ 7*7 }}" in html.unescape(page)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"), ({"body": ""}, "body"), ({"button": ""}, "button"),
        ({"button": "x" * 41}, "button"), ({"body": "a\u202eb"}, "body"),
        ({"destination": "https://elsewhere.example/"}, "destination"),
        ({"picture": (io.BytesIO(b"<svg/>"), "a.svg")}, "picture"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_stands_beside_its_field(
    world: World, manager: Staff, changes: dict[str, Any], field: str
) -> None:
    answer = write(manager, **changes)
    assert answer.status_code == 422
    assert f'id="{field}-errors"' in answer.text
    assert world.session.scalar(sa.select(sa.func.count(Creative.id))) == 0


def test_a_page_that_is_over_leads_straight_on(
    world: World, anna: Person, manager: Staff, app: Flask
) -> None:
    write(manager)
    path, visitor = path_of(world, anna), app.test_client()
    assert anna.link is not None
    start = f"http://127.0.0.1:8000/r/{anna.link.code}?cr={code_of(world)}&to="
    code = code_of(world)
    manager.client.post(f"/manage/promo/{code}/retired")
    answer = visitor.get(path)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (302, "no-store")
    assert answer.location.startswith(start)
    manager.client.post(f"/manage/promo/{code}/offered")
    assert visitor.get(path).status_code == 200
    row = world.session.scalars(sa.select(Creative)).one()
    row.ends_on = world.now.date() - timedelta(days=3)
    world.session.commit()
    assert visitor.get(path).status_code == 302
    row.ends_on = None
    world.session.commit()
    with world.app.app_context():
        disable_link(world.session, link_id=anna.link.id, now=world.now)
        world.session.commit()
    assert visitor.get(path).status_code == 302


@pytest.mark.abuse("A24")
def test_only_a_page_and_a_link_of_one_program_make_an_address(
    world: World, anna: Person, manager: Staff, app: Flask
) -> None:
    write(manager)
    page = code_of(world)
    with world.app.app_context():
        for program, kind in ((world.euros, Kind.PAGE), (world.program, Kind.TEXT)):
            add_creative(
                world.session, program_id=program.id, kind=kind, by=None, now=world.now,
                wording=Wording("It", body="x", button="Go"),
            )  # fmt: skip
        world.session.commit()
    others = [creatives.creative_code(number) for number in
              world.session.scalars(sa.select(Creative.id).order_by(Creative.id))][1:]  # fmt: skip
    assert anna.link is not None
    visitor = app.test_client()
    assert visitor.get(f"/l/{anna.link.code}/{page}").status_code == 200
    for wrong in (*others, "crt_zzzz", "prd_4aB2", "x"):
        assert visitor.get(f"/l/{anna.link.code}/{wrong}").status_code == 404
    for wrong in ("nobody", "x" * 100, "%00", "anna%0d%0a"):
        assert visitor.get(f"/l/{wrong}/{page}").status_code == 404


def test_a_destination_that_the_sites_no_longer_have_is_left_out(
    world: World, anna: Person, manager: Staff, app: Flask
) -> None:
    write(manager, destination="https://www.shop.example/lamps")
    world.program.allowed_sites = ["shop.example"]
    world.session.commit()
    page = text_of(app.test_client().get(path_of(world, anna)))
    assert f'?cr={code_of(world)}"' in page
    assert "www.shop.example" not in page
