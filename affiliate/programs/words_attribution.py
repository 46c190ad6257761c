"""Whose order it is, in words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from affiliate.core.money import PPM
from affiliate.core.pages import percent
from affiliate.programs.language import _, ngettext
from affiliate.programs.terms import (
    AttributionTerms,
    CouponPolicy,
    CustomerPolicy,
    Evidence,
    Model,
    WindowFor,
)
from affiliate.programs.words_rule import Rule, who_in_words


def attribution_in_words(terms: AttributionTerms) -> Iterator[Rule]:
    """Every rule of whose order it is."""
    windows = tuple(_window_for(window) for window in terms.windows)
    yield Rule("window", "clock", _("How long does a click count?"), _window(terms), windows)
    yield Rule("model", "arrows-exchange", _("Two affiliates' clicks: whose order?"), _model(terms))
    steps = tuple(_step(step) for step in terms.evidence)
    yield Rule("evidence", "list-check", _("What shows that an order is mine?"), _evidence(), steps)
    yield Rule("coupon", "ticket", _("A coupon against a click?"), _coupon(terms))
    yield Rule("customer", "user", _("The buyer was a customer before?"), _customer(terms))
    yield Rule("self", "user-check", _("May I buy by my own link?"), _self(terms))
    yield Rule("binding", "link", _("The same buyer comes again without my link?"), _binding(terms))
    if terms.excluded.sites or terms.excluded.paid_search:
        sources = tuple(_excluded(terms))
        yield Rule("excluded", "ban", _("Which clicks do not count?"), _not_counted(), sources)
    if terms.seconds_min:
        yield Rule("sooner", "shield-check", _("Are orders looked at by a person?"), _sooner())


def _window(terms: AttributionTerms) -> str:
    return ngettext(
        "An order placed within %(num)s day after the click counts, to the second.",
        "An order placed within %(num)s days after the click counts, to the second.",
        terms.window.days,
    )


def _window_for(window: WindowFor) -> str:
    return ngettext(
        "%(num)s day %(who)s.",
        "%(num)s days %(who)s.",
        window.window.days,
        who=who_in_words(window.who),
    )


def _model(terms: AttributionTerms) -> str:
    if terms.model is Model.LAST_CLICK:
        return _("The last click before the order is credited, and it takes the whole commission.")
    if terms.model is Model.FIRST_CLICK:
        return _("The first click within that time is credited, and it takes the whole commission.")
    if terms.model is Model.LINEAR:
        return _("Every click within that time takes an equal share of the commission.")
    if terms.model is Model.POSITION_BASED:
        shares = terms.position
        return _(
            "The first click takes %(first)s of the commission and the last one %(last)s; those "
            "between share the other %(rest)s equally.",
            first=percent(shares.first_ppm),
            last=percent(shares.last_ppm),
            rest=percent(PPM - shares.first_ppm - shares.last_ppm),
        )
    return ngettext(
        "All clicks within that time share the commission, later ones more: a click that is "
        "%(num)s hour older weighs half as much.",
        "All clicks within that time share the commission, later ones more: a click that is "
        "%(num)s hours older weighs half as much.",
        terms.half_life // timedelta(hours=1),
    )


def _evidence() -> str:
    return _("These are looked at in turn; the first that names somebody decides:")


def _step(step: tuple[Evidence, ...]) -> str:
    words = {
        Evidence.CLICK_TOKEN: _("a click that the buyer's browser remembers"),
        Evidence.VISITOR_CLICK: _("another click of the same visitor"),
        Evidence.COUPON: _("a coupon that the buyer typed"),
        Evidence.BOUND_CUSTOMER: _("a buyer who is bound to an affiliate"),
        Evidence.CUSTOMER_EMAIL: _("the mail address of an earlier buyer"),
    }
    return _(" or ").join(words[kind] for kind in step)


def _coupon(terms: AttributionTerms) -> str:
    if terms.coupon is CouponPolicy.WINS:
        return _("A coupon that the buyer types wins against another affiliate's click.")
    if terms.coupon is CouponPolicy.LOSES:
        return _("A click wins. A coupon is credited where there is no click within its time.")
    if terms.coupon is CouponPolicy.SHARES:
        return _(
            "They share: the coupon's owner takes %(share)s of the commission, the clicks the "
            "rest.",
            share=percent(terms.coupon_share_ppm),
        )
    return _("A coupon counts in its turn, as the order of the proofs above says.")


def _customer(terms: AttributionTerms) -> str:
    if terms.existing_customer is CustomerPolicy.PAYS:
        return _(
            "They are credited to you like any other. Where another rate is paid for them, the "
            "exceptions above name it."
        )
    return _("Orders of people who bought before they clicked your link earn nothing.")


def _self(terms: AttributionTerms) -> str:
    if terms.self_purchase is CustomerPolicy.PAYS:
        return _("Yes, your own orders earn like any other.")
    return _("Your own orders through your own link earn nothing.")


def _binding(terms: AttributionTerms) -> str:
    if terms.binding is None:
        return _("Every order needs a click or a coupon of its own.")
    if terms.binding.months is None:
        return _("A buyer whose first order was credited to you stays yours for good.")
    return ngettext(
        "A buyer whose first order was credited to you stays yours for %(num)s month.",
        "A buyer whose first order was credited to you stays yours for %(num)s months.",
        terms.binding.months,
    )


def _not_counted() -> str:
    return _("They lead to the shop, but no order is credited to them:")


def _excluded(terms: AttributionTerms) -> Iterator[str]:
    if terms.excluded.paid_search:
        yield _("clicks on paid advertisements in search engines")
    for site in sorted(terms.excluded.sites):
        if site.startswith("."):
            yield _("clicks from any page below %(site)s", site=site.removeprefix("."))
        else:
            yield _("clicks from pages of %(site)s", site=site)


def _sooner() -> str:
    return _("Orders that come sooner after the click than people buy wait for a person.")
