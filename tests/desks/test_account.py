"""The affiliate's account: what each page says, what each form refuses, whose it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa
from builders import ANSWERS, make_user, terms_document
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse
from world import DAY, Person, World

from affiliate.core.clock import real_now
from affiliate.core.db import db
from affiliate.core.ids import public_id
from affiliate.core.money import Money
from affiliate.core.outbox import Mail
from affiliate.links.links import create_link
from affiliate.links.models import Link
from affiliate.people import enrollments, joining
from affiliate.people.models import UserSession
from affiliate.programs.announcements import announce
from affiliate.programs.models import Program
from payouts.batches.models import PayeeAccount, Withdrawal
from payouts.ledger.balances import balances
from tracker.clicks.rules import DropReason
from tracker.desks.account.place import Place
from tracker.desks.account.statements import read_statement, subject_of
from tracker.orders.models import Order

PAGES = (
    "/account/",
    "/account/links",
    "/account/clicks",
    "/account/orders",
    "/account/money",
    "/account/team",
    "/account/rules",
)
IBAN = "Anna, DE89 3704 0044 0532 0130 00"
QUERIES_MAX = 14
"""Five of them know who asks and what time it is; the rest is the page's own."""


def send(person: Person, path: str, page: str, **fields: Any) -> TestResponse:
    """The form of a page, with its token."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', person.client.get(page).text)
    assert found, f"{page} has no form"
    return person.client.post(path, data={"csrf_token": found[1], **fields})


def text_of(client: FlaskClient, path: str) -> str:
    """The words of a page, without its marks."""
    page = client.get(path)
    assert page.status_code == 200, (path, page.status)
    plain = re.sub(r"<[^>]+>", " ", page.text)
    for sign, char in (("&#39;", "'"), ("&amp;", "&"), ("\N{NO-BREAK SPACE}", " ")):
        plain = plain.replace(sign, char)
    return re.sub(r"\s+", " ", plain)


def order_page(order: Order) -> str:
    return f"/account/orders/{public_id('ord', order.id)}"


@contextmanager
def queries(world: World) -> Iterator[list[str]]:
    """The statements that the application sends meanwhile."""
    seen: list[str] = []
    with world.app.app_context():
        engine = db.engine

    def note(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    yield seen
    sa.event.remove(engine, "before_cursor_execute", note)


# ---- who sees what ----


def test_without_anything_each_page_says_what_to_do_next(world: World) -> None:
    anna = world.affiliate("Anna", link=False)
    says = {
        "/account/": "Make your first link.",
        "/account/links": "No link yet",
        "/account/clicks": "the click is here within seconds",
        "/account/orders": "No order yet",
        "/account/money": "First say where the money should go",
        "/account/team": "Nobody yet",
        "/account/rules": "10% of every sale",
    }
    assert set(says) == set(PAGES)
    for path, words in says.items():
        assert words in text_of(anna.client, path), path


def test_the_tip_fits_what_is_missing(world: World) -> None:
    anna = world.affiliate("Anna")
    assert anna.link is not None
    assert "nobody has followed it yet" in text_of(anna.client, "/account/")
    token = world.click(anna.link, at=world.now - DAY)
    assert "have not bought yet" in text_of(anna.client, "/account/")
    world.order("100.00", at=world.now - DAY + timedelta(hours=1), clicks=(token,))
    assert "have not bought yet" not in text_of(anna.client, "/account/")


def test_an_applicant_sees_what_happens_next_on_every_page(world: World) -> None:
    emil = world.affiliate("Emil", approved=False)
    for path in PAGES:
        assert "A person reads it" in text_of(emil.client, path)


def test_a_rejected_applicant_sees_the_reason(world: World, session: Session) -> None:
    emil = world.affiliate("Emil", approved=False)
    with world.app.app_context():
        enrollments.reject(
            session, enrollment_id=emil.enrollment.id, reason="Your site could not be opened.",
            by=None, now=world.now,
        )  # fmt: skip
        session.commit()
    page = text_of(emil.client, "/account/orders")
    assert "Your site could not be opened." in page
    assert "apply again 30 days after" in page


def test_an_applicant_can_make_no_link(world: World, session: Session) -> None:
    emil = world.affiliate("Emil", approved=False)
    anna = world.affiliate("Anna")
    found = re.search(r'name="csrf_token" value="([^"]+)"', emil.client.get("/account/").text)
    assert found
    answer = emil.client.post("/account/links", data={"csrf_token": found[1]})
    assert answer.status_code == 409
    assert session.scalars(sa.select(Link.enrollment_id)).all() == [anna.enrollment.id]


def test_a_suspended_affiliate_sees_the_reason_and_their_money(
    world: World, session: Session
) -> None:
    anna = world.affiliate("Anna")
    world.payee("Anna")
    world.sale("Anna", "3500.00", days_ago=20)
    world.release()
    with world.app.app_context():
        enrollments.suspend(
            session, enrollment_id=anna.enrollment.id, reason="Ads on our own brand.", by=None,
            now=world.now,
        )  # fmt: skip
        session.commit()
    page = text_of(anna.client, "/account/money")
    assert "Ads on our own brand." in page
    assert "350.00 RUB" in page
    answer = send(anna, "/account/money/withdrawals", "/account/money", amount="")
    assert answer.status_code == 409
    assert "suspended" in answer.text


def test_strangers_and_staff_have_no_account(world: World, session: Session) -> None:
    stranger = world.app.test_client()
    staff = world.sign_in(make_user(session, "staff@example.com", now=world.now).id)
    for path in PAGES:
        answer = stranger.get(path)
        assert answer.status_code == 303
        assert answer.location.startswith("/sign-in?next=%2Faccount")
        assert staff.get(path).status_code == 403


def test_several_programs_are_switched_and_remembered(world: World, session: Session) -> None:
    anna = world.affiliate("Anna")
    assert "Nordic Tea" not in anna.client.get("/account/").text
    with world.app.app_context():
        other = joining.apply(
            session, user_id=anna.user_id, program_id=world.euros.id, name="Anna",
            answers=ANSWERS, now=world.now,
        )  # fmt: skip
        enrollments.approve(session, enrollment_id=other.id, by=None, now=world.now)
        session.commit()
    assert "0.00 RUB" in text_of(anna.client, "/account/")
    assert "0.00 EUR" in text_of(anna.client, "/account/?program=demo-manual")
    assert "0.00 EUR" in text_of(anna.client, "/account/money")
    assert "one level" in text_of(anna.client, "/account/team")
    assert "0.00 RUB" in text_of(anna.client, "/account/money?program=demo")


@pytest.mark.abuse("A24")
def test_a_program_one_is_not_in_answers_as_one_that_does_not_exist(world: World) -> None:
    anna = world.affiliate("Anna")
    for slug in ("demo-manual", "nothing", "", "'"):
        assert anna.client.get(f"/account/?program={slug}").status_code == 404


@pytest.mark.abuse("A24")
def test_objects_of_another_affiliate_are_not_found(world: World, session: Session) -> None:
    anna = world.affiliate("Anna")
    boris = world.affiliate("Boris")
    assert boris.link is not None
    order = world.sale("Boris", "3500.00", days_ago=2)
    link = public_id("lnk", boris.link.id)
    reads = [
        order_page(order),
        f"/account/links/{link}/qr.svg",
        f"/account/orders/{link}",
        f"/account/orders/{public_id('ord', 999)}",
        f"/account/orders/{order.id}",
        "/account/orders/ord_",
        f"/account/links/{public_id('lnk', 999)}/qr.svg",
        "/account/money/statements/2026-13",
        "/account/money/statements/9999-12",
        "/account/money/statements/1970-01",
        "/account/money/statements/november",
    ]
    for path in reads:
        assert anna.client.get(path).status_code == 404, path
    for path in (order_page(order), f"/account/links/{link}/qr.svg"):
        assert boris.client.get(path).status_code == 200, path
    answer = send(anna, f"/account/links/{link}/disabled", "/account/links")
    assert answer.status_code == 404
    session.expire_all()
    assert session.get_one(Link, boris.link.id).disabled_at is None
    for path in PAGES:
        page = anna.client.get(path).text
        assert order.order_id not in page
        assert boris.link.code not in page


def test_a_form_without_its_token_is_refused(world: World, session: Session) -> None:
    anna = world.affiliate("Anna", link=False)
    posts = (
        "/account/links",
        "/account/links/lnk_7Qk2/disabled",
        "/account/money/withdrawals",
        "/account/money/payee",
    )
    for path in posts:
        assert anna.client.post(path, data={"destination": "x"}).status_code == 400, path
    assert session.scalar(sa.select(sa.func.count()).select_from(Link)) == 0


@pytest.mark.parametrize("path", ["/account/money/withdrawals", "/account/money/payee"])
def test_money_asks_for_the_password_again_after_a_while(
    world: World, session: Session, path: str
) -> None:
    anna = world.affiliate("Anna")
    session.execute(sa.update(UserSession).values(fresh_at=real_now() - timedelta(minutes=16)))
    session.commit()
    answer = send(anna, path, "/account/money", destination="elsewhere", amount="1")
    assert answer.status_code == 303
    assert answer.location.startswith("/confirm-password")
    assert session.scalar(sa.select(sa.func.count()).select_from(PayeeAccount)) == 0


# ---- home ----


def test_home_answers_what_there_is_and_when_more_comes(world: World) -> None:
    anna = world.affiliate("Anna")
    world.sale("Anna", "3500.00", days_ago=20)
    world.release()
    world.sale("Anna", "1000.00", days_ago=1)
    page = text_of(anna.client, "/account/")
    assert "Available now 350.00 RUB" in page
    assert "Pending 100.00 RUB" in page
    assert "Next release:" in page
    assert "Orders 2" in page
    assert "Credited to you: your click, 2 hours before the order." in page
    week = text_of(anna.client, "/account/?days=7")
    assert "Orders 1" in week
    assert "Earned 100.00 RUB" in week
    assert text_of(anna.client, "/account/?days=8") == page


def test_the_pages_run_as_many_queries_for_many_rows_as_for_few(world: World) -> None:
    anna = world.affiliate("Anna")
    world.affiliate("Boris", recruiter="Anna")
    world.payee("Anna")

    def counted() -> dict[str, int]:
        found = {}
        for path in PAGES:
            with queries(world) as seen:
                assert anna.client.get(path).status_code == 200
            found[path] = len(seen)
        return found

    world.history("Anna", days=4)
    world.sale("Boris", "700.00", days_ago=2)
    counted()  # The first page of a day also notes the browser and the network.
    few = counted()
    world.history("Anna", days=25)
    for _ in range(3):
        world.sale("Boris", "900.00", days_ago=1)
    assert counted() == few
    assert max(few["/account/"], few["/account/orders"]) <= QUERIES_MAX, few


# ---- links ----


def test_a_link_is_made_shown_and_switched_off(world: World, session: Session) -> None:
    anna = world.affiliate("Anna", link=False)
    answer = send(
        anna, "/account/links", "/account/links", destination="https://shop.example/desk?a=1",
        name="Newsletter", code="anna-desk", s1="may",
    )  # fmt: skip
    assert answer.status_code == 303
    page = text_of(anna.client, "/account/links")
    assert "Your link is ready: http://127.0.0.1:8000/r/anna-desk" in page
    assert "to https://shop.example/desk?a=1 · s1=may" in page
    link = session.scalars(sa.select(Link)).one()
    path = f"/account/links/{public_id('lnk', link.id)}"
    qr = anna.client.get(f"{path}/qr.svg")
    assert qr.content_type.startswith("image/svg+xml")
    assert b"<svg" in qr.data
    assert send(anna, f"{path}/disabled", "/account/links").status_code == 303
    assert "off since" in text_of(anna.client, "/account/links")
    assert send(anna, f"{path}/disabled", "/account/links").status_code == 303


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"destination": "https://evil.example/"}, 422, "lead to pages of shop.example"),
        ({"destination": "javascript:alert(1)"}, 422, "lead to pages of shop.example"),
        ({"code": "taken"}, 409, "This code is taken"),
        ({"code": "ad min"}, 422, "A code has 3 to 40 letters"),
        ({"code": "admin"}, 422, "kept for the program itself"),
        ({"name": "x" * 81}, 422, "at most 80 visible characters"),
        ({"s3": "x" * 101}, 422, "at most 100 visible characters"),
    ],
)
def test_what_a_link_cannot_be_is_said_beside_its_field(
    world: World, session: Session, fields: dict[str, str], status: int, words: str
) -> None:
    anna = world.affiliate("Anna", link=False)
    create_link(session, enrollment_id=anna.enrollment.id, code="taken", now=world.now)
    session.commit()
    answer = send(anna, "/account/links", "/account/links", **fields)
    assert answer.status_code == status
    (field, typed), *_ = fields.items()
    at = answer.text.index(f'id="{field}-errors"')
    assert words in answer.text[at : at + 600].replace("&#39;", "'")
    assert f'value="{typed}"' in answer.text
    assert session.scalar(sa.select(sa.func.count()).select_from(Link)) == 1


def test_links_and_coupons_show_what_they_brought(world: World) -> None:
    anna = world.affiliate("Anna")
    world.coupon("Anna", "ANNA10")
    world.sale("Anna", "1000.00", days_ago=3)
    world.order("2000.00", at=world.now - 2 * DAY, coupon="anna10")
    page = text_of(anna.client, "/account/links")
    assert "1 1 1 100.00 RUB" in page
    assert "ANNA10 1 200.00 RUB" in page
    assert "/programs/demo?by=aff_" in anna.client.get("/account/links").text


def test_names_and_sub_ids_are_text_and_never_markup(world: World, session: Session) -> None:
    anna = world.affiliate("Anna", link=False)
    evil = "<img src=x onerror=alert(1)>"
    link = create_link(
        session, enrollment_id=anna.enrollment.id, name=evil, sub_ids={"s1": evil}, now=world.now
    )
    session.commit()
    world.click(
        link, at=world.now - DAY, sub_ids=(evil, "", "", "", ""), referrer=f"https://{evil}/"
    )
    for path in ("/account/links", "/account/clicks"):
        page = anna.client.get(path).text
        assert "<img src=x" not in page
        assert "&lt;img src=x" in page


# ---- clicks ----


def test_each_click_says_what_became_of_it(world: World) -> None:
    anna = world.affiliate("Anna")
    assert anna.link is not None
    at = world.now - DAY
    token = world.click(anna.link, at=at, sub_ids=("newsletter", "", "", "", ""))
    world.click(anna.link, at=at + timedelta(minutes=1), reason=DropReason.PREFETCH)
    order = world.order("500.00", at=at + timedelta(minutes=30), clicks=(token,))
    page = text_of(anna.client, "/account/clicks")
    assert "Counted, a new visitor today." in page
    assert "Not counted: the browser loaded it ahead" in page
    assert "s1=newsletter" in page
    assert order.order_id in page
    assert order_page(order) in anna.client.get("/account/clicks").text


def test_clicks_are_paged_without_losing_one(world: World) -> None:
    anna = world.affiliate("Anna")
    at = world.now - DAY
    subs = ("", "", "", "", "")
    # All at one instant: the page must not end between two of them and lose the others.
    world.clicks([(anna.link, at, None, None, f"https://site{i}.example/", subs)
                  for i in range(61)])  # fmt: skip
    seen, path, pages = set(), "/account/clicks", 0
    while path:
        page = anna.client.get(path).text
        seen |= set(re.findall(r"site\d+\.example", page))
        older = re.search(r'rel="next" href="([^"]+)"', page)
        path, pages = (older[1].replace("&amp;", "&") if older else ""), pages + 1
    assert (len(seen), pages) == (61, 2)
    for nonsense in ("x", "00000000-0000-4000-8000-000000000000"):
        assert anna.client.get(f"/account/clicks?before={nonsense}").status_code == 400


def test_a_file_of_clicks_runs_nothing_in_a_spreadsheet(world: World) -> None:
    anna = world.affiliate("Anna")
    assert anna.link is not None
    world.click(anna.link, at=world.now - DAY, referrer="=HYPERLINK(1)")
    answer = anna.client.get("/account/clicks.csv")
    assert answer.content_type == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["Content-Disposition"]
    assert ",'=HYPERLINK(1)," in answer.text


# ---- orders ----


def test_an_order_tells_every_step_and_names_nobody_else(world: World) -> None:
    anna = world.affiliate("Anna")
    boris = world.affiliate("Boris")
    assert anna.link is not None and boris.link is not None
    at = world.now - 2 * DAY
    earlier = world.click(boris.link, at=at - timedelta(hours=5))
    later = world.click(anna.link, at=at - timedelta(hours=1))
    order = world.order("3790.00", at=at, clicks=(earlier, later), shipping="290.00")
    page = text_of(anna.client, order_page(order))
    assert "Another affiliate's click: a later click goes before it." in page
    assert "(1 hour before the order) wins: the order is yours." in page
    assert "without shipping, fees and tax: 3,500.00 RUB." in page
    assert "10% of it: 350.00 RUB." in page
    assert "when the hold period is over" in page
    assert "version 1 of the rules" in page
    assert "Boris" not in page
    assert boris.client.get(order_page(order)).status_code == 404


def test_level_two_is_derived_from_the_recruits_sale(world: World) -> None:
    anna = world.affiliate("Anna")
    world.affiliate("Boris", recruiter="Anna")
    order = world.sale("Boris", "3500.00", days_ago=2)
    page = text_of(anna.client, order_page(order))
    assert "Boris sold it; you recruited them, and 2% of 3,500.00 RUB is 70.00 RUB." in page
    assert "Why it is yours" not in page
    team = text_of(anna.client, "/account/team")
    assert "Boris" in team
    assert "sale 3,500.00 RUB × 2%" in team
    assert "70.00 RUB earned by them for you" in team


def test_refunds_and_cancellations_say_what_they_took(world: World) -> None:
    anna = world.affiliate("Anna")
    order = world.sale("Anna", "4490.00", days_ago=3)
    world.refund(order, "1000.00")
    page = text_of(anna.client, order_page(order))
    assert "1,000.00 RUB of 4,490.00 RUB went back to the buyer, so 100.00 RUB of your" in page
    assert "349.00 RUB of 449.00 RUB" in page
    world.refund(order, None)
    assert "refunded in full" in text_of(anna.client, order_page(order))
    cancelled = world.sale("Anna", "900.00", days_ago=1)
    world.cancel(cancelled)
    assert "The order was cancelled" in text_of(anna.client, order_page(cancelled))
    gone = text_of(anna.client, "/account/orders?show=gone")
    assert order.order_id in gone and cancelled.order_id in gone
    assert order.order_id not in text_of(anna.client, "/account/orders?show=pending")


def test_orders_are_filtered_paged_and_taken_as_a_file(world: World) -> None:
    anna = world.affiliate("Anna")
    assert anna.link is not None
    token = world.click(anna.link, at=world.now - 3 * DAY)
    made = [
        world.order("10.00", at=world.now - 2 * DAY + timedelta(minutes=i), clicks=(token,))
        for i in range(41)
    ]
    first = anna.client.get("/account/orders").text
    older = re.search(r'rel="next" href="([^"]+)"', first)
    assert older
    second = anna.client.get(older[1].replace("&amp;", "&")).text
    assert made[0].order_id in second and made[0].order_id not in first
    rows = anna.client.get("/account/orders.csv").text.splitlines()
    assert len(rows) == 42
    assert rows[1].startswith(f"{made[-1].order_id},")
    assert "No such order" in text_of(anna.client, "/account/orders?show=available")


# ---- money ----


def test_a_withdrawal_reserves_and_shows_its_clock(world: World, session: Session) -> None:
    anna = world.affiliate("Anna")
    world.payee("Anna")
    world.sale("Anna", "3500.00", days_ago=20)
    world.release()
    answer = send(anna, "/account/money/withdrawals", "/account/money", amount="100,01")
    assert answer.status_code == 303
    row = session.scalars(sa.select(Withdrawal)).one()
    assert (row.amount_micros, row.requested_by) == (100_010_000, anna.user_id)
    page = text_of(anna.client, "/account/money")
    assert "100.01 RUB is on its way: paid by" in page
    assert "In payout 100.01 RUB" in page
    assert "Available 249.99 RUB" in page
    assert "is on its way" in text_of(anna.client, "/account/")
    token = re.search(r'name="csrf_token" value="([^"]+)"', anna.client.get("/account/money").text)
    assert token
    again = anna.client.post("/account/money/withdrawals", data={"csrf_token": token[1]})
    assert again.status_code == 409


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        ("0", "Ask for more than zero."),
        ("350.01", "Available: 350.00 RUB."),
        ("0.001", "0.01 RUB is the smallest amount."),
        ("ten", "Write the amount in digits: 12.00."),
        ("-5", "Write the amount in digits: 12.00."),
        ("1" * 20, "Write the amount in digits: 12.00."),
        ("9999999999999", "more than there is"),
    ],
)
def test_an_amount_that_cannot_be_withdrawn_is_explained(
    world: World, session: Session, amount: str, words: str
) -> None:
    anna = world.affiliate("Anna")
    world.payee("Anna")
    world.sale("Anna", "3500.00", days_ago=20)
    world.release()
    answer = send(anna, "/account/money/withdrawals", "/account/money", amount=amount)
    assert answer.status_code == 422
    plain = answer.text.replace("\N{NO-BREAK SPACE}", " ")
    assert words in plain
    assert f'value="{amount}"' in plain
    assert session.scalar(sa.select(sa.func.count()).select_from(Withdrawal)) == 0


def test_without_an_account_or_money_nothing_is_withdrawn(world: World) -> None:
    anna = world.affiliate("Anna")
    answer = send(anna, "/account/money/withdrawals", "/account/money", amount="")
    assert answer.status_code == 422
    world.payee("Anna")
    assert "nothing to withdraw right now" in text_of(anna.client, "/account/money")
    answer = send(anna, "/account/money/withdrawals", "/account/money", amount="")
    assert answer.status_code == 422
    assert "nothing that can be paid out now" in answer.text


def test_a_paid_withdrawal_shows_its_reference(world: World) -> None:
    anna = world.affiliate("Anna")
    world.payee("Anna")
    world.sale("Anna", "3500.00", days_ago=20)
    world.release()
    requested = world.withdraw("Anna", None)
    world.pay(requested)
    page = text_of(anna.client, "/account/money")
    assert "Paid 350.00 RUB" in page
    assert "Paid on" in page
    assert f"PP-{requested.item_id}" in page


def test_a_refund_after_payment_is_a_debt_in_words(world: World) -> None:
    anna = world.affiliate("Anna")
    world.payee("Anna")
    order = world.sale("Anna", "3500.00", days_ago=20)
    world.release()
    world.pay(world.withdraw("Anna", None))
    world.refund(order, None)
    page = text_of(anna.client, "/account/money")
    assert "\N{MINUS SIGN}350.00 RUB deducted" in page
    assert "come first to zero" in page


def test_another_account_is_saved_and_told_by_mail(world: World, session: Session) -> None:
    anna = world.affiliate("Anna")
    answer = send(anna, "/account/money/payee", "/account/money", destination=IBAN)
    assert answer.status_code == 303
    page = text_of(anna.client, "/account/money")
    assert f"{IBAN} ready" in page
    mail = session.scalars(sa.select(Mail).where(Mail.template == "payee_changed")).one()
    assert mail.recipient == "anna@example.com"
    assert "…3000" in mail.text and "DE89" not in mail.text
    send(anna, "/account/money/payee", "/account/money", destination=IBAN)
    count = sa.select(sa.func.count()).where(Mail.template == "payee_changed")
    assert session.scalar(count) == 1


def test_in_a_program_that_stripe_pays_nobody_types_an_account(
    world: World, session: Session
) -> None:
    anna = world.affiliate("Anna")
    session.get_one(Program, world.program.id).rail = "stripe"
    session.commit()
    page = text_of(anna.client, "/account/money")
    # No key is configured here.
    assert "Payouts by Stripe are not set up in this installation yet" in page
    answer = send(anna, "/account/money/payee", "/account/money", destination="acct_1Lamp")
    assert answer.status_code == 409
    assert "nobody types its number" in answer.text
    assert session.scalar(sa.select(sa.func.count()).select_from(PayeeAccount)) == 0
    answer = send(anna, "/account/money/withdrawals", "/account/money", amount="")
    assert answer.status_code == 422


@pytest.mark.parametrize("destination", ["", " ", "x" * 501])
def test_an_account_that_is_none_is_refused(
    world: World, session: Session, destination: str
) -> None:
    anna = world.affiliate("Anna")
    answer = send(anna, "/account/money/payee", "/account/money", destination=destination)
    assert answer.status_code == 422
    assert "Name the account to pay to." in answer.text
    assert session.scalar(sa.select(sa.func.count()).select_from(PayeeAccount)) == 0


def test_a_statement_adds_up_to_the_ledger(world: World, session: Session) -> None:
    anna = world.affiliate("Anna")
    world.affiliate("Boris", recruiter="Anna")
    world.payee("Anna")
    world.sale("Boris", "777.77", days_ago=45)
    for days in (70, 50, 33, 20, 2):
        world.sale("Anna", "1234.56", days_ago=days)
    world.release(at=world.now - 30 * DAY)
    world.pay(world.withdraw("Anna", "100.00", at=world.now - 29 * DAY), at=world.now - 28 * DAY)
    refunded = world.sale("Anna", "999.99", days_ago=40)
    world.refund(refunded, "333.33", at=world.now - DAY)
    world.release()
    place = Place(
        actor=None,  # type: ignore[arg-type]  # a statement asks only what, not who
        name="Anna", affiliate_id=anna.affiliate_id, enrollment=anna.enrollment,
        program=world.program, others=(), now=world.now,
    )  # fmt: skip
    with world.app.test_request_context():
        found = [
            read_statement(session, place, subject_of(place, world.month(ago)))
            for ago in (3, 2, 1, 0)
        ]
    assert not found[0].opening.owed
    for before, after in pairwise(found):
        assert before.closing == after.opening
    now = balances(session, enrollment_id=anna.enrollment.id, currency="RUB")
    last = found[-1].closing
    assert (last.pending, last.available, last.in_payout) == (
        now.pending, now.available, now.in_payout,
    )  # fmt: skip
    zero = Money.zero("RUB")
    assert sum((each.paid for each in found), zero) == -now.paid
    whole = sum((each.earned + each.taken_back + each.paid for each in found), zero)
    assert whole == last.owed


def test_a_statement_is_read_and_taken_as_a_file(world: World) -> None:
    anna = world.affiliate("Anna")
    order = world.sale("Anna", "3500.00", at=world.lately(hours=2))
    month = re.search(
        r"/account/money/statements/(\d{4}-\d\d)", anna.client.get("/account/money").text
    )
    assert month
    page = text_of(anna.client, month[0])
    assert "Commission earned" in page
    assert order.order_id in page
    assert "Closing balance" in page
    rows = anna.client.get(f"{month[0]}.csv").text.splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == ["opening", "Commission earned", "closing"]
    assert rows[-1].split(",")[4:] == ["350.00", "0.00", "0.00", "RUB"]


# ---- rules ----


def test_the_rules_are_told_with_their_version_and_what_comes(
    world: World, session: Session
) -> None:
    anna = world.affiliate("Anna")
    page = text_of(anna.client, "/account/rules")
    assert "Version 1, in force since" in page
    assert "buys goods for 3,500.00 RUB" in page
    assert "You earn 350.00 RUB." in page
    announce(
        session, program_id=world.program.id, document=terms_document(payout={"hold_days": 7}),
        effective_at=world.now + 10 * DAY, by=None, now=world.now,
    )  # fmt: skip
    session.commit()
    page = text_of(anna.client, "/account/rules")
    assert "Version 2 takes effect on" in page
    assert "14 days after the order" in page
