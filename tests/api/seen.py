"""Every answer of the API in every test is held against the document: status, kind and fields.

What a test meets that the document does not say is a fault of one of the two.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

from flask import Flask, Response, request
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from affiliate.core import api, api_document
from tests.api import codes

PREFIX = "/api/v1/"
_documents: dict[frozenset[tuple[str, str]], dict[str, Any]] = {}
_validators: dict[str, Draft202012Validator] = {}


class Seen:
    """Answers of one application, and what is wrong with them."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.faults: list[str] = []
        self.statuses: set[tuple[str, str, int]] = set()
        app.after_request(self._note)

    @cached_property
    def _document(self) -> dict[str, Any]:
        """One for all applications with the same routes."""
        routes = frozenset((rule.rule, rule.endpoint) for rule in self.app.url_map.iter_rules())
        if routes not in _documents:
            _documents[routes] = _closed(api.document())
        return _documents[routes]

    def _note(self, response: Response) -> Response:
        rule = request.url_rule
        if rule is None or not request.path.startswith(PREFIX) or request.method == "OPTIONS":
            return response
        path, method = api_document.path_of(rule.rule), request.method.lower()
        if method == "head":
            return response
        self.statuses.add((path, method, response.status_code))
        fault = self._fault(path, method, response)
        if fault:
            self.faults.append(f"{method.upper()} {path} -> {response.status_code}: {fault}")
        return response

    def _fault(self, path: str, method: str, response: Response) -> str:
        described = self._document["paths"].get(path, {}).get(method)
        if described is None:
            return "is not in the document"
        if response.status_code == 500:
            return ""  # Tests of broken servers ask for them; no document promises one.
        said = described["responses"].get(str(response.status_code))
        if said is None:
            return "has a status that the document does not name"
        said = api_document.resolved(self._document, said)
        contents = said.get("content", {})
        if response.is_streamed or not contents:
            return ""
        if response.mimetype not in contents:
            return f"is {response.mimetype}, where the document says {list(contents)}"
        if response.mimetype == "text/csv":
            return ""
        return self._wrong_fields(contents[response.mimetype]["schema"], response)

    def _wrong_fields(self, schema: dict[str, Any], response: Response) -> str:
        body = json.loads(response.get_data())
        if response.mimetype == api.PROBLEM and body["code"] not in codes.known():
            return f"has the code {body['code']}, which docs/errors.md does not name"
        found = best_match(self._validator(schema).iter_errors(body))
        return "" if found is None else f"{found.json_path}: {found.message[:300]}"

    def _validator(self, schema: dict[str, Any]) -> Draft202012Validator:
        name = json.dumps(schema, sort_keys=True)
        if name not in _validators:
            whole = {**schema, "components": self._document["components"]}
            _validators[name] = Draft202012Validator(whole)
        return _validators[name]


def _closed(document: dict[str, Any]) -> dict[str, Any]:
    """The document read strictly: an answer has no field that it does not name. A refusal may
    say more, as RFC 9457 allows."""
    for name, schema in document["components"]["schemas"].items():
        if "properties" in schema and name != "Problem":
            schema.setdefault("additionalProperties", False)
    return document
