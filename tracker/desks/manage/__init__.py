"""The manager's desk: health, applications, affiliates, orders, rules, programs, audit."""

from __future__ import annotations

from flask import Flask

from affiliate.core.config import Settings


def set_up(app: Flask, _settings: Settings) -> None:
    """Register the pages."""
    from tracker.desks.manage import (
        affiliates,
        audit_log,
        banners,
        claims,
        confirmations,
        erasure,
        health,
        integration,
        leads,
        letters,
        moving_in,
        network,
        newsletters,
        orders,
        paid_clicks,
        paying,
        products,
        programs,
        promo,
        rates,
        replays,
        rule_drafts,
        rule_people,
        rules,
        source_deliveries,
        source_mapping,
        sources,
        statistics,
        webhooks,
    )
    from tracker.desks.manage.blueprint import manage

    views = (
        *(health, network, affiliates, erasure, orders, leads, paid_clicks, claims),
        *(rules, rule_drafts, rule_people, replays),
        *(programs, paying, promo, products, banners, rates, statistics, audit_log),
        *(integration, moving_in, letters, newsletters, confirmations),
        *(webhooks, sources, source_mapping, source_deliveries),
    )
    assert all(module.__name__.startswith(__name__) for module in views)
    app.register_blueprint(manage)
    claims.set_up(app)
    integration.set_up(app)
