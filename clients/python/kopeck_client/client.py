"""The calls of API v1, each as one method; what they mean: docs/api.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from kopeck_client.transport import Transport

Json = dict[str, Any]
Money = Mapping[str, str]

TIMEOUT_S = 30.0
TRIES = 4
PAGE_ROWS = 200


class Kopeck:
    """An installation, reached with one API key."""

    def __init__(
        self, base_url: str, key: str, *, timeout_s: float = TIMEOUT_S, tries: int = TRIES
    ) -> None:
        self.transport = Transport(base_url, key, timeout_s, tries)

    def report_order(self, order: Mapping[str, Any], *, idempotency_key: str | None = None) -> Json:
        """Report an order; with its id and content again it changes nothing. Raises Conflict
        where the id is known with other content."""
        return self.transport.write("POST", "/orders", order, idempotency_key)

    def order(self, order_id: str) -> Json:
        """The order with its attribution, commissions and refunds."""
        return self.transport.get(f"/orders/{_quoted(order_id)}")

    def confirm(self, order_id: str, total: Money | None = None) -> Json:
        """Confirm what only a browser has reported; kept where the order is not known yet."""
        body = {} if total is None else {"total": total}
        return self.transport.write("POST", f"/orders/{_quoted(order_id)}/confirmation", body)

    def cancel(self, order_id: str, reason: str | None = None) -> Json:
        """Void all that the order earned."""
        body = {} if reason is None else {"reason": reason}
        return self.transport.write("POST", f"/orders/{_quoted(order_id)}/cancellation", body)

    def refund(
        self, order_id: str, refund_id: str, amount: Money | None = None, **more: Any
    ) -> Json:
        """Take back what the refunded part earned; without an amount all that is left. `more`:
        items, tax, shipping, reason."""
        body = {"refund_id": refund_id, **more}
        if amount is not None:
            body["amount"] = amount
        return self.transport.write("POST", f"/orders/{_quoted(order_id)}/refunds", body)

    def report_lead(self, lead: Mapping[str, Any]) -> Json:
        """Report what a visitor did besides ordering."""
        return self.transport.write("POST", "/leads", lead)

    def lead(self, lead_id: str) -> Json:
        return self.transport.get(f"/leads/{_quoted(lead_id)}")

    def cancel_lead(self, lead_id: str, reason: str | None = None) -> Json:
        body = {} if reason is None else {"reason": reason}
        return self.transport.write("POST", f"/leads/{_quoted(lead_id)}/cancellation", body)

    def affiliates(self, *, status: str | None = None) -> Iterator[Json]:
        """All affiliates of the key's program, page after page."""
        return self.listed("/affiliates", "affiliates", status=status)

    def affiliate(self, affiliate: str) -> Json:
        return self.transport.get(f"/affiliates/{_quoted(affiliate)}")

    def enroll(self, email: str, name: str, **more: Any) -> Json:
        """Propose somebody as an affiliate. `more`: website, how, recruiter, customer_id."""
        return self.transport.write("POST", "/affiliates", {"email": email, "name": name, **more})

    def set_customer(self, affiliate: str, customer_id: str | None) -> Json:
        """Say which customer of the shop the affiliate is."""
        path = f"/affiliates/{_quoted(affiliate)}/customer"
        return self.transport.write("PUT", path, {"customer_id": customer_id})

    def links(self, affiliate: str) -> Iterator[Json]:
        return self.listed(f"/affiliates/{_quoted(affiliate)}/links", "links")

    def create_link(self, affiliate: str, **values: Any) -> Json:
        """Make a link. `values`: destination, code, name, sub_ids."""
        return self.transport.write("POST", f"/affiliates/{_quoted(affiliate)}/links", values)

    def commissions(self, affiliate: str) -> Iterator[Json]:
        """What the affiliate earned, newest first."""
        return self.listed(f"/affiliates/{_quoted(affiliate)}/commissions", "commissions")

    def balance(self, affiliate: str) -> Json:
        return self.transport.get(f"/affiliates/{_quoted(affiliate)}/balance")

    def withdraw(
        self, affiliate: str, amount: Money | None = None, *, idempotency_key: str | None = None
    ) -> Json:
        """Ask for a payout; without an amount for all that is available. Give a key of your own
        where your program may die before it has the answer."""
        body = {} if amount is None else {"amount": amount}
        path = f"/affiliates/{_quoted(affiliate)}/withdrawals"
        return self.transport.write("POST", path, body, idempotency_key)

    def batches(self) -> Iterator[Json]:
        return self.listed("/batches", "batches")

    def batch(self, batch: str) -> Json:
        return self.transport.get(f"/batches/{_quoted(batch)}")

    def statistics(self, **question: Any) -> Json:
        """Figures. `question`: by, to, affiliate, link, …; `from_` stands for `from`."""
        named = {name.removesuffix("_"): value for name, value in question.items()}
        return self.transport.get("/statistics", named)

    def click(self, click_id: str) -> Json:
        """The receipt of a click."""
        return self.transport.get(f"/clicks/{_quoted(click_id)}")

    def listed(self, path: str, rows: str, **query: Any) -> Iterator[Json]:
        """The rows of any list, page after page; also of one that has no method here."""
        after: str | None = None
        while True:
            page = self.transport.get(path, {"limit": PAGE_ROWS, **query, "after": after})
            yield from page[rows]
            after = page["next"]
            if after is None:
                return


def _quoted(name: str) -> str:
    return quote(name, safe="")
