"""What flask-smorest cannot know of our calls, added to its OpenAPI document.

Names of operations, scopes, the statuses that any call may answer, the headers, and links from
an answer to the calls that take what stands in it. All of it is derived from the routes and the
schemas, so that a new resource is described as soon as it is registered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from http import HTTPStatus
from typing import Any, Final

from flask import Flask

PROBLEM: Final = "application/problem+json"
JSON: Final = "application/json"
READING: Final = ("get",)
WRITING: Final = ("post", "put", "patch", "delete")
_ARGUMENT: Final = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")
_SCOPES: Final = "x-scopes"
_OPTIONAL: Final = "x-optional"

Document = dict[str, Any]

_TEXT: Final = {"type": "string"}
_HEADERS: Final[Document] = {
    "X-Request-Id": {"description": "Name it when you ask about a call.", "schema": _TEXT},
    "RateLimit-Policy": {
        "description": 'Calls in a window of seconds: `"calls";q=6000;w=60`.',
        "schema": _TEXT,
    },
    "RateLimit": {
        "description": 'What is left of it, and the seconds until it begins anew: `"calls";r=5999;t=43`.',  # noqa: E501
        "schema": _TEXT,
    },
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}},
    "ETag": {"description": "Send it as If-None-Match.", "schema": _TEXT},
    "Link": {"description": 'The next page: `<…>; rel="next"`.', "schema": _TEXT},
    "Idempotent-Replayed": {
        "description": "`true`: it was done before; nothing was done now.",
        "schema": {"const": "true"},
    },
}
_PARAMETERS: Final[Document] = {
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "One of your own for each intent; with it a repeated call is answered as "
        "the first one was.",
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": 257,
            "pattern": '^([!#-~]{1,255}|"[!#-~]{1,255}")$',
        },
    },
    "IfNoneMatch": {
        "name": "If-None-Match",
        "in": "header",
        "description": "The ETag of an answer that you have; 304 where it is still the same.",
        "schema": _TEXT,
    },
}
_ALWAYS: Final = (400, 401, 403, 414, 429, 503)
_WAITS: Final = (429, 503)
_NAMES: Final = {status.value: status.name for status in HTTPStatus}


def described(document: Document, app: Flask) -> Document:
    """The document, completed; what was given stays as it is."""
    document = deepcopy(document)
    components = document["components"]
    components["headers"] = {_name(name): header for name, header in _HEADERS.items()}
    components["parameters"] = {**components.get("parameters", {}), **_PARAMETERS}
    endpoints = _endpoints(app)
    for path, method, operation in operations(document):
        endpoint = endpoints[path, method]
        operation["operationId"] = endpoint.replace(".", "_")
        mark = getattr(app.view_functions[endpoint], "kopeck_access", None)
        operation[_SCOPES] = [each for each in (mark.scope, mark.own) if each] if mark else []
        _complete(document, path, method, operation)
    _name_money(document)
    _require_answers(document, _close_bodies(document))
    _link(document)
    return document


def operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    """Every call of the document: path, method, description."""
    for path, calls in document["paths"].items():
        for method in (*READING, *WRITING):
            if method in calls:
                yield path, method, calls[method]


def path_of(rule: str) -> str:
    """A route of Flask's as OpenAPI writes it: `/api/v1/orders/{order_id}`."""
    return _ARGUMENT.sub(r"{\1}", rule)


def _endpoints(app: Flask) -> dict[tuple[str, str], str]:
    return {
        (path_of(rule.rule), method.lower()): rule.endpoint
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
    }


def _complete(document: Document, path: str, method: str, operation: Document) -> None:
    responses = operation["responses"]
    parameters = operation.setdefault("parameters", [])
    statuses = [*_ALWAYS]
    if "{" in path:
        statuses.append(404)
    if "{" in path or parameters or "requestBody" in operation:
        statuses.append(422)
    if "requestBody" in operation:
        statuses += [413, 415]
    if method in WRITING:
        statuses += [409, 422]
        parameters.append({"$ref": "#/components/parameters/IdempotencyKey"})
    elif any(JSON in one.get("content", {}) for one in responses.values() if isinstance(one, dict)):
        parameters.append({"$ref": "#/components/parameters/IfNoneMatch"})
        responses["304"] = {"description": "You have it already", "headers": _headers("ETag")}
    for status in statuses:
        responses[str(status)] = _refusal(document, status)
    for status, response in responses.items():
        if status.startswith("2"):
            own = ["Idempotent-Replayed"] if method in WRITING else ["ETag"]
            if "next" in properties(document, response):
                own.append("Link")
            response.setdefault("headers", {}).update(_headers(*own))
    operation["responses"] = dict(sorted(responses.items()))


def _refusal(document: Document, status: int) -> Document:
    name = _NAMES[status]
    document["components"]["responses"][name] = {
        "description": HTTPStatus(status).phrase,
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        "headers": _headers(*(["Retry-After"] if status in _WAITS else [])),
    }
    return {"$ref": f"#/components/responses/{name}"}


def _headers(*own: str) -> Document:
    names = ("X-Request-Id", "RateLimit-Policy", "RateLimit", *own)
    return {name: {"$ref": f"#/components/headers/{_name(name)}"} for name in names}


def _name(header: str) -> str:
    return header.replace("-", "")


def _name_money(document: Document) -> None:
    """One schema for every amount, so that a generated client has one class for it."""
    schemas = document["components"]["schemas"]
    reference = {"$ref": "#/components/schemas/Money"}
    amounts = [each for each in _nodes(document["components"]) if _is_money(each)]
    for amount in amounts:
        named = {
            word: amount[word]
            for word in ("type", "properties", "required", "additionalProperties")
        }
        schemas["Money"] = {**named, "type": "object", "description": "An amount of money."}
        nullable = "null" in amount["type"]
        for word in named:
            del amount[word]
        amount.update({"anyOf": [reference, {"type": "null"}]} if nullable else reference)


def _is_money(node: Document) -> bool:
    return set(node.get("properties", ())) == {"amount", "currency"} and "type" in node


def _nodes(node: Any) -> Iterator[Document]:
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from _nodes(each)


def _close_bodies(document: Document) -> set[int]:
    """Unknown fields are refused, so a body's description says so; the schemas of bodies."""
    used: set[int] = set()
    for _, _, operation in operations(document):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            for schema in _objects(document, content["schema"], used):
                schema["additionalProperties"] = False
    return used


def _require_answers(document: Document, of_bodies: set[int]) -> None:
    """An answer has all its fields, but for those that are marked (`affiliate.core.fields`)."""
    seen = set(of_bodies)
    for _, _, operation in operations(document):
        for response in operation["responses"].values():
            for content in resolved(document, response).get("content", {}).values():
                for schema in _objects(document, content["schema"], seen):
                    fields = schema["properties"].items()
                    names = [name for name, field in fields if not field.pop(_OPTIONAL, False)]
                    if names:
                        schema.setdefault("required", names)


def _objects(document: Document, schema: Any, seen: set[int]) -> Iterator[Document]:
    """Every object's description that a schema leads to, once."""
    if isinstance(schema, list):
        for each in schema:
            yield from _objects(document, each, seen)
    if not isinstance(schema, dict):
        return
    found = resolved(document, schema)
    if id(found) in seen:
        return
    seen.add(id(found))
    if found.get("properties"):
        yield found
        for each in found["properties"].values():
            yield from _objects(document, each, seen)
    for word in ("items", "anyOf", "allOf", "oneOf"):
        yield from _objects(document, found.get(word), seen)


def resolved(document: Document, node: Document) -> Document:
    """What a reference leads to, or the node itself."""
    while "$ref" in node:
        place: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            place = place[part]
        node = place
    return node


def properties(document: Document, response: Document) -> Document:
    """The fields of a JSON answer."""
    content = resolved(document, response).get("content", {}).get(JSON)
    if content is None:
        return {}
    found: Document = resolved(document, content["schema"]).get("properties", {})
    return found


def _link(document: Document) -> None:
    """From each answer to the calls whose only argument stands in it.

    `POST /affiliates` answers the `id` that `/affiliates/{affiliate}/…` takes; an order is named
    by its own `order_id`; a list by the id of its first row, and by `next` to its next page.
    """
    every = list(operations(document))
    for path, method, operation in every:
        responses = operation["responses"]
        for status, response in responses.items():
            if status not in ("200", "201", "202") or method not in ("get", "post"):
                continue
            given = properties(document, response)
            links = {}
            for target, _, other in every:
                found = _arguments(document, path, given, target)
                if found is not None and other is not operation:
                    links[other["operationId"]] = _to(other, found)
            if method == "get" and "next" in given:
                links["next"] = _to(operation, {**_same(path), "after": "$response.body#/next"})
            if links:
                response["links"] = links


def _arguments(document: Document, path: str, given: Document, target: str) -> Document | None:
    """What the target takes of an answer to `path`; None where it does not lead there."""
    if "{" not in target:
        return None
    collection, _, last = path.rpartition("/")
    if last.startswith("{"):
        # One of them: what is below it, and what else can be done with it.
        return _same(path) if target.startswith(f"{path}/") and target.count("{") == 1 else None
    found = re.fullmatch(re.escape(path) + r"/\{(\w+)\}(/\w+)*", target)
    if found is None or "{" in path:
        above = collection if collection.endswith("}") else ""
        beside = above and target.startswith(above) and target.count("{") == 1
        return _same(above) if beside else None
    name = found[1]
    for field in (name, "id"):
        if field in given:
            return {name: f"$response.body#/{field}"}
    for rows, schema in given.items():
        row = resolved(document, resolved(document, schema).get("items", {}))
        for field in (name, "id"):
            if field in row.get("properties", {}):
                return {name: f"$response.body#/{rows}/0/{field}"}
    return None


def _same(path: str) -> Document:
    return {name: f"$request.path.{name}" for name in re.findall(r"\{(\w+)\}", path)}


def _to(operation: Document, parameters: Document) -> Document:
    return {"operationId": operation["operationId"], "parameters": parameters}
