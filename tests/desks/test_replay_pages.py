"""Drafts tried on history, as managers ask for it and read it."""

from __future__ import annotations

import csv
import io
import re
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from builders import terms_document
from flask import Flask
from flask.testing import FlaskClient
from staff import Staff, hire
from world import DAY, World

from affiliate.people.models import Affiliate, User
from affiliate.programs import drafts
from affiliate.programs.models import RuleDraft
from tracker.orders.models import Order
from tracker.replay import runs
from tracker.replay.jobs import ask_for_shadows, run_replays
from tracker.replay.models import RuleReplay, RuleShadow

FIRST_CLICK = terms_document(
    attribution={**terms_document()["attribution"], "model": "first_click"},
    commission={
        "level_1": {"kind": "percent", "rate_ppm": 120_000},
        "level_2": {"of": "sale", "rate_ppm": 20_000},
    },
)
"""Twelve percent instead of ten, and to whoever came first."""


@pytest.fixture(autouse=True)
def _no_tokens(app: Flask) -> None:
    """Forms' tokens are the matrix's matter (test_route_role_matrix.py)."""
    app.config["WTF_CSRF_ENABLED"] = False


@pytest.fixture
def manager(world: World) -> Staff:
    return hire(world, "manager")


def draft(world: World, document: dict[str, Any] | None = None, name: str = "Winter") -> RuleDraft:
    with world.app.app_context():
        made = drafts.begin_draft(
            world.session, program_id=world.program.id, name=name,
            document=document or FIRST_CLICK, by=None, now=world.now,
        )  # fmt: skip
        world.session.commit()
    return made


def two_affiliates(world: World) -> Order:
    """Boris brought a buyer, Anna brought them again and was credited; Anna has a sale of her own.

    Booked: 100 + 40 rubles for Anna. By the draft: 120 for Boris, 48 for Anna.
    """
    for name in ("Anna", "Boris"):
        world.affiliate(name)
    at = world.now - 3 * DAY
    clicks = [
        world.click(link, at=at - timedelta(days=days))
        for days, name in ((5, "Boris"), (2, "Anna"))
        if (link := world.people[name].link)
    ]
    disputed = world.order("1000.00", at=at, clicks=tuple(clicks))
    world.sale("Anna", "400.00", days_ago=2)
    return disputed


def local_day(world: World, *, ago: int = 0) -> date:
    zone = ZoneInfo(world.program.time_zone)
    return (world.now - ago * DAY).astimezone(zone).date()


def sent(world: World, first_ago: int = 10, last_ago: int = 0) -> dict[str, str]:
    days = local_day(world, ago=first_ago), local_day(world, ago=last_ago)
    return {"first": days[0].isoformat(), "last": days[1].isoformat()}


def asked(world: World, manager: Staff, made: RuleDraft, **span: int) -> str:
    """The address of a trial that was asked for and has not run."""
    answer = manager.client.post(f"/manage/rules/drafts/{made.id}/trials", data=sent(world, **span))
    assert answer.status_code == 303, answer.text
    return str(answer.location)


def run(world: World) -> None:
    with world.app.app_context():
        run_replays()
    world.session.rollback()


def text_of(client: FlaskClient, path: str) -> str:
    """The page's words alone, one space between them."""
    answer = client.get(path)
    assert answer.status_code == 200, answer.status_code
    main = answer.text.partition("<main")[2].partition("</main>")[0]
    return " ".join(re.sub(r"<[^>]+>", " ", main).replace("\xa0", " ").split())


def test_a_draft_is_tried_on_real_orders_and_the_page_says_who_gains_and_why(
    world: World, manager: Staff
) -> None:
    order = two_affiliates(world)
    page = asked(world, manager, draft(world))
    waiting = text_of(manager.client, page)
    assert "Under way" in waiting
    assert "It waits for its turn." in waiting
    run(world)
    told = text_of(manager.client, page)
    assert (
        "The draft would have cost 28.00 RUB more (+20%) for 2 orders; 1 would change hands."
        in told
    )
    # Boris 0 -> 120, Anna 140 -> 48.
    assert "1 would have more, 1 less; 0 keep what they have." in told
    assert "Boris aff_" in told
    assert "1 gained 0.00 RUB 120.00 RUB +120.00 RUB" in told
    assert "1 lost 140.00 RUB 48.00 RUB −92.00 RUB less" in told
    assert "Level 1 140.00 RUB 168.00 RUB +28.00 RUB more" in told
    assert (
        "Boris would be credited. So far: The click 5 days before the order does not count: "
        "a later click wins by the rules." in told
    )
    assert (
        "Anna would not be credited. By the draft: The click 2 days before the order does not "
        "count: an earlier click wins by the rules." in told
    )
    assert "Credited by the draft; so far it did not count: A later click wins by the rules. 1" in (
        told
    )
    html = manager.client.get(page).text
    assert re.search(rf'href="/manage/orders/ord_\w+">{order.order_id}</a>', html)
    assert html.count('class="versus-slot"') == 11
    assert html.count('class="versus-mark"') == 2  # two days with orders
    assert "booked 100.00\xa0RUB, by the draft 120.00\xa0RUB" in html


def test_the_drafts_page_lists_its_trials_and_the_program_those_of_closed_drafts(
    world: World, manager: Staff
) -> None:
    two_affiliates(world)
    made = draft(world)
    url = f"/manage/rules/drafts/{made.id}"
    assert "What was tried" not in text_of(manager.client, url)
    assert "Trials" not in text_of(manager.client, "/manage/rules")
    assert "Nothing was tried yet" in text_of(manager.client, "/manage/rules/trials")
    page = asked(world, manager, made)
    assert "waits" in text_of(manager.client, url)
    run(world)
    listed = text_of(manager.client, url)
    assert "What was tried" in listed
    assert "done 2 +28.00 RUB more" in listed
    assert page in manager.client.get(url).text
    manager.client.post(f"{url}/discarding")
    assert "Winter" in text_of(manager.client, "/manage/rules/trials")
    assert "Trials" in text_of(manager.client, "/manage/rules")
    closed = text_of(manager.client, page)
    assert "The draft is closed by now" in closed
    assert "28.00 RUB more" in closed
    assert f'href="{url}' not in manager.client.get(page).text


def test_the_form_offers_the_last_thirty_days_of_the_program(world: World, manager: Staff) -> None:
    page = manager.client.get(f"/manage/rules/drafts/{draft(world).id}").text
    days = re.findall(r'name="(?:first|last)" type="date" value="([^"]+)"', page)
    assert days == [local_day(world, ago=29).isoformat(), local_day(world).isoformat()]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"first": ""}, "Choose a day."),
        ({"last": "soon"}, "Choose a day."),
        ({"first": "2026-02-30"}, "Choose a day."),
        ({"first": "0001-01-01"}, "There are no orders of that year."),
        ({"last": "9999-12-31"}, "This day is yet to come."),
        ({"last": "2001-01-01"}, "The last day lies before the first."),
        ({"first": "2026-01-01 and more"}, "Field cannot be longer than 10 characters."),
    ],
)
def test_days_that_cannot_be_are_refused_beside_their_field(
    world: World, manager: Staff, changed: dict[str, str], told: str
) -> None:
    url = f"/manage/rules/drafts/{draft(world).id}/trials"
    answer = manager.client.post(url, data={**sent(world), **changed})
    assert answer.status_code == 422
    beside = answer.text.partition(f'id="{next(iter(changed))}-errors"')[2]
    assert told in beside.partition("</div>")[0]
    assert world.session.query(RuleReplay).count() == 0


def test_tomorrow_by_the_programs_clock_is_refused_and_today_is_not(
    world: World, manager: Staff
) -> None:
    url = f"/manage/rules/drafts/{draft(world).id}/trials"
    tomorrow = (local_day(world) + DAY).isoformat()
    assert manager.client.post(url, data={**sent(world), "last": tomorrow}).status_code == 422
    today = local_day(world).isoformat()
    assert manager.client.post(url, data={"first": today, "last": today}).status_code == 303


def test_a_fourth_trial_under_way_is_refused_on_the_form(world: World, manager: Staff) -> None:
    made = draft(world)
    for _ in range(runs.OPEN_MAX):
        asked(world, manager, made)
    answer = manager.client.post(f"/manage/rules/drafts/{made.id}/trials", data=sent(world))
    assert answer.status_code == 409
    assert "at most 3 trials under way" in answer.text
    assert world.session.query(RuleReplay).count() == runs.OPEN_MAX
    run(world)
    asked(world, manager, made)


def test_progress_is_shown_while_it_runs_and_the_page_comes_anew_at_the_end(
    world: World, manager: Staff
) -> None:
    page = asked(world, manager, draft(world))
    trial = world.session.query(RuleReplay).one()
    part = manager.client.get(f"{page}/progress")
    assert 'hx-trigger="every 2s"' in part.text
    assert "<html" not in part.text
    assert '<noscript><meta http-equiv="refresh"' in manager.client.get(page).text
    trial.status, trial.attempts = "running", 1
    world.session.commit()
    assert "The orders are being counted." in manager.client.get(f"{page}/progress").text
    trial.orders_done, trial.orders_total, trial.attempts = 1_200, 4_000, 2
    world.session.commit()
    part = manager.client.get(f"{page}/progress")
    assert 'max="4000" value="1200"' in part.text
    assert "1,200 of 4,000 orders" in part.text
    assert "tried again, 2 of 3 times" in part.text
    assert "HX-Refresh" not in part.headers
    trial.status, trial.ended_at = "failed", world.now
    world.session.commit()
    part = manager.client.get(f"{page}/progress")
    assert part.headers["HX-Refresh"] == "true"
    assert "hx-trigger" not in part.text


def test_a_trial_that_broke_off_can_be_asked_for_again(world: World, manager: Staff) -> None:
    page = asked(world, manager, draft(world))
    trial = world.session.query(RuleReplay).one()
    trial.status, trial.attempts, trial.ended_at = "failed", 3, world.now
    world.session.commit()
    told = text_of(manager.client, page)
    assert "It was tried 3 times and did not come to its end." in told
    html = manager.client.get(page).text
    form = html.partition('/trials">')[2].partition("</form>")[0]
    again = dict(re.findall(r'name="(first|last)" value="([^"]+)"', form))
    assert again == sent(world)
    assert manager.client.get(f"{page}/affiliates.csv").status_code == 404
    answer = manager.client.post(f"/manage/rules/drafts/{trial.draft_id}/trials", data=again)
    assert answer.status_code == 303
    assert answer.location != page


def test_days_without_orders_say_so(world: World, manager: Staff) -> None:
    page = asked(world, manager, draft(world))
    run(world)
    told = text_of(manager.client, page)
    assert "No order was placed in these days" in told
    assert "Choose other days" in told
    assert "Who gains" not in told


def test_a_draft_that_changes_nothing_says_so(world: World, manager: Staff) -> None:
    two_affiliates(world)
    page = asked(world, manager, draft(world, terms_document()))
    run(world)
    told = text_of(manager.client, page)
    assert (
        "The draft would have cost the same, 140.00 RUB, for 2 orders; none would change hands."
        in told
    )
    assert "Nothing would change" in told
    assert "none would earn otherwise" in told


def test_a_cheaper_draft_says_less_and_names_no_reason(world: World, manager: Staff) -> None:
    two_affiliates(world)
    document = terms_document(
        commission={"level_1": {"kind": "percent", "rate_ppm": 50_000}, "level_2": None}
    )
    page = asked(world, manager, draft(world, document))
    run(world)
    told = text_of(manager.client, page)
    assert "would have cost 70.00 RUB less (−50%) for 2 orders; none would change hands." in told
    assert "Why credit changes hands" not in told
    assert "stays; another amount" in told


def test_divided_credit_is_told_in_parts(world: World, manager: Staff) -> None:
    two_affiliates(world)
    attribution = {**terms_document()["attribution"], "model": "linear"}
    page = asked(world, manager, draft(world, terms_document(attribution=attribution)))
    run(world)
    told = text_of(manager.client, page)
    assert "The part of Anna would be 50% instead of 100%." in told
    assert "Boris would be credited. So far:" in told
    assert "cost the same, 140.00 RUB, for 2 orders; 1 would change hands." in told


def test_an_order_of_nobody_is_told_as_such(world: World, manager: Staff) -> None:
    """A click forty days old lies outside thirty days, and inside sixty."""
    anna = world.affiliate("Anna")
    assert anna.link
    at = world.now - DAY
    token = world.click(anna.link, at=at - 40 * DAY)
    world.order("1000.00", at=at, clicks=(token,))
    attribution = {**terms_document()["attribution"], "window_days": 60}
    page = asked(world, manager, draft(world, terms_document(attribution=attribution)))
    run(world)
    told = text_of(manager.client, page)
    assert "The draft would have cost 100.00 RUB more for 1 order; 1 would change hands." in told
    assert "nobody would go to Anna" in told
    assert "It is older than the attribution window. 1" in told


def test_a_draft_that_was_saved_since_is_told_apart_from_what_was_tried(
    world: World, manager: Staff
) -> None:
    made = draft(world)
    page = asked(world, manager, made)
    run(world)
    assert "saved anew since" not in text_of(manager.client, page)
    with world.app.app_context():
        drafts.save_draft(
            world.session, draft_id=made.id, name="Spring", document=terms_document(), note="",
            revision=1, by=None, now=world.now,
        )  # fmt: skip
        world.session.commit()
    told = text_of(manager.client, page)
    assert "saved anew since" in told
    assert "Winter on history" in told


def test_of_many_the_ends_are_shown_and_the_rest_on_request(
    world: World, manager: Staff, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four affiliates, two of them shown; three orders that change, one of them shown."""
    monkeypatch.setattr("tracker.desks.manage.replay_result.ENDS_SHOWN", 1)
    monkeypatch.setattr("tracker.desks.manage.replay_result.EXAMPLES_SHOWN", 1)
    two_affiliates(world)
    for name in ("Clara", "Dora"):
        world.affiliate(name)
    world.sale("Clara", "100.00", days_ago=1)
    page = asked(world, manager, draft(world))
    run(world)
    told = text_of(manager.client, page)
    # Boris gains 120, Clara 2, Anna loses 92; Dora has no order.
    shown = told.partition("Who gains and who loses")[2].partition("Orders that change")[0]
    assert "2 would have more, 1 less; 0 keep what they have." in shown
    assert "Boris" in shown
    assert "Anna" in shown
    assert "Clara" not in shown
    assert "1 more is in the file." in shown
    assert "Clara" in manager.client.get(f"{page}/affiliates.csv").text
    assert "3 orders would earn otherwise. First those of which most money moves." in told
    assert "Show 2 more" in told
    every = text_of(manager.client, f"{page}?orders=all")
    assert "Show 2 more" not in every
    assert every.count("stays; another amount") == 2


def test_amounts_are_rounded_on_the_page_and_whole_in_the_file(
    world: World, manager: Staff
) -> None:
    """10 % of 0.07 are 0.007 booked; 12 % are 0.0084. In kopecks both are 0.01."""
    world.affiliate("Anna")
    world.sale("Anna", "0.07", days_ago=1)
    page = asked(world, manager, draft(world))
    run(world)
    told = text_of(manager.client, page)
    assert "would have cost 0.0014 RUB more (+20%) for 1 order" in told
    assert "Total 0.01 RUB 0.01 RUB 0.00 RUB" in told
    rows = list(csv.reader(io.StringIO(manager.client.get(f"{page}/affiliates.csv").text)))
    assert rows[1][3:6] == ["0.007", "0.0084", "0.0014"]


@pytest.mark.abuse("A31")
def test_the_file_holds_everybody_and_no_formula(world: World, manager: Staff) -> None:
    two_affiliates(world)
    anna = world.session.get_one(Affiliate, world.people["Anna"].affiliate_id)
    anna.name = '=HYPERLINK("https://evil.example")'
    world.session.commit()
    page = asked(world, manager, draft(world))
    run(world)
    answer = manager.client.get(f"{page}/affiliates.csv")
    assert answer.mimetype == "text/csv"
    assert f'href="{page}/affiliates.csv"' in manager.client.get(page).text
    header, boris, formula = csv.reader(io.StringIO(answer.text.removeprefix("\ufeff")))
    assert header[:3] == ["affiliate", "name", "currency"]
    assert boris[1:] == ["Boris", "RUB", "0.00", "120.00", "120.00", "1", "0"]
    assert formula[1:] == [
        "'" + anna.name, "RUB", "140.00", "48.00", "-92.00", "0", "1"
    ]  # fmt: skip


def test_a_draft_runs_in_the_shadow_and_is_stopped(world: World, manager: Staff) -> None:
    two_affiliates(world)
    made = draft(world)
    url = f"/manage/rules/drafts/{made.id}"
    assert "Run it in the shadow" in text_of(manager.client, url)
    done = manager.client.post(f"{url}/shadow", follow_redirects=True)
    assert "The draft runs in the shadow." in done.text
    page = text_of(manager.client, url)
    assert "It runs in the shadow of the rules in force since" in page
    assert "started by Manager" in page
    assert "Run it in the shadow" not in page
    twice = manager.client.post(f"{url}/shadow")
    assert twice.status_code == 409
    assert "runs in the shadow already" in twice.text
    done = manager.client.post(f"{url}/shadow/ending", follow_redirects=True)
    assert "runs in the shadow no longer" in done.text
    assert "Run it in the shadow" in text_of(manager.client, url)
    twice = manager.client.post(f"{url}/shadow/ending")
    assert twice.status_code == 409
    assert "does not run in the shadow" in twice.text
    [shadow] = world.session.query(RuleShadow)
    assert shadow.started_by == manager.user_id
    assert shadow.ended_at is not None


def test_the_shadows_mornings_are_one_entry_that_leads_to_each_of_them(
    world: World, manager: Staff
) -> None:
    """Begun four days ago; two mornings have asked for their comparison."""
    two_affiliates(world)
    made = draft(world)
    with world.app.app_context():
        runs.begin_shadow(
            world.session, draft_id=made.id, by=manager.user_id, now=world.now - 4 * DAY
        )
        for ago in (1, 0):
            assert runs.ask_for_shadows(world.session, now=world.now - ago * DAY) == 1
        world.session.commit()
        ask_for_shadows()
    run(world)
    listed = text_of(manager.client, f"/manage/rules/drafts/{made.id}")
    assert listed.count("in the shadow, latest day") == 1
    latest = world.session.query(RuleReplay).order_by(RuleReplay.id.desc()).first()
    assert latest
    told = text_of(manager.client, f"/manage/rules/trials/{latest.id}")
    assert "In the shadow of the rules in force" in told
    assert told.partition("Day by day")[2].count("every day") == 2
    assert "28.00 RUB more" in told


def test_analysts_read_and_ask_for_nothing(world: World, manager: Staff) -> None:
    two_affiliates(world)
    made = draft(world)
    page = asked(world, manager, made)
    run(world)
    analyst = hire(world, "analyst").client
    assert "28.00 RUB more" in text_of(analyst, page)
    assert page in analyst.get("/manage/rules/trials").text
    assert f"/manage/rules/drafts/{made.id}" not in analyst.get(page).text
    assert analyst.get(f"{page}/progress").status_code == 200
    assert analyst.get(f"{page}/affiliates.csv").status_code == 200
    for path in ("trials", "shadow", "shadow/ending"):
        url = f"/manage/rules/drafts/{made.id}/{path}"
        assert analyst.post(url, data=sent(world)).status_code == 403
    assert world.session.query(RuleShadow).count() == 0


def test_trials_of_another_program_are_not_found(world: World, manager: Staff) -> None:
    made = draft(world)
    page = asked(world, manager, made)
    stranger = hire(world, "manager", program=world.euros).client
    for path in (page, f"{page}/progress", f"{page}/affiliates.csv", "/manage/rules/trials/77777"):
        assert stranger.get(path).status_code == 404
    assert "Winter" not in stranger.get("/manage/rules/trials").text
    for path in ("trials", "shadow", "shadow/ending"):
        url = f"/manage/rules/drafts/{made.id}/{path}"
        assert stranger.post(url, data=sent(world)).status_code == 404
    assert world.session.query(RuleReplay).count() == 1


def test_the_list_goes_on_page_by_page(
    world: World, manager: Staff, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = draft(world)
    for _ in range(3):
        asked(world, manager, made)
    monkeypatch.setattr("tracker.desks.manage.replay_lists.SHOWN_MAX", 2)
    first = manager.client.get("/manage/rules/trials").text
    older = re.search(r'rel="next" href="([^"]+)"', first)
    assert older
    assert first.count('data-label="State"') == 2
    assert manager.client.get(older[1]).text.count('data-label="State"') == 1


def test_the_pages_speak_russian(world: World, manager: Staff) -> None:
    two_affiliates(world)
    made = draft(world)
    world.session.get_one(User, manager.user_id).locale = "ru"
    world.session.commit()
    assert "Проверить на истории" in text_of(manager.client, f"/manage/rules/drafts/{made.id}")
    page = asked(world, manager, made)
    run(world)
    told = text_of(manager.client, page)
    assert (
        "По черновику вышло бы на 28,00 RUB больше (+20 %) за 2 заказа; 1 перешёл бы к другому."
        in told
    )
