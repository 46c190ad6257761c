"""The world of orders, under any terms too, for replays."""

from tests.orders.conftest import world
from tests.orders.test_what_came_before import make

__all__ = ["make", "world"]
