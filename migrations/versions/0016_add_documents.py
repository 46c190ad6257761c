"""Corrections of balances by two people, tax data, self-billing invoices.

Statements, accruals and the journal read the ledger as it is; what they lacked was a way to
find a period of a large book, which a BRIN index over the business time gives: some kilobytes,
and next to nothing for whoever writes. It is built without blocking the intake.

New tables and one index alone: the release before neither reads nor writes them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

INDEX = "ix_ledger_transactions_occurred_at"
MOMENT = sa.DateTime(timezone=True)
TABLES = ("invoices", "invoice_counters", "invoice_issuers", "tax_profiles", "ledger_adjustments")
REASONS = (
    "'missed_commission', 'wrong_commission', 'agreed_bonus', 'rules_broken', 'paid_elsewhere', "
    "'not_collectable', 'goodwill', 'account_closed', 'other'"
)
APPEND_ONLY = (
    """
    CREATE TRIGGER invoices_append_only BEFORE UPDATE OR DELETE ON invoices
    FOR EACH ROW EXECUTE FUNCTION refuse_change()
    """,
    """
    CREATE TRIGGER invoices_no_truncate BEFORE TRUNCATE ON invoices
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """,
)


def upgrade() -> None:
    index_the_books()
    op.execute("SET LOCAL lock_timeout = '5s'")
    add_adjustments()
    add_parties()
    add_invoices()


def index_the_books() -> None:
    """First and by itself, because it cannot be part of a transaction: whoever is stopped here
    begins again, and an index that was left half built is dropped before."""
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")  # It waits for old transactions, and stops nobody.
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")
        op.create_index(
            INDEX,
            "ledger_transactions",
            ["occurred_at"],
            postgresql_using="brin",
            postgresql_concurrently=True,
        )
        op.execute("SET lock_timeout = '5s'")


def add_adjustments() -> None:
    op.create_table(
        "ledger_adjustments",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("program_id", sa.BigInteger, sa.ForeignKey("programs.id"), nullable=False),
        sa.Column("enrollment_id", sa.BigInteger, sa.ForeignKey("enrollments.id"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("amount_micros", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("proposed_by", sa.BigInteger, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("proposed_at", MOMENT, nullable=False),
        sa.Column("decided_by", sa.BigInteger, sa.ForeignKey("users.id")),
        sa.Column("decided_at", MOMENT),
        sa.Column("decline_note", sa.Text),
        sa.Column(
            "transaction_id", sa.BigInteger, sa.ForeignKey("ledger_transactions.id"), unique=True
        ),
        sa.CheckConstraint("kind IN ('adjust', 'write_off')", name="kind_known"),
        sa.CheckConstraint(
            "status IN ('proposed', 'confirmed', 'declined')", name="status_known"
        ),
        sa.CheckConstraint(f"reason IN ({REASONS})", name="reason_known"),
        sa.CheckConstraint(
            "amount_micros <> 0 AND (kind = 'adjust' OR amount_micros > 0)",
            name="amount_by_kind",
        ),
        sa.CheckConstraint(
            "(status = 'proposed') = (decided_at IS NULL) "
            "AND (decided_at IS NULL) = (decided_by IS NULL)",
            name="decided_by_somebody",
        ),
        sa.CheckConstraint("status <> 'confirmed' OR decided_by <> proposed_by", name="four_eyes"),
        sa.CheckConstraint(
            "(status = 'confirmed') = (transaction_id IS NOT NULL)", name="confirmed_is_booked"
        ),
    )
    op.create_index(
        "uq_ledger_adjustments_open",
        "ledger_adjustments",
        ["enrollment_id", "currency"],
        unique=True,
        postgresql_where=sa.text("status = 'proposed'"),
    )
    for column in ("program_id", "enrollment_id"):
        op.create_index(
            f"ix_ledger_adjustments_{column}", "ledger_adjustments", [column, "id"]
        )


def add_parties() -> None:
    op.create_table(
        "tax_profiles",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("affiliate_id", sa.BigInteger, sa.ForeignKey("affiliates.id"), nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("legal_form", "name", "address", "country", "tax_number", "vat_status",
                         "vat_number")
        ),
        sa.Column("vat_rate_ppm", sa.Integer, nullable=False),
        sa.Column("agreed_at", MOMENT, nullable=False),
        sa.Column("agreed_by", sa.BigInteger, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("replaced_at", MOMENT),
        sa.CheckConstraint(
            "legal_form IN ('company', 'self_employed', 'individual')", name="legal_form_known"
        ),
        sa.CheckConstraint(
            "vat_status IN ('not_registered', 'registered', 'reverse_charge')",
            name="vat_status_known",
        ),
        sa.CheckConstraint("country ~ '^[A-Z]{2}$'", name="country_shape"),
        sa.CheckConstraint(
            "(vat_status = 'registered') = (vat_rate_ppm > 0) "
            "AND vat_rate_ppm BETWEEN 0 AND 400000",
            name="vat_rate_by_status",
        ),
    )
    op.create_index(
        "uq_tax_profiles_live",
        "tax_profiles",
        ["affiliate_id"],
        unique=True,
        postgresql_where=sa.text("replaced_at IS NULL"),
    )
    op.create_table(
        "invoice_issuers",
        sa.Column(
            "program_id", sa.BigInteger, sa.ForeignKey("programs.id"), primary_key=True,
            autoincrement=False,
        ),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("name", "address", "country", "tax_number", "vat_number")
        ),
        sa.Column("includes_vat", sa.Boolean, nullable=False),
        sa.Column("number_prefix", sa.Text, nullable=False),
        sa.Column("automatic", sa.Boolean, nullable=False),
        sa.Column("saved_by", sa.BigInteger, sa.ForeignKey("users.id")),
        sa.Column("saved_at", MOMENT, nullable=False),
        sa.CheckConstraint("country ~ '^[A-Z]{2}$'", name="country_shape"),
        sa.CheckConstraint("number_prefix ~ '^[A-Z0-9-]{1,12}$'", name="prefix_shape"),
    )


def add_invoices() -> None:
    op.create_table(
        "invoice_counters",
        sa.Column(
            "program_id", sa.BigInteger, sa.ForeignKey("programs.id"), primary_key=True,
            autoincrement=False,
        ),
        sa.Column("year", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("last", sa.Integer, nullable=False),
    )
    op.create_table(
        "invoices",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("program_id", sa.BigInteger, sa.ForeignKey("programs.id"), nullable=False),
        sa.Column("enrollment_id", sa.BigInteger, sa.ForeignKey("enrollments.id"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("year", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("period", sa.Date, nullable=False),
        sa.Column("edition", sa.Integer, nullable=False),
        sa.Column("corrects_id", sa.BigInteger, sa.ForeignKey("invoices.id"), unique=True),
        sa.Column("currency", sa.Text, nullable=False),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("net_micros", "vat_micros", "gross_micros")
        ),
        sa.Column("document", sa.dialects.postgresql.JSONB, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("issued_by", sa.BigInteger, sa.ForeignKey("users.id")),
        sa.Column("issued_at", MOMENT, nullable=False),
        sa.CheckConstraint("kind IN ('invoice', 'credit')", name="kind_known"),
        sa.CheckConstraint("number >= 1 AND edition >= 1", name="counted_from_one"),
        sa.CheckConstraint("net_micros + vat_micros = gross_micros", name="adds_up"),
        sa.CheckConstraint(
            "(kind = 'credit') = (corrects_id IS NOT NULL) "
            "AND (kind = 'invoice') = (gross_micros > 0)",
            name="sign_by_kind",
        ),
        sa.UniqueConstraint("program_id", "year", "number"),
    )
    op.create_index(
        "uq_invoices_once",
        "invoices",
        ["enrollment_id", "period", "edition"],
        unique=True,
        postgresql_where=sa.text("kind = 'invoice'"),
    )
    op.create_index("ix_invoices_period", "invoices", ["program_id", "period"])
    for statement in APPEND_ONLY:
        op.execute(statement)


def downgrade() -> None:
    op.drop_index(INDEX, "ledger_transactions")
    for table in TABLES:
        op.drop_table(table)
