"""Where a person may go: the entries of their desk, their other desks, their landing page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
import structlog
from flask import Flask, current_app, request
from flask_babel import lazy_gettext as _l
from flask_babel import lazy_pgettext
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from affiliate.people import access
from affiliate.people.access import Role

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Entry:
    """One line of a menu; shown where its page exists and the role may see it."""

    label: Any
    path: str
    icon: str
    roles: frozenset[Role] = frozenset()
    group: Any = ""
    """The menu of the bar that holds it; empty: it stands in the bar itself."""
    also: tuple[str, ...] = ()
    """Other addresses that are reached from it, and belong to it in the reader's eyes."""

    def reach(self, path: str) -> int:
        """How much of an address is this entry's; 0: none of it."""
        own = (each for each in (self.path, *self.also) if (path + "/").startswith(each + "/"))
        return max(map(len, own), default=0)


@dataclass(frozen=True)
class Desk:
    """A part of the application with pages and readers of its own."""

    path: str
    label: Any
    icon: str
    readers: frozenset[Role]
    entries: tuple[Entry, ...]


_MANAGEMENT = frozenset({Role.OWNER, Role.MANAGER, Role.CURATOR, Role.ANALYST})
_KEEPERS = frozenset({Role.OWNER, Role.MANAGER})
_BOOKS = _l("Books")
_SETTINGS = _l("Settings")
_OF_BATCHES = ("/finance/items", "/finance/files", "/finance/bank-statements")
DESKS = (
    Desk(
        "/manage",
        _l("Manager's desk"),
        "layout-dashboard",
        _MANAGEMENT,
        (
            Entry(_l("Overview"), "/manage", "home", also=("/manage/network",)),
            Entry(_l("Applications"), "/manage/applications", "inbox"),
            Entry(_l("Affiliates"), "/manage/affiliates", "users", also=("/manage/groups",)),
            Entry(_l("Statistics"), "/manage/statistics", "chart-bar"),
            Entry(
                _l("Orders"),
                "/manage/orders",
                "shopping-cart",
                also=("/manage/confirmations",),
            ),
            Entry(_l("Leads"), "/manage/leads", "target"),
            Entry(_l("Claims"), "/manage/claims", "message-circle"),
            Entry(_l("Rules"), "/manage/rules", "scale"),
            Entry(
                _l("Promo"), "/manage/promo", "photo", also=("/manage/products", "/manage/banners")
            ),
            Entry(
                _l("Letters"),
                "/manage/letters",
                "mail",
                group=_SETTINGS,
                also=("/manage/newsletters",),
            ),
            Entry(_l("Integration"), "/manage/integration", "plug", group=_SETTINGS),
            Entry(_l("Staff"), "/manage/staff", "id-badge", _KEEPERS, _SETTINGS),
            Entry(_l("API keys"), "/manage/keys", "key", _KEEPERS, _SETTINGS),
            Entry(_l("Shop systems"), "/manage/sources", "webhook", group=_SETTINGS),
            Entry(_l("Webhooks"), "/manage/webhooks", "webhook", _KEEPERS, _SETTINGS),
            Entry(_l("Moving in"), "/manage/moving-in", "upload", _KEEPERS, _SETTINGS),
        ),
    ),
    Desk(
        "/finance",
        _l("Finance desk"),
        "building-bank",
        frozenset({Role.FINANCE, Role.OWNER}),
        (
            Entry(_l("To do"), "/finance", "list-check"),
            Entry(_l("Batches"), "/finance/batches", "cash-banknote", also=_OF_BATCHES),
            Entry(_l("Withdrawals"), "/finance/withdrawals", "wallet"),
            Entry(lazy_pgettext("payees", "Accounts"), "/finance/payees", "building-bank"),
            Entry(_l("Reconciliation"), "/finance/reconciliation", "scale"),
            Entry(_l("Approval"), "/finance/policies", "shield-check"),
            Entry(_l("Statements"), "/finance/statements", "report-money", group=_BOOKS),
            Entry(_l("Invoices"), "/finance/invoices", "file-invoice", group=_BOOKS),
            Entry(_l("Corrections"), "/finance/adjustments", "pencil", group=_BOOKS),
            Entry(_l("Accruals"), "/finance/accruals", "coins", group=_BOOKS),
            Entry(_l("Journal"), "/finance/journal", "file-export", group=_BOOKS),
        ),
    ),
    Desk(
        "/account",
        _l("Affiliate account"),
        "affiliate",
        frozenset({Role.AFFILIATE}),
        (
            Entry(_l("Home"), "/account", "home"),
            Entry(_l("Links"), "/account/links", "link"),
            Entry(
                _l("Promo"),
                "/account/promo",
                "photo",
                also=("/account/products", "/account/banners"),
            ),
            Entry(
                _l("Statistics"),
                "/account/statistics",
                "chart-bar",
                also=("/account/api", "/account/postbacks"),
            ),
            Entry(_l("Clicks"), "/account/clicks", "click"),
            Entry(_l("Orders"), "/account/orders", "shopping-cart"),
            Entry(_l("Money"), "/account/money", "wallet", also=("/account/invoices",)),
            Entry(_l("Team"), "/account/team", "users-group"),
            Entry(_l("Rules"), "/account/rules", "scale"),
        ),
    ),
)
_LANDING = (
    (_MANAGEMENT - {Role.ANALYST}, "/manage"),
    (frozenset({Role.FINANCE}), "/finance"),
    (frozenset({Role.ANALYST}), "/manage"),
    (frozenset({Role.AFFILIATE}), "/account"),
)


def landing(roles: frozenset[Role]) -> str:
    """Where a person of these roles goes after signing in; the start page without any."""
    return next((path for wanted, path in _LANDING if roles & wanted), "/")


def desk_of(path: str, roles: frozenset[Role]) -> Desk | None:
    """The desk that a page belongs to, else the one where the person's work lies."""
    mine = [desk for desk in DESKS if desk.readers & roles]
    for desk in mine:
        if path == desk.path or path.startswith(desk.path + "/"):
            return desk
    home = landing(roles)
    return next((desk for desk in mine if desk.path == home), None)


COUNTS: Final = "kopeck.navigation_counts"
_KNOWN: Final = "kopeck.navigation_pages"


def count(app: Flask, path: str, asked: Callable[[], tuple[int, bool]]) -> None:
    """Show a number beside an entry: how many wait there, and whether one waits too long."""
    app.extensions.setdefault(COUNTS, {})[path] = asked


def set_up(app: Flask) -> None:
    """Give every template its menus."""
    app.context_processor(_menus)


def _menus() -> dict[str, Any]:
    menus: dict[str, Any] = {"sign_out_url": "/sign-out"}
    if request.path != "/sign-in":
        menus["sign_in_url"] = "/sign-in"
    try:
        roles = access.roles()
        visitor = access.sign_in() is None
    except sa.exc.SQLAlchemyError as error:
        # The page that says so must not fail for the same reason.
        log.warning("navigation.unreadable", error=type(error).__name__)
        return menus
    if visitor:
        return menus
    exists = _existing()
    desk = desk_of(request.path, roles)
    if desk is not None:
        try:
            menus["nav"] = _entries(desk, roles, exists)
        except sa.exc.SQLAlchemyError as error:
            log.warning("navigation.uncounted", error=type(error).__name__)
    menus["desks"] = [
        {"label": d.label, "url": d.path, "icon": d.icon, "active": d is desk}
        for d in DESKS
        if d.readers & roles and exists(d.path)
    ]
    menus["home_url"] = landing(roles)
    menus["account_menu"] = [
        {"label": _l("Profile and sign-ins"), "url": "/profile", "icon": "user-circle"},
        {"label": _l("Second factor"), "url": "/profile/second-factor", "icon": "key"},
        {"label": _l("Letters"), "url": _letters_of(roles), "icon": "mail"},
    ]
    return menus


def _letters_of(roles: frozenset[Role]) -> str:
    """Where a person chooses which letters they get; staff find the way to the other page there."""
    staff = roles - {Role.AFFILIATE}
    return "/account/letters" if Role.AFFILIATE in roles and not staff else "/profile/letters"


def _entries(desk: Desk, roles: frozenset[Role], exists: Callable[[str], bool]) -> list[Any]:
    shown = [
        entry
        for entry in desk.entries
        if exists(entry.path) and (not entry.roles or entry.roles & roles)
    ]
    nearest = max(shown, key=lambda entry: entry.reach(request.path), default=None)
    active = nearest if nearest is not None and nearest.reach(request.path) else None
    counts = current_app.extensions.get(COUNTS, {})
    return [
        {
            "label": e.label,
            "url": e.path,
            "icon": e.icon,
            "active": e is active,
            "group": str(e.group),
            "count": counts[e.path]() if e.path in counts else None,
        }
        for e in shown
    ]


def _existing() -> Callable[[str], bool]:
    """Whether a page is there, so that no menu leads nowhere; addresses do not change, so that
    each is looked for once."""
    known: dict[str, bool] = current_app.extensions.setdefault(_KNOWN, {})

    def exists(path: str) -> bool:
        if path not in known:
            known[path] = _is_there(path)
        return known[path]

    return exists


def _is_there(path: str) -> bool:
    try:
        current_app.url_map.bind("").match(path, method="GET")
    except RequestRedirect:
        return True
    except HTTPException:
        return False
    return True
