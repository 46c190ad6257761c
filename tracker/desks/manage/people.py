"""What the manager's desk asks about affiliates: lists, one page each, its timeline."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from affiliate.core.audit import AuditEntry
from affiliate.core.errors import NotFound
from affiliate.core.money import Money
from affiliate.people import ids as people_ids
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.people.screening import Screening, screen, site_of
from affiliate.programs.models import Program
from payouts.batches.models import PayoutItem
from payouts.commissions.models import Commission
from tracker.attribution.subject import REFERENCE
from tracker.clicks.models import LinkDay
from tracker.desks.finance.search import like
from tracker.desks.manage.audit_words import action
from tracker.desks.sources import sources
from tracker.desks.words import _

ROWS_MAX = 50
EVENTS_MAX = 40


@dataclass(frozen=True)
class Row:
    """An affiliate in a list."""

    enrollment: Enrollment
    name: str
    email: str
    verified: bool
    recruiter_id: int | None
    recruiter: str | None
    clicks: int
    orders: int
    earned: Money

    @property
    def public(self) -> str:
        return people_ids.public(self.enrollment.id)

    @property
    def recruiter_public(self) -> str | None:
        return None if self.recruiter_id is None else people_ids.public(self.recruiter_id)


def rows(
    session: Session,
    *,
    program: Program,
    text: str = "",
    status: str = "",
    group_id: int | None = None,
    before_id: int | None = None,
    rows_max: int = ROWS_MAX,
) -> list[Row]:
    """Affiliates of a program, latest first, with what they brought; one query."""
    above, above_person = aliased(Enrollment), aliased(Affiliate)
    clicks = (
        sa.select(sa.func.coalesce(sa.func.sum(LinkDay.clicks), 0))
        .where(LinkDay.enrollment_id == Enrollment.id)
        .scalar_subquery()
    )
    live = (Commission.enrollment_id == Enrollment.id, Commission.voided_at.is_(None))
    orders = (
        sa.select(sa.func.count(sa.distinct(Commission.reference)))
        .where(*live, Commission.level == 1)
        .scalar_subquery()
    )
    left = Commission.amount_micros - Commission.reversed_micros
    earned = sa.select(sa.func.coalesce(sa.func.sum(left), 0)).where(*live).scalar_subquery()
    query = (
        sa.select(
            Enrollment,
            Affiliate.name,
            User.email,
            User.confirmed_at.is_not(None),
            above.id,
            above_person.name,
            clicks,
            orders,
            earned,
        )
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .join(User, User.id == Affiliate.user_id)
        .outerjoin(above, above.id == Enrollment.recruiter_id)
        .outerjoin(above_person, above_person.id == above.affiliate_id)
        .where(Enrollment.program_id == program.id)
        .order_by(Enrollment.id.desc())
        .limit(rows_max)
    )
    if text:
        pattern = like(text)
        query = query.where(sa.or_(Affiliate.name.ilike(pattern), User.email.ilike(pattern)))
    if status:
        query = query.where(Enrollment.status == status)
    if group_id is not None:
        query = query.where(Enrollment.group_id == group_id)
    if before_id is not None:
        query = query.where(Enrollment.id < before_id)
    return [
        Row(
            enrollment=found[0],
            name=found[1],
            email=found[2],
            verified=found[3],
            recruiter_id=found[4],
            recruiter=found[5],
            clicks=int(found[6]),
            orders=int(found[7]),
            earned=Money(int(found[8]), program.currency),
        )
        for found in session.execute(query)
    ]


def screenings(session: Session, *, program: Program, waiting: list[Row]) -> dict[int, Screening]:
    """What speaks for and against each application, by enrollment; one query.

    Sites are compared among the program's enrollments, rejected and suspended ones included.
    """
    wanted = {one.enrollment.id: site_of(one.enrollment.answers) for one in waiting}
    named: Counter[str] = Counter()
    if any(wanted.values()):
        hosts = {site.partition("/")[0] for site in wanted.values() if site}
        answers = session.scalars(
            sa.select(Enrollment.answers).where(
                Enrollment.program_id == program.id,
                sa.func.lower(Enrollment.answers["site"].astext).regexp_match(
                    "//([^/?#]*@)?(www\\.)?("
                    + "|".join(map(re.escape, sorted(hosts)))
                    + r")\.?([:/?#]|$)"
                ),
            )
        )
        named.update(site_of(each) for each in answers)
    return {
        one.enrollment.id: screen(
            one.enrollment.answers,
            email=one.email,
            verified=one.verified,
            recruited=one.recruiter_id is not None,
            site_known=named[wanted[one.enrollment.id]] > 1,
        )
        for one in waiting
    }


def find(session: Session, *, public: str) -> tuple[Enrollment, Affiliate, User]:
    """The enrollment behind `aff_…`; its program is still to be allowed by the caller."""
    found = session.execute(
        sa.select(Enrollment, Affiliate, User)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .join(User, User.id == Affiliate.user_id)
        .where(Enrollment.id == people_ids.enrollment_of(public))
        .execution_options(populate_existing=True)
    ).one_or_none()
    if found is None:
        raise NotFound
    return found[0], found[1], found[2]


def name_of(session: Session, enrollment_id: int | None) -> str | None:
    """The affiliate's name behind an enrollment."""
    return session.scalar(
        sa.select(Affiliate.name)
        .join(Enrollment, Enrollment.affiliate_id == Affiliate.id)
        .where(Enrollment.id == enrollment_id)
    )


def names_of(session: Session, enrollment_ids: set[int]) -> dict[int, str]:
    """Names by enrollment."""
    if not enrollment_ids:
        return {}
    found = session.execute(
        sa.select(Enrollment.id, Affiliate.name)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .where(Enrollment.id.in_(enrollment_ids))
    )
    return {row.id: row.name for row in found}


def user_names(session: Session, actors: set[str]) -> dict[str, str]:
    """Names of the audit log's `user:17`; other actors are left as they are."""
    numbers = {int(actor[5:]) for actor in actors if actor[:5] == "user:" and actor[5:].isdigit()}
    if not numbers:
        return {}
    found = session.execute(sa.select(User.id, User.name, User.email).where(User.id.in_(numbers)))
    return {f"user:{row.id}": row.name or row.email for row in found}


def timeline(session: Session, *, enrollment: Enrollment) -> list[dict[str, Any]]:
    """What happened to an affiliate, latest first: decisions, firsts, payouts."""
    entries = session.scalars(
        sa.select(AuditEntry)
        .where(AuditEntry.subject == f"enrollment:{enrollment.id}")
        .order_by(AuditEntry.id.desc())
        .limit(EVENTS_MAX)
    ).all()
    names = user_names(session, {entry.actor for entry in entries})
    events = [_decision(entry, names) for entry in entries]
    events += _firsts(session, enrollment.id)
    return sorted(events, key=lambda event: event["at"], reverse=True)


def _decision(entry: AuditEntry, names: dict[str, str]) -> dict[str, Any]:
    tone, icon = {
        "application.send": ("info", "inbox"),
        "enrollment.approve": ("success", "user-check"),
        "enrollment.reinstate": ("success", "user-check"),
        "enrollment.reject": ("danger", "user-x"),
        "enrollment.suspend": ("warning", "player-pause"),
        "enrollment.set_recruiter": ("neutral", "sitemap"),
        "enrollment.set_group": ("neutral", "users-group"),
        "enrollment.take_over": ("success", "user-check"),
        "withdrawal.request": ("info", "wallet"),
    }.get(entry.action, ("neutral", "note"))
    who = "Kopeck" if entry.actor.startswith("system") else names.get(entry.actor, entry.actor)
    title = _("%(who)s %(did)s", who=who, did=action(entry.action))
    return {"at": entry.at, "title": title, "text": entry.reason, "tone": tone, "icon": icon}


def _firsts(session: Session, enrollment_id: int) -> list[dict[str, Any]]:
    commissions = sa.select(sa.func.min(Commission.earned_at)).where(
        Commission.enrollment_id == enrollment_id,
        Commission.level == 1,
        Commission.reference.startswith(REFERENCE),
    )
    paid = (
        sa.select(sa.func.min(PayoutItem.paid_at))
        .where(PayoutItem.enrollment_id == enrollment_id)
        .scalar_subquery()
    )
    sale, payout = session.execute(sa.select(commissions.scalar_subquery(), paid)).one()
    told: list[tuple[datetime | None, str, str]] = [
        (sale, _("First order"), "shopping-cart"),
        (payout, _("First payout"), "cash-banknote"),
    ]
    return [
        {"at": at, "title": title, "text": None, "tone": "success", "icon": icon}
        for at, title, icon in told
        if at is not None
    ]


def orders_of(session: Session, *, enrollment_id: int, rows_max: int) -> list[dict[str, Any]]:
    """The affiliate's last commissions with what they come from."""
    found = session.scalars(
        sa.select(Commission)
        .where(Commission.enrollment_id == enrollment_id)
        .order_by(Commission.id.desc())
        .limit(rows_max)
    ).all()
    named = sources(session, [commission.reference for commission in found])
    return [
        {"commission": commission, "source": named[commission.reference]} for commission in found
    ]
