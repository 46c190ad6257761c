"""Who may call what, and who is calling: every view names it, roles are read on every request.

A view carries exactly one mark: `@public`, `@signed_in`, `@allow(Role.…)`, `@affiliates` or
`@api_scope("…")`; affiliate.people.gate holds it before the view runs. Roles come from the
database on each request, so that a change counts at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import sqlalchemy as sa
from flask import Flask, current_app, g, request
from flask import session as cookie
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import NotFound, Unauthenticated
from affiliate.core.http import SAFE_METHODS
from affiliate.people import api_keys, ids, sessions
from affiliate.people.models import Affiliate, Enrollment, Grant, User
from affiliate.people.sent_keys import ApiKeyIdentity
from affiliate.programs.models import Program

_MARK = "kopeck_access"

View = TypeVar("View", bound=Callable[..., Any])


class Role(StrEnum):
    """What a person may be. Staff roles are granted per program, the owner's for all."""

    AFFILIATE = "affiliate"
    FINANCE = "finance"
    CURATOR = "curator"
    MANAGER = "manager"
    ANALYST = "analyst"
    OWNER = "owner"


FACTOR_ROLES = frozenset({Role.FINANCE, Role.OWNER})
"""Roles that sleep in a session in which no second factor was given."""


class Kind(StrEnum):
    """The five marks."""

    PUBLIC = "public"
    SIGNED_IN = "signed_in"
    ROLES = "roles"
    AFFILIATES = "affiliates"
    SCOPE = "scope"


@dataclass(frozen=True)
class Mark:
    """What a view asks of its caller."""

    kind: Kind
    roles: frozenset[Role] = frozenset()
    scope: str = ""
    own: str = ""
    """What an affiliate's own key needs instead; empty: such keys are refused."""


@dataclass(frozen=True)
class Actor:
    """The signed-in person, as verbs and the audit log want it."""

    user_id: int
    affiliate_id: int | None
    label: str
    """`user:17`."""


@dataclass(frozen=True)
class Standing:
    """Everything that the database says about the caller's rights, read once a request."""

    actor: Actor
    grants: frozenset[tuple[Role, int | None]]
    """(role, program); an owner's program is none. Those that sleep are not among them."""
    asleep: frozenset[Role] = frozenset()
    """Roles that the person has, and that this session may not use without a second factor."""

    @property
    def roles(self) -> frozenset[Role]:
        own = {role for role, _ in self.grants}
        return frozenset(own | {Role.AFFILIATE} if self.actor.affiliate_id else own)

    @property
    def owner(self) -> bool:
        return (Role.OWNER, None) in self.grants


PUBLIC_ENDPOINTS = frozenset(
    {
        "static",
        "api_pages.openapi_document",
        "api_pages.browsable",
        "health.alive",
        "health.ready",
        "health.metrics",
    }
)
"""Views of affiliate.core, which knows no roles; /metrics guards itself."""


def public(view: View) -> View:
    """Anybody may call it."""
    return _marked(view, Mark(Kind.PUBLIC))


def signed_in(view: View) -> View:
    """Whoever is signed in, whatever the role."""
    return _marked(view, Mark(Kind.SIGNED_IN))


def affiliates(view: View) -> View:
    """A signed-in person who is an affiliate."""
    return _marked(view, Mark(Kind.AFFILIATES))


def allow(*roles: Role) -> Callable[[View], View]:
    """A signed-in person with one of these roles, in whichever program.

    Which program is decided in the view: by `require_program` or `programs_of`.
    """
    if not roles:
        raise ValueError("name at least one role")
    return lambda view: _marked(view, Mark(Kind.ROLES, roles=frozenset(roles)))


def api_scope(scope: str, *, own: str = "") -> Callable[[View], View]:
    """A live API key with this scope; cookies are not looked at.

    `own` is the scope by which an affiliate's own key may call as well; the view then takes its
    affiliate from `enrollment_named`, which lets such a key reach nobody else.
    """
    if scope not in api_keys.SCOPES or own not in ("", *api_keys.OWN_SCOPES):
        raise ValueError(f"unknown scope {scope!r} or {own!r}")
    return lambda view: _marked(view, Mark(Kind.SCOPE, scope=scope, own=own))


def actor() -> Actor:
    """The signed-in person; Unauthenticated when there is none."""
    return require_standing().actor


def roles() -> frozenset[Role]:
    """The roles that the signed-in person has anywhere; empty for a visitor."""
    standing = find_standing()
    return frozenset() if standing is None else standing.roles


def is_owner() -> bool:
    """Whether the signed-in person owns the installation."""
    standing = find_standing()
    return standing is not None and standing.owner


def programs_of(*wanted: Role) -> list[Program]:
    """Programs in which the signed-in person has one of the roles, oldest first; an owner: all."""
    standing = require_standing()
    if request.method in SAFE_METHODS and Role.AFFILIATE not in wanted:
        # A page asks several times: who may read here, who may act, what the menus count.
        granted = {program for role, program in standing.grants if role in wanted}
        return [one for one in _all_granted() if standing.owner or one.id in granted]
    query = sa.select(Program).order_by(Program.id)
    if not standing.owner:
        query = query.where(Program.id.in_(_program_ids(standing, frozenset(wanted))))
    return list(db.session.scalars(query))


def _all_granted() -> list[Program]:
    """Programs in which the person has any staff role, asked for once a request."""
    if "programs_granted" not in g:
        standing = require_standing()
        query = sa.select(Program).order_by(Program.id)
        if not standing.owner:
            query = query.where(Program.id.in_({program for _, program in standing.grants}))
        g.programs_granted = list(db.session.scalars(query))
    found: list[Program] = g.programs_granted
    return found


def require_program(slug: str, *wanted: Role) -> Program:
    """The program of this slug, when the person has one of the roles there; else NotFound.

    A program where one has no role answers exactly as one that does not exist.
    """
    standing = require_standing()
    query = sa.select(Program).where(Program.slug == slug)
    if not standing.owner:
        query = query.where(Program.id.in_(_program_ids(standing, frozenset(wanted))))
    program = db.session.scalar(query)
    if program is None:
        raise NotFound
    return program


def api_key() -> ApiKeyIdentity:
    """The key that calls; only in views marked with a scope."""
    identity: ApiKeyIdentity | None = g.get("api_key")
    if identity is None:
        raise Unauthenticated
    return identity


def enrollment_named(affiliate: str) -> int:
    """The number behind `aff_…` in a call; NotFound for an own key that names somebody else.

    That it is one of the key's program is for the view to ask.
    """
    number = ids.enrollment_of(affiliate)
    own = api_key().enrollment_id
    if own is not None and own != number:
        raise NotFound
    return number


def asleep() -> bool:
    """Whether a role of the signed-in person waits for their second factor."""
    standing = find_standing()
    return standing is not None and bool(standing.asleep)


def sign_in() -> sessions.SignIn | None:
    """The live session of this request's cookie, looked up once a request."""
    if "sign_in" not in g:
        g.sign_in = _find_sign_in()
    found: sessions.SignIn | None = g.sign_in
    return found


def find_standing() -> Standing | None:
    """The caller's rights, read once a request; None for a visitor."""
    if "standing" not in g:
        found = sign_in()
        g.standing = (
            None
            if found is None
            else read_standing(db.session(), found.user.id, with_factor=found.factor_at is not None)
        )
    standing: Standing | None = g.standing
    return standing


def forget() -> None:
    """Drop what this request knew of its caller: they have just signed in or out."""
    g.pop("sign_in", None)
    g.pop("standing", None)
    g.pop("programs_granted", None)


def read_standing(session: Session, user_id: int, *, with_factor: bool) -> Standing:
    """Roles and affiliate of a user as the database has them now."""
    rows = session.execute(
        sa.select(Affiliate.id, Grant.role, Grant.program_id)
        .select_from(User)
        .outerjoin(Affiliate, Affiliate.user_id == User.id)
        .outerjoin(Grant, sa.and_(Grant.user_id == User.id, Grant.revoked_at.is_(None)))
        .where(User.id == user_id)
    ).all()
    affiliate_id = rows[0][0] if rows else None
    held = frozenset((Role(role), program_id) for _, role, program_id in rows if role)
    sleeping = frozenset() if with_factor else FACTOR_ROLES & {role for role, _ in held}
    return Standing(
        Actor(user_id, affiliate_id, f"user:{user_id}"),
        frozenset(grant for grant in held if grant[0] not in sleeping),
        sleeping,
    )


def mark_of(view: Callable[..., Any], endpoint: str, method: str = "GET") -> Mark | None:
    """The mark of a view; a class-based view carries it on the class or on each method."""
    if endpoint in PUBLIC_ENDPOINTS:
        return Mark(Kind.PUBLIC)
    cls = getattr(view, "view_class", None)
    if cls is None:
        return getattr(view, _MARK, None)
    name = method.lower()
    function = getattr(cls, name, None) or (getattr(cls, "get", None) if name == "head" else None)
    return getattr(function, _MARK, None) or getattr(cls, _MARK, None)


def unmarked(app: Flask) -> list[str]:
    """Endpoints and methods without a mark; an application with one answers nothing."""
    return [
        f"{method} {rule.rule} ({rule.endpoint})"
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        if mark_of(app.view_functions[rule.endpoint], rule.endpoint, method) is None
    ]


def _marked(view: View, mark: Mark) -> View:
    if hasattr(view, _MARK):
        raise ValueError(f"{view.__name__} has two access marks")
    setattr(view, _MARK, mark)
    return view


def _find_sign_in() -> sessions.SignIn | None:
    token = cookie.get(sessions.COOKIE_KEY)
    if not isinstance(token, str):
        return None
    settings: Settings = current_app.extensions["kopeck.settings"]
    now = clock.real_now()
    session = db.session()
    found = sessions.find(
        session,
        token=token,
        idle_s=settings.session_idle_s,
        absolute_s=settings.session_absolute_s,
        now=now,
    )
    if found is not None and sessions.touch(session, found=found, now=now):
        session.commit()
    if found is not None:
        g.time_zone = found.user.time_zone
    return found


def require_standing() -> Standing:
    """The caller's rights; Unauthenticated for a visitor."""
    standing = find_standing()
    if standing is None:
        raise Unauthenticated
    return standing


def _program_ids(standing: Standing, wanted: frozenset[Role]) -> sa.Select[int]:
    ids = [program for role, program in standing.grants if role in wanted and program is not None]
    query = sa.select(Program.id).where(Program.id.in_(ids))
    if Role.AFFILIATE in wanted and standing.actor.affiliate_id is not None:
        enrolled = sa.select(Enrollment.program_id).where(
            Enrollment.affiliate_id == standing.actor.affiliate_id
        )
        query = sa.select(Program.id).where(Program.id.in_(ids) | Program.id.in_(enrolled))
    return query
