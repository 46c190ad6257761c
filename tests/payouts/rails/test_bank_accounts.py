"""Bank accounts that people type: what is taken, what is refused, and in which words."""

from __future__ import annotations

import pytest
from bank_accounts import OWN_RUSSIA, OWN_SEPA, PAYEE_RUSSIA, PAYEE_SEPA
from hypothesis import given
from hypothesis import strategies as st

from affiliate.core.errors import Invalid
from payouts.batches.payees import DESTINATION_CHARS_MAX
from payouts.rails.bank_account_ru import corr_key_is_right, key_is_right, russian_of
from payouts.rails.bank_details import NotAnAccount
from payouts.rails.bank_iban import SEPA_COUNTRIES, sepa_account, sepa_of, sepa_text
from payouts.rails.bank_russia import RussianRail
from payouts.rails.bank_sepa import SepaRail
from payouts.rails.manual import ManualRail

SEPA, RUSSIA = SepaRail(), RussianRail()

# The examples of the registry of ISO 13616, some as people write them.
IBANS = {
    "DE89 3704 0044 0532 0130 00": "DE89370400440532013000",
    "de89370400440532013000": "DE89370400440532013000",
    "GB82-WEST-1234-5698-7654-32": "GB82WEST12345698765432",
    "FR14 2004 1010 0505 0001 3M02 606": "FR1420041010050500013M02606",
    "NL91ABNA0417164300": "NL91ABNA0417164300",
    "NO93 8601 1117 947": "NO9386011117947",
    "MT84 MALT 0110 0001 2345 MTLC AST0 01S": "MT84MALT011000012345MTLCAST001S",
    "ES91 2100 0418 4502 0005 1332": "ES9121000418450200051332",
    "LT12 1000 0111 0100 1000": "LT121000011101001000",
    "CH93 0076 2011 6238 5295 7": "CH9300762011623852957",
}


@pytest.mark.parametrize("typed", IBANS)
def test_an_iban_is_taken_however_it_is_spaced(typed: str) -> None:
    assert sepa_account({"iban": typed, "name": "Anna"}).iban == IBANS[typed]


NOT_IBANS = {
    "": "required",
    "hello": "not_an_iban",
    "3704 0044 0532 0130 00": "not_an_iban",
    "ДЕ89 3704 0044 0532 0130 00": "not_an_iban",
    "DE٨٩ 3704 0044 0532 0130 00": "not_an_iban",
    "DE89 3704 0044 0532 0130 01": "wrong_checksum",
    "DE98 3704 0044 0532 0130 00": "wrong_checksum",
    "DE89 3704 0044 0532 0310 00": "wrong_checksum",
    "DE89 3704 0044 0532 0130": "wrong_length",
    "DE89 3704 0044 0532 0130 000": "wrong_length",
    "US64 SVBK US6S 3300 9586 71": "not_in_sepa",
    "TR33 0006 1005 1978 6457 8413 26": "not_in_sepa",
    "RU02 0445 2560 0407 0281 0412 3456 7890 1": "not_in_sepa",
}


@pytest.mark.parametrize("typed", NOT_IBANS)
def test_what_is_no_iban_is_refused_with_the_reason(typed: str) -> None:
    with pytest.raises(Invalid) as refusal:
        sepa_account({"iban": typed, "name": "Anna"})
    (error,) = refusal.value.errors
    assert (error.field, error.code) == ("iban", NOT_IBANS[typed])


def test_the_length_of_every_country_of_sepa_is_known() -> None:
    for country in sorted(SEPA_COUNTRIES):
        with pytest.raises(Invalid) as refusal:
            sepa_account({"iban": f"{country}00AB", "name": "Anna"})
        assert refusal.value.errors[0].code == "wrong_length", country


@pytest.mark.parametrize(
    ("field", "typed", "code"),
    [
        ("bic", "COBADEF", "not_a_bic"),
        ("bic", "1234", "not_a_bic"),
        ("name", "", "required"),
        ("name", "🙂", "no_letters"),
        ("name", "\u202eAnna", "not_printable"),
        ("name", "A" * 71, "too_long"),
    ],
)
def test_the_other_fields_of_a_sepa_account(field: str, typed: str, code: str) -> None:
    with pytest.raises(Invalid) as refusal:
        SEPA.account(PAYEE_SEPA | {field: typed})
    (error,) = refusal.value.errors
    assert (error.field, error.code) == (field, code)


def test_every_field_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(Invalid) as refusal:
        SEPA.account({"iban": "x", "bic": "y", "name": ""})
    assert [error.field for error in refusal.value.errors] == ["iban", "bic", "name"]
    with pytest.raises(Invalid) as refusal:
        RUSSIA.account({})
    assert {error.field for error in refusal.value.errors} == {
        "name", "inn", "account", "bik", "corr", "bank",
    }  # fmt: skip


# Correspondent accounts as their banks publish them: the key was made by the Bank of Russia.
BANKS = {
    "044525225": "30101810400000000225",
    "044525974": "30101810145250000974",
    "044525593": "30101810200000000593",
    "044525187": "30101810700000000187",
}


@pytest.mark.parametrize("bik", BANKS)
def test_the_control_key_of_correspondent_accounts(bik: str) -> None:
    corr = BANKS[bik]
    assert corr_key_is_right(corr, bik)
    # One digit more or less of the key itself, the ninth, is found at once.
    for digit in range(10):
        other = f"{corr[:8]}{digit}{corr[9:]}"
        assert corr_key_is_right(other, bik) == (other == corr)


def test_the_control_key_of_an_account() -> None:
    # 225 4081 7810 4380 0000 0001, weights 7 1 3 in turn, last digits of the products:
    #  4 2 5 8 0 4 7 7 4 7 0 2 1 8 0 0 0 0 0 0 0 0 1, together 60: a multiple of ten.
    assert key_is_right("40817810438000000001", "044525225")
    keys = [d for d in range(10) if key_is_right(f"40817810{d}38000000001", "044525225")]
    assert keys == [4]
    assert not key_is_right("40817810438000000001", "044525974"), "another bank"


@pytest.mark.parametrize(
    ("field", "typed", "code"),
    [
        ("account", "4081781043800000000", "not_an_account"),
        ("account", "408178104380000000012", "not_an_account"),
        ("account", "4081781043800000000X", "not_an_account"),
        ("account", "40817810538000000001", "wrong_key"),
        ("account", "40817810438000000010", "wrong_key"),
        ("account", "40817840438000000001", "not_rubles"),
        ("account", "30101810400000000225", "corr_account"),
        ("bik", "04452522", "not_a_bik"),
        ("bik", "044525O25", "not_a_bik"),
        ("bik", "144525225", "not_a_bank"),
        ("bik", "044525000", "not_a_bank"),
        ("corr", "3010181040000000022", "not_an_account"),
        ("corr", "30101810145250000974", "wrong_key"),
        ("corr", "40702810238000000002", "not_corr"),
        ("inn", "500100732258", "not_an_inn"),
        ("inn", "7707083894", "not_an_inn"),
        ("inn", "77070838", "not_an_inn"),
        ("kpp", "773601001", "no_company"),
        ("name", "Анна 😀", "foreign_characters"),
        ("name", "12345", "no_letters"),
        ("name", "А\nБ\x00", "not_printable"),
        ("bank", "", "required"),
        ("bank", "Б" * 101, "too_long"),
    ],
)  # fmt: skip
def test_the_fields_of_a_russian_account(field: str, typed: str, code: str) -> None:
    with pytest.raises(Invalid) as refusal:
        RUSSIA.account(PAYEE_RUSSIA | {field: typed})
    assert (field, code) in {(error.field, error.code) for error in refusal.value.errors}


def test_a_company_needs_a_kpp_and_a_sound_one() -> None:
    company = PAYEE_RUSSIA | {"inn": "7707083893"}
    for typed, code in (("", "required"), ("77360100", "not_a_kpp")):
        with pytest.raises(Invalid) as refusal:
            RUSSIA.account(company | {"kpp": typed})
        (error,) = refusal.value.errors
        assert (error.field, error.code) == ("kpp", code)
    assert "kpp=773601001" in RUSSIA.account(company | {"kpp": "773601001"})


def test_the_canonical_form_is_one_text_that_reads_back() -> None:
    sepa = SEPA.account(PAYEE_SEPA | {"bic": "abnanl2a"})
    assert sepa == "iban:NL91ABNA0417164300;bic=ABNANL2A;name=Анна Иванова"
    assert SEPA.account({"iban": "nl91abna0417164300", "bic": "ABNANL2A", "name": " Анна  Иванова "
                         }) == sepa  # fmt: skip
    assert sepa_of(sepa).name == "Анна Иванова"
    russian = RUSSIA.account(PAYEE_RUSSIA)
    assert russian.startswith("ru:40817810438000000001;bik=044525225;")
    assert russian_of(russian).inn == "500100732259"
    assert len(russian) < DESTINATION_CHARS_MAX


@given(name=st.text(alphabet="ab;=%:й ", min_size=1, max_size=20))
def test_whatever_stands_in_a_name_reads_back(name: str) -> None:
    try:
        text = SEPA.account(PAYEE_SEPA | {"name": name})
    except Invalid:
        return
    assert sepa_of(text).name == " ".join(name.split())
    assert sepa_of(text).iban == "NL91ABNA0417164300"


@pytest.mark.parametrize("field", ["name", "inn", "account", "bank"])
def test_any_other_detail_makes_another_destination(field: str) -> None:
    others = {"name": "Иванова Анна", "inn": "526317984689", "bank": "Банк",
              "account": "40817810738000000002"}  # fmt: skip
    changed = RUSSIA.account(PAYEE_RUSSIA | {field: others[field]})
    assert changed != RUSSIA.account(PAYEE_RUSSIA)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "iban:",
        "DE89370400440532013000",
        "iban:DE89370400440532013000",
        "iban:DE89370400440532013001;name=Anna",
        "iban:de89370400440532013000;name=Anna",
        "iban:DE89370400440532013000;name=Anna;name=Boris;x=1",
        "iban:DE89370400440532013000;name= Anna",
        "ru:40817810438000000001",
        "acct_1",
    ],
)
def test_a_text_that_is_no_canonical_account_is_none(text: str) -> None:
    with pytest.raises(NotAnAccount):
        sepa_of(text)
    with pytest.raises(NotAnAccount):
        russian_of(text)
    assert not SEPA.payee_ready(text)
    assert not RUSSIA.payee_ready(text)


def test_accounts_in_words_and_masked() -> None:
    sepa, russian = SEPA.account(PAYEE_SEPA), RUSSIA.account(PAYEE_RUSSIA)
    assert SEPA.account_in_words(sepa) == "Анна Иванова, NL91 ABNA 0417 1643 00"
    assert RUSSIA.account_in_words(russian) == (
        "Иванова Анна Сергеевна, ИНН 500100732259, 40817810438000000001, ПАО Сбербанк, 044525225"
    )
    assert (SEPA.account_masked(sepa), RUSSIA.account_masked(russian)) == (
        "•••• 4300",
        "•••• 0001",
    )
    assert ManualRail().account_masked("Anna, DE89 3704 0044 0532 0130 00") == "…3000"


def test_names_as_a_sepa_transfer_carries_them() -> None:
    assert sepa_text("Анна Иванова", 70) == "Anna Ivanova"
    assert sepa_text("Müller & Søn «Лампа» //x/", 70) == "Muller Son Lampa /x"
    assert sepa_text("é" * 100, 70) == "e" * 70


@pytest.mark.parametrize(
    ("rail", "typed", "field"),
    [
        (SEPA, OWN_SEPA | {"bic": ""}, "bic"),
        (SEPA, OWN_SEPA | {"format": "pain.001.003.03"}, "format"),
        (SEPA, OWN_SEPA | {"iban": "DE00"}, "iban"),
        (RUSSIA, OWN_RUSSIA | {"vat": ""}, "vat"),
        (RUSSIA, OWN_RUSSIA | {"vat": "Без НДС 🙂"}, "vat"),
        (RUSSIA, OWN_RUSSIA | {"kpp": ""}, "kpp"),
    ],
    ids=["no-bic", "format", "iban", "no-vat", "vat", "no-kpp"],
)
def test_the_account_to_pay_from_is_checked_too(
    rail: SepaRail | RussianRail, typed: dict[str, str], field: str
) -> None:
    with pytest.raises(Invalid) as refusal:
        rail.own_account(typed)
    assert [error.field for error in refusal.value.errors] == [field]


@pytest.mark.parametrize(
    ("rail", "typed"), [(SEPA, OWN_SEPA), (RUSSIA, OWN_RUSSIA)], ids=["sepa", "russia"]
)
def test_a_form_of_a_known_account_says_what_makes_it_again(
    rail: SepaRail | RussianRail, typed: dict[str, str]
) -> None:
    own = rail.own_account(typed)
    assert rail.own_account(rail.own_typed(own)) == own
    assert set(rail.own_typed(own)) == {field.name for field in rail.own_fields}
