"""A second factor: set up, asked for, used once, guessed, lost; and roles that sleep without."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from browsing import BASE, PASSWORD, Browser, code_of, give_app, mails_to, make_person
from builders import make_program
from flask import Flask
from sqlalchemy.orm import Session, sessionmaker
from werkzeug.test import TestResponse

from affiliate.core.audit import AuditEntry
from affiliate.core.clock import real_now
from affiliate.core.config import Settings
from affiliate.people import access, grants, second_factor, sessions, totp
from affiliate.people.cli import user_group
from affiliate.people.models import RecoveryCode, SecondFactor, User, UserSession

ADA = "ada@example.com"
PAGE = "/profile/second-factor"
NOW = datetime.fromisoformat("2026-11-26T12:00:10+00:00")


@pytest.fixture
def ada(app: Flask, session: Session) -> User:
    """An affiliate's account: nobody needs a second factor for it."""
    return make_person(session, ADA)


@pytest.fixture
def owner(app: Flask, session: Session) -> User:
    """An owner without a second factor."""
    user = make_person(session, "olga@example.com")
    grants.grant_role(
        session, user_id=user.id, role="owner", program_id=None, by=None, now=real_now()
    )
    session.commit()
    return user


def set_up_app(browser: Browser, session: Session, user: User) -> TestResponse:
    """By the pages: begin, read the key, type its code; the answer with the recovery codes."""
    assert browser.post(f"{PAGE}/app", PAGE).location == f"{PAGE}/app"
    page = browser.get(f"{PAGE}/app")
    assert 'src="data:image/svg+xml' in page.text
    code = code_of(browser.client.application, user.email)
    return browser.post(f"{PAGE}/app/confirmation", f"{PAGE}/app", code=code)


def codes_in(page: TestResponse) -> list[str]:
    return re.findall(r"\b[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}\b", page.text.split("</pre>")[0])


def state_of(session: Session, user: User) -> SecondFactor:
    session.rollback()
    return session.get_one(SecondFactor, user.id, populate_existing=True)


def password_alone(app: Flask, email: str) -> Browser:
    """A browser in which the password was given and nothing else."""
    made = Browser(app)
    assert made.post("/sign-in", email=email, password=PASSWORD).location == "/second-factor"
    return made


def test_an_app_is_set_up_by_its_first_code_and_ten_recovery_codes_are_shown_once(
    app: Flask, session: Session, ada: User
) -> None:
    browser = Browser(app)
    browser.sign_in(ADA)
    done = set_up_app(browser, session, ada)
    assert done.status_code == 201
    codes = codes_in(done)
    assert len(set(codes)) == 10
    page = browser.get(PAGE).text
    assert "10 are left" in page
    assert not any(code in page for code in codes)
    assert [mail.template for mail in mails_to(session, ADA)] == ["people/second_factor"]
    action = session.scalars(sa.select(AuditEntry).order_by(AuditEntry.id.desc())).first()
    assert action is not None
    assert (action.action, action.new) == ("second_factor.add", {"what": "totp_added"})


def test_neither_secret_nor_recovery_codes_stand_readable_in_the_database(
    app: Flask, session: Session, ada: User, settings: Settings
) -> None:
    browser = Browser(app)
    browser.sign_in(ADA)
    codes = codes_in(set_up_app(browser, session, ada))
    stored = state_of(session, ada).totp_secret or ""
    assert '"enckey"' in stored
    assert '"key"' not in stored
    with app.app_context():
        typed = totp.typed_key(stored).replace("-", "").replace(" ", "")
    assert typed not in stored
    hashes = set(session.scalars(sa.select(RecoveryCode.code_hash)))
    assert len(hashes) == 10
    assert not any(code.replace("-", "").encode() in each for code in codes for each in hashes)


def test_a_wrong_first_code_sets_nothing_up(app: Flask, session: Session, ada: User) -> None:
    browser = Browser(app)
    browser.sign_in(ADA)
    browser.post(f"{PAGE}/app", PAGE)
    refused = browser.post(f"{PAGE}/app/confirmation", f"{PAGE}/app", code="000 000")
    assert refused.status_code == 422
    assert "This code is not right" in refused.text
    assert state_of(session, ada).totp_since is None
    assert Browser(app).sign_in(ADA).location == "/", "the password alone still signs in"


def test_the_password_alone_signs_nobody_in(app: Flask, session: Session, ada: User) -> None:
    give_app(session, ada.id)
    browser = password_alone(app, ADA)
    assert not browser.signed_in
    waiting = session.scalars(sa.select(UserSession)).one()
    assert waiting.awaits_factor
    done = browser.post("/second-factor", code=code_of(app, ADA))
    assert done.location == "/"
    assert browser.signed_in
    session.rollback()
    rows = session.scalars(sa.select(UserSession).order_by(UserSession.id)).all()
    assert [row.revoked_at is None for row in rows] == [False, True], "a new id after the factor"
    assert rows[1].factor_at is not None


def test_the_page_that_was_wanted_follows_the_code(app: Flask, session: Session, ada: User) -> None:
    give_app(session, ada.id)
    browser = Browser(app)
    led = browser.post("/sign-in?next=/profile", email=ADA, password=PASSWORD, next="/profile")
    assert led.location == "/second-factor?next=%2Fprofile"
    done = browser.post(led.location, code=code_of(app, ADA), next="/profile")
    assert done.location == "/profile"


def test_a_waiting_sign_in_opens_no_page_of_another(
    app: Flask, session: Session, ada: User
) -> None:
    """The token of the password alone is worth nothing under the name of a whole sign-in."""
    give_app(session, ada.id)
    browser = password_alone(app, ADA)
    with browser.client.session_transaction(base_url=BASE) as cookie:
        cookie[sessions.COOKIE_KEY] = cookie[sessions.WAITING_COOKIE_KEY]
        cookie["_user_id"] = ada.fs_uniquifier
    assert not browser.signed_in


def test_the_second_factor_has_to_come_within_ten_minutes(
    app: Flask, session: Session, ada: User
) -> None:
    give_app(session, ada.id)
    browser = password_alone(app, ADA)
    with time_machine.travel(real_now() + timedelta(minutes=11), tick=False):
        late = browser.get("/second-factor")
    assert (late.status_code, late.location) == (303, "/sign-in")


@pytest.mark.abuse("A28")
def test_an_invitation_is_no_way_around_the_second_factor(
    app: Flask, session: Session, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    from affiliate.people import invitations

    give_app(session, ada.id)
    with app.test_request_context(base_url=BASE):
        program = make_program(session, now=real_now(), slug="lamps")
        monkeypatch.setattr("secrets.token_urlsafe", lambda *_: "a-known-token")
        invitations.invite(
            session, email=ADA, role="finance", program_id=program.id, by=None, now=real_now()
        )
        session.commit()
    monkeypatch.undo()
    browser = Browser(app)
    joined = browser.post("/invitations/a-known-token", password=PASSWORD)
    assert joined.location == "/second-factor"
    assert not browser.signed_in


@pytest.mark.abuse("A28")
def test_a_mailed_reset_of_the_password_leaves_the_second_factor(
    app: Flask, session: Session, ada: User
) -> None:
    from affiliate.people import account

    give_app(session, ada.id)
    with app.test_request_context(base_url=BASE):
        account.ask_reset(session, email=ADA, now=real_now())
        session.commit()
    link = re.search(r"/reset-password/\S+", mails_to(session, ADA)[0].text)
    assert link
    browser = Browser(app)
    assert browser.post(link[0], password="another leaf under it").status_code == 303
    led = browser.post("/sign-in", email=ADA, password="another leaf under it")
    assert led.location == "/second-factor"


@pytest.mark.abuse("A27")
def test_a_code_works_once_also_for_two_at_the_same_moment(
    app: Flask, session: Session, engine: sa.Engine, ada: User
) -> None:
    give_app(session, ada.id)
    code, came = code_of(app, ADA), []
    barrier = threading.Barrier(4)

    def use() -> None:
        with app.app_context(), sessionmaker(engine)() as own:
            barrier.wait()
            try:
                second_factor.prove(
                    own, user_id=ada.id, text=code, now=real_now(), real_now=real_now()
                )
                came.append("taken")
            except second_factor.CodeWrong:
                came.append("refused")
            own.commit()

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(came) == ["refused"] * 3 + ["taken"]


@pytest.mark.parametrize(
    ("steps_off", "taken"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)]
)
def test_clocks_may_differ_by_one_step(
    app: Flask, session: Session, ada: User, steps_off: int, taken: bool
) -> None:
    give_app(session, ada.id)
    secret = state_of(session, ada).totp_secret or ""
    with app.app_context():
        theirs = totp._ours().code_at(secret, NOW + timedelta(seconds=30 * steps_off))
        found = totp.match(secret, theirs, after=None, at=NOW)
    assert (found is not None) is taken


def test_an_earlier_code_is_worth_nothing_after_a_later_one(
    app: Flask, session: Session, ada: User
) -> None:
    give_app(session, ada.id)
    secret = state_of(session, ada).totp_secret or ""
    with app.app_context():
        used = totp.match(secret, totp._ours().code_at(secret, NOW), after=None, at=NOW)
        assert used is not None
        earlier = totp._ours().code_at(secret, NOW - timedelta(seconds=30))
        assert totp.match(secret, earlier, after=used.counter, at=NOW) is None


@pytest.mark.parametrize("second", range(0, totp.STEP_S, 3))
def test_a_shown_code_can_be_typed_in_before_it_lapses(
    app: Flask, session: Session, ada: User, second: int
) -> None:
    """Found by a sign-in that fell between two steps: its code had lapsed on the way."""
    give_app(session, ada.id)
    secret = state_of(session, ada).totp_secret or ""
    shown_at = NOW.replace(second=second)
    typed_at = shown_at + timedelta(seconds=totp.LASTING_S)
    with app.app_context():
        shown = totp.code_for(secret, after=None, at=shown_at)
        assert totp.match(secret, shown, after=None, at=shown_at)
        assert totp.match(secret, shown, after=None, at=typed_at)


def test_a_recovery_code_works_once_and_its_owner_is_told(
    app: Flask, session: Session, ada: User
) -> None:
    browser = Browser(app)
    browser.sign_in(ADA)
    code = codes_in(set_up_app(browser, session, ada))[0]
    first = password_alone(app, ADA)
    assert first.post("/second-factor", code=code.upper().replace("-", " ")).location == "/"
    assert "Recovery code" not in first.get("/profile").text
    assert "9 are left" in first.get(PAGE).text
    mail = mails_to(session, ADA)[-1]
    assert mail.subject == "A recovery code was used"
    again = password_alone(app, ADA)
    assert again.post("/second-factor", code=code).status_code == 401


def test_recovery_codes_outlive_a_change_of_the_secret_and_so_does_the_app(
    app: Flask, session: Session, ada: User, settings: Settings
) -> None:
    """The key ids tell which secret is which: a rotation locks nobody out."""
    browser = Browser(app)
    browser.sign_in(ADA)
    code = codes_in(set_up_app(browser, session, ada))[0]
    before = state_of(session, ada).totp_secret or ""
    new = "another-secret-that-is-also-long-enough-0123"
    app.extensions["kopeck.settings"] = replace(settings, secrets=(new, *settings.secrets))
    with app.app_context():
        second_factor.prove(session, user_id=ada.id, text=code, now=real_now(), real_now=real_now())
        later = real_now() + timedelta(minutes=2)
        second_factor.prove(
            session, user_id=ada.id, text=totp._ours().code_at(before, later), now=later,
            real_now=later,
        )  # fmt: skip
        session.commit()
        after = state_of(session, ada).totp_secret or ""
        assert after != before, "encrypted anew under the secret of today"
        app.extensions["kopeck.settings"] = replace(settings, secrets=(new,))
        at = later + timedelta(minutes=2)
        code = totp._ours().code_at(after, at)
        assert totp.match(after, code, after=None, at=at) is not None
        assert totp.match(before, code, after=None, at=at) is None, "its key was taken away"


@pytest.mark.abuse("A27")
def test_guessing_stops_for_a_while_and_its_owner_is_told(
    app: Flask, session: Session, ada: User
) -> None:
    give_app(session, ada.id)
    for _ in range(5):
        assert password_alone(app, ADA).post("/second-factor", code="000000").status_code == 401
    right = password_alone(app, ADA).post("/second-factor", code=code_of(app, ADA))
    assert right.status_code == 401
    assert "Too many wrong codes" in right.text
    assert mails_to(session, ADA)[-1].subject == "Somebody types wrong codes for your account"
    with time_machine.travel(real_now() + timedelta(minutes=16), tick=False):
        late = password_alone(app, ADA)
        assert late.post("/second-factor", code=code_of(app, ADA)).location == "/"
    assert state_of(session, ada).failures == 0


@pytest.mark.abuse("A27")
def test_guesses_at_the_same_moment_count_each(
    app: Flask, session: Session, engine: sa.Engine, ada: User
) -> None:
    give_app(session, ada.id)
    came: list[str] = []
    barrier = threading.Barrier(12)

    def guess(number: int) -> None:
        with app.app_context(), sessionmaker(engine)() as own:
            barrier.wait()
            try:
                second_factor.prove(
                    own, user_id=ada.id, text=f"{number:06}", now=real_now(), real_now=real_now()
                )
            except second_factor.TooManyCodes:
                came.append("not looked at")
            except second_factor.CodeWrong:
                came.append("wrong")
            own.commit()

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(came) == ["not looked at"] * 7 + ["wrong"] * 5


NO_CODES = {
    "empty": "",
    "blank": "   ",
    "short": "12345",
    "long": "1234567",
    "other digits": "\u0661\u0662\u0663\u0664\u0665\u0666",
    "markup": "<b>",
    "endless": "x" * 500,
}


@pytest.mark.parametrize("text", NO_CODES.values(), ids=NO_CODES)
def test_what_is_no_code_is_refused_with_a_sentence(
    app: Flask, session: Session, ada: User, text: str
) -> None:
    give_app(session, ada.id)
    browser = password_alone(app, ADA)
    refused = browser.post("/second-factor", code=text)
    assert refused.status_code == 401
    assert "code" in refused.text


def test_an_owner_without_a_second_factor_is_led_to_one_and_kept_out(
    app: Flask, session: Session, owner: User
) -> None:
    browser = Browser(app)
    led = browser.sign_in(owner.email)
    assert led.location == PAGE
    assert "Your role needs it" in browser.get(PAGE).text
    for path in ("/finance/", "/manage/staff", "/manage/programs"):
        refused = browser.get(path)
        assert refused.status_code == 403
        assert f'href="{PAGE}?next=' in refused.text
    assert browser.get("/profile").status_code == 200


def test_setting_one_up_wakes_the_role_at_once_and_ends_the_other_sign_ins(
    app: Flask, session: Session, owner: User
) -> None:
    browser, other = Browser(app), Browser(app)
    browser.sign_in(owner.email)
    other.sign_in(owner.email)
    old = browser.cookie()
    set_up_app(browser, session, owner)
    assert browser.get("/finance/").status_code == 200
    assert not other.signed_in
    thief = Browser(app)
    thief.take_over(old)
    assert not thief.signed_in, "a session that may do more has a new id"


def test_a_sleeping_owner_is_no_owner_in_another_role(
    app: Flask, session: Session, owner: User
) -> None:
    with app.test_request_context(base_url=BASE):
        mine = make_program(session, now=real_now(), slug="mine")
        make_program(session, now=real_now(), slug="others")
    grants.grant_role(
        session, user_id=owner.id, role="analyst", program_id=mine.id, by=None, now=real_now()
    )
    session.commit()
    standing = access.read_standing(session, owner.id, with_factor=False)
    assert not standing.owner
    assert standing.grants == {(access.Role.ANALYST, mine.id)}
    browser = Browser(app)
    browser.sign_in(owner.email)
    assert browser.get("/manage/?program=mine").status_code == 200
    assert browser.get("/manage/?program=others").status_code == 404


def test_removing_needs_a_code_of_the_last_five_minutes(
    app: Flask, session: Session, ada: User
) -> None:
    give_app(session, ada.id)
    browser = Browser(app)
    browser.sign_in(ADA)
    session.execute(sa.update(UserSession).values(factor_at=real_now() - timedelta(minutes=6)))
    session.commit()
    asked = browser.post(f"{PAGE}/app/removal", PAGE)
    assert asked.location.startswith("/confirm-factor")
    wrong = browser.post("/confirm-factor", code="000000")
    assert wrong.status_code == 422
    assert browser.post("/confirm-factor", code=code_of(app, ADA)).status_code == 303
    assert browser.post(f"{PAGE}/app/removal", PAGE).location == PAGE
    assert state_of(session, ada).totp_secret is None
    assert mails_to(session, ADA)[-1].subject == "Codes of an app no longer protect your account"
    assert Browser(app).sign_in(ADA).location == "/"


def test_adding_needs_the_password_of_just_now(app: Flask, session: Session, ada: User) -> None:
    """Whoever finds a browser open cannot make the account theirs."""
    browser = Browser(app)
    browser.sign_in(ADA)
    session.execute(sa.update(UserSession).values(fresh_at=real_now() - timedelta(hours=1)))
    session.commit()
    asked = browser.post(f"{PAGE}/app", PAGE)
    assert asked.location.startswith("/confirm-password")
    session.rollback()
    assert session.get(SecondFactor, ada.id) is None


def test_who_removes_the_last_one_puts_the_role_to_sleep_everywhere(
    app: Flask, session: Session
) -> None:
    owner = make_person(session, "olga@example.com", role="owner")
    browser = Browser(app)
    browser.sign_in(owner.email)
    assert browser.get("/finance/").status_code == 200
    browser.post(f"{PAGE}/app/removal", PAGE)
    assert browser.get("/finance/").status_code == 403


def test_a_second_app_is_refused_and_new_codes_void_the_old(
    app: Flask, session: Session, ada: User
) -> None:
    browser = Browser(app)
    browser.sign_in(ADA)
    old = codes_in(set_up_app(browser, session, ada))
    assert browser.post(f"{PAGE}/app", PAGE).status_code == 409
    new = codes_in(browser.post(f"{PAGE}/recovery-codes", PAGE))
    assert len(new) == 10
    assert not set(new) & set(old)
    assert password_alone(app, ADA).post("/second-factor", code=old[0]).status_code == 401


def test_a_lost_device_is_reset_by_command_told_and_noted(
    app: Flask, session: Session, ada: User
) -> None:
    give_app(session, ada.id)
    browser = Browser(app)
    browser.sign_in(ADA)
    runner = app.test_cli_runner()
    done = runner.invoke(user_group, ["reset-second-factor", "--email", ADA])
    assert "signed out everywhere" in done.output
    assert not browser.signed_in
    assert state_of(session, ada).totp_secret is None
    assert mails_to(session, ADA)[-1].subject == "Your second factor was reset"
    entry = session.scalars(
        sa.select(AuditEntry).where(AuditEntry.action == "second_factor.reset")
    ).one()
    assert (entry.actor, entry.subject) == ("system", f"user:{ada.id}")
    unknown = runner.invoke(user_group, ["reset-second-factor", "--email", "nobody@example.com"])
    assert "There is no user" in unknown.output


@pytest.mark.parametrize("locale", ["en", "ru"])
def test_the_mail_is_in_the_readers_language(app: Flask, session: Session, locale: str) -> None:
    user = make_person(session, ADA, locale=locale)
    with app.app_context():
        for what in second_factor.Told:
            second_factor.tell(session, user_id=user.id, what=what, action="x", now=real_now())
        session.commit()
    subjects = [mail.subject for mail in mails_to(session, ADA)]
    assert len(set(subjects)) == len(second_factor.Told)
    assert all(any("а" <= char.lower() <= "я" for char in each) == (locale == "ru")
               for each in subjects)  # fmt: skip


def test_granting_finance_or_owner_needs_a_fresh_second_factor(
    app: Flask, session: Session
) -> None:
    make_person(session, "olga@example.com", role="owner")
    with app.test_request_context(base_url=BASE):
        make_program(session, now=real_now(), slug="lamps")
    session.commit()
    browser = Browser(app)
    browser.sign_in("olga@example.com")
    stale = {"factor_at": real_now() - timedelta(minutes=6)}

    def invite(role: str, **more: Any) -> TestResponse:
        return browser.post("/manage/staff/invitations", "/manage/staff", role=role,
                            email=f"{role}@example.com", **more)  # fmt: skip

    session.execute(sa.update(UserSession).values(**stale))
    session.commit()
    assert invite("finance", program="lamps").location.startswith("/confirm-factor")
    assert invite("owner", program="").location.startswith("/confirm-factor")
    assert invite("analyst", program="lamps").location == "/manage/staff"
    session.rollback()
    session.execute(sa.update(UserSession).values(factor_at=real_now()))
    session.commit()
    assert invite("finance", program="lamps").location == "/manage/staff"
