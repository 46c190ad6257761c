"""Newsletters: written on the desk, looked at, planned, sent once to who wants them."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from letter_mails import letters, read
from world import DAY, World

from affiliate.core.audit import AuditEntry
from affiliate.core.errors import NotFound
from affiliate.letters.choices import ChosenBy, choose
from affiliate.letters.rules import Choice, Kind
from affiliate.people import enrollments
from affiliate.promo.creatives import add_creative, creative_code, retire_creative
from affiliate.promo.rules import Kind as MaterialKind
from affiliate.promo.rules import Wording
from tests.desks.staff import Staff, hire
from tracker.letters import newsletters as verbs
from tracker.letters.models import Newsletter
from tracker.letters.newsletters import Content, MonthTaken, NewsletterBegun, newsletter_code
from tracker.letters.rules import (
    CREATIVES_MAX,
    NEWSLETTER_FOR,
    NEWSLETTER_HOUR,
    NewsText,
    local_instant,
)
from tracker.letters.sending import month_before, send_newsletters

Sweep = Callable[..., int]
EVIL = '"><img src=x onerror=alert(1)><script>alert(1)</script>{{7*7}}'
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def no_csrf(app: Flask) -> None:
    """These tests are about the desk; the matrix has the ones about forged forms."""
    app.config["WTF_CSRF_ENABLED"] = False


@pytest.fixture
def manager(world: World) -> Staff:
    return hire(world, "manager")


def send_day(world: World) -> date:
    """A day on which there is still time."""
    return world.local.date() + 2 * DAY


def due(world: World) -> datetime:
    return local_instant(send_day(world), NEWSLETTER_HOUR, world.program.time_zone)


def fields(world: World, **changes: Any) -> dict[str, Any]:
    return {
        "title_en": "News", "body_en": "Lamps are cheaper.\n\nSee https://shop.example/sale.",
        "title_ru": "Новости", "body_ru": "Лампы дешевле.",
        "send_on": send_day(world).isoformat(), **changes,
    }  # fmt: skip


def kept(world: World) -> Newsletter:
    world.session.rollback()
    return world.session.scalars(sa.select(Newsletter).execution_options(populate_existing=True)
                                 .order_by(Newsletter.id.desc())).first()  # type: ignore  # fmt: skip


def write(world: World, manager: Staff, **changes: Any) -> str:
    """Keep a draft; its address."""
    answer = manager.client.post("/manage/newsletters", data=fields(world, **changes))
    assert answer.status_code == 303, re.findall("form-error.*?</p>", answer.text, flags=re.S)
    return f"/manage/newsletters/{newsletter_code(kept(world).id)}"


def planned(world: World, manager: Staff, **changes: Any) -> str:
    page = write(world, manager, **changes)
    assert manager.client.post(f"{page}/plan").status_code == 303
    return page


def material(world: World, name: str = "Banner text", **more: Any) -> int:
    made = add_creative(
        world.session, program_id=world.program.id, kind=MaterialKind.TEXT,
        wording=Wording(name, body="Buy lamps", **more), by=None, now=world.now,
    )  # fmt: skip
    world.session.commit()
    return made.id


def test_it_goes_out_once_on_its_day_each_in_their_language(
    world: World, manager: Staff, sweep: Sweep
) -> None:
    world.affiliate("Anna")
    boris = world.affiliate("Boris")
    boris.client.post("/profile", data={"name": "Boris", "locale": "ru", "time_zone": "UTC"})
    page = planned(world, manager)
    at = due(world)
    assert sweep(send_newsletters, now=at - MINUTE) == 0
    assert (sweep(send_newsletters, now=at), sweep(send_newsletters, now=at)) == (2, 0)
    by_address = {mail.recipient: mail for mail in letters(world.session, Kind.NEWSLETTER)}
    anna, boris_mail = by_address["anna@example.com"], by_address["boris@example.com"]
    assert anna.subject == "News" and boris_mail.subject == "Новости"
    assert "https://shop.example/sale." in anna.text
    assert "https://shop.example/sale" in read(anna.html).links
    assert "Лампы дешевле." in boris_mail.html and "cheaper" not in boris_mail.text
    assert anna.unsubscribe_url and anna.unsubscribe_url in anna.text
    row = kept(world)
    assert (row.letters, row.ended_at) == (2, at)
    assert "Written to 2 affiliates." in manager.client.get(page).text


def test_only_active_affiliates_who_want_it_get_it(
    world: World, manager: Staff, sweep: Sweep
) -> None:
    for name in ("Anna", "Boris", "Vera"):
        world.affiliate(name)
    world.affiliate("Waiting", approved=False)
    with world.app.app_context():
        enrollments.suspend(
            world.session, enrollment_id=world.people["Boris"].enrollment.id, reason="spam",
            by=None, now=world.now,
        )  # fmt: skip
    choose(
        world.session, user_id=world.people["Vera"].user_id, program_id=world.program.id,
        wanted={Choice.NEWSLETTER: False}, by=ChosenBy.PAGE, now=world.now,
    )  # fmt: skip
    world.session.commit()
    planned(world, manager)
    assert sweep(send_newsletters, now=due(world)) == 1
    assert letters(world.session, Kind.NEWSLETTER)[0].recipient == "anna@example.com"


def test_two_sweeps_at_once_send_one_letter_to_each(
    world: World, manager: Staff, side_by_side: Callable[..., list[int]]
) -> None:
    for name in ("Anna", "Boris", "Vera"):
        world.affiliate(name)
    planned(world, manager)
    assert sum(side_by_side(send_newsletters, now=due(world))) == 3
    assert len({mail.recipient for mail in letters(world.session, Kind.NEWSLETTER)}) == 3


def test_a_day_that_was_missed_is_said_and_another_can_be_chosen(
    world: World, manager: Staff, sweep: Sweep
) -> None:
    world.affiliate("Anna")
    page = planned(world, manager)
    assert sweep(send_newsletters, now=due(world) + NEWSLETTER_FOR) == 0
    row = kept(world)
    row.send_on = world.local.date() - 5 * DAY
    world.session.commit()
    assert "Nothing was sent within three days" in manager.client.get(page).text
    assert manager.client.post(f"{page}/draft").status_code == 303
    assert kept(world).planned_at is None


def test_words_are_fixed_while_it_is_planned(world: World, manager: Staff) -> None:
    page = planned(world, manager)
    answer = manager.client.post(page, data=fields(world, title_en="Other"))
    assert answer.status_code == 409
    assert "take it back" in answer.text
    assert manager.client.post(f"{page}/deletion").status_code == 409
    assert kept(world).texts["en"]["title"] == "News"
    assert manager.client.post(f"{page}/draft").status_code == 303
    assert manager.client.post(page, data=fields(world, title_en="Other")).status_code == 303
    assert kept(world).texts["en"]["title"] == "Other"
    assert manager.client.post(f"{page}/draft").status_code == 409, "it is not planned"
    assert manager.client.post(f"{page}/deletion").status_code == 303
    assert kept(world) is None


def test_what_somebody_has_already_cannot_be_taken_back(
    world: World, manager: Staff, sweep: Sweep
) -> None:
    world.affiliate("Anna")
    page = planned(world, manager)
    sweep(send_newsletters, now=due(world))
    row_id = kept(world).id
    world.session.execute(sa.update(Newsletter).values(ended_at=None))
    world.session.commit()
    assert manager.client.post(f"{page}/draft").status_code == 409
    with pytest.raises(NewsletterBegun):
        verbs.take_back(world.session, newsletter_id=row_id, by=None, now=world.now)


def test_there_is_one_a_month(world: World, manager: Staff) -> None:
    first = planned(world, manager)
    second = write(world, manager)
    answer = manager.client.post(f"{second}/plan")
    assert answer.status_code == 409
    assert "one a month" in answer.text
    assert manager.client.post(f"{first}/draft").status_code == 303
    assert manager.client.post(f"{second}/plan").status_code == 303
    with pytest.raises(MonthTaken):
        verbs.plan(world.session, newsletter_id=kept_ids(world)[0], by=None, now=world.now)


def kept_ids(world: World) -> list[int]:
    world.session.rollback()
    return list(world.session.scalars(sa.select(Newsletter.id).order_by(Newsletter.id)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"title_en": "", "body_en": "", "title_ru": "", "body_ru": ""}, "Please fill this in."),
        ({"title_ru": ""}, "Please fill this in."),
        ({"title_en": "n" * 121}, "120"),
        ({"body_en": "w" * 10_001}, "10000"),
        ({"body_en": "turned \u202e text"}, "visible characters"),
        ({"send_on": "2020-01-01"}, "This day is over"),
        ({"send_on": "2099-01-01"}, "days ahead"),
        ({"send_on": "0001-01-01"}, "This day is over"),
        ({"send_on": "9999-12-31"}, "days ahead"),
        ({"send_on": "tomorrow"}, "Write the day as"),
        ({"creatives": "crt_zzzz"}, "not offered"),
        ({"creatives": "\0"}, "not offered"),
    ],
)
def test_what_cannot_go_out_is_refused_beside_its_field(
    world: World, manager: Staff, changes: dict[str, str], said: str
) -> None:
    answer = manager.client.post("/manage/newsletters", data=fields(world, **changes))
    assert answer.status_code == 422
    assert said in html.unescape(answer.text)
    assert kept(world) is None


def test_a_newsletter_without_a_day_is_a_draft(world: World, manager: Staff) -> None:
    page = write(world, manager, send_on="")
    answer = manager.client.post(f"{page}/plan")
    assert answer.status_code == 422
    assert "Choose the day" in answer.text
    assert kept(world).planned_at is None


def test_materials_are_shown_by_name_while_they_are_offered(
    world: World, manager: Staff, sweep: Sweep
) -> None:
    world.affiliate("Anna")
    ends = world.local.date() + 20 * DAY
    shown, retired = material(world, "Autumn text", ends_on=ends), material(world, "Old text")
    planned(world, manager, creatives=[creative_code(shown), creative_code(retired)])
    retire_creative(world.session, creative_id=retired, by=None, now=world.now)
    world.session.commit()
    sweep(send_newsletters, now=due(world))
    (mail,) = letters(world.session, Kind.NEWSLETTER)
    for text in (mail.text, mail.html):
        assert "Autumn text (until" in text
        assert "Old text" not in text
    assert read(mail.html).loads == []


def test_materials_are_chosen_by_boxes_each_with_its_label(world: World, manager: Staff) -> None:
    code = creative_code(material(world, "Autumn text"))
    page = manager.client.get("/manage/newsletters/new?program=demo").text
    (box,) = re.findall(rf'<label class="form-check">(<input[^>]*value="{code}"[^>]*>)', page)
    assert 'type="checkbox"' in box and "form-check-input" in box
    rest = page.partition("Promo materials that it shows")[2]
    assert "<ul" not in rest.partition("</fieldset>")[0]


def test_materials_of_another_program_and_too_many_are_refused(
    world: World, manager: Staff
) -> None:
    made = [creative_code(material(world, f"Text {n}")) for n in range(CREATIVES_MAX + 1)]
    answer = manager.client.post("/manage/newsletters", data=fields(world, creatives=made))
    assert answer.status_code == 422 and "At most 6 materials." in answer.text
    other = add_creative(
        world.session, program_id=world.euros.id, kind=MaterialKind.TEXT,
        wording=Wording("Tea", body="Tea"), by=None, now=world.now,
    )  # fmt: skip
    world.session.commit()
    answer = manager.client.post(
        "/manage/newsletters", data=fields(world, creatives=creative_code(other.id))
    )
    assert answer.status_code == 422 and "not offered" in answer.text


def test_best_results_name_those_who_agreed(world: World, manager: Staff, sweep: Sweep) -> None:
    month = month_before(send_day(world))
    at = datetime.combine(month.first, datetime.min.time(), tzinfo=world.local.tzinfo)
    for number, name in enumerate(("Anna", "Boris", "Vera", "Gleb", "Dina"), start=1):
        world.affiliate(name)
        world.sale(name, f"{number}000.00", at=at + timedelta(days=3, hours=number))
    choose(
        world.session, user_id=world.people["Gleb"].user_id, program_id=world.program.id,
        wanted={Choice.NAMED: True}, by=ChosenBy.PAGE, now=world.now,
    )  # fmt: skip
    world.session.commit()
    planned(world, manager, shows_best="y")
    sweep(send_newsletters, now=due(world))
    mail = letters(world.session, Kind.NEWSLETTER)[0]
    shown = [line for line in mail.text.splitlines() if "over" in line]
    assert [line.split(":")[0] for line in shown] == ["* an affiliate", "* Gleb", "* an affiliate"]
    assert "500.00" in shown[0] and "400.00" in shown[1]
    assert "Dina" not in mail.html.replace("Hello Dina", "")


def test_best_results_name_nobody_who_has_left(world: World, manager: Staff, sweep: Sweep) -> None:
    month = month_before(send_day(world))
    at = datetime.combine(month.first, datetime.min.time(), tzinfo=world.local.tzinfo)
    for number, name in enumerate(("Anna", "Boris", "Vera", "Gleb", "Dina"), start=1):
        world.affiliate(name)
        world.sale(name, f"{number}000.00", at=at + timedelta(days=3, hours=number))
    gleb = world.people["Gleb"]
    choose(
        world.session, user_id=gleb.user_id, program_id=world.program.id,
        wanted={Choice.NAMED: True}, by=ChosenBy.PAGE, now=world.now,
    )  # fmt: skip
    enrollments.close(world.session, enrollment_id=gleb.enrollment.id, by=None, now=world.now)
    world.session.commit()
    planned(world, manager, shows_best="y")
    sweep(send_newsletters, now=due(world))
    mail = letters(world.session, Kind.NEWSLETTER)[0]
    assert "400.00" in mail.text
    assert "Gleb" not in mail.text


@pytest.mark.abuse("A3", "A32", "A47")
def test_no_text_of_a_manager_scripts_a_page_or_a_letter(
    world: World, manager: Staff, sweep: Sweep
) -> None:
    world.affiliate("Anna")
    page = planned(world, manager, title_en=EVIL[:110], body_en=f"{EVIL} https://x.example/{EVIL}")
    sweep(send_newsletters, now=due(world))
    (mail,) = letters(world.session, Kind.NEWSLETTER)
    letter = read(mail.html)
    assert letter.tags.isdisjoint({"img", "script"})
    assert letter.loads == []
    assert all(link.startswith(("http://127.0.0.1", "https://x.example/")) for link in letter.links)
    assert "{{7*7}}" in mail.text and "\n" not in mail.subject
    for path in (page, "/manage/newsletters", f"{page}/en.html"):
        text = manager.client.get(path).text
        assert "<script>alert" not in text and "<img src=x" not in text


def test_a_preview_can_run_and_load_nothing_and_stands_in_our_frames_alone(
    world: World, manager: Staff
) -> None:
    page = write(world, manager)
    for path in (f"{page}/en.html", f"{page}/ru.html", "/manage/letters/letters-digest/en.html"):
        answer = manager.client.get(path)
        assert answer.status_code == 200
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("sandbox; default-src 'none'")
        assert "frame-ancestors 'self'" in policy and "script-src" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert manager.client.get(f"{page}/de.html").status_code == 404
    shown = manager.client.get(page).text
    assert 'sandbox=""' in shown and f'src="{page}/ru.html"' in shown


def test_other_programs_managers_find_nothing(world: World, manager: Staff) -> None:
    page = write(world, manager)
    stranger = hire(world, "manager", program=world.euros).client
    for path in (page, f"{page}/en.html"):
        assert stranger.get(path).status_code == 404
    for path in (page, f"{page}/plan", f"{page}/draft", f"{page}/deletion"):
        assert stranger.post(path, data=fields(world)).status_code == 404
    assert (
        stranger.post(
            f"/manage/newsletters?program={world.program.slug}", data=fields(world)
        ).status_code
        == 404
    )
    for path in ("nws_zzzz", "crt_4aB2", "x"):
        assert manager.client.get(f"/manage/newsletters/{path}").status_code == 404


@pytest.mark.parametrize("role", ["analyst", "curator"])
def test_readers_look_and_cannot_write(world: World, manager: Staff, role: str) -> None:
    page = write(world, manager)
    reader = hire(world, role).client
    shown = reader.get(page)
    assert shown.status_code == 200 and 'name="title_en"' not in shown.text
    assert reader.get("/manage/newsletters").status_code == 200
    for path in ("/manage/newsletters", page, f"{page}/plan"):
        assert reader.post(path, data=fields(world)).status_code == 403


def test_every_change_is_in_the_audit_log(world: World, manager: Staff) -> None:
    page = planned(world, manager)
    manager.client.post(f"{page}/draft")
    actions = world.session.scalars(
        sa.select(AuditEntry.action).where(AuditEntry.action.like("newsletter.%"))
        .order_by(AuditEntry.id)
    ).all()  # fmt: skip
    assert actions == ["newsletter.write", "newsletter.plan", "newsletter.take_back"]


def test_there_are_not_any_number_of_them(
    world: World, manager: Staff, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verbs, "PER_PROGRAM_MAX", 1)
    write(world, manager)
    answer = manager.client.post("/manage/newsletters", data=fields(world))
    assert answer.status_code == 409 and "delete drafts" in answer.text


def test_verbs_do_not_find_what_is_not_there(world: World) -> None:
    content = Content({"en": NewsText("a", "b")})
    for call in (
        lambda: verbs.write_newsletter(
            world.session, program_id=10**6, content=content, by=None, now=world.now
        ),
        lambda: verbs.change_newsletter(
            world.session, newsletter_id=10**6, content=content, by=None, now=world.now
        ),
        *(
            (lambda verb=verb: verb(world.session, newsletter_id=10**6, by=None, now=world.now))
            for verb in (verbs.plan, verbs.take_back, verbs.delete_newsletter)
        ),
    ):
        with pytest.raises(NotFound):
            call()
