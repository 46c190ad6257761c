"""The composition root: puts the packages together; nothing imports it.

`create_app()` makes the Flask application, `make_application()` puts the click front before
it, `main()` is the command line `kopeck`. Importing this module opens nothing.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import click
import sqlalchemy as sa
from flask import Flask
from flask.cli import FlaskGroup

from affiliate.core import http, languages, log, metrics, pages, queue, transfer
from affiliate.core.config import ROOT, Settings, SettingsError
from affiliate.core.db import db, engine_options
from affiliate.core.periodic import Periodic

SET_UPS = (
    "affiliate.people.gate",
    "affiliate.people.sign_in",
    "affiliate.core.api",
    "affiliate.core.health",
    "affiliate.programs.web",
    "affiliate.programs.api",
    "affiliate.people.web",
    "affiliate.people.api",
    "affiliate.people.applications_api",
    "affiliate.people.standing_api",
    "affiliate.links.api",
    "affiliate.links.links_api",
    "affiliate.links.coupons_api",
    "affiliate.promo.api",
    "affiliate.promo.web",
    "affiliate.letters.web",
    "affiliate.promo.hosted",
    "affiliate.products.web",
    "affiliate.webhooks.api",
    "affiliate.webhooks.deliveries_api",
    "affiliate.webhooks.metrics",
    "payouts.commissions.examples",
    "payouts.batches.api",
    "payouts.batches.withdrawals_api",
    "payouts.batches.watch",
    "payouts.audit.checks",
    "payouts.provider.checks",
    "payouts.provider.jobs",
    "payouts.provider.metrics",
    "payouts.provider.web",
    "tracker.attribution.checks",
    "tracker.attribution.postbacks",
    "tracker.replay.checks",
    "tracker.clicks.checks",
    "tracker.claims.checks",
    "tracker.integration.metrics",
    "tracker.pixel.web",
    "tracker.orders.api",
    "tracker.orders.lists_api",
    "tracker.order_imports.api",
    "tracker.orders.web",
    "tracker.sources.web",
    "tracker.sources.checks",
    "tracker.leads.api",
    "tracker.leads.lists_api",
    "tracker.personal.api",
    "tracker.desks.papers.api",
    "tracker.leads.checks",
    "tracker.paid_clicks.checks",
    "tracker.stats.api",
    "tracker.clicks.api",
    "tracker.clicks.metrics",
    "tracker.desks.home",
    "tracker.desks.seals",
    "tracker.desks.own_data",
    "tracker.desks.product_feeds",
    "tracker.desks.account",
    "tracker.desks.finance",
    "tracker.desks.manage",
)
"""Modules with `set_up(app, settings)`: they register blueprints and hooks."""

YOUNG_MAX = 20_000
"""Objects that are made before the collector looks for cycles among the latest."""

COMMANDS = (
    "affiliate.core.embedded.cli",
    "affiliate.core.cli",
    "affiliate.programs.cli",
    "affiliate.rates.cli",
    "affiliate.people.cli",
    "affiliate.imports.cli",
    "affiliate.webhooks.cli",
    "tracker.clicks.cli",
    "tracker.pixel.cli",
    "payouts.batches.cli",
    "payouts.cli",
    "payouts.ledger.seals.cli",
    "tracker.stats.cli",
    "tracker.replay.cli",
    "tracker.order_imports.cli",
    "tracker.personal.cli",
    "tracker.cli",
)
"""Modules with `commands`, a list of click commands."""

PERIODIC = (
    ("affiliate.core.outbox", "deliver_due", 30),
    ("affiliate.programs.jobs", "close_programs", 300),
    ("affiliate.programs.jobs", "close_enrollments", 60),
    ("affiliate.programs.jobs", "tell_affiliates", 60),
    ("affiliate.products.jobs", "fetch_feeds", 60),
    ("affiliate.products.jobs", "fetch_pictures", 600),
    ("payouts.commissions.jobs", "release_due", 60),
    ("payouts.commissions.jobs", "release_budgeted", 600),
    ("payouts.commissions.jobs", "make_up_tiers", 3_600),
    ("payouts.batches.jobs", "draft_weekly_batches", 60),
    ("payouts.batches.jobs", "approve_small_withdrawals", 60),
    ("payouts.batches.jobs", "sweep", 60),
    ("payouts.batches.jobs", "measure_punctuality", 3_600),
    ("payouts.batches.jobs", "ask_about_payees", 300),
    ("payouts.batches.jobs", "forget_addresses", 3_600),
    ("payouts.batches.jobs", "tell_payees", 60),
    ("payouts.batches.jobs", "tell_finance", 60),
    ("payouts.batches.jobs", "tell_of_missing_accounts", 3_600),
    ("payouts.invoices.jobs", "issue_invoices", 3_600),
    ("payouts.reports.jobs", "mail_statements", 3_600),
    ("payouts.provider.jobs", "digest", 30),
    ("payouts.provider.jobs", "catch_up", 300),
    ("payouts.provider.jobs", "reconcile_daily", 900),
    ("tracker.attribution.jobs", "check_clicks", 15),
    ("tracker.replay.jobs", "run_replays", 60),
    ("tracker.replay.jobs", "ask_for_shadows", 600),
    ("tracker.leads.jobs", "check_lead_clicks", 15),
    ("tracker.paid_clicks.jobs", "book_clicks", 900),
    ("tracker.attribution.jobs", "forget_sightings", 3_600),
    ("tracker.stats.jobs", "add_up_orders", 10),
    ("tracker.stats.jobs", "count_best_sellers", 3_600),
    ("tracker.orders.jobs", "expire_parked_calls", 3_600),
    ("tracker.orders.jobs", "convert_waiting_orders", 60),
    ("tracker.order_imports.jobs", "forget_order_imports", 3_600),
    ("tracker.sources.jobs", "follow", 30),
    ("tracker.sources.jobs", "forget", 3_600),
    ("tracker.claims.jobs", "answer_claims", 60),
    ("tracker.claims.jobs", "remind_of_claims", 900),
    ("tracker.integration.jobs", "walk_canaries", 60),
    ("tracker.integration.jobs", "tidy_integration", 3_600),
    ("tracker.personal.jobs", "forget", 3_600),
    ("tracker.letters.jobs", "tell_firsts", 60),
    ("tracker.letters.jobs", "tell_weeks", 600),
    ("tracker.letters.jobs", "send_newsletters", 300),
    ("payouts.ledger.seals.jobs", "seal", 600),
    ("payouts.audit.jobs", "audit", 3_600),
    ("payouts.audit.jobs", "compare_books", 86_400),
)
"""Every periodic job: module, name, seconds of real time between two bells."""


def create_app(settings: Settings | None = None) -> Flask:
    """The Flask application; connects to nothing until the first request."""
    settings = settings or Settings.from_environ(os.environ)
    app = Flask(
        "kopeck",
        root_path=str(ROOT),
        template_folder=str(ROOT / "templates"),
        static_folder=str(ROOT / "static"),
    )
    app.config.update(
        SECRET_KEY=settings.key("flask").hex(),
        SECRET_KEY_FALLBACKS=[key.hex() for key in settings.keys("flask")[1:]],
        SQLALCHEMY_DATABASE_URI=settings.database_url,
        SQLALCHEMY_ENGINE_OPTIONS=engine_options(settings),
        SESSION_COOKIE_NAME="__Host-kopeck" if settings.https else "kopeck",
        SESSION_COOKIE_SECURE=settings.https,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        PREFERRED_URL_SCHEME="https" if settings.https else "http",
        SEND_FILE_MAX_AGE_DEFAULT=3600,
        WTF_CSRF_TIME_LIMIT=None,
    )
    app.extensions["kopeck.settings"] = settings
    log.set_up(settings.log_level)
    db.init_app(app)
    languages.set_up(app)
    queue.use(queue.connect(settings.redis_url))
    http.set_up(app, settings)
    transfer.set_up(app)
    pages.set_up(app)
    for set_up in _each(SET_UPS, "set_up"):
        set_up(app, settings)
    app.extensions["kopeck.periodic"] = [
        Periodic(getattr(importlib.import_module(module), name), every_s)
        for module, name, every_s in PERIODIC
    ]
    sa.orm.configure_mappers()
    return app


def make_application() -> Callable[..., Any]:
    """What the WSGI server serves: the click front, then Flask (granian --factory)."""
    from affiliate.core import deferred
    from tracker.clicks.front import ClickFront
    from tracker.orders import plain

    settings = Settings.from_environ(os.environ)
    metrics.begin(settings.data_dir)
    front: Callable[..., Any] = ClickFront(create_app(settings), settings)
    deferred.offer(frozenset({plain.PATH}))
    # What is made by now stays for as long as the process: the collector need not look
    # through all of it again whenever requests have left something behind.
    gc.collect()
    gc.freeze()
    # And what a request makes is mostly gone with it: a set of orders alone makes more objects
    # than the default after which the collector would look for cycles among them.
    gc.set_threshold(YOUNG_MAX, *gc.get_threshold()[1:])
    return front


def _each(modules: tuple[str, ...], name: str) -> list[Any]:
    return [getattr(importlib.import_module(module), name) for module in modules]


class _Commands(FlaskGroup):
    """Our commands alone, listed without an application: help needs no settings."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.commands)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return self.commands.get(name)


cli = _Commands(
    name="kopeck",
    create_app=create_app,
    add_default_commands=False,
    add_version_option=False,
    help="Kopeck: affiliate tracking and payouts. Each command has --help.",
)
cli.params.clear()


def main() -> None:
    """The console script `kopeck`."""
    for commands in _each(COMMANDS, "commands"):
        for command in commands:
            cli.add_command(command)
    try:
        cli(prog_name="kopeck")
    except SettingsError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
