"""What orders say of products: how many pieces were sold of late. The tracker counts and tells."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.products.importing import lock_feed
from affiliate.products.models import ShopProduct


def note_sold(session: Session, *, program_id: int, pieces: Mapping[str, int]) -> int:
    """Write what was sold of each product, by the shop's id; of all others nothing. How many rows
    have changed. Ids that no product has are passed over."""
    lock_feed(session, program_id)  # An import that comes between would lose what it says.
    query = sa.select(ShopProduct.id, ShopProduct.sku, ShopProduct.sold).where(
        ShopProduct.program_id == program_id
    )
    changed = [
        {"id": number, "sold": pieces.get(sku, 0)}
        for number, sku, sold in session.execute(query)
        if sold != pieces.get(sku, 0)
    ]
    if changed:
        session.execute(sa.update(ShopProduct), changed)
    return len(changed)
