"""The audit log: who changed what, from which value to which, and why."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from flask import request, url_for

from affiliate.core.audit import AuditEntry
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.pages import moment
from affiliate.people import access
from tracker.desks.manage import audit_words, people
from tracker.desks.manage.blueprint import manage, page, place, readers

ROWS_MAX = 50
ID_DIGITS_MAX = 18
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)")


@manage.get("/audit")
@readers
def audit() -> str:
    """Entries of the reader's programs, newest first; an owner sees the installation's too."""
    here = place()
    mine = [program.id for program in here.programs]
    seen: sa.ColumnElement[bool] = AuditEntry.scope.in_(mine)
    if access.is_owner():
        seen = sa.or_(seen, AuditEntry.scope.is_(None))
    subject = request.args.get("subject", "").replace("\0", "").strip()[:100]
    before = _before()
    query = sa.select(AuditEntry).where(seen).order_by(AuditEntry.id.desc()).limit(ROWS_MAX + 1)
    if subject:
        query = query.where(AuditEntry.subject == subject)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    found = list(db.session.scalars(query))
    shown = found[:ROWS_MAX]
    names = people.user_names(db.session(), {entry.actor for entry in shown})
    programs = {program.id: program.name for program in here.programs}
    filters: dict[str, Any] = {"subject": subject or None}
    more = len(found) > ROWS_MAX
    return page(
        "audit",
        here,
        entries=[
            {
                "row": entry,
                "who": names.get(entry.actor, entry.actor),
                "did": audit_words.action(entry.action),
                "program": programs.get(entry.scope or 0),
                "changes": changes(entry.old, entry.new),
            }
            for entry in shown
        ],
        subject=subject,
        next_url=url_for("manage.audit", before=shown[-1].id, **filters) if more else None,
        previous_url=url_for("manage.audit", **filters) if before is not None else None,
    )


def changes(
    old: dict[str, Any] | None, new: dict[str, Any] | None
) -> list[tuple[str, str | None, str | None]]:
    """Each value that an entry names: what, before, after; none where there is no such side."""
    names = list(dict.fromkeys([*(old or {}), *(new or {})]))
    return [(name, _said(old, name), _said(new, name)) for name in names]


def _said(values: dict[str, Any] | None, name: str) -> str | None:
    if values is None or name not in values:
        return None
    value = values[name]
    if isinstance(value, list):
        return ", ".join(str(each) for each in value) or "—"
    return "—" if value is None else _read(str(value))


def _read(text: str) -> str:
    """A moment as pages write moments, any other text as it is."""
    if not _MOMENT.fullmatch(text):
        return text
    try:
        return moment(datetime.fromisoformat(text))
    except ValueError:  # The 31st of February.
        return text


def _before() -> int | None:
    text = request.args.get("before")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= ID_DIGITS_MAX):
        raise NotFound
    return int(text)
