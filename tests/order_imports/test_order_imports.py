"""Files of orders: each row as if it came alone, and a report that says what became of it."""

from __future__ import annotations

import codecs
import io
import json
import threading
import tracemalloc
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from werkzeug.test import TestResponse

from affiliate.core import clock
from affiliate.core.db import db
from tests.orders.shop_world import DAY, World, rub
from tracker.order_imports import bring
from tracker.order_imports.bring import KEPT_DAYS, RUNS_H_MAX, forget_imports
from tracker.order_imports.cli import orders_group
from tracker.order_imports.models import OrderImport, OrderImportRow
from tracker.order_imports.rules import LINE_BYTES_MAX, Format, Row, rows_of
from tracker.orders.models import Order

NDJSON, CSV = "application/x-ndjson", "text/csv"
PATH = "/api/v1/orders/imports"
COUNTS = ("accepted", "replayed", "conflict", "refused")


def lines(*orders: Any) -> bytes:
    return b"".join(
        (each if isinstance(each, bytes) else json.dumps(each).encode()) + b"\n" for each in orders
    )


def plain(world: World, order_id: str, total: str = "100.00", **more: Any) -> dict[str, Any]:
    placed = (world.now - DAY).isoformat()
    return {"order_id": order_id, "placed_at": placed, "total": rub(total), **more}


def send(world: World, raw: bytes, kind: str = NDJSON, **more: Any) -> TestResponse:
    headers = more.pop("headers", world.headers)
    return world.client.post(PATH, data=raw, content_type=kind, headers=headers, **more)


def counts(answer: TestResponse) -> tuple[int, ...]:
    assert answer.status_code == 201, answer.text
    body = answer.get_json()
    return tuple(body[name] for name in COUNTS)


def known(world: World) -> list[str]:
    world.tick()
    return list(world.session.scalars(sa.select(Order.order_id).order_by(Order.order_id)))


def test_every_row_is_an_order_and_the_file_again_changes_nothing(world: World) -> None:
    anna = world.affiliate("anna")
    token = world.click(world.link(anna), ago=2 * DAY)
    raw = lines(plain(world, "A-1", clicks=[token]), plain(world, "A-2"))
    answer = send(world, raw)
    assert counts(answer) == (2, 0, 0, 0)
    body = answer.get_json()
    assert (body["state"], body["format"], body["problems"]) == ("complete", "ndjson", [])
    assert answer.headers["Location"] == f"{PATH}/{body['id']}"
    assert [each["amount"]["amount"] for each in world.get("A-1")["commissions"]] == ["10.00"]
    assert counts(send(world, raw)) == (0, 2, 0, 0)
    assert world.post(plain(world, "A-2")).status_code == 200
    assert known(world) == ["A-1", "A-2"]


@pytest.mark.parametrize("kind", [NDJSON, CSV])
def test_a_caller_who_gives_every_write_a_key_may_send_files_too(world: World, kind: str) -> None:
    """The file is streamed and its rows are committed one by one: nothing of it is one answer."""
    raw = lines(plain(world, "A-1"), plain(world, "A-2"))
    if kind == CSV:
        placed = (world.now - DAY).isoformat()
        rows = [f"A-{number},{placed},100.00,RUB" for number in (1, 2)]
        raw = "\n".join(["order_id,placed_at,total,currency", *rows, ""]).encode()
    headers = {**world.headers, "Idempotency-Key": "f-1"}
    assert counts(send(world, raw, kind, headers=headers)) == (2, 0, 0, 0)
    assert counts(send(world, raw, kind, headers=headers)) == (0, 2, 0, 0)
    assert known(world) == ["A-1", "A-2"]


def test_a_row_that_is_refused_stops_no_other_and_is_told_with_its_line(world: World) -> None:
    mismatch = plain(world, "A-4", items=[{"price": rub("99.00")}])
    raw = lines(
        plain(world, "A-1"),
        b"{]",
        plain(world, "A-1", total="7.00"),
        b"",
        {**plain(world, "A-3"), "total": 5, "colour": "red"},
        mismatch,
        b"[1]",
        b'{"order_id": "A-9", "order_id": "A-9"}',
        b"\xff\xfe",
        plain(world, "A-5"),
    )
    answer = send(world, raw)
    assert counts(answer) == (2, 0, 1, 6)
    problems = answer.get_json()["problems"]
    told = [(each["line"], each["order_id"], each["code"]) for each in problems]
    assert told == [
        (2, None, "malformed"),
        (3, "A-1", "order_conflict"),
        (5, "A-3", "invalid"),
        (6, "A-4", "total_mismatch"),
        (7, None, "invalid"),
        (8, None, "malformed"),
        (9, None, "malformed"),
    ]
    fields = {each["field"] for each in problems[2]["errors"]}
    assert fields == {"total", "colour"}
    assert known(world) == ["A-1", "A-5"]


def test_a_csv_file_says_the_same(world: World) -> None:
    anna = world.affiliate("anna")
    token = world.click(world.link(anna), ago=2 * DAY)
    placed = (world.now - DAY).isoformat()
    text = (
        "Order_Id;placed_at;total;currency;tax;tax_included;customer_id;clicks;metadata.note;"
        "subscription_id;subscription_sequence\r\n"
        f'A-1;{placed};120.00;RUB;20.00;true;c-1;{token};"two\r\nlines";;\r\n'
        "\r\n"
        f"A-2;{placed};50.00;RUB;;;;;;sub-7;2\r\n"
        f"A-3;{placed};12,50;RUB;;maybe;;;;sub-7;x\r\n"
        f"A-4;{placed};50.00\r\n"
        f"A-5;{placed};1.00;RUB;;;;;;;\r\n"
    )
    answer = send(world, codecs.BOM_UTF8 + text.encode(), f"{CSV}; charset=utf-8")
    assert counts(answer) == (3, 0, 0, 2)
    told = {each["line"]: each for each in answer.get_json()["problems"]}
    assert set(told) == {6, 7}
    assert {each["field"] for each in told[6]["errors"]} == {
        "total.amount", "tax_included", "subscription.sequence",
    }  # fmt: skip
    first = world.get("A-1")
    assert (first["net"]["amount"], first["metadata"]) == ("100.00", {"note": "two\nlines"})
    assert first["commissions"][0]["amount"]["amount"] == "10.00"
    assert world.get("A-2")["subscription"] == {"id": "sub-7", "sequence": 2}
    same = plain(world, "A-5", total="1.00")
    assert world.post(same).status_code == 200


@pytest.mark.parametrize(
    ("head", "code"),
    [
        ("order_id,placed_at,total", "columns_missing"),
        ("order_id,placed_at,total,currency,totel", "columns_unknown"),
        ("order_id,placed_at,total,currency,total", "columns_twice"),
        ("", "empty"),
        ("\x00\ud800", "columns_missing"),
    ],
)
def test_a_wrong_head_refuses_the_file_before_its_first_row(
    world: World, head: str, code: str
) -> None:
    answer = send(world, head.encode("utf-8", "surrogatepass") + b"\nA-1,x,y,z\n" * bool(head), CSV)
    assert answer.status_code == 422
    assert [each["code"] for each in answer.get_json()["errors"]] == [code]
    assert world.session.scalars(sa.select(OrderImport)).all() == []


def test_a_head_that_is_no_csv_is_refused(world: World) -> None:
    """Found by `make hunt-api`: a carriage return that ends no line."""
    answer = send(world, b"order_id\rtotal,x\nA-1,1.00\n", CSV)
    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["code"] == "malformed"
    assert world.session.scalars(sa.select(OrderImport)).all() == []


def test_an_open_quote_and_a_line_beyond_measure_cost_their_own_rows_alone(world: World) -> None:
    placed = (world.now - DAY).isoformat()
    head = "order_id,placed_at,total,currency,coupon"
    good = [f"A-{n},{placed},1.00,RUB," for n in range(4)]
    bad = f'A-9,{placed},1.00,RUB,x"y"z'
    closed = f'A-8,{placed},1.00,RUB,"x"y'
    long = "A-7," + "x" * (LINE_BYTES_MAX + 1)
    rows = [good[0], closed, good[1], long, good[2], bad, good[3], f'A-6,{placed},1.00,RUB,"open']
    answer = send(world, "\n".join([head, *rows]).encode(), CSV)
    told = [(each["line"], each["code"]) for each in answer.get_json()["problems"]]
    assert told == [(3, "malformed"), (5, "line_too_long"), (9, "malformed")]
    assert known(world) == ["A-0", "A-1", "A-2", "A-3", "A-9"]
    ndjson = lines(plain(world, "B-1"), b'{"x": "' + b"y" * LINE_BYTES_MAX + b'"}')
    answer = send(world, ndjson + lines(plain(world, "B-2")))
    assert counts(answer) == (2, 0, 0, 1)
    assert answer.get_json()["problems"][0]["code"] == "line_too_long"


def test_old_orders_need_the_scope_as_they_do_one_by_one(world: World) -> None:
    old = {**plain(world, "A-1"), "placed_at": (world.now - 40 * DAY).isoformat()}
    answer = send(world, lines(old))
    assert counts(answer) == (0, 0, 0, 1)
    assert answer.get_json()["problems"][0]["errors"][0]["code"] == "too_old"
    importer = world.key("orders:write", "orders:import")
    assert counts(send(world, lines(old), headers=importer)) == (1, 0, 0, 0)


@pytest.mark.parametrize(
    ("kind", "status"),
    [("application/json", 415), ("text/csv; charset=cp1251", 415), ("multipart/form-data", 415)],
)
def test_other_kinds_of_bodies_are_refused(world: World, kind: str, status: int) -> None:
    assert send(world, b"{}", kind).status_code == status


def test_it_needs_the_scope_of_reports(world: World) -> None:
    assert send(world, b"", headers=world.key("orders:read")).status_code == 403
    assert counts(send(world, b"")) == (0, 0, 0, 0)


@pytest.mark.parametrize("terminated", [False, True])
def test_a_body_that_is_cut_leaves_whole_orders_and_the_next_try_completes_it(
    world: World, terminated: bool
) -> None:
    """Servers that end the body themselves (`wsgi.input_terminated`) say nothing of a cut."""
    placed = (world.now - DAY).isoformat()
    head = "order_id,placed_at,currency,total\n"
    raw = (head + "".join(f"A-{n},{placed},RUB,100.00\n" for n in range(5))).encode()
    cut = raw[: raw.index(b"A-2") + len(f"A-2,{placed},RUB,10")]  # Ten, and it was a hundred.
    answer = world.client.post(
        PATH, input_stream=io.BytesIO(cut), content_type=CSV, headers=world.headers,
        environ_overrides={"CONTENT_LENGTH": str(len(raw)), "wsgi.input_terminated": terminated},
    )  # fmt: skip
    assert answer.status_code == 400
    assert known(world) == ["A-0", "A-1"]
    listed = world.client.get(PATH, headers=world.headers).get_json()["imports"]
    assert [(each["state"], each["accepted"]) for each in listed] == [("cut", 2)]
    assert counts(send(world, raw, CSV)) == (3, 2, 0, 0)


def test_in_chunks_the_last_line_says_that_the_file_is_whole(world: World) -> None:
    placed = (world.now - DAY).isoformat()
    raw = f"order_id,placed_at,total,currency,coupon\nA-1,{placed},1.00,RUB,ANNA10".encode()
    chunked = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}

    def push(body: bytes) -> TestResponse:
        return world.client.post(
            PATH, input_stream=io.BytesIO(body), content_type=CSV, headers=world.headers,
            environ_overrides={**chunked, "CONTENT_LENGTH": ""},
        )  # fmt: skip

    cut = push(raw)
    assert (cut.status_code, cut.get_json()["code"]) == (400, "file_cut")
    assert known(world) == []
    assert counts(push(raw + b"\n")) == (1, 0, 0, 0)


def test_more_rows_than_a_file_may_have_are_left_and_it_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bring, "ROWS_MAX", 2)
    answer = send(world, lines(*(plain(world, f"A-{n}") for n in range(3))))
    assert counts(answer) == (2, 0, 0, 0)
    assert answer.get_json()["state"] == "too_long"


def test_the_report_is_read_page_by_page(world: World) -> None:
    raw = lines(*(plain(world, f"A-{n}") if n % 2 else b"{" for n in range(7)))
    made = send(world, raw).get_json()["id"]
    seen, after = [], 0
    while after is not None:
        page = world.client.get(
            f"{PATH}/{made}/rows?limit=3&after={after}", headers=world.headers
        ).get_json()
        seen += [(row["line"], row["outcome"]) for row in page["rows"]]
        after = page["next"]
    assert seen == [(n + 1, "accepted" if n % 2 else "refused") for n in range(7)]
    only = world.client.get(f"{PATH}/{made}/rows?outcome=accepted", headers=world.headers)
    assert [row["order_id"] for row in only.get_json()["rows"]] == ["A-1", "A-3", "A-5"]
    for bad in ("limit=0", "after=-1", "outcome=x", "page=1"):
        answer = world.client.get(f"{PATH}/{made}/rows?{bad}", headers=world.headers)
        assert answer.status_code == 422, bad


@pytest.mark.abuse("A24")
def test_another_programs_import_is_not_found(world: World) -> None:
    from tests.builders import make_program

    made = send(world, lines(plain(world, "A-1"))).get_json()["id"]
    other = make_program(world.session, now=world.now - DAY, slug="other")
    world.session.commit()
    stranger = world.key("orders:write", program=other)
    for path in (f"{PATH}/{made}", f"{PATH}/{made}/rows", f"{PATH}/imp_zzzz"):
        assert world.client.get(path, headers=stranger).status_code == 404
    assert world.client.get(PATH, headers=stranger).get_json() == {"imports": [], "next": None}


def test_two_imports_of_one_file_at_once_make_each_order_once(world: World) -> None:
    """In opposite orders, so that each waits for the other's rows."""
    orders = [plain(world, f"A-{n}") for n in range(30)]
    answers: list[TestResponse] = []

    def run(raw: bytes) -> None:
        client = world.app.test_client()
        answers.append(client.post(PATH, data=raw, content_type=NDJSON, headers=world.headers))

    threads = [
        threading.Thread(target=run, args=(lines(*each),)) for each in (orders, orders[::-1])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = [counts(answer) for answer in answers]
    assert sum(each[0] for each in done) == 30
    assert sum(each[1] for each in done) == 30
    assert sum(each[2] + each[3] for each in done) == 0
    assert len(known(world)) == 30


class Endless:
    """A file that is made while it is read."""

    def __init__(self, rows: Iterator[bytes]) -> None:
        self.rows, self.kept = rows, b""

    def read(self, most: int) -> bytes:
        while len(self.kept) < most:
            row = next(self.rows, None)
            if row is None:
                break
            self.kept += row
        chunk, self.kept = self.kept[:most], self.kept[most:]
        return chunk


@pytest.mark.parametrize("form", list(Format))
def test_a_long_file_is_read_in_bounded_memory(world: World, form: Format) -> None:
    def made() -> Iterator[bytes]:
        if form is Format.CSV:
            yield b"order_id,placed_at,total,currency,metadata.note\n"
        for n in range(10_000):
            note = "x" * 2_000
            yield (
                f"A-{n},2026-11-21T10:00:00Z,1.00,RUB,{note}\n".encode()
                if form is Format.CSV
                else lines({"order_id": f"A-{n}", "note": note})
            )

    tracemalloc.start()
    try:
        count = sum(1 for _ in rows_of(form, Endless(made()).read))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 10_000  # 20 MB
    assert peak < 2_000_000


def test_what_the_database_cannot_hold_is_one_refused_row(world: World) -> None:
    with world.app.app_context():
        what = bring.begin_import(
            db.session(), program_id=world.program.id, form=Format.NDJSON, by="cli",
            may_import=False, now=clock.real_now(),
        )  # fmt: skip
        db.session.commit()
        said = plain(world, "A-1", metadata={"note": "a\0b"})
        state = bring.bring_rows(what, iter([Row(1, said), Row(2, plain(world, "A-2"))]))
    assert state.value == "complete"
    world.tick()
    rows = world.session.scalars(sa.select(OrderImportRow).order_by(OrderImportRow.line)).all()
    assert [(row.line, row.outcome, row.code) for row in rows] == [
        (1, "refused", "malformed"), (2, "accepted", None),
    ]  # fmt: skip


def test_the_command_takes_old_orders_and_tells_what_it_did_not_take(
    world: World, tmp_path: Any
) -> None:
    old = {**plain(world, "A-1"), "placed_at": (world.now - 400 * DAY).isoformat()}
    file = tmp_path / "orders.ndjson"
    file.write_bytes(lines(old, plain(world, "A-2")))
    called = ["import", str(file), "--program", world.program.slug]
    run = world.app.test_cli_runner().invoke
    first = run(orders_group, called)
    assert (first.exit_code, first.output.split()) == (
        0, ["2", "accepted", "0", "replayed", "0", "conflict", "0", "refused"],
    )  # fmt: skip
    file.write_bytes(lines(old, plain(world, "A-2", total="9.00"), b"{"))
    second = run(orders_group, called)
    assert second.exit_code == 1
    assert "line 2, A-2: order_conflict" in second.output
    assert "line 3, —: malformed" in second.output
    assert run(orders_group, [*called[:-1], "nothing"]).exit_code == 1
    assert CliRunner().invoke(orders_group, ["import", "--help"]).exit_code == 0
    file.rename(tmp_path / "orders.txt")
    unnamed = ["import", str(tmp_path / "orders.txt"), "--program", world.program.slug]
    assert "Say --format" in run(orders_group, unnamed).output


def test_reports_go_after_a_month_and_what_a_dead_process_left_is_said_to_be_cut(
    world: World,
) -> None:
    send(world, lines(plain(world, "A-1")))
    now = clock.real_now()
    world.session.add(
        OrderImport(
            program_id=world.program.id, format="csv", brought_by="cli", state="running",
            started_at=now - timedelta(hours=RUNS_H_MAX, minutes=1),
        )
    )  # fmt: skip
    world.session.commit()
    assert forget_imports(world.session, now=now) == 0
    world.session.commit()
    states = world.session.scalars(sa.select(OrderImport.state).order_by(OrderImport.id)).all()
    assert states == ["complete", "cut"]
    later = now + timedelta(days=KEPT_DAYS, minutes=1)
    assert forget_imports(world.session, now=later) == 2
    world.session.commit()
    assert world.session.scalars(sa.select(OrderImportRow)).all() == []
    assert known(world) == ["A-1"]
