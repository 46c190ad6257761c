"""What a product earns its reader, where their terms say it in one rate."""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction

from sqlalchemy.orm import Session

from affiliate.core.money import MICROS, Money
from affiliate.people.models import AffiliateGroup
from affiliate.products.models import ShopProduct
from affiliate.programs import commission_versions
from affiliate.programs.terms import CommissionTerms, Customer, Rate
from payouts.commissions.matching import matches
from payouts.commissions.sale import Credit, Item, Sale
from tracker.desks.account.place import Place


class ProductRates:
    """The reader's terms, asked about one product after another."""

    def __init__(self, session: Session, place: Place) -> None:
        facts = commission_versions.facts_of(session, enrollment_ids=[place.enrollment.id])
        standing = facts.standing_of(place.enrollment.id, place.now)
        self.terms = facts.version(standing.version_id).terms.commission
        self.enrollment_id, self.now = place.enrollment.id, place.now
        group = place.enrollment.group_id
        self.group = None if group is None else session.get_one(AffiliateGroup, group).name
        self.currency = place.currency

    def of(self, product: ShopProduct) -> Rate | None:
        """The rate, or None where it takes more than one to say: bands, boosts that hold now,
        another one for buyers who have bought before. The rules decide, here as for orders."""
        return simple_rate(
            self.terms, sku=product.sku, category=product.category, currency=self.currency,
            enrollment_id=self.enrollment_id, group=self.group, at=self.now,
        )  # fmt: skip


def simple_rate(
    terms: CommissionTerms,
    *,
    sku: str,
    category: str,
    currency: str,
    enrollment_id: int,
    group: str | None,
    at: datetime,
) -> Rate | None:
    """The one rate by which an order of this product alone earns, if there is one."""
    boosted = any(
        boost.who.fits(enrollment_id, group) and boost.begins <= at < boost.ends
        for boost in terms.boosts
    )
    if boosted:
        return None
    found = []
    for customer in Customer:
        net = Money(MICROS, currency)
        credit = Credit(
            enrollment_id=enrollment_id, weight=Fraction(1), terms=terms, rule_version_id=0,
            recruiter_id=None, group=group, customer=customer,
        )  # fmt: skip
        sale = Sale(
            program_id=0, reference="shown", decision=1, net=net, credits=(credit,), placed_at=at,
            hold=timedelta(0), items=(Item(sku, net, category),),
        )  # fmt: skip
        found.append(matches(sale, credit)[0].rule)
    rule, other = found
    if rule != other or (rule is None and terms.tiers is not None):
        return None
    return terms.level_1 if rule is None else rule.earns
