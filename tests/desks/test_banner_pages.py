"""The banner maker on both desks: looked at, kept, seen by nobody else."""

from __future__ import annotations

import html
import io
import re
import threading
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from PIL import Image
from staff import Staff, hire
from world import Person, World

from affiliate.core.audit import AuditEntry
from affiliate.core.db import session_for
from affiliate.core.errors import Invalid, NotFound
from affiliate.links.links import NotEnrolled
from affiliate.products import pictures
from affiliate.products.importing import take_fetched
from affiliate.products.lookup import product_code
from affiliate.products.models import ShopProduct
from affiliate.promo import banners, creatives
from affiliate.promo.banner_drawing import draw
from affiliate.promo.banner_rules import Brand, Design, Look
from affiliate.promo.banners import TooManyBanners, TooManyBannersToday, keep_banner, set_brand
from affiliate.promo.creatives import TooManyCreatives
from affiliate.promo.lookup import names_of
from affiliate.promo.models import BannerBrand, Creative, CreativePicture
from affiliate.promo.pictures import small_picture
from tests.products.feeds import csv_feed, png, row

WORDS = {"size": "728x90", "text": "Light for small flats", "button": "Look", "look": "light"}


@pytest.fixture(autouse=True)
def no_csrf(app: Flask) -> None:
    """These tests are about the desk; the matrix has the ones about forged forms."""
    app.config["WTF_CSRF_ENABLED"] = False


@pytest.fixture
def manager(world: World) -> Staff:
    return hire(world, "manager")


@pytest.fixture
def anna(world: World) -> Person:
    return world.affiliate("Anna")


def stored(world: World) -> list[Creative]:
    world.session.rollback()
    return list(world.session.scalars(sa.select(Creative).order_by(Creative.id)))


def text_of(answer: Any) -> str:
    return html.unescape(answer.get_data(as_text=True))


def a_product(world: World, **changes: str) -> str:
    """A product with a picture; its public id."""
    source = "https://cdn.example/a.png"
    with world.app.app_context():
        take_fetched(
            world.session, program_id=world.program.id, now=world.now,
            raw=csv_feed(row("A", image_link=source, **changes)),
        )  # fmt: skip
        each = pictures.Wanted(world.program.id, source, False)
        small = small_picture(png(), side_px=320)
        pictures.note_picture(world.session, each=each, answer=small, now=world.now)
        world.session.commit()
    return product_code(world.session.scalars(sa.select(ShopProduct.id)).one())


def test_a_banner_is_looked_at_kept_and_taken_away_with_the_readers_link(
    world: World, anna: Person, app: Flask
) -> None:
    page = text_of(anna.client.get("/account/banners", query_string=WORDS))
    preview = re.search(r'<img src="(/account/banners/preview\?[^"]+)"', page)
    assert preview is not None
    shown = anna.client.get(preview.group(1))
    assert (shown.status_code, shown.content_type) == (200, "image/png")
    with Image.open(io.BytesIO(shown.data)) as picture:
        assert picture.size == (728, 90)
    assert stored(world) == []
    assert anna.client.post("/account/banners", data=WORDS).status_code == 303
    (made,) = stored(world)
    code = creatives.creative_code(made.id)
    assert (made.kind, made.name, made.enrollment_id) == (
        "banner", WORDS["text"], anna.enrollment.id,
    )  # fmt: skip
    page = text_of(anna.client.get("/account/banners"))
    assert anna.link is not None
    link = f"http://127.0.0.1:8000/r/{anna.link.code}?cr={code}"
    assert f'<img src="http://127.0.0.1:8000/promo/{code}.png" width="728" height="90"' in page
    assert link in page
    public = app.test_client().get(f"/promo/{code}.png")
    assert public.data == shown.data


def _close(one: Any, other: tuple[int, int, int]) -> bool:
    """WebP keeps colours nearly."""
    return all(abs(a - b) <= 4 for a, b in zip(one, other, strict=True))


def test_a_banner_of_a_product_has_its_picture_its_title_and_its_page(
    world: World, anna: Person
) -> None:
    code = a_product(world, title="Heron lamp", link="https://shop.example/a?b=1")
    without = anna.client.get("/account/banners/preview", query_string={"text": "Heron lamp"})
    shown = anna.client.get("/account/banners/preview", query_string={"product": code})
    assert shown.status_code == 200
    with Image.open(io.BytesIO(shown.data)) as picture:
        colours = picture.convert("RGB").getcolors(100_000) or []
        green = sum(count for count, each in colours if _close(each, (20, 120, 110)))
    assert green > 1_000
    assert shown.data != without.data
    anna.client.post("/account/banners", data={"product": code, "format": "webp"})
    (made,) = stored(world)
    assert (made.name, made.destination) == ("Heron lamp", "https://shop.example/a?b=1")
    kept = world.session.scalars(sa.select(CreativePicture)).one()
    assert kept.extension == "webp"
    assert "to=https%3A%2F%2Fshop.example%2Fa%3Fb%3D1" in text_of(
        anna.client.get("/account/banners")
    )


def test_a_banner_counts_its_clicks_and_nobody_else_learns_of_it(
    world: World, anna: Person, manager: Staff
) -> None:
    boris = world.affiliate("Boris")
    anna.client.post("/account/banners", data=WORDS)
    (made,) = stored(world)
    code = creatives.creative_code(made.id)
    for person in (anna, boris):
        world.click(person.link, at=world.now - timedelta(hours=1), creative=code)
    assert "1 click of yours" in text_of(anna.client.get("/account/banners"))
    assert (
        f"{code},{WORDS['text']},1," in anna.client.get("/account/statistics.csv?by=creative").text
    )
    assert WORDS["text"] not in boris.client.get("/account/statistics.csv?by=creative").text
    for page in ("/account/banners", "/account/promo"):
        assert WORDS["text"] not in boris.client.get(page).text
    assert WORDS["text"] not in anna.client.get("/account/promo").text
    assert code not in manager.client.get("/manage/promo").text
    known = names_of(world.session, program_id=world.program.id, codes=[code])
    assert known == {code: WORDS["text"]}


@pytest.mark.abuse("A24", "A25")
def test_another_persons_banner_is_not_there(world: World, anna: Person, manager: Staff) -> None:
    boris = world.affiliate("Boris")
    anna.client.post("/account/banners", data=WORDS)
    (made,) = stored(world)
    code = creatives.creative_code(made.id)
    assert boris.client.post(f"/account/banners/{code}/retired").status_code == 404
    assert anna.client.post("/account/banners/crt_zzzz/retired").status_code == 404
    for path in (f"/manage/promo/{code}", f"/manage/promo/{code}/retired"):
        method = manager.client.get if path.endswith(code) else manager.client.post
        assert method(path).status_code == 404
    assert stored(world)[0].retired_at is None
    assert anna.client.post(f"/account/banners/{code}/retired").status_code == 303
    assert stored(world)[0].retired_at is not None
    assert code not in anna.client.get("/account/banners").text
    assert world.app.test_client().get(f"/promo/{code}.png").status_code == 200


def test_an_offered_material_is_not_taken_off_the_list_by_an_affiliate(
    world: World, anna: Person, manager: Staff
) -> None:
    manager.client.post("/manage/banners", data=WORDS)
    (made,) = stored(world)
    code = creatives.creative_code(made.id)
    assert anna.client.post(f"/account/banners/{code}/retired").status_code == 404


def test_a_manager_offers_a_banner_to_everybody(world: World, anna: Person, manager: Staff) -> None:
    page = text_of(manager.client.get("/manage/banners", query_string=WORDS))
    preview = re.search(r'<img src="(/manage/banners/preview\?[^"]+)"', page)
    assert preview is not None
    assert manager.client.get(preview.group(1)).status_code == 200
    answer = manager.client.post("/manage/banners", data=WORDS)
    (made,) = stored(world)
    assert made.enrollment_id is None
    assert answer.location == f"/manage/promo/{creatives.creative_code(made.id)}"
    assert WORDS["text"] in anna.client.get("/account/promo").text
    entry = world.session.scalars(sa.select(AuditEntry).order_by(AuditEntry.id.desc())).first()
    assert entry is not None
    assert (entry.action, (entry.new or {})["size"]) == ("creative.make", "728x90")


def test_the_brand_is_in_all_banners_from_then_on(
    world: World, anna: Person, manager: Staff
) -> None:
    before = anna.client.get("/account/banners/preview", query_string=WORDS).data
    brand = {"name": "Lamp & Leaf", "colour": "#5B2A86", "accent": "#ffd166"}
    assert manager.client.post("/manage/banners/brand", data=brand).status_code == 303
    world.session.rollback()
    kept = world.session.get_one(BannerBrand, world.program.id)
    assert (kept.name, kept.colour, kept.accent) == ("Lamp & Leaf", "#5b2a86", "#ffd166")
    assert anna.client.get("/account/banners/preview", query_string=WORDS).data != before
    for wrong, field in (
        ({"colour": "red"}, "colour"), ({"accent": "#12"}, "accent"), ({"name": "漢字"}, "name"),
    ):  # fmt: skip
        answer = manager.client.post("/manage/banners/brand", data={**brand, **wrong})
        assert answer.status_code == 422
        assert f'id="{field}-errors"' in answer.text
    with pytest.raises(NotFound):
        set_brand(world.session, program_id=9_999, brand=Brand(), by=None, now=world.now)
    with pytest.raises(Invalid):
        set_brand(
            world.session, program_id=world.program.id, brand=Brand("", "x"), by=None, now=world.now
        )


@pytest.mark.abuse("A25")
def test_whoever_may_only_read_offers_nothing(world: World) -> None:
    curator = hire(world, "curator")
    page = curator.client.get("/manage/banners", query_string=WORDS)
    assert page.status_code == 200
    assert ">Offer it<" not in page.text
    for path in ("/manage/banners", "/manage/banners/brand"):
        assert curator.client.post(path, data=WORDS).status_code == 403
    assert stored(world) == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"size": "1x1"}, "size"), ({"size": "99999x99999"}, "size"), ({"size": "728"}, "size"),
        ({"text": "x" * 81}, "text"), ({"text": "漢字"}, "text"), ({"button": "x" * 25}, "button"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_stands_beside_its_field(
    world: World, anna: Person, changes: dict[str, str], field: str
) -> None:
    asked = {**WORDS, **changes}
    page = anna.client.get("/account/banners", query_string=asked)
    assert page.status_code == 200
    assert f'id="{field}-errors"' in page.text
    assert "/banners/preview" not in page.text
    assert anna.client.get("/account/banners/preview", query_string=asked).status_code == 422
    assert anna.client.post("/account/banners", data=asked).status_code == 422
    assert stored(world) == []


def test_another_programs_product_is_not_there(world: World, anna: Person) -> None:
    with world.app.app_context():
        take_fetched(
            world.session, program_id=world.euros.id, raw=csv_feed(row("A")), now=world.now
        )
        world.session.commit()
    code = product_code(world.session.scalars(sa.select(ShopProduct.id)).one())
    for wrong in (code, "prd_zzzz", "x" * 50, "lnk_4aB2"):
        asked = {"product": wrong}
        for path in ("/account/banners", "/account/banners/preview"):
            assert anna.client.get(path, query_string=asked).status_code == 404
        assert anna.client.post("/account/banners", data=asked).status_code == 404


@pytest.mark.abuse("A32")
def test_words_of_an_affiliate_cannot_script_a_page(world: World, anna: Person) -> None:
    nasty = "\"'><script>alert(1)</script>"
    asked = {**WORDS, "text": nasty, "button": "<b>'\""}
    assert anna.client.post("/account/banners", data=asked).status_code == 303
    for page in (
        anna.client.get("/account/banners").text,
        anna.client.get("/account/banners", query_string=asked).text,
    ):
        assert "<script>alert" not in page
        assert "<b>'" not in page


def keep(world: World, person: Person, **changes: Any) -> Creative:
    design = Design(320, 50, "Lamp", "Go", Look.FULL)
    values = {
        "program_id": world.program.id, "enrollment_id": person.enrollment.id, "design": design,
        "picture": draw(design, Brand()), "destination": "", "by": person.user_id,
        "now": world.now, **changes,
    }  # fmt: skip
    return keep_banner(world.session, **values)


@pytest.mark.abuse("A50")
def test_banners_have_an_end_a_day_and_in_all(
    world: World, anna: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(banners, "BANNERS_A_DAY_MAX", 2)
    for _ in range(2):
        keep(world, anna)
    world.session.commit()
    with pytest.raises(TooManyBannersToday):
        keep(world, anna)
    world.session.rollback()
    answer = anna.client.post("/account/banners", data=WORDS)
    assert answer.status_code == 429
    assert "banners a day" in text_of(answer)
    boris = world.affiliate("Boris")
    keep(world, boris)
    keep(world, anna, now=world.now + timedelta(days=1, seconds=1))
    monkeypatch.setattr(banners, "BANNERS_PER_ENROLLMENT_MAX", 3)
    with pytest.raises(TooManyBanners):
        keep(world, anna, now=world.now + timedelta(days=9))
    world.session.rollback()


def test_banners_are_for_active_affiliates_of_the_program(
    world: World, anna: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong in ({"enrollment_id": 9_999}, {"program_id": world.euros.id}):
        with pytest.raises(NotFound):
            keep(world, anna, **wrong)
        world.session.rollback()
    anna.enrollment.status = "suspended"
    world.session.commit()
    with pytest.raises(NotEnrolled):
        keep(world, anna)
    world.session.rollback()
    assert anna.client.post("/account/banners", data=WORDS).status_code == 409
    monkeypatch.setattr(creatives, "CREATIVES_PER_PROGRAM_MAX", 0)
    with pytest.raises(TooManyCreatives):
        keep(world, anna, enrollment_id=None)
    world.session.rollback()


def test_own_banners_take_no_room_from_the_programs_materials(
    world: World, anna: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creatives, "CREATIVES_PER_PROGRAM_MAX", 1)
    for _ in range(3):
        keep(world, anna)
    keep(world, anna, enrollment_id=None)
    world.session.rollback()


def test_the_last_banner_of_the_day_is_kept_once_by_two_at_once(
    world: World, anna: Person, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(banners, "BANNERS_A_DAY_MAX", 1)
    design = Design(320, 50, "Lamp", "Go", Look.FULL)
    picture, enrollment_id = draw(design, Brand()), anna.enrollment.id
    program_id, now = world.program.id, world.now
    refused: list[Exception] = []

    def second() -> None:
        try:
            with session_for(engine).begin() as other:
                keep_banner(
                    other, program_id=program_id, enrollment_id=enrollment_id, design=design,
                    picture=picture, destination="", by=None, now=now,
                )  # fmt: skip
        except TooManyBannersToday as refusal:
            refused.append(refusal)

    keep(world, anna)
    thread = threading.Thread(target=second)
    thread.start()
    world.session.commit()
    thread.join(10)
    assert len(refused) == 1
