"""Imports of products: laid before a person, done in one piece, held where a feed shrinks."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
import sqlalchemy as sa
from builders import make_program
from feeds import csv_feed, lamps, row
from moments import NOW
from sqlalchemy.orm import Session

from affiliate.core.audit import AuditEntry
from affiliate.core.db import session_for
from affiliate.core.errors import Invalid, NotFound
from affiliate.products import importing
from affiliate.products.importing import (
    ImportDecided,
    NothingToImport,
    bring_file,
    confirm_import,
    discard_import,
    lock_feed,
    take_fetched,
)
from affiliate.products.lookup import imports_of
from affiliate.products.models import ProductFeed, ProductImport, ShopProduct
from affiliate.products.selling import note_sold
from affiliate.programs.models import Program

LATER = NOW + timedelta(days=1)


@pytest.fixture
def program(session: Session) -> Program:
    made = make_program(session, now=NOW)
    session.commit()
    return made


def bring(session: Session, program: Program, raw: bytes) -> ProductImport:
    made = bring_file(session, program_id=program.id, raw=raw, by=None, now=NOW)
    session.commit()
    return made


def have(session: Session, program: Program, raw: bytes) -> None:
    """Import it without questions."""
    confirm_import(session, import_id=bring(session, program, raw).id, by=None, now=NOW)
    session.commit()


def skus(session: Session) -> list[str]:
    session.expire_all()
    return list(session.scalars(sa.select(ShopProduct.sku).order_by(ShopProduct.sku)))


def told(row: ProductImport) -> tuple[str, int, int, int, int]:
    return row.status, row.total, row.new, row.changed, row.gone


def test_a_file_is_laid_before_a_person_and_changes_nothing_until_it_is_confirmed(
    session: Session, program: Program
) -> None:
    have(session, program, csv_feed(row("A"), row("B"), row("C")))
    brought = bring(session, program, csv_feed(row("A"), row("B", price="1 RUB"), row("D")))
    assert told(brought) == ("waiting", 3, 1, 1, 1)
    assert brought.examples == {"new": ["D"], "changed": ["B"], "gone": ["C"]}
    assert skus(session) == ["A", "B", "C"]
    done = confirm_import(session, import_id=brought.id, by=None, now=LATER)
    session.commit()
    assert told(done) == ("done", 3, 1, 1, 1)
    assert skus(session) == ["A", "B", "D"]
    rows = {each.sku: each for each in session.scalars(sa.select(ShopProduct))}
    assert rows["B"].price_micros == 1_000_000
    assert [rows[sku].added_at for sku in "ABD"] == [NOW, NOW, LATER]
    assert [rows[sku].changed_at for sku in "ABD"] == [NOW, LATER, LATER]
    feed = session.get_one(ProductFeed, program.id)
    assert (feed.products, feed.revision, feed.imported_at) == (3, 2, LATER)


def test_an_import_keeps_numbers_and_what_was_sold(session: Session, program: Program) -> None:
    have(session, program, csv_feed(row("A"), row("B")))
    assert note_sold(session, program_id=program.id, pieces={"A": 5, "nobody": 9}) == 1
    session.commit()
    before = dict(session.execute(sa.select(ShopProduct.sku, ShopProduct.id)).all())
    have(session, program, csv_feed(row("A", title="Another name"), row("B")))
    found = session.scalars(sa.select(ShopProduct).order_by(ShopProduct.sku)).all()
    assert [(each.id, each.title, each.sold) for each in found] == [
        (before["A"], "Another name", 5), (before["B"], "Lamp B", 0),
    ]  # fmt: skip
    assert note_sold(session, program_id=program.id, pieces={}) == 1


def test_the_same_file_again_changes_nothing(session: Session, program: Program) -> None:
    have(session, program, lamps(3))
    revision = session.get_one(ProductFeed, program.id).revision
    brought = bring(session, program, lamps(3))
    assert told(brought) == ("waiting", 3, 0, 0, 0)
    confirm_import(session, import_id=brought.id, by=None, now=LATER)
    session.commit()
    assert session.get_one(ProductFeed, program.id).revision == revision
    assert set(session.scalars(sa.select(ShopProduct.changed_at))) == {NOW}


def test_a_discarded_import_is_over(session: Session, program: Program) -> None:
    brought = bring(session, program, lamps(2))
    discard_import(session, import_id=brought.id, by=None, now=LATER)
    session.commit()
    assert skus(session) == []
    for verb in (confirm_import, discard_import):
        with pytest.raises(ImportDecided):
            verb(session, import_id=brought.id, by=None, now=LATER)
    with pytest.raises(NotFound):
        confirm_import(session, import_id=9_999, by=None, now=LATER)
    with pytest.raises(NotFound):
        discard_import(session, import_id=9_999, by=None, now=LATER)
    stored = session.execute(sa.select(ProductImport.content)).scalar_one()
    assert stored is None


def test_a_newer_file_takes_the_place_of_one_that_waits(session: Session, program: Program) -> None:
    first, second = bring(session, program, lamps(1)), bring(session, program, lamps(2))
    session.refresh(first)
    assert (first.status, second.status) == ("discarded", "waiting")
    with pytest.raises(ImportDecided):
        confirm_import(session, import_id=first.id, by=None, now=LATER)


def test_a_confirmed_import_does_what_it_says_to_the_products_of_that_moment(
    session: Session, program: Program
) -> None:
    brought = bring(session, program, csv_feed(row("A")))
    assert take_fetched(session, program_id=program.id, raw=csv_feed(row("B"), row("C")), now=LATER)
    session.commit()
    done = confirm_import(session, import_id=brought.id, by=None, now=LATER)
    assert told(done) == ("done", 1, 1, 0, 2)
    assert skus(session) == ["A"]


def test_a_site_that_the_program_gave_up_since_is_refused_at_confirmation(
    session: Session, program: Program
) -> None:
    brought = bring(session, program, lamps(1))
    program.allowed_sites = ["other.example"]
    session.commit()
    with pytest.raises(Invalid, match="cannot be taken"):
        confirm_import(session, import_id=brought.id, by=None, now=LATER)
    session.rollback()
    assert skus(session) == []


def test_nothing_and_nobody_are_refused(session: Session, program: Program) -> None:
    with pytest.raises(NothingToImport):
        bring_file(session, program_id=program.id, raw=lamps(0), by=None, now=NOW)
    with pytest.raises(NotFound):
        bring_file(session, program_id=9_999, raw=lamps(1), by=None, now=NOW)
    with pytest.raises(Invalid):
        bring_file(session, program_id=program.id, raw=lamps(1, price="x"), by=None, now=NOW)
    session.rollback()
    assert session.scalar(sa.select(sa.func.count(ProductImport.id))) == 0


@pytest.mark.parametrize("after", [0, 1])
def test_a_feed_that_lost_more_than_half_waits_for_a_person(
    session: Session, program: Program, after: int
) -> None:
    have(session, program, lamps(3))
    held = take_fetched(session, program_id=program.id, raw=lamps(after), now=LATER)
    session.commit()
    assert held is not None and held.shrinks
    assert told(held) == ("waiting", after, 0, 0, 3 - after)
    assert len(skus(session)) == 3
    confirm_import(session, import_id=held.id, by=None, now=LATER)
    session.commit()
    assert len(skus(session)) == after


def test_a_feed_that_has_recovered_by_itself_needs_nobody(
    session: Session, program: Program
) -> None:
    have(session, program, lamps(4))
    held = take_fetched(session, program_id=program.id, raw=lamps(0), now=LATER)
    assert held is not None
    assert take_fetched(session, program_id=program.id, raw=lamps(4), now=LATER) is None
    session.refresh(held)
    assert held.status == "discarded"
    grown = take_fetched(session, program_id=program.id, raw=lamps(6), now=LATER)
    assert grown is not None
    assert told(grown) == ("done", 6, 2, 0, 0)


def test_what_a_person_looks_at_is_not_taken_away_by_the_daily_feed(
    session: Session, program: Program
) -> None:
    brought = bring(session, program, lamps(2))
    take_fetched(session, program_id=program.id, raw=lamps(3), now=LATER)
    session.refresh(brought)
    assert brought.status == "waiting"


def test_a_fetched_feed_that_cannot_be_read_is_kept_with_what_is_wrong_once(
    session: Session, program: Program
) -> None:
    have(session, program, lamps(2))
    bad = csv_feed(row("A"), row("B", price="free"))
    for _ in range(3):
        refused = take_fetched(session, program_id=program.id, raw=bad, now=LATER)
        session.commit()
        assert refused is not None
        assert refused.status == "refused"
    assert len(skus(session)) == 2
    kept = [each for each in imports_of(session, program_id=program.id, rows_max=9)
            if each.status == "refused"]  # fmt: skip
    assert len(kept) == 1
    assert kept[0].errors[0]["code"] == "not_a_price"
    take_fetched(session, program_id=program.id, raw=b"<html/>", now=LATER)
    take_fetched(session, program_id=program.id, raw=b"", now=LATER)
    assert len(imports_of(session, program_id=program.id, rows_max=9)) == 4


def until_somebody_waits(engine: sa.Engine) -> None:
    """Until another session has met a lock of ours: only then they are at once."""
    waiting = sa.text(
        "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
        "WHERE NOT l.granted AND a.datname = current_database()"
    )
    deadline = time.monotonic() + 10
    with engine.connect() as connection:
        while not connection.scalar(waiting):
            assert time.monotonic() < deadline, "nobody waits"
            time.sleep(0.05)


def test_two_imports_at_once_come_one_after_the_other(
    session: Session, program: Program, engine: sa.Engine
) -> None:
    """Whoever comes second sees what the first has done, and the last one's products remain."""
    have(session, program, lamps(1))  # So that the row that is held is there.
    sessions = session_for(engine)
    program_id = program.id
    found: list[ProductImport | None] = []

    def second() -> None:
        with sessions.begin() as other:
            found.append(take_fetched(other, program_id=program_id, raw=lamps(3), now=NOW))

    take_fetched(session, program_id=program_id, raw=lamps(2), now=NOW)
    thread = threading.Thread(target=second)
    thread.start()
    until_somebody_waits(engine)
    session.commit()
    thread.join(10)
    assert found[0] is not None
    assert told(found[0]) == ("done", 3, 1, 0, 0)
    assert skus(session) == ["L-0", "L-1", "L-2"]


def test_whoever_holds_the_feed_is_waited_for_before_anything_is_compared(
    session: Session, program: Program, engine: sa.Engine
) -> None:
    have(session, program, lamps(1))
    program_id = program.id
    lock_feed(session, program_id)

    def second() -> None:
        with session_for(engine).begin() as other:
            take_fetched(other, program_id=program_id, raw=lamps(3), now=NOW)

    thread = threading.Thread(target=second)
    thread.start()
    until_somebody_waits(engine)
    session.rollback()
    thread.join(10)
    assert len(skus(session)) == 3


def test_one_import_is_confirmed_once_by_two_at_once(
    session: Session, program: Program, engine: sa.Engine
) -> None:
    have(session, program, lamps(1))
    import_id = bring(session, program, lamps(2)).id
    refused: list[Exception] = []

    def second() -> None:
        try:
            with session_for(engine).begin() as other:
                confirm_import(other, import_id=import_id, by=None, now=NOW)
        except ImportDecided as refusal:
            refused.append(refusal)

    confirm_import(session, import_id=import_id, by=None, now=NOW)
    thread = threading.Thread(target=second)
    thread.start()
    until_somebody_waits(engine)
    session.commit()
    thread.join(10)
    assert len(refused) == 1
    assert session.get_one(ProductFeed, program.id).revision == 2


def test_another_programs_products_stay(session: Session, program: Program) -> None:
    other = make_program(session, now=NOW, slug="other")
    have(session, other, lamps(3))
    have(session, program, lamps(2))
    have(session, program, csv_feed(row("X"), row("Y")))
    count = sa.select(sa.func.count()).where(ShopProduct.program_id == other.id)
    assert session.scalar(count) == 3


def test_a_large_feed_is_written_in_parts(
    session: Session, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "ROWS_AT_ONCE", 7)
    have(session, program, lamps(50))
    have(session, program, lamps(45, brand="Heron"))
    assert len(skus(session)) == 45
    assert set(session.scalars(sa.select(ShopProduct.brand))) == {"Heron"}


def test_old_imports_are_forgotten_and_what_waits_is_not(
    session: Session, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "IMPORTS_KEPT", 3)
    waiting = bring(session, program, lamps(1))
    for number in range(6):
        take_fetched(session, program_id=program.id, raw=lamps(2, brand=f"B{number}"), now=NOW)
    rows = imports_of(session, program_id=program.id, rows_max=99)
    assert len(rows) == 4
    assert rows[0].id == waiting.id


def test_the_log_says_who_imported_what(session: Session, program: Program) -> None:
    have(session, program, lamps(2))
    entries = session.scalars(sa.select(AuditEntry).where(AuditEntry.action.like("products.%")))
    assert [(each.action, each.new and each.new["total"]) for each in entries] == [
        ("products.bring", 2), ("products.confirm", 2),
    ]  # fmt: skip
