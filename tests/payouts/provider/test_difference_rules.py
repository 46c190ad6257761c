"""What a transfer means for an item, in a table; which object an event is about."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from affiliate.core.money import Money
from payouts.provider.rules import (
    Adopted,
    DifferenceKind,
    Known,
    KnownAttempt,
    Matched,
    Settles,
    Subject,
    Verdict,
    bank_rank,
    judge,
    subject_of,
)
from payouts.rails.protocol import Transfer

FIVE = Money(5_000_000, "EUR")
SEEN = Transfer(
    id="tr_1", amount=FIVE, reversed=Money.zero("EUR"), destination="acct_1", group="g",
    installation="i", item_id=7, attempt=1, created_at=datetime(2026, 11, 21, tzinfo=UTC),
)  # fmt: skip
ITEM = Known(
    status="queued", batch_status="paying", rail="stripe", amount=FIVE, destination="acct_1",
    attempts=(),
)  # fmt: skip


def attempt(status: str, number: int = 1, transfer: str | None = None) -> KnownAttempt:
    return KnownAttempt(number, status, transfer)


D = DifferenceKind
TABLE: list[tuple[str, dict[str, Any], dict[str, Any], Verdict]] = [
    ("its answer came before", {"status": "paid", "attempts": (attempt("succeeded", 1, "tr_1"),)},
     {}, Matched()),
    ("it came back", {"status": "reversed", "attempts": (attempt("succeeded", 1, "tr_1"),)},
     {}, Matched()),
    ("paid by another", {"status": "paid", "attempts": (attempt("succeeded", 1, "tr_0"),)},
     {}, D.SECOND_TRANSFER),
    ("no answer yet", {"status": "sending", "attempts": (attempt("sent"),)}, {}, Settles(1)),
    ("no answer", {"status": "unknown", "attempts": (attempt("unknown"),)}, {}, Settles(1)),
    ("on the desk", {"status": "needs_review", "attempts": (attempt("unknown"),)}, {}, Settles(1)),
    ("of an attempt given up, the next under way",
     {"status": "unknown", "attempts": (attempt("failed"), attempt("unknown", 2))}, {}, Settles(2)),
    ("of an attempt given up, nothing under way", {"attempts": (attempt("failed"),)}, {},
     Adopted(1)),
    ("of an attempt that this database lost", {}, {"attempt": 3}, Adopted(3)),
    ("of an attempt without a number", {"attempts": (attempt("failed"),)}, {"attempt": None},
     Adopted(2)),
    ("the batch is done", {"status": "paid", "batch_status": "done",
     "attempts": (attempt("succeeded", 1, "tr_1"),)}, {}, Matched()),
    ("frozen", {"batch_status": "frozen"}, {}, D.NOT_APPROVED),
    ("draft", {"batch_status": "draft"}, {}, D.NOT_APPROVED),
    ("cancelled batch", {"status": "cancelled", "batch_status": "cancelled"}, {}, D.NOT_APPROVED),
    ("held item", {"status": "cancelled"}, {}, D.RETURNED),
    ("refused item", {"status": "failed", "attempts": (attempt("failed"),)}, {}, D.RETURNED),
    ("a kopeck more", {}, {"amount": Money(5_010_000, "EUR")}, D.OTHER_CONTENT),
    ("another currency", {}, {"amount": Money(5_000_000, "USD")}, D.OTHER_CONTENT),
    ("another account", {}, {"destination": "acct_2"}, D.OTHER_CONTENT),
    ("more, and its answer came before",
     {"status": "paid", "attempts": (attempt("succeeded", 1, "tr_1"),)},
     {"amount": Money(5_010_000, "EUR")}, D.OTHER_CONTENT),
    ("stands beside another item", {"transfer_of_other": True}, {}, D.OTHER_ITEM),
    ("an item of another rail", {"rail": "manual"}, {}, D.UNKNOWN_ITEM),
    ("paid by nothing", {"status": "paid"}, {}, D.CONTRADICTION),
]  # fmt: skip


@pytest.mark.parametrize(("why", "known", "seen", "verdict"), TABLE, ids=[row[0] for row in TABLE])
def test_a_transfer_means_this(
    why: str, known: dict[str, Any], seen: dict[str, Any], verdict: Verdict
) -> None:
    found = judge(replace(SEEN, **seen), replace(ITEM, **known), rail="stripe")
    assert found == verdict, why


def test_an_item_that_is_not_there_is_a_difference() -> None:
    assert judge(SEEN, None, rail="stripe") is DifferenceKind.UNKNOWN_ITEM


@pytest.mark.parametrize(
    ("event_type", "account", "subject"),
    [
        ("transfer.created", "", Subject.TRANSFER),
        ("transfer.reversed", "", Subject.TRANSFER),
        ("account.updated", "acct_1", Subject.ACCOUNT),
        ("account.application.deauthorized", "acct_1", Subject.ACCOUNT),
        ("capability.updated", "acct_1", Subject.ACCOUNT),
        ("payout.failed", "acct_1", Subject.BANK_PAYOUT),
        ("balance.available", "", Subject.FUNDS),
        # The merchant's own account and bank are not Kopeck's affair, nor a payee's transfers.
        ("account.updated", "", Subject.NOTHING),
        ("payout.paid", "", Subject.NOTHING),
        ("transfer.created", "acct_1", Subject.NOTHING),
        ("balance.available", "acct_1", Subject.NOTHING),
        ("charge.succeeded", "", Subject.NOTHING),
        ("of.the.future", "acct_1", Subject.NOTHING),
    ],
)
def test_an_event_is_about_this(event_type: str, account: str, subject: Subject) -> None:
    assert subject_of(event_type, account=account) is subject


def test_a_bank_payout_only_moves_up() -> None:
    ranks = [bank_rank(s) for s in ("pending", "in_transit", "new to us", "paid", "failed")]
    assert ranks == [0, 1, 1, 2, 3]
    assert bank_rank("canceled") == bank_rank("failed")
