"""The world of orders, for files of them."""

from __future__ import annotations

from tests.orders.conftest import world

__all__ = ["world"]
