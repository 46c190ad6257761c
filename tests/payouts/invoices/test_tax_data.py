"""Who may stand on an invoice: each field that is wrong is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from payouts.invoices.parties import MerchantData, TaxData, checked, checked_merchant, countries

PERSON_RU = TaxData(
    "self_employed", " Анна  Ёлкина ", "Москва", "ru", "500100732259", "not_registered", "", ""
)
COMPANY_DE = TaxData(
    "company", "Lampen GmbH", "Berlin", "DE", "30/123/45678", "registered", "DE 136695976", "19"
)
COMPANY_US = TaxData("company", "Lamps Inc", "Boston", "US", "12-3456789", "not_registered", "", "")
MERCHANT = MerchantData("ООО «Лампы»", "Москва", "RU", "7736207543", "", "lamps")


def wrong(given: TaxData, **changes: Any) -> list[tuple[str, str]]:
    return [(e.field, e.code) for e in checked(replace(given, **changes))[2]]


@pytest.mark.parametrize("given", [PERSON_RU, COMPANY_DE, COMPANY_US], ids=["ru", "de", "us"])
def test_what_is_right_is_taken(given: TaxData) -> None:
    assert wrong(given) == []


def test_it_is_cleaned() -> None:
    clean, rate, _errors = checked(PERSON_RU)
    assert (clean.name, clean.country, rate) == ("Анна Ёлкина", "RU", 0)
    clean, rate, _errors = checked(replace(COMPANY_DE, vat_rate=" 7,7 % "))
    assert (clean.vat_number, rate) == ("DE136695976", 77_000)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": " "}, ("name", "required")),
        ({"name": "x" * 201}, ("name", "too_long")),
        ({"address": ""}, ("address", "required")),
        ({"address": "x" * 501}, ("address", "too_long")),
        ({"country": "XX"}, ("country", "unknown")),
        ({"country": "EU", "tax_number": "1"}, ("country", "unknown")),
        ({"legal_form": "none"}, ("legal_form", "unknown")),
        ({"tax_number": ""}, ("tax_number", "required")),
        ({"tax_number": "500100732258"}, ("tax_number", "not_an_inn")),
        ({"tax_number": "7736207543"}, ("tax_number", "not_an_inn")),
        ({"tax_number": "５00100732259"}, ("tax_number", "not_an_inn")),
        ({"vat_number": "DE136695976"}, ("vat_number", "not_registered")),
        ({"vat_status": "maybe"}, ("vat_status", "unknown")),
        ({"vat_status": "reverse_charge"}, ("vat_status", "not_in_eu")),
        ({"vat_status": "registered", "vat_rate": ""}, ("vat_rate", "not_a_rate")),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_each_wrong_field_is_named(changes: dict[str, str], expected: tuple[str, str]) -> None:
    assert wrong(PERSON_RU, **changes) == [expected]


@pytest.mark.parametrize("rate", ["0", "41", "-5", "7.12345", "1e1", "二十", "NaN", "40.0001"])
def test_a_rate_is_a_plain_percentage(rate: str) -> None:
    assert wrong(COMPANY_DE, vat_rate=rate) == [("vat_rate", "not_a_rate")]


@pytest.mark.parametrize(
    ("number", "code"),
    [("", "required"), ("DE136695977", "not_a_vat_number"), ("FR40303265045", "not_a_vat_number")],
    ids=["none", "checksum", "other country"],
)
def test_a_vat_number_is_of_the_country_and_checks_itself(number: str, code: str) -> None:
    assert wrong(COMPANY_DE, vat_number=number) == [("vat_number", code)]


def test_greece_writes_its_numbers_with_el() -> None:
    greek = {"country": "GR", "vat_number": "EL094259216", "vat_rate": "24"}
    assert wrong(COMPANY_DE, **greek) == []


def test_reverse_charge_has_no_rate_of_its_own() -> None:
    clean, rate, errors = checked(replace(COMPANY_DE, vat_status="reverse_charge", vat_rate="19"))
    assert (errors, rate, clean.vat_status) == ([], 0, "reverse_charge")


def test_a_private_person_is_not_registered() -> None:
    person = {"legal_form": "individual", "tax_number": ""}
    assert wrong(COMPANY_DE, **person) == [("vat_status", "individual")]
    person |= {"vat_status": "not_registered", "vat_number": "", "vat_rate": ""}
    assert wrong(COMPANY_DE, **person) == []


def test_every_wrong_field_is_named_at_once() -> None:
    nothing = TaxData("", "", "", "", "", "", "", "")
    assert {field for field, _code in wrong(nothing)} == {
        "name", "address", "country", "legal_form", "vat_status",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"tax_number": "7736207544"}, [("tax_number", "not_an_inn")]),
        ({"tax_number": ""}, [("tax_number", "required")]),
        ({"number_prefix": ""}, [("number_prefix", "shape")]),
        ({"number_prefix": "ЛАМПЫ"}, [("number_prefix", "shape")]),
        ({"number_prefix": "=CMD"}, [("number_prefix", "shape")]),
        ({"number_prefix": "ABCDEFGHIJKLM"}, [("number_prefix", "shape")]),
        ({"country": "DE", "tax_number": "1 2", "vat_number": "DE1"},
         [("vat_number", "not_a_vat_number")]),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)  # fmt: skip
def test_the_merchant_is_checked_alike(
    changes: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    clean, errors = checked_merchant(replace(MERCHANT, **changes))
    assert [(e.field, e.code) for e in errors] == expected
    assert clean.number_prefix == clean.number_prefix.upper()


def test_countries_are_those_of_iso() -> None:
    assert {"RU", "DE", "GR", "US", "KZ"} <= countries()
    assert not {"EU", "ZZ", "419", "001"} & countries()
