"""clients/python against the real server: calls, pages, refusals, and what is sent again."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from affiliate.core import pace
from affiliate.links.models import Link
from tests.clients.conftest import Shop
from tracker.orders import order_tokens

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "clients/python"))

from kopeck_client import (
    Conflict,
    Invalid,
    Kopeck,
    NotAllowed,
    NotAnswered,
    NotFound,
    TooManyCalls,
    Unavailable,
    money,
    order_token,
)


@pytest.fixture
def kopeck(shop: Shop) -> Kopeck:
    made = Kopeck(shop.base_url, shop.key, timeout_s=10)
    made.transport.sleep = lambda _: None
    return made


def order(shop: Shop, order_id: str = "P-1", **more: Any) -> dict[str, Any]:
    total = money("900.00", "RUB")
    return {"order_id": order_id, "placed_at": shop.placed_at, "total": total, **more}


def test_an_order_from_its_report_to_its_refund(kopeck: Kopeck, shop: Shop) -> None:
    person = shop.world.people["Anna"]
    assert person.link is not None
    click = shop.world.click(person.link, at=datetime.fromisoformat(shop.placed_at))
    reported = kopeck.report_order(order(shop, clicks=[click]))
    assert [each["affiliate"] for each in reported["commissions"]] == [shop.affiliate]
    kopeck.refund("P-1", "R-1", money(Decimal("100.00"), "RUB"), reason="scratched")
    kopeck.refund("P-1", "R-2")
    assert [each["refund_id"] for each in kopeck.order("P-1")["refunds"]] == ["R-1", "R-2"]
    kopeck.report_order(order(shop, "P-2"))
    assert kopeck.cancel("P-2", "not paid")["status"] == "cancelled"
    assert kopeck.confirm("P-3")["status"] == "confirmation_parked"


def test_leads_affiliates_links_and_money(kopeck: Kopeck, shop: Shop) -> None:
    lead = {"lead_id": "L/1".replace("/", ":"), "placed_at": shop.placed_at}
    assert kopeck.report_lead(lead)["lead_id"] == "L:1"
    assert kopeck.cancel_lead("L:1")["status"] == "cancelled"
    assert kopeck.lead("L:1")["status"] == "cancelled"
    proposed = kopeck.enroll("new@blog.example", "New Blog", website="https://blog.example")
    assert proposed["status"] == "applied"
    assert kopeck.set_customer(shop.affiliate, "c-1")["customer_id"] == "c-1"
    assert kopeck.affiliate(shop.affiliate)["customer_id"] == "c-1"
    made = kopeck.create_link(shop.affiliate, name="Blog", sub_ids={"s1": "top"})
    assert made["id"] in [each["id"] for each in kopeck.links(shop.affiliate)]
    assert len(list(kopeck.commissions(shop.affiliate))) == 1
    assert kopeck.balance(shop.affiliate)["available"] == money("449.00", "RUB")
    taken = kopeck.withdraw(shop.affiliate, money("100.00", "RUB"))
    assert kopeck.batch(taken["batch"])["items"][0]["affiliate"] == shop.affiliate
    assert [each["id"] for each in kopeck.batches()] == [taken["batch"]]
    assert kopeck.statistics(by="affiliate", from_="2026-01-01")["by"] == "affiliate"


def test_lists_go_on_to_the_last_page(
    kopeck: Kopeck, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("Boris", "Carl", "Dora"):
        shop.world.affiliate(name)
    monkeypatch.setattr("kopeck_client.client.PAGE_ROWS", 2)
    names = [each["name"] for each in kopeck.affiliates(status="active")]
    assert names == ["Anna", "Boris", "Carl", "Dora"]


@pytest.mark.parametrize("lost", [1, 3])
def test_a_write_whose_answer_was_lost_is_done_once(kopeck: Kopeck, shop: Shop, lost: int) -> None:
    def links() -> int:
        shop.world.session.rollback()
        return shop.world.session.scalar(sa.select(sa.func.count()).select_from(Link)) or 0

    before = links()
    shop.front.lost = lost
    made = kopeck.create_link(shop.affiliate, name="Blog")
    assert links() == before + 1
    assert made["name"] == "Blog"


def test_after_the_last_try_it_says_so(kopeck: Kopeck, shop: Shop) -> None:
    shop.front.lost = 4
    with pytest.raises(Unavailable) as refused:
        kopeck.create_link(shop.affiliate)
    assert (refused.value.status, refused.value.code) == (502, "")
    nobody = Kopeck("http://127.0.0.1:1", shop.key, tries=2)
    nobody.transport.sleep = lambda _: None
    with pytest.raises(NotAnswered):
        nobody.balance(shop.affiliate)


def test_it_waits_as_long_as_it_is_told(kopeck: Kopeck, shop: Shop) -> None:
    waited: list[float] = []
    kopeck.transport.sleep = waited.append
    shop.world.app.extensions[pace.EXTENSION].most = 1
    kopeck.affiliate(shop.affiliate)
    with pytest.raises(TooManyCalls) as refused:
        [kopeck.affiliate(shop.affiliate) for _ in range(2)]
    assert refused.value.retry_after_s
    assert max(waited) >= 1


def test_refusals_are_classes_with_codes(kopeck: Kopeck, shop: Shop) -> None:
    with pytest.raises(NotFound) as missing:
        kopeck.order("nobody")
    assert (missing.value.code, bool(missing.value.request_id)) == ("not_found", True)
    with pytest.raises(Invalid) as wrong:
        kopeck.report_order(order(shop, total={"amount": 1, "currency": "RUB"}))
    assert wrong.value.errors[0]["field"] == "total.amount"
    kopeck.report_order(order(shop))
    with pytest.raises(Conflict) as other:
        kopeck.report_order(order(shop, coupon="OTHER"))
    assert other.value.code == "order_conflict"
    with pytest.raises(NotAllowed):
        Kopeck(shop.base_url, "kpk_aaaa_" + "x" * 30).order("P-1")
    with pytest.raises(TypeError):
        money(1.5, "RUB")  # type: ignore[arg-type]


def test_its_order_tokens_are_believed() -> None:
    now = datetime(2026, 11, 21, 10, tzinfo=UTC)
    from tests.orders.test_units_and_tokens import KEY, REPORT

    token = order_token(
        KEY, order_id="A-1", total="4490.00", net="3500.00", currency="RUB",
        at=int(now.timestamp()),
    )  # fmt: skip
    read = order_tokens.read(token, report=REPORT, keys=[KEY], now=now)
    assert isinstance(read, order_tokens.OrderToken)
