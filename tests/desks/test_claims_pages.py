"""Claims as affiliates and those who decide see them: words, refusals, roles, what is kept."""

from __future__ import annotations

import re
from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from staff import Staff, hire
from test_manage import audited, order_url
from werkzeug.test import TestResponse
from world import DAY, World

from affiliate.core import ids
from affiliate.core.clock import real_now
from affiliate.people.ids import public
from tracker.attribution.models import Decision
from tracker.claims.models import Claim
from tracker.claims.rules import CASES_PER_DAY_MAX, day_ends
from tracker.clicks.models import Click
from tracker.clicks.rules import DropReason
from tracker.orders.models import Order

HOUR = timedelta(hours=1)
CLAIMS = "/account/orders/claims"


@pytest.fixture(autouse=True)
def _forms_without_tokens(app: Flask) -> None:
    app.config["WTF_CSRF_ENABLED"] = False


@pytest.fixture
def anna(world: World) -> FlaskClient:
    world.affiliate("Boris")
    return world.affiliate("Anna").client


@pytest.fixture
def manager(world: World) -> Staff:
    return hire(world, "manager")


def lost_by_anna(world: World, *, coupon: str | None = None) -> Order:
    """An order of Boris's: Anna's click was the earlier one."""
    at = world.now - DAY
    mine, theirs = world.people["Anna"].link, world.people["Boris"].link
    assert mine is not None and theirs is not None
    clicks = (world.click(mine, at=at - 3 * HOUR), world.click(theirs, at=at - HOUR))
    return world.order("900.00", at=at, clicks=clicks, coupon=coupon)


def ask(world: World, client: FlaskClient, order_id: str, *, said: str = "") -> TestResponse:
    day = (world.now - DAY).date().isoformat()
    return client.post(CLAIMS, data={"order_id": order_id, "day": day, "said": said})


def last(world: World) -> Claim:
    world.session.rollback()
    world.session.expire_all()
    return world.session.scalars(sa.select(Claim).order_by(Claim.id.desc())).first()  # type: ignore[return-value]


def case_url(claim: Claim, desk: str = "manage") -> str:
    case = ids.public_id("clm", claim.id)
    return f"{CLAIMS}/{case}" if desk == "account" else f"/manage/claims/{case}"


def words(answer: TestResponse) -> str:
    """What a reader sees, in one line."""
    text = re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", answer.text, flags=re.S)
    return " ".join(text.replace("&#39;", "'").split())


def order_page(order: Order) -> str:
    return f"/account/orders/{ids.public_id('ord', order.id)}"


class TestMissing:
    def test_an_own_order_leads_to_its_page(self, world: World, anna: FlaskClient) -> None:
        order = world.sale("Anna", "500.00", days_ago=1)
        answer = ask(world, anna, order.order_id)
        assert (answer.status_code, answer.location) == (303, order_page(order))

    def test_a_lost_order_is_told_from_the_own_side_alone(
        self, world: World, anna: FlaskClient
    ) -> None:
        order = lost_by_anna(world)
        answer = ask(world, anna, order.order_id)
        page = words(anna.get(answer.location))
        assert "Why it is not yours" in page
        assert "a later click goes before it" in page
        assert "Another affiliate's click was credited" in page
        assert "Boris" not in page and "900.00" not in page
        assert "I object" in page
        assert anna.get(order_page(order)).status_code == 404, "the order is another's"

    @pytest.mark.abuse("A24")
    def test_others_orders_and_unknown_ones_are_one_page(
        self, world: World, anna: FlaskClient
    ) -> None:
        order = world.sale("Boris", "700.00", days_ago=1)
        pages = []
        for number in (order.order_id, "A" + order.order_id[1:][::-1]):
            answer = ask(world, anna, number)
            assert answer.status_code == 303
            page = words(anna.get(answer.location))
            pages.append(page.replace(number, "N"))
        assert pages[0] == pages[1]
        assert "We could not find a click or coupon of yours" in pages[0]

    def test_what_is_wrong_stands_beside_its_field(self, anna: FlaskClient) -> None:
        answer = anna.post(CLAIMS, data={"order_id": "№ 7", "day": "2020-01-32", "said": "x"})
        assert answer.status_code == 422
        page = words(answer)
        assert "Write the order number as the shop gave it" in page
        assert "Name the day of the order" in page
        assert "№ 7" in answer.text, "what was typed stays"

    def test_the_limit_is_a_page_that_says_when_to_come_back(
        self, world: World, anna: FlaskClient
    ) -> None:
        for number in range(CASES_PER_DAY_MAX):
            assert ask(world, anna, f"X-{number}").status_code == 303
        answer = ask(world, anna, "X-beyond")
        assert answer.status_code == 429
        tomorrow = day_ends(real_now(), world.program.time_zone)
        left = (tomorrow - real_now()).total_seconds()
        assert abs(int(answer.headers["Retry-After"]) - left) < 60
        assert "You can ask about others tomorrow" in words(answer)

    def test_a_second_case_about_one_number_is_refused(
        self, world: World, anna: FlaskClient
    ) -> None:
        ask(world, anna, "X-1")
        answer = ask(world, anna, "X-1")
        assert answer.status_code == 409
        assert "A case about this is open already" in words(answer)

    def test_the_list_shows_state_and_deadline(self, world: World, anna: FlaskClient) -> None:
        assert "Nothing asked so far" in words(anna.get(CLAIMS))
        ask(world, anna, "X-1", said="in a chat")
        page = words(anna.get(CLAIMS))
        assert "Missing order X-1" in page and "answer by" in page
        assert "I miss an order 1" in words(anna.get("/account/orders"))

    def test_notes_and_withdrawal(self, world: World, anna: FlaskClient) -> None:
        ask(world, anna, "X-1")
        url = case_url(last(world), "account")
        assert anna.post(f"{url}/notes", data={"text": ""}).status_code == 422
        page = anna.post(f"{url}/notes", data={"text": "See\nhere"}, follow_redirects=True)
        assert "See\nhere" in page.text
        page = anna.post(f"{url}/withdrawal", follow_redirects=True)
        assert "You withdrew it" in words(page)
        assert anna.post(f"{url}/withdrawal").status_code == 409
        assert anna.post(f"{url}/notes", data={"text": "more"}).status_code == 409

    @pytest.mark.abuse("A24")
    def test_a_case_is_nobody_elses(self, world: World, anna: FlaskClient) -> None:
        ask(world, anna, "X-1")
        url = case_url(last(world), "account")
        boris = world.people["Boris"].client
        for method, path in (("GET", url), ("POST", f"{url}/notes"), ("POST", f"{url}/withdrawal")):
            assert boris.open(path, method=method, data={"text": "x"}).status_code == 404


class TestObjection:
    def test_it_is_offered_where_something_was_taken_and_nowhere_else(
        self, world: World, anna: FlaskClient
    ) -> None:
        fine = world.sale("Anna", "500.00", days_ago=1)
        assert "I object" not in words(anna.get(order_page(fine)))
        world.refund(fine, "100.00")
        assert "I object" in words(anna.get(order_page(fine)))
        gone = world.sale("Anna", "600.00", days_ago=40)
        world.cancel(gone)
        page = order_page(gone)
        answer = anna.post(f"{page}/objection", data={"said": "It was sent again."})
        assert answer.location == case_url(last(world), "account")
        shown = words(anna.get(answer.location))
        assert "the commission was taken back" in shown and "It was sent again." in shown
        assert "A person looks at it: see the case" in words(anna.get(page))

    def test_a_refusal_is_told_where_the_form_stood(self, world: World, anna: FlaskClient) -> None:
        order = world.sale("Anna", "500.00", days_ago=1)
        page = order_page(order)
        headers = {"Referer": f"http://localhost{page}"}
        answer = anna.post(f"{page}/objection", data={"said": "why"}, headers=headers)
        assert answer.location == page
        assert "Nothing was refused or taken back here" in words(anna.get(page))
        outside = {"Referer": "https://evil.example/x"}
        answer = anna.post(f"{page}/objection", data={"said": "why"}, headers=outside)
        assert answer.location == CLAIMS

    def test_a_filtered_click_is_objected_to_on_its_receipt(
        self, world: World, anna: FlaskClient, manager: Staff
    ) -> None:
        link = world.people["Anna"].link
        assert link is not None
        world.click(link, at=world.now - HOUR, reason=DropReason.BOT)
        click_id: UUID = world.session.scalars(sa.select(Click.click_id)).one()
        world.session.rollback()
        assert "I object" in words(anna.get(f"/account/clicks?find={click_id}"))
        answer = anna.post(f"/account/clicks/{click_id}/objection", data={"said": "a person"})
        assert "the click was not counted" in words(anna.get(answer.location))
        assert "Your objection is being looked at" in words(
            anna.get(f"/account/clicks?find={click_id}")
        )
        url = case_url(last(world))
        assert "Count the click" in words(manager.client.get(url))
        manager.client.post(f"{url}/acceptance", data={"remedy": "clear_click", "reason": "it was"})
        assert "The click counts now" in words(anna.get(answer.location))
        assert "Counted" in words(anna.get(f"/account/clicks?find={click_id}"))

    def test_what_two_people_have_read_is_final_and_not_offered_again(
        self, world: World, anna: FlaskClient, manager: Staff
    ) -> None:
        second, said = hire(world, "manager", name="second"), "what they said is final"
        link = world.people["Anna"].link
        assert link is not None
        world.click(link, at=world.now - HOUR, reason=DropReason.BOT)
        click_id: UUID = world.session.scalars(sa.select(Click.click_id)).one()
        order = world.sale("Anna", "600.00", days_ago=1)
        manager.client.post(f"{order_url(order)}/cancellation", data={"reason": "fraud"})
        click, of_order = f"/account/clicks/{click_id}", order_page(order)
        for page, path, readers in (
            (f"/account/clicks?find={click_id}", click, (manager, second)),
            # The cancellation was a person's word already.
            (of_order, of_order, (second,)),
        ):
            for reader in readers:
                shown = words(anna.get(page))
                assert "I object" in shown and said not in shown
                anna.post(f"{path}/objection", data={"said": "Look again."})
                url = case_url(last(world))
                answer = reader.client.post(f"{url}/refusal", data={"reason": "No."})
                assert answer.status_code == 303
            shown = words(anna.get(page))
            assert "I object" not in shown and said in shown


class TestDesk:
    def test_the_list_begins_with_what_is_due_first_and_the_menu_counts(
        self, world: World, anna: FlaskClient, manager: Staff
    ) -> None:
        assert "nothing waits" in words(manager.client.get("/manage/claims"))
        for number in ("X-1", "X-2"):
            ask(world, anna, number)
        world.session.execute(
            sa.update(Claim)
            .where(Claim.order_id == "X-2")
            .values(due_at=world.now - HOUR, opened_at=world.now - 9 * DAY)
        )
        world.session.commit()
        text = words(manager.client.get("/manage/claims"))
        assert text.index("Missing order X-2") < text.index("Missing order X-1")
        assert "2 open · 1 overdue" in text
        page = manager.client.get("/manage/orders").text
        assert re.search(r'class="count count-late"[^>]*>2<', page)
        assert "count-late" not in hire(world, "finance").client.get("/finance/").text
        assert manager.client.get("/manage/claims?show=all").status_code == 404

    def test_a_case_shows_order_trace_and_clicks_with_names(
        self, world: World, anna: FlaskClient, manager: Staff
    ) -> None:
        world.coupon("Anna", "ANNA10")
        order = lost_by_anna(world, coupon="anna10")
        case = ask(world, anna, order.order_id).location
        anna.post(f"{order_page(order)}/objection", data={"said": "Mine."})
        page = words(manager.client.get(case_url(last(world))))
        for told in (
            "Boris",
            order.order_id,
            "the affiliate's own",
            "the order's visitor",
            "a click or coupon was not credited",
            "Mine.",
            "Give them the order",
        ):
            assert told in page, told
        assert case

    def test_accepting_gives_the_order_and_tells_the_affiliate(
        self, world: World, anna: FlaskClient, manager: Staff
    ) -> None:
        order = lost_by_anna(world)
        anna.post(f"{order_page(order)}/objection", data={"said": "Mine."})
        claim = last(world)
        url = case_url(claim)
        data = {"remedy": "assign", "reason": ""}
        assert manager.client.post(f"{url}/acceptance", data=data).status_code == 422
        data = {"remedy": "nonsense", "reason": "yes"}
        assert manager.client.post(f"{url}/acceptance", data=data).status_code == 422
        data = {"remedy": "release", "reason": "yes"}
        assert manager.client.post(f"{url}/acceptance", data=data).status_code == 409
        data = {"remedy": "assign", "reason": "Your newsletter named it."}
        done = manager.client.post(f"{url}/acceptance", data=data, follow_redirects=True)
        assert "The order was given to the affiliate." in words(done)
        assert manager.client.post(f"{url}/acceptance", data=data).status_code == 409
        mine = words(anna.get(case_url(claim, "account")))
        assert "Accepted." in mine and "Your newsletter named it." in mine
        assert "Credited to you by a manager" in words(anna.get("/account/orders"))
        assert audited(world.session, "claim.accepted")[1] == "Your newsletter named it."

    def test_declining_and_explaining_say_why(
        self, world: World, anna: FlaskClient, manager: Staff
    ) -> None:
        for number, path, told in (
            ("X-1", "refusal", "Declined."),
            ("X-2", "explanation", "Answered; nothing had to be changed."),
        ):
            ask(world, anna, number)
            claim = last(world)
            url = case_url(claim)
            assert manager.client.post(f"{url}/{path}", data={"reason": " "}).status_code == 422
            manager.client.post(f"{url}/{path}", data={"reason": "Look at rule 3."})
            page = words(anna.get(case_url(claim, "account")))
            assert told in page and "Look at rule 3." in page
        assert "Missing order X-1" in words(manager.client.get("/manage/claims?show=closed"))

    def test_colleagues_notes_stay_inside_and_questions_go_out(
        self, world: World, anna: FlaskClient, manager: Staff
    ) -> None:
        ask(world, anna, "X-1")
        claim = last(world)
        curator = hire(world, "curator")
        curator.client.post(f"{case_url(claim)}/notes", data={"text": "Odd, that one."})
        manager.client.post(
            f"{case_url(claim)}/notes", data={"text": "Which buyer?", "for_affiliate": "yes"}
        )
        mine = words(anna.get(case_url(claim, "account")))
        assert "Which buyer?" in mine and "Odd" not in mine
        theirs = words(curator.client.get(case_url(claim)))
        assert "Odd, that one." in theirs and "colleagues only" in theirs

    def test_curators_and_analysts_read_and_do_not_decide(
        self, world: World, anna: FlaskClient
    ) -> None:
        ask(world, anna, "X-1")
        url = case_url(last(world))
        for role in ("curator", "analyst"):
            client = hire(world, role).client
            assert "Answer it" not in words(client.get(url))
            for path in ("acceptance", "refusal", "explanation"):
                assert client.post(f"{url}/{path}", data={"reason": "x"}).status_code == 403
        assert client.post(f"{url}/notes", data={"text": "x"}).status_code == 403

    def test_the_first_reader_is_told_that_somebody_else_reads_it(
        self, world: World, anna: FlaskClient, manager: Staff
    ) -> None:
        order = world.sale("Anna", "600.00", days_ago=1)
        manager.client.post(f"{order_url(order)}/cancellation", data={"reason": "fraud"})
        anna.post(f"{order_page(order)}/objection", data={"said": "It was none."})
        claim = last(world)
        # Alone, they read it twice, and the page says so.
        assert "Answer it" in words(manager.client.get(case_url(claim)))
        second = hire(world, "manager", name="second")
        page = words(manager.client.get(case_url(claim)))
        assert "Somebody else has to read it" in page and "Answer it" not in page
        data = {"reason": "It was."}
        assert manager.client.post(f"{case_url(claim)}/refusal", data=data).status_code == 409
        assert "you are the second reader" in words(second.client.get(case_url(claim)))
        assert second.client.post(f"{case_url(claim)}/refusal", data=data).status_code == 303

    def test_a_program_of_one_shows_that_it_had_no_second_reader(
        self, world: World, anna: FlaskClient, manager: Staff
    ) -> None:
        order = world.sale("Anna", "600.00", days_ago=1)
        manager.client.post(f"{order_url(order)}/cancellation", data={"reason": "fraud"})
        anna.post(f"{order_page(order)}/objection", data={"said": "It was none."})
        claim = last(world)
        manager.client.post(f"{case_url(claim)}/refusal", data={"reason": "It was."})
        assert "without a second reader" in words(manager.client.get(case_url(claim)))

    def test_a_manager_gives_an_order_away_and_takes_the_word_back(
        self, world: World, anna: FlaskClient, manager: Staff
    ) -> None:
        assert anna
        order = lost_by_anna(world)
        url = f"{order_url(order)}/assignment"
        to = public(world.people["Anna"].enrollment.id)
        for data in (
            {"affiliate": "Anna", "reason": "x"},
            {"affiliate": to, "reason": ""},
        ):
            assert manager.client.post(url, data=data).status_code == 422
        data = {"affiliate": f" {to} ", "reason": "a lost cookie"}
        page = words(manager.client.post(url, data=data, follow_redirects=True))
        assert "Anna, whom a manager named, is credited" in page and "a lost cookie" in page
        assert manager.client.post(url, data=data).status_code == 409
        back = f"{url}/withdrawal"
        assert manager.client.post(back, data={"reason": "wrong"}).status_code == 303
        assert manager.client.post(back, data={"reason": "wrong"}).status_code == 409
        world.session.rollback()
        live = sa.select(Decision.number).where(
            Decision.order_id == order.id, Decision.voided_at.is_(None)
        )
        assert world.session.scalars(live).all() == [3]
