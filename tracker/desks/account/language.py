"""gettext, typed; the catalogue's tool finds its calls by the names that importers give it."""

from __future__ import annotations

from typing import Any

import flask_babel


def gettext(text: str, **values: Any) -> str:
    """The text in the reader's language, with its values filled in."""
    return str(flask_babel.gettext(text, **values))


def ngettext(singular: str, plural: str, num: int, **values: Any) -> str:
    """One or many, by the rules of the reader's language; `num` is filled in."""
    return str(flask_babel.ngettext(singular, plural, num, **values))
