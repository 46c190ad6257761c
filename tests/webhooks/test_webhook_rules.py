"""Forms, addresses, blanks and times of what is told: pure, boundary by boundary."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest

from affiliate.core.errors import Invalid
from affiliate.webhooks import rules
from affiliate.webhooks.rules import CHOSEN, OF_POSTBACKS, Blank, EventType, Outcome, Overlapping

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def code(verb: object, *args: object, **kwargs: object) -> str:
    with pytest.raises(Invalid) as caught:
        verb(*args, **kwargs)  # type: ignore[operator]
    return caught.value.errors[0].code


def test_a_message_has_type_timestamp_and_data_in_the_words_of_the_api() -> None:
    facts = {
        "commission": 17, "affiliate": 4, "via": None, "level": 1, "order_id": "Ž-1",
        "currency": "RUB", "amount_micros": 10_500_000, "left_micros": 0,
        "available_at": "2026-12-11T12:00:00+03:00",
    }  # fmt: skip
    body = rules.body_of("commission.earned", NOW, facts)
    assert "Ž-1" in body and " " not in body
    assert json.loads(body) == {
        "type": "commission.earned",
        "timestamp": "2026-11-27T12:00:00Z",
        "data": {
            "commission": rules.public_id("com", 17), "affiliate": rules.public_id("aff", 4),
            "level": 1, "order_id": "Ž-1", "amount": {"amount": "10.50", "currency": "RUB"},
            "left": {"amount": "0.00", "currency": "RUB"},
            "available_at": "2026-12-11T09:00:00Z",
        },
    }  # fmt: skip


def test_shares_name_affiliates_and_no_clicks() -> None:
    shares = [{"enrollment_id": 4, "weight": "1", "evidence": "click", "click_id": "secret"}]
    assert rules.data_of({"order_id": "A", "shares": shares})["shares"] == [
        {"affiliate": rules.public_id("aff", 4), "weight": "1", "evidence": "click"}
    ]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(None, "failed"), (199, "failed"), (200, "delivered"), (204, "delivered"),
     (299, "delivered"), (300, "failed"), (301, "failed"), (404, "failed"), (410, "gone"),
     (500, "failed")],
)  # fmt: skip
def test_any_2xx_is_a_delivery_and_nothing_else(status: int | None, outcome: str) -> None:
    assert rules.outcome_of(status) is Outcome(outcome)


@pytest.mark.parametrize(
    ("failures", "rest_s"), [(1, None), (2, None), (3, 5), (4, 10), (8, 160), (9, 300), (99, 300)]
)
def test_an_endpoint_rests_longer_the_more_it_fails(failures: int, rest_s: int | None) -> None:
    until = rules.rest_until(failures, now=NOW)
    assert until == (None if rest_s is None else NOW + timedelta(seconds=rest_s))


def test_the_schedule_ends_after_ten_attempts() -> None:
    assert rules.next_try_at(9, now=NOW, retry_after=None) == NOW + timedelta(days=1)
    assert rules.next_try_at(10, now=NOW, retry_after="60") is None


@pytest.mark.parametrize(("days", "dead"), [(0, False), (4.999, False), (5, True), (9, True)])
def test_five_days_of_failures_alone_end_an_endpoint(days: float, dead: bool) -> None:
    assert rules.is_dead(NOW - timedelta(days=days), now=NOW) is dead
    assert rules.is_dead(None, now=NOW) is False


def test_secrets_are_of_the_size_and_spelling_of_the_specification() -> None:
    made = {rules.new_secret() for _ in range(100)}
    assert len(made) == 100
    for secret in made:
        assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) <= 64


@pytest.mark.parametrize(
    ("until", "signing"),
    [(None, ("new",)), (NOW, ("new",)), (NOW + timedelta(seconds=1), ("new", "old"))],
)
def test_the_secret_before_signs_until_its_end(
    until: datetime | None, signing: tuple[str, ...]
) -> None:
    assert Overlapping("new", "old", until).at(NOW) == signing


@pytest.mark.abuse("A30")
@pytest.mark.parametrize(
    "url",
    [
        "", "http://shop.example/", "ftp://shop.example/", "gopher://shop.example/",
        "//shop.example",
        "https://", "https://shop.example:8443/", "https://user:pw@shop.example/",
        "https://shop.example@10.0.0.1/", "https://10.0.0.1/", "https://169.254.169.254/latest",
        "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://[64:ff9b::a00:1]/",
        "https://[fe80::1]/", "https://224.0.0.1/", "https://0.0.0.0/", "https://localhost/",
        "https://127.0.0.1/", "https://shöp.example/", "https://shop.example/a b",
        "https://shop.example/\r\nX: 1", "javascript:alert(1)", "file:///etc/passwd",
        f"https://shop.example/{'x' * 1_000}",
    ],
)  # fmt: skip
def test_an_endpoint_leads_to_https_at_a_public_host_and_nowhere_else(url: str) -> None:
    assert code(rules.endpoint_url, url, plain_loopback=False) == "not_allowed"
    assert code(rules.postback_url, url, plain_loopback=False) in ("not_allowed", "too_long")


def test_http_to_the_own_machine_is_for_demo_and_tests_alone() -> None:
    url = "http://127.0.0.1:9000/hook"
    assert rules.endpoint_url(f" {url} ", plain_loopback=True) == url
    assert code(rules.endpoint_url, url, plain_loopback=False) == "not_allowed"


@pytest.mark.parametrize(
    ("url", "refused"),
    [
        ("https://t.example/?c={click_id}&s={sub1}{sub5}&l={level}", None),
        ("https://t.example/{order_id}/x", None),
        ("https://t.example/?c={clickid}", "unknown_placeholder"),
        ("https://t.example/?c={email}", "unknown_placeholder"),
        ("https://t.example/?c={}", "unknown_placeholder"),
        ("https://t.example/?c={click_id", "unknown_placeholder"),
        ("https://t.example/?c=click_id}", "unknown_placeholder"),
        ("https://t.example/?c={{click_id}}", "unknown_placeholder"),
        ("https://{sub1}/", "placeholder_in_host"),
        ("https://{sub1}.t.example/", "placeholder_in_host"),
        ("https://t.example?{sub1}", None),
    ],
)  # fmt: skip
def test_a_postback_has_known_blanks_behind_its_host(url: str, refused: str | None) -> None:
    if refused is None:
        assert rules.postback_url(url, plain_loopback=False) == url
    else:
        assert code(rules.postback_url, url, plain_loopback=False) == refused


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain-1", "plain-1"), ("a b&c=d#e", "a%20b%26c%3Dd%23e"),
        ("../../x?y", "..%2F..%2Fx%3Fy"),
        ("{sub2}", "%7Bsub2%7D"), ("\r\nX: 1", "%0D%0AX%3A%201"), ("Ž", "%C5%BD"),
        ("http://10.0.0.1/", "http%3A%2F%2F10.0.0.1%2F"), ("", ""),
    ],
)  # fmt: skip
def test_a_value_is_encoded_whatever_it_is(value: str, shown: str) -> None:
    values = {Blank.SUB1: value, Blank.SUB2: "never"}
    assert rules.filled("https://t.example/?a={sub1}&b={sub3}", values) == (
        f"https://t.example/?a={shown}&b="
    )


def test_every_event_of_a_postback_fills_every_blank_but_the_clicks() -> None:
    facts = {"commission": 1, "level": 1, "left_micros": 300, "currency": "RUB", "order_id": None}
    for type_ in (*OF_POSTBACKS, EventType.TEST):
        values = rules.blanks_of(type_, facts)
        assert values[Blank.COMMISSION] == "0.0003" and values[Blank.ORDER_ID] == ""
        assert set(Blank) - values.keys() == {
            Blank.CLICK_ID, Blank.SUB1, Blank.SUB2, Blank.SUB3, Blank.SUB4, Blank.SUB5,
        }  # fmt: skip


def test_types_are_chosen_out_of_the_list_each_once() -> None:
    names = ["payout.paid", "order.created", "order.created"]
    assert rules.chosen_types(names, among=CHOSEN) == ["order.created", "payout.paid"]
    for wrong in ([], ["order.eaten"], ["webhook.test"]):
        assert code(rules.chosen_types, wrong, among=CHOSEN) == "unknown_type"
    assert code(rules.chosen_types, ["order.created"], among=OF_POSTBACKS) == "unknown_type"


@pytest.mark.parametrize(
    ("text", "kept"), [("  Books  of\tours ", "Books of ours"), ("x" * 100, "x" * 100)]
)
def test_a_description_loses_its_edges(text: str, kept: str) -> None:
    assert rules.described(text) == kept


@pytest.mark.parametrize("text", ["x" * 101, "a\x07b", "a\u202eb"])
def test_a_description_that_is_long_or_turns_text_is_refused(text: str) -> None:
    assert code(rules.described, text) == "too_long"
