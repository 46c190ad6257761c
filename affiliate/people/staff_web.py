"""The manager's pages of access: staff and invitations, and the shops' API keys."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from flask import Blueprint, flash, redirect, render_template, request
from flask_babel import gettext as _
from werkzeug.wrappers import Response

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import NotFound, Refusal
from affiliate.people import access, api_keys, freshness, grants, invitations, users
from affiliate.people.access import Role, allow
from affiliate.people.forms import InviteForm, KeyForm
from affiliate.people.models import ApiKey, Grant, User
from affiliate.people.scope_words import words_of
from affiliate.programs.models import Program

Answer = str | Response | tuple[str, int]
ALL_PROGRAMS = ""
SCOPES_SHOWN = 3
"""Of what a key may do; the rest is folded away."""

blueprint = Blueprint("staff", __name__, url_prefix="/manage")


@blueprint.get("/staff")
@allow(Role.OWNER, Role.MANAGER)
def staff() -> Answer:
    """Who works here, in which role and where; who is invited."""
    return _staff_page(_invite_form())


@blueprint.post("/staff/invitations")
@allow(Role.OWNER, Role.MANAGER)
def invite() -> Answer:
    """Mail an invitation."""
    freshness.require_fresh()
    form = _invite_form()
    if not form.validate_on_submit():
        return _staff_page(form), 422
    if form.role.data in access.FACTOR_ROLES:
        freshness.require_factor()
    session = db.session()
    owner = form.role.data == Role.OWNER
    try:
        if not owner and form.program.data == ALL_PROGRAMS:
            raise grants.ProgramNeeded
        invitations.invite(
            session,
            email=form.email.data,
            role=form.role.data,
            program_id=None if owner else _program(form.program.data).id,
            by=access.actor().user_id,
            now=clock.now(session),
        )
    except (grants.ProgramNeeded, grants.RoleNotYours) as refusal:
        form.show(refusal)
        return _staff_page(form), refusal.status
    except Refusal as refusal:
        form.show(refusal)
        return _staff_page(form), 422
    return _done(_("The invitation is on its way."), "/manage/staff")


@blueprint.post("/staff/invitations/<int:invitation_id>/withdrawal")
@allow(Role.OWNER, Role.MANAGER)
def withdraw_invitation(invitation_id: int) -> Answer:
    """Make an invitation void."""
    session = db.session()
    invitations.withdraw(
        session,
        invitation_id=invitation_id,
        by=access.actor().user_id,
        now=clock.now(session),
    )
    return _done(_("The invitation is void."), "/manage/staff")


@blueprint.post("/staff/roles/<int:grant_id>/revocation")
@allow(Role.OWNER, Role.MANAGER)
def revoke_role(grant_id: int) -> Answer:
    """Take a role back; it counts at the person's next request."""
    freshness.require_fresh()
    if not access.is_owner():
        _visible_grant(grant_id)
    session = db.session()
    if session.scalar(sa.select(Grant.role).where(Grant.id == grant_id)) in access.FACTOR_ROLES:
        freshness.require_factor()
    grants.revoke_role(
        session, grant_id=grant_id, by=access.actor().user_id, now=clock.now(session)
    )
    return _done(_("The role is taken back."), "/manage/staff")


@blueprint.post("/staff/people/<int:user_id>/disabling")
@allow(Role.OWNER)
def disable(user_id: int) -> Answer:
    """Shut a person out at once."""
    freshness.require_fresh()
    session = db.session()
    users.disable_user(session, user_id=user_id, by=access.actor().user_id, now=clock.now(session))
    return _done(_("They can no longer sign in, and are signed out."), "/manage/staff")


@blueprint.post("/staff/people/<int:user_id>/enabling")
@allow(Role.OWNER)
def enable(user_id: int) -> Answer:
    """Let a person in again."""
    freshness.require_fresh()
    session = db.session()
    users.enable_user(session, user_id=user_id, by=access.actor().user_id, now=clock.now(session))
    return _done(_("They can sign in again."), "/manage/staff")


@blueprint.get("/keys")
@allow(Role.OWNER, Role.MANAGER)
def keys() -> Answer:
    """The programs' keys: what each may do and when it was last used.

    `program` and `scope` in the address choose what the form begins with.
    """
    form = _key_form(empty=True)
    form.program.data = request.args.get("program", form.program.data)
    form.scopes.data = request.args.getlist("scope")
    return _keys_page(form)


@blueprint.post("/keys")
@allow(Role.OWNER, Role.MANAGER)
def create_key() -> Answer:
    """Make a key and show it, this once."""
    freshness.require_fresh()
    form = _key_form()
    if not form.validate_on_submit():
        return _keys_page(form), 422
    session = db.session()
    _key, secret = api_keys.create_key(
        session,
        program_id=_program(form.program.data).id,
        scopes=form.scopes.data,
        name=form.name.data,
        by=access.actor().user_id,
        now=clock.now(session),
    )
    session.commit()
    return _keys_page(_key_form(empty=True), made=secret), 201


@blueprint.post("/keys/<int:key_id>/rotation")
@allow(Role.OWNER, Role.MANAGER)
def rotate_key(key_id: int) -> Answer:
    """Make the key that takes its place and show it, this once; the old one works on a while."""
    freshness.require_fresh()
    key, session = _visible_key(key_id), db.session()
    _new, secret = api_keys.rotate_key(
        session,
        program_id=key.program_id,
        key_id=key.id,
        by=access.actor().user_id,
        now=clock.real_now(),
    )
    session.commit()
    return _keys_page(_key_form(empty=True), made=secret), 201


@blueprint.post("/keys/<int:key_id>/revocation")
@allow(Role.OWNER, Role.MANAGER)
def revoke_key(key_id: int) -> Answer:
    """End a key for good."""
    key, session = _visible_key(key_id), db.session()
    api_keys.revoke_key(
        session,
        program_id=key.program_id,
        key_id=key.id,
        by=access.actor().user_id,
        now=clock.now(session),
    )
    return _done(_("The key is revoked. Requests with it are refused from now on."), "/manage/keys")


def _programs() -> list[Program]:
    return access.programs_of(Role.MANAGER, Role.OWNER)


def _program(slug: str) -> Program:
    return access.require_program(slug, Role.MANAGER, Role.OWNER)


def _done(message: str, url: str) -> Response:
    db.session.commit()
    flash(message, "success")
    return redirect(url, 303)


def _invite_form() -> InviteForm:
    form = InviteForm()
    given = grants.STAFF_ROLES if access.is_owner() else grants.MANAGERS_GIVE
    form.role.choices = [(role, _role_name(role)) for role in given]
    form.program.choices = [(p.slug, p.name) for p in _programs()]
    if access.is_owner():
        form.program.choices.insert(0, (ALL_PROGRAMS, _("All programs (owners)")))
    return form


def _key_form(*, empty: bool = False) -> KeyForm:
    form = KeyForm(formdata=None) if empty else KeyForm()
    form.program.choices = [(p.slug, p.name) for p in _programs()]
    form.scopes.choices = [(scope, words_of(scope)) for scope in api_keys.SCOPES]
    return form


def _staff_page(form: InviteForm) -> str:
    session = db.session()
    programs = {program.id: program.name for program in _programs()}
    sees_all = access.is_owner()
    open_ones = [
        {
            "id": i.id,
            "email": i.email,
            "role": _role_name(i.role),
            "until": i.expires_at,
            "program": programs.get(i.program_id or 0, ""),
        }
        for i in invitations.open_ones(session, now=clock.now(session))
        if sees_all or i.program_id in programs
    ]
    return render_template(
        "affiliate/people/staff.html",
        form=form,
        people=_people(_grants(sees_all, list(programs)), programs),
        invitations=open_ones,
        owner=sees_all,
        me=access.actor().user_id,
    )


def _grants(sees_all: bool, program_ids: list[int]) -> Sequence[sa.Row[Grant, User]]:
    query = (
        sa.select(Grant, User)
        .join(User, User.id == Grant.user_id)
        .where(Grant.revoked_at.is_(None))
        .order_by(User.name, User.id, Grant.id)
    )
    if not sees_all:
        query = query.where(Grant.program_id.in_(program_ids))
    return db.session.execute(query).all()


def _people(
    rows: Sequence[sa.Row[Grant, User]], programs: dict[int, str]
) -> list[dict[str, object]]:
    people: dict[int, dict[str, object]] = {}
    for grant, user in rows:
        person = people.setdefault(
            user.id,
            {
                "id": user.id,
                "name": user.name or user.email,
                "email": user.email,
                "active": user.active,
                "grants": [],
            },
        )
        listed = person["grants"]
        assert isinstance(listed, list)
        listed.append(
            {
                "id": grant.id,
                "role": _role_name(grant.role),
                "program": programs.get(grant.program_id or 0, ""),
                "mine_to_take": access.is_owner() or grant.role in grants.MANAGERS_GIVE,
            }
        )
    return list(people.values())


def _visible_grant(grant_id: int) -> None:
    """A manager meets grants of their own programs alone; others answer as if not there."""
    program_ids = [program.id for program in _programs()]
    found = db.session.scalar(
        sa.select(Grant.id).where(Grant.id == grant_id, Grant.program_id.in_(program_ids))
    )
    if found is None:
        raise NotFound


def _visible_key(key_id: int) -> ApiKey:
    """A key of the reader's own programs; others answer as if not there."""
    mine = [program.id for program in _programs()]
    found = next(
        (k for k in api_keys.keys_of(db.session(), program_ids=mine) if k.id == key_id), None
    )
    if found is None:
        raise NotFound
    return found


def _keys_page(form: KeyForm, *, made: str | None = None) -> str:
    programs = {program.id: program.name for program in _programs()}
    found, now = api_keys.keys_of(db.session(), program_ids=list(programs)), clock.real_now()
    return render_template(
        "affiliate/people/keys.html",
        form=form,
        made=made,
        programs=programs,
        keys=sorted(found, key=lambda key: key.has_ended(now)),
        in_order=api_keys.in_order,
        scopes_shown=SCOPES_SHOWN,
        words_of=words_of,
        now=now,
        overlap_days=api_keys.OVERLAP_DAYS,
        ours=api_keys.OURS,
    )


def _role_name(role: str) -> str:
    names: dict[str, str] = {
        "owner": _("owner"),
        "manager": _("manager"),
        "finance": _("finance"),
        "curator": _("curator"),
        "analyst": _("analyst"),
    }
    return names[role]
