"""Record clicks that did not come over HTTP: the demo's history, imports.

The same record, journal and token as a request makes; the loader then judges them alike.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Self
from uuid import UUID

from affiliate.core.config import Settings
from tracker.clicks import records
from tracker.clicks.destinations import SUB_IDS
from tracker.clicks.filters import AGENT_CHARS_MAX, agent_reason
from tracker.clicks.journal import Journal
from tracker.clicks.tokens import NO_VISITOR, Minter, SigningKey, new_click_id
from tracker.clicks.visitors import AddressHasher


class ClickRecorder:
    """Appends clicks to this node's journal; a context manager, closed by its end."""

    def __init__(self, settings: Settings) -> None:
        self._minter = Minter(SigningKey.of(settings.key("click-token")))
        self._addresses = AddressHasher(settings.key("address"))
        self._journal = Journal(settings.data_dir)

    def __enter__(self) -> Self:
        self._journal.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._journal.stop()

    def click(
        self,
        *,
        link_id: int,
        clicked_at: datetime,
        address: str,
        agent: str,
        visitor_id: UUID | None = None,
        visitor_known: bool = False,
        referrer: str = "",
        sub_ids: Sequence[str | None] = (),
        creative: str = "",
        country: str = "",
        random80: bytes | None = None,
    ) -> str:
        """Record one click and return its token; `visitor_known`: the cookie came back.

        `clicked_at` is cut to the millisecond. `random80` (ten bytes) makes the id
        repeatable. Raises JournalUnavailable when the journal cannot be written.
        """
        clicked_ms = int(clicked_at.timestamp() * 1000)
        click_id = new_click_id(clicked_ms, random80 or os.urandom(10))
        visitor = NO_VISITOR if visitor_id is None else visitor_id.bytes
        given = [*sub_ids, *[None] * len(SUB_IDS)][: len(SUB_IDS)]
        texts = [
            agent[:AGENT_CHARS_MAX],
            referrer[: records.REFERRER_CHARS_MAX],
            "",
            *given,
            creative,
            country,
        ]
        self._journal.append(
            records.encode(
                click_id,
                link_id,
                visitor,
                self._addresses.hash(address, clicked_ms),
                agent_reason(agent),
                records.FLAG_KNOWN_VISITOR if visitor_known else 0,
                b"\0".join((text or "").replace("\0", "").encode() for text in texts),
            )
        )
        return self._minter.mint(click_id, link_id, visitor, recorded=True)
