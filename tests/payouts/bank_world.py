"""A program that pays by bank file."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from bank_accounts import OWN, PAYEES
from money_world import NOW
from paying import Pay
from sqlalchemy.orm import Session

from affiliate.core import clock
from payouts.batches.bank_answers import apply_statement, bring_statement, look_at
from payouts.batches.bank_files import make_file
from payouts.batches.bank_models import PayoutFile, PayoutFileLine
from payouts.batches.bank_plans import Plan
from payouts.batches.own_accounts import set_own_account
from payouts.batches.payees import set_payee
from payouts.rails.bank import BankRail


@dataclass
class Bank:
    """A program on a bank-file rail, its finance and what its bank says."""

    pay: Pay
    rail: BankRail

    @property
    def session(self) -> Session:
        return self.pay.session

    @property
    def program_id(self) -> int:
        return self.pay.world.program_id

    def affiliate(self, name: str, available: str) -> int:
        """Somebody who can be paid."""
        enrollment_id = self.pay.world.affiliate(name)
        self.payee(name)
        self.pay.world.available(name, available)
        return enrollment_id

    def payee(self, name: str, **changes: str) -> None:
        typed = PAYEES[self.rail.name] | changes
        set_payee(
            self.session,
            affiliate_id=self.pay.world.affiliate_id(name),
            rail=self.rail.name,
            destination=self.rail.account(typed),
            ready=True,
            by="test",
            now=NOW,
        )
        self.session.commit()

    def file(self, batch_id: int, *, by: int | None = None, items_max: int = 1_000) -> PayoutFile:
        made = make_file(
            self.session,
            batch_id=batch_id,
            by_user_id=by or self.pay.finance,
            rails=self.pay.rails,
            now=NOW,
            real_now=clock.real_now(),
            items_max=items_max,
        )
        self.session.commit()
        return made

    def lines(self, file: PayoutFile) -> list[PayoutFileLine]:
        return list(
            self.session.scalars(
                sa.select(PayoutFileLine)
                .where(PayoutFileLine.file_id == file.id)
                .order_by(PayoutFileLine.document)
            )
        )

    def bring(self, raw: bytes | str) -> int:
        statement_id = bring_statement(
            self.session,
            program_id=self.program_id,
            rail=self.rail.name,
            raw=raw.encode() if isinstance(raw, str) else raw,
            name="statement",
            by_user_id=self.pay.finance,
            rails=self.pay.rails,
            now=NOW,
        )
        self.session.commit()
        return statement_id

    def look(self, statement_id: int) -> Plan:
        return look_at(self.session, statement_id=statement_id, rails=self.pay.rails)

    def told(self, raw: bytes | str) -> Plan:
        """Bring a file, look at it, and apply what was seen."""
        statement_id = self.bring(raw)
        return self.apply(statement_id, self.look(statement_id).fingerprint)

    def apply(self, statement_id: int, seen: str, *, session: Session | None = None) -> Plan:
        own = session or self.session
        plan = apply_statement(
            own,
            statement_id=statement_id,
            by_user_id=self.pay.finance,
            seen=seen,
            rails=self.pay.rails,
            now=NOW,
            real_now=clock.real_now(),
        )
        own.commit()
        return plan

    def paid_out(self, name: str, amount: str) -> tuple[int, PayoutFileLine]:
        """A payout of this amount that is in a file: its item and its line."""
        made = self.pay.approved(name, amount)
        (line,) = self.lines(self.file(made.batch_id))
        return made.item_id, line


def made_bank(pay: Pay, rail: str) -> Bank:
    known = pay.rails[rail]
    assert isinstance(known, BankRail)
    bank = Bank(pay, known)
    set_own_account(
        pay.session,
        program_id=pay.world.program_id,
        rail=rail,
        typed=OWN[rail],
        rails=pay.rails,
        by=pay.finance,
        now=NOW,
    )
    pay.session.commit()
    return bank
