"""The blueprint of the finance desk, and whose money its reader may see."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from flask import Blueprint, current_app, request

from affiliate.core import ids
from affiliate.core.config import Settings
from affiliate.core.errors import NotFound
from affiliate.core.pages import calendar_day, say
from affiliate.people import access
from affiliate.people.access import Role
from affiliate.programs.models import Program
from payouts.rails.registry import Rails, rails

BATCH = "bat"
WITHDRAWAL = "wd"
ITEM = "pay"
FILE = "fil"
STATEMENT = "bst"

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


@finance.app_template_filter("public_item")
def public_item(number: int) -> str:
    """`pay_…` of an item."""
    return ids.public_id(ITEM, number)


@finance.app_template_filter("payout_day")
def payout_day(key: str) -> str:
    """The day of a weekly batch, whose period is named for it."""
    return calendar_day(date.fromisoformat(key))


@finance.app_template_filter("rail_title")
def rail_title(name: str) -> str:
    """What people call a rail; its bare name when this version has none such."""
    rail = known_rails().get(name)
    return name if rail is None else say(rail.title)


@finance.app_template_filter("account_shown")
def account_shown(destination: str, rail: str, *, whole: bool = False) -> str:
    """Where a payout goes: as its payee is shown it in lists, whole on the payout's own page."""
    known = known_rails().get(rail)
    if known is None:
        return destination
    return known.account_in_words(destination) if whole else known.account_for_payee(destination)


@finance.app_template_filter("account_masked")
def account_masked(destination: str, rail: str) -> str:
    """The end of an account, for desks that send no money."""
    known = known_rails().get(rail)
    return destination if known is None else known.account_masked(destination)


def batch_row(text: str) -> int:
    """The number behind `bat_…`; NotFound when it is none."""
    return _row(BATCH, text)


def item_row(text: str) -> int:
    """The number behind `pay_…`; NotFound when it is none."""
    return _row(ITEM, text)


def withdrawal_row(text: str) -> int:
    """The number behind `wd_…`; NotFound when it is none."""
    return _row(WITHDRAWAL, text)


def file_row(text: str) -> int:
    """The number behind `fil_…`; NotFound when it is none."""
    return _row(FILE, text)


def statement_row(text: str) -> int:
    """The number behind `bst_…`; NotFound when it is none."""
    return _row(STATEMENT, text)


def _row(prefix: str, text: str) -> int:
    number = ids.row_id(prefix, text)
    if ids.public_id(prefix, number) != text:
        raise NotFound
    return number
