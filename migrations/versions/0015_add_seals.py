"""Seals over the ledger: blocks of transactions under Merkle trees, chained, append-only."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

TABLES = ("ledger_seals", "ledger_seal_salt")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "ledger_seals",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("before", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("head", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("leaves", sa.BigInteger, nullable=False),
        sa.Column("emptied", sa.Boolean, nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("transaction_ids", postgresql.INT8MULTIRANGE, nullable=False),
        sa.Column("entry_ids", postgresql.ARRAY(sa.BigInteger), nullable=False),
        sa.Column("salts", sa.LargeBinary, nullable=False),
        sa.Column("leaf_hashes", sa.LargeBinary, nullable=False),
        sa.CheckConstraint("number >= 1", name="number_from_one"),
        sa.CheckConstraint(
            "octet_length(salts) = 16 * leaves AND octet_length(leaf_hashes) = 32 * leaves"
            " AND cardinality(entry_ids) = leaves",
            name="a_salt_and_a_hash_each",
        ),
    )
    op.create_index(
        "ix_ledger_seals_transaction_ids",
        "ledger_seals",
        ["transaction_ids"],
        postgresql_using="gist",
    )
    # Salts and hashes are random: trying to compress them is work for nothing.
    for column in ("salts", "leaf_hashes"):
        op.execute(f"ALTER TABLE ledger_seals ALTER COLUMN {column} SET STORAGE EXTERNAL")
    op.create_table(
        "ledger_seal_salt",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.CheckConstraint("id = 1", name="single_row"),
    )
    for table in TABLES:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
