"""Which letters a person gets: the account's page, staff's page, each program for itself."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa
from flask import Flask
from world import World

from affiliate.letters.choices import ChosenBy, choices_of, choose
from affiliate.letters.models import LetterChoice
from affiliate.letters.rules import OF_AFFILIATES, OF_FINANCE, Choice
from tests.desks.staff import hire


@pytest.fixture(autouse=True)
def no_csrf(app: Flask) -> None:
    """These tests are about the pages; the matrix has the ones about forged forms."""
    app.config["WTF_CSRF_ENABLED"] = False


def ticked(page: str) -> set[str]:
    return set(re.findall(r'name="letters" value="(\w+)"[^>]* checked', page))


def chosen(world: World, user_id: int, program_id: int) -> set[Choice]:
    world.session.rollback()
    found = choices_of(world.session, user_id=user_id, program_id=program_id)
    return {choice for choice, wanted in found.items() if wanted}


def test_an_affiliate_sees_what_counts_and_changes_it(world: World) -> None:
    anna = world.affiliate("Anna")
    page = anna.client.get("/account/letters")
    assert page.status_code == 200
    assert ticked(page.text) == {"first_click", "first_sale", "digest", "newsletter"}
    for always in ("Always sent", "Security", "Money", "Rules and membership"):
        assert always in page.text
    answer = anna.client.post("/account/letters", data={"letters": ["newsletter", "named"]})
    assert answer.status_code == 303
    assert ticked(anna.client.get("/account/letters").text) == {"newsletter", "named"}
    assert chosen(world, anna.user_id, world.program.id) & set(OF_AFFILIATES) == {
        Choice.NEWSLETTER, Choice.NAMED,
    }  # fmt: skip


def test_what_is_always_sent_cannot_be_turned_off(world: World) -> None:
    anna = world.affiliate("Anna")
    anna.client.post("/account/letters", data={"letters": ["money_sent", "batches", "<script>"]})
    kept = set(world.session.scalars(sa.select(LetterChoice.choice)))
    assert kept == {choice.value for choice in OF_AFFILIATES}


def test_each_program_is_chosen_for_itself(world: World) -> None:
    anna = world.affiliate("Anna")
    anna.client.post("/account/letters", data={})
    assert chosen(world, anna.user_id, world.program.id).isdisjoint(OF_AFFILIATES)
    assert Choice.DIGEST in chosen(world, anna.user_id, world.euros.id)
    answer = anna.client.post(f"/account/letters?program={world.euros.slug}", data={})
    assert answer.status_code == 404, "she is not in that program"


def test_finance_chooses_for_the_programs_that_are_theirs(world: World) -> None:
    finance = hire(world, "finance")
    page = finance.client.get("/profile/letters").text
    assert ticked(page) == {"batches", "withdrawals"}
    assert world.program.name.replace("&", "&amp;") in page and world.euros.name not in page
    path = f"/profile/letters/{world.program.slug}"
    assert finance.client.post(path, data={"letters": "withdrawals"}).status_code == 303
    assert chosen(world, finance.user_id, world.program.id) & set(OF_FINANCE) == {
        Choice.WITHDRAWALS
    }
    assert finance.client.post(f"/profile/letters/{world.euros.slug}").status_code == 404
    assert finance.client.post("/profile/letters/none-such").status_code == 404


def test_an_owner_chooses_for_every_program(world: World) -> None:
    owner = hire(world, "owner")
    for program in (world.program, world.euros):
        path = f"/profile/letters/{program.slug}"
        assert owner.client.post(path, data={}).status_code == 303
        assert chosen(world, owner.user_id, program.id).isdisjoint(OF_FINANCE)


@pytest.mark.parametrize("role", ["manager", "analyst", "curator"])
def test_whoever_approves_nothing_has_nothing_to_choose(world: World, role: str) -> None:
    staff = hire(world, role)
    page = staff.client.get("/profile/letters")
    assert page.status_code == 200
    assert ticked(page.text) == set()
    path = f"/profile/letters/{world.program.slug}"
    assert staff.client.post(path, data={"letters": "batches"}).status_code == 404
    assert world.session.scalars(sa.select(LetterChoice)).all() == []


def test_the_menu_leads_each_to_their_page(world: World) -> None:
    anna = world.affiliate("Anna")
    assert 'href="/account/letters"' in anna.client.get("/account/").text
    assert 'href="/profile/letters"' in hire(world, "finance").client.get("/finance/").text


def test_choosing_the_same_again_keeps_when_it_was_chosen(world: World) -> None:
    anna = world.affiliate("Anna")
    later = world.now.replace(year=world.now.year + 1)
    for by, now in ((ChosenBy.LETTER, world.now), (ChosenBy.PAGE, later)):
        choose(
            world.session, user_id=anna.user_id, program_id=world.program.id,
            wanted={Choice.DIGEST: False}, by=by, now=now,
        )  # fmt: skip
        world.session.commit()
    row = world.session.scalars(sa.select(LetterChoice)).one()
    assert (row.chosen_by, row.chosen_at) == ("letter", world.now)
