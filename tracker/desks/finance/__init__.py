"""The finance desk: what waits, a batch on one page, its items, the books, search."""

from __future__ import annotations

from flask import Flask

from affiliate.core.config import Settings


def set_up(app: Flask, _settings: Settings) -> None:
    """Register the pages."""
    from tracker.desks.finance import (
        actions,
        adjustments,
        bank_actions,
        batch_files,
        books,
        invoices,
        payees,
        policy,
        proofs,
        reconciliation,
        rehearsal_actions,
        review_actions,
        statements,
        web,
    )
    from tracker.desks.finance.blueprint import finance

    views = (
        actions, adjustments, bank_actions, batch_files, books, invoices, payees, policy, proofs,
        reconciliation, rehearsal_actions, review_actions, statements, web,
    )  # fmt: skip
    assert all(views), "each hangs its views on the blueprint"
    app.register_blueprint(finance)
