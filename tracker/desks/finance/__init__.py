"""The finance desk: what waits, a batch on one page, its items, statements, search."""

from __future__ import annotations

from flask import Flask

from affiliate.core.config import Settings


def set_up(app: Flask, _settings: Settings) -> None:
    """Register the pages."""
    from tracker.desks.finance import actions, reconciliation, web
    from tracker.desks.finance.blueprint import finance

    assert actions and reconciliation and web, "all hang their views on the blueprint"
    app.register_blueprint(finance)
