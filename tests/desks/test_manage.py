"""The manager's desk: applications, affiliates, orders, rules, programs, the audit log."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session
from staff import Staff, hire
from world import World

from affiliate.core import clock, ids
from affiliate.core.audit import AuditEntry
from affiliate.core.config import Settings
from affiliate.people import ids as people_ids
from affiliate.people.models import Enrollment, User
from affiliate.programs.models import Program, RuleDraft, RuleVersion
from tracker.desks.manage.audit_log import changes
from tracker.desks.manage.percentages import parts_per_million, percent_text
from tracker.orders.browser import report_from_browser
from tracker.orders.models import Order
from tracker.orders.rules import OrderReportIn

READS = (
    "/manage/", "/manage/applications", "/manage/affiliates", "/manage/orders", "/manage/rules",
    "/manage/programs", "/manage/audit",
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_csrf(app: Flask) -> None:
    """These tests are about the desk; the matrix has the ones about forged forms."""
    app.config["WTF_CSRF_ENABLED"] = False


@pytest.fixture
def manager(world: World) -> Staff:
    return hire(world, "manager")


def url_of(world: World, name: str) -> str:
    return f"/manage/affiliates/{people_ids.public(world.people[name].enrollment.id)}"


def application_of(world: World, name: str) -> str:
    return f"/manage/applications/{people_ids.public(world.people[name].enrollment.id)}"


def order_url(order: Order) -> str:
    return f"/manage/orders/{ids.public_id('ord', order.id)}"


def status_of(world: World, name: str) -> str:
    world.session.expire_all()
    return world.session.get_one(Enrollment, world.people[name].enrollment.id).status


def unconfirmed(world: World, name: str) -> Order:
    """An order that only a browser reported."""
    person = world.people[name]
    assert person.link is not None
    at = world.now - timedelta(hours=3)
    token = world.click(person.link, at=at - timedelta(hours=1))
    report = OrderReportIn(
        order_id="B-77", placed_at=at, total=world.rub("1500.00"), clicks=(token,)
    )
    with world.app.app_context():
        report_from_browser(
            world.session, program_id=world.program.id, report=report, token=None, now=at
        )
        world.session.commit()
    return world.session.scalars(sa.select(Order).where(Order.order_id == "B-77")).one()


def test_every_page_is_there_with_nothing_and_with_rows(world: World, manager: Staff) -> None:
    for path in READS:
        assert manager.client.get(path).status_code == 200, path
    world.affiliate("Anna")
    world.affiliate("Boris", recruiter="Anna")
    world.affiliate("Vera", approved=False)
    world.sale("Boris", "5000.00", days_ago=1)
    for path in (*READS, url_of(world, "Anna"), url_of(world, "Boris"), url_of(world, "Vera")):
        page = manager.client.get(path)
        assert page.status_code == 200, (path, page.text)


def test_an_installation_without_programs_leads_an_owner_to_the_first(
    app: Flask, settings: Settings, session: Session
) -> None:
    now = clock.real_now()
    empty = World(app, settings, session, now, Program(created_at=now), Program())
    owner = hire(empty, "owner").client
    page = owner.get("/manage/")
    assert page.status_code == 200
    assert "Create the first program" in page.text
    for path in ("/manage/programs", "/manage/audit", "/finance/", "/finance/statements"):
        assert owner.get(path).status_code == 200, path


def test_an_application_shows_its_answers_and_is_approved(world: World, manager: Staff) -> None:
    world.affiliate("Vera", approved=False)
    page = manager.client.get("/manage/applications").text
    assert "A blog about lamps and plants" in page
    assert "1,000 to 10,000" in page
    done = manager.client.post(f"{application_of(world, 'Vera')}/approval", follow_redirects=True)
    assert "Vera is in the program now" in done.text
    assert status_of(world, "Vera") == "active"
    again = manager.client.post(f"{application_of(world, 'Vera')}/approval")
    assert again.status_code == 409
    assert "no longer in a state" in again.text


def test_a_rejection_needs_a_reason_and_keeps_it(world: World, manager: Staff) -> None:
    world.affiliate("Vera", approved=False)
    without = manager.client.post(f"{application_of(world, 'Vera')}/rejection")
    assert without.status_code == 422
    assert "Give the reason" in without.text
    assert status_of(world, "Vera") == "applied"
    manager.client.post(f"{application_of(world, 'Vera')}/rejection", data={"reason": "No site."})
    assert status_of(world, "Vera") == "rejected"
    assert "No site." in manager.client.get("/manage/applications").text


def test_affiliates_are_found_by_name_mail_and_status(world: World, manager: Staff) -> None:
    world.affiliate("Anna")
    world.affiliate("Boris", approved=False)
    for query, found, not_found in (
        ("q=nna", "Anna", "boris@"),
        ("q=boris%40example", "Boris", "anna@"),
        ("status=applied", "Boris", "anna@"),
        ("q=%25", "Nobody fits", "anna@"),
    ):
        text = manager.client.get(f"/manage/affiliates?{query}").text
        assert found in text, query
        assert not_found not in text, query
    assert manager.client.get("/manage/affiliates?status=king").status_code == 404


def test_suspending_tells_why_and_can_be_taken_back(world: World, manager: Staff) -> None:
    world.affiliate("Anna")
    url = url_of(world, "Anna")
    assert manager.client.post(f"{url}/suspension", data={"reason": ""}).status_code == 422
    manager.client.post(f"{url}/suspension", data={"reason": "Adverts on the brand."})
    assert status_of(world, "Anna") == "suspended"
    page = manager.client.get(url).text
    assert "Adverts on the brand." in page
    assert "suspended the affiliate" in page
    manager.client.post(f"{url}/reinstatement")
    assert status_of(world, "Anna") == "active"


def test_a_circle_of_recruiters_is_refused_in_words(world: World, manager: Staff) -> None:
    world.affiliate("Anna")
    world.affiliate("Boris", recruiter="Anna")
    boris = people_ids.public(world.people["Boris"].enrollment.id)
    answer = manager.client.post(
        f"{url_of(world, 'Anna')}/recruiter", data={"recruiter": boris, "reason": "they asked"}
    )
    assert answer.status_code == 422
    assert "recruited by their own recruit" in answer.text
    wrong = manager.client.post(
        f"{url_of(world, 'Anna')}/recruiter", data={"recruiter": "Boris", "reason": "they asked"}
    )
    assert "recruiter&#39;s id as it stands" in wrong.text
    nobody = manager.client.post(
        f"{url_of(world, 'Boris')}/recruiter", data={"recruiter": "", "reason": "they asked"}
    )
    assert nobody.status_code == 303


def test_a_coupon_is_given_once_and_switched_off(world: World, manager: Staff) -> None:
    world.affiliate("Anna")
    world.affiliate("Boris")
    url = url_of(world, "Anna")
    assert manager.client.post(f"{url}/coupons", data={"code": "anna10"}).status_code == 303
    assert "ANNA10" in manager.client.get(url).text
    taken = manager.client.post(f"{url_of(world, 'Boris')}/coupons", data={"code": "ANNA10"})
    assert taken.status_code == 409
    assert "has this coupon already" in taken.text
    number = world.session.execute(sa.text("SELECT id FROM coupons")).scalar_one()
    strange = f"{url_of(world, 'Boris')}/coupons/{number}/disabling"
    assert manager.client.post(strange).status_code == 404
    assert manager.client.post(f"{url}/coupons/{number}/disabling").status_code == 303
    assert "disabled" in manager.client.get(url).text


def test_an_order_tells_whose_it_is_and_how_both_levels_follow(
    world: World, manager: Staff
) -> None:
    world.affiliate("Anna")
    world.affiliate("Boris", recruiter="Anna")
    order = world.sale("Boris", "5000.00", days_ago=3)
    world.refund(order, "2500.00")
    page = manager.client.get(order_url(order)).text
    assert "The click for Boris, 2 hours before the order, is credited." in page
    assert "10% of it is 500.00\N{NO-BREAK SPACE}RUB." in page
    assert "2% of the sale, 5,000.00\N{NO-BREAK SPACE}RUB, is 100.00" in page
    assert "through Boris" in page
    assert "250.00" in page
    assert "the shop&#39;s server" in page
    assert "the end of the hold period" in page


def test_an_order_of_nobody_says_why(world: World, manager: Staff) -> None:
    order = world.order("100.00", at=world.lately(hours=1))
    assert "Nobody is credited: nobody&#39;s click" in manager.client.get(order_url(order)).text
    listed = manager.client.get("/manage/orders?credit=unattributed").text
    assert order.order_id in listed
    assert order.order_id not in manager.client.get("/manage/orders?credit=attributed").text
    assert "Nobody&#39;s click or coupon" in manager.client.get("/manage/").text


def test_a_browsers_order_waits_on_the_overview_and_is_confirmed(
    world: World, manager: Staff
) -> None:
    world.affiliate("Anna")
    order = unconfirmed(world, "Anna")
    assert "B-77" in manager.client.get("/manage/").text
    assert "Only a browser reported" in manager.client.get(order_url(order)).text
    done = manager.client.post(
        f"{order_url(order)}/confirmation", data={"from": "overview"}, follow_redirects=True
    )
    assert "Order B-77 is confirmed." in done.text
    world.session.expire_all()
    assert (order.status, order.confirmed_by) == ("confirmed", f"user:{manager.user_id}")
    assert audited(world.session, "order.confirm") == (f"user:{manager.user_id}", None)


def test_who_confirmed_an_order_is_told_in_words(world: World, manager: Staff) -> None:
    order = world.order("100.00", at=world.lately(hours=1))
    name = world.session.get_one(User, manager.user_id).name
    confirmed_by = {
        "api": "the shop&#39;s server",
        "token": "a token that the shop had signed",
        f"user:{manager.user_id}": name,
    }
    for order.confirmed_by, said in confirmed_by.items():
        world.session.commit()
        assert (
            f'<span class="muted small">{said}</span>' in manager.client.get(order_url(order)).text
        )


def audited(session: Session, action: str) -> tuple[str, str | None]:
    """Actor and reason of the one line of the audit log with that action."""
    rows = session.execute(
        sa.select(AuditEntry.actor, AuditEntry.reason).where(AuditEntry.action == action)
    )
    actor, reason = rows.one()
    return actor, reason


def test_cancelling_an_order_takes_both_levels_back(world: World, manager: Staff) -> None:
    world.affiliate("Anna")
    world.affiliate("Boris", recruiter="Anna")
    order = world.sale("Boris", "5000.00", days_ago=3)
    url = f"{order_url(order)}/cancellation"
    assert manager.client.post(url, data={"reason": ""}).status_code == 422
    assert manager.client.post(url, data={"reason": "fraud"}).status_code == 303
    page = manager.client.get(order_url(order)).text
    assert page.count("the order was cancelled") >= 2
    assert audited(world.session, "order.cancel") == (f"user:{manager.user_id}", "fraud")


RULES = {
    "level_1_kind": "percent", "level_1_rate": "12.5", "level_1_amount": "", "level_2_of": "none",
    "level_2_rate": "", "model": "first_click", "window_days": "45", "coupon": "wins",
    "existing_customer": "refuses", "self_purchase": "refuses", "hold_days": "7",
    "name": "Winter terms", "note": "Ask finance first.",
}  # fmt: skip


def test_a_draft_is_saved_and_told_in_words_and_pays_nobody(world: World, manager: Staff) -> None:
    assert "New draft of the rules" in manager.client.get("/manage/rules/new").text
    done = manager.client.post("/manage/rules", data=RULES, follow_redirects=True)
    assert "The draft is saved" in done.text
    assert "12.5% of every sale" in done.text
    draft = world.session.scalars(sa.select(RuleDraft)).one()
    assert draft.document["commission"]["level_1"] == {"kind": "percent", "rate_ppm": 125_000}
    assert draft.document["attribution"]["model"] == "first_click"
    assert (draft.created_by, draft.note) == (manager.user_id, "Ask finance first.")
    count = sa.select(sa.func.count()).where(RuleVersion.program_id == world.program.id)
    assert world.session.scalar(count) == 1


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"level_1_rate": ""}, "Write the percentage."),
        ({"level_1_rate": "ten"}, "Write a percentage such as 10 or 12.5."),
        ({"level_1_rate": "101"}, "At most 100."),
        ({"level_1_kind": "fixed"}, "Write the amount."),
        ({"level_1_kind": "fixed", "level_1_amount": "1.234"}, "2 digits after the point"),
        ({"level_2_of": "sale"}, "Write the percentage."),
        ({"level_2_of": "sale", "level_2_rate": "95"}, "over the whole sale"),
        ({"window_days": "0"}, "between 1 and 3650"),
        ({"hold_days": "400"}, "between 0 and 365"),
        ({"model": "random"}, "Not a valid choice"),
        ({"name": ""}, "Please fill this in."),
        ({"name": " \u202e "}, "1 to 80 characters"),
    ],
)
def test_rules_that_cannot_be_are_refused_beside_their_field(
    world: World, manager: Staff, changed: dict[str, str], told: str
) -> None:
    answer = manager.client.post("/manage/rules", data={**RULES, **changed})
    assert answer.status_code == 422
    assert told in answer.text
    assert world.session.scalars(sa.select(RuleDraft)).all() == []


@pytest.mark.parametrize(
    ("text", "ppm"), [("10", 100_000), ("12,5 %", 125_000), ("0.0001", 1), ("0", 0)]
)
def test_percentages_are_read_exactly(text: str, ppm: int) -> None:
    assert parts_per_million(text) == ppm
    assert parts_per_million(percent_text(ppm)) == ppm


@pytest.mark.parametrize("text", ["", ".5", "1e3", "-1", "1.", "0.00001", "٣", "1000"])
def test_what_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"percentage|digits"):
        parts_per_million(text)


SETTINGS = {
    "name": "Lamp & Leaf", "summary": "", "landing_url": "https://shop.example/",
    "allowed_sites": "shop.example\n.shop.example", "rail": "manual", "payout_weekday": "4",
    "payout_hour": "10", "time_zone": "Europe/Moscow", "contact_email": "",
}  # fmt: skip


def test_settings_are_changed_and_the_change_is_in_the_audit_log(
    world: World, manager: Staff
) -> None:
    assert "Settings of Lamp" in manager.client.get("/manage/programs/demo").text
    done = manager.client.post("/manage/programs/demo", data=SETTINGS, follow_redirects=True)
    assert "The settings are saved." in done.text
    world.session.expire_all()
    assert (world.program.payout_weekday, world.program.payout_hour) == (4, 10)
    page = manager.client.get("/manage/audit").text
    assert "changed settings" in page
    assert "<del>9</del>" in page
    assert "<ins>10</ins>" in page
    wrong = manager.client.post(
        "/manage/programs/demo", data={**SETTINGS, "landing_url": "https://evil.example/"}
    )
    assert wrong.status_code == 422
    assert "An https page of one of the allowed sites." in wrong.text


@pytest.mark.abuse("A35")
def test_a_form_cannot_change_what_it_does_not_have(world: World, manager: Staff) -> None:
    extra = {"currency": "USD", "slug": "mine", "status": "closed"}
    manager.client.post("/manage/programs/demo", data={**SETTINGS, **extra})
    world.session.expire_all()
    found = (world.program.currency, world.program.slug, world.program.status)
    assert found == ("RUB", "demo", "open")


def test_an_owner_makes_a_program_with_its_first_rules(world: World) -> None:
    owner = hire(world, "owner")
    assert "New program" in owner.client.get("/manage/programs/new").text
    sent = {**SETTINGS, **RULES, "slug": "tea", "currency": "eur", "name": "Tea"}
    made = owner.client.post("/manage/programs", data=sent)
    assert made.status_code == 303
    assert made.location == "/manage/integration?program=tea", "next the shop is connected"
    program = world.session.scalars(sa.select(Program).where(Program.slug == "tea")).one()
    assert program.currency == "EUR"
    again = owner.client.post("/manage/programs", data=sent)
    assert again.status_code == 409
    assert "Another program has this address" in again.text
    bad = owner.client.post("/manage/programs", data={**sent, "slug": "x", "currency": "XXQ"})
    assert bad.status_code == 422
    assert "not an ISO 4217 currency" in bad.text


def test_a_new_program_needs_five_fields_and_folds_the_rest(world: World) -> None:
    owner = hire(world, "owner")
    shown = owner.client.get("/manage/programs/new").text
    assert '<details class="more form-more">' in shown
    sent = {**SETTINGS, **RULES, "slug": "tea", "currency": "EUR", "allowed_sites": ""}
    bad = owner.client.post("/manage/programs", data={**sent, "payout_hour": "25"})
    assert bad.status_code == 422
    assert '<details class="more form-more" open>' in bad.text, "what is wrong is to be seen"
    made = owner.client.post(
        "/manage/programs", data={**sent, "landing_url": "https://tea.example/start"}
    )
    assert made.status_code == 303
    program = world.session.scalars(sa.select(Program).where(Program.slug == "tea")).one()
    assert program.allowed_sites == ["tea.example"]
    for nowhere in ("", "https://[", "nowhere"):
        refused = owner.client.post("/manage/programs", data={**sent, "landing_url": nowhere})
        assert refused.status_code == 422, nowhere


def test_who_is_no_owner_is_told_who_makes_programs(manager: Staff) -> None:
    listed = manager.client.get("/manage/programs").text
    assert "New program" not in listed
    assert "The owner makes programs." in listed


@pytest.mark.abuse("A24")
def test_another_programs_objects_are_not_there(world: World) -> None:
    world.affiliate("Anna")
    world.affiliate("Vera", approved=False)
    order = world.sale("Anna", "500.00", days_ago=1)
    stranger = hire(world, "manager", program=world.euros).client
    for path in (url_of(world, "Anna"), order_url(order), "/manage/programs/demo",
                 "/manage/orders?program=demo", "/manage/rules/new?program=demo"):  # fmt: skip
        assert stranger.get(path).status_code == 404, path
    for path in (
        f"{application_of(world, 'Vera')}/approval",
        f"{application_of(world, 'Vera')}/rejection",
        f"{url_of(world, 'Anna')}/suspension",
        f"{url_of(world, 'Anna')}/recruiter",
        f"{url_of(world, 'Anna')}/coupons",
        f"{order_url(order)}/confirmation",
        f"{order_url(order)}/cancellation",
        "/manage/programs/demo",
        "/manage/rules?program=demo",
    ):
        assert stranger.post(path, data={"reason": "mine"}).status_code == 404, path
    assert "Anna" not in stranger.get("/manage/audit").text
    assert status_of(world, "Anna") == "active"


@pytest.mark.abuse("A25")
@pytest.mark.parametrize("role", ["curator", "analyst"])
def test_who_only_reads_sees_no_buttons_and_cannot_act(world: World, role: str) -> None:
    world.affiliate("Vera", approved=False)
    reader = hire(world, role).client
    page = reader.get("/manage/applications")
    assert page.status_code == 200
    assert "/approval" not in page.text
    assert reader.post(f"{application_of(world, 'Vera')}/approval").status_code == 403
    assert status_of(world, "Vera") == "applied"


@pytest.mark.abuse("A25")
def test_a_manager_of_one_program_who_reads_another_cannot_act_there(world: World) -> None:
    from affiliate.people import grants

    world.affiliate("Vera", approved=False)
    person = hire(world, "manager", program=world.euros)
    with world.app.app_context():
        grants.grant_role(
            world.session, user_id=person.user_id, role="analyst", program_id=world.program.id,
            by=None, now=world.now,
        )  # fmt: skip
        world.session.commit()
    assert "/approval" not in person.client.get("/manage/applications?program=demo").text
    sent = person.client.post(f"{application_of(world, 'Vera')}/approval")
    assert sent.status_code == 404
    assert person.client.post("/manage/rules?program=demo", data=RULES).status_code == 404


def test_the_program_looked_at_is_remembered(world: World) -> None:
    owner = hire(world, "owner").client
    assert "Nordic Tea" in owner.get("/manage/rules?program=demo-manual").text
    assert "of Nordic Tea" in owner.get("/manage/rules").text


def test_the_audit_log_is_paged_by_key(world: World, manager: Staff) -> None:
    for i in range(60):
        world.session.add(
            AuditEntry(
                at=world.now, actor="system", action=f"test.{i}", subject="test:1",
                scope=world.program.id, old=None, new={"i": i}, reason=None, request_id=None,
            )
        )  # fmt: skip
    world.session.commit()
    first = manager.client.get("/manage/audit?subject=test:1").text
    assert "test.59" in first
    assert "test.9<" not in first
    older = first.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
    assert "test.9<" in manager.client.get(older).text
    assert manager.client.get("/manage/audit?before=x").status_code == 404


def test_what_changed_names_both_sides() -> None:
    assert changes({"a": 1, "b": None}, {"a": 2, "c": [1, 2], "d": []}) == [
        ("a", "1", "2"), ("b", "—", None), ("c", None, "1, 2"), ("d", None, "—"),
    ]  # fmt: skip


def test_a_manager_says_which_customer_of_the_shop_an_affiliate_is(
    world: World, manager: Staff
) -> None:
    world.affiliate("Anna")
    world.affiliate("Boris")
    url = f"{url_of(world, 'Anna')}/customer"
    done = manager.client.post(url, data={"customer_id": " c-881 "}, follow_redirects=True)
    assert "own purchases of Anna" in done.text
    assert "c-881" in done.text
    other = manager.client.post(f"{url_of(world, 'Boris')}/customer", data={"customer_id": "c-881"})
    assert other.status_code == 409
    assert "is this customer of the shop already" in other.text
    wrong = manager.client.post(url, data={"customer_id": "two words"})
    assert wrong.status_code == 422
    assert "255 characters" in wrong.text
    world.session.expire_all()
    assert world.people["Anna"].enrollment.shop_customer_id == "c-881"
    none = manager.client.post(url, data={"customer_id": ""}, follow_redirects=True)
    assert "No customer of the shop is known to be Anna" in none.text
