"""API v1: an affiliate's standing in the program, their group and recruiter; groups.

The verbs are those of the manager's desk (docs/api.md, "Affiliates").
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any

import marshmallow as ma
import sqlalchemy as sa
from flask import Flask, Response
from sqlalchemy.orm import Session

from affiliate.core import api, clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import Invalid, NotFound
from affiliate.core.fields import Text
from affiliate.core.paging import CURSOR_CHARS_MAX
from affiliate.people import access, enrollments, groups, ids, recruiters, rules
from affiliate.people.access import api_scope
from affiliate.people.api import AffiliateOut, affiliate_answer
from affiliate.people.applications_api import ReasonIn
from affiliate.people.models import AffiliateGroup, Enrollment

affiliates = api.api_blueprint(
    "affiliate_standing", "/api/v1/affiliates", "An affiliate's standing, group and recruiter"
)
all_groups = api.api_blueprint("groups", "/api/v1/groups", "Groups of affiliates")


class GroupChoiceIn(ma.Schema):
    """The name of a group of the program; null: none."""

    group = Text(required=True, allow_none=True, chars_max=groups.NAME_CHARS_MAX)


class RecruiterIn(ma.Schema):
    """Who recruits them from the next order on; null: nobody."""

    recruiter = Text(required=True, allow_none=True, chars_max=CURSOR_CHARS_MAX)
    reason = Text(required=True, empty=False, chars_max=rules.REASON_CHARS_MAX)


class GroupIn(ma.Schema):
    """A new group; rules name it, so it keeps its name for ever."""

    name = Text(required=True, empty=False, chars_max=groups.NAME_CHARS_MAX)


class GroupOut(ma.Schema):
    """A group and how many affiliates are in it."""

    name = ma.fields.String()
    members = ma.fields.Integer()


class GroupsOut(ma.Schema):
    """All groups of the program (at most a hundred), by name."""

    groups = ma.fields.List(ma.fields.Nested(GroupOut))


def set_up(app: Flask, _settings: Settings) -> None:
    """Add the resources to the API."""
    api.register(app, affiliates)
    api.register(app, all_groups)


@affiliates.post("/<affiliate>/suspension")
@api_scope("affiliates:manage")
@affiliates.arguments(ReasonIn)
@affiliates.response(200, AffiliateOut)
@affiliates.alt_response(404, "NOT_FOUND")
@affiliates.alt_response(409, "CONFLICT")
def suspend(values: dict[str, Any], affiliate: str) -> Response:
    """Credit nothing from now on and mail them why; what was earned stays. 409 `step_refused`."""
    return _done(
        affiliate,
        lambda session, number, actor, now: enrollments.suspend(
            session, enrollment_id=number, reason=values["reason"], by=None, actor=actor, now=now
        ),
    )


@affiliates.post("/<affiliate>/reinstatement")
@api_scope("affiliates:manage")
@affiliates.response(200, AffiliateOut)
@affiliates.alt_response(404, "NOT_FOUND")
@affiliates.alt_response(409, "CONFLICT")
def reinstate(affiliate: str) -> Response:
    """Credit a suspended affiliate again, and mail them. 409 `step_refused`."""
    return _done(
        affiliate,
        lambda session, number, actor, now: enrollments.reinstate(
            session, enrollment_id=number, by=None, actor=actor, now=now
        ),
    )


@affiliates.put("/<affiliate>/group")
@api_scope("affiliates:manage")
@affiliates.arguments(GroupChoiceIn)
@affiliates.response(200, AffiliateOut)
@affiliates.alt_response(404, "NOT_FOUND")
def set_group(values: dict[str, Any], affiliate: str) -> Response:
    """Put them into a group; its terms hold from the next order on. 422 `unknown_group`."""
    group_id = _group_named(values["group"])
    return _done(
        affiliate,
        lambda session, number, actor, now: groups.put_in_group(
            session, enrollment_id=number, group_id=group_id, by=None, actor=actor, now=now
        ),
    )


@affiliates.put("/<affiliate>/recruiter")
@api_scope("affiliates:manage")
@affiliates.arguments(RecruiterIn)
@affiliates.response(200, AffiliateOut)
@affiliates.alt_response(404, "NOT_FOUND")
def set_recruiter(values: dict[str, Any], affiliate: str) -> Response:
    """Name another recruiter; 422 `recruiter_cycle`, or for one who is not active here."""
    recruiter_id = _recruiter(values["recruiter"])
    return _done(
        affiliate,
        lambda session, number, actor, now: recruiters.set_recruiter(
            session,
            enrollment_id=number,
            recruiter_id=recruiter_id,
            reason=values["reason"],
            by=None,
            actor=actor,
            now=now,
        ),
    )


@all_groups.get("")
@api_scope("affiliates:read")
@all_groups.response(200, GroupsOut)
def listing() -> Response:
    """Groups of the program."""
    found = groups.groups_of(db.session(), program_id=access.api_key().program_id)
    return api.answer({"groups": [{"name": one.name, "members": one.members} for one in found]})


@all_groups.post("")
@api_scope("affiliates:manage")
@all_groups.arguments(GroupIn)
@all_groups.response(201, GroupOut)
@all_groups.alt_response(409, "CONFLICT")
def create(values: dict[str, Any]) -> Response:
    """Make a group; 409 `group_taken`, `too_many_groups`."""
    session, key = db.session(), access.api_key()
    made = groups.create_group(
        session,
        program_id=key.program_id,
        name=values["name"],
        by=None,
        actor=key.label,
        now=clock.now(session),
    )
    session.commit()
    return api.answer({"name": made.name, "members": 0}, HTTPStatus.CREATED)


def _done(affiliate: str, verb: Callable[[Session, int, str, datetime], Enrollment]) -> Response:
    """Call the verb on an affiliate of the key's program; NotFound for another's."""
    session, key = db.session(), access.api_key()
    found = enrollments.in_program(
        session, program_id=key.program_id, enrollment_id=ids.enrollment_of(affiliate)
    )
    verb(session, found.id, key.label, clock.now(session))
    session.commit()
    return affiliate_answer(session, key.program_id, found.id, HTTPStatus.OK)


def _group_named(name: str | None) -> int | None:
    if name is None:
        return None
    found = db.session.scalar(
        sa.select(AffiliateGroup.id).where(
            AffiliateGroup.program_id == access.api_key().program_id, AffiliateGroup.name == name
        )
    )
    if found is None:
        raise Invalid.field("group", "unknown_group", "The program has no group of this name.")
    return found


def _recruiter(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return ids.enrollment_of(text)
    except NotFound:
        message = "There is no affiliate of this id."
        raise Invalid.field("recruiter", "unknown_affiliate", message) from None
