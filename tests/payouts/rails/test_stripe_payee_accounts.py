"""Connected accounts: what we ask Stripe for, and what its answers mean to a payee."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
import stripe
from stripe_double import DEADLINE_S, KEY, Double

from affiliate.core.config import Settings
from payouts.rails.protocol import (
    AccountRefused,
    AccountState,
    Need,
    NewAccount,
    RailAway,
    Standing,
)
from payouts.rails.stripe.accounts import COUNTRIES, STRIPE_PAGES, StripeAccounts, state_of

ACTIVE: dict[str, Any] = {
    "capabilities": {"transfers": "active"},
    "payouts_enabled": True,
    "details_submitted": True,
    "requirements": {"currently_due": [], "past_due": [], "disabled_reason": None},
}
WAYS = {"return_url": "http://127.0.0.1:9/back", "refresh_url": "http://127.0.0.1:9/again"}


@pytest.fixture
def accounts(settings: Settings, double: Double) -> StripeAccounts:
    return StripeAccounts(replace(settings, stripe_api_key=KEY, stripe_api_base=double.url))


@pytest.fixture
def loud() -> Iterator[None]:
    """The library's own logger as KOPECK_LOG_LEVEL=DEBUG would have it."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.DEBUG)
    yield
    root.setLevel(before)


def new(**changes: Any) -> NewAccount:
    return replace(NewAccount(7, "env1", "FR", cross_border=False), **changes)


def account(**changes: Any) -> stripe.Account:
    needs = changes.pop("requirements", {})
    made = ACTIVE | changes | {"id": "acct_1", "requirements": ACTIVE["requirements"] | needs}
    return stripe.Account.construct_from(made, "key")


def bank(status: str) -> dict[str, Any]:
    return {"object": "list", "data": [{"object": "bank_account", "status": status}]}


def banks(*each: dict[str, Any]) -> Any:
    return stripe.Account.construct_from(
        {"id": "acct_1", "external_accounts": {"object": "list", "data": list(each)}}, "sk_test"
    )


A = {"id": "ba_1", "object": "bank_account", "fingerprint": "aaa", "last4": "3000"}
B = {"id": "ba_2", "object": "bank_account", "fingerprint": "bbb", "last4": "6789"}


def test_a_bank_is_told_by_its_number_and_not_by_its_place_or_id() -> None:
    known = state_of(banks(A, B))
    assert known.bank is not None
    assert "aaa" not in known.bank
    assert known.bank_masked == "…3000, …6789"
    assert state_of(banks(B, A | {"id": "ba_9"})).bank == known.bank
    assert state_of(banks(A)).bank != known.bank
    assert state_of(banks(A | {"fingerprint": "ccc"})).bank != state_of(banks(A)).bank


def test_where_one_is_the_default_only_that_one_counts() -> None:
    default = {"default_for_currency": True}
    assert state_of(banks(A | default, B)).bank == state_of(banks(A)).bank
    assert state_of(banks(A, B | default)).bank == state_of(banks(B)).bank


def test_no_bank_says_nothing() -> None:
    for found in (banks(), stripe.Account.construct_from({"id": "acct_1"}, "sk_test")):
        assert (state_of(found).bank, state_of(found).bank_masked) == (None, None)


OFF: dict[str, Any] = {"capabilities": {"transfers": "inactive"}, "payouts_enabled": False}


@pytest.mark.parametrize(
    ("changes", "ready", "standing"),
    [
        pytest.param({}, True, Standing.READY, id="ready"),
        pytest.param({"payouts_enabled": False}, False, Standing.IN_REVIEW, id="no-payouts"),
        pytest.param(
            {"capabilities": {"transfers": "pending"}}, False, Standing.IN_REVIEW, id="pending"
        ),
        pytest.param({"capabilities": None}, False, Standing.IN_REVIEW, id="no-capability"),
        pytest.param(
            OFF | {"details_submitted": False}, False, Standing.DETAILS_MISSING, id="begun"
        ),
        pytest.param(
            OFF | {"requirements": {"currently_due": ["external_account"]}},
            False, Standing.DETAILS_MISSING, id="due",
        ),
        pytest.param(
            OFF | {"requirements": {"disabled_reason": "requirements.pending_verification"}},
            False, Standing.IN_REVIEW, id="verification",
        ),
        pytest.param(
            OFF | {"requirements": {"disabled_reason": "under_review"}},
            False, Standing.IN_REVIEW, id="under-review",
        ),
        pytest.param(
            OFF | {"requirements": {"disabled_reason": "rejected.fraud",
                                    "currently_due": ["external_account"]}},
            False, Standing.RESTRICTED, id="rejected",
        ),
        pytest.param(
            OFF | {"requirements": {"disabled_reason": "listed"}},
            False, Standing.RESTRICTED, id="listed",
        ),
        pytest.param(
            {"payouts_enabled": False, "external_accounts": bank("errored")},
            False, Standing.PAYOUTS_FAILING, id="bank-errored",
        ),
        pytest.param({"external_accounts": bank("verified")}, True, Standing.READY, id="bank-good"),
        pytest.param(
            {"requirements": {"currently_due": ["individual.id_number"]}},
            True, Standing.READY, id="ready-and-something-due",
        ),
    ],
)  # fmt: skip
def test_what_an_account_is(changes: dict[str, Any], ready: bool, standing: Standing) -> None:
    found = state_of(account(**changes))
    assert (found.ready, found.standing) == (ready, standing)


@pytest.mark.parametrize(
    ("name", "need"),
    [
        ("external_account", Need.BANK_ACCOUNT),
        ("tos_acceptance.date", Need.TERMS),
        ("individual.verification.document", Need.DOCUMENT),
        ("person_1Nv0.verification.additional_document", Need.DOCUMENT),
        ("individual.dob.day", Need.PERSON),
        ("person_1Nv0.first_name", Need.PERSON),
        ("representative.email", Need.PERSON),
        ("company.tax_id", Need.BUSINESS),
        ("business_profile.url", Need.BUSINESS),
        ("business_type", Need.BUSINESS),
        ("documents.bank_account_ownership_verification.files", Need.DOCUMENT),
        ("something_of_tomorrow", Need.OTHER),
    ],
)
def test_what_stripe_wants_by_class(name: str, need: Need) -> None:
    assert state_of(account(requirements={"currently_due": [name]})).needs == (need,)


def test_each_class_is_named_once_with_its_deadline() -> None:
    due = ["individual.dob.day", "individual.dob.month", "external_account"]
    found = state_of(
        account(requirements={"currently_due": due, "current_deadline": 1_800_000_000})
    )
    assert found.needs == (Need.PERSON, Need.BANK_ACCOUNT)
    assert found.needed_by == datetime(2027, 1, 15, 8, 0, tzinfo=UTC)


def test_an_account_is_made_once_for_a_key_and_names_nobody(
    accounts: StripeAccounts, double: Double
) -> None:
    made = accounts.create(new(), key="acct:env1:7:1")
    assert accounts.create(new(), key="acct:env1:7:1") == made
    found = double.client().v1.accounts.retrieve(made)
    assert found.metadata is not None and found.controller is not None
    assert found.metadata.to_dict() == {"affiliate_id": "7", "env": "env1"}
    assert (found.country, found.email) == ("FR", None)
    assert found.controller.stripe_dashboard is not None
    assert found.controller.stripe_dashboard.type == "express"
    assert found.tos_acceptance is not None
    assert getattr(found.tos_acceptance, "service_agreement", None) is None


def test_another_region_takes_the_recipient_agreement(
    accounts: StripeAccounts, double: Double
) -> None:
    # The double's platform is in Germany.
    assert [accounts.crosses_border(each) for each in ("DE", "FR", "GB", "US", "CH")] == [
        False, False, True, True, True,
    ]  # fmt: skip
    made = accounts.create(new(country="US", cross_border=True), key="acct:env1:8:1")
    found = double.client().v1.accounts.retrieve(made)
    assert found.tos_acceptance is not None
    assert found.tos_acceptance.service_agreement == "recipient"


def test_the_countries_are_those_of_self_serve_transfers() -> None:
    assert {"DE", "FR", "GB", "US", "CA", "CH", "NO", "IS"} <= set(COUNTRIES)
    assert not {"RU", "BR", "IN", "CN"} & set(COUNTRIES)
    assert len(COUNTRIES) == 30 + 4  # the European Economic Area, and four more


def test_the_walk_of_an_account(accounts: StripeAccounts) -> None:
    made = accounts.create(new(affiliate=9), key="acct:env1:9:1")
    before = accounts.state(made)
    assert (before.ready, before.standing) == (False, Standing.DETAILS_MISSING)
    assert before.needs == (Need.BANK_ACCOUNT, Need.TERMS)
    for outcome, standing in (
        ("leave", Standing.DETAILS_MISSING),
        ("review", Standing.IN_REVIEW),
        ("refused", Standing.RESTRICTED),
        ("complete", Standing.READY),
    ):
        answer = go_through(accounts.link(made, **WAYS), outcome)
        assert answer.headers["Location"] == WAYS["return_url"]
        assert accounts.state(made).standing is standing, outcome
    assert accounts.state(made).ready


def go_through(url: str, outcome: str) -> requests.Response:
    """The double's own page, by the button of that outcome."""
    page = requests.get(url, timeout=DEADLINE_S).text
    session = page.split('name="session" value="')[1].split('"')[0]
    given = {"session": session, "outcome": outcome}
    return requests.post(url, data=given, allow_redirects=False, timeout=DEADLINE_S)


def test_the_page_of_the_double_knows_its_own_choices_alone(accounts: StripeAccounts) -> None:
    made = accounts.create(new(affiliate=10), key="acct:env1:10:1")
    assert go_through(accounts.link(made, **WAYS), "whatever").status_code == 400
    assert not accounts.state(made).ready


@pytest.mark.usefixtures("loud")
def test_a_link_is_not_logged_whatever_the_level(
    accounts: StripeAccounts, caplog: pytest.LogCaptureFixture
) -> None:
    made = accounts.create(new(affiliate=11), key="acct:env1:11:1")
    with caplog.at_level(logging.DEBUG):
        url = accounts.link(made, **WAYS)
    token = url.rsplit("/", 1)[1]
    assert token not in caplog.text
    assert KEY not in caplog.text


def test_an_account_that_is_gone_is_closed(accounts: StripeAccounts) -> None:
    assert accounts.state("acct_nobody") == AccountState(
        False, Standing.CLOSED, disabled_reason="account_invalid"
    )
    with pytest.raises(AccountRefused):
        accounts.link("acct_nobody", **WAYS)


def test_what_stripe_does_not_say_is_nothing_known(
    settings: Settings, accounts: StripeAccounts, double: Double
) -> None:
    wrong_key = StripeAccounts(
        replace(settings, stripe_api_key="sk_test_wrong", stripe_api_base=double.url)
    )
    nobody = StripeAccounts(
        replace(settings, stripe_api_key=KEY, stripe_api_base="http://127.0.0.1:9")
    )
    for away in (wrong_key, nobody):
        for ask in (
            lambda one=away: one.state("acct_1"),
            lambda one=away: one.create(new(), key="k"),
            lambda one=away: one.link("acct_1", **WAYS),
            lambda one=away: one.crosses_border("FR"),
        ):
            with pytest.raises(RailAway):
                ask()


def test_a_country_that_stripe_refuses_is_a_definite_no(accounts: StripeAccounts) -> None:
    with pytest.raises(AccountRefused, match="country_unsupported"):
        accounts.create(new(affiliate=12, country="Nowhere"), key="acct:env1:12:1")


def test_another_request_under_the_same_key_says_nothing_of_the_first(
    accounts: StripeAccounts,
) -> None:
    accounts.create(new(affiliate=13), key="acct:env1:13:1")
    with pytest.raises(RailAway):
        accounts.create(new(affiliate=13, country="DE"), key="acct:env1:13:1")


def test_the_pages_that_forms_may_lead_to(settings: Settings, double: Double) -> None:
    own = StripeAccounts(replace(settings, stripe_api_base=f"{double.url}"))
    assert own.page_origins() == (double.url,)
    assert StripeAccounts(settings).page_origins() == STRIPE_PAGES
    assert not StripeAccounts(settings).configured()
