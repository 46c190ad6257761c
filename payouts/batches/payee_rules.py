"""When a newly named account is paid to, and why one is not yet. Pure.

Rules: docs/rules.md, "Payouts"; docs/security.md, A29.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from payouts.batches.rules import ItemReason, NotDue

COOLING_OFF_H = 72
"""Hours for which nothing goes to an account that replaces another, unless the installation
says otherwise (KOPECK_PAYEE_COOLING_OFF_H): over a weekend a letter is read."""


@dataclass(frozen=True, slots=True)
class Naming:
    """What is known when an account is named."""

    before: str | None
    """The destination that it replaces; none: the first on this rail."""
    before_pays_from: datetime | None
    """End of that one's own cooling-off, if it had one."""
    undoes: bool
    """It is the destination before the one that it replaces."""
    undone_pays_from: datetime | None
    """When that earlier naming was, or would have been, paid to."""
    address_changed: bool
    """The address on file was changed in the last 30 days."""


def pays_from(naming: Naming, *, now: datetime, cooling: timedelta) -> datetime | None:
    """Business time from which the account is paid to; none: at once.

    - The first account has no wait: there is no one before from whom money is led away, the
      hold period has passed and a person approves a first payment as such. But the wait holds
      where the address on file was changed lately too: that is what a take-over looks like.
    - Another account waits.
    - Going back to the account before, while the new one still waits, costs no new wait: it is
      what the owner does who reads the letter. It keeps what it had itself.
    """
    if naming.before is None:
        return now + cooling if naming.address_changed and cooling else None
    still_waits = naming.before_pays_from is not None and naming.before_pays_from > now
    if naming.undoes and still_waits:
        return naming.undone_pays_from
    return now + cooling if cooling else None


def not_due(*, stopped: bool, pays_from: datetime | None, now: datetime) -> NotDue | None:
    """The named safety wait that keeps an affiliate out of a weekly batch, if any."""
    if stopped:
        return NotDue.PAYEE_STOPPED
    return NotDue.COOLING_OFF if pays_from is not None and pays_from > now else None


def item_waits(
    *,
    destination: str,
    live: str | None,
    ready: bool,
    pays_from: datetime | None,
    stopped: bool,
    released: bool,
    now: datetime,
) -> ItemReason | None:
    """Why an approved item is not sent now; none: it may be.

    It goes to its own destination or nowhere. `live` is the account of today; `released`: a
    person let it go to the approved one although another was named since.
    """
    if stopped:
        return ItemReason.PAYEE_STOPPED
    if live != destination:
        return None if released else ItemReason.PAYEE_CHANGED
    if pays_from is not None and pays_from > now:
        return ItemReason.COOLING_OFF
    return None if ready else ItemReason.PAYEE_NOT_READY
