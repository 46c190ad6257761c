"""Applications with what speaks for and against each."""

from __future__ import annotations

import html
import re

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
