"""API v1: the versions of a program's rules (docs/api.md, "Rules")."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from flask import Flask, Response

from affiliate.core import api, clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.fields import moment_json
from affiliate.people import access
from affiliate.people.access import api_scope
from affiliate.programs import programs, rule_versions
from affiliate.programs.models import RuleVersion
from affiliate.programs.rule_versions import State

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


@blueprint.get("/<slug>/rules")
@api_scope("affiliates:read")
@blueprint.response(200, RuleVersionsOut)
def rules(slug: str) -> Response:
    """Versions of the rules with their states; another program's is not found."""
    session = db.session()
    program = programs.by_slug(session, slug)
    if program.id != access.api_key().program_id:
        raise NotFound("There is no program under that address.")
    found = rule_versions.with_states(session, program=program, now=clock.now(session))
    return api.answer(
        {
            "notice_days": program.notice_days,
            "versions": [_out(version, state) for version, state in found],
        }
    )


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
