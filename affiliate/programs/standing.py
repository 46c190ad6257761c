"""By which version of the rules an affiliate's commission is reckoned at an instant. Pure.

Attribution terms are the program's version in force for everybody; this is about commission.
Rule: docs/rules.md, "Versions of the rules".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

FOR_GOOD: Final = datetime.max.replace(tzinfo=UTC)
"""No instant is later."""


class Said(StrEnum):
    """An affiliate's answer to a version."""

    ACCEPTED = "accepted"
    DECLINED = "declined"


class Because(StrEnum):
    """Why it is this version."""

    IN_FORCE = "in_force"
    """It is the program's, for everybody of whom nothing else is said."""
    GRANDFATHERED = "grandfathered"
    """A later version let those who were there keep their terms."""
    DECLINED = "declined"
    """They declined the one after it, and their enrollment closes."""
    GROUP = "group"
    """It is assigned to their group."""
    ASSIGNED = "assigned"
    """It is assigned to them."""


@dataclass(frozen=True, slots=True)
class Edition:
    """When a version took effect, and whether it let people keep the terms they had."""

    id: int
    number: int
    effective_at: datetime
    grandfathers: bool = False
    grandfather_until: datetime | None = None
    """None: for good."""

    @property
    def kept_until(self) -> datetime:
        return self.grandfather_until or FOR_GOOD


@dataclass(frozen=True, slots=True)
class Assigned:
    """A version that somebody was put on; `begins` is included, `ends` is not."""

    id: int
    version_id: int
    own: bool
    """Theirs by name, not by their group."""
    begins: datetime
    ends: datetime | None

    def covers(self, at: datetime) -> bool:
        return self.begins <= at and (self.ends is None or at < self.ends)


@dataclass(frozen=True, slots=True)
class Member:
    """What is known of one enrollment."""

    joined_at: datetime
    """When they were let in: versions in force by then are theirs without a word."""
    closes_at: datetime | None = None
    answers: Mapping[int, Said] = field(default_factory=dict)
    """By the version's id; what is not in it was met with silence, which is acceptance."""
    assigned: Sequence[Assigned] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """The version that rules somebody's commission, and why."""

    version_id: int
    because: Because
    until: datetime | None = None
    """First instant at which that is over, where it is known by now."""
    closed: bool = False
    """Their enrollment is over: nothing placed now is credited to them."""


def standing(at: datetime, editions: Sequence[Edition], member: Member) -> Standing:
    """Which version's commission terms an order placed at `at` earns this member.

    An assignment goes before everything else: one to the affiliate before one to their group,
    then the later one. Then comes what they were left with by declining or by a version that
    let them keep their terms. Else it is the version in force, which silence accepts. Every
    instant belongs to what begins at it. Raises ValueError without an edition.
    """
    own = _own(at, sorted(editions, key=lambda one: (one.effective_at, one.number)), member)
    closed = member.closes_at is not None and at >= member.closes_at
    covering = [one for one in member.assigned if one.covers(at)]
    if covering:
        one = max(covering, key=lambda one: (one.own, one.id))
        because = Because.ASSIGNED if one.own else Because.GROUP
        return Standing(one.version_id, because, one.ends, closed)
    return Standing(own.version_id, own.because, own.until, closed)


def _own(at: datetime, editions: Sequence[Edition], member: Member) -> Standing:
    """What is theirs without assignments: the editions in turn, each with what they said."""
    if not editions:
        raise ValueError("a program is never without rules")
    current, in_force = _first(editions), _first(editions)
    kept_until: datetime | None = None
    """Until when they keep `current` though later ones are in force; None: they do not."""
    for edition in editions:
        if edition.effective_at > at:
            break
        if kept_until is not None and edition.effective_at >= kept_until:
            current, kept_until = in_force, None
        in_force = edition
        said = member.answers.get(edition.id)
        if edition.effective_at <= member.joined_at or said is Said.ACCEPTED:
            current, kept_until = edition, None
        elif said is Said.DECLINED:
            return Standing(current.id, Because.DECLINED, member.closes_at)
        elif edition.grandfathers:
            kept_until = max(edition.kept_until, kept_until or edition.kept_until)
        elif kept_until is None:
            current = edition
    if kept_until is not None and at < kept_until:
        until = None if kept_until == FOR_GOOD else kept_until
        return Standing(current.id, Because.GRANDFATHERED, until)
    return Standing(in_force.id, Because.IN_FORCE)


def _first(editions: Sequence[Edition]) -> Edition:
    """Before any took effect, the one with the lowest number rules."""
    return min(editions, key=lambda one: one.number)
