"""The newest head, kept in a file of the node: a chain that was cut off or rebuilt is noticed.

Inside the database nothing tells a chain from one that was longer, or from another one.
Whoever holds a head that went out (a proof, the page, this file) can tell.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from payouts.ledger.seals.models import Seal
from payouts.ledger.seals.sealing import newest

FILE_NAME: Final = "seal-head.json"


@dataclass(frozen=True, slots=True)
class KeptHead:
    """A head that was committed once."""

    number: int
    head: str
    """Hexadecimal."""


def keep_newest(session: Session, data_dir: Path) -> None:
    """Note the newest head, as long as the one noted before is in the chain."""
    row, old = newest(session), kept_head(data_dir)
    if row is not None and (old is None or (old.number < row.number and in_chain(session, old))):
        _write(data_dir, KeptHead(row.number, row.head.hex()))


def start_over(session: Session, data_dir: Path) -> None:
    """After a person has looked at a restored database: note what it has now, or nothing."""
    (data_dir / FILE_NAME).unlink(missing_ok=True)
    keep_newest(session, data_dir)


def in_chain(session: Session, kept: KeptHead) -> bool:
    """Whether the chain has this head under this number."""
    head = sa.select(Seal.head).where(Seal.number == kept.number)
    found = session.scalar(head)
    return found is not None and found.hex() == kept.head


def kept_head(data_dir: Path) -> KeptHead | None:
    """What this node noted; none before its first run. A file that cannot be read raises."""
    path = data_dir / FILE_NAME
    if not path.exists():
        return None
    return KeptHead(**json.loads(path.read_text(encoding="utf-8")))


def _write(data_dir: Path, kept: KeptHead) -> None:
    """Whole or not at all; workers of a node may do it at once, each with a draft of its own."""
    data_dir.mkdir(parents=True, exist_ok=True)
    partial = data_dir / f".{FILE_NAME}.{os.getpid()}"
    with partial.open("w", encoding="utf-8") as file:
        json.dump(asdict(kept), file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(data_dir / FILE_NAME)
