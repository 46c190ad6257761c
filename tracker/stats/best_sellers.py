"""What sells: pieces of each product in the confirmed orders of late, told to the products.

Browsers' unconfirmed reports do not count: anybody can send some. Orders that name no items say
nothing here, and nothing is made up for them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.db import be_patient
from affiliate.products.models import ProductFeed
from affiliate.products.selling import note_sold

SOLD_DAYS: Final = 90
STATEMENT_S: Final = 120
PIECES_MAX: Final = 10**15
"""What a made-up quantity may bring it to."""

# Of orders that came in part back nothing is taken away: a refund need not name its items.
_PIECES: Final = sa.text("""
    SELECT line ->> 'sku' AS sku, sum((line ->> 'quantity')::bigint) AS pieces
      FROM orders o
     CROSS JOIN LATERAL jsonb_array_elements(o.items) AS line
      JOIN products p ON p.program_id = o.program_id AND p.sku = line ->> 'sku'
     WHERE o.program_id = :program_id AND o.status = 'confirmed'
       AND o.placed_at > :since AND o.placed_at <= :now
     GROUP BY 1
""")


def count_sold(session: Session, *, program_id: int, now: datetime) -> int:
    """Count a program's pieces anew; how many products have another number than before."""
    be_patient(session, statement_s=STATEMENT_S)
    given = {"program_id": program_id, "since": now - timedelta(days=SOLD_DAYS), "now": now}
    pieces = {row.sku: min(int(row.pieces), PIECES_MAX) for row in session.execute(_PIECES, given)}
    return note_sold(session, program_id=program_id, pieces=pieces)


def programs_with_products(session: Session) -> list[int]:
    """Programs that there is something to count for."""
    query = sa.select(ProductFeed.program_id).where(ProductFeed.products > 0)
    return list(session.scalars(query.order_by(ProductFeed.program_id)))
