"""The script's served form (pure): small, versioned by what it says.

Docs: docs/integration.md, "Pixel".
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Final

PIXEL_GZIP_BYTES_MAX = 3_000
"""What a shop's page pays for it, compressed."""
VERSION_CHARS = 16
GIF: Final = b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
"""One transparent dot, for reports that have to be images."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script as browsers get it."""

    body: bytes
    version: str
    """First hex digits of the SHA-256 of the body: the same version is the same script."""
    integrity: str
    """For the attribute of that name (W3C Subresource Integrity)."""

    @property
    def name(self) -> str:
        """Its own address under Kopeck's."""
        return f"pixel-{self.version}.js"


def script_from(source: str) -> Script:
    """The served form of a readable source."""
    return script_of(compact(source).encode())


def script_of(body: bytes) -> Script:
    """A script by its served form."""
    integrity = f"sha384-{b64encode(hashlib.sha384(body).digest()).decode()}"
    return Script(body, hashlib.sha256(body).hexdigest()[:VERSION_CHARS], integrity)


def compact(source: str) -> str:
    """The source without comments, indentation and empty lines.

    Only comments that have their lines to themselves are taken out, so no string, no regular
    expression and no line end that the language needs is ever touched.
    """
    kept: list[str] = []
    inside_comment = False
    for raw in source.splitlines():
        line = raw.strip()
        if inside_comment or line.startswith("/*"):
            inside_comment = not line.endswith("*/")
            continue
        if line and not line.startswith("//"):
            kept.append(line)
    return "\n".join(kept) + "\n"
