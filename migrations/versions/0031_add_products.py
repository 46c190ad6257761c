"""Products of a program's shop, their feeds, made banners, and pages that we host.

Pictures of products are rows as those of banners are: small ones, some ten kilobytes each, made
anew here. What stands in a feed keeps its row from import to import, known again by the shop's id.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

AT = sa.DateTime(timezone=True)
KINDS_BEFORE = (
    "kind IN ('banner', 'logo', 'text', 'email', 'landing', 'video', 'keywords', 'article', "
    "'news', 'notes')"
)
KINDS = KINDS_BEFORE.replace("'landing', ", "'landing', 'page', ")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _products()
    _feeds()
    op.create_table(
        "product_pictures",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("program_id", sa.BigInteger, sa.ForeignKey("programs.id"), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("content", sa.LargeBinary),
        sa.Column("width", sa.Integer, server_default="0", nullable=False),
        sa.Column("height", sa.Integer, server_default="0", nullable=False),
        sa.Column("trouble", sa.Text),
        sa.Column("fetched_at", AT, nullable=False),
        sa.UniqueConstraint("program_id", "source"),
        sa.CheckConstraint("(content IS NULL) = (trouble IS NOT NULL)", name="picture_or_trouble"),
    )
    op.create_table(
        "product_feed_keys",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("enrollment_id", sa.BigInteger, sa.ForeignKey("enrollments.id"), nullable=False),
        sa.Column("link_id", sa.BigInteger, sa.ForeignKey("links.id"), nullable=False),
        sa.Column("created_at", AT, nullable=False),
        sa.Column("used_at", AT),
        sa.Column("revoked_at", AT),
    )
    op.create_index(
        "uq_product_feed_keys_live", "product_feed_keys", ["enrollment_id"], unique=True,
        postgresql_where=sa.text("revoked_at IS NULL"),
    )  # fmt: skip
    _banners()


def _products() -> None:
    op.create_table(
        "products",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("program_id", sa.BigInteger, sa.ForeignKey("programs.id"), nullable=False),
        sa.Column("sku", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("description", sa.Text, server_default="", nullable=False),
        sa.Column("link", sa.Text, nullable=False),
        sa.Column("image_link", sa.Text, server_default="", nullable=False),
        sa.Column("price_micros", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("sale_price_micros", sa.BigInteger),
        sa.Column("sale_from", AT),
        sa.Column("sale_until", AT),
        sa.Column("discount_ppm", sa.Integer, server_default="0", nullable=False),
        sa.Column("availability", sa.Text, nullable=False),
        *(
            sa.Column(name, sa.Text, server_default="", nullable=False)
            for name in ("brand", "category", "gtin")
        ),
        sa.Column("rank", sa.Integer, server_default="1000000", nullable=False),
        sa.Column("sold", sa.BigInteger, server_default="0", nullable=False),
        sa.Column("content_hash", sa.LargeBinary, nullable=False),
        sa.Column("added_at", AT, nullable=False),
        sa.Column("changed_at", AT, nullable=False),
        sa.UniqueConstraint("program_id", "sku"),
        sa.CheckConstraint("price_micros BETWEEN 0 AND 1000000000000000000", name="price_in_range"),
        sa.CheckConstraint("sale_price_micros BETWEEN 0 AND price_micros", name="sale_below_price"),
        sa.CheckConstraint("sale_until > sale_from", name="sale_lasts"),
        sa.CheckConstraint(
            "availability IN ('in_stock', 'out_of_stock', 'preorder', 'backorder')",
            name="availability_known",
        ),
        sa.CheckConstraint("rank BETWEEN 1 AND 1000000", name="rank_in_range"),
        sa.CheckConstraint("sold >= 0", name="sold_not_negative"),
        sa.CheckConstraint("discount_ppm BETWEEN 0 AND 1000000", name="discount_in_range"),
    )


def _feeds() -> None:
    op.create_table(
        "product_feeds",
        sa.Column(
            "program_id", sa.BigInteger, sa.ForeignKey("programs.id"), autoincrement=False,
            primary_key=True,
        ),
        sa.Column("address", sa.Text, server_default="", nullable=False),
        sa.Column("next_fetch_at", AT),
        sa.Column("fetched_at", AT),
        sa.Column("failures", sa.Integer, server_default="0", nullable=False),
        sa.Column("trouble", sa.Text),
        sa.Column("products", sa.Integer, server_default="0", nullable=False),
        sa.Column("revision", sa.Integer, server_default="0", nullable=False),
        sa.Column("imported_at", AT),
        sa.CheckConstraint("products >= 0 AND revision >= 0", name="counts"),
    )  # fmt: skip
    op.create_index(
        "ix_product_feeds_next_fetch_at", "product_feeds", ["next_fetch_at"],
        postgresql_where=sa.text("next_fetch_at IS NOT NULL"),
    )  # fmt: skip
    op.create_table(
        "product_imports",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("program_id", sa.BigInteger, sa.ForeignKey("programs.id"), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("shrinks", sa.Boolean, server_default=sa.false(), nullable=False),
        sa.Column("file_kind", sa.Text, nullable=False),
        sa.Column("content", sa.LargeBinary),
        *(
            sa.Column(name, sa.Integer, server_default="0", nullable=False)
            for name in ("total", "new", "changed", "gone")
        ),
        sa.Column("examples", JSONB, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("errors", JSONB, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("created_at", AT, nullable=False),
        sa.Column("created_by", sa.BigInteger, sa.ForeignKey("users.id")),
        sa.Column("decided_at", AT),
        sa.Column("decided_by", sa.BigInteger, sa.ForeignKey("users.id")),
        sa.CheckConstraint("source IN ('upload', 'address')", name="source_known"),
        sa.CheckConstraint(
            "status IN ('waiting', 'done', 'refused', 'discarded')", name="status_known"
        ),
        sa.CheckConstraint("(status = 'waiting') = (content IS NOT NULL)", name="content_waits"),
    )
    op.create_index(
        "uq_product_imports_waiting", "product_imports", ["program_id", "source"], unique=True,
        postgresql_where=sa.text("status = 'waiting'"),
    )  # fmt: skip
    op.create_index("ix_product_imports_program_id", "product_imports", ["program_id", "id"])


def _banners() -> None:
    op.add_column("creatives", sa.Column("button", sa.Text, server_default="", nullable=False))
    op.drop_constraint(op.f("ck_creatives_kind_known"), "creatives", type_="check")
    op.create_check_constraint(op.f("ck_creatives_kind_known"), "creatives", KINDS)
    op.add_column(
        "creatives",
        sa.Column("enrollment_id", sa.BigInteger, sa.ForeignKey("enrollments.id")),
    )
    op.create_index(
        "ix_creatives_enrollment_id", "creatives", ["enrollment_id"],
        postgresql_where=sa.text("enrollment_id IS NOT NULL"),
    )  # fmt: skip
    op.create_table(
        "banner_brands",
        sa.Column(
            "program_id", sa.BigInteger, sa.ForeignKey("programs.id"), autoincrement=False,
            primary_key=True,
        ),
        sa.Column("name", sa.Text, server_default="", nullable=False),
        sa.Column("colour", sa.Text, nullable=False),
        sa.Column("accent", sa.Text, nullable=False),
        sa.CheckConstraint("colour ~ '^#[0-9a-f]{6}$'", name="colour_shape"),
        sa.CheckConstraint("accent ~ '^#[0-9a-f]{6}$'", name="accent_shape"),
    )  # fmt: skip


def downgrade() -> None:
    op.drop_table("banner_brands")
    op.execute("DELETE FROM creative_pictures WHERE creative_id IN "
               "(SELECT id FROM creatives WHERE kind = 'page' OR enrollment_id IS NOT NULL)")
    op.execute("DELETE FROM creatives WHERE kind = 'page' OR enrollment_id IS NOT NULL")
    op.drop_constraint(op.f("ck_creatives_kind_known"), "creatives", type_="check")
    op.create_check_constraint(op.f("ck_creatives_kind_known"), "creatives", KINDS_BEFORE)
    op.drop_column("creatives", "button")
    op.drop_column("creatives", "enrollment_id")
    for table in (
        "product_feed_keys", "product_pictures", "product_imports", "product_feeds", "products",
    ):  # fmt: skip
        op.drop_table(table)
