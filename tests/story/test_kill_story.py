"""The same story while every process is killed with -9, one after another, where it hurts.

It ends as it always does: one order, both levels, one transfer, books that agree.
The amounts are those of test_story.py.
"""

from __future__ import annotations

import re
import secrets
import time
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from affiliate.core.embedded.launch import Running
from tests.browser.people import sign_in_of
from tests.story.outside import TIMEOUT_S, audit, transfers, until
from tests.story.visitor import Visitor, code_of, text_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(290)]

LEASE_S = 61
"""A worker that died while paying holds the item for a minute (payouts.batches.claims)."""


class Reaper:
    """Kills by name, remembers whom, and waits until they are back."""

    def __init__(self, stack: Running) -> None:
        self.stack = stack
        self.killed: set[str] = set()

    def kill(self, *names: str) -> None:
        """All of them at once, then wait for each."""
        old = {name: self.stack.kill(name) for name in names}
        self.killed |= set(names)
        for name, pid in old.items():
            self.stack.wait_until_back(name, pid)


class Shop:
    """A buyer at the demo shop, and what its server hears from Kopeck."""

    def __init__(self, stack: Running) -> None:
        self.stack, self.url = stack, stack.urls["shop"]
        self.buyer = Visitor()
        key = (stack.data_dir / "shop-api-key").read_text().strip()
        self.api = Visitor()
        self.api.http.headers["Authorization"] = f"Bearer {key}"

    def buy(self, tokens: list[str]) -> str:
        """As the buyer of test_story.py, with the tokens that the pixel would have kept."""
        http = self.buyer.http
        http.cookies.set("kopeck_clicks", "|".join(tokens))
        http.post(f"{self.url}/cart", data={"sku": "LAMP-3", "add": "1"}, timeout=TIMEOUT_S)
        email = f"vera-{secrets.token_hex(4)}@buyers.example"
        answer = http.post(
            f"{self.url}/orders",
            data={"name": "Vera", "email": email, "coupon": ""},
            allow_redirects=False,
            timeout=TIMEOUT_S,
        )
        assert answer.status_code == 303, answer.text[:2000]
        return answer.headers["Location"].rpartition("/")[2]

    def order(self, order_id: str) -> dict[str, Any] | None:
        """What Kopeck says of the order, or None as long as it does not."""
        url = f"{self.stack.urls['kopeck']}/api/v1/orders/{order_id}"
        try:
            answer = self.api.http.get(url, timeout=TIMEOUT_S)
        except requests.RequestException:
            return None
        return answer.json() if answer.status_code == 200 else None

    def commissions(self, order_id: str, status: str, **also: object) -> list[dict[str, Any]]:
        """Both, once both have the status; nothing before."""
        found = (self.order(order_id) or {}).get("commissions", [])
        fits = [
            each
            for each in found
            if each["status"] == status and all(each.get(k) == v for k, v in also.items())
        ]
        return fits if len(fits) == 2 else []


def test_kill_9_of_every_process_in_turn_changes_nothing_in_the_end(stack: Running) -> None:
    reaper, shop, base = Reaper(stack), Shop(stack), stack.urls["kopeck"]
    sign_ins = stack.sign_ins()
    boris, finance = Visitor(), Visitor()
    boris.sign_in(base, sign_in_of("Boris", sign_ins))
    finance.sign_in(base, sign_in_of("finance", sign_ins))

    # The redirect has left: the click is in the journal of a process that is gone.
    link = link_of(boris, base)
    tokens = [click(link)]
    reaper.kill("web", "loader")
    boris.get(f"{base}/healthz")
    # Both servers down: a link still redirects, by what the web process has in memory.
    for name in ("postgres", "valkey"):
        reaper.killed.add(name)
    old = {name: stack.kill(name) for name in ("postgres", "valkey")}
    tokens.append(click(link))
    for name, pid in old.items():
        stack.wait_until_back(name, pid)

    # The shop asks for the demo's moved time as the order is placed; it must be there by now.
    boris.get(f"{base}/demo/clock")
    # The buyer has their thank-you page; Kopeck may have heard of it, or not yet.
    order_id = shop.buy(tokens)
    reaper.kill("shop", "web")
    # Between the order and what its click turns out to be.
    until(lambda: shop.order(order_id), f"the shop's {order_id} arrives")
    reaper.kill("general", "history", "loader", "scheduler", "webhooks")
    pending = until(
        lambda: shop.commissions(order_id, "pending", waits_for="hold_period"),
        f"{order_id} waits for nothing but the hold period",
    )
    assert amounts(pending) == {1: Decimal(800), 2: Decimal(160)}
    assert order_id in text_of(boris.get(f"{base}/account/orders"))

    # The time passes, and everybody who should notice dies.
    finance.send(f"{base}/demo/", f"{base}/demo/clock", days="15")
    reaper.kill("general", "valkey")
    reaper.kill("supervisor")
    until(lambda: shop.commissions(order_id, "available"), f"{order_id} is available")

    before = transfers(stack)["transfers"]
    boris.send(f"{base}/account/money", f"{base}/account/money/withdrawals", amount="0.01")
    reaper.kill("mail", "web", "postgres")
    approve_while_the_wire_dies(stack, reaper, finance, base)
    until(lambda: "Paid on" in newest_withdrawal(boris, base), "Boris is paid")

    # The refund's call waits in the shop until Kopeck answers again.
    stack_web = stack.kill("web")
    requests.post(
        f"{shop.url}/admin/orders/{order_id}/refunds", data={"amount": "2400.00"}, timeout=60
    )
    stack.wait_until_back("web", stack_web)
    reaper.kill("shop")
    refunded = until(
        lambda: [c for c in shop.commissions(order_id, "available") if "reversed" in c],
        f"{order_id} is refunded in part",
    )
    assert amounts(refunded, "reversed") == {1: Decimal(200), 2: Decimal(40)}

    sent = [t for t in transfers(stack)["transfers"] if t not in before]
    assert [(t["amount"], t["currency"]) for t in sent] == [(1, "rub")]
    assert reaper.killed == {*stack.processes, "supervisor"}
    audit(stack)


def link_of(affiliate: Visitor, base: str) -> str:
    page = affiliate.get(f"{base}/account/links")
    found = re.search(rf'data-copy="({re.escape(base)}/r/[A-Za-z0-9_-]+)"', page)
    assert found, text_of(page)
    return found[1]


def click(link: str) -> str:
    """Follow the link as a stranger; the token that comes with the redirect."""
    answer = Visitor().answer(link, follow=False)
    assert answer.status_code == 302, answer.text[:500]
    return parse_qs(urlsplit(answer.headers["Location"]).query)["kpk"][0]


def newest_withdrawal(affiliate: Visitor, base: str) -> str:
    table = affiliate.get(f"{base}/account/money").partition('id="withdrawal-list"')[2]
    return text_of(table.partition("<tbody>")[2].partition("</tr>")[0])


def amounts(commissions: list[dict[str, Any]], name: str = "amount") -> dict[int, Decimal]:
    return {each["level"]: Decimal(each[name]["amount"]) for each in commissions}


def approve_while_the_wire_dies(
    stack: Running, reaper: Reaper, finance: Visitor, base: str
) -> None:
    """The provider accepts and stays silent; the worker and then the provider are killed."""
    fault = {"kind": "accept-then-hang", "method": "POST", "path": "/v1/transfers", "times": 1}
    requests.post(f"{stack.urls['stripe']}/_double/faults", json=fault, timeout=TIMEOUT_S)
    count = transfers(stack)["count"]
    page = finance.get(f"{base}/finance/withdrawals")
    running = page.partition('id="running"')[2].partition("</table>")[0]
    row = next(r for r in running.split("<tr>") if "Boris" in r)
    path = re.search(r"/finance/batches/[A-Za-z0-9_]+", row)
    assert path, row
    # Restarts take their time: the code of the sign-in may be older than five minutes by now.
    code = code_of(finance, base, "finance")
    finance.send(f"{base}{path[0]}", f"{base}{path[0]}/approval", code=code)
    until(lambda: transfers(stack)["count"] > count, "the transfer is at the double")
    killed_at = time.monotonic()
    reaper.kill("payouts", "stripe", "postgres")
    # Rings the sweep at once, which would otherwise come within another minute.
    until(lambda: time.monotonic() > killed_at + LEASE_S, "the dead worker's lease ends")
    reaper.kill("scheduler")
