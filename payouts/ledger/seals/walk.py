"""Compare the chain with itself and the books with the chain; name whatever is not as it was.

Streaming: heads come by a cursor, entries a seal at a time. Reads alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from payouts.ledger.seals.merkle import HASH_BYTES, Tree, leaf_hash
from payouts.ledger.seals.models import Seal, SealSalt
from payouts.ledger.seals.reading import entries_of, leaf_maker
from payouts.ledger.seals.rules import GENESIS, SALT_BYTES, content, head_of, summary_of
from payouts.ledger.seals.sealing import TRANSACTIONS_MAX, unsealed

HEADS_AT_ONCE: Final = 1_000
LATE_H: Final = 24
"""No transaction of ours is open for so long: what was written before the books were seen
empty of unsealed entries, and turns up later, was not written then."""


class Broken(StrEnum):
    """What can be wrong with a chain or the books under it."""

    SEAL_MISSING = "seal_missing"
    LINK_CHANGED = "link_changed"
    HEAD_CHANGED = "head_changed"
    HEAD_UNKNOWN = "head_unknown"
    CONTENTS_CHANGED = "contents_changed"
    ROOT_CHANGED = "root_changed"
    TRANSACTION_GONE = "transaction_gone"
    ENTRY_GONE = "entry_gone"
    ENTRY_ADDED = "entry_added"
    ENTRY_CHANGED = "entry_changed"
    ORDER_CHANGED = "order_changed"
    WRITTEN_BEHIND = "written_behind"
    DATED_BACK = "dated_back"

    @property
    def sentence(self) -> str:
        return _SENTENCES[self]


_SENTENCES = {
    Broken.SEAL_MISSING: "a seal is missing before this one",
    Broken.LINK_CHANGED: "it does not name the head of the seal before it",
    Broken.HEAD_CHANGED: "its head is not the hash of what it holds",
    Broken.HEAD_UNKNOWN: "a head that was given out is not in the chain",
    Broken.CONTENTS_CHANGED: "its list of transactions cannot be one of ours",
    Broken.ROOT_CHANGED: "its leaves do not make its root",
    Broken.TRANSACTION_GONE: "a sealed transaction, or all of it, is not in the books",
    Broken.ENTRY_GONE: "a sealed entry is not in the books",
    Broken.ENTRY_ADDED: "an entry was added to a sealed transaction",
    Broken.ENTRY_CHANGED: "an entry or its salt is not what was sealed",
    Broken.ORDER_CHANGED: "its entries stand in another order than they were sealed in",
    Broken.WRITTEN_BEHIND: "a transaction says it was written when it was not there yet",
    Broken.DATED_BACK: "a transaction is dated into a time that was sealed before",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was sealed."""

    broken: Broken
    seal: int | None
    transaction: int | None = None
    entry: int | None = None
    head: str | None = None

    def row(self) -> dict[str, Any]:
        """As the audit shows it; what does not apply is left out."""
        found = {"seal": self.seal, "transaction_id": self.transaction, "entry_id": self.entry,
                 "head": self.head}  # fmt: skip
        return {"broken": self.broken.value} | {k: v for k, v in found.items() if v is not None}

    def __str__(self) -> str:
        names = ", ".join(f"{name} {value}" for name, value in list(self.row().items())[1:])
        return f"{names}: {self.broken.sentence} ({self.broken.value})"


def broken_links(session: Session) -> Iterator[Finding]:
    """The chain of heads, from the first to the newest; the books are not looked at."""
    number, head = 0, GENESIS
    chain = session.execute(
        sa.select(
            Seal.number, Seal.before, Seal.root, Seal.head, Seal.leaves, Seal.emptied,
            Seal.sealed_at,
        ).order_by(Seal.number),
        execution_options={"yield_per": HEADS_AT_ONCE},
    )  # fmt: skip
    for seal in chain:
        if seal.number != number + 1:
            yield Finding(Broken.SEAL_MISSING, seal.number)
        elif seal.before != head:
            yield Finding(Broken.LINK_CHANGED, seal.number)
        if seal.head != _head(seal):
            yield Finding(Broken.HEAD_CHANGED, seal.number)
        number, head = seal.number, seal.head


def unknown_heads(session: Session, heads: Iterable[str]) -> Iterator[Finding]:
    """Heads that went out (hexadecimal) and that the chain does not have: it was cut or rebuilt."""
    for text in heads:
        known = session.scalar(sa.select(Seal.number).where(Seal.head == bytes.fromhex(text)))
        if known is None:
            yield Finding(Broken.HEAD_UNKNOWN, None, head=text)


def changed_entries(
    session: Session, *, first: int, last: int, back_dating: bool = True
) -> Iterator[Finding]:
    """Compare every entry of the seals `first` to `last` with its leaf.

    `back_dating` also compares business time with the time of sealing; only where business
    time is real time, which in demo and test mode it need not be.
    """
    # A salt that is gone makes every entry another one, as it should.
    salt = session.scalar(sa.select(SealSalt.salt)) or b""
    for number in range(first, last + 1):
        seal = session.execute(
            sa.select(*Seal.__table__.columns).where(Seal.number == number)
        ).one_or_none()
        if seal is not None:
            yield from _compare(session, seal, salt, back_dating=back_dating)


def written_behind(session: Session, *, rows_max: int) -> Iterator[Finding]:
    """Unsealed transactions that say they were written long before a look that saw them not."""
    emptied_at = _emptied_before(session, None)
    if emptied_at is None:
        return
    long_before = emptied_at - timedelta(hours=LATE_H)
    for row in unsealed(session, rows_max=rows_max, recorded_before=long_before):
        yield Finding(Broken.WRITTEN_BEHIND, None, transaction=row.id)


def all_findings(
    session: Session, *, heads: Iterable[str], back_dating: bool, rows_max: int
) -> Iterator[Finding]:
    """Everything there is to compare, from the first seal to what is in none."""
    yield from broken_links(session)
    yield from unknown_heads(session, heads)
    last = last_number(session)
    yield from changed_entries(session, first=1, last=last, back_dating=back_dating)
    yield from written_behind(session, rows_max=rows_max)


def first_of_newest(session: Session, *, leaves_max: int) -> int:
    """The first of the newest seals that have so many leaves together; at least the newest."""
    number, leaves = last_number(session), 0
    newest = sa.select(Seal.number, Seal.leaves).order_by(Seal.number.desc())
    for seal in session.execute(newest.limit(leaves_max)):
        leaves += seal.leaves
        if leaves > leaves_max:
            break
        number = seal.number
    return number


def last_number(session: Session) -> int:
    """The number of the newest seal; 0 before the first."""
    return session.scalar(sa.select(sa.func.max(Seal.number))) or 0


def _head(seal: Any) -> bytes:
    summary = summary_of(root=seal.root, leaves=seal.leaves, emptied=seal.emptied)
    return head_of(
        number=seal.number, before=seal.before, summary=summary, sealed_at=seal.sealed_at
    )


def _compare(session: Session, seal: Any, salt: bytes, *, back_dating: bool) -> Iterator[Finding]:
    hashes = _pieces(seal.leaf_hashes, HASH_BYTES)
    if Tree(hashes).root != seal.root:
        yield Finding(Broken.ROOT_CHANGED, seal.number)
    ids = _expanded(seal.transaction_ids)
    if not ids:
        yield Finding(Broken.CONTENTS_CHANGED, seal.number)
        return
    rows = entries_of(session, ids)
    yield from _missing_transactions(seal.number, ids, rows)
    yield from _missing_entries(seal, rows)
    as_leaf = leaf_maker(salt)
    places = {entry: place for place, entry in enumerate(seal.entry_ids)}
    salts = _pieces(seal.salts, SALT_BYTES)
    for row in rows:
        place = places.get(row.id)
        if place is not None and leaf_hash(content(as_leaf(row), salts[place])) != hashes[place]:
            yield Finding(Broken.ENTRY_CHANGED, seal.number, row.transaction_id, row.id)
    yield from _late(session, seal, rows, back_dating=back_dating)


def _missing_transactions(
    number: int, ids: Sequence[int], rows: Sequence[Any]
) -> Iterator[Finding]:
    there = {row.transaction_id for row in rows}
    for transaction_id in ids:
        if transaction_id not in there:
            yield Finding(Broken.TRANSACTION_GONE, number, transaction_id)


def _missing_entries(seal: Any, rows: Sequence[Any]) -> Iterator[Finding]:
    read, sealed = [row.id for row in rows], set(seal.entry_ids)
    there = set(read)
    for entry_id in seal.entry_ids:
        if entry_id not in there:
            yield Finding(Broken.ENTRY_GONE, seal.number, entry=entry_id)
    for row in rows:
        if row.id not in sealed:
            yield Finding(Broken.ENTRY_ADDED, seal.number, row.transaction_id, row.id)
    kept = [entry_id for entry_id in seal.entry_ids if entry_id in there]
    if kept != [entry_id for entry_id in read if entry_id in sealed]:
        yield Finding(Broken.ORDER_CHANGED, seal.number)


def _late(
    session: Session, seal: Any, rows: Sequence[Any], *, back_dating: bool
) -> Iterator[Finding]:
    emptied_at = _emptied_before(session, seal.number)
    if emptied_at is None:
        return
    long_before = emptied_at - timedelta(hours=LATE_H)
    said: set[int] = set()
    for row in rows:
        if row.transaction_id in said:
            continue
        if row.recorded_at < long_before:
            said.add(row.transaction_id)
            yield Finding(Broken.WRITTEN_BEHIND, seal.number, row.transaction_id)
        elif back_dating and row.occurred_at < long_before:
            said.add(row.transaction_id)
            yield Finding(Broken.DATED_BACK, seal.number, row.transaction_id)


def _emptied_before(session: Session, number: int | None) -> datetime | None:
    """When the books were last seen with nothing unsealed, before this seal."""
    asked = sa.select(Seal.sealed_at).where(Seal.emptied).order_by(Seal.number.desc()).limit(1)
    return session.scalar(asked if number is None else asked.where(Seal.number < number))


def _expanded(ranges: Any) -> list[int]:
    """The ids in a multirange; none where it cannot be one that the sealer wrote."""
    bounds = [(each.lower, each.upper) for each in ranges]
    if any(low is None or high is None for low, high in bounds):
        return []
    if sum(high - low for low, high in bounds) > TRANSACTIONS_MAX:
        return []
    return [number for low, high in bounds for number in range(low, high)]


def _pieces(together: bytes, length: int) -> list[bytes]:
    return [together[at : at + length] for at in range(0, len(together), length)]
