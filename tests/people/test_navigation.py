"""What of the bar is marked as the place where the reader is."""

from __future__ import annotations

import pytest

from affiliate.people.access import Role
from affiliate.people.navigation import DESKS, desk_of


@pytest.mark.parametrize(
    ("path", "role", "entry"),
    [
        ("/account/money/choice", Role.AFFILIATE, "/account/money"),
        ("/account/invoices", Role.AFFILIATE, "/account/money"),
        ("/account/orders", Role.AFFILIATE, "/account/orders"),
        ("/finance", Role.FINANCE, "/finance"),
        ("/finance/holds", Role.FINANCE, "/finance"),
        ("/finance/batches/bat_1", Role.FINANCE, "/finance/batches"),
        ("/finance/items/pay_1", Role.FINANCE, "/finance/batches"),
        ("/finance/bank-statements/bst_1", Role.FINANCE, "/finance/batches"),
        ("/financeers", Role.FINANCE, None),
    ],
)
def test_the_nearest_entry_is_marked(path: str, role: Role, entry: str | None) -> None:
    desk = desk_of(path, frozenset({role}))
    assert desk is not None
    nearest = max(desk.entries, key=lambda each: each.reach(path))
    assert (nearest.path if nearest.reach(path) else None) == entry


def test_no_address_belongs_to_two_entries() -> None:
    for desk in DESKS:
        addresses = [path for each in desk.entries for path in (each.path, *each.also)]
        assert len(addresses) == len(set(addresses))
