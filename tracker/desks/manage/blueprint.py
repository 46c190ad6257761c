"""The blueprint of the manager's desk, who may see it and which program is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, render_template, request
from flask import session as cookie

from affiliate.core import ids
from affiliate.core.errors import NotFound
from affiliate.people import access
from affiliate.people.access import Role
from affiliate.programs.models import Program

READERS = (Role.MANAGER, Role.CURATOR, Role.ANALYST, Role.OWNER)
ACTORS = (Role.MANAGER, Role.OWNER)
ORDER = "ord"
LEAD = "led"
PAID_DAY = "pcd"
_COOKIE = "manage_program"

manage = Blueprint("manage", __name__, url_prefix="/manage")
readers = access.allow(*READERS)
actors = access.allow(*ACTORS)
owners = access.allow(Role.OWNER)


@dataclass(frozen=True)
class Place:
    """The program that the reader looks at, and those that they may turn to."""

    program: Program | None
    """None where the reader's programs do not exist yet."""
    programs: list[Program]
    acting_in: frozenset[int]
    """Programs in which the reader may also act."""

    @property
    def may_act(self) -> bool:
        return self.program is not None and self.program.id in self.acting_in

    @property
    def required(self) -> Program:
        """The program; NotFound where there is none."""
        if self.program is None:
            raise NotFound("There is no program yet.")
        return self.program


def place() -> Place:
    """Which program: named in the address, else the one looked at last, else the first."""
    programs = access.programs_of(*READERS)
    named = request.args.get("program")
    by_slug = {program.slug: program for program in programs}
    if named is not None:
        if named not in by_slug:
            raise NotFound
        cookie[_COOKIE] = named
    remembered = by_slug.get(cookie.get(_COOKIE, ""))
    chosen = by_slug[named] if named else remembered or (programs[0] if programs else None)
    return Place(chosen, programs, _acting_in())


def place_of(program_id: int) -> Place:
    """The place of an object's own program; NotFound when the reader has no role there."""
    programs = access.programs_of(*READERS)
    program = next((program for program in programs if program.id == program_id), None)
    if program is None:
        raise NotFound
    return Place(program, programs, _acting_in())


def require_acting(program_id: int) -> None:
    """Before an action on an object of this program: the reader's role must reach there."""
    if program_id not in _acting_in():
        raise NotFound


def page(template: str, here: Place, **context: Any) -> str:
    """One of the desk's templates with what its frame reads."""
    return render_template(f"tracker/manage/{template}.html", place=here, **context)


def order_row(text: str) -> int:
    """The number behind `ord_…`; NotFound when it is none."""
    return ids.row_id(ORDER, text)


def _acting_in() -> frozenset[int]:
    return frozenset(program.id for program in access.programs_of(*ACTORS))
