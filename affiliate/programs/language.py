"""gettext with types; the catalogue's tool finds calls by the names `_` and `ngettext`."""

from __future__ import annotations

import flask_babel


def _(text: str, **values: object) -> str:
    """The text in the reader's language, with its values in it."""
    return str(flask_babel.gettext(text, **values))


def ngettext(singular: str, plural: str, num: int, **values: object) -> str:
    """The same for a number of things."""
    return str(flask_babel.ngettext(singular, plural, num, **values))
