"""The world of orders, for attribution too."""

from tests.orders.conftest import world

__all__ = ["world"]
