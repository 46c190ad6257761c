"""What does not go together among the terms of commission, path by path. Pure.

Rule: docs/rules.md, "The rule document".
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from marshmallow import ValidationError

from affiliate.core.errors import Phrase
from affiliate.core.money import PPM
from affiliate.programs.terms import Boost, CommissionTerms, Of, Percent, Who
from affiliate.programs.terms_fields import percent_text, wrong

EVERYBODY = Who()


class Promise(NamedTuple):
    """A percentage that level 1 can reach, for whom and when, and how it is called."""

    rate_ppm: int
    who: Who = EVERYBODY
    begins: datetime | None = None
    ends: datetime | None = None
    told: Phrase = Phrase("level 1")
    path: str = "level_1"


def what_does_not_fit(terms: CommissionTerms) -> Iterator[ValidationError]:
    """Every refusal that more than one setting takes part in."""
    yield from _names_twice("rules", [rule.name for rule in terms.rules])
    yield from _names_twice("boosts", [boost.name for boost in terms.boosts])
    yield from _tiers_on_level_1(terms)
    promises = list(_promises(terms))
    yield from _boosts_of_nothing(terms, promises)
    yield from _over_the_whole(terms)


def highest_level_1(terms: CommissionTerms) -> Promise | None:
    """The highest percentage that level 1 can reach by any rule, tier and boost together.

    None where nothing is a percentage.
    """
    promises = list(_promises(terms))
    boosted = [
        _boosted(promise, boost, place)
        for promise in promises
        for place, boost in enumerate(terms.boosts)
        if _may_meet(promise, boost)
    ]
    return max((*promises, *boosted), key=lambda promise: promise.rate_ppm, default=None)


def _names_twice(part: str, names: list[str]) -> Iterator[ValidationError]:
    for place, name in enumerate(names):
        if name in names[:place]:
            yield wrong(f"{part}.{place}.name", "named_twice", "Another one has this name.")


def _tiers_on_level_1(terms: CommissionTerms) -> Iterator[ValidationError]:
    """Tiers stand in for level 1, so a level 1 of its own beside them would never be read."""
    if terms.tiers is None:
        return
    first = terms.tiers.bands[0].rate_ppm
    if terms.level_1 != Percent(first):
        yield wrong(
            "level_1",
            "not_read",
            Phrase(
                "Where there are tiers, level 1 is the rate of the first band: %(rate)s parts per "
                "million (%(percent)s %%).",
                rate=f"{first:,}",
                percent=percent_text(first),
            ),
        )


def _promises(terms: CommissionTerms) -> Iterator[Promise]:
    if isinstance(terms.level_1, Percent):
        yield Promise(terms.level_1.rate_ppm)
    for place, band in enumerate(terms.tiers.bands if terms.tiers else ()):
        told = Phrase("tier %(number)s", number=place + 1)
        yield Promise(band.rate_ppm, told=told, path=f"tiers.bands.{place}.rate_ppm")
    for place, rule in enumerate(terms.rules):
        if isinstance(rule.earns, Percent):
            yield Promise(
                rule.earns.rate_ppm,
                rule.when.who,
                rule.when.begins,
                rule.when.ends,
                Phrase("the rule %(name)r", name=rule.name),
                f"rules.{place}.earns.rate_ppm",
            )
    recurring = terms.recurring.earns if terms.recurring else None
    if isinstance(recurring, Percent):
        told = Phrase("the rate of later payments")
        yield Promise(recurring.rate_ppm, told=told, path="recurring.earns.rate_ppm")


def _boosts_of_nothing(
    terms: CommissionTerms, promises: list[Promise]
) -> Iterator[ValidationError]:
    for place, boost in enumerate(terms.boosts):
        if boost.add_ppm and not any(_may_meet(promise, boost) for promise in promises):
            yield wrong(
                f"boosts.{place}.add_ppm",
                "not_read",
                "It is added to a percentage, and nothing here is one; write times_ppm.",
            )


def _over_the_whole(terms: CommissionTerms) -> Iterator[ValidationError]:
    """Both levels together may not promise more than the sale brings."""
    highest = highest_level_1(terms)
    if highest is None:
        return
    level_2 = terms.level_2
    second = level_2.rate_ppm if level_2 and level_2.of is Of.SALE else 0
    if highest.rate_ppm + second <= PPM:
        return
    first = percent_text(highest.rate_ppm)
    if second:
        both = Phrase(
            "Level 1 reaches %(first)s %% of the sale by %(told)s; with %(second)s %% of level 2 "
            "both are over the whole sale.",
            first=first,
            told=highest.told,
            second=percent_text(second),
        )
        yield wrong("level_2", "over_the_sale", both)
    else:
        alone = Phrase(
            "Level 1 reaches %(first)s %% of the sale by %(told)s, which is over the whole sale.",
            first=first,
            told=highest.told,
        )
        yield wrong(highest.path, "over_the_sale", alone)


def _boosted(promise: Promise, boost: Boost, place: int) -> Promise:
    """Of several boosts the best one counts, so each is looked at alone."""
    if boost.add_ppm:
        rate = promise.rate_ppm + boost.add_ppm
    else:
        rate = -(-promise.rate_ppm * boost.times_ppm // PPM)
    told = Phrase("%(told)s with the boost %(name)r", told=promise.told, name=boost.name)
    return promise._replace(rate_ppm=rate, told=told, path=f"boosts.{place}")


def _may_meet(promise: Promise, boost: Boost) -> bool:
    """Whether some affiliate can have both at one instant."""
    if promise.begins is not None and promise.begins >= boost.ends:
        return False
    if promise.ends is not None and promise.ends <= boost.begins:
        return False
    return _may_be_one(promise.who, boost.who)


def _may_be_one(one: Who, other: Who) -> bool:
    """Whether an affiliate may be meant by both; the group of a named one is not known."""
    if one.everybody or other.everybody:
        return True
    if one.groups & other.groups or one.enrollments & other.enrollments:
        return True
    return bool(one.groups and other.enrollments) or bool(one.enrollments and other.groups)
