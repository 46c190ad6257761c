"""Verbs of endpoints: make, change, end, disable and enable, a new secret, a test.

A merchant's endpoint belongs to a program, a postback to an enrollment in it; whoever calls has
asked whether the caller may, and names both in `owner`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit, clock
from affiliate.core.config import Settings
from affiliate.core.errors import Conflict, Invalid, NotFound, Phrase
from affiliate.programs.models import Program
from affiliate.webhooks import keys
from affiliate.webhooks.models import WebhookDelivery, WebhookEndpoint, WebhookEvent
from affiliate.webhooks.rules import (
    CHOSEN,
    OF_POSTBACKS,
    OVERLAP,
    EventType,
    chosen_types,
    described,
    endpoint_url,
    new_secret,
    postback_url,
)

ENDPOINT: Final = "whk"
DELIVERY: Final = "whd"
"""Prefixes of public ids."""
ENDPOINTS_MAX: Final = 20
"""Of one program."""
POSTBACKS_MAX: Final = 5
"""Of one affiliate in one program."""
METHODS: Final = ("GET", "POST")


class DisabledFor(StrEnum):
    """Why an endpoint is told nothing."""

    PERSON = "person"
    FAILING = "failing"
    """It has only failed for days."""
    GONE = "gone"
    """It answered 410."""


class TooManyEndpoints(Conflict):
    code = "too_many_endpoints"
    title = "There are as many addresses as can be. Remove one first."


class EndpointDisabled(Conflict):
    code = "endpoint_disabled"
    title = "This address is switched off. Switch it on first."


class SecretUnreadable(Conflict):
    code = "secret_unreadable"
    title = "The secret cannot be read any more. Make a new one."


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose endpoints: a program's own, or an affiliate's postbacks in it."""

    program_id: int
    enrollment_id: int | None = None

    @property
    def of_postbacks(self) -> bool:
        return self.enrollment_id is not None

    @property
    def offered(self) -> tuple[EventType, ...]:
        """What their endpoints can ask for."""
        return OF_POSTBACKS if self.of_postbacks else CHOSEN


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an endpoint is to be, as a form or a call says it."""

    url: str
    types: Sequence[str]
    description: str = ""
    method: str = "POST"


def create_endpoint(
    session: Session,
    *,
    owner: Owner,
    wanted: Wanted,
    settings: Settings,
    actor: str,
    by: int | None,
    now: datetime,
) -> tuple[WebhookEndpoint, str | None]:
    """Make an endpoint; its secret comes with it, a postback has none.

    `actor` is the audit log's word. Raises Invalid (`url`, `types`, `description`, `method`),
    NotFound and TooManyEndpoints.
    """
    values = _checked(owner, wanted, settings)
    # So that two at once do not each find the last place.
    program = session.get(Program, owner.program_id, with_for_update={"key_share": True})
    if program is None:
        raise NotFound
    live = sa.select(sa.func.count()).select_from(WebhookEndpoint).where(*_of(owner))
    if (session.scalar(live) or 0) >= (POSTBACKS_MAX if owner.of_postbacks else ENDPOINTS_MAX):
        raise TooManyEndpoints
    secret = None if owner.of_postbacks else new_secret()
    endpoint = WebhookEndpoint(
        program_id=owner.program_id,
        enrollment_id=owner.enrollment_id,
        secret=secret and keys.encrypted(settings, secret),
        created_at=now,
        created_by=by,
        **values,
    )
    session.add(endpoint)
    session.flush()
    _record(session, endpoint, "create", actor=actor, now=now, new=values)
    return endpoint, secret


def change_endpoint(
    session: Session,
    *,
    owner: Owner,
    endpoint_id: int,
    wanted: Wanted,
    settings: Settings,
    actor: str,
    now: datetime,
) -> WebhookEndpoint:
    """Another address, other kinds of events; what waits goes to the new address."""
    endpoint = lock_endpoint(session, owner=owner, endpoint_id=endpoint_id)
    values = _checked(owner, wanted, settings)
    before = {name: getattr(endpoint, name) for name in values}
    if before == values:
        return endpoint
    for name, value in values.items():
        setattr(endpoint, name, value)
    if endpoint.url != before["url"]:
        # Blanks are filled in anew, and what the old address did is not the new one's fault.
        session.execute(_waiting(endpoint).values(address=None))
        _forgive(endpoint)
    session.flush()
    _record(session, endpoint, "change", actor=actor, now=now, old=before, new=values)
    return endpoint


def rotate_secret(
    session: Session,
    *,
    owner: Owner,
    endpoint_id: int,
    settings: Settings,
    actor: str,
    now: datetime,
) -> str:
    """Make a new secret; for a day the one before signs as well. NotFound for a postback."""
    endpoint = lock_endpoint(session, owner=owner, endpoint_id=endpoint_id)
    if endpoint.secret is None:
        raise NotFound
    secret = new_secret()
    endpoint.previous_secret = endpoint.secret
    endpoint.previous_until = clock.real_now() + OVERLAP
    endpoint.secret = keys.encrypted(settings, secret)
    session.flush()
    _record(session, endpoint, "rotate", actor=actor, now=now)
    return secret


def disable_endpoint(
    session: Session, *, owner: Owner, endpoint_id: int, actor: str, now: datetime
) -> None:
    """Tell it nothing more until it is enabled; what waits is given up."""
    endpoint = lock_endpoint(session, owner=owner, endpoint_id=endpoint_id)
    if endpoint.disabled_at is None:
        give_up(session, endpoint=endpoint, why=DisabledFor.PERSON)
        _record(session, endpoint, "disable", actor=actor, now=now)


def enable_endpoint(
    session: Session, *, owner: Owner, endpoint_id: int, actor: str, now: datetime
) -> None:
    """Tell it again of what happens from now on. What was given up can be sent again."""
    endpoint = lock_endpoint(session, owner=owner, endpoint_id=endpoint_id)
    if endpoint.disabled_at is not None:
        endpoint.disabled_at = endpoint.disabled_for = None
        _forgive(endpoint)
        session.flush()
        _record(session, endpoint, "enable", actor=actor, now=now)


def delete_endpoint(
    session: Session, *, owner: Owner, endpoint_id: int, actor: str, now: datetime
) -> None:
    """End it for good; its deliveries are shown nowhere any more and go after their time."""
    endpoint = lock_endpoint(session, owner=owner, endpoint_id=endpoint_id)
    give_up(session, endpoint=endpoint, why=DisabledFor.PERSON)
    endpoint.deleted_at = clock.real_now()
    endpoint.secret = endpoint.previous_secret = endpoint.previous_until = None
    session.flush()
    _record(session, endpoint, "delete", actor=actor, now=now, old={"url": endpoint.url})


def send_test(session: Session, *, owner: Owner, endpoint_id: int, now: datetime) -> int:
    """Queue a test to this endpoint alone, at once; the delivery's number.

    Raises EndpointDisabled. It waits behind nothing, and nothing behind it.
    """
    endpoint = lock_endpoint(session, owner=owner, endpoint_id=endpoint_id)
    if endpoint.disabled_at is not None:
        raise EndpointDisabled
    real_now = clock.real_now()
    program = session.get_one(Program, owner.program_id)
    facts: dict[str, Any] = {"message": "This is a test. Nothing has happened."}
    if owner.of_postbacks:
        facts = {"commission": 0, "level": 1, "left_micros": 0, "currency": program.currency,
                 "order_id": "TEST"}  # fmt: skip
    event = WebhookEvent(
        program_id=owner.program_id, type=EventType.TEST.value, facts=facts, at=now,
        subject=f"test:{secrets.token_hex(8)}", written_at=real_now,
    )  # fmt: skip
    session.add(event)
    session.flush()
    delivery = WebhookDelivery(
        endpoint_id=endpoint.id, event_id=event.id, subject=event.subject, next_try_at=real_now
    )
    session.add(delivery)
    endpoint.rests_until = None
    session.flush()
    return delivery.id


def secret_of(session: Session, *, owner: Owner, endpoint_id: int, settings: Settings) -> str:
    """The endpoint's secret, for a page that has just asked for the password.

    Raises NotFound and SecretUnreadable.
    """
    endpoint = find_endpoint(session, owner=owner, endpoint_id=endpoint_id)
    if endpoint.secret is None:
        raise NotFound
    try:
        return keys.current_secret(settings, endpoint)
    except keys.SecretLost:
        raise SecretUnreadable from None


def find_endpoint(
    session: Session, *, owner: Owner, endpoint_id: int, lock: bool = False
) -> WebhookEndpoint:
    """An endpoint of this owner; NotFound for anybody else's and for one that was ended."""
    query = (
        sa.select(WebhookEndpoint)
        .where(WebhookEndpoint.id == endpoint_id, *_of(owner))
        .execution_options(populate_existing=True)
    )
    # NO KEY: those who announce refer to the row and do not wait.
    endpoint = session.scalar(query.with_for_update(key_share=True) if lock else query)
    if endpoint is None:
        raise NotFound
    return endpoint


def lock_endpoint(session: Session, *, owner: Owner, endpoint_id: int) -> WebhookEndpoint:
    """The same, so that nobody else changes it and no attempt is noted meanwhile."""
    return find_endpoint(session, owner=owner, endpoint_id=endpoint_id, lock=True)


def endpoints_of(session: Session, *, owner: Owner) -> Sequence[WebhookEndpoint]:
    """Those that were not ended, oldest first."""
    query = sa.select(WebhookEndpoint).where(*_of(owner)).order_by(WebhookEndpoint.id)
    return session.scalars(query.execution_options(populate_existing=True)).all()


def give_up(session: Session, *, endpoint: WebhookEndpoint, why: DisabledFor) -> None:
    """Disable a locked endpoint and give up what waits for it."""
    real_now = clock.real_now()
    endpoint.disabled_at, endpoint.disabled_for = real_now, why.value
    session.execute(_waiting(endpoint).values(given_up_at=real_now, leased_until=None))
    session.flush()


def _checked(owner: Owner, wanted: Wanted, settings: Settings) -> dict[str, Any]:
    check = postback_url if owner.of_postbacks else endpoint_url
    method = wanted.method if owner.of_postbacks else "POST"
    if method not in METHODS:
        raise Invalid.field("method", "unknown_method", Phrase("Choose GET or POST."))
    return {
        "url": check(wanted.url, plain_loopback=not settings.production),
        "types": chosen_types(wanted.types, among=owner.offered),
        "description": described(wanted.description),
        "method": method,
    }


def _of(owner: Owner) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        WebhookEndpoint.program_id == owner.program_id,
        WebhookEndpoint.enrollment_id.is_not_distinct_from(owner.enrollment_id),
        WebhookEndpoint.deleted_at.is_(None),
    )


def _waiting(endpoint: WebhookEndpoint) -> sa.Update:
    return (
        sa.update(WebhookDelivery)
        .where(
            WebhookDelivery.endpoint_id == endpoint.id,
            WebhookDelivery.delivered_at.is_(None),
            WebhookDelivery.given_up_at.is_(None),
        )
        .execution_options(synchronize_session=False)
    )


def _forgive(endpoint: WebhookEndpoint) -> None:
    endpoint.failures = 0
    endpoint.failing_since = endpoint.rests_until = None


def _record(
    session: Session,
    endpoint: WebhookEndpoint,
    what: str,
    *,
    actor: str,
    now: datetime,
    old: dict[str, Any] | None = None,
    new: dict[str, Any] | None = None,
) -> None:
    noun = "webhook" if endpoint.enrollment_id is None else "postback"
    audit.record(
        session, actor=actor, action=f"{noun}.{what}", subject=f"webhook_endpoint:{endpoint.id}",
        scope=endpoint.program_id, now=now, old=old, new=new,
    )  # fmt: skip
