"""The page on which a merchant brings along the program before."""

from __future__ import annotations

import html
import io
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from staff import Staff, hire
from world import World

from affiliate.imports import rules
from affiliate.imports.models import FormerMonth
from affiliate.links.models import Link
from affiliate.people import ids as people_ids
from affiliate.people.models import Enrollment, User

FILE = "email,name\nmila@old.example,Mila\n"


@pytest.fixture(autouse=True)
def no_csrf(app: Flask) -> None:
    """These tests are about the page; the matrix has the ones about forged forms."""
    app.config["WTF_CSRF_ENABLED"] = False


@pytest.fixture
def manager(world: World) -> Staff:
    return hire(world, "manager")


def send(who: Staff, text: str, kind: str = "affiliates", what: str = "bring", **more: str) -> Any:
    data = {"kind": kind, "what": what, "file": (io.BytesIO(text.encode()), "a.csv"), **more}
    return who.client.post("/manage/moving-in?program=demo", data=data)


def send_whole(who: Staff, text: str) -> Any:
    """The same as one body: the test client would leave a large one in a file of its own."""
    parts = [
        '--line\r\nContent-Disposition: form-data; name="kind"\r\n\r\naffiliates\r\n',
        '--line\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n',
        text,
        "\r\n--line--\r\n",
    ]
    return who.client.post(
        "/manage/moving-in?program=demo",
        data="".join(parts).encode(),
        content_type="multipart/form-data; boundary=line",
    )


def people_in(world: World) -> int:
    world.session.rollback()
    return world.session.scalar(sa.select(sa.func.count()).select_from(Enrollment)) or 0


def test_a_try_says_what_would_come_of_it_and_keeps_nothing(world: World, manager: Staff) -> None:
    answer = send(manager, FILE, what="try")
    assert answer.status_code == 200
    assert "A dry run, nothing is kept:" in answer.text
    assert "1 line is new." in answer.text
    assert people_in(world) == 0
    assert world.session.scalar(sa.select(sa.func.count()).select_from(User)) == 1  # the manager


def test_a_file_is_brought_in_and_again_changes_nothing(world: World, manager: Staff) -> None:
    answer = send(manager, FILE)
    assert answer.status_code == 303
    assert people_in(world) == 1
    assert "The file is in. 1 line is new." in manager.client.get(answer.location).text
    again = send(manager, FILE)
    assert "1 was known already." in manager.client.get(again.location).text
    link = "email,code\nmila@old.example,mila-lamps\n"
    assert send(manager, link, kind="links").status_code == 303
    assert world.session.scalars(sa.select(Link.code)).all() == ["mila-lamps"]


def test_what_is_wrong_stands_line_by_line_above_the_form(world: World, manager: Staff) -> None:
    answer = send(manager, "email,name\nnobody,<b>N</b>\n,x\n")
    assert answer.status_code == 422
    assert "line 3, email: This is needed." in html.unescape(answer.text)
    answer = send(manager, "email,name\nnobody,<b>N</b>\n")
    assert "line 2, email: This is not an e-mail address." in html.unescape(answer.text)
    assert "<b>N</b>" not in answer.text
    assert people_in(world) == 0


def test_without_a_file_or_a_kind_the_page_says_so(manager: Staff) -> None:
    address = "/manage/moving-in?program=demo"
    answer = manager.client.post(address, data={"kind": "links", "what": "bring"})
    assert (answer.status_code, "Choose a file." in answer.text) == (422, True)
    for kind in ("", "orders"):
        assert send(manager, FILE, kind=kind).status_code == 422


def test_a_file_above_the_limit_is_refused_whole(world: World, manager: Staff) -> None:
    large = FILE + "x" * rules.FILE_BYTES_MAX
    assert "larger than 2 MB" in send_whole(manager, large).text
    assert send_whole(manager, large + "x" * 200_000).status_code == 413
    assert people_in(world) == 0


def test_history_is_shown_to_the_affiliate_and_to_managers_as_the_other_programs_word(
    world: World, manager: Staff
) -> None:
    anna = world.affiliate("Anna")
    text = "email,month,clicks,earned\nanna@example.com,2026-01,1200,4510.05\n"
    assert "Before Kopeck" not in anna.client.get("/account/statistics").text
    assert send(manager, text, kind="history").status_code == 303
    world.session.rollback()
    assert world.session.scalar(sa.select(sa.func.count()).select_from(FormerMonth)) == 1
    own = anna.client.get("/account/statistics").text
    assert "Before Kopeck" in own
    assert "January 2026" in own
    assert "1,200" in own
    assert "4,510.05" in own
    boris = world.affiliate("Boris")
    assert "Before Kopeck" not in boris.client.get("/account/statistics").text
    address = f"/manage/affiliates/{people_ids.public(anna.enrollment.id)}"
    assert "Before Kopeck" in manager.client.get(address).text


@pytest.mark.parametrize("role", ["curator", "analyst", "finance"])
def test_only_who_may_act_brings_files(world: World, role: str) -> None:
    somebody = hire(world, role)
    assert somebody.client.get("/manage/moving-in").status_code == 403
    assert send(somebody, FILE).status_code == 403
    assert people_in(world) == 0


def test_a_manager_of_another_program_brings_nothing_here(world: World) -> None:
    stranger = hire(world, "manager", program=world.euros)
    assert send(stranger, FILE).status_code == 404
    assert people_in(world) == 0
