"""A ruble account at a Russian bank: what a payment order needs, each part checked (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import stdnum.ru.inn
from stdnum.exceptions import ValidationError

from affiliate.core.errors import Invalid, Phrase
from payouts.rails.bank_details import (
    NotAnAccount,
    Reading,
    Wrong,
    digits,
    joined,
    parted,
    printable,
)

RUSSIAN_NAME_CHARS_MAX: Final = 160
"""Of a name in a payment order (Bank of Russia, 762-P, fields 8 and 16)."""
BANK_CHARS_MAX: Final = 100
BIK_CREDIT_MIN: Final = 50
"""Last three digits of a BIK from which on it is a bank's; below it is the central bank's."""
RUBLES: Final = "810"
"""Digits 6 to 8 of an account in rubles."""
KEY_WEIGHTS: Final = (7, 1, 3)


@dataclass(frozen=True, slots=True)
class RussianAccount:
    """An account in rubles at a Russian bank."""

    account: str
    bik: str
    corr: str
    """The bank's own account at the Bank of Russia."""
    bank: str
    inn: str
    kpp: str
    """Of a company; empty for a person."""
    name: str

    @property
    def text(self) -> str:
        """The canonical form."""
        return joined(
            "ru", self.account, bik=self.bik, corr=self.corr, bank=self.bank, inn=self.inn,
            kpp=self.kpp, name=self.name,
        )  # fmt: skip


def russian_account(typed: Mapping[str, str]) -> RussianAccount:
    """The account out of what a person typed. Raises Invalid with the errors of every field."""
    found = Reading(typed)
    bik = found.take("bik", _bik)
    inn = found.take("inn", _inn)
    company = len(inn) == len("7707083893")
    account = RussianAccount(
        account=found.take("account", lambda text: _russian_number(text, bik)),
        bik=bik,
        corr=found.take("corr", lambda text: _corr(text, bik)),
        bank=found.take("bank", lambda text: _plain(text, BANK_CHARS_MAX)),
        inn=inn,
        kpp=found.take("kpp", lambda text: _kpp(text, company=company), optional=not company),
        name=found.take("name", lambda text: _plain(text, RUSSIAN_NAME_CHARS_MAX)),
    )
    found.finish()
    return account


def russian_of(text: str) -> RussianAccount:
    """The account of a canonical text. Raises NotAnAccount."""
    values = parted(text, "ru")
    try:
        account = russian_account({"account": values.pop("ru"), **values})
    except Invalid as error:
        raise NotAnAccount(text) from error
    if account.text != text:
        raise NotAnAccount(text)
    return account


def key_is_right(account: str, bik: str) -> bool:
    """Whether the control key of a bank's account fits its BIK.

    Bank of Russia, "Порядок расчета контрольного ключа в номере лицевого счета", 8 September
    1997, No. 515. The last three digits of the BIK stand before the twenty of the account; the
    weights 7, 1, 3 go round; the last digits of the products sum to a multiple of ten. For
    40817810438000000001 at 044525225 that is
    4+2+5 + 8+0+4+7+7+4+7+0+2+1+8+0+0+0+0+0+0+0+0+1 = 60, so it is right.
    """
    return _key_sum(bik[-3:] + account) % 10 == 0


def corr_key_is_right(corr: str, bik: str) -> bool:
    """The same for a bank's own account at the Bank of Russia: 0 and digits 5 and 6 of the BIK."""
    return _key_sum("0" + bik[4:6] + corr) % 10 == 0


def _key_sum(digits: str) -> int:
    return sum(
        int(digit) * KEY_WEIGHTS[place % len(KEY_WEIGHTS)] % 10
        for place, digit in enumerate(digits)
    )


def _plain(text: str, chars_max: int) -> str:
    """A text as a ruble payment order carries it, which is written in Windows-1251."""
    value = printable(text, chars_max)
    foreign = "".join(dict.fromkeys(c for c in value if not c.encode("cp1251", "ignore")))
    if foreign:
        message = Phrase("A ruble payment cannot carry these characters: %(text)s", text=foreign)
        raise Wrong("foreign_characters", message)
    if not any(char.isalpha() for char in value):
        raise Wrong("no_letters", Phrase("Write the name in letters."))
    return value


def _bik(text: str) -> str:
    number = digits(text, 9, "not_a_bik", Phrase("A BIK has nine digits."))
    if not number.startswith("04") or int(number[-3:]) < BIK_CREDIT_MIN:
        message = Phrase("This is not the BIK of a bank where people have accounts.")
        raise Wrong("not_a_bank", message)
    return number


def _russian_number(text: str, bik: str) -> str:
    number = digits(text, 20, "not_an_account", Phrase("An account number has twenty digits."))
    if number[5:8] != RUBLES:
        message = Phrase("This account is not in rubles: its digits 6 to 8 must be 810.")
        raise Wrong("not_rubles", message)
    if number.startswith("301"):
        message = Phrase("This is a bank's correspondent account, not a payee's.")
        raise Wrong("corr_account", message)
    if bik and not key_is_right(number, bik):
        message = Phrase("The account number does not fit the BIK: one of them has a mistake.")
        raise Wrong("wrong_key", message)
    return number


def _corr(text: str, bik: str) -> str:
    number = digits(
        text, 20, "not_an_account", Phrase("A correspondent account has twenty digits.")
    )
    if not number.startswith("30101" + RUBLES):
        message = Phrase("A bank's correspondent account begins with 30101810.")
        raise Wrong("not_corr", message)
    if bik and (number[-3:] != bik[-3:] or not corr_key_is_right(number, bik)):
        message = Phrase("The correspondent account does not fit the BIK.")
        raise Wrong("wrong_key", message)
    return number


def _inn(text: str) -> str:
    number = re.sub(r"\s", "", text)
    try:
        return str(stdnum.ru.inn.validate(number))
    except ValidationError:
        message = Phrase("An INN has 10 or 12 digits, the last of which check the others.")
        raise Wrong("not_an_inn", message) from None


def _kpp(text: str, *, company: bool) -> str:
    number = re.sub(r"\s", "", text).upper()
    if not company:
        raise Wrong("no_company", Phrase("Only companies, with an INN of 10 digits, have a KPP."))
    if not re.fullmatch(r"[0-9]{4}[0-9A-Z]{2}[0-9]{3}", number, flags=re.ASCII):
        raise Wrong("not_a_kpp", Phrase("A KPP has nine digits."))
    return number
