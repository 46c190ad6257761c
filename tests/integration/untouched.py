"""All rows of everything that the integration must leave alone."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.db import Model

OWN = ("test_orders", "integration_facts", "refused_calls", "alembic_version")


def everything(session: Session) -> dict[str, str]:
    """A hash of all rows of every table that test orders must not touch."""
    session.rollback()
    found = {}
    for table in Model.metadata.sorted_tables:
        if table.name in OWN:
            continue
        text = f'SELECT md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM "{table.name}" t'
        found[table.name] = session.scalar(sa.text(text)) or ""
    session.rollback()
    return found
