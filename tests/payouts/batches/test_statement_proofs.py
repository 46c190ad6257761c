"""Proofs, and the stand-alone verifier on good files and on tampered ones of each kind."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from money_world import NOW, World
from paying import Pay
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program
from payouts.batches.proofs import NothingSealed, proof
from payouts.batches.review import mark_paid
from payouts.batches.statements import month_at
from payouts.commissions.earn import earn
from payouts.ledger.seals.sealing import newest, seal_next

VERIFIER = Path(__file__).resolve().parents[3] / "static" / "verify" / "verify_statement.py"
Document = dict[str, Any]


def made(session: Session, world: World, name: str, since: int | None = None) -> Document:
    """The proof of November 2026 of somebody."""
    enrollment = session.get_one(Enrollment, world.enrollments[name])
    program = session.get_one(Program, world.program_id)
    parts = proof(
        session,
        enrollment=enrollment,
        program=program,
        month=month_at(date(2026, 11, 1), program.time_zone),
        since=since,
    )
    found: Document = json.loads("".join(parts))
    return found


def verify(folder: Path, document: Any, *options: str) -> tuple[int, str]:
    """Exit code and words of the verifier, isolated from everything but the standard library."""
    path = folder / "proof.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    command = [sys.executable, "-I", str(VERIFIER), str(path), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.fixture
def books(by_hand: Pay) -> Pay:
    """Anna earned, was released, paid 2.00 and asked for 1.00; boris has his own; small seals."""
    by_hand.affiliate("anna", "9.00")
    by_hand.affiliate("boris", "3.00")
    earn(by_hand.session, sale=by_hand.world.sale("anna", "100.00"), waits_for=None, now=NOW)
    paid = by_hand.approved("anna", "2.00")
    mark_paid(
        by_hand.session,
        item_id=paid.item_id,
        reference="17",
        by_user_id=by_hand.finance,
        rails=by_hand.rails,
        now=NOW,
    )
    by_hand.session.commit()
    while seal_next(by_hand.session, real_now=clock.real_now(), transactions_max=2):
        by_hand.session.commit()
    return by_hand


@pytest.fixture
def document(books: Pay) -> Document:
    return made(books.session, books.world, "anna")


def test_a_good_proof_holds_in_words_of_both_languages(document: Document, tmp_path: Path) -> None:
    code, said = verify(tmp_path, document)
    assert (code, said.splitlines()[0]) == (0, f"Lamps, {document['affiliate']}, 2026-11")
    assert "holds: entries in their blocks' trees: 7" in said
    newest_head = f"{document['newest']['number']}:{document['newest']['head']}"
    assert f"holds: the chain of blocks leads to {newest_head}" in said
    assert "holds: available: opening and entries make the closing, 7.00" in said
    assert "DOES NOT HOLD" not in said
    code, said = verify(tmp_path, document, "--language", "ru", "--head", newest_head)
    number = document["newest"]["number"]
    assert f"верно: у блока {number} то значение, которое вы записали" in said
    assert code == 0
    assert [line.partition(":")[0] for line in said.splitlines()[1:] if "заметьте" not in line] == (
        ["верно"] * 6
    )


def test_it_shows_ones_own_side_and_nothing_of_others(books: Pay, document: Document) -> None:
    """No other account, no name, no number of a row, not how much the program booked."""
    assert {entry["account"] for entry in document["entries"]} == {
        "pending", "available", "in_payout",
    }  # fmt: skip
    text = json.dumps(document)
    for hidden in ("expense", "cash", "boris", "commission:", "item:", "reference"):
        assert hidden not in text
    other = made(books.session, books.world, "boris")
    assert other["owner"] != document["owner"]
    ours = {(entry["seal"], entry["position"]) for entry in document["entries"]}
    theirs = {(entry["seal"], entry["position"]) for entry in other["entries"]}
    assert not ours & theirs
    salts = [entry["salt"] for entry in document["entries"] + other["entries"]]
    assert len(set(salts)) == len(salts)
    used = {entry["seal"] for entry in document["entries"]}
    assert {link["number"] for link in document["chain"] if "leaves" in link} == used


def _entry(document: Document, **changes: Any) -> None:
    document["entries"][1] |= changes


def _drop(document: Document) -> None:
    del document["entries"][2]


def _twice(document: Document) -> None:
    document["entries"].append(document["entries"][0])


def _another_owner(document: Document) -> None:
    document["owner"] = "0" * 32


def _closing(document: Document) -> None:
    document["closing"]["available"] = "7.01"


def _swap(document: Document) -> None:
    first, second = document["entries"][:2]
    first["path"], second["path"] = second["path"], first["path"]


def _leave_out_a_link(document: Document) -> None:
    del document["chain"][1]


def _swap_links(document: Document) -> None:
    document["chain"][0], document["chain"][1] = document["chain"][1], document["chain"][0]


def _cut(document: Document) -> None:
    del document["chain"][-1]


def _another_root(document: Document) -> None:
    """A tree of one's own: it leads there, and the chain no longer to its head."""
    entry = document["entries"][0]
    link = next(link for link in document["chain"] if link["number"] == entry["seal"])
    link["leaves"], entry["position"], entry["path"] = 1, 0, []
    link["root"] = entry["salt"] * 2


def _move_to_unsealed(document: Document) -> None:
    """What is not sealed can be claimed; it is said of it that it is not."""
    entry = document["entries"].pop()
    for name in ("salt", "seal", "position", "path"):
        del entry[name]
    document["unsealed"].append(entry | {"amount_micros": 1})


def _time_of_a_seal(document: Document) -> None:
    document["chain"][-1]["sealed_at"] = "2026-01-01T00:00:00.000000+00:00"


def _another_month(document: Document) -> None:
    document["starts_at"] = document["ends_at"]


NOT_SEALED = "DOES NOT HOLD: not what was sealed in block"
TAMPERED: dict[str, tuple[Callable[[Document], None], str]] = {
    "amount": (lambda d: _entry(d, amount_micros=1), NOT_SEALED),
    "kind": (lambda d: _entry(d, kind="bonus"), NOT_SEALED),
    "day": (lambda d: _entry(d, occurred_at="2026-11-02T07:15:00.000000+00:00"), NOT_SEALED),
    "account": (lambda d: _entry(d, account="in_payout"), NOT_SEALED),
    "salt": (lambda d: _entry(d, salt="00" * 16), NOT_SEALED),
    "position": (lambda d: _entry(d, position=d["entries"][1]["position"] ^ 1), NOT_SEALED),
    "position that is not there": (lambda d: _entry(d, position=-1), NOT_SEALED),
    "block": (lambda d: _entry(d, seal=99), NOT_SEALED),
    "path too short": (lambda d: _entry(d, path=[]), NOT_SEALED),
    "path too long": (lambda d: d["entries"][1]["path"].append("00" * 32), NOT_SEALED),
    "paths swapped": (_swap, NOT_SEALED),
    "owner": (_another_owner, NOT_SEALED),
    "entry left out": (_drop, "DOES NOT HOLD: available: opening and entries make"),
    "entry twice": (_twice, "DOES NOT HOLD: twice in the file"),
    "closing": (_closing, "available: opening and entries make 7.00, not 7.01"),
    "unsealed": (_move_to_unsealed, "opening and entries make"),
    "month": (_another_month, "DOES NOT HOLD: dated outside the month"),
    "link left out": (_leave_out_a_link, "DOES NOT HOLD: the chain is broken at block"),
    "links swapped": (_swap_links, "DOES NOT HOLD: the chain is broken at block"),
    "tail cut off": (_cut, "DOES NOT HOLD: the chain does not end in"),
    "root": (_another_root, "DOES NOT HOLD: the chain does not end in"),
    "time": (_time_of_a_seal, "DOES NOT HOLD: the chain does not end in"),
    "newest head": (lambda d: d["newest"].update(head="00" * 32), "the chain does not end in"),
    "head before": (lambda d: d["before"].update(head="11" * 32), "the chain does not end in"),
}


def test_each_kind_of_tampering_with_a_file_is_told(document: Document, tmp_path: Path) -> None:
    assert len(document["chain"]) > 2
    wrong = []
    for what, (tamper, words) in TAMPERED.items():
        changed = copy.deepcopy(document)
        tamper(changed)
        code, said = verify(tmp_path, changed)
        if code != 1 or words not in said:
            wrong.append(f"{what}: {code}\n{said}")
    assert not wrong, "\n".join(wrong)


GARBAGE = ("", "[]", "{}", "null", '{"form": "other"}', "\x00", "[" * 100_000, '{"form": 1e999}')


def test_what_is_no_proof_ends_with_a_sentence_and_2(document: Document, tmp_path: Path) -> None:
    odd = [
        document | {"entries": [17]},
        document | {"chain": "no"},
        document | {"before": {"number": -1, "head": "00" * 32}},
        document | {"opening": {"pending": "x", "available": "0", "in_payout": "0"}},
        {name: value for name, value in document.items() if name != "owner"},
    ]
    for each in (*GARBAGE, *odd):
        code, said = verify(tmp_path, each)
        assert code in (1, 2), each
        assert "DOES NOT HOLD" in said
    unread = "DOES NOT HOLD: this cannot be read as a proof: KeyError 'form'\n"
    assert verify(tmp_path, "{}") == (2, unread)
    command = [sys.executable, "-I", str(VERIFIER), str(tmp_path / "none.json")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2


def test_a_head_that_was_noted_is_compared(books: Pay, document: Document, tmp_path: Path) -> None:
    first = books.session.execute(
        sa.text("SELECT number, encode(head, 'hex') AS head FROM ledger_seals WHERE number = 1")
    ).one()
    noted = f"{first.number}:{first.head}"
    assert verify(tmp_path, document, "--head", noted)[0] == 0
    code, said = verify(tmp_path, document, "--head", f"1:{'0' * 64}")
    assert (code, "block 1 has another head than you noted" in said) == (1, True)
    # A month that begins later than the head: the chain can be asked for from there.
    books.world.affiliate("dora")
    later = made(books.session, books.world, "dora")
    assert [link["number"] for link in later["chain"]] == [document["newest"]["number"]]
    code, said = verify(tmp_path, later, "--head", noted)
    assert (code, "block 1 is not in this file, load it with ?since=1" in said) == (1, True)
    assert verify(tmp_path, made(books.session, books.world, "dora", 1), "--head", noted)[0] == 0


def test_books_that_were_rebuilt_do_not_have_the_head_that_was_noted(
    books: Pay, document: Document, tmp_path: Path
) -> None:
    """All seals are made anew over changed books: in itself that holds, for a stranger."""
    session = books.session
    session.execute(sa.text("SET LOCAL session_replication_role = replica"))
    session.execute(sa.text("UPDATE ledger_entries SET amount_micros = 2 * amount_micros"))
    session.execute(sa.text("DELETE FROM ledger_seals"))
    session.commit()
    while seal_next(session, real_now=clock.real_now(), transactions_max=2):
        session.commit()
    session.rollback()
    rebuilt = made(session, books.world, "anna")
    assert verify(tmp_path, rebuilt)[0] == 0
    noted = f"{document['newest']['number']}:{document['newest']['head']}"
    assert verify(tmp_path, rebuilt, "--head", noted)[0] == 1
    earlier = tmp_path / "earlier.json"
    earlier.write_text(json.dumps(document))
    code, said = verify(tmp_path, rebuilt, "--earlier", str(earlier))
    assert (code, said.count("in the earlier proof, missing or another one now")) == (1, 7)


def test_an_earlier_proof_of_the_month_is_contained_in_a_later_one(
    books: Pay, document: Document, tmp_path: Path
) -> None:
    earlier = tmp_path / "earlier.json"
    earlier.write_text(json.dumps(document))
    books.withdraw("anna", "1.00")
    grown = made(books.session, books.world, "anna")
    code, said = verify(tmp_path, grown, "--earlier", str(earlier))
    assert (code, said.count("not sealed yet")) == (0, 2)
    assert "all entries of the earlier proof are here: 7" in said
    while seal_next(books.session, real_now=clock.real_now()):
        books.session.commit()
    grown = made(books.session, books.world, "anna")
    code, said = verify(tmp_path, grown, "--earlier", str(earlier))
    assert (code, said.count("not sealed yet"), len(grown["entries"])) == (0, 0, 9)
    other = made(books.session, books.world, "boris")
    assert verify(tmp_path, other, "--earlier", str(earlier))[0] == 1


def test_what_was_sealed_late_is_noted(by_hand: Pay, tmp_path: Path) -> None:
    by_hand.affiliate("anna", "9.00")
    assert seal_next(by_hand.session, real_now=NOW + timedelta(days=3)) == 2
    code, said = verify(tmp_path, made(by_hand.session, by_hand.world, "anna"))
    assert (code, said.count("note: sealed only on 2026-11-24")) == (0, 3)


def test_an_affiliate_who_is_erased_keeps_the_proof(
    books: Pay, document: Document, tmp_path: Path
) -> None:
    books.session.execute(sa.text("UPDATE affiliates SET name = 'erased'"))
    books.session.commit()
    assert made(books.session, books.world, "anna") == document
    assert verify(tmp_path, document)[0] == 0


def test_before_the_first_seal_there_is_no_proof(world: World) -> None:
    assert newest(world.session) is None
    with pytest.raises(NothingSealed):
        made(world.session, world, "anna")


def test_the_verifier_can_be_read_in_one_sitting_and_imports_nothing_of_ours() -> None:
    lines = VERIFIER.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 200
    imports = [line.split()[1] for line in lines if line.startswith(("import ", "from "))]
    assert set(imports) <= set(sys.stdlib_module_names)


@given(
    st.lists(
        st.tuples(st.integers(-(2**62), 2**62), st.text(max_size=12), st.sampled_from("pair")),
        min_size=1,
        max_size=40,
    ),
    st.data(),
)
def test_verifier_and_engine_agree_on_any_leaves(
    rows: list[tuple[int, str, str]], data: st.DataObject
) -> None:
    """Two implementations, one tree: whatever stands in texts, however many leaves."""
    from payouts.ledger.seals import merkle, rules

    names: dict[str, Any] = {"__name__": "verifier"}
    exec(compile(VERIFIER.read_text(encoding="utf-8"), str(VERIFIER), "exec"), names)
    salt, leaves = b"s" * 16, []
    for micros, text, kind in rows:
        leaf = rules.SealedEntry(text, kind, text, "at", "at", "pending", "owner", "EUR", micros)
        shown = {
            "salt": salt.hex(), "transaction": text, "kind": kind, "reason": text,
            "occurred_at": "at", "recorded_at": "at", "account": "pending", "currency": "EUR",
            "amount_micros": micros,
        }  # fmt: skip
        hashed = merkle.leaf_hash(rules.content(leaf, salt))
        assert names["leaf_hash"](shown, "owner") == hashed
        leaves.append(hashed)
    tree = merkle.Tree(leaves)
    place = data.draw(st.integers(0, len(leaves) - 1))
    path = [each.hex() for each in tree.path(place)]
    assert names["root_by_path"](leaves[place], place, len(leaves), path) == tree.root
    summary = rules.summary_of(root=tree.root, leaves=len(leaves), emptied=True)
    head = rules.head_of(number=3, before=b"b" * 32, summary=summary, sealed_at=NOW)
    link = {"number": 3, "sealed_at": rules.moment(NOW)}
    whole = link | {"root": tree.root.hex(), "leaves": len(leaves), "emptied": True}
    for each in (whole, link | {"summary": summary.hex()}):
        assert names["head_of"](each, b"b" * 32) == head
