"""Bank accounts that are sound, and what banks write of payments."""

from __future__ import annotations

from affiliate.core.money import Money

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
