"""Signing in and out, registering, verifying, resetting, changing one's address."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
import time_machine
from browsing import BASE, PASSWORD, Browser, link_in, mails_to, make_person
from flask import Flask
from sqlalchemy.orm import Session

from affiliate.core.clock import real_now
from affiliate.people import mail_links, passwords, users
from affiliate.people.models import User, UserSession
from affiliate.people.next_page import is_own_path

ADA = "ada@example.com"
NEW_PASSWORD = "another leaf under the lamp"


@pytest.fixture
def ada(app: Flask, session: Session) -> User:
    return make_person(session, ADA)


@pytest.fixture
def browser(app: Flask) -> Browser:
    return Browser(app)


def reload(session: Session, user: User) -> User:
    session.rollback()
    session.refresh(user)
    return user


def test_the_right_password_signs_in_and_a_wrong_one_does_not(browser: Browser, ada: User) -> None:
    assert browser.sign_in(ADA, "not the password").status_code == 401
    assert not browser.signed_in
    answer = browser.sign_in(ADA)
    assert answer.status_code == 303
    assert browser.signed_in


def test_addresses_are_compared_without_case(browser: Browser, ada: User) -> None:
    assert browser.sign_in("ADA@Example.com").status_code == 303


def test_passwords_are_stored_as_argon2id(session: Session, ada: User) -> None:
    assert ada.password is not None and ada.password.startswith("$argon2id$")


def test_a_password_typed_in_another_unicode_form_is_the_same() -> None:
    assert passwords.matches(passwords.hashed("Caf\u00e9 and lamps"), "Cafe\u0301 and lamps")


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("short", "too_short"),
        ("x" * 201, "too_long"),
        ("ada@example.com", "is_email"),
        ("aaaaaaaaaaaa", "too_simple"),
    ],
)
def test_passwords_that_are_no_secret_are_refused(password: str, code: str) -> None:
    with pytest.raises(users.Invalid) as refused:
        passwords.check_rules(password, email=ADA)
    assert refused.value.errors[0].code == code


@pytest.mark.abuse("A26")
def test_signing_in_gives_a_new_session_and_keeps_nothing_planted(
    app: Flask, session: Session, ada: User
) -> None:
    victim = Browser(app)
    with victim.client.session_transaction(base_url=BASE) as cookie:
        cookie["sign_in"] = "planted"
        cookie["left_by"] = "somebody else"
    planted = victim.cookie()
    victim.sign_in(ADA)
    thief = Browser(app)
    thief.take_over(planted)
    assert not thief.signed_in
    with victim.client.session_transaction(base_url=BASE) as cookie:
        assert cookie["sign_in"] != "planted"
        assert "left_by" not in cookie


@pytest.mark.abuse("A26")
def test_a_second_sign_in_in_the_same_browser_ends_the_first(
    browser: Browser, session: Session, ada: User
) -> None:
    browser.sign_in(ADA)
    first = browser.cookie()
    browser.post("/sign-in", page="/profile", email=ADA, password=PASSWORD)
    assert browser.cookie() != first
    live = session.scalar(sa.select(sa.func.count()).where(UserSession.revoked_at.is_(None)))
    assert live == 1


@pytest.mark.abuse("A26")
def test_signing_out_ends_the_session_on_the_server(
    app: Flask, browser: Browser, ada: User
) -> None:
    browser.sign_in(ADA)
    stolen = browser.cookie()
    browser.post("/sign-out", page="/profile")
    thief = Browser(app)
    thief.take_over(stolen)
    assert not browser.signed_in
    assert not thief.signed_in


@pytest.mark.parametrize("path", ["/profile", "/profile?tab=1"])
def test_after_signing_in_one_is_where_one_wanted_to_be(
    browser: Browser, ada: User, path: str
) -> None:
    asked = browser.get(path)
    assert asked.status_code == 303
    answer = browser.send(
        asked.location,
        data={"csrf_token": browser.token("/sign-in"), "email": ADA, "password": PASSWORD},
    )
    assert answer.location == path


@pytest.mark.abuse("A1")
@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "/a\r\nSet-Cookie: x=1",
        "",
        "/sign-in?next=/",
    ],
)
def test_next_leads_only_to_our_own_pages(path: str) -> None:
    assert not is_own_path(path)
    assert is_own_path("/account/orders?page=2")


@pytest.mark.parametrize(("role", "landing"), [("owner", "/manage"), ("", "/")])
def test_a_person_lands_where_the_role_lives(
    app: Flask, session: Session, browser: Browser, role: str, landing: str
) -> None:
    make_person(session, "boris@example.com", role=role)
    assert browser.sign_in("boris@example.com").location == landing


@pytest.mark.abuse("A27")
def test_an_unknown_address_a_wrong_password_and_a_disabled_user_answer_the_same(
    app: Flask, session: Session, ada: User
) -> None:
    gone = make_person(session, "gone@example.com")
    users.disable_user(session, user_id=gone.id, by=None, now=real_now())
    session.commit()
    answers = []
    for i, (email, password) in enumerate(
        [(ADA, "wrong password"), ("nobody@example.com", PASSWORD), ("gone@example.com", PASSWORD)]
    ):
        answer = Browser(app, address=f"10.0.0.{i}").sign_in(email, password)
        page = answer.text.replace(email, "")
        answers.append((answer.status_code, "do not go together" in page, page.count("<")))
    assert len(set(answers)) == 1
    assert answers[0][:2] == (401, True)


@pytest.mark.abuse("A27")
def test_an_unknown_address_costs_the_same_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    verified = []
    real = passwords._hasher
    passwords._nobodys_hash()

    class Counting:
        def verify(self, stored: str, password: str) -> bool:
            verified.append(stored.split("$")[1:4])
            return real.verify(stored, password)

    monkeypatch.setattr(passwords, "_hasher", Counting())
    assert not passwords.matches(None, PASSWORD)
    assert not passwords.matches(real.hash("something else"), PASSWORD)
    assert verified[0] == verified[1]


@pytest.mark.abuse("A27")
def test_nobody_signs_in_with_the_stand_in_for_unknown_users() -> None:
    assert not passwords.matches(None, "nobody has this password")


@pytest.mark.abuse("A27")
def test_guessing_is_slowed_for_that_account_and_address_alone(app: Flask, ada: User) -> None:
    guesser = Browser(app, address="10.1.1.1")
    answers = [guesser.sign_in(ADA, f"guess {i}").status_code for i in range(6)]
    assert answers == [401] * 5 + [429]
    limited = guesser.sign_in(ADA)
    assert limited.status_code == 429
    assert int(limited.headers["Retry-After"]) > 0
    assert Browser(app, address="10.1.1.2").sign_in(ADA).status_code == 303


@pytest.mark.abuse("A27")
def test_guessing_over_many_accounts_is_slowed_for_the_address(app: Flask, ada: User) -> None:
    stuffer = Browser(app, address="10.2.2.2")
    answers = [stuffer.sign_in(f"u{i}@example.com", "guess").status_code for i in range(31)]
    assert answers[:30] == [401] * 30
    assert answers[30] == 429


@pytest.mark.abuse("A27")
def test_an_account_is_never_locked_for_good(app: Flask, ada: User) -> None:
    guesser = Browser(app, address="10.3.3.3")
    for i in range(6):
        guesser.sign_in(ADA, f"guess {i}")
    from affiliate.people.limits import limiter

    limiter.reset()  # what the window's end does
    assert guesser.sign_in(ADA).status_code == 303


@pytest.mark.abuse("A49")
def test_sign_in_goes_on_and_is_braked_while_valkey_is_away(
    app: Flask, ada: User, session: Session
) -> None:
    from affiliate.people.limits import limiter

    app.config["RATELIMIT_STORAGE_URI"] = "redis://127.0.0.1:9"
    limiter.init_app(app)
    guesser = Browser(app, address="10.4.4.4")
    answers = [guesser.sign_in(ADA, f"guess {i}").status_code for i in range(6)]
    assert answers == [401] * 5 + [429]
    assert Browser(app, address="10.4.4.5").sign_in(ADA).status_code == 303


@pytest.mark.abuse("A23")
@pytest.mark.parametrize(
    "path",
    [
        "/sign-in",
        "/sign-out",
        "/profile",
        "/profile/password",
        "/profile/email",
        "/profile/sessions/revocation",
        "/manage/keys",
        "/manage/staff/invitations",
    ],
)
def test_a_form_without_its_token_is_refused(
    app: Flask, session: Session, browser: Browser, path: str
) -> None:
    make_person(session, "owner@example.com", role="owner")
    browser.sign_in("owner@example.com")
    answer = browser.send(path, data={"email": "x@example.com"})
    assert answer.status_code == 400
    assert "no longer valid" in answer.text


@pytest.mark.abuse("A23")
def test_another_persons_token_does_not_fit(app: Flask, session: Session, ada: User) -> None:
    make_person(session, "eve@example.com")
    eve, victim = Browser(app), Browser(app)
    eve.sign_in("eve@example.com")
    victim.sign_in(ADA)
    token = eve.token("/profile")
    answer = victim.send("/profile", data={"csrf_token": token, "name": "Mallory"})
    assert answer.status_code == 400


@pytest.mark.abuse("A23")
def test_cookies_are_httponly_and_lax_and_host_bound_over_https(
    production_settings: object, ada: User
) -> None:
    from wsgi import create_app

    made = create_app(production_settings)  # type: ignore[arg-type]
    assert made.config["SESSION_COOKIE_NAME"] == "__Host-kopeck"
    assert made.config["SESSION_COOKIE_SECURE"] and made.config["SESSION_COOKIE_HTTPONLY"]
    assert made.config["SESSION_COOKIE_SAMESITE"] == "Lax"


def register(browser: Browser, email: str, **more: str) -> object:
    return browser.post("/sign-up", name="Nora", email=email, password=NEW_PASSWORD, **more)


def test_registering_verifying_elsewhere_and_signing_in(
    app: Flask, browser: Browser, session: Session
) -> None:
    answer = register(browser, "nora@example.com", next="/profile")
    assert "Look into your mailbox" in answer.text  # type: ignore[attr-defined]
    assert browser.sign_in("nora@example.com", NEW_PASSWORD).status_code == 200
    assert not browser.signed_in
    path = link_in(mails_to(session, "nora@example.com")[0])
    phone = Browser(app)
    assert phone.get(path).status_code == 200
    assert session.scalar(sa.select(User.confirmed_at)) is None, "a scanner's GET verifies nothing"
    session.rollback()
    assert phone.post(path).location == "/sign-in?next=%2Fprofile"
    assert not phone.signed_in
    assert phone.sign_in("nora@example.com", NEW_PASSWORD).status_code == 303
    assert phone.signed_in
    assert browser.get(path).status_code == 410


def test_the_browser_that_registered_goes_on_without_the_password(
    browser: Browser, session: Session
) -> None:
    register(browser, "nora@example.com", next="/profile")
    path = link_in(mails_to(session, "nora@example.com")[0])
    assert not browser.signed_in
    assert browser.post(path).location == "/profile"
    assert browser.signed_in
    with browser.client.session_transaction(base_url=BASE) as cookie:
        assert "registering" not in cookie


@pytest.mark.abuse("A26", "A28")
@pytest.mark.parametrize("secret", [None, "", "invented", 7])
def test_no_other_browser_is_let_in_by_the_link_alone(
    app: Flask, browser: Browser, session: Session, secret: object
) -> None:
    """Whoever reads the mail, has registered somebody else or invents a secret."""
    register(browser, "nora@example.com")
    path = link_in(mails_to(session, "nora@example.com")[0])
    other = Browser(app)
    register(other, "vera@example.com")
    if secret is not None:
        with other.client.session_transaction(base_url=BASE) as cookie:
            cookie["registering"] = secret
    assert other.post(path).location == "/sign-in"
    assert not other.signed_in
    assert not browser.signed_in


@pytest.mark.abuse("A27")
def test_the_cookie_of_a_known_address_looks_like_that_of_a_new_one(
    app: Flask, session: Session, ada: User
) -> None:
    kept = []
    for email in (ADA, "nora@example.com"):
        guest = Browser(app)
        register(guest, email)
        with guest.client.session_transaction(base_url=BASE) as cookie:
            kept.append({name: len(str(value)) for name, value in cookie.items()})
    assert kept[0] == kept[1]
    assert "registering" in kept[0]


@pytest.mark.abuse("A28")
def test_a_verification_link_of_before_the_upgrade_still_works(
    app: Flask, browser: Browser, session: Session
) -> None:
    register(browser, "nora@example.com")
    user = session.scalars(sa.select(User).where(User.email == "nora@example.com")).one()
    with app.app_context():
        purpose = mail_links.Purpose.VERIFY
        token = mail_links._serializer(purpose).dumps(
            [user.id, "", mail_links._digest(user, purpose)]
        )
    assert browser.post(f"/verify/{token}").location == "/sign-in"


@pytest.mark.abuse("A27")
def test_registering_a_known_address_looks_the_same_and_changes_nothing(
    app: Flask, session: Session, ada: User
) -> None:
    before = ada.password
    known = register(Browser(app), ADA).text  # type: ignore[attr-defined]
    fresh = register(Browser(app), "nora@example.com").text  # type: ignore[attr-defined]
    assert known.replace(ADA, "") == fresh.replace("nora@example.com", "")
    assert [mail.template for mail in mails_to(session, ADA)] == ["people/already_registered"]
    assert reload(session, ada).password == before
    assert ada.name == "Ada"


def test_registering_with_a_weak_password_says_why_beside_the_field(browser: Browser) -> None:
    answer = browser.post("/sign-up", name="N", email="n@example.com", password="short")
    assert "Use at least 10 characters." in answer.text


@pytest.mark.abuse("A3")
@pytest.mark.parametrize(
    "email", ["a@b.example\r\nBcc: x@y.example", "a b@c.example", "nobody", ""]
)
def test_addresses_that_are_none_are_refused(email: str) -> None:
    with pytest.raises(users.Invalid):
        users.check_email(email)


def ask_reset(browser: Browser, session: Session) -> str:
    assert browser.post("/forgot-password", email=ADA).status_code == 200
    return link_in(mails_to(session, ADA)[-1])


@pytest.mark.abuse("A28")
def test_a_reset_link_works_once(browser: Browser, session: Session, ada: User) -> None:
    path = ask_reset(browser, session)
    assert browser.post(path, password=NEW_PASSWORD).location == "/sign-in"
    assert browser.get(path).status_code == 410
    assert browser.sign_in(ADA, PASSWORD).status_code == 401
    assert browser.sign_in(ADA, NEW_PASSWORD).status_code == 303


@pytest.mark.abuse("A28")
def test_a_reset_ends_every_session_and_tells_the_address(
    app: Flask, browser: Browser, session: Session, ada: User
) -> None:
    signed_in = Browser(app)
    signed_in.sign_in(ADA)
    path = ask_reset(browser, session)
    browser.post(path, password=NEW_PASSWORD)
    assert not signed_in.signed_in
    assert mails_to(session, ADA)[-1].template == "people/password_changed"


@pytest.mark.abuse("A28")
@pytest.mark.parametrize(("minutes", "status"), [(59, 200), (61, 410)])
def test_a_reset_link_lives_for_an_hour(
    browser: Browser, session: Session, ada: User, minutes: int, status: int
) -> None:
    path = ask_reset(browser, session)
    with time_machine.travel(real_now() + timedelta(minutes=minutes), tick=False):
        assert browser.get(path).status_code == status


@pytest.mark.abuse("A28")
def test_a_reset_link_cannot_be_guessed_or_used_for_another_purpose(
    app: Flask, browser: Browser, session: Session, ada: User
) -> None:
    path = ask_reset(browser, session)
    assert browser.get(path[:-1] + ("A" if path[-1] != "A" else "B")).status_code == 410
    assert browser.get(path.replace("/reset-password/", "/verify/")).status_code == 410
    assert browser.get("/reset-password/x").status_code == 410


@pytest.mark.abuse("A28")
def test_a_newer_password_makes_older_links_void(
    app: Flask, browser: Browser, session: Session, ada: User
) -> None:
    first, second = ask_reset(browser, session), ask_reset(browser, session)
    browser.post(second, password=NEW_PASSWORD)
    assert browser.get(first).status_code == 410


@pytest.mark.abuse("A28")
@pytest.mark.abuse("A2")
def test_links_in_mails_come_from_the_settings_not_from_the_host(
    app: Flask, browser: Browser, session: Session, ada: User
) -> None:
    token = browser.token("/forgot-password")
    browser.send(
        "/forgot-password",
        data={"csrf_token": token, "email": ADA},
        headers={"X-Forwarded-Host": "evil.example", "X-Forwarded-For": "1.2.3.4"},
    )
    mail = mails_to(session, ADA)[-1]
    assert "evil" not in mail.text + mail.html
    poisoned = browser.send(
        "/forgot-password",
        data={"csrf_token": token, "email": ADA},
        headers={"Host": "evil.example"},
    )
    assert poisoned.status_code == 400


@pytest.mark.abuse("A28")
def test_the_reset_mail_is_marked_as_one_time(
    browser: Browser, session: Session, ada: User
) -> None:
    ask_reset(browser, session)
    assert mails_to(session, ADA)[-1].one_time


@pytest.mark.abuse("A27")
def test_asking_a_reset_for_an_unknown_address_looks_the_same(
    app: Flask, session: Session, ada: User
) -> None:
    known = Browser(app).post("/forgot-password", email=ADA)
    unknown = Browser(app).post("/forgot-password", email="nobody@example.com")
    assert known.status_code == unknown.status_code == 200
    assert known.text.replace(ADA, "") == unknown.text.replace("nobody@example.com", "")
    assert mails_to(session, "nobody@example.com") == []


def test_strangers_cannot_fill_a_mailbox(app: Flask, ada: User) -> None:
    answers = [
        Browser(app, address=f"10.9.0.{i}").post("/forgot-password", email=ADA).status_code
        for i in range(6)
    ]
    assert answers == [200] * 5 + [429]


def ask_change(browser: Browser, session: Session, email: str) -> str:
    answer = browser.post("/profile/email", page="/profile", email=email)
    assert answer.status_code == 303
    return link_in(mails_to(session, email)[-1])


@pytest.mark.abuse("A28")
def test_a_new_address_counts_once_verified_and_the_old_one_is_told(
    app: Flask, browser: Browser, session: Session, ada: User
) -> None:
    browser.sign_in(ADA)
    path = ask_change(browser, session, "new@example.com")
    assert reload(session, ada).email == ADA
    session.rollback()
    assert browser.get(path).status_code == 200
    assert browser.post(path).status_code == 303
    assert reload(session, ada).email == "new@example.com"
    assert mails_to(session, ADA)[-1].template == "people/address_changed"
    assert browser.get(path).status_code == 410


@pytest.mark.abuse("A28")
def test_changing_the_address_makes_reset_links_to_the_old_one_void(
    app: Flask, browser: Browser, session: Session, ada: User
) -> None:
    reset_path = ask_reset(browser, session)
    browser.sign_in(ADA)
    browser.post(ask_change(browser, session, "new@example.com"))
    assert browser.get(reset_path).status_code == 410


@pytest.mark.abuse("A27")
def test_changing_to_a_taken_address_looks_the_same_and_mails_nobody(
    app: Flask, browser: Browser, session: Session, ada: User
) -> None:
    make_person(session, "taken@example.com")
    browser.sign_in(ADA)
    answer = browser.post("/profile/email", page="/profile", email="taken@example.com")
    assert answer.status_code == 303
    assert mails_to(session, "taken@example.com") == []


def test_an_unknown_purpose_link_is_refused_by_the_verb(app: Flask, session: Session) -> None:
    with app.app_context(), pytest.raises(mail_links.LinkInvalid):
        mail_links.read(session, mail_links.Purpose.RESET, "nothing")
