"""The proof of a statement: an affiliate's own entries of a month, each with the way to a head.

One JSON document, made piece by piece: memory holds one seal's hashes at a time. Other sides of
a transaction, other people and how much was booked are in it as hashes alone. The form stands in
docs/reliability.md, "Seals"; static/verify/verify_statement.py checks it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import Conflict
from affiliate.people import ids
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program
from payouts.batches.periods import Period
from payouts.batches.statements import Standing, standing_at
from payouts.ledger.seals.merkle import HASH_BYTES, Tree
from payouts.ledger.seals.models import Seal, SealSalt
from payouts.ledger.seals.reading import FIELDS, leaf_maker
from payouts.ledger.seals.rules import (
    GENESIS,
    SALT_BYTES,
    SealedEntry,
    moment,
    owner_pseudonym,
    summary_of,
)
from payouts.ledger.seals.sealing import newest

FORM: Final = "kopeck-proof-1"
ROWS_AT_ONCE: Final = 1_000
_FROM: Final = """
    FROM ledger_accounts a
    JOIN ledger_entries e ON e.account_id = a.id
    JOIN ledger_transactions t ON t.id = e.transaction_id
    {joined}
    WHERE a.enrollment_id = :enrollment_id AND a.currency = :currency
      AND t.occurred_at >= :starts_at AND t.occurred_at < :ends_at
"""
_SEALED: Final = sa.text(
    f"SELECT {FIELDS}, s.number AS seal"
    + _FROM.format(joined="JOIN ledger_seals s ON s.transaction_ids @> t.id")
    + "ORDER BY s.number, t.id, e.id"
)
_UNSEALED: Final = sa.text(
    f"SELECT {FIELDS}"  # noqa: S608 -- constants of ours
    + _FROM.format(joined="")
    + "AND NOT EXISTS (SELECT FROM ledger_seals s WHERE s.transaction_ids @> t.id)"
    + " ORDER BY t.id, e.id"
)


class NothingSealed(Conflict):
    """Before the first seal there is nothing to prove."""

    code = "nothing_sealed"
    title = "Nothing is sealed yet. The books are sealed every ten minutes."


def proof(
    session: Session,
    *,
    enrollment: Enrollment,
    program: Program,
    month: Period,
    since: int | None = None,
) -> Iterator[str]:
    """The document in pieces; `session` should see one snapshot. Raises NothingSealed.

    `since`: let the chain of heads begin with this seal where the month alone would let it
    begin later, so that it can be compared with a head that was noted long ago.
    """
    salt, last = session.scalar(sa.select(SealSalt.salt)), newest(session)
    if salt is None or last is None:
        raise NothingSealed
    asked = {
        "enrollment_id": enrollment.id,
        "currency": program.currency,
        "starts_at": month.starts_at,
        "ends_at": month.ends_at,
    }
    head = _about(session, enrollment, program, month, salt)
    head["newest"] = {"number": last.number, "head": last.head.hex()}
    used: list[int] = []
    yield json.dumps(head, ensure_ascii=False, indent=1)[:-2]
    yield from _array("entries", _sealed(session, asked, salt, used))
    yield from _array("unsealed", _unsealed(session, asked, salt))
    first = min([last.number, *used[:1], *([max(1, since)] if since else [])])
    yield f',\n "before": {json.dumps(_head_before(session, first))}'
    yield from _array("chain", _chain(session, first, set(used)))
    yield "\n}\n"


def _about(
    session: Session, enrollment: Enrollment, program: Program, month: Period, salt: bytes
) -> dict[str, Any]:
    def standing(at: Any) -> dict[str, str]:
        found = standing_at(session, enrollment_id=enrollment.id, currency=program.currency, at=at)
        return _decimals(found)

    return {
        "form": FORM,
        "program": {"slug": program.slug, "name": program.name, "time_zone": program.time_zone},
        "currency": program.currency,
        "affiliate": ids.public(enrollment.id),
        "owner": owner_pseudonym(salt, program_id=program.id, enrollment_id=enrollment.id),
        "month": month.key,
        "starts_at": moment(month.starts_at),
        "ends_at": moment(month.ends_at),
        "opening": standing(month.starts_at),
        "closing": standing(month.ends_at),
    }


def _decimals(standing: Standing) -> dict[str, str]:
    return {
        "pending": standing.pending.decimal,
        "available": standing.available.decimal,
        "in_payout": standing.in_payout.decimal,
    }


def _sealed(
    session: Session, asked: dict[str, Any], salt: bytes, used: list[int]
) -> Iterator[dict[str, Any]]:
    """Own entries with salt and path, seal by seal; notes in `used` which seals these are."""
    as_leaf = leaf_maker(salt)
    rows = session.execute(_SEALED, asked, execution_options={"yield_per": ROWS_AT_ONCE})
    for number, own in groupby(rows, lambda row: row.seal):
        used.append(number)
        seal = session.execute(
            sa.select(Seal.entry_ids, Seal.salts, Seal.leaf_hashes).where(Seal.number == number)
        ).one()
        places = {entry_id: place for place, entry_id in enumerate(seal.entry_ids)}
        tree = Tree(_pieces(seal.leaf_hashes, HASH_BYTES))
        salts = _pieces(seal.salts, SALT_BYTES)
        for row in own:
            place = places[row.id]
            yield _shown(as_leaf(row)) | {
                "salt": salts[place].hex(),
                "seal": number,
                "position": place,
                "path": [each.hex() for each in tree.path(place)],
            }


def _unsealed(session: Session, asked: dict[str, Any], salt: bytes) -> Iterator[dict[str, Any]]:
    as_leaf = leaf_maker(salt)
    rows = session.execute(_UNSEALED, asked, execution_options={"yield_per": ROWS_AT_ONCE})
    return (_shown(as_leaf(row)) for row in rows)


def _shown(leaf: SealedEntry) -> dict[str, Any]:
    """The leaf's fields; the owner stands once, above all entries."""
    found = leaf._asdict()
    del found["owner"]
    return found


def _head_before(session: Session, number: int) -> dict[str, Any]:
    head = session.scalar(sa.select(Seal.head).where(Seal.number == number - 1))
    return {"number": number - 1, "head": (head or GENESIS).hex()}


def _chain(session: Session, first: int, used: set[int]) -> Iterator[dict[str, Any]]:
    """Every link from the first to the newest; of the seals used also what they sum up."""
    seals = session.execute(
        sa.select(Seal.number, Seal.root, Seal.leaves, Seal.emptied, Seal.sealed_at)
        .where(Seal.number >= first)
        .order_by(Seal.number),
        execution_options={"yield_per": ROWS_AT_ONCE},
    )
    for seal in seals:
        link = {"number": seal.number, "sealed_at": moment(seal.sealed_at)}
        if seal.number in used:
            own = {"root": seal.root.hex(), "leaves": seal.leaves, "emptied": seal.emptied}
            yield link | own
        else:
            summary = summary_of(root=seal.root, leaves=seal.leaves, emptied=seal.emptied)
            yield link | {"summary": summary.hex()}


def _array(name: str, items: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield f',\n "{name}": ['
    separator = "\n  "
    for item in items:
        yield separator + json.dumps(item)
        separator = ",\n  "
    yield "\n ]"


def _pieces(together: bytes, length: int) -> list[bytes]:
    return [together[at : at + length] for at in range(0, len(together), length)]
