"""The demo's programs, people, links, coupon and keys. Safe to run again at any time."""

from __future__ import annotations

import json
import secrets
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.clock import real_now
from affiliate.core.config import Settings
from affiliate.core.embedded.folders import make_private, write_private
from affiliate.core.errors import Forbidden, Refusal
from affiliate.links.coupons import create_coupon
from affiliate.links.links import create_link
from affiliate.links.models import Coupon, Link
from affiliate.people import api_keys, enrollments, grants, joining, passwords, sent_keys, users
from affiliate.people.applications import Answers, Audience, Channel
from affiliate.people.models import Enrollment, User
from affiliate.programs.models import Program
from affiliate.programs.programs import create_program, update_program
from tracker.demo import bank, openings, products, promo
from tracker.demo.codes import give_apps
from tracker.demo.people import (
    DEMO,
    DEMO_BANK,
    DEMO_EUROPE,
    DEMO_MANUAL,
    PEOPLE,
    Person,
    terms_document,
)

SIGN_INS: Final = "demo.json"
SHOP_KEY: Final = "shop-api-key"
SHOP_SCOPES: Final = ("orders:read", "orders:write")
PASSWORD_BYTES: Final = 9
COUPON: Final = "ANNA10"
ANSWERS: Final = Answers(
    channels=(Channel.BLOG, Channel.SOCIAL),
    how="I write about small flats: lamps, plants and where to put them.",
    audience=Audience.UNDER_10000,
    site="https://small-flats.example",
)


class NoDemoInProduction(Forbidden):
    code = "no_demo_in_production"
    title = "Demo data has passwords that are printed: it is never written in production."


def seed(session: Session, *, settings: Settings, now: datetime) -> None:
    """Bring the demo to where `make run` begins; what exists already stays as it is.

    Writes <data>/demo.json and <data>/shop-api-key (0600) before the caller commits: a file
    without its rows is mended by the next run, rows without their file would lock people out.
    """
    refuse_in_production(settings)
    demo = _program(session, settings, _demo(settings), now=now)
    manual = _program(session, settings, _manual(settings), now=now)
    by_bank = _program(session, settings, _by_bank(settings), now=now)
    europe = _program(session, settings, _europe(settings), now=now)
    promo.offer(session, program=demo, now=now)
    products.offer(session, program=demo, now=now)
    known = _read_sign_ins(settings.data_dir)
    people = {person.email: _user(session, person, known, now=now) for person in PEOPLE}
    _grant(session, people, (demo, manual, by_bank, europe), now=now)
    give_apps(session, now=now)
    _enroll(session, people, demo, now=now)
    finance = (people["finance@demo.example"].id, people["finance2@demo.example"].id)
    bank.give_own_account(session, settings=settings, program=by_bank, now=now)
    programs = {program.slug: program for program in (by_bank, europe, manual)}
    for each in openings.OPENINGS:
        program = programs[each.program]
        if program.currency != each.amount.currency:
            continue  # Made by an earlier version in another currency, and left as it is.
        enrolled = _enrollment(session, people[each.email], program, now=now)
        if program.rail == bank.RAIL:
            bank.give_account(
                session, settings=settings, enrollment=enrolled, email=each.email, now=now
            )
        elif program.rail == openings.BY_HAND:
            openings.give_account_by_hand(session, enrollment=enrolled, now=now)
        openings.give_balance(
            session, enrollment=enrolled, amount=each.amount, finance=finance, now=now
        )
    write_sign_ins(settings, known)
    _shop_key(session, settings, demo, now=now)


def refuse_in_production(settings: Settings) -> None:
    """Raise NoDemoInProduction outside demo and test mode."""
    if settings.production:
        raise NoDemoInProduction


def write_sign_ins(settings: Settings, known: dict[str, str]) -> None:
    """The sign-ins that `kopeck run` prints."""
    rows = [
        {
            "who": person.who,
            "email": person.email,
            "password": known[person.email],
            "url": settings.public_url + person.page,
        }
        for person in PEOPLE
    ]
    text = json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
    write_private(make_private(settings.data_dir) / SIGN_INS, text)


def _demo(settings: Settings) -> dict[str, Any]:
    landing, sites = _shop(settings)
    return {
        "slug": DEMO,
        "name": "Lamp & Leaf partners",
        "summary": "Lamps, plants and what they stand on. Recommend them and earn on every "
        "order, from the first kopeck.",
        "currency": "RUB",
        "rail": "stripe",
        "landing_url": landing,
        "allowed_sites": sites,
        "time_zone": "Europe/Moscow",
        "contact_email": "partners@demo.example",
    }


def _manual(settings: Settings) -> dict[str, Any]:
    landing, sites = _shop(settings)
    return {
        "slug": DEMO_MANUAL,
        "name": "Lamp & Leaf partners by hand",
        "summary": "The same shop again; finance pays by any bank and types the reference.",
        "currency": "RUB",
        "rail": "manual",
        "landing_url": landing,
        "allowed_sites": sites,
        "time_zone": "Europe/Moscow",
        "contact_email": "partners@demo.example",
    }


def _by_bank(settings: Settings) -> dict[str, Any]:
    landing, sites = _shop(settings)
    return {
        "slug": DEMO_BANK,
        "name": "Lamp & Leaf partners by bank",
        "summary": "The same shop once more; finance pays by a file for the bank.",
        "currency": "RUB",
        "rail": bank.RAIL,
        "landing_url": landing,
        "allowed_sites": sites,
        "time_zone": "Europe/Moscow",
        "contact_email": "partners@demo.example",
    }


def _europe(settings: Settings) -> dict[str, Any]:
    landing, sites = _shop(settings)
    return {
        "slug": DEMO_EUROPE,
        "name": "Lamp & Leaf partners in euros",
        "summary": "The same shop in euros, paid by Stripe to accounts all over Europe.",
        "currency": "EUR",
        "rail": "stripe",
        "landing_url": landing,
        "allowed_sites": sites,
        "time_zone": "Europe/Berlin",
        "contact_email": "partners@demo.example",
    }


def _shop(settings: Settings) -> tuple[str, list[str]]:
    """Where the demo shop answers. `localhost`, where Kopeck is 127.0.0.1: another site."""
    return (settings.shop_url or "http://localhost:8100") + "/", ["localhost"]


def _program(
    session: Session, settings: Settings, values: dict[str, Any], *, now: datetime
) -> Program:
    found = session.scalar(sa.select(Program).where(Program.slug == values["slug"]))
    if found is None:
        return create_program(
            session,
            **values,
            payout_weekday=0,
            payout_hour=9,
            terms_document=terms_document(),
            plain_loopback=not settings.production,
            by=None,
            now=now,
        )
    # The shop's port may be another one than at the last run.
    return update_program(
        session,
        program_id=found.id,
        changes={"landing_url": values["landing_url"]},
        plain_loopback=not settings.production,
        by=None,
        now=now,
    )


def _user(session: Session, person: Person, known: dict[str, str], *, now: datetime) -> User:
    """The person, with the password of demo.json; a new one where that does not fit any more."""
    user = users.find(session, email=person.email)
    if user is not None and passwords.matches(user.password, known.get(person.email, "")):
        return user
    password = known[person.email] = secrets.token_urlsafe(PASSWORD_BYTES)
    if user is not None:
        user.password = passwords.hashed(password)
        session.flush()
        return user
    return users.create_user(
        session,
        email=person.email,
        password=password,
        name=person.name,
        time_zone="Europe/Moscow",
        verified=True,
        now=now,
    )


def _grant(
    session: Session, people: dict[str, User], programs: tuple[Program, ...], *, now: datetime
) -> None:
    for person in PEOPLE:
        for role in person.roles:
            ids = [None] if role == "owner" else [program.id for program in programs]
            for program_id in ids:
                grants.grant_role(
                    session,
                    user_id=people[person.email].id,
                    role=role,
                    program_id=program_id,
                    by=None,
                    now=now,
                )


def _enroll(session: Session, people: dict[str, User], program: Program, *, now: datetime) -> None:
    """Anna, Boris whom she recruited, and Vera who waits for an answer."""
    anna = _enrollment(session, people["anna@demo.example"], program, now=now)
    boris = _enrollment(
        session, people["boris@demo.example"], program, recruiter_id=anna.id, now=now
    )
    _enrollment(session, people["vera@demo.example"], program, approved=False, now=now)
    for enrollment, name in ((anna, "anna"), (boris, "boris")):
        _link(session, enrollment, name, now=now)
    if session.scalar(sa.select(Coupon.id).where(Coupon.program_id == program.id)) is None:
        create_coupon(session, enrollment_id=anna.id, code=COUPON, by=None, now=now)


def _enrollment(
    session: Session,
    user: User,
    program: Program,
    *,
    recruiter_id: int | None = None,
    approved: bool = True,
    now: datetime,
) -> Enrollment:
    found = enrollments.of_user(session, user_id=user.id, program_id=program.id)
    if found is not None:
        return found
    made = joining.apply(
        session,
        user_id=user.id,
        program_id=program.id,
        name=user.name,
        answers=ANSWERS,
        recruiter_id=recruiter_id,
        now=now,
    )
    if approved:
        enrollments.approve(session, enrollment_id=made.id, by=None, now=now)
    return made


def _link(session: Session, enrollment: Enrollment, code: str, *, now: datetime) -> None:
    links = sa.select(Link.id).where(Link.enrollment_id == enrollment.id)
    if session.scalar(links) is None:
        create_link(session, enrollment_id=enrollment.id, code=code, name="My blog", now=now)


def _shop_key(session: Session, settings: Settings, program: Program, *, now: datetime) -> None:
    """The demo shop's key: the one in the file while it is good, otherwise a new one."""
    path = settings.data_dir / SHOP_KEY
    if path.exists():
        try:
            sent_keys.authenticate(
                session, authorization=f"Bearer {path.read_text().strip()}", now=real_now()
            )
        except Refusal:
            pass
        else:
            return
    _, key = api_keys.create_key(
        session, program_id=program.id, scopes=SHOP_SCOPES, name="Demo shop", by=None, now=now
    )
    write_private(make_private(settings.data_dir) / SHOP_KEY, key + "\n")


def _read_sign_ins(data_dir: Path) -> dict[str, str]:
    try:
        rows = json.loads((data_dir / SIGN_INS).read_text())
        return {str(row["email"]): str(row["password"]) for row in rows}
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return {}
