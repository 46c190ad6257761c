"""The switch between languages at the foot of every page."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
import structlog
from flask import Blueprint, Flask, redirect, request
from flask_babel import get_locale
from werkzeug.wrappers import Response

from affiliate.core import languages
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.people import access, account, next_page
from affiliate.people.access import public, signed_in

log = structlog.get_logger(__name__)

blueprint = Blueprint("language", __name__)


def set_up(app: Flask) -> None:
    """Register the switch, and what it shows on every page."""
    app.register_blueprint(blueprint)
    app.context_processor(_switch)
    languages.use_profile(app, _of_profile)


@blueprint.get("/language/<code>")
@public
def choose(code: str) -> Response:
    """A visitor's choice, kept in their browser; nothing else changes by it."""
    return _chosen(code)


@blueprint.post("/language/<code>")
@signed_in
def keep(code: str) -> Response:
    """A signed-in person's choice: kept in the profile, so that letters follow it too."""
    answer = _chosen(code)
    account.choose_language(db.session(), user_id=access.actor().user_id, locale=code)
    db.session.commit()
    return answer


def _chosen(code: str) -> Response:
    if code not in languages.LANGUAGES:
        raise NotFound
    answer: Any = redirect(next_page.own_next() or "/", 303)
    languages.remember(answer, code)
    return answer  # type: ignore[no-any-return]


def _of_profile() -> str | None:
    try:
        found = access.sign_in()
        # The person may have to be read anew, as after a statement that was refused.
        return None if found is None else found.user.locale
    except sa.exc.SQLAlchemyError as error:
        # The page that says that the database is away must not fail for the same reason.
        log.warning("language.unreadable", error=type(error).__name__)
        return None


def _switch() -> dict[str, object]:
    now = str(get_locale())
    return {
        "languages": [
            {"code": code, "label": name, "active": code == now}
            for code, name in languages.NAMES.items()
        ],
        "language_next": next_page.page_before() if request.method == "POST" else _here(),
    }


def _here() -> str:
    return request.full_path.rstrip("?")
