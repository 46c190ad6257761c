"""Every word of a bank against every standing of a payment."""

from __future__ import annotations

import itertools

import pytest

from affiliate.core.errors import Phrase
from affiliate.core.money import Money
from payouts.batches.bank_rules import CHANGING, Outcome, Standing, after, outcome_of
from payouts.rails.bank_news import News, Said

AMOUNT = Money(4_000_000, "EUR")
KNOWN = "0123456789abcdef01-17-1"

# attempt, item, another live attempt → executed, rejected, returned
TABLE = {
    ("sent", "sending", False): ("pays", "fails", "comes_back"),
    ("succeeded", "paid", False): ("known", "rejected_after_paid", "comes_back"),
    ("succeeded", "reversed", False): ("known", "rejected_after_paid", "known"),
    # Declared as never sent: waiting, in another file, paid by another, held.
    ("failed", "queued", False): ("pays", "known", "known"),
    ("failed", "sending", True): ("contradiction", "known", "known"),
    ("failed", "paid", True): ("contradiction", "known", "known"),
    ("failed", "cancelled", False): ("contradiction", "known", "known"),
    # Rejected.
    ("failed", "failed", False): ("contradiction", "known", "known"),
}


def news(said: Said, *, amount: Money | None = AMOUNT, known_as: str = KNOWN) -> News:
    return News(Phrase("line 1"), said, known_as, "REF", amount)


@pytest.mark.parametrize(
    ("standing", "said", "outcome"),
    [
        (standing, said, outcome)
        for standing, outcomes in TABLE.items()
        for said, outcome in zip((Said.EXECUTED, Said.REJECTED, Said.RETURNED), outcomes,
                                 strict=True)
    ],
    ids=lambda each: "-".join(map(str, each)) if isinstance(each, tuple) else str(each),
)  # fmt: skip
def test_what_a_word_means(standing: tuple[str, str, bool], said: Said, outcome: str) -> None:
    attempt, item, other = standing
    assert outcome_of(news(said), Standing(attempt, item, AMOUNT, other)) == outcome


@pytest.mark.parametrize("standing", TABLE, ids=lambda each: "-".join(map(str, each)))
def test_what_is_no_word_changes_nothing(standing: tuple[str, str, bool]) -> None:
    attempt, item, other = standing
    how = Standing(attempt, item, AMOUNT, other)
    assert outcome_of(news(Said.SILENT), how) is Outcome.NO_NEWS
    for said in (Said.EXECUTED, Said.REJECTED, Said.RETURNED):
        assert outcome_of(news(said, known_as=""), how) is Outcome.NOT_OURS
        assert outcome_of(news(said), None) is Outcome.UNKNOWN
        for wrong in (Money(3_999_999, "EUR"), Money(4_000_000, "USD")):
            assert outcome_of(news(said, amount=wrong), how) is Outcome.OTHER_AMOUNT
        assert outcome_of(news(said, amount=None), how) is outcome_of(news(said), how)


def test_whatever_is_said_twice_is_known_the_second_time() -> None:
    for standing, said in itertools.product(TABLE, (Said.EXECUTED, Said.REJECTED, Said.RETURNED)):
        how = Standing(*standing[:2], AMOUNT, standing[2])
        outcome = outcome_of(news(said), how)
        if outcome in CHANGING:
            assert outcome_of(news(said), after(how, outcome)) is Outcome.KNOWN
        else:
            assert after(how, outcome) == how
