"""The JSON API: strict reading, one shape of error, OpenAPI and its browsable page.

A resource is a blueprint of `api_blueprint`, registered by `register(app, blueprint)` in its
module's `set_up`. Every view names its scope first (affiliate.people.access.api_scope), so
that nothing of a request is read before the key is known:

    blueprint = api_blueprint("orders", "/api/v1/orders", "Orders and what they earned")

    @blueprint.post("")
    @api_scope("orders:write")
    @blueprint.arguments(OrderIn)
    @blueprint.response(201, OrderOut)
    def report(order: dict[str, Any]) -> Response: ...
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from functools import wraps
from http import HTTPStatus
from typing import Any, NoReturn, TypeVar

import marshmallow as ma
from flask import Blueprint as PlainBlueprint
from flask import Flask, Request, Response, current_app, g, render_template, request
from flask.json.provider import DefaultJSONProvider
from flask_smorest import Api, Blueprint
from flask_smorest.spec import prepare_response
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import RequestEntityTooLarge

from affiliate.core import api_document, pace, repeats, strict_json
from affiliate.core.config import Settings
from affiliate.core.errors import Invalid, Malformed, Refusal
from affiliate.core.fields import (
    Flag,
    MomentField,
    MoneyField,
    Sha256,
    ShopId,
    Text,
    field_errors,
)
from affiliate.core.http import csrf

EXTENSION = "kopeck.api"
TITLE = "Kopeck API"
VERSION = "v1"
PROBLEM = "application/problem+json"
DESCRIPTION = (
    "Orders, refunds, affiliates, balances and withdrawals for shops and their systems. "
    "Authorize with `Authorization: Bearer kpk_<prefix>_<secret>`."
)

pages = PlainBlueprint("api_pages", __name__)

View = TypeVar("View", bound=Callable[..., Any])


class NotJson(Refusal):
    code = "not_json"
    status = 415
    title = "Send the body as application/json."


class FieldProblem(ma.Schema):
    """What is wrong with one field."""

    field = ma.fields.String(metadata={"description": "Its path: items.0.price.amount"})
    code = ma.fields.String()
    message = ma.fields.String()


class Problem(ma.Schema):
    """Every error, as RFC 9457 problem details."""

    type = ma.fields.String()
    title = ma.fields.String()
    status = ma.fields.Integer()
    detail = ma.fields.String()
    code = ma.fields.String(metadata={"description": "Stable; decide by it."})
    errors = ma.fields.List(ma.fields.Nested(FieldProblem))
    request_id = ma.fields.String(allow_none=True)


class StrictParser(FlaskParser):
    """Reads requests as docs/api.md says: 400 for malformed, 422 for refused."""

    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {  # noqa: RUF012 -- webargs reads it so
        **FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION,
        "json": ma.RAISE,
        "query": ma.RAISE,
        "querystring": ma.RAISE,
    }

    def parsed(self, schema: ma.Schema, location: str) -> Any:
        """What the schema reads there of this request.

        webargs is asked about queries, and to say what is wrong with a body.
        """
        if location == "json":
            with contextlib.suppress(ma.ValidationError):
                return schema.load(self.load_json(request, schema), unknown=ma.RAISE)
        return self.parse(schema, request, location=location)

    def load_json(self, req: Request, schema: ma.Schema) -> Any:
        """The body's object; an absent body is an empty one."""
        raw = req.get_data(cache=True)
        if req.content_length is None and len(raw) >= (req.max_content_length or len(raw) + 1):
            # Werkzeug cuts a chunked body at the limit where it refuses one with its length.
            raise RequestEntityTooLarge
        if not raw:
            return {}
        if not req.is_json:
            raise NotJson
        document = strict_json.loads(raw)
        if not isinstance(document, dict):
            raise Invalid("The body must be a JSON object.")
        return document

    def load_querystring(self, req: Request, schema: ma.Schema) -> Any:
        """The query; a parameter that stands twice is refused, no reader may choose one."""
        for name, values in req.args.lists():
            if len(values) > 1:
                raise Malformed(f"The parameter {name[:60]!r} stands twice.")
        return super().load_querystring(req, schema)

    def handle_error(
        self, error: ma.ValidationError, req: Request, schema: ma.Schema, **_: Any
    ) -> NoReturn:
        """The first key of the messages is where the value came from, not a field."""
        messages = error.messages
        inner = list(messages.values()) if isinstance(messages, dict) else [messages]
        raise Invalid(errors=[found for part in inner for found in field_errors(part)]) from None


class ApiBlueprint(Blueprint):  # type: ignore[misc]
    """A resource of the API; flask-smorest's decorators, with their types."""

    ARGUMENTS_PARSER = StrictParser()

    def get(self, rule: str, **options: Any) -> Callable[[View], View]:
        routed = super().get(rule, **options)
        return lambda view: self._typed(routed)(_if_changed(view))

    def post(self, rule: str, **options: Any) -> Callable[[View], View]:
        return self._writing(super().post(rule, **options))

    def put(self, rule: str, **options: Any) -> Callable[[View], View]:
        return self._writing(super().put(rule, **options))

    def patch(self, rule: str, **options: Any) -> Callable[[View], View]:
        return self._writing(super().patch(rule, **options))

    def delete(self, rule: str, **options: Any) -> Callable[[View], View]:
        return self._writing(super().delete(rule, **options))

    def arguments(
        self, schema: type[ma.Schema], *, location: str = "json", **options: Any
    ) -> Callable[[View], View]:
        """The view's first argument is what the schema reads there."""
        # An instance, as webargs makes a new one of a class, fields and all, for each request.
        reader = schema()
        documented = super().arguments(reader, location=location, **options)
        parser = self.ARGUMENTS_PARSER

        def decorate(view: View) -> View:
            @wraps(view)
            def reading(*values: Any, **named: Any) -> Any:
                return view(*values, parser.parsed(reader, location), **named)

            return _with_documentation(reading, documented(view))  # type: ignore[return-value]

        return decorate

    def response(
        self, status: int, schema: type[ma.Schema] | ma.Schema | None = None, **options: Any
    ) -> Callable[[View], View]:
        """What the view answers when all is well: written by the schema, or by `answer`."""
        documented = super().response(status, schema, **options)
        written: Callable[[Any], Response] = documented(lambda result: result)

        def decorate(view: View) -> View:
            @wraps(view)
            def answering(*values: Any, **named: Any) -> Response:
                result = view(*values, **named)
                return result if isinstance(result, Response) else written(result)

            return _with_documentation(answering, documented(view))  # type: ignore[return-value]

        return decorate

    def alt_response(
        self, status: int, response: str | None = None, **options: Any
    ) -> Callable[[View], View]:
        documented = super().alt_response(status, response, **options)
        return lambda view: _with_documentation(view, documented(view))

    @classmethod
    def _writing(cls, routed: Any) -> Callable[[View], View]:
        return lambda view: cls._typed(routed)(repeats.once(view))

    @staticmethod
    def _typed(decorator: Any) -> Callable[[View], View]:
        typed: Callable[[View], View] = decorator
        return typed


def _if_changed(view: View) -> View:
    """304 for whoever has the answer already: a poller reads nothing new (RFC 9110, 13.1.2)."""

    @wraps(view)
    def reading(*values: Any, **named: Any) -> Any:
        result = view(*values, **named)
        whole = isinstance(result, Response) and not result.is_streamed
        if not whole or result.status_code != HTTPStatus.OK:
            return result
        result.add_etag()
        result.headers["Cache-Control"] = "private, no-cache"
        return result.make_conditional(request)

    return reading  # type: ignore[return-value]


def _with_documentation(view: View, documented: Any) -> View:
    """flask-smorest's description of a view, without its wrappers around every request."""
    view._apidoc = documented._apidoc  # type: ignore[attr-defined]
    return view


class KopeckApi(Api):  # type: ignore[misc]
    """flask-smorest with our own errors, affiliate.core.http answers them all; and with its
    document made when it is first asked for, which few processes ever are."""

    ERROR_SCHEMA = Problem

    def __init__(self) -> None:
        super().__init__()
        self._undocumented: list[tuple[Flask, ApiBlueprint]] = []
        self._documenting = threading.Lock()

    def register_blueprint(self, blueprint: ApiBlueprint) -> None:
        """Its routes at once, its part of the document later."""
        app: Flask = self._app
        app.extensions["flask-smorest"]["blp_name_to_api"][blueprint.name] = self
        app.register_blueprint(blueprint)
        self._undocumented.append((app, blueprint))

    def document(self) -> dict[str, Any]:
        """The document as flask-smorest makes it."""
        with self._documenting:
            while self._undocumented:
                app, blueprint = self._undocumented[0]
                name = blueprint.name
                blueprint.register_views_in_doc(self, app, self.spec, name=name, parameters=None)
                self.spec.tag({"name": name, "description": blueprint.description})
                del self._undocumented[0]
        return dict(self.spec.to_dict())

    def _register_error_handlers(self) -> None:
        """None: the application's handlers give every error one shape already."""

    def _register_responses(self) -> None:
        for status in HTTPStatus:
            response: dict[str, Any] = {"description": status.phrase}
            if status >= HTTPStatus.BAD_REQUEST:
                response["schema"] = Problem
            prepare_response(response, self.spec, PROBLEM)
            self.spec.components.response(status.name, response, lazy=True)
        response = {"description": "Any refusal", "schema": Problem}
        prepare_response(response, self.spec, PROBLEM)
        self.spec.components.response("DEFAULT_ERROR", response, lazy=True)


def api_blueprint(name: str, url_prefix: str, description: str = "") -> ApiBlueprint:
    """A resource of the API. It is authorised by key alone, so it needs no CSRF token."""
    blueprint = ApiBlueprint(name, name, url_prefix=url_prefix, description=description)
    csrf.exempt(blueprint)
    return blueprint


def register(app: Flask, blueprint: ApiBlueprint) -> None:
    """Add a resource to the application and to /api/openapi.json."""
    app.extensions[EXTENSION].register_blueprint(blueprint)


def answer(
    body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer as it is, without a schema's second pass over it."""
    response = Response(json_text(body), status=status, content_type="application/json")
    if headers:
        response.headers.extend(headers)
    return response


def json_text(body: Mapping[str, Any]) -> bytes:
    """A body as `answer` writes it."""
    return strict_json.dumps(body, DefaultJSONProvider.default).encode()


def document() -> dict[str, Any]:
    """The OpenAPI document of the application that is running."""
    app = current_app
    return api_document.described(app.extensions[EXTENSION].document(), app)


def set_up(app: Flask, settings: Settings) -> None:
    """Make the application's API and the pages that describe it."""
    app.config.update(API_TITLE=TITLE, API_VERSION=VERSION, OPENAPI_VERSION="3.1.0")
    api = KopeckApi()
    for field in (MoneyField, MomentField, ShopId, Text, Flag, Sha256):
        api.register_field(field, *_TYPES[field][:2])
    api.init_app(
        app,
        spec_kwargs={
            "info": {"description": DESCRIPTION, "license": {"name": "Apache-2.0"}},
            "servers": [{"url": settings.public_url}],
            "security": [{"key": []}],
        },
    )
    api.ma_plugin.converter.add_attribute_function(_describe)
    api.spec.components.security_scheme(
        "key", {"type": "http", "scheme": "bearer", "bearerFormat": "kpk_<prefix>_<secret>"}
    )
    app.extensions[EXTENSION] = api
    pace.set_up(app, settings)
    app.after_request(_say_pace)
    app.register_blueprint(pages)


def _say_pace(response: Response) -> Response:
    standing: pace.Standing | None = g.get("pace")
    if standing is not None:
        response.headers.extend(standing.headers)
    return response


@pages.get("/api/openapi.json")
def openapi_document() -> Response:
    """The OpenAPI 3.1 description of every call."""
    response = answer(document())
    response.add_etag()
    response.make_conditional(request)  # It becomes a 304 itself.
    return response


@pages.get("/api/")
def browsable() -> str:
    """The same to read and try in a browser."""
    return render_template("affiliate/core/api.html", title=TITLE)


_MONEY = {
    "properties": {
        "amount": {
            "type": "string",
            "pattern": r"^-?[0-9]{1,13}(\.[0-9]{1,6})?$",
            "description": "In requests not negative, with at most the currency's digits.",
            "examples": ["19.99"],
        },
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$", "examples": ["EUR"]},
    },
    "required": ["amount", "currency"],
    "additionalProperties": False,
}
_TYPES: dict[type[ma.fields.Field[Any]], tuple[str, str | None, dict[str, Any]]] = {
    MoneyField: ("object", None, _MONEY),
    MomentField: ("string", "date-time", {}),
    ShopId: ("string", None, {"pattern": "^[A-Za-z0-9._:@#~-]{1,255}$"}),
    Text: ("string", None, {}),
    Flag: ("boolean", None, {}),
    Sha256: ("string", None, {"pattern": "^[0-9a-fA-F]{64}$"}),
}


def _describe(_converter: Any, field: ma.fields.Field[Any], **_: Any) -> dict[str, Any]:
    """What OpenAPI cannot know of our fields (called by apispec as a method)."""
    described = dict(_TYPES.get(type(field), ("", None, {}))[2])
    if isinstance(field, Text):
        described["maxLength"] = field.chars_max
    return described
