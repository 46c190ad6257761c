"""The blueprint of the account's pages, and how each page begins and ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from flask import Blueprint, render_template, request
from werkzeug.wrappers import Response

from affiliate.core.errors import Refusal
from affiliate.core.pages import say
from affiliate.people.rules import Status
from tracker.desks.account.place import Place, find_place, remember

Answer = str | Response | tuple[str, int]
P = ParamSpec("P")

account = Blueprint("account", __name__, url_prefix="/account")


def in_program(view: Callable[Concatenate[Place, P], Answer]) -> Callable[P, Answer]:
    """Give the view the program that the reader looks at.

    Somebody whose application waits or was turned down sees that instead of empty pages;
    what they send is refused by the verbs, as for everybody.
    """

    @wraps(view)
    def found(*args: P.args, **kwargs: P.kwargs) -> Answer:
        place = find_place()
        remember(place)
        outside = place is None or place.status in (Status.APPLIED, Status.REJECTED)
        if place is None or (outside and request.method == "GET"):
            return page("waiting", place)
        return view(place, *args, **kwargs)

    return found


def page(template: str, place: Place | None, **context: Any) -> str:
    """One of the account's templates with what its frame reads."""
    return render_template(f"tracker/account/{template}.html", place=place, **context)


def field_messages(refusal: Refusal, fields: Mapping[str, str]) -> dict[str, list[str]]:
    """A refusal's sentences by the form's field; those of no field stand under `""`.

    `fields` maps the refusal's field names to the form's.
    """
    messages: dict[str, list[str]] = {}
    for error in refusal.errors:
        messages.setdefault(fields.get(error.field, ""), []).append(say(error.message))
    return messages or {fields.get(refusal.code, ""): [say(refusal.detail)]}
