"""The fence: how far this node has paid, kept in a file outside the database.

A database that was restored from an older backup does not know the payouts made since.
The file does: it holds the highest batch and attempt that this node brought to the wire.
A database that ends before the fence is older than our payments, and payouts are locked
until a person has compared them with the provider (docs/operations.md, "Restore").
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import REGCLASS, insert
from sqlalchemy.orm import Session

from payouts.batches import locks
from payouts.batches.models import Installation, PayoutAttempt, PayoutBatch, PayoutItem

FILE_NAME = "payout-fence.json"
KEY_BYTES = 9
RESTORED_AHEAD = 1_000_000
"""More items, batches and attempts than were written since any backup that somebody restores."""


@dataclass(frozen=True, slots=True)
class Fence:
    """The highest ids that reached the wire, of one installation."""

    installation: str
    batch: int
    attempt: int


def installation_key(session: Session) -> str:
    """Who we are to the providers; made at the first use."""
    found = session.scalar(sa.select(Installation.key))
    if found is None:
        session.execute(
            insert(Installation)
            .values(id=1, key=os.urandom(KEY_BYTES).hex())
            .on_conflict_do_nothing()
        )
        found = session.scalars(sa.select(Installation.key)).one()
    return found


def raise_fence(data_dir: Path, *, installation: str, batch_id: int, attempt_id: int) -> None:
    """Note that this attempt is about to reach the wire; on disk when this returns."""
    with _held(data_dir):
        old = read(data_dir)
        if old is None or old.installation != installation:
            old = Fence(installation, 0, 0)
        new = Fence(installation, max(old.batch, batch_id), max(old.attempt, attempt_id))
        if new != old:
            _write(data_dir, new)


def check_fence(session: Session, data_dir: Path, *, now: datetime) -> bool:
    """Lock payouts when the database ends before the fence. True: it does not."""
    fence = read(data_dir)
    if fence is None or fence.installation != installation_key(session):
        return True
    batch = session.scalar(sa.select(sa.func.max(PayoutBatch.id))) or 0
    attempt = session.scalar(sa.select(sa.func.max(PayoutAttempt.id))) or 0
    if batch >= fence.batch and attempt >= fence.attempt:
        return True
    detail = (
        f"This node has sent attempt {fence.attempt} of batch {fence.batch}; "
        f"the database ends at attempt {attempt} of batch {batch}."
    )
    locks.lock(session, reason=locks.LockReason.RESTORED_BACKUP, detail=detail, now=now)
    return False


def lower_fence(session: Session, data_dir: Path) -> None:
    """After a person has reconciled a restored database: the fence starts from what it holds.

    While payouts are locked for that restore. Ids that the lost rows had are not given again:
    idempotency keys, groups and end-to-end ids are made of them, and a bank's statement about
    a payment of then would be taken for one of now.
    """
    if any(each.reason is locks.LockReason.RESTORED_BACKUP for each in locks.open_locks(session)):
        _leave_out_lost_ids(session)
    with _held(data_dir):
        _write(
            data_dir,
            Fence(
                installation_key(session),
                session.scalar(sa.select(sa.func.max(PayoutBatch.id))) or 0,
                session.scalar(sa.select(sa.func.max(PayoutAttempt.id))) or 0,
            ),
        )


def _leave_out_lost_ids(session: Session) -> None:
    for model in (PayoutBatch, PayoutItem, PayoutAttempt):
        sequence = sa.func.pg_get_serial_sequence(model.__tablename__, "id")
        following = sa.func.nextval(sa.cast(sequence, REGCLASS)) + RESTORED_AHEAD
        session.execute(sa.select(sa.func.setval(sa.cast(sequence, REGCLASS), following)))


def read(data_dir: Path) -> Fence | None:
    """The fence of this node; none before its first payout.

    A file that cannot be read is an error, not an absent fence: payouts fail closed.
    """
    path = data_dir / FILE_NAME
    if not path.exists():
        return None
    return Fence(**json.loads(path.read_text(encoding="utf-8")))


def _write(data_dir: Path, fence: Fence) -> None:
    partial = data_dir / f".{FILE_NAME}.partial"
    with partial.open("w", encoding="utf-8") as file:
        json.dump(asdict(fence), file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(data_dir / FILE_NAME)
    folder = os.open(data_dir, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _held(data_dir: Path) -> Iterator[None]:
    """Several workers of a node write one file in turn."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / f".{FILE_NAME}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
