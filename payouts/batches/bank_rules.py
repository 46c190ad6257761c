"""What a bank's word means for a payment, by how the payment stands. Pure.

Rule: docs/reliability.md, "Bank files".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from affiliate.core.money import Money
from payouts.rails.bank_news import News, Said


class Outcome(StrEnum):
    """What applying one line of a bank's file does."""

    PAYS = "pays"
    """The item is paid and settled."""
    FAILS = "fails"
    """The item failed; its reserve returns to the balance."""
    COMES_BACK = "comes_back"
    """It was paid, and the money is given back to the balance."""
    KNOWN = "known"
    """The books say so already."""
    NO_NEWS = "no_news"
    """Not booked yet, or accepted so far."""
    NOT_OURS = "not_ours"
    """No payment by a file of ours."""
    UNKNOWN = "unknown"
    """It looks like a reference of ours, and this program has none such."""
    OTHER_AMOUNT = "other_amount"
    """The amount is not that of the payment: a person looks."""
    REJECTED_AFTER_PAID = "rejected_after_paid"
    """Executed by an earlier word: only a booking that shows the money back changes that."""
    CONTRADICTION = "contradiction"
    """The money left although the books gave it back: payouts are locked, a person looks."""


CHANGING = (Outcome.PAYS, Outcome.FAILS, Outcome.COMES_BACK)
"""These write; CONTRADICTION locks; the others do nothing."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How the payment of a line stands in the books."""

    attempt: str
    """sent, succeeded or failed."""
    item: str
    amount: Money
    other_attempt: bool
    """The item has a later attempt that did not fail: it is being paid, or is paid, by that."""


def outcome_of(news: News, standing: Standing | None) -> Outcome:
    """What becomes of the payment. `standing` is None for a reference that is not in the books."""
    if not news.end_to_end_id:
        return Outcome.NOT_OURS
    if standing is None:
        return Outcome.UNKNOWN
    if news.said is Said.SILENT:
        return Outcome.NO_NEWS
    if news.amount is not None and news.amount != standing.amount:
        return Outcome.OTHER_AMOUNT
    return {
        Said.EXECUTED: _executed,
        Said.REJECTED: _rejected,
        Said.RETURNED: _returned,
    }[news.said](standing)


def after(standing: Standing, outcome: Outcome) -> Standing:
    """How it stands once that was applied: a file may speak of one payment several times."""
    if outcome is Outcome.PAYS:
        return replace(standing, attempt="succeeded", item="paid")
    if outcome is Outcome.FAILS:
        return replace(standing, attempt="failed", item="failed")
    if outcome is Outcome.COMES_BACK:
        return replace(standing, attempt="succeeded", item="reversed")
    return standing


def _executed(standing: Standing) -> Outcome:
    if standing.attempt == "succeeded":
        return Outcome.KNOWN
    waits_again = standing.item == "queued" and not standing.other_attempt
    if standing.attempt == "sent" or waits_again:
        # A file that was declared as never sent, and was: the item waits for nothing else yet.
        return Outcome.PAYS
    return Outcome.CONTRADICTION


def _rejected(standing: Standing) -> Outcome:
    if standing.attempt == "sent":
        return Outcome.FAILS
    return Outcome.KNOWN if standing.attempt == "failed" else Outcome.REJECTED_AFTER_PAID


def _returned(standing: Standing) -> Outcome:
    """Of a payment whose execution is in a statement that nobody brought, both are booked."""
    if standing.attempt == "failed" or standing.item == "reversed":
        return Outcome.KNOWN
    return Outcome.COMES_BACK
