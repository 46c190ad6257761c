"""What pages call letters, and when each is sent."""

from __future__ import annotations

from typing import Final

from flask_babel import lazy_gettext as _l

from affiliate.letters.rules import Choice

CHOICES: Final = {
    Choice.FIRST_CLICK: (
        _l("First click"),
        _l("Once, when somebody has followed a link of yours for the first time."),
    ),
    Choice.FIRST_SALE: (
        _l("First sale"),
        _l("Once, when the first order was credited to you: what it brings and when."),
    ),
    Choice.DIGEST: (
        _l("Weekly digest"),
        _l("On Monday: clicks, orders and earnings of the week, against the week before. Only "
           "when there was something."),
    ),
    Choice.NEWSLETTER: (
        _l("Newsletter"),
        _l("At most once a month: news of the program, new promo materials, best results."),
    ),
    Choice.NAMED: (
        _l("My name among the best results"),
        _l("If you are among the best of a month, the newsletter names you. Otherwise it says "
           "“an affiliate”."),
    ),
    Choice.BATCHES: (
        _l("Batches that wait for approval"),
        _l("When a weekly batch is drafted, and once more if it still waits the next day."),
    ),
    Choice.WITHDRAWALS: (
        _l("Withdrawals with their deadlines"),
        _l("When somebody asks to be paid, and once more four hours before the deadline."),
    ),
}  # fmt: skip
"""Each choice's name and what it is about."""
ALWAYS: Final = (
    (
        _l("Security"),
        _l("Sign-in links, a new password or address, the second factor, another payout account."),
    ),
    (
        _l("Money"),
        _l("A payout is sent, fails or comes back, an account is needed, a correction, the "
           "monthly statement."),
    ),
    (
        _l("Rules and membership"),
        _l("Your application, new rules before they take effect, suspension, answers to your "
           "claims."),
    ),
)  # fmt: skip
"""What nobody can turn off, and of what it consists."""
