"""Who may call what: every view names it, one hook holds it, roles are read on every request.

A view carries exactly one mark: `@public`, `@signed_in`, `@allow(Role.…)`, `@affiliates` or
`@api_scope("…")`. The application refuses to answer at all while a view without a mark
exists. Roles come from the database on each request, so that a change counts at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar
from urllib.parse import urlencode

import sqlalchemy as sa
from flask import Flask, Response, current_app, g, redirect, request
from flask import session as cookie
from sqlalchemy.orm import Session

from affiliate.core import clock, pace
from affiliate.core.config import Settings
from affiliate.core.db import begin_planned_once, db
from affiliate.core.errors import Forbidden, NotFound, Unauthenticated
from affiliate.core.http import SAFE_METHODS, wants_problem
from affiliate.people import api_keys, ids, sent_keys, sessions
from affiliate.people.models import Affiliate, Enrollment, Grant, User
from affiliate.people.next_page import page_before
from affiliate.people.sent_keys import ApiKeyIdentity
from affiliate.programs.models import Program

FRESH_S = 15 * 60
"""For how long after giving the password money actions need not ask again."""
FACTOR_FRESH_S = 5 * 60
"""For how long after a second factor an approval, or what is like one, need not ask again."""
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


class ScopeMissing(Forbidden):
    code = "scope_missing"
    title = "This API key does not have the scope that the call needs."


class PasswordNeeded(Unauthenticated):
    """The session is live, but too long since the password was given."""

    code = "password_needed"
    title = "Give your password again to go on."


class FactorNeeded(Forbidden):
    """The role is theirs; the session has not shown a second factor."""

    code = "second_factor_needed"
    title = "Finance and owners work with a second factor."


class FactorStale(Unauthenticated):
    """The session has shown a second factor, but too long ago for this."""

    code = "second_factor_stale"
    title = "Give your second factor again to go on."


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
    return _standing().actor


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
    standing = _standing()
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
        standing = _standing()
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
    standing = _standing()
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


def require_fresh(max_age_s: int = FRESH_S) -> None:
    """Before money moves: the password must have been given in the last `max_age_s`.

    Raises PasswordNeeded, which a browser meets as the page that asks for it.
    """
    if sign_in() is None:
        raise Unauthenticated
    if not is_fresh(max_age_s):
        raise PasswordNeeded


def is_fresh(max_age_s: int = FRESH_S) -> bool:
    """Whether the password was given that lately: a long form asks before it is filled in."""
    found = sign_in()
    if found is None:
        return False
    return clock.real_now() - found.fresh_at <= timedelta(seconds=max_age_s)


def factor_at() -> datetime | None:
    """When a second factor was given in this session, if that was in the last five minutes.

    Real time. None means that it has to be asked for.
    """
    found = sign_in()
    if found is None or found.factor_at is None:
        return None
    age_s = (clock.real_now() - found.factor_at).total_seconds()
    return found.factor_at if age_s <= FACTOR_FRESH_S else None


def require_factor() -> None:
    """Before roles, policies or locks change: a second factor of the last five minutes.

    Raises FactorStale, which a browser meets as the page that asks for it.
    """
    if sign_in() is None:
        raise Unauthenticated
    if factor_at() is None:
        raise FactorStale


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


def set_up(app: Flask, _settings: Settings) -> None:
    """Install the hook before every view, and the answer of PasswordNeeded."""
    app.before_request(_authorise)
    app.register_error_handler(Unauthenticated, _unauthenticated)


def _marked(view: View, mark: Mark) -> View:
    if hasattr(view, _MARK):
        raise ValueError(f"{view.__name__} has two access marks")
    setattr(view, _MARK, mark)
    return view


def _authorise() -> None:
    if not current_app.extensions.get("kopeck.access_checked"):
        missing = unmarked(current_app)
        if missing:
            raise RuntimeError(f"views without a role: {', '.join(missing)}")
        current_app.extensions["kopeck.access_checked"] = True
    endpoint = request.endpoint
    if endpoint is None or request.method == "OPTIONS":
        return
    mark = mark_of(current_app.view_functions[endpoint], endpoint, request.method)
    if mark is None:
        raise RuntimeError(f"{endpoint} does not say who may call it")
    if mark.kind is Kind.SCOPE:
        _authorise_key(mark)
    elif mark.kind is not Kind.PUBLIC:
        _authorise_person(mark)


def _authorise_person(mark: Mark) -> None:
    standing = _standing()
    held = standing.roles
    if mark.kind is Kind.AFFILIATES and Role.AFFILIATE not in held:
        raise Forbidden
    if mark.kind is Kind.ROLES and not held & mark.roles:
        raise FactorNeeded if standing.asleep & mark.roles else Forbidden


def _authorise_key(mark: Mark) -> None:
    if sent_keys.looks_like_key(request.full_path):
        raise sent_keys.KeyInAddress
    now = clock.real_now()
    session = db.session()
    if request.method not in SAFE_METHODS:
        begin_planned_once(session)  # What writes finds its rows by their keys.
    identity = sent_keys.authenticate(
        session, authorization=request.headers.get("Authorization", ""), now=now
    )
    g.pace = pace.of_app().count(identity.id)
    if identity.enrollment_id is not None and not sent_keys.owner_may(
        session, enrollment_id=identity.enrollment_id
    ):
        raise sent_keys.KeyRefused
    if sent_keys.use_is_news(identity, now=now) and sent_keys.note_use(
        session, key_id=identity.id, now=now
    ):
        session.commit()
    scope = mark.scope if identity.enrollment_id is None else mark.own
    if scope not in identity.scopes:
        raise ScopeMissing(
            f"This API key does not have the scope {scope}."
            if scope
            else "An affiliate's own key reaches what is theirs alone."
        )
    g.api_key = identity


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


def _standing() -> Standing:
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


def _unauthenticated(refusal: Unauthenticated) -> Response:
    """Machines get the 401; people are led to where they sign in or give the password."""
    from affiliate.core.http import answer

    if wants_problem():
        return answer(refusal)
    pages = {PasswordNeeded: "/confirm-password", FactorStale: "/confirm-factor"}
    page = pages.get(type(refusal), "/sign-in")
    sent = request.method != "GET"
    back = page_before() if sent else request.full_path.rstrip("?")
    query = {"next": back} | ({"sent": "1"} if sent and type(refusal) in pages else {})
    return redirect(f"{page}?{urlencode(query)}" if back else page, 303)  # type: ignore[return-value]
