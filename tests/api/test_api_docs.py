"""docs/api.md names every call of the document, and every scope."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from flask.testing import FlaskClient

from affiliate.people import api_keys

PAGE = Path(__file__).resolve().parents[2] / "docs/api.md"
PREFIX = "/api/v1"
THING = re.compile(r"\{\w+\}|\b(?:aff|wd|com|lnk|whk|whd)_…|\b2026-\d\d\b")
"""Something in a path, by whatever name or example."""


def named() -> Iterator[str]:
    """Paths that the page names in code; `…/x` is one that ends so."""
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"```(.*?)```", text, re.DOTALL)
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for span in [*re.findall(r"`([^`]+)`", text), *blocks]:
        for word in " ".join(span.split()).split(" "):
            path = THING.sub("{}", word).removeprefix(PREFIX)
            if path.startswith(("/", "…/")):
                yield path


def test_every_path_of_the_document_is_named(client: FlaskClient) -> None:
    document = client.get("/api/openapi.json").get_json()
    said = set(named())
    ends = tuple(path.removeprefix("…") for path in said if path.startswith("…"))
    paths = [THING.sub("{}", path).removeprefix(PREFIX) for path in document["paths"]]
    missing = [path for path in paths if path not in said and not path.endswith(ends)]
    assert not missing, "\n".join(missing)


def test_what_is_named_is_there(client: FlaskClient) -> None:
    document = client.get("/api/openapi.json").get_json()
    paths = {THING.sub("{}", path).removeprefix(PREFIX) for path in document["paths"]}
    for path in named():
        if path.startswith("…"):
            assert any(each.endswith(path.removeprefix("…")) for each in paths), path
        elif path.startswith(("/affiliates", "/orders", "/webhooks", "/programs", "/statistics")):
            assert path in paths, path


def test_every_scope_is_in_the_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    table = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    said = [scope for cell in table for scope in re.findall(r"`(\w+:\w+)`", cell)]
    assert sorted(said) == sorted(api_keys.SCOPES)
