"""What a new version changes, in the words of the rules. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Worded(Protocol):
    """One rule in words, as affiliate.programs.words writes it."""

    @property
    def key(self) -> str: ...
    @property
    def question(self) -> str: ...
    @property
    def answer(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Change:
    """One question that is answered differently from then on."""

    key: str
    question: str
    before: str | None
    """None: nothing was said of it before."""
    after: str | None
    """None: it is no longer said."""


def changes(before: Sequence[Worded], after: Sequence[Worded]) -> tuple[Change, ...]:
    """Every rule whose answer differs, in the new order; what is no longer said comes last."""
    old = {rule.key: rule for rule in before}
    new = {rule.key: rule for rule in after}
    changed = [
        Change(key, rule.question, old[key].answer if key in old else None, rule.answer)
        for key, rule in new.items()
        if key not in old or old[key].answer != rule.answer
    ]
    gone = [
        Change(key, rule.question, rule.answer, None) for key, rule in old.items() if key not in new
    ]
    return (*changed, *gone)
