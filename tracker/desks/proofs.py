"""A statement's proof as a download, for the affiliate and for finance."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO

from flask import request
from werkzeug.wrappers import Response

from affiliate.core.db import db
from affiliate.core.errors import Invalid
from affiliate.core.snapshot import read_once
from affiliate.people.limits import count_download
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program
from payouts.batches.periods import Period
from payouts.batches.proofs import proof

IN_MEMORY_BYTES_MAX = 1 << 20
CHUNK_BYTES = 64 << 10
NUMBER_DIGITS_MAX = 15


def proof_file(enrollment: Enrollment, program: Program, month: Period) -> Response:
    """The proof, `?since=` a seal. Raises NothingSealed, Invalid.

    Made whole before it is sent, on disk if it is long: a slow reader holds no connection of
    the database, and no half of a proof is sent.
    """
    count_download()
    since = seal_number("since")
    file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES_MAX)  # noqa: SIM115 -- see _sent
    try:
        with read_once(db.engine) as session:
            for part in proof(
                session, enrollment=enrollment, program=program, month=month, since=since
            ):
                file.write(part.encode())
    except BaseException:
        file.close()
        raise
    answer = Response(_sent(file), mimetype="application/json")
    answer.call_on_close(file.close)
    name = f"proof-{program.slug}-{month.key}.json"
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    answer.headers["Content-Length"] = str(file.tell())
    file.seek(0)
    return answer


def _sent(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while part := file.read(CHUNK_BYTES):
            yield part


def seal_number(name: str) -> int | None:
    """A seal's number in the address; none without one. Raises Invalid."""
    text = request.args.get(name)
    if text is None:
        return None
    digits = text.isascii() and text.isdigit() and len(text) <= NUMBER_DIGITS_MAX
    if not digits or int(text) < 1:
        raise Invalid.field(name, "not_a_number", "Write the number of a block, as 17.")
    return int(text)
