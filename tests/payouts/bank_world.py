"""Accounts that are sound, and a program that pays by bank file."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from money_world import NOW
from paying import Pay
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.money import Money
from payouts.batches.bank_answers import Plan, apply_statement, bring_statement, look_at
from payouts.batches.bank_files import make_file
from payouts.batches.bank_models import PayoutFile, PayoutFileLine
from payouts.batches.own_accounts import set_own_account
from payouts.batches.payees import set_payee
from payouts.rails.bank import BankRail

OWN_SEPA = {
    "name": "Lamp & Leaf GmbH",
    "iban": "DE89 3704 0044 0532 0130 00",
    "bic": "COBADEFFXXX",
    "format": "pain.001.001.09",
}
OWN_RUSSIA = {
    "name": "ООО «Лампа и лист»",
    "inn": "7707083893",
    "kpp": "773601001",
    "account": "40702810238000000002",
    "bik": "044525225",
    "corr": "30101810400000000225",
    "bank": "ПАО Сбербанк",
    "vat": "НДС не облагается",
}
PAYEE_SEPA = {"name": "Анна Иванова", "iban": "NL91 ABNA 0417 1643 00", "bic": ""}
PAYEE_RUSSIA = {
    "name": "Иванова Анна Сергеевна",
    "inn": "500100732259",
    "kpp": "",
    "account": "40817810438000000001",
    "bik": "044525225",
    "corr": "30101810400000000225",
    "bank": "ПАО Сбербанк",
}
OWN = {"bank_sepa": OWN_SEPA, "bank_russia": OWN_RUSSIA}
PAYEES = {"bank_sepa": PAYEE_SEPA, "bank_russia": PAYEE_RUSSIA}


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


def csv_of(*rows: tuple[str, str, str, str, str]) -> str:
    head = "end_to_end_id,status,reference,executed_on,reason"
    return "\n".join([head, *(",".join(row) for row in rows)]) + "\n"


def executed(known_as: str, reference: str = "REF1") -> str:
    return csv_of((known_as, "executed", reference, "2026-11-23", ""))


def camt_entry(
    known_as: str, amount: Money | str, *, direction: str = "DBIT", reference: str = "B-1",
    status: str = "BOOK", reason: str | None = None, currency: str = "EUR",
) -> str:  # fmt: skip
    back = "" if reason is None else f"<RtrInf><Rsn><Cd>{reason}</Cd></Rsn></RtrInf>"
    told = amount if isinstance(amount, str) else amount.decimal
    return f"""<Ntry><Amt Ccy="{currency}">{told}</Amt><CdtDbtInd>{direction}</CdtDbtInd>
      <Sts>{status}</Sts><BookgDt><Dt>2026-11-23</Dt></BookgDt>
      <AcctSvcrRef>{reference}</AcctSvcrRef><NtryDtls><TxDtls><Refs>
      <EndToEndId>{known_as}</EndToEndId></Refs>{back}</TxDtls></NtryDtls></Ntry>"""


def camt(*entries: str, iban: str = "DE89370400440532013000", kind: str = "053") -> str:
    outer, inner = {
        "053": ("BkToCstmrStmt", "Stmt"),
        "054": ("BkToCstmrDbtCdtNtfctn", "Ntfctn"),
    }[kind]
    return f"""<?xml version="1.0" encoding="UTF-8"?>
    <Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.{kind}.001.02"><{outer}><GrpHdr/>
    <{inner}><Acct><Id><IBAN>{iban}</IBAN></Id></Acct>{"".join(entries)}</{inner}>
    </{outer}></Document>"""
