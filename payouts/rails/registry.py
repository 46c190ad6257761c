"""The rails of this installation by their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from affiliate.core.config import Settings
from affiliate.core.errors import Conflict, Phrase
from payouts.rails.bank_russia import RussianRail
from payouts.rails.bank_sepa import SepaRail
from payouts.rails.manual import ManualRail
from payouts.rails.protocol import PayeeAccounts, Rail
from payouts.rails.stripe import StripeRail
from payouts.rails.stripe.accounts import StripeAccounts

Rails = Mapping[str, Rail]
BY_HAND: Final = frozenset(rail.name for rail in (ManualRail, SepaRail, RussianRail))
"""Rails on which what is not paid yet waits for a person."""


class NoSuchRail(Conflict):
    code = "no_such_rail"
    title = "This installation has no rail of that name; change the program's rail."


def rails(settings: Settings) -> Rails:
    """Every rail that this version knows; `configured()` says which can pay."""
    every: tuple[Rail, ...] = (ManualRail(), SepaRail(), RussianRail(), StripeRail(settings))
    return {rail.name: rail for rail in every}


def rail_named(known: Rails, name: str) -> Rail:
    """The rail, or NoSuchRail."""
    if name not in known:
        raise NoSuchRail(Phrase("There is no rail %(name)r.", name=name))
    return known[name]


def payee_accounts(settings: Settings) -> Mapping[str, PayeeAccounts]:
    """Rails whose payees have accounts at the provider, which it onboards itself.

    On these nobody types a destination: it is the account that was made for them.
    """
    return {"stripe": StripeAccounts(settings)}
