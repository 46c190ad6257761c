"""The chain of seals. Append-only like the books: triggers refuse update and delete."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, INT8MULTIRANGE
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model


class Seal(Model):
    """A block of transactions, each of whose entries is a leaf of its tree."""

    __tablename__ = "ledger_seals"
    __table_args__ = (
        sa.CheckConstraint("number >= 1", name="number_from_one"),
        sa.CheckConstraint(
            "octet_length(salts) = 16 * leaves AND octet_length(leaf_hashes) = 32 * leaves"
            " AND cardinality(entry_ids) = leaves",
            name="a_salt_and_a_hash_each",
        ),
        sa.Index("ix_ledger_seals_transaction_ids", "transaction_ids", postgresql_using="gist"),
    )

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    before: Mapped[bytes] = mapped_column(unique=True)
    """The head of the seal before; unique, so that a chain cannot fork."""
    root: Mapped[bytes]
    head: Mapped[bytes] = mapped_column(unique=True)
    leaves: Mapped[int]
    emptied: Mapped[bool]
    """After it nothing that was committed was left unsealed."""
    sealed_at: Mapped[datetime]
    """Real time; never before that of the seal before."""
    transaction_ids: Mapped[object] = mapped_column(INT8MULTIRANGE)
    """Exactly the transactions in it: ids that were never booked lie between ranges."""
    entry_ids: Mapped[list[int]] = mapped_column(ARRAY(sa.BigInteger))
    """In the order of the leaves: by transaction, then by entry."""
    salts: Mapped[bytes]
    """16 random bytes a leaf, one after the other."""
    leaf_hashes: Mapped[bytes]
    """32 bytes a leaf: paths are read from them, and a changed entry is found by name."""


class SealSalt(Model):
    """The key of this installation's pseudonyms; a single row, never changed."""

    __tablename__ = "ledger_seal_salt"
    __table_args__ = (sa.CheckConstraint("id = 1", name="single_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    salt: Mapped[bytes]
