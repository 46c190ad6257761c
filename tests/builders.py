"""Rows that many tests begin with, made by the same verbs that real traffic takes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from affiliate.people import enrollments, joining
from affiliate.people.applications import Answers, Audience, Channel
from affiliate.people.models import Enrollment, User
from affiliate.programs.models import Program
from affiliate.programs.programs import create_program

ANSWERS = Answers(
    channels=(Channel.BLOG,),
    how="A blog about lamps and plants, two posts a week.",
    audience=Audience.UNDER_10000,
    site="https://lamps.example/blog",
)


def terms_document(**changes: Any) -> dict[str, Any]:
    """The demo's rules: 10 % and 2 % of the sale, 30 days, last click, 14 days of hold."""
    return {
        "attribution": {
            "model": "last_click",
            "window_days": 30,
            "coupon": "loses",
            "existing_customer": "pays",
            "self_purchase": "refuses",
        },
        "commission": {
            "level_1": {"kind": "percent", "rate_ppm": 100_000},
            "level_2": {"of": "sale", "rate_ppm": 20_000},
        },
        "payout": {"hold_days": 14},
        **changes,
    }


def make_program(session: Session, *, now: datetime, **changes: Any) -> Program:
    """An open program on shop.example in rubles."""
    values: dict[str, Any] = {
        "slug": "lamps",
        "name": "Lamp & Leaf",
        "currency": "RUB",
        "landing_url": "https://shop.example/",
        "allowed_sites": ["shop.example", ".shop.example"],
        "rail": "manual",
        "time_zone": "Europe/Moscow",
        "terms_document": terms_document(),
        "by": None,
        **changes,
    }
    return create_program(session, now=now, **values)


def make_user(
    session: Session, email: str, *, now: datetime, verified: bool = True, name: str = ""
) -> User:
    """A person without a password."""
    user = User(
        email=email,
        name=name or email.partition("@")[0].title(),
        fs_uniquifier=f"for-{email}",
        confirmed_at=now if verified else None,
        created_at=now,
    )
    session.add(user)
    session.flush()
    return user


def make_affiliate(
    session: Session,
    program: Program,
    email: str,
    *,
    now: datetime,
    recruiter_id: int | None = None,
    approved: bool = True,
) -> Enrollment:
    """Somebody enrolled in a program; mails are rendered, so an app context is needed."""
    user = make_user(session, email, now=now)
    enrollment = joining.apply(
        session,
        user_id=user.id,
        program_id=program.id,
        name=user.name,
        answers=ANSWERS,
        recruiter_id=recruiter_id,
        now=now,
    )
    if approved and enrollment.status == "applied":
        enrollments.approve(session, enrollment_id=enrollment.id, by=None, now=now)
    return enrollment
