"""Schemathesis against the application: requests drawn from the document, answers held against it.

The document is read strictly: no `default` answer, so that each status has to be named. A new
resource is hunted as soon as it stands in the document; ids that exist are found by the links
that its lists have.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from affiliate.core import api, api_document

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
_SETTINGS: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
    "phases": (Phase.explicit, Phase.generate),
}


WALKS_AT_ONCE = 10
_numbers = itertools.count(1)


@dataclass
class Hunt:
    """One application that is asked everything."""

    app: Flask
    headers: dict[str, str]
    known: dict[str, list[str]] = field(default_factory=dict)
    """Ids that exist, by the name of the parameter that takes them."""
    likely: dict[str, str] = field(default_factory=dict)
    """What a field of this name has to hold to be accepted."""
    faults: dict[str, str] = field(default_factory=dict)
    """The first of each kind, with the call that shows it."""

    def __post_init__(self) -> None:
        with self.app.test_request_context("/"):
            self.document = api.document()
        for _, _, operation in api_document.operations(self.document):
            operation["responses"].pop("default", None)
        self.schema = schemathesis.openapi.from_wsgi("/api/openapi.json", self._serve)
        self._follow_lists()

    def each_call(self, examples: int) -> int:
        """Every operation by itself, with ids that exist and with any others; how many calls."""
        return sum(
            self._asked(result.ok(), examples) for result in self.schema.get_all_operations()
        )

    def wrong_calls(self, examples: int) -> None:
        """What contradicts the document is refused."""
        for result in self.schema.get_all_operations():
            self._asked_wrongly(result.ok(), examples)

    def _asked(self, operation: Any, examples: int) -> int:
        names = [
            name for name, ids in self.known.items() if ids and f"{{{name}}}" in operation.path
        ]
        made = []

        @settings(max_examples=examples, **_SETTINGS)
        @given(case=operation.as_strategy(), data=st.data())
        def ask(case: Any, data: Any) -> None:
            made.append(case)
            for name in names:
                if data.draw(st.integers(0, 3)):
                    case.path_parameters[name] = data.draw(st.sampled_from(self.known[name]))
            if data.draw(st.booleans()):
                case.body = self.plausible(case.body)
            self._call(case, CHECKS)

        ask()
        return len(made)

    def plausible(self, body: Any) -> Any:
        """The same, with the values that no description of fields can ask for: a day that is
        not long ago, the program's currency, a mailbox, a sum without lines to add up."""
        if isinstance(body, list):
            return [self.plausible(each) for each in body]
        if not isinstance(body, dict):
            return body
        lines = ("items", "discount", "tax", "shipping", "fees")
        found = {
            name: self.likely[name] if name in self.likely else self.plausible(value)
            for name, value in body.items()
            if not ("placed_at" in body and name in lines)
        }
        if "email" in found:
            found["email"] = f"hunted{next(_numbers)}@example.com"
        if set(found) == {"amount", "currency"}:
            found["amount"] = f"{next(_numbers) % 500}.99"
        return found

    def _asked_wrongly(self, operation: Any, examples: int) -> None:
        @settings(max_examples=examples, **_SETTINGS)
        @given(case=operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
        def ask(case: Any) -> None:
            wrong = [] if _vanishes(case) else [negative_data_rejection]
            self._call(case, [*CHECKS, *wrong])

        ask()

    def _call(self, case: Any, checks: list[Any]) -> None:
        """What is wrong is noted, so that one fault does not hide the others."""
        try:
            case.call_and_validate(headers=self.headers, checks=checks)
        except FailureGroup as group:
            for fault in group.exceptions:
                name = f"{case.operation.label}: {fault.title}"
                self.faults.setdefault(name, str(group))

    def walks(self, examples: int, steps: int) -> None:
        """From answer to answer along the document's links."""
        hunt = self

        class Walk(self.schema.as_state_machine()):  # type: ignore[misc]
            def get_call_kwargs(self, case: Any) -> dict[str, Any]:
                return {"headers": hunt.headers}

            def before_call(self, case: Any) -> None:
                case.body = hunt.plausible(case.body)

            def validate_response(self, response: Any, case: Any, **kwargs: Any) -> None:
                try:
                    case.validate_response(response, checks=CHECKS)
                except FailureGroup as group:
                    for fault in group.exceptions:
                        name = f"{case.operation.label}: {fault.title}"
                        hunt.faults.setdefault(name, str(group))

        bounds = settings(max_examples=WALKS_AT_ONCE, stateful_step_count=steps, **_SETTINGS)
        for number in range(0, examples, WALKS_AT_ONCE):
            Walk._hypothesis_internal_use_seed = number if bounds.derandomize else None
            # The same walk twice does not meet the same rows, which Hypothesis takes ill.
            with contextlib.suppress(Flaky):
                run_state_machine_as_test(Walk, settings=bounds)

    def _serve(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/api/openapi.json":
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(self.document).encode()]
        answer: Iterable[bytes] = self.app.wsgi_app(environ, start_response)
        return answer

    def _follow_lists(self) -> None:
        client = self.app.test_client()
        for path, method, operation in api_document.operations(self.document):
            if method != "get" or "{" in path:
                continue
            answer = client.get(path, headers=self.headers).get_json(silent=True) or {}
            for link in operation["responses"].get("200", {}).get("links", {}).values():
                for name, expression in link["parameters"].items():
                    parts = expression.removeprefix("$response.body#/").split("/")
                    rows = answer.get(parts[0])
                    if isinstance(rows, list):
                        self.known[name] = [row[parts[-1]] for row in rows]


def _vanishes(case: Any) -> bool:
    """Whether something wrong in the query is never sent: an empty list has no spelling there, and
    what arrives may be right without it."""
    return any(value is None or value in ([], {}, ()) for value in (case.query or {}).values())
