"""The finance desk: what waits, approval by somebody else, holds, payments, statements."""

from __future__ import annotations

import csv
import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from playwright.sync_api import Browser, expect
from staff import earned, hire, two_in_a_batch, url_of, url_of_item, weekly_batch
from werkzeug.serving import make_server
from world import World

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.people.models import UserSession
from payouts.batches.locks import LockReason, lock
from payouts.batches.models import BatchMaker, PayoutBatch, PayoutItem
from tracker.desks.finance import questions, web

QUERIES_MAX = 20
"""Of a page, whatever the number of its rows."""


@pytest.fixture(autouse=True)
def no_csrf(app: Flask) -> None:
    """These tests are about the desk; the matrix has the ones about forged forms."""
    app.config["WTF_CSRF_ENABLED"] = False


@contextmanager
def counted(app: Flask) -> Iterator[list[str]]:
    """The statements that the application sends meanwhile."""
    sent: list[str] = []

    def note(_c: object, _cu: object, statement: str, *_rest: object) -> None:
        sent.append(statement)

    with app.app_context():
        engine = db.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


def items_of(world: World, batch: PayoutBatch) -> list[PayoutItem]:
    world.session.expire_all()
    return list(
        world.session.scalars(
            sa.select(PayoutItem).where(PayoutItem.batch_id == batch.id).order_by(PayoutItem.id)
        )
    )


def test_an_empty_desk_says_that_nothing_waits(world: World) -> None:
    page = hire(world, "finance").client.get("/finance/")
    assert page.status_code == 200
    assert "Nothing waits for you" in page.text
    assert "The next weekly batch is drafted on" in page.text


def test_the_to_do_page_names_batches_withdrawals_and_their_clocks(world: World) -> None:
    batch = two_in_a_batch(world)
    earned(world, "Vera", "900.00")
    world.withdraw("Vera", "0.01", at=world.now - timedelta(hours=25))
    text = hire(world, "finance").client.get("/finance/").text
    assert url_of(batch) in text
    assert "2 payouts" in text
    assert "412.17" in text
    assert "1 is over its 24 hours." in text
    assert "late" in text


def test_earlier_withdrawals_are_paged_whatever_is_open(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "CLOSED_SHOWN_MAX", 2)
    earned(world, "Vera", "900.00")
    for kopecks in ("0.01", "0.02", "0.03"):
        world.pay(world.withdraw("Vera", kopecks))
    earned(world, "Anna")
    world.withdraw("Anna", "0.04")
    client = hire(world, "finance", name="reader").client
    first = client.get("/finance/withdrawals").text
    earlier = first[first.index("Earlier") :]
    assert [f"0.0{each}\N{NO-BREAK SPACE}RUB" in earlier for each in (1, 2, 3, 4)] == [
        False, True, True, False,
    ]  # fmt: skip
    older = re.search(r'rel="next" href="([^"]+)"', first)
    assert older
    second = client.get(older[1]).text
    earlier = second[second.index("Earlier") :]
    assert "0.01\N{NO-BREAK SPACE}RUB" in earlier
    assert "0.02\N{NO-BREAK SPACE}RUB" not in earlier
    assert 'rel="next"' not in second
    assert 'rel="prev"' in second
    assert client.get("/finance/withdrawals?before=nonsense").status_code == 404


def test_the_batch_page_shows_total_changes_items_and_hash(world: World) -> None:
    batch = two_in_a_batch(world)
    text = hire(world, "finance").client.get(url_of(batch)).text
    assert "Approve 2 payouts, 412.17\N{NO-BREAK SPACE}RUB" in text
    assert "2 first payments" in text
    assert batch.hash is not None
    assert batch.hash in text
    assert "Boris, DE89" in text


def test_a_changed_destination_comes_first(world: World) -> None:
    earned(world, "Anna")
    world.pay(world.withdraw("Anna", None))
    world.sale("Anna", "5000.00", days_ago=20)
    world.payee("Anna", "Somebody else, GB29 NWBK 6016 1331 9268 19")
    world.release()
    text = hire(world, "finance", name="reader").client.get(url_of(weekly_batch(world))).text
    assert "Another destination: Somebody else, GB29" in text
    assert "new destination" in text


def test_approval_is_of_exactly_what_was_seen(world: World) -> None:
    batch = two_in_a_batch(world)
    finance = hire(world, "finance")
    stale = finance.client.post(f"{url_of(batch)}/approval", data={"hash": "0" * 64})
    assert stale.status_code == 409
    assert "not the one that you looked at" in stale.text
    done = finance.client.post(f"{url_of(batch)}/approval", data={"hash": batch.hash})
    assert done.status_code == 303
    world.session.expire_all()
    assert (batch.status, batch.approved_by) == ("approved", finance.user_id)
    again = finance.client.post(f"{url_of(batch)}/approval", data={"hash": batch.hash})
    assert again.status_code == 409
    assert "Finance approved this batch on" in again.text


@pytest.mark.abuse("A25")
def test_a_maker_cannot_approve_and_is_told_that_somebody_else_must(world: World) -> None:
    batch = two_in_a_batch(world)
    finance = hire(world, "finance")
    first = items_of(world, batch)[0]
    held = finance.client.post(f"{url_of_item(first)}/hold", data={"reason": "asks for a call"})
    assert held.status_code == 303
    world.session.expire_all()
    page = finance.client.get(url_of(batch)).text
    assert "somebody else must approve it" in page
    assert "Approve 1 payout" not in page
    refused = finance.client.post(f"{url_of(batch)}/approval", data={"hash": batch.hash})
    assert refused.status_code == 403
    assert "another person must approve it" in refused.text
    other = hire(world, "finance", name="colleague")
    assert "Approve 1 payout" in other.client.get(url_of(batch)).text
    done = other.client.post(f"{url_of(batch)}/approval", data={"hash": batch.hash})
    assert done.status_code == 303


@pytest.mark.abuse("A42")
def test_the_page_with_the_approval_cannot_be_framed(world: World) -> None:
    page = hire(world, "finance").client.get(url_of(two_in_a_batch(world)))
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Frame-Options"] == "DENY"


def test_locked_payouts_say_why_and_are_not_approved(world: World) -> None:
    batch = two_in_a_batch(world)
    finance = hire(world, "finance")
    lock(world.session, reason=LockReason.BY_HAND, detail="Bank holiday.", now=world.now)
    world.session.commit()
    for path in ("/finance/", url_of(batch)):
        assert "A person stopped payouts. Bank holiday." in finance.client.get(path).text
    refused = finance.client.post(f"{url_of(batch)}/approval", data={"hash": batch.hash})
    assert refused.status_code == 409
    world.session.expire_all()
    assert batch.status == "frozen"


def test_a_rail_without_a_key_is_named_and_blocks_the_approval(world: World) -> None:
    world.program.rail = "stripe"
    world.session.commit()
    batch = two_in_a_batch(world)
    finance = hire(world, "finance")
    assert "A rail is not configured." in finance.client.get("/finance/").text
    assert "is not configured here" in finance.client.get(url_of(batch)).text
    refused = finance.client.post(f"{url_of(batch)}/approval", data={"hash": batch.hash})
    assert refused.status_code == 409


def test_cancelling_needs_a_reason_and_returns_every_amount(world: World) -> None:
    batch = two_in_a_batch(world)
    finance = hire(world, "finance")
    without = finance.client.post(f"{url_of(batch)}/cancellation", data={"reason": " "})
    assert without.status_code == 422
    assert "Say why" in without.text
    done = finance.client.post(f"{url_of(batch)}/cancellation", data={"reason": "wrong week"})
    assert done.status_code == 303
    assert "wrong week" in finance.client.get(url_of(batch)).text
    assert {item.status for item in items_of(world, batch)} == {"cancelled"}


def test_a_payout_by_hand_is_done_with_its_reference(world: World) -> None:
    batch = two_in_a_batch(world)
    finance = hire(world, "finance")
    finance.client.post(f"{url_of(batch)}/approval", data={"hash": batch.hash})
    first, second = items_of(world, batch)
    empty = finance.client.post(f"{url_of_item(first)}/payment", data={"reference": ""})
    assert empty.status_code == 422
    assert "Type the reference" in empty.text
    for item in (first, second):
        paid = finance.client.post(
            f"{url_of_item(item)}/payment", data={"reference": f"PP {item.id}"}
        )
        assert paid.status_code == 303
    world.session.expire_all()
    assert batch.status == "done"
    page = finance.client.get(url_of_item(first)).text
    assert f"PP {first.id}" in page
    assert "Reserved for the payout" in page
    assert f"settle:item:{first.id}" in page
    late = finance.client.post(f"{url_of_item(first)}/hold", data={"reason": "too late"})
    assert late.status_code == 409


def test_a_payout_shows_every_order_behind_it(world: World) -> None:
    batch = two_in_a_batch(world)
    order = world.session.execute(sa.text("SELECT order_id FROM orders ORDER BY id")).scalar()
    page = hire(world, "finance").client.get(url_of_item(items_of(world, batch)[0])).text
    assert order in page
    assert "Nothing was sent" in page


def test_progress_follows_the_batch_and_reloads_the_page_at_its_end(world: World) -> None:
    batch = two_in_a_batch(world)
    finance = hire(world, "finance")
    finance.client.post(f"{url_of(batch)}/approval", data={"hash": batch.hash})
    running = finance.client.get(f"{url_of(batch)}/progress")
    assert "HX-Refresh" not in running.headers
    for item in items_of(world, batch):
        finance.client.post(f"{url_of_item(item)}/payment", data={"reference": f"PP {item.id}"})
    over = finance.client.get(f"{url_of(batch)}/progress")
    assert over.headers["HX-Refresh"] == "true"
    assert "hx-get" not in over.text


def test_drafting_by_hand_makes_what_is_due_and_only_once(world: World) -> None:
    earned(world, "Anna")
    finance = hire(world, "finance")
    first = finance.client.post("/finance/drafts", follow_redirects=True)
    assert "1 batch is drafted" in first.text
    second = finance.client.post("/finance/drafts", follow_redirects=True)
    assert "Nothing is due now" in second.text
    assert world.session.scalar(sa.select(sa.func.count()).select_from(PayoutBatch)) == 1
    assert world.session.scalar(sa.select(sa.func.count()).select_from(BatchMaker)) == 0


@pytest.mark.abuse("A24")
def test_another_programs_batches_and_payouts_are_not_there(world: World) -> None:
    batch = two_in_a_batch(world)
    item = items_of(world, batch)[0]
    stranger = hire(world, "finance", program=world.euros)
    assert url_of(batch) not in stranger.client.get("/finance/batches").text
    for path in (url_of(batch), f"{url_of(batch)}/progress", url_of_item(item)):
        assert stranger.client.get(path).status_code == 404
    for path in (
        f"{url_of(batch)}/approval",
        f"{url_of(batch)}/cancellation",
        f"{url_of_item(item)}/hold",
        f"{url_of_item(item)}/payment",
        f"{url_of_item(item)}/attempts",
    ):
        sent = stranger.client.post(path, data={"hash": batch.hash, "reason": "mine"})
        assert sent.status_code == 404, path
    assert "Nothing found" in stranger.client.get("/finance/search?q=Anna").text
    assert stranger.client.get("/finance/statements?program=demo").status_code == 404


@pytest.mark.parametrize("text", ["nna", "anna@example", "1", "#1", "A-", "PP 1"])
def test_search_finds_people_and_batches_and_does_not_fall_over(world: World, text: str) -> None:
    two_in_a_batch(world)
    page = hire(world, "finance").client.get("/finance/search", query_string={"q": text})
    assert page.status_code == 200
    expected = {"nna": "anna@example.com", "anna@example": "anna@example.com",
                "1": "Batch 1", "#1": "Batch 1"}  # fmt: skip
    assert expected.get(text, "Nothing found") in page.text


def test_search_finds_an_order_and_a_transfer(world: World) -> None:
    earned(world, "Anna")
    asked = world.withdraw("Anna", "1.00")
    world.pay(asked)
    order = world.session.execute(sa.text("SELECT order_id FROM orders")).scalar_one()
    finance = hire(world, "finance", name="reader").client
    assert "Anna" in finance.get("/finance/search", query_string={"q": order}).text
    page = finance.get("/finance/search", query_string={"q": f"PP-{asked.item_id}"}).text
    assert f"manual:{asked.item_id}:PP-{asked.item_id}" in page


@pytest.mark.abuse("A34")
def test_search_takes_wildcards_and_quotes_as_text(world: World) -> None:
    two_in_a_batch(world)
    finance = hire(world, "finance").client
    for text in ("%", "_", "' OR 1=1 --", "\\", "a\0b"):
        page = finance.get("/finance/search", query_string={"q": text})
        assert page.status_code == 200
        assert "Nothing found" in page.text


def test_the_statement_adds_up_and_can_be_taken_away(world: World) -> None:
    earned(world, "Anna")
    world.pay(world.withdraw("Anna", "10.00"))
    finance = hire(world, "finance", name="reader").client
    assert "Anna" in finance.get("/finance/statements").text
    rows = list(csv.DictReader(io.StringIO(finance.get("/finance/statements?format=csv").text)))
    assert len(rows) == 1
    for row in rows:
        sum_ = sum(float(row[c]) for c in ("owed_before", "earned", "taken_back", "paid"))
        assert round(sum_, 6) == float(row["owed_after"])
    assert rows[0]["paid"] == "-10.00"
    journal = finance.get("/finance/statements?format=journal").text
    assert "settle" in journal
    assert finance.get("/finance/statements?month=2026-13").status_code == 422


@pytest.mark.abuse("A31")
def test_a_name_that_is_a_formula_is_text_in_the_file(world: World) -> None:
    world.affiliate("Anna")
    world.session.execute(sa.text("UPDATE affiliates SET name = '=HYPERLINK(\"x\")'"))
    world.session.commit()
    world.sale("Anna", "100.00", days_ago=1)
    text = hire(world, "finance").client.get("/finance/statements?format=csv").text
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["name"] == '\'=HYPERLINK("x")'


def test_the_desk_asks_the_database_little(world: World, app: Flask) -> None:
    batch = two_in_a_batch(world)
    for i in range(4):
        earned(world, f"More {i}", "700.00")
        world.withdraw(f"More {i}", None)
    finance = hire(world, "finance").client
    for path in ("/finance/", url_of(batch)):
        finance.get(path)
        with counted(app) as sent:
            assert finance.get(path).status_code == 200
        assert len(sent) <= QUERIES_MAX, "\n\n".join(sent)


@pytest.mark.browser
def test_the_open_page_follows_the_batch_to_its_end(
    world: World, app: Flask, browser: Browser
) -> None:
    """The part that is asked for again stops asking at the end and brings the whole page anew."""
    world.program.rail = "stripe"
    world.session.commit()
    batch = two_in_a_batch(world)
    batch.status, batch.approved_at, batch.approved_hash = "approved", world.now, batch.hash
    batch.approved_total_micros, batch.approved_count = 412_170_000, 2
    world.session.commit()
    finance = hire(world, "finance")
    cookie = finance.client.get_cookie("kopeck")
    assert cookie is not None
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    base = f"http://127.0.0.1:{server.server_port}"
    context = browser.new_context()
    try:
        context.add_cookies([{"name": "kopeck", "value": cookie.value, "url": base}])
        page = context.new_page()
        page.goto(base + url_of(batch))
        expect(page.locator("#progress")).to_contain_text("Waiting")
        for item in items_of(world, batch):
            item.status = "paid"
        world.session.commit()
        expect(page.locator("#progress progress")).to_have_attribute("value", "2")
        batch.status, batch.done_at = "done", world.now
        world.session.commit()
        expect(page.get_by_text("Every payout of this batch came to its end")).to_be_visible()
        expect(page.locator("#progress[hx-get]")).to_have_count(0)
    finally:
        context.close()
        server.shutdown()
        thread.join()
        server.server_close()


def by_provider(world: World) -> PayoutBatch:
    """Two in a batch that is approved and on a rail which sends by itself."""
    world.program.rail = "stripe"
    world.session.commit()
    batch = two_in_a_batch(world)
    world.session.execute(
        sa.update(PayoutBatch)
        .where(PayoutBatch.id == batch.id)
        .values(
            status="approved",
            approved_at=world.now,
            approved_hash=batch.hash,
            approved_total_micros=412_170_000,
            approved_count=2,
        )
    )
    world.session.commit()
    return batch


def test_finance_stops_a_batch_with_a_reason_and_lets_it_go_on(world: World) -> None:
    batch = by_provider(world)
    finance = hire(world, "finance")
    page = finance.client.get(url_of(batch)).text
    assert "Stop sending" in page
    assert "left for what can be sent now" in page
    without = finance.client.post(f"{url_of(batch)}/pause", data={"reason": ""})
    assert without.status_code == 422
    assert "Say why" in without.text
    done = finance.client.post(f"{url_of(batch)}/pause", data={"reason": "the bank called"})
    assert done.status_code == 303
    page = finance.client.get(url_of(batch)).text
    assert "Stopped since" in page
    assert "the bank called" in page
    assert "Go on sending" in page
    assert "left for what can be sent now" not in page
    assert "the bank called" in finance.client.get(f"{url_of(batch)}/progress").text
    twice = finance.client.post(f"{url_of(batch)}/pause", data={"reason": "again"})
    assert twice.status_code == 409
    assert "stopped already" in twice.text
    on = finance.client.post(f"{url_of(batch)}/resumption", data={"reason": "it is well"})
    assert on.status_code == 303
    world.session.expire_all()
    assert batch.paused_at is None
    again = finance.client.post(f"{url_of(batch)}/resumption", data={"reason": "it is well"})
    assert again.status_code == 409


def test_going_on_asks_for_the_password_when_it_was_given_long_ago(world: World) -> None:
    batch = by_provider(world)
    finance = hire(world, "finance")
    finance.client.post(f"{url_of(batch)}/pause", data={"reason": "the bank called"})
    world.session.execute(
        sa.update(UserSession).values(fresh_at=clock.real_now() - timedelta(hours=1))
    )
    world.session.commit()
    sent = finance.client.post(f"{url_of(batch)}/resumption", data={"reason": "it is well"})
    assert sent.location.startswith("/confirm-password")
    headers = {"Referer": f"http://localhost{url_of(batch)}"}
    again = finance.client.post(
        f"{url_of(batch)}/resumption", data={"reason": "it is well"}, headers=headers
    )
    assert again.location.endswith("&sent=1"), "so that it is said that nothing was done"
    world.session.expire_all()
    assert batch.paused_at is not None


def test_a_large_batch_is_shown_in_part_and_counted_whole(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "ITEMS_SHOWN_MAX", 1)
    monkeypatch.setattr(questions, "CHANGES_SHOWN_MAX", 1)
    text = hire(world, "finance").client.get(url_of(two_in_a_batch(world))).text
    assert "1 smaller one is in the batch too" in text
    assert "2 first payments" in text
    assert "Boris, DE89" not in text


def test_a_payout_that_was_set_aside_before_it_was_sent_can_be_held(world: World) -> None:
    batch = by_provider(world)
    item = items_of(world, batch)[0]
    world.session.execute(
        sa.update(PayoutItem)
        .where(PayoutItem.id == item.id)
        .values(status="needs_review", reason="set_aside", raised=5)
    )
    world.session.commit()
    finance = hire(world, "finance")
    page = finance.client.get(url_of_item(item)).text
    assert "Sending it failed inside Kopeck several times" in page
    assert "Hold this payout" in page
    held = finance.client.post(f"{url_of_item(item)}/hold", data={"reason": "pay it by hand"})
    assert held.status_code == 303
    world.session.expire_all()
    assert items_of(world, batch)[0].status == "cancelled"
