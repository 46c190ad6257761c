"""Profile, then choice, then browser: in which language a reader is answered."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from builders import terms_document
from flask import Flask
from flask.testing import FlaskClient
from flask_babel import force_locale
from sqlalchemy.orm import Session
from world import World

from affiliate.core import languages, pages
from affiliate.core.config import Settings
from affiliate.core.errors import Invalid, Phrase
from affiliate.core.money import Money
from affiliate.core.outbox import Mail
from affiliate.people.models import User
from affiliate.programs.terms_document import load as terms_document_load
from tests.desks.staff import hire
from tracker.clicks.pages import chosen_language, error_page, language_of

RUSSIAN = {"Accept-Language": "ru-RU,ru;q=0.9,en;q=0.8"}
PASSWORD = "a lamp under the leaf"
ENGLISH = {"Accept-Language": "en-GB,en;q=0.9"}


@pytest.fixture
def world(app: Flask, settings: Settings, session: Session) -> World:
    with app.app_context():
        return World.build(app, settings, session)


def lang(client: FlaskClient, path: str = "/", **headers: str) -> str:
    text = client.get(path, headers={name.replace("_", "-"): v for name, v in headers.items()}).text
    return text.partition('<html lang="')[2].partition('"')[0]


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("ru", "ru"),
        ("ru-RU,ru;q=0.9,en;q=0.8", "ru"),
        ("en-US,en;q=0.9,ru;q=0.8", "en"),
        ("fr-FR,fr;q=0.9,ru;q=0.4", "ru"),
        ("de", "en"),
        ("*", "en"),
        (";;;=,,", "en"),
    ],
)
def test_the_browser_decides_where_nobody_has_chosen(
    client: FlaskClient, accepted: str, language: str
) -> None:
    assert lang(client, Accept_Language=accepted) == language
    assert language_of(accepted) == language


def test_a_choice_goes_before_the_browser(client: FlaskClient) -> None:
    answer = client.get("/language/ru?next=/contact", headers=ENGLISH)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/contact")
    assert "HttpOnly" in answer.headers["Set-Cookie"]
    assert lang(client, Accept_Language="en") == "ru"
    client.get("/language/en")
    assert lang(client, Accept_Language="ru") == "en"


def test_a_profile_goes_before_a_choice_and_the_switch_changes_it(world: World) -> None:
    anna = world.affiliate("Anna")
    anna.client.set_cookie(languages.COOKIE, "ru")
    assert lang(anna.client, "/account/", Accept_Language="ru") == "en"
    page = anna.client.get("/account/orders?status=paid")
    assert 'action="/language/ru"' in page.text
    assert 'name="next" value="/account/orders?status=paid"' in page.text
    token = page.text.partition('name="csrf_token" value="')[2].partition('"')[0]
    answer = anna.client.post(
        "/language/ru", data={"csrf_token": token, "next": "/account/orders?status=paid"}
    )
    assert answer.headers["Location"] == "/account/orders?status=paid"
    assert lang(anna.client, "/account/", Accept_Language="en") == "ru"
    world.session.rollback()
    assert world.session.get_one(User, anna.user_id).locale == "ru"


def test_a_switch_that_another_site_sends_changes_no_profile(world: World) -> None:
    anna = world.affiliate("Anna")
    assert anna.client.post("/language/ru").status_code == 400
    assert world.session.get_one(User, anna.user_id).locale == "en"


def test_a_visitor_has_no_profile_to_change(client: FlaskClient) -> None:
    token = client.get("/sign-in").text.partition('name="csrf_token" value="')[2].partition('"')[0]
    answer = client.post("/language/ru", data={"csrf_token": token})
    assert answer.headers["Location"].startswith("/sign-in")


@pytest.mark.parametrize("wanted", ["//evil.example", "https://evil.example/", "/\\evil.example"])
def test_the_switch_leads_to_no_other_site(client: FlaskClient, wanted: str) -> None:
    answer = client.get("/language/ru", query_string={"next": wanted})
    assert answer.headers["Location"] == "/"


def test_a_language_without_a_catalogue_cannot_be_chosen(client: FlaskClient) -> None:
    for code in ("de", "../ru", "RU", "ru_RU"):
        assert client.get(f"/language/{code}").status_code == 404
    client.set_cookie(languages.COOKIE, "de")
    assert lang(client) == "en"


def test_a_visitor_gets_no_session_by_looking_at_a_page(client: FlaskClient) -> None:
    """The switch of a visitor needs no token, so no cookie is set before they choose."""
    assert "Set-Cookie" not in client.get("/").headers
    assert 'action="/language/ru"' in client.get("/").text


def test_machines_are_answered_in_english(client: FlaskClient) -> None:
    answer = client.get("/api/v1/programs", headers=RUSSIAN)
    assert answer.json is not None
    said = f"{answer.json['title']} {answer.json['detail']}"
    assert "Send a valid API key" in said
    assert not re.search("[а-яё]", said, re.IGNORECASE)


def test_a_refusal_speaks_the_language_of_its_page(client: FlaskClient) -> None:
    answer = client.get("/programs/nowhere", headers=RUSSIAN)
    assert answer.status_code == 404
    assert "По этому адресу программы нет." in answer.text
    assert "There is" not in answer.text
    missing = client.get("/no/such/page", headers=RUSSIAN).text
    assert "Такой страницы нет" in missing
    assert "Not Found" not in missing


def test_a_phrase_is_english_to_machines_and_local_to_people(app: Flask) -> None:
    phrase = Phrase("Available: %(amount)s.", amount=Money(1_234_500_000, "RUB"))
    assert phrase == "Available: 1234.50 RUB."
    both = Phrase(
        "Payouts are locked. %(why)s", why=(Phrase("A person stopped payouts."), "x 100%")
    )
    assert both == "Payouts are locked. A person stopped payouts. x 100%"
    with app.test_request_context(headers=RUSSIAN):
        assert pages.say(phrase) == "Доступно: 1\N{NO-BREAK SPACE}234,50\N{NO-BREAK SPACE}RUB."
        assert pages.say(both) == "Выплаты заблокированы. Сотрудник остановил выплаты. x 100%"
        assert pages.say("Somebody's own words, 100%.") == "Somebody's own words, 100%."
    with app.test_request_context(headers=ENGLISH):
        assert pages.say(phrase) == "Available: 1,234.50\N{NO-BREAK SPACE}RUB."


def test_what_the_rule_document_refuses_is_told_in_the_readers_language(app: Flask) -> None:
    document = terms_document()
    document["commission"]["level_1"] = {"kind": "percent", "rate_ppm": 990_000}
    document["payout"]["hold_days"] = 4_000
    assert spoken(app, document, ENGLISH) == {
        "payout.hold_days": "A whole number from 0 to 365.",
        "commission.level_2": "Level 1 reaches 99 % of the sale by level 1; with 2 % of level 2 "
        "both are over the whole sale.",
    }
    assert spoken(app, document, RUSSIAN) == {
        "payout.hold_days": "Целое число от 0 до 365.",
        "commission.level_2": "Первый уровень доходит до 99 % продажи (ставка первого уровня); "
        "с 2 % второго уровня вместе это больше всей продажи.",
    }


def spoken(app: Flask, document: dict[str, Any], reader: dict[str, str]) -> dict[str, str]:
    """The refusals of a rule document, path by path, as a page says them to this reader."""
    with pytest.raises(Invalid) as found:
        terms_document_load(document, "RUB")
    with app.test_request_context(headers=reader):
        return {error.field: pages.say(error.message) for error in found.value.errors}


def test_numbers_follow_the_language(app: Flask) -> None:
    with app.test_request_context(headers=RUSSIAN):
        assert pages.percent(125_000) == "12,5\N{NO-BREAK SPACE}%"
        assert pages.percentage(Decimal("0.1"), digits=".0#") == "10,0\N{NO-BREAK SPACE}%"
    with app.test_request_context(headers=ENGLISH):
        assert pages.percent(125_000) == "12.5%"
        assert pages.percentage(Decimal("0.1"), digits="") == "10%"


def test_a_letter_is_written_in_its_receivers_language(world: World) -> None:
    """Finance and managers may read English; what they do is told in the affiliate's own."""
    newcomer = world.affiliate("Newcomer", approved=False)
    world.session.get_one(User, newcomer.user_id).locale = "ru"
    world.session.commit()
    manager = hire(world, "manager").client
    page = manager.get(f"/manage/applications?program={world.program.slug}")
    action = page.text.partition("/approval")[0].rpartition('action="')[2] + "/approval"
    token = page.text.partition('name="csrf_token" value="')[2].partition('"')[0]
    assert manager.post(action, data={"csrf_token": token}).status_code == 303
    mail = world.session.scalars(sa.select(Mail).order_by(Mail.id.desc())).first()
    assert mail is not None
    assert mail.subject == "Добро пожаловать в программу «Lamp & Leaf partners»"
    assert "Здравствуйте" in mail.text
    assert '<html lang="ru">' in mail.html


def test_whoever_registers_in_russian_is_written_to_in_russian(
    client: FlaskClient, session: Session
) -> None:
    client.get("/language/ru")
    token = client.get("/sign-up").text.partition('name="csrf_token" value="')[2].partition('"')[0]
    form = {"csrf_token": token, "name": "Вера", "email": "vera@example.com", "password": PASSWORD}
    client.post("/sign-up", data=form)
    assert session.scalar(sa.select(User.locale)) == "ru"
    assert session.scalar(sa.select(Mail.subject)) == "Подтвердите свой адрес"


def test_the_front_says_its_few_pages_in_the_chosen_language() -> None:
    assert chosen_language("a=1; kopeck_language=ru; b=2") == "ru"
    assert chosen_language("kopeck_language=ru") == "ru"
    for cookies in ("", "kopeck_language=de", "xkopeck_language=ru", "kopeck_language=ru2"):
        assert chosen_language(cookies) == ""
    page = error_page(404, "ru", [("Лампы", "https://shop.example/")]).decode()
    assert '<html lang="ru">' in page
    assert "Эта ссылка никуда не ведёт" in page


def test_every_language_can_be_forced_for_a_letter(app: Flask) -> None:
    with app.app_context():
        for code in languages.LANGUAGES:
            with force_locale(code):
                assert pages.language() == code


@pytest.mark.parametrize(
    ("micros", "currency", "headers", "shown"),
    [
        (1_234_500_000, "RUB", ENGLISH, "1,234.50 RUB"),
        (1_234_500_004, "RUB", ENGLISH, '1,234.50<span class="money-rest">0004</span> <wbr>RUB'),
        (-6_264_205, "RUB", RUSSIAN, '−6,26<span class="money-rest">4205</span> <wbr>RUB'),
        (700_000, "JPY", ENGLISH, '0.<span class="money-rest">7</span> <wbr>JPY'),
    ],
)
def test_digits_below_the_minor_unit_are_quieter_than_the_others(
    app: Flask, micros: int, currency: str, headers: dict[str, str], shown: str
) -> None:
    with app.test_request_context(headers=headers):
        marked = str(pages.money_marked(Money(micros, currency)))
    assert marked.replace("\N{NO-BREAK SPACE}", " ") == shown
