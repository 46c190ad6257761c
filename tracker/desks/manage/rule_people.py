"""Who is on which version of the rules and why, and the assignments that make it so."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from flask import flash, redirect, request, url_for
from sqlalchemy.orm import Session
from wtforms.fields.choices import SelectChoice

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import Invalid, NotFound, Refusal
from affiliate.core.pages import day
from affiliate.people import access
from affiliate.people import ids as people_ids
from affiliate.people.models import Affiliate, AffiliateGroup, Enrollment
from affiliate.programs import assignments, commission_versions, rule_versions
from affiliate.programs.announcements import BOUND
from affiliate.programs.models import Program, RuleAssignment
from affiliate.programs.standing import Because, Standing
from tracker.desks.acting import Answer, act
from tracker.desks.manage import people
from tracker.desks.manage.blueprint import actors, manage, page, place, readers, require_acting
from tracker.desks.manage.forms import AssignmentForm
from tracker.desks.words import _

PEOPLE_SHOWN_MAX = 50


@manage.get("/rules/people")
@readers
def rule_people() -> str:
    """A page of affiliates with their versions, and the assignments."""
    form = AssignmentForm(formdata=None)
    form.affiliate.data = request.args.get("affiliate", "")[:40]
    return _people_page(form)


@manage.post("/rules/assignments")
@actors
def assign_version() -> Answer:
    """Put an affiliate or a group on another version for commission."""
    program = place().required
    require_acting(program.id)
    session, form = db.session(), AssignmentForm()
    _choices(session, program, form)
    if not form.validate_on_submit():
        return _people_page(form), 422
    now = clock.now(session)
    try:
        begins_at, ends_at = form.times(program.time_zone, now)
        assignments.assign(
            session,
            program_id=program.id,
            enrollment_id=_enrollment_in(form),
            group_id=form.group.data or None,
            version_id=form.version.data,
            begins_at=begins_at,
            ends_at=ends_at,
            reason=form.reason.data or "",
            by=access.actor().user_id,
            now=now,
        )
        session.commit()
    except Refusal as refusal:
        session.rollback()
        form.show(_beside_fields(refusal))
        return _people_page(form), refusal.status
    flash(_("The version is assigned. Orders placed before keep theirs."), "success")
    return redirect(url_for("manage.rule_people"), 303)


@manage.post("/rules/assignments/<int:assignment_id>/ending")
@actors
def end_assignment(assignment_id: int) -> Answer:
    """Let an assignment end now; one that has not begun is taken back."""
    found = db.session().get(RuleAssignment, assignment_id)
    if found is None:
        raise NotFound
    require_acting(found.program_id)
    return act(
        lambda session, now: assignments.end_assignment(
            session,
            assignment_id=assignment_id,
            ends_at=now,
            reason=request.form.get("reason", ""),
            by=access.actor().user_id,
            now=now,
        ),
        done=_("The assignment has ended. What was earned by it stays."),
        back=url_for("manage.rule_people"),
        page=lambda: _people_page(AssignmentForm(formdata=None)),
    )


def why_in_words(standing: Standing) -> str:
    """Why somebody is on that version, as a manager reads it."""
    until = "" if standing.until is None else day(standing.until)
    told = {
        Because.IN_FORCE: _("in force"),
        Because.GRANDFATHERED: _("keeps the terms of before"),
        Because.DECLINED: _("declined the next one and leaves"),
        Because.GROUP: _("assigned to the group"),
        Because.ASSIGNED: _("assigned"),
    }[standing.because]
    return _("%(why)s, until %(day)s", why=told, day=until) if until else told


def _people_page(form: AssignmentForm) -> str:
    here = place()
    program = here.required
    session = db.session()
    _choices(session, program, form)
    after = request.args.get("after", type=people_ids.enrollment_of)
    rows, more = _people(session, program, after)
    return page(
        "rule_people",
        here,
        program=program,
        form=form,
        people=rows,
        next=rows[-1]["id"] if more else None,
        assignments=_assignments(session, program),
    )


def _people(
    session: Session, program: Program, after: int | None
) -> tuple[list[dict[str, Any]], bool]:
    """A page of whom rules bind, in the order of enrollment; whether there are more."""
    query = (
        sa.select(Enrollment.id, Affiliate.name, AffiliateGroup.name.label("group"))
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .outerjoin(AffiliateGroup, AffiliateGroup.id == Enrollment.group_id)
        .where(Enrollment.program_id == program.id, Enrollment.status.in_(BOUND))
        .order_by(Enrollment.id)
        .limit(PEOPLE_SHOWN_MAX + 1)
    )
    if after is not None:
        query = query.where(Enrollment.id > after)
    found = session.execute(query).all()
    shown = found[:PEOPLE_SHOWN_MAX]
    now = clock.now(session)
    facts = commission_versions.facts_of(session, enrollment_ids=[row.id for row in shown])
    rows = []
    for row in shown:
        standing = facts.standing_of(row.id, now)
        rows.append(
            {
                "id": people_ids.public(row.id),
                "name": row.name,
                "group": row.group,
                "number": facts.version(standing.version_id).number,
                "why": why_in_words(standing),
                "usual": standing.because is Because.IN_FORCE,
            }
        )
    return rows, len(found) > PEOPLE_SHOWN_MAX


def _assignments(session: Session, program: Program) -> list[dict[str, Any]]:
    found = assignments.assignments(session, program_id=program.id)
    names = people.user_names(session, {f"user:{row.created_by}" for row in found})
    numbers = {one.id: one.number for one in rule_versions.versions(session, program_id=program.id)}
    whom = _whom(session, found)
    now = clock.now(session)
    return [
        {
            "row": row,
            "number": numbers[row.rule_version_id],
            "whom": whom[row.id],
            "by": names.get(f"user:{row.created_by}"),
            "over": row.ends_at is not None and row.ends_at <= now,
        }
        for row in found
    ]


def _whom(session: Session, found: list[RuleAssignment]) -> dict[int, str]:
    """The affiliate's or the group's name of each assignment."""
    ids = [row.id for row in found]
    query = (
        sa.select(RuleAssignment.id, Affiliate.name, AffiliateGroup.name)
        .outerjoin(Enrollment, Enrollment.id == RuleAssignment.enrollment_id)
        .outerjoin(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .outerjoin(AffiliateGroup, AffiliateGroup.id == RuleAssignment.group_id)
        .where(RuleAssignment.id.in_(ids))
    )
    return {
        id_: affiliate or _("Group %(name)s", name=group)
        for id_, affiliate, group in session.execute(query)
    }


def _choices(session: Session, program: Program, form: AssignmentForm) -> None:
    versions = rule_versions.versions(session, program_id=program.id)
    form.version.choices = [
        SelectChoice(one.id, _("Version %(number)s", number=str(one.number))) for one in versions
    ]
    groups = session.scalars(
        sa.select(AffiliateGroup)
        .where(AffiliateGroup.program_id == program.id)
        .order_by(AffiliateGroup.name)
    )
    form.group.choices = [SelectChoice(0, "—"), *(SelectChoice(one.id, one.name) for one in groups)]


def _enrollment_in(form: AssignmentForm) -> int | None:
    text = (form.affiliate.data or "").strip()
    if not text:
        return None
    try:
        return people_ids.enrollment_of(text)
    except NotFound:
        message = _("There is no affiliate of this id.")
        raise Invalid.field("affiliate", "unknown", message) from None


def _beside_fields(refusal: Refusal) -> Refusal:
    """Whom it is for stands in two fields; what is wrong with it beside the first."""
    return Invalid(
        refusal.detail,
        errors=[
            type(error)(
                "affiliate" if error.field == "who" else error.field, error.code, error.message
            )
            for error in refusal.errors
        ],
    )
