"""Applications with what speaks for and against each."""

from __future__ import annotations

import html
import re

import pytest
from staff import hire
from world import World

from affiliate.people import enrollments


def test_applications_show_their_points_and_why(world: World) -> None:
    world.affiliate("Vera", approved=False)
    page = html.unescape(hire(world, "manager").client.get("/manage/applications").text)
    assert re.search(r"\d+ of 100 points", page)
    assert "+15 names a site" in page
    assert "somebody else named the same site" not in page


def test_the_same_site_twice_is_said_also_of_whom_the_program_suspended(world: World) -> None:
    anna = world.affiliate("Anna")  # Everybody of these tests names the same blog.
    with world.app.app_context():
        enrollments.suspend(
            world.session, enrollment_id=anna.enrollment.id, reason="No.", by=None, now=world.now
        )
        world.session.commit()
    world.affiliate("Vera", approved=False)
    page = html.unescape(hire(world, "curator").client.get("/manage/applications").text)
    assert "−30 somebody else named the same site" in page
    anna.enrollment.answers = {**anna.enrollment.answers, "site": "https://lamps.example.org/blog"}
    world.session.commit()
    page = hire(world, "curator", name="second").client.get("/manage/applications").text
    assert "somebody else named the same site" not in page


@pytest.mark.parametrize(
    "written",
    ["https://x@lamps.example.org/blog", "https://WWW.lamps.example.org:443/blog/",
     "https://lamps.example.org./blog?from=me", "http://lamps.example.org/blog#about"],
)  # fmt: skip
def test_the_same_site_written_another_way_is_the_same(world: World, written: str) -> None:
    anna, vera = world.affiliate("Anna"), world.affiliate("Vera", approved=False)
    for person, site in ((anna, "https://lamps.example.org/blog"), (vera, written)):
        person.enrollment.answers = {**person.enrollment.answers, "site": site}
    world.session.commit()
    page = html.unescape(hire(world, "curator").client.get("/manage/applications").text)
    assert "−30 somebody else named the same site" in page


def test_the_same_site_without_a_path_and_with_a_question_is_the_same(world: World) -> None:
    anna, vera = world.affiliate("Anna"), world.affiliate("Vera", approved=False)
    sites = ("https://lamps.example.org", "https://lamps.example.org?from=me")
    for person, site in zip((anna, vera), sites, strict=True):
        person.enrollment.answers = {**person.enrollment.answers, "site": site}
    world.session.commit()
    page = html.unescape(hire(world, "curator").client.get("/manage/applications").text)
    assert "−30 somebody else named the same site" in page
