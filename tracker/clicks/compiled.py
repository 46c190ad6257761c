"""What is compiled of the way of a click, where this installation has it.

``_redirect.pyx`` (the front's common click) and ``_batch.pyx`` (the loader's work on each click)
are compiled when Kopeck is installed and the machine can do so; without them everything works the
same, a click only costs half as much again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

import structlog

from affiliate.core.config import Settings
from tracker.clicks import judging, marks, records, rollups, rows
from tracker.clicks.journal import Journal
from tracker.clicks.judging import Candidate, LinkFacts, Mark
from tracker.clicks.links import LinkTable
from tracker.clicks.records import ClickRecord
from tracker.clicks.redirecting import (
    EMPTY,
    Agents,
    Environ,
    StartResponse,
    country_of,
    environ_name,
    page,
    redirect_headers,
)
from tracker.clicks.tokens import SigningKey, click_id_noise
from tracker.clicks.visitors import (
    AddressHasher,
    VisitorCookie,
    address_salt,
    client_address,
    new_visitor_ids,
)

try:
    from tracker.clicks import _batch, _redirect
except ImportError:
    _FOUND: tuple[ModuleType, ...] = ()
else:
    _FOUND = (_batch, _redirect)

log = structlog.get_logger(__name__)


def source_of(name: str) -> str:
    """The digest of what a module is compiled from, as setup.py has put it in."""
    folder = Path(__file__).parent
    sources = (folder / f"{name}.pyx", folder / "_bytes.h")
    return sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def _is_fresh(module: ModuleType) -> bool:
    try:
        source = source_of(module.__name__.rpartition(".")[2])
    except OSError:
        return False
    return bool(getattr(module, "SOURCE", "") == source)


COMPILED: Final = bool(_FOUND) and all(map(_is_fresh, _FOUND))
STALE: Final = bool(_FOUND) and not COMPILED
"""Compiled from another source than this installation's: not used."""

Answer = Callable[[Environ, StartResponse], Iterable[bytes]]


class Steps(NamedTuple):
    """What the loader does to each click of a batch; clicks of one are not for the other's."""

    read_sound: records.SoundReader
    candidates: Callable[[Iterable[ClickRecord], dict[int, LinkFacts]], list[Candidate]]
    leave_marks: Callable[[list[Candidate]], list[Candidate]]
    asked: Callable[[list[Candidate]], set[Mark]]
    judge: Callable[[list[Candidate], dict[Mark, int]], dict[Mark, int]]
    packed: Callable[[list[Candidate]], bytes]
    sorts: Callable[[list[Candidate], dict[int, LinkFacts]], list[rollups.Sort]]
    values: Callable[[list[Candidate], rollups.Counts, rollups.Counts], None]


STEP_BY_STEP: Final = Steps(
    records.read_sound,
    judging.candidates,
    judging.leave_marks,
    marks.asked,
    judging.judge,
    rows.packed,
    rollups.sorts,
    rollups.values,
)


def loader_steps() -> Steps:
    """The compiled ones, where there are such."""
    if not COMPILED:
        return STEP_BY_STEP
    return Steps(**{name: getattr(_batch, name) for name in Steps._fields})


def common_clicks(
    settings: Settings,
    table: LinkTable,
    agents: Agents,
    hosts: set[str],
    journal: Journal,
    spill: Callable[[bytes, OSError], bool],
    otherwise: Answer,
) -> Answer:
    """A WSGI callable that answers common clicks and leaves all else to ``otherwise``.

    ``agents`` and ``hosts`` are those that ``otherwise`` has met; they are only read. Without a
    compiled module it is ``otherwise`` itself.
    """
    if STALE:
        log.warning("clicks cost more: compile anew, pip install --editable .")
    if not COMPILED:
        return otherwise
    cookie = VisitorCookie(settings.keys("visitor"), https=settings.https)
    key = SigningKey.of(settings.key("click-token"))
    address_key = settings.key("address")
    return _redirect.CommonClicks(
        otherwise=otherwise,
        table=table,
        hosts=hosts,
        journal=journal,
        spill=spill,
        met=agents.met,
        read_cookie=cookie.read,
        sign=cookie.sign,
        noise=click_id_noise,
        new_visitors=new_visitor_ids,
        marker=cookie.marker.encode("ascii"),
        tail=cookie.tail.encode("ascii"),
        page=page,
        country_of=country_of,
        country_header=environ_name(settings.country_header) if settings.country_header else "",
        client_address=client_address,
        hash_address=AddressHasher(address_key).hash,
        salt=partial(address_salt, address_key),
        headers=redirect_headers(https=settings.https),
        empty=EMPTY,
        key_id=key.key_id,
        secret=key.secret,
        hops=settings.proxy_hops,
        remembers=not settings.consent_mode,
    ).answer
