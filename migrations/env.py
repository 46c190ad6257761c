"""Alembic's environment: one connection, a lock time-out, the metadata of every table."""

from __future__ import annotations

import importlib

import sqlalchemy as sa
from alembic import context

from affiliate.core.db import Model

MODELS = (
    "affiliate.core.audit",
    "affiliate.core.clock",
    "affiliate.core.outbox",
    "affiliate.imports.models",
    "affiliate.letters.models",
    "affiliate.links.models",
    "affiliate.people.models",
    "affiliate.products.models",
    "affiliate.programs.models",
    "affiliate.promo.models",
    "affiliate.rates.models",
    "payouts.adjustments.models",
    "payouts.batches.bank_models",
    "payouts.batches.models",
    "payouts.batches.payee_models",
    "payouts.commissions.models",
    "payouts.invoices.models",
    "payouts.ledger.models",
    "payouts.ledger.seals.models",
    "payouts.policies.models",
    "payouts.provider.models",
    "payouts.reports.models",
    "tracker.attribution.models",
    "tracker.claims.models",
    "tracker.clicks.models",
    "tracker.leads.models",
    "tracker.letters.models",
    "tracker.orders.models",
    "tracker.order_imports.models",
    "tracker.paid_clicks.models",
    "tracker.replay.models",
    "tracker.stats.models",
)
LOCK_TIMEOUT = "5s"
ADVISORY_LOCK = 0x6B6F7065636B
"""`kopeck` in ASCII: two nodes that migrate at once take turns."""

for name in MODELS:
    importlib.import_module(name)


def _ours(_obj: sa.schema.SchemaItem, name: str | None, kind: str, *_: object) -> bool:
    """Partitions are made by a verb, not by a migration."""
    return not (kind == "table" and name and name.startswith("clicks_"))


connectable: sa.Engine = context.config.attributes["engine"]
with connectable.connect() as connection:
    connection.execute(sa.text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=Model.metadata,
        include_object=_ours,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
