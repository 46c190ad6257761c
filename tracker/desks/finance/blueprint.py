"""The blueprint of the finance desk, and whose money its reader may see."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, current_app, request

from affiliate.core import ids
from affiliate.core.config import Settings
from affiliate.core.errors import NotFound
from affiliate.people import access
from affiliate.people.access import Role
from affiliate.programs.models import Program
from payouts.rails.registry import Rails, rails

BATCH = "bat"
ITEM = "pay"

finance = Blueprint("finance", __name__, url_prefix="/finance")
allowed = access.allow(Role.FINANCE, Role.OWNER)
owners = access.allow(Role.OWNER)


@dataclass(frozen=True)
class Desk:
    """The programs whose money the signed-in person looks after."""

    programs: dict[int, Program]

    @property
    def ids(self) -> list[int]:
        return list(self.programs)


def desk() -> Desk:
    """What the reader may see; every question below is asked for these programs alone."""
    return Desk({program.id: program for program in access.programs_of(Role.FINANCE, Role.OWNER)})


def chosen(programs: list[Program]) -> Program:
    """The program that `?program=` names, else the first; NotFound for any other."""
    slug = request.args.get("program")
    if slug is None and programs:
        return programs[0]
    found = next((program for program in programs if program.slug == slug), None)
    if found is None:
        raise NotFound
    return found


def known_rails() -> Rails:
    """The rails of this installation."""
    settings: Settings = current_app.extensions["kopeck.settings"]
    return rails(settings)


def batch_row(text: str) -> int:
    """The number behind `bat_…`; NotFound when it is none."""
    return _row(BATCH, text)


def item_row(text: str) -> int:
    """The number behind `pay_…`; NotFound when it is none."""
    return _row(ITEM, text)


def _row(prefix: str, text: str) -> int:
    number = ids.row_id(prefix, text)
    if ids.public_id(prefix, number) != text:
        raise NotFound
    return number
