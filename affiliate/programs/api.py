"""API v1: the versions of a program's rules (docs/api.md, "Rules")."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import marshmallow as ma
from flask import Flask, Response, current_app

from affiliate.core import api, clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.fields import MomentField, moment_json
from affiliate.people import access
from affiliate.people.access import api_scope
from affiliate.programs import programs, rule_versions
from affiliate.programs.models import Program, RuleVersion
from affiliate.programs.rule_versions import State

NUMBER_MAX = 2**31 - 1

blueprint = api.api_blueprint("programs_api", "/api/v1/programs", "The key's program")


class RuleVersionOut(ma.Schema):
    """One version of the rules; it is never changed."""

    version = ma.fields.Integer(metadata={"examples": [2]})
    state = ma.fields.Enum(State, by_value=True)
    announced_at = ma.fields.String(metadata={"format": "date-time"})
    effective_at = ma.fields.String(metadata={"format": "date-time"})
    earlier_affiliates_keep_terms = ma.fields.Boolean()
    kept_until = ma.fields.String(allow_none=True, metadata={"format": "date-time"})
    urgent_reason = ma.fields.String(allow_none=True)
    terms = ma.fields.Dict()


class RuleVersionsOut(ma.Schema):
    """Every version, the newest first."""

    notice_days = ma.fields.Integer()
    versions = ma.fields.List(ma.fields.Nested(RuleVersionOut))


def set_up(app: Flask, _settings: Settings) -> None:
    """Add the resource to the API."""
    api.register(app, blueprint)


class ProgramOut(ma.Schema):
    """The key's program."""

    slug = ma.fields.String()
    name = ma.fields.String()
    summary = ma.fields.String()
    status = ma.fields.String(validate=ma.validate.OneOf(["open", "closing", "closed"]))
    closes_at = ma.fields.String(allow_none=True, metadata={"format": "date-time"})
    currency = ma.fields.String()
    time_zone = ma.fields.String()
    landing_url = ma.fields.String()
    allowed_sites = ma.fields.List(ma.fields.String())
    page_url = ma.fields.String(metadata={"description": "Rules and application, for anybody"})
    rule_version = ma.fields.Integer(metadata={"description": "Of the rules in force"})
    notice_days = ma.fields.Integer()


class ProgramsOut(ma.Schema):
    """A key belongs to one program, so there is one."""

    programs = ma.fields.List(ma.fields.Nested(ProgramOut))


class AtQuery(ma.Schema):
    """At which instant; now unless given."""

    at = MomentField(load_default=None)


@blueprint.get("")
@api_scope("affiliates:read")
@blueprint.response(200, ProgramsOut)
def listing() -> Response:
    """The key's program."""
    program = db.session.get_one(Program, access.api_key().program_id)
    return api.answer({"programs": [_program(program)]})


@blueprint.get("/<slug>")
@api_scope("affiliates:read", own="own:read")
@blueprint.response(200, ProgramOut)
@blueprint.alt_response(404, "NOT_FOUND")
def one(slug: str) -> Response:
    """The key's program; another is not found."""
    return api.answer(_program(_mine(slug)))


@blueprint.get("/<slug>/rules/in-force")
@api_scope("affiliates:read")
@blueprint.arguments(AtQuery, location="query")
@blueprint.response(200, RuleVersionOut)
@blueprint.alt_response(404, "NOT_FOUND")
def rules_in_force(query: dict[str, Any], slug: str) -> Response:
    """The version by which orders of an instant are attributed, `at` or now."""
    session, program = db.session(), _mine(slug)
    now = clock.now(session)
    at = now if query["at"] is None else query["at"]
    number = rule_versions.in_force(session, program_id=program.id, at=at).number
    return api.answer(_numbered(program, number, now))


@blueprint.get("/<slug>/rules/<int:number>")
@api_scope("affiliates:read")
@blueprint.response(200, RuleVersionOut)
@blueprint.alt_response(404, "NOT_FOUND")
def rule_version(slug: str, number: int) -> Response:
    """One version of the rules with its document."""
    session, program = db.session(), _mine(slug)
    if number > NUMBER_MAX:
        raise NotFound
    return api.answer(_numbered(program, number, clock.now(session)))


@blueprint.get("/<slug>/rules")
@api_scope("affiliates:read")
@blueprint.response(200, RuleVersionsOut)
def rules(slug: str) -> Response:
    """Versions of the rules with their states; another program's is not found."""
    session = db.session()
    program = _mine(slug)
    found = rule_versions.with_states(session, program=program, now=clock.now(session))
    return api.answer(
        {
            "notice_days": program.notice_days,
            "versions": [_out(version, state) for version, state in found],
        }
    )


def _mine(slug: str) -> Program:
    program = programs.by_slug(db.session(), slug)
    if program.id != access.api_key().program_id:
        raise NotFound("There is no program under that address.")
    return program


def _numbered(program: Program, number: int, now: datetime) -> dict[str, Any]:
    session = db.session()
    version = rule_versions.numbered(session, program_id=program.id, number=number)
    current = rule_versions.in_force(session, program_id=program.id, at=now).id
    return _out(version, rule_versions.state_of(version, in_force_id=current, now=now))


def _program(program: Program) -> dict[str, Any]:
    session = db.session()
    settings: Settings = current_app.extensions["kopeck.settings"]
    in_force = rule_versions.in_force(session, program_id=program.id, at=clock.now(session))
    told = ("slug", "name", "summary", "status", "currency", "time_zone", "landing_url")
    return {
        **{name: getattr(program, name) for name in told},
        "allowed_sites": list(program.allowed_sites),
        "closes_at": program.closes_at and moment_json(program.closes_at),
        "page_url": f"{settings.public_url}/programs/{program.slug}",
        "rule_version": in_force.number,
        "notice_days": program.notice_days,
    }


def _out(version: RuleVersion, state: State) -> dict[str, Any]:
    until = version.grandfather_until
    return {
        "version": version.number,
        "state": state.value,
        "announced_at": moment_json(version.announced_at),
        "effective_at": moment_json(version.effective_at),
        "earlier_affiliates_keep_terms": version.grandfathers,
        "kept_until": None if until is None else moment_json(until),
        "urgent_reason": version.urgent_reason,
        "terms": version.terms,
    }
