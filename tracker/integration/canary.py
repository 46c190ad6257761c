"""The canary's verbs: switch it on and off, claim whose turn it is, note how a walk ended.

Its API key has a secret that is derived from the installation's own and stored nowhere: the row
knows the hash, as of any key, and whoever revokes it stops the canary.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit, metrics
from affiliate.core.config import Settings
from affiliate.core.errors import Conflict, NotFound
from affiliate.people import api_keys
from affiliate.people.models import ApiKey
from affiliate.programs.models import Program
from tracker.integration.letters import tell_managers
from tracker.integration.models import Canary, CanaryRun, TestOrder
from tracker.integration.rules import Health, after_run
from tracker.integration.way import Walk

EVERY: Final = timedelta(minutes=5)
LEASE: Final = timedelta(minutes=2)
"""A walk that a crash cut off is begun again after it."""
KEY_NAME: Final = f"{api_keys.OURS}canary"
SCOPES: Final = ("orders:write",)
RUNS: Final = metrics.declare("kopeck_canary_runs", "Walks of canaries, by how they ended.")


class NotOn(Conflict):
    code = "canary_off"
    title = "The canary of this program is off."


@dataclass(frozen=True, slots=True)
class Due:
    """Whose turn it is, and with what it walks."""

    program_id: int
    slug: str
    currency: str
    key: str | None
    """The whole API key; None where the secrets that it was derived from are gone."""


def switch_on(
    session: Session, *, program_id: int, settings: Settings, by: int, now: datetime, real: datetime
) -> None:
    """Let it walk, at once for the first time. On already: it walks at once. Raises NotFound.

    `real` is the machine's time, by which it is woken.
    """
    canary = _locked(session, program_id)
    if canary is not None and canary.off_since is None:
        canary.next_run_at = real
        session.flush()
        return
    secret = _secret(settings.key("canary-key"), program_id, now)
    key, _ = api_keys.create_key(
        session, program_id=program_id, scopes=SCOPES, name=KEY_NAME, by=by, now=now, secret=secret
    )
    if canary is None:
        canary = Canary(program_id=program_id)
        session.add(canary)
    canary.api_key_id, canary.on_since, canary.off_since = key.id, now, None
    canary.switched_by, canary.next_run_at = by, real
    canary.failures, canary.broken_since, canary.last_well_at = 0, None, None
    session.flush()
    _record(session, program_id, "canary.on", by, now)


def switch_off(session: Session, *, program_id: int, by: int, now: datetime) -> None:
    """Let it walk no more; its key is revoked. Raises NotFound and NotOn."""
    canary = _locked(session, program_id)
    if canary is None or canary.off_since is not None:
        raise NotOn
    canary.off_since, canary.switched_by = now, by
    canary.failures, canary.broken_since = 0, None
    session.flush()
    api_keys.revoke_key(session, program_id=program_id, key_id=canary.api_key_id, by=by, now=now)
    _record(session, program_id, "canary.off", by, now)


def claim_due(session: Session, *, settings: Settings, real: datetime) -> Due | None:
    """The next canary whose turn it is, taken by this caller for a while."""
    canary = session.scalar(
        sa.select(Canary)
        .join(Program, Program.id == Canary.program_id)
        .where(Canary.off_since.is_(None), Canary.next_run_at <= real, Program.status != "closed")
        .order_by(Canary.next_run_at, Canary.program_id)
        .limit(1)
        .with_for_update(of=Canary, skip_locked=True)
        .execution_options(populate_existing=True)
    )
    if canary is None:
        return None
    canary.next_run_at = real + LEASE
    session.flush()
    program = session.get_one(Program, canary.program_id)
    key = session.get_one(ApiKey, canary.api_key_id, populate_existing=True)
    return Due(program.id, program.slug, program.currency, _whole_key(settings, canary, key))


def note_walk(
    session: Session, *, due: Due, walk: Walk, settings: Settings, now: datetime, real: datetime
) -> None:
    """Write how a walk ended; the second failure in a row alarms, the first success after it
    says that all is well. Nothing is done where the canary was switched off meanwhile."""
    canary = _locked(session, due.program_id)
    if canary is None or canary.off_since is not None:
        return
    session.add(
        CanaryRun(
            program_id=due.program_id,
            begun_at=now,
            millis={step.value: took for step, took in walk.millis.items()},
            step=walk.step and walk.step.value,
            problem=walk.problem and walk.problem.value,
            detail=walk.detail,
        )
    )
    began = _failing_since(session, canary, now)
    before = Health(canary.failures, canary.broken_since)
    after, news = after_run(before, well=walk.well, first_failure_at=began)
    canary.failures, canary.broken_since = after.failures, after.broken_since
    canary.next_run_at = real + EVERY
    if walk.well:
        canary.last_well_at = now
    session.flush()
    metrics.count(RUNS, outcome="well" if walk.well else "broken")
    if news is not None:
        tell_managers(
            session, program_id=due.program_id, news=news, walk=walk, since=before.broken_since
            or began, settings=settings, now=now,
        )  # fmt: skip


def find_test(session: Session, *, program_id: int, order_id: str) -> bool:
    """Whether the canary's own report of a page came through; its row is taken away again."""
    found = session.execute(
        sa.delete(TestOrder)
        .where(TestOrder.program_id == program_id, TestOrder.order_id == order_id)
        .returning(TestOrder.source)
    ).all()
    return bool(found)


def broken_programs(session: Session) -> list[str]:
    """Slugs of the programs whose canary has alarmed."""
    return list(
        session.scalars(
            sa.select(Program.slug)
            .join(Canary, Canary.program_id == Program.id)
            .where(Canary.off_since.is_(None), Canary.broken_since.is_not(None))
            .order_by(Program.slug)
        )
    )


def _failing_since(session: Session, canary: Canary, now: datetime) -> datetime:
    """When the present row of failures began; now, where there is none."""
    if not canary.failures:
        return now
    begun = session.scalars(
        sa.select(CanaryRun.begun_at)
        .where(CanaryRun.program_id == canary.program_id, CanaryRun.problem.is_not(None))
        .order_by(CanaryRun.id.desc())
        .limit(canary.failures + 1)
    ).all()
    return min(begun, default=now)


def _locked(session: Session, program_id: int) -> Canary | None:
    """The canary's row. The program's row is locked, so that two people switch one on in turn."""
    program = session.get(Program, program_id, with_for_update={"key_share": True})
    if program is None:
        raise NotFound
    return session.get(Canary, program_id, with_for_update=True, populate_existing=True)


def _secret(key: bytes, program_id: int, on_since: datetime) -> str:
    """32 bytes of one use: another switching-on has another."""
    text = f"{program_id}:{on_since.isoformat()}".encode()
    return urlsafe_b64encode(hmac.digest(key, text, "sha256")).decode().rstrip("=")


def _whole_key(settings: Settings, canary: Canary, key: ApiKey) -> str | None:
    """The key out of whichever of the installation's secrets it was derived from."""
    for each in settings.keys("canary-key"):
        secret = _secret(each, canary.program_id, canary.on_since)
        if hmac.compare_digest(hashlib.sha256(secret.encode()).digest(), key.secret_hash):
            return f"kpk_{key.prefix}_{secret}"
    return None


def _record(session: Session, program_id: int, action: str, by: int, now: datetime) -> None:
    audit.record(
        session, actor=audit.by_user(by), action=action, subject=f"program:{program_id}",
        scope=program_id, now=now,
    )  # fmt: skip
