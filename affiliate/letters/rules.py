"""Which letters are written once, and which of them a person may end (pure).

Rule: docs/mails.md.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """A letter that is written once about one thing; closed. The template has the same name."""

    FIRST_CLICK = "first_click"
    FIRST_SALE = "first_sale"
    MONEY_SENT = "money_sent"
    PAYOUT_FAILED = "payout_failed"
    """The rail said a definite no."""
    MONEY_BACK = "money_back"
    """It was paid, and came back."""
    ACCOUNT_NEEDED = "account_needed"
    """Money is due, and there is no account that it can be paid to."""
    DIGEST = "digest"
    NEWSLETTER = "newsletter"
    BATCH_WAITING = "batch_waiting"
    BATCH_STILL_WAITING = "batch_still_waiting"
    WITHDRAWALS_WAITING = "withdrawals_waiting"
    WITHDRAWALS_DUE = "withdrawals_due"

    @property
    def template(self) -> str:
        return f"letters/{self.value}"


class Choice(StrEnum):
    """What a person can turn on and off, program by program; closed."""

    FIRST_CLICK = "first_click"
    FIRST_SALE = "first_sale"
    DIGEST = "digest"
    NEWSLETTER = "newsletter"
    NAMED = "named"
    """Their name may stand among the best results of the newsletter."""
    BATCHES = "batches"
    WITHDRAWALS = "withdrawals"

    @property
    def default(self) -> bool:
        """What counts as long as nothing was chosen: a name is shown only where that was said."""
        return self is not Choice.NAMED


OF_AFFILIATES: Final = (
    Choice.FIRST_CLICK, Choice.FIRST_SALE, Choice.DIGEST, Choice.NEWSLETTER, Choice.NAMED,
)  # fmt: skip
OF_FINANCE: Final = (Choice.BATCHES, Choice.WITHDRAWALS)
CHOSEN_BY: Final = {
    Kind.FIRST_CLICK: Choice.FIRST_CLICK,
    Kind.FIRST_SALE: Choice.FIRST_SALE,
    Kind.DIGEST: Choice.DIGEST,
    Kind.NEWSLETTER: Choice.NEWSLETTER,
    Kind.BATCH_WAITING: Choice.BATCHES,
    Kind.BATCH_STILL_WAITING: Choice.BATCHES,
    Kind.WITHDRAWALS_WAITING: Choice.WITHDRAWALS,
    Kind.WITHDRAWALS_DUE: Choice.WITHDRAWALS,
}
"""Which choice ends a letter; one without any is about money, rules or safety and always sent."""
ONE_CLICK: Final = frozenset({Choice.DIGEST, Choice.NEWSLETTER})
"""Letters that come again and again: their mail programs offer to end them (RFC 8058)."""
