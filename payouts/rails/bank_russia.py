"""Ruble payment orders in the text that client-banks take from 1C, 1CClientBankExchange 1.03.

Windows-1251, one `name=value` a line (https://v8.1c.ru/tekhnologii/obmen-dannymi-i-integratsiya/
standarty-i-formaty/standart-obmena-s-sistemami-klient-banka/formaty-obmena/). The texts inside
are Russian whoever reads the pages: a bank reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import ClassVar

from affiliate.core.errors import Invalid, Phrase
from payouts.rails.bank import BankRail, FileOrder, OwnAccount, Payment, Written
from payouts.rails.bank_account_ru import (
    BANK_CHARS_MAX,
    RUSSIAN_NAME_CHARS_MAX,
    RussianAccount,
    russian_account,
    russian_of,
)
from payouts.rails.bank_details import masked
from payouts.rails.protocol import AccountField

FORMAT = "1CClientBankExchange 1.03"
ENCODING = "cp1251"
PURPOSE_CHARS_MAX = 210
"""Field 24 of a payment order (Bank of Russia, 762-P)."""
PRIORITY = 5
"""Field 21: everything but wages, taxes and what courts order (Civil Code, article 855)."""
DOCUMENT_MAX = 999_999
"""Banks read six digits of a document's number; after that it begins anew."""
VAT_CHARS_MAX = 60

_INN = AccountField("inn", Phrase("INN"), Phrase("10 digits of a company, 12 of a person."))
_KPP = AccountField("kpp", Phrase("KPP"), Phrase("Of a company alone."), optional=True)
_PLACE = (
    AccountField("account", Phrase("Account number"), Phrase("Twenty digits, in rubles.")),
    AccountField("bik", Phrase("BIK of the bank"), Phrase("Nine digits.")),
    AccountField("corr", Phrase("Correspondent account"), Phrase("Begins with 30101810.")),
    AccountField("bank", Phrase("Name of the bank"), chars_max=BANK_CHARS_MAX),
)


class RussianRail(BankRail):
    """Rubles within Russia."""

    name: ClassVar[str] = "bank_russia"
    title: ClassVar[Phrase] = Phrase("bank file, 1C client-bank")
    currency: ClassVar[str] = "RUB"
    account_fields: ClassVar[tuple[AccountField, ...]] = (
        AccountField(
            "name",
            Phrase("Account holder"),
            Phrase("Exactly as your bank has the name."),
            chars_max=RUSSIAN_NAME_CHARS_MAX,
        ),
        _INN,
        _KPP,
        *_PLACE,
    )
    own_fields: ClassVar[tuple[AccountField, ...]] = (
        *account_fields,
        AccountField(
            "vat",
            Phrase("Note about VAT"),
            Phrase("Stands in every payment, such as “НДС не облагается”."),
            chars_max=VAT_CHARS_MAX,
        ),
    )

    def account(self, typed: Mapping[str, str]) -> str:
        return russian_account(typed).text

    def account_in_words(self, destination: str) -> str:
        try:
            found = russian_of(destination)
        except ValueError:
            return destination
        tax = f"ИНН {found.inn}" + (f" / {found.kpp}" if found.kpp else "")
        return f"{found.name}, {tax}, {found.account}, {found.bank}, {found.bik}"

    def account_masked(self, destination: str) -> str:
        try:
            return masked(russian_of(destination).account)
        except ValueError:
            return masked(destination)

    def number_of(self, destination: str) -> str:
        return russian_of(destination).account

    def own_account(self, typed: Mapping[str, str]) -> OwnAccount:
        vat = " ".join(typed.get("vat", "").split()).rstrip(".")
        account = russian_account(typed)
        if not vat or len(vat) > VAT_CHARS_MAX or vat != _written(vat):
            message = Phrase("Say in Russian or Latin letters what the payments say about VAT.")
            raise Invalid.field("vat", "required", message)
        return OwnAccount(account.text, {"vat": vat})

    def own_typed(self, own: OwnAccount) -> dict[str, str]:
        found = russian_of(own.details)
        return {
            **{name: getattr(found, name) for name in RussianAccount.__slots__},
            **own.options,
        }

    def write(self, order: FileOrder) -> Written:
        text = "\r\n".join([*_lines(order), ""])
        # Every text of an account was checked when it was typed; the program's name is cut.
        return Written(text.encode(ENCODING), order.payments[0].end_to_end_id, FORMAT, "txt")


def _lines(order: FileOrder) -> Iterator[str]:
    own, day = russian_of(order.own.details), _day(order.made_on)
    yield "1CClientBankExchange"
    yield "ВерсияФормата=1.03"
    yield "Кодировка=Windows"
    yield "Отправитель=Kopeck"
    yield "Получатель="
    yield f"ДатаСоздания={day}"
    yield f"ДатаНачала={day}"
    yield f"ДатаКонца={day}"
    yield f"РасчСчет={own.account}"
    yield "Документ=Платежное поручение"
    for payment in order.payments:
        yield from _document(payment, order, own)
    yield "КонецФайла"


def _document(payment: Payment, order: FileOrder, own: RussianAccount) -> Iterator[str]:
    payee = russian_of(payment.destination)
    yield "СекцияДокумент=Платежное поручение"
    yield f"Номер={(payment.document - 1) % DOCUMENT_MAX + 1}"
    yield f"Дата={_day(order.made_on)}"
    yield f"Сумма={payment.amount.decimal}"
    yield from _party("Плательщик", own)
    yield from _party("Получатель", payee)
    yield "ВидОплаты=01"
    yield f"Очередность={PRIORITY}"
    yield f"НазначениеПлатежа={purpose(payment.end_to_end_id, order)}"
    yield "КонецДокумента"


def purpose(end_to_end_id: str, order: FileOrder) -> str:
    """What the payment is for. The id stands in it, because a statement gives nothing else back
    that is surely ours; where it grows too long, the program's name is cut."""
    start = "Вознаграждение по партнерской программе "
    rest = f". Выплата {end_to_end_id}. {order.own.options['vat']}."
    room = PURPOSE_CHARS_MAX - len(start) - len(rest)
    return f"{start}{_written(order.program)[:room].strip()}{rest}"


def _party(role: str, party: RussianAccount) -> Iterator[str]:
    yield f"{role}Счет={party.account}"
    yield f"{role}=ИНН {party.inn} {party.name}"
    yield f"{role}ИНН={party.inn}"
    yield f"{role}КПП={party.kpp}"
    yield f"{role}1={party.name}"
    yield f"{role}РасчСчет={party.account}"
    yield f"{role}Банк1={party.bank}"
    yield f"{role}БИК={party.bik}"
    yield f"{role}Корсчет={party.corr}"


def _day(day: date) -> str:
    return day.strftime("%d.%m.%Y")


def _written(text: str) -> str:
    """What of a text Windows-1251 has, in one line."""
    return " ".join(text.encode(ENCODING, "ignore").decode(ENCODING).split())
