"""Promo materials on the manager's desk, in the affiliate's account and on other sites."""

from __future__ import annotations

import html
import io
import re
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from PIL import Image
from staff import Staff, hire
from world import World

from affiliate.core.audit import AuditEntry
from affiliate.core.errors import NotFound
from affiliate.core.ids import public_id
from affiliate.links.links import create_link
from affiliate.programs.models import Program
from affiliate.promo import creatives
from affiliate.promo.creatives import TooManyCreatives, add_creative, change_creative
from affiliate.promo.lookup import names_of
from affiliate.promo.models import Creative, CreativePicture
from affiliate.promo.rules import Kind, Wording


@pytest.fixture(autouse=True)
def no_csrf(app: Flask) -> None:
    """These tests are about the desk; the matrix has the ones about forged forms."""
    app.config["WTF_CSRF_ENABLED"] = False


@pytest.fixture
def manager(world: World) -> Staff:
    return hire(world, "manager")


def png(size: tuple[int, int] = (120, 60)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (20, 120, 110)).save(out, "PNG")
    return out.getvalue()


def banner(**changes: Any) -> dict[str, Any]:
    return {
        "name": "Spring banner", "alt": "Lamps among leaves",
        "picture": (io.BytesIO(png()), "../../etc/passwd.png"), **changes,
    }  # fmt: skip


def offer(manager: Staff, kind: str, **fields: Any) -> Any:
    return manager.client.post(f"/manage/promo/new?kind={kind}", data=fields)


def stored(world: World) -> list[Creative]:
    world.session.rollback()
    return list(world.session.scalars(sa.select(Creative).order_by(Creative.id)))


def code_of(world: World, number: int = -1) -> str:
    return creatives.creative_code(stored(world)[number].id)


def text_of(answer: Any) -> str:
    return html.unescape(answer.get_data(as_text=True))


def test_a_banner_goes_from_the_managers_file_to_an_affiliates_site(
    world: World, manager: Staff, app: Flask
) -> None:
    anna = world.affiliate("Anna")
    assert offer(manager, "banner", **banner()).status_code == 303
    code = code_of(world)
    page = text_of(anna.client.get("/account/promo"))
    assert anna.link is not None
    link = f"http://127.0.0.1:8000/r/{anna.link.code}?cr={code}"
    assert f'<img src="http://127.0.0.1:8000/promo/{code}.png" width="120" height="60"' in page
    assert link in page
    assert "Spring banner" in page
    shown = app.test_client().get(f"/promo/{code}.png")
    assert shown.status_code == 200
    assert shown.content_type == "image/png"
    with Image.open(io.BytesIO(shown.data)) as picture:
        assert picture.size == (120, 60)


def test_pictures_are_kept_by_browsers_shown_on_other_sites_and_can_do_nothing(
    world: World, manager: Staff, app: Flask
) -> None:
    offer(manager, "banner", **banner())
    visitor, path = app.test_client(), f"/promo/{code_of(world)}.png"
    answer = visitor.get(path)
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Set-Cookie" not in answer.headers
    again = visitor.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    for wrong in (path.replace(".png", ".jpg"), "/promo/crt_zzzz.png", "/promo/lnk_4aB2.png"):
        assert visitor.get(wrong).status_code == 404


def test_a_click_of_a_material_is_counted_for_it_on_both_pages(
    world: World, manager: Staff
) -> None:
    anna = world.affiliate("Anna")
    offer(manager, "text", name="A few lines", body="Lamps for {link} alone")
    code = code_of(world)
    world.click(anna.link, at=world.now - timedelta(hours=1), creative=code)
    assert "1 click of yours" in text_of(anna.client.get("/account/promo"))
    for client, desk in ((anna.client, "account"), (manager.client, "manage")):
        assert "A few lines" in client.get(f"/{desk}/statistics?by=creative").text
        told = client.get(f"/{desk}/statistics.csv?by=creative").text
        assert f"{code},A few lines,1," in told
    row = re.search(rf"{code}.*?</tr>", manager.client.get("/manage/promo").text, re.DOTALL)
    assert row is not None
    assert 'data-label="Clicks" data-sort="1"' in row.group()


def test_a_text_is_copied_with_the_readers_own_link_in_it(world: World, manager: Staff) -> None:
    anna, boris = world.affiliate("Anna"), world.affiliate("Boris")
    offer(manager, "email", name="Letter", subject="Light", body="Look: {link}\nYours",
          destination="https://shop.example/lamps?x=1")  # fmt: skip
    code = code_of(world)
    for person in (anna, boris):
        assert person.link is not None
        page = text_of(person.client.get("/account/promo?kind=email"))
        assert (
            f"Look: http://127.0.0.1:8000/r/{person.link.code}?cr={code}"
            "&to=https%3A%2F%2Fshop.example%2Flamps%3Fx%3D1\nYours"
        ) in page


def test_the_chosen_link_is_the_one_in_the_materials(world: World, manager: Staff) -> None:
    anna, boris = world.affiliate("Anna"), world.affiliate("Boris")
    with world.app.app_context():
        other = create_link(world.session, enrollment_id=anna.enrollment.id, now=world.now)
        world.session.commit()
    offer(manager, "text", name="Lines", body="{link}")
    page = text_of(anna.client.get(f"/account/promo?link={public_id('lnk', other.id)}"))
    assert f"/r/{other.code}?cr=" in page
    assert boris.link is not None
    theirs = public_id("lnk", boris.link.id)
    assert anna.client.get(f"/account/promo?link={theirs}").status_code == 404


def test_without_a_link_the_page_says_what_to_do(world: World, manager: Staff) -> None:
    anna = world.affiliate("Anna", link=False)
    assert "has not offered any" in text_of(anna.client.get("/account/promo"))
    offer(manager, "banner", **banner())
    page = text_of(anna.client.get("/account/promo"))
    assert "You have no link yet." in page
    assert "Code for a page" not in page


@pytest.mark.parametrize(
    ("kind", "changes", "field"),
    [
        ("banner", {"picture": (io.BytesIO(b""), "")}, "picture"),
        ("banner", {"picture": (io.BytesIO(b"<svg onload=alert(1)>"), "x.png")}, "picture"),
        ("banner", {"alt": ""}, "alt"),
        ("banner", {"name": ""}, "name"),
        ("banner", {"destination": "https://elsewhere.example/"}, "destination"),
        ("landing", {"name": "Sale", "destination": ""}, "destination"),
        # Short as it is typed, long as it is written in an address.
        ("text", {"body": "x", "destination": "https://shop.example/" + "ы" * 200}, "destination"),
        ("text", {"body": "a\u202eb"}, "body"),
        ("video", {"video_url": "javascript:alert(1)"}, "video_url"),
        ("news", {"body": "x", "starts_on": "2026-12-02", "ends_on": "2026-12-01"}, "ends_on"),
        ("news", {"body": "x", "starts_on": "tomorrow"}, "starts_on"),
        ("news", {"body": "x", "language": "e!"}, "language"),
    ],
)
def test_what_cannot_be_offered_stands_beside_its_field_and_is_not_kept(
    world: World, manager: Staff, kind: str, changes: dict[str, Any], field: str
) -> None:
    fields = banner() if kind == "banner" else {"name": "It"}
    answer = offer(manager, kind, **{**fields, **changes})
    assert answer.status_code == 422
    assert f'id="{field}-errors"' in answer.text
    assert stored(world) == []
    assert world.session.scalar(sa.select(sa.func.count()).select_from(CreativePicture)) == 0


@pytest.mark.abuse("A33")
def test_a_file_that_is_too_large_is_refused_before_it_is_read(
    world: World, manager: Staff
) -> None:
    answer = manager.client.post(
        "/manage/promo/new?kind=banner", data=bytes(3_300_000),
        content_type="multipart/form-data; boundary=x",
    )  # fmt: skip
    assert answer.status_code == 413
    assert stored(world) == []


@pytest.mark.abuse("A32")
def test_texts_of_managers_cannot_script_a_page(world: World, manager: Staff) -> None:
    anna = world.affiliate("Anna")
    nasty = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>"
    for kind in ("text", "email", "news", "notes", "keywords", "article"):
        assert offer(manager, kind, name=nasty, subject=nasty, body=nasty).status_code == 303
    assert offer(manager, "banner", **banner(name=nasty, alt=nasty)).status_code == 303
    pages = [anna.client.get(f"/account/promo?kind={kind.value}").text for kind in Kind]
    pages += [manager.client.get("/manage/promo").text]
    pages += [
        manager.client.get(f"/manage/promo/{creatives.creative_code(row.id)}").text
        for row in stored(world)
    ]
    for page in pages:
        assert "<script>alert" not in page
        assert "<img src=x" not in page


def test_a_wording_is_changed_and_the_log_says_from_what_to_what(
    world: World, manager: Staff
) -> None:
    offer(manager, "text", name="Old", body="One")
    path = f"/manage/promo/{code_of(world)}"
    assert 'value="Old"' in manager.client.get(path).text
    assert manager.client.post(path, data={"name": "New", "body": "One"}).status_code == 303
    (row,) = stored(world)
    assert (row.name, row.body) == ("New", "One")
    entry = world.session.scalars(sa.select(AuditEntry).order_by(AuditEntry.id.desc())).first()
    assert entry is not None
    assert (entry.action, entry.old, entry.new) == (
        "creative.change", {"name": "Old"}, {"name": "New"},
    )  # fmt: skip
    assert manager.client.post(path, data={"name": "", "body": "One"}).status_code == 422
    assert stored(world)[0].name == "New"


@pytest.mark.abuse("A32")
def test_a_field_that_the_kind_does_not_have_is_not_kept(world: World, manager: Staff) -> None:
    anna = world.affiliate("Anna")
    sent = {"name": "Lines", "body": "x", "video_url": "javascript:alert(1)", "alt": "a"}
    assert offer(manager, "text", **sent).status_code == 303
    (row,) = stored(world)
    assert (row.video_url, row.alt) == ("", "")
    assert "javascript:" not in anna.client.get("/account/promo").text


@pytest.mark.abuse("A5")
def test_a_visitors_made_up_code_breaks_no_statistics(
    world: World, manager: Staff, app: Flask
) -> None:
    """Hashids decode it to a number that PostgreSQL has no room for."""
    anna = world.affiliate("Anna")
    code = creatives.creative_code(2**63)
    assert anna.link is not None
    world.click(anna.link, at=world.now - timedelta(hours=1), creative=code)
    for client, desk in ((anna.client, "account"), (manager.client, "manage")):
        answer = client.get(f"/{desk}/statistics?by=creative")
        assert answer.status_code == 200
        assert code in answer.text
        assert client.get(f"/{desk}/promo").status_code == 200
    assert app.test_client().get(f"/promo/{code}.png").status_code == 404


def test_a_page_that_the_programs_sites_no_longer_have_is_left_out(
    world: World, manager: Staff
) -> None:
    anna = world.affiliate("Anna")
    offer(manager, "text", name="Lines", body="x", destination="https://shop.example/lamps")
    assert "Leads to https://shop.example/lamps" in anna.client.get("/account/promo").text
    program = world.session.get_one(Program, world.program.id)
    program.allowed_sites = ["other.example"]
    world.session.commit()
    page = anna.client.get("/account/promo").text
    assert "Leads to" not in page
    assert "to=https" not in page


def test_a_retired_banner_is_offered_no_more_and_still_shown_on_sites(
    world: World, manager: Staff, app: Flask
) -> None:
    anna = world.affiliate("Anna")
    offer(manager, "banner", **banner())
    code = code_of(world)
    for _ in range(2):
        assert manager.client.post(f"/manage/promo/{code}/retired").status_code == 303
    assert "Spring banner" not in anna.client.get("/account/promo").text
    assert app.test_client().get(f"/promo/{code}.png").status_code == 200
    manager.client.post(f"/manage/promo/{code}/offered")
    assert "Spring banner" in anna.client.get("/account/promo").text


def test_a_season_that_is_over_is_not_offered_and_one_to_come_says_so(
    world: World, manager: Staff
) -> None:
    anna, day = world.affiliate("Anna"), world.local.date()
    past, soon = (day - timedelta(days=1)).isoformat(), (day + timedelta(days=3)).isoformat()
    offer(manager, "news", name="Over", body="x", ends_on=past)
    offer(manager, "news", name="Soon", body="x", starts_on=soon)
    page = anna.client.get("/account/promo").text
    assert "Soon" in page
    assert "Over" not in page


def test_languages_and_kinds_are_chosen_in_the_address(world: World, manager: Staff) -> None:
    anna = world.affiliate("Anna")
    offer(manager, "text", name="English lines", body="x", language="en")
    offer(manager, "text", name="Russian lines", body="x", language="ru")
    offer(manager, "keywords", name="Words", body="lamp")
    page = anna.client.get("/account/promo?kind=text&language=ru").text
    assert "Russian lines" in page
    assert "English lines" not in page
    for wrong in ("kind=virus", "language=xx", "start=x", "start=400", "link=lnk_zzzz"):
        assert anna.client.get(f"/account/promo?{wrong}").status_code == 404


def test_many_of_a_kind_are_paged(world: World, manager: Staff) -> None:
    anna = world.affiliate("Anna")
    with world.app.app_context():
        for number in range(45):
            add_creative(
                world.session, program_id=world.program.id, kind=Kind.TEXT,
                wording=Wording(f"Text number {number:02}", body="x"), by=None, now=world.now,
            )  # fmt: skip
        world.session.commit()
    assert manager.client.get("/manage/promo").text.count('data-label="Season"') == 45
    first = anna.client.get("/account/promo").text
    assert "Text number 44" in first
    assert "Text number 04" not in first
    older = re.search(r'rel="next" href="([^"]+)"', first)
    assert older is not None
    assert "Text number 04" in anna.client.get(html.unescape(older.group(1))).text


@pytest.mark.abuse("A25")
def test_another_programs_materials_are_not_there(world: World, manager: Staff) -> None:
    anna = world.affiliate("Anna")
    with world.app.app_context():
        made = add_creative(
            world.session, program_id=world.euros.id, kind=Kind.TEXT,
            wording=Wording("Tea lines", body="x"), by=None, now=world.now,
        )  # fmt: skip
        world.session.commit()
        code = creatives.creative_code(made.id)
    assert manager.client.get(f"/manage/promo/{code}").status_code == 404
    assert manager.client.post(f"/manage/promo/{code}", data={"name": "x"}).status_code == 404
    assert manager.client.post(f"/manage/promo/{code}/retired").status_code == 404
    assert "Tea lines" not in anna.client.get("/account/promo").text


def test_whoever_changes_a_material_comes_back_to_its_own_program(world: World) -> None:
    owner = hire(world, "owner")
    owner.client.get("/manage/promo?program=demo")
    with world.app.app_context():
        made = add_creative(
            world.session, program_id=world.euros.id, kind=Kind.TEXT,
            wording=Wording("Tea lines", body="x"), by=None, now=world.now,
        )  # fmt: skip
        world.session.commit()
        path = f"/manage/promo/{creatives.creative_code(made.id)}"
    for answer in (
        owner.client.post(path, data={"name": "Tea leaves", "body": "x"}),
        owner.client.post(f"{path}/retired"),
        owner.client.post(f"{path}/offered"),
    ):
        assert answer.location == "/manage/promo?program=demo-manual"


def test_whoever_may_only_read_sees_no_form_to_send(world: World, manager: Staff) -> None:
    offer(manager, "text", name="Lines", body="x")
    curator = hire(world, "curator")
    code = code_of(world)
    assert "New material" not in curator.client.get("/manage/promo").text
    assert ">Save<" not in curator.client.get(f"/manage/promo/{code}").text
    assert curator.client.post(f"/manage/promo/{code}/retired").status_code == 403


def test_a_program_has_room_for_so_many(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(creatives, "CREATIVES_PER_PROGRAM_MAX", 1)
    values: dict[str, Any] = {"kind": Kind.TEXT, "by": None, "now": world.now}
    with world.app.app_context():
        made = add_creative(
            world.session, program_id=world.program.id, wording=Wording("A", body="x"), **values
        )
        with pytest.raises(TooManyCreatives):
            add_creative(
                world.session, program_id=world.program.id, wording=Wording("B", body="x"), **values
            )
        with pytest.raises(NotFound):
            add_creative(world.session, program_id=9_999, wording=Wording("B", body="x"), **values)
        with pytest.raises(NotFound):
            change_creative(
                world.session, creative_id=9_999, wording=Wording("B", body="x"), by=None,
                now=world.now,
            )  # fmt: skip
        codes = [creatives.creative_code(made.id), "crt_zzzz", "banner-of-before"]
        known = names_of(world.session, program_id=world.program.id, codes=codes)
        assert known == {codes[0]: "A"}
        assert names_of(world.session, program_id=world.euros.id, codes=codes) == {}
        world.session.rollback()
