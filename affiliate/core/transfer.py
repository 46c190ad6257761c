"""How answers travel: pages and front-end files compressed, files kept by browsers for good.

A file's address says which version of it is meant (`?v=`, or the folder's name under
`vendor/`): a browser asks for it once and never sees an older one.
"""

from __future__ import annotations

import hashlib
import secrets
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from flask import Flask, Request, Response, current_app, request
from flask_compress import Compress
from flask_compress.flask_compress import DictCache
from werkzeug.security import safe_join

from affiliate.core.http import wants_problem

STATIC = "static"
VENDORED = "vendor/"
ICONS = "vendor/tabler-icons-3.51.0/sprite.svg"
"""A page names it some thirty times, so that its address is not built anew for each."""
VERSION = "v"
FOR_GOOD = "public, max-age=31536000, immutable"
PAGE_ALGORITHMS = ("zstd", "gzip")
FILE_ALGORITHMS = ("br", "gzip")
FILE_BROTLI_LEVEL = 10
"""A file is compressed once and then kept, so that it may take a second."""
PADDING_BYTES_MAX = 48
FILES_MAX = 1_000
_VERSION_CHARS = 10


def set_up(app: Flask) -> None:
    """Install the hooks; called once by create_app."""
    app.config.update(COMPRESS_REGISTER=False, COMPRESS_BR_LEVEL=FILE_BROTLI_LEVEL)
    pages, files = Compress(app), Compress(app)
    pages.enabled_algorithms, files.enabled_algorithms = PAGE_ALGORITHMS, FILE_ALGORITHMS
    files.cache, files.cache_key = DictCache(), _cache_key

    def finish(response: Response) -> Response:
        if response.status_code not in (HTTPStatus.OK, HTTPStatus.NOT_MODIFIED):
            return response
        if request.endpoint == STATIC:
            return _kept(files.after_request(_read(response)))
        # What machines read is short, and exports are written while they are sent.
        if response.mimetype == "text/html" and not response.is_streamed and not wants_problem():
            return pages.after_request(_padded(response))
        return response

    app.after_request(finish)
    app.url_defaults(_add_version)
    app.jinja_env.globals["icon_sprite"] = f"{app.static_url_path}/{ICONS}"


def version(filename: str) -> str | None:
    """What the address of a file under `static/` ends with; None where its folder says it, and
    for a file that is not there."""
    if filename.startswith(VENDORED):
        return None
    stamp = _stamp(filename)
    return None if stamp is None else _digest(*stamp)


def _add_version(endpoint: str, values: dict[str, Any]) -> None:
    if endpoint == STATIC and VERSION not in values and (said := version(values["filename"])):
        values[VERSION] = said


def _read(response: Response) -> Response:
    """The whole file instead of a stream of it: streams are compressed by fewer ways, and anew
    each time."""
    if response.status_code == HTTPStatus.OK:
        response.direct_passthrough = False
        response.make_sequence()
    return response


def _kept(response: Response) -> Response:
    filename = (request.view_args or {}).get("filename", "")
    if filename.startswith(VENDORED) or request.args.get(VERSION, "") == version(filename):
        response.headers["Cache-Control"] = FOR_GOOD
    return response


def _padded(response: Response) -> Response:
    """With a comment of random length behind it, so that the compressed length does not tell
    which guess at a form's token stood in the address (BREACH)."""
    if request.accept_encodings:
        padding = secrets.token_hex(1 + secrets.randbelow(PADDING_BYTES_MAX))
        response.set_data(response.get_data() + f"\n<!-- {padding} -->\n".encode())
    return response


def _cache_key(request: Request) -> str:
    """A file as it is now: compressed anew when it has changed under a running server."""
    filename = (request.view_args or {})["filename"]
    path, changed_ns = _stamp(filename) or (filename, 0)
    return f"{path}:{changed_ns}"


def _stamp(filename: str) -> tuple[str, int] | None:
    """The file's path and when it was changed; None where there is none."""
    path = safe_join(str(current_app.static_folder), filename)
    try:
        return None if path is None else (path, Path(path).stat().st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=FILES_MAX)
def _digest(path: str, _changed_ns: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:_VERSION_CHARS]
