"""Net, tolerance, refunds and the canonical content, in tables with the sum beside them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affiliate.core.money import Money
from tracker.orders.rules import (
    CustomerIn,
    Item,
    OrderReportIn,
    Refundable,
    RefundIn,
    RefundItem,
    content_hash,
    net_of,
    placed_at_fits,
    refund_document,
    refund_from,
    refund_parts_match,
    refunded_net_of,
    report_document,
    total_matches,
)

NOW = datetime(2026, 11, 21, 7, 15, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def rub(text: str) -> Money:
    return Money.parse(text, "RUB")


REPORT = OrderReportIn(
    order_id="A-1",
    placed_at=NOW,
    total=rub("4490.00"),
    discount=rub("500.00"),
    tax=rub("700.00"),
    shipping=rub("290.00"),
    items=(Item(price=rub("4700.00"), sku="LAMP-1"),),
)
ORDER = Refundable(
    total=rub("4490.00"),
    net=rub("3500.00"),
    tax=rub("700.00"),
    tax_included=True,
    shipping=rub("290.00"),
    fees=rub("0"),
    refunded=rub("0"),
    refunded_net=rub("0"),
)


@pytest.mark.parametrize(
    ("changes", "net"),
    [
        ({}, "3500.00"),  # 4490 - 290 - 700
        ({"shipping": None}, "3790.00"),  # 4490 - 700
        ({"tax": None, "shipping": None}, "4490.00"),
        ({"fees": "100.00"}, "3400.00"),  # 4490 - 290 - 700 - 100
        ({"credits": "4490.00"}, "3500.00"),  # how it was paid changes nothing
        ({"tax_included": False}, "3500.00"),
        ({"total": "990.00"}, "0.00"),  # 990 - 290 - 700
        ({"total": "989.99"}, "0.00"),  # never below zero
        ({"total": "0", "tax": None, "shipping": None}, "0.00"),
    ],
)
def test_net_is_total_without_shipping_fees_and_tax(changes: dict[str, Any], net: str) -> None:
    amounts = {k: rub(v) if isinstance(v, str) else v for k, v in changes.items()}
    assert net_of(replace(REPORT, **amounts)) == rub(net)


@pytest.mark.parametrize(
    ("changes", "matches"),
    [
        ({}, True),  # 4700 - 500 + 290 = 4490
        ({"total": rub("4490.01")}, True),  # one line, one kopeck
        ({"total": rub("4489.99")}, True),
        ({"total": rub("4490.02")}, False),
        ({"total": rub("4489.98")}, False),
        ({"items": ()}, True),  # nothing to compare
        ({"tax_included": False}, False),  # expected 4700 - 500 + 290 + 700 = 5190
        ({"tax_included": False, "total": rub("5190.00")}, True),
        ({"fees": rub("10.00")}, False),
        ({"fees": rub("10.00"), "total": rub("4500.00")}, True),
        ({"items": (Item(price=rub("2350.00"), quantity=2),)}, True),
        ({"items": (Item(price=rub("2350.00")), Item(price=rub("2350.02")))}, True),
        ({"items": (Item(price=rub("2350.00")), Item(price=rub("2350.03")))}, False),
    ],
)
def test_a_total_is_its_parts_to_one_minor_unit_a_line(
    changes: dict[str, Any], matches: bool
) -> None:
    assert total_matches(replace(REPORT, **changes)) is matches


def test_the_tolerance_is_the_currencys_own_unit() -> None:
    yen = Money.parse("1000", "JPY")
    report = OrderReportIn("A", NOW, yen, items=(Item(price=Money.parse("999", "JPY")),))
    assert total_matches(report)
    assert not total_matches(replace(report, items=(Item(price=Money.parse("998", "JPY")),)))


@pytest.mark.abuse("A12")
@pytest.mark.parametrize(
    ("ahead", "may_import", "code"),
    [
        (timedelta(0), False, None),
        (timedelta(minutes=5), False, None),
        (timedelta(minutes=5) + SECOND, False, "in_the_future"),
        (timedelta(minutes=5) + SECOND, True, "in_the_future"),
        (-timedelta(days=30), False, None),
        (-timedelta(days=30) - SECOND, False, "too_old"),
        (-timedelta(days=30) - SECOND, True, None),
        (-timedelta(days=3650), True, None),
    ],
)
def test_placed_at_may_be_five_minutes_ahead_and_thirty_days_back(
    ahead: timedelta, may_import: bool, code: str | None
) -> None:
    assert placed_at_fits(NOW + ahead, NOW, may_import=may_import) == code


@pytest.mark.parametrize(
    ("refund", "before", "net"),
    [
        ({"amount": "4490.00"}, ("0", "0"), "3500.00"),
        ({}, ("0", "0"), "3500.00"),  # absent: all that is left
        ({"amount": "2245.00"}, ("0", "0"), "1750.00"),  # 3500 x 2245 / 4490
        ({"amount": "290.00", "shipping": "290.00"}, ("0", "0"), "0.00"),
        # goods 4200, of which the tax is in proportion: 3500 x 4200 / (4490 - 290)
        ({"amount": "4200.00", "shipping": "0"}, ("0", "0"), "3500.00"),
        ({"amount": "2390.00", "shipping": "290.00"}, ("0", "0"), "1750.00"),  # 3500 x 2100/4200
        ({"amount": "1200.00", "tax": "200.00"}, ("0", "0"), "1000.00"),  # 1200 - 200
        ({"amount": "1490.00", "tax": "200.00", "shipping": "290.00"}, ("0", "0"), "1000.00"),
        ({"amount": "1200.00", "tax": "200.00"}, ("3000.00", "2600.00"), "900.00"),  # 3500 - 2600
        ({}, ("4489.99", "1.00"), "3499.00"),  # the last of the total takes the last of the net
    ],
)
def test_refunded_net_follows_the_parts_or_the_proportion(
    refund: dict[str, str], before: tuple[str, str], net: str
) -> None:
    order = replace(ORDER, refunded=rub(before[0]), refunded_net=rub(before[1]))
    given_back = RefundIn("r", **{name: rub(text) for name, text in refund.items()})  # type: ignore[arg-type]
    assert refunded_net_of(order, given_back) == rub(net)


@pytest.mark.parametrize(
    ("refund", "fits"),
    [
        (RefundIn("r", shipping=rub("10.00")), True),
        (RefundIn("r", shipping=rub("10.01")), False),
        (RefundIn("r", shipping=rub("5.00"), tax=rub("5.01")), False),
        (RefundIn("r", items=(RefundItem(rub("10.00")),)), True),
        (RefundIn("r", items=(RefundItem(rub("10.01")),)), True),
        (RefundIn("r", items=(RefundItem(rub("10.02")),)), False),
        (RefundIn("r", items=(RefundItem(rub("7.00")),), shipping=rub("3.00")), True),
    ],
)
def test_parts_of_a_refund_fit_its_amount(refund: RefundIn, fits: bool) -> None:
    assert refund_parts_match(ORDER, refund, rub("10.00")) is fits


@given(st.lists(st.integers(1, 449_000), min_size=1, max_size=12), st.data())
def test_any_parts_of_a_full_refund_sum_to_exactly_the_net(parts: list[int], data: Any) -> None:
    order, total = ORDER, ORDER.total
    for part in [*parts, None]:
        left = total - order.refunded
        if not left:
            break
        amount = None if part is None else min(Money.of_minor_units(part, "RUB"), left)
        shipping = data.draw(st.sampled_from([None, rub("0"), rub("0.01")]))
        refund = RefundIn("r", amount=amount, shipping=shipping)
        net = refunded_net_of(order, refund)
        assert rub("0") <= net <= order.net - order.refunded_net
        order = replace(
            order, refunded=order.refunded + (amount or left), refunded_net=order.refunded_net + net
        )
    assert order.refunded == total
    assert order.refunded_net == order.net


amounts = st.integers(0, 10**12).map(lambda units: Money.of_minor_units(units, "RUB"))


@given(amounts, amounts, amounts, amounts)
def test_net_is_between_zero_and_the_total(
    total: Money, shipping: Money, fees: Money, tax: Money
) -> None:
    net = net_of(OrderReportIn("A", NOW, total, shipping=shipping, fees=fees, tax=tax))
    assert rub("0") <= net <= total


def test_the_same_content_is_what_was_parsed_not_how_it_was_spelt() -> None:
    spelt_out = replace(REPORT, fees=rub("0.00"), credits=rub("0"), metadata={})
    assert _hash(spelt_out) == _hash(REPORT)
    assert _hash(replace(REPORT, customer=CustomerIn())) == _hash(replace(REPORT, customer=None))


@pytest.mark.parametrize(
    "changes",
    [
        {"total": rub("4490.01")},
        {"placed_at": NOW + SECOND},
        {"tax_included": False},
        {"coupon": "ANNA10"},
        {"clicks": ("t",)},
        {"metadata": {"channel": "web"}},
        {"items": (Item(price=rub("4700.00"), sku="LAMP-2"),)},
    ],
)
def test_any_other_content_has_another_hash(changes: dict[str, Any]) -> None:
    assert _hash(replace(REPORT, **changes)) != _hash(REPORT)


def test_a_stored_refund_reads_back_as_it_was() -> None:
    refund = RefundIn("r", rub("5.00"), (RefundItem(rub("5.00"), 2, "LAMP"),), reason="broken")
    assert refund_from(refund_document(refund)) == refund


def _hash(report: OrderReportIn) -> bytes:
    return content_hash(report_document(report))
