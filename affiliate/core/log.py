"""Structured logs: one JSON object a line, control characters escaped, secrets redacted."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

SECRET_NAMES = re.compile(r"(?i)(password|secret|token|authorization|cookie|api_key|signature)")
SECRET_VALUES = re.compile(r"(kpk_[A-Za-z0-9]{4,16}_|sk_(?:test|live)_|whsec_)[A-Za-z0-9_\-]+")
TEXT_CHARS_MAX = 2_000


def set_up(level: str) -> None:
    """Configure structlog and the standard library's loggers to one JSON stream on stderr."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=True),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def redact(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide what a name or a shape gives away as a secret; cut texts that would flood."""
    for key, value in event.items():
        if SECRET_NAMES.search(key):
            event[key] = "[redacted]"
        elif key == "exception":
            # Its last lines say what it was. Secrets go first: half of one has no shape.
            event[key] = SECRET_VALUES.sub(r"\1[redacted]", str(value))[-TEXT_CHARS_MAX:]
        elif isinstance(value, str):
            event[key] = SECRET_VALUES.sub(r"\1[redacted]", value[:TEXT_CHARS_MAX])
    return event


def request_id() -> str | None:
    """The id of the request being answered, if any."""
    value = structlog.contextvars.get_contextvars().get("request_id")
    return str(value) if value else None
