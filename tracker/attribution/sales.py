"""An attributed order as the commission rules see it (pure).

What they read besides the order itself is kept with the decision, so that a replay reads the
same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from affiliate.core.exchange import Conversion, ExchangeRate, conversion
from affiliate.core.money import Money
from affiliate.programs.terms import CommissionTerms, Customer, PerItem, Rate
from payouts.commissions.sale import Item, Subscription
from payouts.commissions.standing import Standing
from tracker.attribution.facts import OrderFacts, Share


@dataclass(frozen=True, slots=True)
class Read:
    """What was read for the commissions of an order, of those whose terms ask for it."""

    standings: Mapping[int, Standing] = field(default_factory=dict)
    """By enrollment."""
    first_of_customer: bool | None = None
    """What an earlier decision of the order said: by now its own row is on the buyer's record.
    None: it is to be seen from the facts."""
    first_paid_at: datetime | None = None
    """placed_at of the first payment of the order's subscription; None: not asked or not known."""
    converted: Conversion | None = None
    """How the net came out of another currency, by the rate that the order keeps."""
    unconverted: Money | None = None
    """The net in its own currency, where no rate for it was known."""


NOTHING_READ: Final = Read()


def standing_values(standing: Standing | None) -> dict[str, Any]:
    """Where an affiliate stood, as a credit takes it; nothing where it was not read."""
    if standing is None:
        return {}
    return {
        "first_order": standing.first_order,
        "volume": standing.volume,
        "earned_in_period": standing.earned_in_period,
    }


def read_document(read: Read) -> dict[str, Any]:
    """As a decision's snapshot keeps it; empty when nothing was read."""
    document: dict[str, Any] = {}
    if read.standings:
        document["standings"] = {
            str(who): {
                "volume": each.volume,
                "earned": None if each.earned_in_period is None else each.earned_in_period.micros,
                "first_order": each.first_order,
            }
            for who, each in read.standings.items()
        }
    if read.first_paid_at is not None:
        document["first_paid_at"] = read.first_paid_at.isoformat()
    if read.converted is not None:
        document["converted"] = {
            **_original(read.converted.original),
            "rate_scaled": read.converted.rate.scaled,
        }
    if read.unconverted is not None:
        document["unconverted"] = _original(read.unconverted)
    return document


def read_from(document: Mapping[str, Any], currency: str) -> Read:
    """What `read_document` kept; `currency` is the program's."""
    first = document.get("first_paid_at")
    converted, unconverted = document.get("converted"), document.get("unconverted")
    return Read(
        standings={
            int(who): Standing(
                volume=each["volume"],
                earned_in_period=(
                    None if each["earned"] is None else Money(each["earned"], currency)
                ),
                first_order=each["first_order"],
            )
            for who, each in document.get("standings", {}).items()
        },
        first_paid_at=None if first is None else datetime.fromisoformat(first),
        converted=converted and _conversion(converted, currency),
        unconverted=unconverted and Money(unconverted["net"], unconverted["currency"]),
    )


def _original(net: Money) -> dict[str, Any]:
    return {"net": net.micros, "currency": net.currency}


def _conversion(document: Mapping[str, Any], currency: str) -> Conversion:
    source = document["currency"]
    rate = ExchangeRate(source, currency, document["rate_scaled"])
    return conversion(Money(document["net"], source), rate)


def reads_items(terms: CommissionTerms) -> bool:
    """Whether these terms look at single lines of an order."""
    rates: list[Rate] = [terms.level_1, *(rule.earns for rule in terms.rules)]
    if terms.recurring is not None and terms.recurring.earns is not None:
        rates.append(terms.recurring.earns)
    named = any(rule.when.products or rule.when.categories for rule in terms.rules)
    return named or any(isinstance(rate, PerItem) for rate in rates)


def items_of(lines: Sequence[Mapping[str, Any]], net: Money) -> tuple[Item, ...]:
    """The lines of an order with their shares of its net, by what they cost.

    `lines` are `sku`, `category`, `quantity` and `price_micros` of a piece. An order whose lines
    cost nothing has none that could share.
    """
    costs = [line["price_micros"] * line["quantity"] for line in lines]
    if not any(costs):
        return ()
    whole = max(net, Money.zero(net.currency))
    return tuple(
        Item(
            sku=line["sku"],
            net=part,
            category=line["category"] or None,
            quantity=line["quantity"],
        )
        for line, part in zip(lines, whole.allocate(costs), strict=True)
    )


def subscription_of(
    said: Mapping[str, Any] | None, placed_at: datetime, first_paid_at: datetime | None
) -> Subscription | None:
    """Which payment it is; one whose first is not known counts from itself."""
    if said is None:
        return None
    first = placed_at if first_paid_at is None else min(first_paid_at, placed_at)
    return Subscription(sequence=said["sequence"], first_placed_at=first)


def customer_of(share: Share, facts: OrderFacts, *, named: bool) -> Customer | None:
    """Whether the buyer had bought before the credited click; None where nobody can know.

    `named` says that the order names its buyer, so that our record would have them.
    """
    if share.existing_customer:
        return Customer.EXISTING
    return Customer.NEW if named or facts.says_new is not None else None


def is_first_of_customer(facts: OrderFacts, *, named: bool) -> bool:
    """Whether it is the buyer's first order; an unknown buyer's is not.

    Our own record goes before the shop's word. Of two orders of one instant the one that came
    in first is the first.
    """
    if facts.customer_since is not None:
        return facts.customer_since > facts.placed_at
    return facts.says_new is True or (named and facts.says_new is None)
