"""The affiliate's account: home, links, promo, clicks, orders, money, team, rules.

One sign-in may have several programs; each page shows one of them (`place`). Nothing here
decides about money: pages ask questions and call the verbs of the packages below.
"""

from __future__ import annotations

from flask import Flask

from affiliate.core.config import Settings


def set_up(app: Flask, settings: Settings) -> None:
    """Register the pages."""
    from affiliate.core import api
    from tracker.desks.account import api as commissions_api
    from tracker.desks.account import (
        banners,
        choice,
        claims,
        clicks,
        disowned,
        filters,
        home,
        invoices,
        leads,
        letters,
        links,
        lists_api,
        money,
        orders,
        own_browser,
        own_keys,
        payee,
        payee_stripe,
        postbacks,
        products,
        promo,
        proofs,
        statements,
        statistics,
        team,
        terms,
    )
    from tracker.desks.account.blueprint import account

    views = (
        home, links, promo, products, banners, clicks, orders, leads, claims, money, choice, payee,
        payee_stripe, disowned, invoices, statements, proofs, statistics, team, terms, own_keys,
        letters, postbacks,
    )  # fmt: skip
    assert all(module.__name__.startswith(__name__) for module in views)
    filters.set_up(app)
    own_browser.set_up(app, settings)
    app.register_blueprint(account)
    for blueprint in (
        commissions_api.blueprint, lists_api.all_commissions, lists_api.affiliates,
    ):  # fmt: skip
        api.register(app, blueprint)
