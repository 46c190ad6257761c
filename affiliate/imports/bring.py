"""Bring a merchant's file in: the whole of it, or nothing and what is wrong with each line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import audit, languages, outbox
from affiliate.core.errors import FieldError, Invalid, NotFound, Phrase, Refusal
from affiliate.imports import rules
from affiliate.imports.models import FormerMonth
from affiliate.imports.rules import Kind, Line
from affiliate.links.coupons import create_coupon
from affiliate.links.links import create_link
from affiliate.links.models import Coupon, Link
from affiliate.people import enrollments, joining, mail_links, recruiters, shop_customers, users
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.programs.models import Program

LETTER: Final = "people/taken_over"
JOINED_EARLIEST: Final = date(1995, 1, 1)
REASON: Final = "as in the program before"
"""Of a recruiter whom a file names; it stands in the audit log."""


@dataclass(slots=True)
class Brought:
    """What came of a file."""

    kind: Kind
    new: int = 0
    changed: int = 0
    """Months of history that said something else before."""
    known: int = 0
    """Lines that say what stands here already; nothing is written for them."""
    told: int = 0
    """Letters to people who are new."""


def bring(
    session: Session,
    *,
    program_id: int,
    kind: Kind,
    raw: bytes,
    tell: bool = False,
    locale: str = languages.SOURCE,
    by: int | None,
    now: datetime,
) -> Brought:
    """Bring the file in, all of its lines or none; `tell` mails new affiliates their way in.

    `locale` is the language of people of whom the file does not say it.

    Raises NotFound and Invalid (`file`), which names up to twenty lines and why. Nothing may be
    kept of a call that raised. The same file again changes nothing. For a dry run the caller
    rolls back. Rule: docs/moving-in.md.
    """
    program = session.get(Program, program_id, with_for_update={"key_share": True})
    if program is None:
        raise NotFound
    lines = rules.read(raw, kind)
    brought = Brought(kind)
    into = _Into(session, program, brought, tell=tell, locale=locale, by=by, now=now)
    if kind is Kind.AFFILIATES:
        _bring_affiliates(into, lines)
    else:
        _bring_things(into, lines)
    if into.errors:
        raise Invalid(errors=into.errors[: rules.ERRORS_SHOWN_MAX])
    audit.record(
        session,
        actor=audit.by_user(by),
        action="import.bring",
        subject=f"program:{program.id}",
        scope=program.id,
        now=now,
        new={"kind": kind.value, "lines": len(lines), "new": brought.new},
    )
    return brought


@dataclass
class _Into:
    """Where the lines go, on whose behalf, and what is wrong with them so far."""

    session: Session
    program: Program
    brought: Brought
    tell: bool
    locale: str
    by: int | None
    now: datetime
    errors: list[FieldError] = field(default_factory=list)

    @contextmanager
    def line(self, line: Line) -> Iterator[None]:
        """One line, in a savepoint: its refusal undoes what it had written, not the others."""
        try:
            with self.session.begin_nested():
                yield
        except Refusal as refusal:
            self.errors += [
                error
                if error.field == "file"
                else line.error(error.field, error.code, error.message)
                for error in refusal.errors
            ] or [line.error("line", refusal.code, refusal.detail)]
        if len(self.errors) >= rules.ERRORS_SHOWN_MAX:
            raise Invalid(errors=self.errors[: rules.ERRORS_SHOWN_MAX])

    @property
    def today(self) -> date:
        return self.now.astimezone(ZoneInfo(self.program.time_zone)).date()


def _bring_affiliates(into: _Into, lines: list[Line]) -> None:
    """First everybody, then who recruited whom: a recruiter may stand further below."""
    seen: dict[str, int] = {}
    recruited: list[tuple[Line, int]] = []
    for line in lines:
        with into.line(line):
            email = users.check_email(line.values["email"])
            if first := seen.get(email.lower()):
                message = Phrase("It stands in line %(number)s too.", number=first)
                line.reject("email", "twice", message)
            seen[email.lower()] = line.number
            enrollment_id = _bring_affiliate(into, line, email)
            if enrollment_id is not None and line.values.get("recruiter", ""):
                recruited.append((line, enrollment_id))
    for line, enrollment_id in recruited:
        with into.line(line):
            recruiters.set_recruiter(
                into.session,
                enrollment_id=enrollment_id,
                recruiter_id=_enrollment(into, line, "recruiter").id,
                reason=REASON,
                by=into.by,
                now=into.now,
            )


def _bring_affiliate(into: _Into, line: Line, email: str) -> int | None:
    """The new enrollment; None for somebody who has one, in whatever state."""
    session, program = into.session, into.program
    user = users.find(session, email=email)
    if user is None:
        user = _new_user(into, line, email)
    elif enrollments.of_user(session, user_id=user.id, program_id=program.id) is not None:
        into.brought.known += 1
        return None
    enrollment = joining.take_over(
        session,
        user_id=user.id,
        program_id=program.id,
        name=line.values["name"],
        website=line.values.get("website", ""),
        joined_at=_joined(into, line),
        by=into.by,
        now=into.now,
    )
    if customer := line.values.get("customer_id", ""):
        shop_customers.set_shop_customer(
            session,
            enrollment_id=enrollment.id,
            customer_id=customer,
            by=audit.by_user(into.by),
            now=into.now,
        )
    if into.tell:
        _tell(into, user)
        into.brought.told += 1
    into.brought.new += 1
    return enrollment.id


def _bring_things(into: _Into, lines: list[Line]) -> None:
    """What belongs to affiliates who are in the program already."""
    bring_one = {
        Kind.LINKS: _bring_link, Kind.COUPONS: _bring_coupon, Kind.HISTORY: _bring_month,
    }[into.brought.kind]  # fmt: skip
    for line in lines:
        with into.line(line):
            bring_one(into, _enrollment(into, line, "email"), line)


def _bring_link(into: _Into, enrollment: Enrollment, line: Line) -> None:
    """An old code goes on leading to the shop and crediting whom it credited."""
    code = line.values["code"]
    folded = sa.and_(Link.vanity, sa.func.lower(Link.code) == code.lower())
    known = into.session.scalar(sa.select(Link).where(sa.or_(Link.code == code, folded)))
    if known is not None and known.enrollment_id == enrollment.id:
        into.brought.known += 1
        return
    create_link(
        into.session,
        enrollment_id=enrollment.id,
        destination=line.values.get("destination") or None,
        code=code,
        name=line.values.get("name", ""),
        now=into.now,
    )
    into.brought.new += 1


def _bring_coupon(into: _Into, enrollment: Enrollment, line: Line) -> None:
    code = line.values["code"]
    known = into.session.scalar(
        sa.select(Coupon).where(Coupon.program_id == into.program.id, Coupon.code == code.upper())
    )
    if known is not None and known.enrollment_id == enrollment.id:
        into.brought.known += 1
        return
    create_coupon(into.session, enrollment_id=enrollment.id, code=code, by=into.by, now=into.now)
    into.brought.new += 1


def _bring_month(into: _Into, enrollment: Enrollment, line: Line) -> None:
    """A month says what the last file says of it."""
    month = rules.month_in(line, "month")
    if not JOINED_EARLIEST <= month <= into.today:
        line.reject("month", "not_past", Phrase("This month is not one of the past."))
    said = {name: rules.count_in(line, name) for name in ("clicks", "orders")}
    for name in ("sales", "earned", "paid"):
        said[f"{name}_micros"] = rules.money_in(line, name, into.program.currency).micros
    known = into.session.get(FormerMonth, (enrollment.id, month), populate_existing=True)
    if known is not None and all(getattr(known, name) == value for name, value in said.items()):
        into.brought.known += 1
        return
    values = {"program_id": into.program.id, "imported_at": into.now, **said}
    into.session.execute(
        insert(FormerMonth)
        .values(enrollment_id=enrollment.id, month=month, **values)
        .on_conflict_do_update(index_elements=["enrollment_id", "month"], set_=values)
    )
    if known is None:
        into.brought.new += 1
    else:
        into.brought.changed += 1


def _new_user(into: _Into, line: Line, email: str) -> User:
    """Without a password, and with an address that nobody has verified: following a link of
    "forgotten password" gives the one and shows the other."""
    locale = line.values.get("language", "").lower() or into.locale
    if locale not in languages.LANGUAGES:
        known = ", ".join(languages.LANGUAGES)
        message = Phrase("Languages are: %(known)s.", known=known)
        line.reject("language", "unknown_language", message)
    return users.create_user(
        into.session,
        email=email,
        password=None,
        name=line.values["name"],
        locale=locale,
        time_zone=into.program.time_zone,
        by=into.by,
        now=into.now,
    )


def _joined(into: _Into, line: Line) -> datetime:
    day = rules.day_in(line, "joined")
    if day is None:
        return into.now
    if not JOINED_EARLIEST <= day <= into.today:
        line.reject("joined", "not_past", Phrase("This day is not one of the past."))
    return datetime.combine(day, time(), ZoneInfo(into.program.time_zone)).astimezone(UTC)


def _enrollment(into: _Into, line: Line, column: str) -> Enrollment:
    """The affiliate of the program whom a line names by address."""
    found = into.session.scalar(
        sa.select(Enrollment)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .join(User, User.id == Affiliate.user_id)
        .where(
            Enrollment.program_id == into.program.id,
            sa.func.lower(User.email) == line.values[column].lower(),
        )
    )
    if found is None:
        message = Phrase("Nobody in this program has this address; bring affiliates first.")
        line.reject(column, "unknown_affiliate", message)
    return found


def _tell(into: _Into, user: User) -> None:
    outbox.send(
        into.session,
        to=user.email,
        template=LETTER,
        locale=user.locale,
        name=user.name,
        program=into.program,
        new_here=user.password is None,
        reset_url=mail_links.address("/forgot-password"),
        sign_in_url=mail_links.address("/sign-in"),
        now=into.now,
    )
