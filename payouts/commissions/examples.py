"""The worked examples on pages, computed by the rules that decide orders."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction
from typing import Final

from flask import Flask

from affiliate.core.config import Settings
from affiliate.core.money import Money
from affiliate.programs.examples import EXTENSION, ExampleSale, Outcome
from affiliate.programs.terms import CommissionTerms
from payouts.commissions.rules import Credit, Earned, Sale, commissions_of, reversal
from payouts.commissions.sale import Item, Subscription

AFFILIATE: Final = -1
"""Of nobody: no row and no rule has a number below one."""
RECRUITER: Final = -2


def set_up(app: Flask, settings: Settings) -> None:  # noqa: ARG001 -- as every set_up
    """Let the pages of affiliate.programs ask the engine."""
    app.extensions[EXTENSION] = earned


def earned(terms: CommissionTerms, sale: ExampleSale) -> Outcome:
    """What one recruited affiliate's sale earns at both levels, and what a refund leaves."""
    zero = Money.zero(sale.net.currency)
    found = commissions_of(_sale(terms, sale))
    amounts = {each.level: each.amount for each in found if isinstance(each, Earned)}
    first, second = amounts.get(1, zero), amounts.get(2, zero)
    refunded = zero if sale.refunded is None else sale.refunded
    kept_1, kept_2 = (
        amount - reversal(frozen=amount, refunded_net=refunded, net=sale.net, already=zero)
        for amount in (first, second)
    )
    return Outcome(first, second, kept_1, kept_2, found[0].rule)


def _sale(terms: CommissionTerms, sale: ExampleSale) -> Sale:
    """As an order with one line; where no product is named, the order names none either."""
    itemised = sale.product or sale.category or sale.pieces > 1
    item = Item(sku=sale.product, net=sale.net, category=sale.category, quantity=sale.pieces)
    credit = Credit(
        enrollment_id=AFFILIATE if sale.enrollment_id is None else sale.enrollment_id,
        weight=Fraction(1),
        terms=terms,
        rule_version_id=0,
        recruiter_id=RECRUITER,
        group=sale.group,
        customer=sale.customer,
        first_order=sale.first_of_affiliate,
        volume=sale.volume,
    )
    return Sale(
        program_id=0,
        reference="example",
        decision=1,
        net=sale.net,
        credits=(credit,),
        placed_at=sale.placed_at,
        hold=timedelta(0),
        items=(item,) if itemised else (),
        subscription=Subscription(2, sale.placed_at) if sale.renewal else None,
        first_of_customer=sale.first_of_customer,
    )
