"""Report an order, refund a part of it, list affiliates. Usage: order.py ORDER_ID"""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "clients/python"))

from kopeck_client import Kopeck, money

kopeck = Kopeck(os.environ["KOPECK_URL"], os.environ["KOPECK_KEY"])
order_id = sys.argv[1]
currency = os.environ.get("KOPECK_CURRENCY", "RUB")
# In a shop: what the buyer's cookie kopeck_clicks holds. Without it nobody is credited.
clicks = list(filter(None, os.environ.get("KOPECK_CLICKS", "").split("|")))
kopeck.report_order(
    {
        "order_id": order_id,
        "placed_at": datetime.now(UTC).isoformat(),
        "total": money("4490.00", currency),
        "clicks": clicks,
    }
)
kopeck.refund(order_id, "R-1", money("490.00", currency))
order = kopeck.order(order_id)
count = sum(1 for _ in kopeck.affiliates())
sys.stdout.write(f"{order['status']}, {order['refunded']['amount']} refunded\n{count} affiliates\n")
