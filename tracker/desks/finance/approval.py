"""The part of a batch's page where it is approved: what may be done, by whom, under which rules."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.pages import moment, money
from affiliate.people import access, freshness, passkeys, second_factor
from affiliate.people.models import User
from payouts.batches.approve import odd_amounts
from payouts.batches.locks import OpenLock
from payouts.batches.models import BatchSignature, PayoutBatch
from payouts.batches.payee_waits import Waiting
from payouts.batches.rules import NotDue
from payouts.policies.change import policy_of, read
from payouts.policies.models import PayoutPolicy
from payouts.policies.rules import ApprovedBy, NotAutomatic, Policy, signatures_needed
from payouts.rails.protocol import Rail
from tracker.desks.finance.questions import BatchLine, Maker
from tracker.desks.words import _, ngettext


@dataclass(frozen=True)
class SignatureLine:
    """Somebody's yes, as the page shows it."""

    user_id: int
    name: str
    at: datetime


@dataclass(frozen=True)
class Approval:
    """What the reader may do with the batch, and what was done."""

    signatures: list[SignatureLine]
    needed: int
    obstacles: list[str]
    """Why the reader may not approve it, in words; empty: they may."""
    rules: list[str]
    """The rules that hold for it, each a sentence; of an approved one those of then."""
    asks_factor: bool
    by_app: bool
    by_passkey: bool


def approval_of(
    session: Session,
    *,
    line: BatchLine,
    makers: list[Maker],
    locks: list[OpenLock],
    waits: list[Waiting],
    rail: Rail | None,
) -> Approval:
    """Everything that the approval's card says to the signed-in person."""
    batch, me = line.batch, access.actor().user_id
    policy = _policy(session, batch)
    needed = batch.signatures_needed
    if needed is None:
        needed = signatures_needed(policy, line.total)
    signed = _signed(session, batch)
    mine = [each.did for each in makers if each.user_id == me]
    asks = freshness.factor_at() is None
    by_app, by_passkey = second_factor.ways_of(session, user_id=me) if asks else (False, False)
    obstacles = [
        text
        for text, holds in (
            (_maker_sentence(mine), bool(mine) and not policy.one_person),
            (
                _("You have signed it; the second signature is a colleague's."),
                any(each.user_id == me for each in signed) and len(signed) < needed,
            ),
            (
                _("Its rail is not configured here, so it could not be paid yet."),
                rail is None or not rail.configured(),
            ),
            (_("It can be approved once payouts are unlocked."), bool(locks)),
        )
        if holds
    ]
    obstacles += [wait_in_words(each) for each in waits]
    if rail is not None and batch.status == "frozen":
        obstacles += certain_refusals(session, batch, rail)
    return Approval(
        signatures=signed,
        needed=needed,
        obstacles=obstacles if batch.status == "frozen" else [],
        rules=rules_in_words(policy, batch),
        asks_factor=asks,
        by_app=by_app,
        by_passkey=by_passkey and passkeys.possible(),
    )


def certain_refusals(session: Session, batch: PayoutBatch, rail: Rail) -> list[str]:
    """What the rail is known to refuse without being asked: it cannot be approved so."""
    if not rail.pays(batch.currency):
        return [_("Its rail does not pay %(currency)s: cancel it.", currency=batch.currency)]
    odd = odd_amounts(session, batch=batch, rail=rail)
    return [
        ngettext(
            "The rail cannot pay %(num)s of its amounts: hold that payout.",
            "The rail cannot pay %(num)s of its amounts: hold those payouts.",
            odd,
        )
    ] * bool(odd)


def wait_in_words(wait: Waiting) -> str:
    """A safety wait of one payee, and what can be done about it."""
    if wait.until is None and wait.why is NotDue.COOLING_OFF:
        return _(
            "%(name)s: the account was taken back before its safety wait was over; hold this "
            "payout.",
            name=wait.affiliate,
        )
    if wait.until is None:
        said = _(
            "%(name)s: somebody said that they had not named this account.", name=wait.affiliate
        )
    else:
        said = _("%(name)s: the account was named lately and is paid to from %(at)s.",
                 name=wait.affiliate, at=moment(wait.until))  # fmt: skip
    hold = _(
        "Hold these payouts to approve the others, or approve the batch when the wait is over."
    )
    return f"{said} {hold}"


def rules_in_words(policy: Policy, batch: PayoutBatch) -> list[str]:
    """How this batch is approved, or was: the exceptions named as such."""
    said = []
    if batch.approval_policy == ApprovedBy.AUTOMATIC:
        said.append(_("Approved by the program's rule for small withdrawals; nobody signed."))
    elif batch.approval_policy == ApprovedBy.ONE_PERSON:
        said.append(_("One-person mode: whoever made it has approved it. No second person looked."))
    elif policy.one_person:
        said.append(_("One-person mode: whoever made it may approve it. No second person looks."))
    else:
        said.append(_("Four eyes: whoever made or changed it cannot approve it."))
    above = policy.second_signature_above
    if above is not None:
        said.append(_("Above %(amount)s two people sign.", amount=money(above)))
    if batch.not_automatic:
        said.append(_("A person decides here: %(why)s", why=why_not_automatic(batch.not_automatic)))
    return said


def why_not_automatic(code: str) -> str:
    """Why a small withdrawal was not approved by itself."""
    return {
        NotAutomatic.ABOVE_ITEM_LIMIT: _("it is above the limit for small withdrawals."),
        NotAutomatic.ABOVE_DAY_LIMIT: _("with it the day's limit would be passed."),
        NotAutomatic.FIRST_PAYMENT: _("it is the affiliate's first payout."),
        NotAutomatic.ACCOUNT_YOUNG: _("the account was named only lately."),
        NotAutomatic.DESTINATION_CHANGED: _("the last payout went to another account."),
        NotAutomatic.JUMP: _("it is far more than the last payout."),
        NotAutomatic.TROUBLED: _("another payout of theirs failed, came back, waits or was held."),
        NotAutomatic.TAKEN_BACK: _("a refund took something back since the last payout."),
        NotAutomatic.NOT_ACTIVE: _("the affiliate is not active in the program."),
        NotAutomatic.RAIL_NOT_CONFIGURED: _("the rail was not configured."),
    }[NotAutomatic(code)]


def _policy(session: Session, batch: PayoutBatch) -> Policy:
    """The rules in force; of an approved batch those it was approved under."""
    if batch.signatures_needed is None:
        return policy_of(session, program_id=batch.program_id)
    row = None if batch.policy_id is None else session.get(PayoutPolicy, batch.policy_id)
    return Policy() if row is None else read(row)


def _maker_sentence(did: list[str]) -> str:
    if "request_withdrawal" in did:
        return _("You asked for this withdrawal, so somebody else must approve it.")
    if "hold_item" in did:
        return _("You took payouts out of this batch, so somebody else must approve it.")
    return _("You made this batch, so somebody else must approve it.")


def _signed(session: Session, batch: PayoutBatch) -> list[SignatureLine]:
    rows = session.execute(
        sa.select(User.id, User.name, User.email, BatchSignature.signed_at)
        .join(BatchSignature, BatchSignature.user_id == User.id)
        .where(BatchSignature.batch_id == batch.id, BatchSignature.voided_at.is_(None))
        .order_by(BatchSignature.id)
    )
    return [SignatureLine(row.id, row.name or row.email, row.signed_at) for row in rows]
