"""What is told, in which form, and when it is tried again (pure).

Form, headers, secrets and the schedule are those of the Standard Webhooks specification
(standardwebhooks.com, 1.0). Rule: docs/webhooks.md.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote

from affiliate.core import fetch
from affiliate.core.errors import Invalid, Phrase
from affiliate.core.fields import moment_json, money_json
from affiliate.core.ids import public_id
from affiliate.core.money import Money

RETRY_PAUSES_S: Final = (
    5, 5 * 60, 30 * 60, 2 * 3_600, 5 * 3_600, 10 * 3_600, 14 * 3_600, 20 * 3_600, 24 * 3_600,
)  # fmt: skip
"""Between the attempts of one delivery, as the specification recommends; then it is given up."""
ATTEMPTS_MAX: Final = len(RETRY_PAUSES_S) + 1
RETRY_AFTER_MAX: Final = timedelta(hours=24)
DISABLE_AFTER: Final = timedelta(days=5)
"""An endpoint that has only failed for so long is asked no more."""
REST_FROM_FAILURES: Final = 3
REST_S_MAX: Final = 300
"""Between two deliveries to an endpoint that fails again and again."""
OVERLAP: Final = timedelta(hours=24)
"""For how long the secret before still signs beside the new one."""
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 -- of every secret of the specification
SECRET_BYTES: Final = 32
"""The specification asks for 24 to 64."""
URL_CHARS_MAX: Final = 1_000
FILLED_CHARS_MAX: Final = 4_000
DESCRIPTION_CHARS_MAX: Final = 100
PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")


class EventType(StrEnum):
    """Everything that is told. Documented one by one in docs/webhooks.md."""

    ORDER_CREATED = "order.created"
    ORDER_CONFIRMED = "order.confirmed"
    ORDER_CHANGED = "order.changed"
    ORDER_CANCELLED = "order.cancelled"
    ORDER_REFUNDED = "order.refunded"
    ATTRIBUTION_CHANGED = "attribution.changed"
    COMMISSION_EARNED = "commission.earned"
    COMMISSION_RELEASED = "commission.released"
    COMMISSION_REDUCED = "commission.reduced"
    COMMISSION_VOIDED = "commission.voided"
    AFFILIATE_APPLIED = "affiliate.applied"
    AFFILIATE_APPROVED = "affiliate.approved"
    AFFILIATE_REJECTED = "affiliate.rejected"
    AFFILIATE_SUSPENDED = "affiliate.suspended"
    AFFILIATE_REINSTATED = "affiliate.reinstated"
    AFFILIATE_CLOSED = "affiliate.closed"
    WITHDRAWAL_REQUESTED = "withdrawal.requested"
    BATCH_APPROVED = "batch.approved"
    PAYOUT_PAID = "payout.paid"
    PAYOUT_FAILED = "payout.failed"
    PAYOUT_RETURNED = "payout.returned"
    TEST = "webhook.test"
    """Sent from the page, to the endpoint that was asked to be tested alone."""


CHOSEN: Final = tuple(type_ for type_ in EventType if type_ is not EventType.TEST)
"""Those that an endpoint of a program can ask for."""
OF_POSTBACKS: Final = (
    EventType.COMMISSION_EARNED,
    EventType.COMMISSION_RELEASED,
    EventType.COMMISSION_REDUCED,
    EventType.COMMISSION_VOIDED,
)
"""Those that an affiliate's own postback can: of their own commissions alone."""


class Blank(StrEnum):
    """What a postback's address may hold in braces. Nothing of a buyer is among it."""

    CLICK_ID = "click_id"
    SUB1 = "sub1"
    SUB2 = "sub2"
    SUB3 = "sub3"
    SUB4 = "sub4"
    SUB5 = "sub5"
    ORDER_ID = "order_id"
    COMMISSION_ID = "commission_id"
    COMMISSION = "commission"
    CURRENCY = "currency"
    STATUS = "status"
    EVENT = "event"
    LEVEL = "level"


_STATUS: Final = {
    EventType.COMMISSION_EARNED: "pending",
    EventType.COMMISSION_RELEASED: "available",
    EventType.COMMISSION_REDUCED: "reduced",
    EventType.COMMISSION_VOIDED: "voided",
    EventType.TEST: "test",
}
_PREFIXES: Final = {
    "affiliate": "aff", "via": "aff", "recruiter": "aff", "commission": "com", "batch": "bat",
    "payout": "pay", "withdrawal": "wd",
}  # fmt: skip
"""Facts that are numbers of rows, and the public ids that they have in the API."""


def body_of(type_: str, at: datetime, facts: Mapping[str, Any]) -> str:
    """The message as it is sent and signed; the same at every attempt."""
    message = {"type": type_, "timestamp": moment_json(at), "data": data_of(facts)}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))


def data_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of an event as the API writes such things; what is not known is left out."""
    currency = facts.get("currency", "")
    told = {
        name.removesuffix("_micros"): _told(name, value, currency)
        for name, value in facts.items()
        if value is not None and name != "currency"
    }
    if "shares" in told:
        told["shares"] = [_share(share) for share in facts["shares"]]
    return told


def filled(template: str, values: Mapping[str, str]) -> str:
    """A postback's address with its blanks filled in; what is not known is empty."""
    return PLACEHOLDER.sub(lambda found: quote(values.get(found[1], ""), safe=""), template)


def blanks_of(type_: str, facts: Mapping[str, Any]) -> dict[str, str]:
    """The values of an event's own blanks; the click's are asked of whoever knows clicks."""
    left = Money(int(facts["left_micros"]), facts["currency"])
    return {
        Blank.ORDER_ID: facts.get("order_id") or "",
        Blank.COMMISSION_ID: public_id("com", facts["commission"]),
        Blank.COMMISSION: left.decimal,
        Blank.CURRENCY: left.currency,
        Blank.STATUS: _STATUS[EventType(type_)],
        Blank.EVENT: type_,
        Blank.LEVEL: str(facts["level"]),
    }


def endpoint_url(text: str, *, plain_loopback: bool) -> str:
    """The address of an endpoint, or Invalid: https on its own port to a public host."""
    text = text.strip()
    if len(text) > URL_CHARS_MAX or not fetch.is_allowed(text, plain_loopback=plain_loopback):
        raise Invalid.field("url", "not_allowed", Phrase(
            "Write an address that begins with https://, on the usual port and to a host that "
            "everybody can reach; without a name or password in it."
        ))  # fmt: skip
    return text


def postback_url(text: str, *, plain_loopback: bool) -> str:
    """The address of a postback with its blanks, or Invalid. The host has no blank."""
    text = text.strip()
    unknown = [name for name in PLACEHOLDER.findall(text) if name not in set(Blank)]
    if unknown or set("{}") & set(PLACEHOLDER.sub("", text)):
        raise Invalid.field("url", "unknown_placeholder", Phrase(
            "Only these stand in braces: %(names)s.", names=", ".join(f"{{{one}}}" for one in Blank)
        ))  # fmt: skip
    authority = re.split(r"[/?#]", text.partition("://")[2], maxsplit=1)[0]
    if "{" in authority:
        raise Invalid.field("url", "placeholder_in_host", Phrase(
            "The host cannot be a placeholder: name it, and put placeholders behind it."
        ))  # fmt: skip
    endpoint_url(PLACEHOLDER.sub("x", text), plain_loopback=plain_loopback)
    if len(text) > URL_CHARS_MAX:
        raise Invalid.field("url", "too_long", Phrase(
            "At most %(most)s characters.", most=URL_CHARS_MAX
        ))  # fmt: skip
    return text


def chosen_types(names: Sequence[str], *, among: Sequence[EventType]) -> list[str]:
    """Types in the order of the list, each once, or Invalid."""
    known = {type_.value for type_ in among}
    if not names or not known.issuperset(names):
        raise Invalid.field("types", "unknown_type", Phrase("Choose at least one kind of event."))
    return [type_.value for type_ in among if type_.value in names]


def described(text: str) -> str:
    """A description without spaces around it, or Invalid."""
    text = " ".join(text.split())
    if len(text) > DESCRIPTION_CHARS_MAX or not text.isprintable():
        raise Invalid.field("description", "too_long", Phrase(
            "At most %(most)s characters.", most=DESCRIPTION_CHARS_MAX
        ))  # fmt: skip
    return text


def new_secret() -> str:
    """A random secret as the specification spells it."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def new_message_id() -> str:
    """What a receiver knows a message again by; random, so that no backup brings one back."""
    return f"msg_{secrets.token_urlsafe(18)}"


class DeliveryTrouble(StrEnum):
    """Why nothing was sent, beside what `fetch.Trouble` names."""

    SECRET_LOST = "secret_lost"  # noqa: S105 -- the name of a trouble
    BROKEN = "broken"
    """An error of our own; the log has it."""


class Outcome(StrEnum):
    """What an attempt came to."""

    DELIVERED = "delivered"
    FAILED = "failed"
    GONE = "gone"
    """410: the endpoint wants nothing more."""


def outcome_of(status: int | None) -> Outcome:
    """Any 2xx is a delivery, and nothing else is: a redirect is not followed."""
    if status is not None and 200 <= status < 300:
        return Outcome.DELIVERED
    return Outcome.GONE if status == 410 else Outcome.FAILED


def next_try_at(attempts: int, *, now: datetime, retry_after: str | None) -> datetime | None:
    """When to try again after so many attempts; None: it is given up.

    A receiver may ask for a longer pause than the schedule's, up to a day, never for a shorter.
    """
    if attempts >= ATTEMPTS_MAX:
        return None
    planned = now + timedelta(seconds=RETRY_PAUSES_S[attempts - 1])
    asked = _asked(retry_after, now)
    return planned if asked is None else max(planned, min(asked, now + RETRY_AFTER_MAX))


def rest_until(failures: int, *, now: datetime) -> datetime | None:
    """Until when an endpoint is left alone after so many failures in a row; None: it is not."""
    if failures < REST_FROM_FAILURES:
        return None
    return now + timedelta(seconds=min(5 * 2 ** min(failures - REST_FROM_FAILURES, 10), REST_S_MAX))


def is_dead(failing_since: datetime | None, *, now: datetime) -> bool:
    """Whether an endpoint has only failed for so long that it is asked no more."""
    return failing_since is not None and now - failing_since >= DISABLE_AFTER


@dataclass(frozen=True, slots=True)
class Overlapping:
    """The secrets of an endpoint that sign at this instant, the current one first."""

    current: str
    previous: str | None
    until: datetime | None

    def at(self, now: datetime) -> tuple[str, ...]:
        if self.previous is not None and self.until is not None and now < self.until:
            return (self.current, self.previous)
        return (self.current,)


def _told(name: str, value: Any, currency: str) -> Any:
    if name.endswith("_micros"):
        return money_json(Money(int(value), currency))
    if name.endswith("_at"):
        return moment_json(datetime.fromisoformat(value))
    if name in _PREFIXES:
        return public_id(_PREFIXES[name], int(value))
    return value


def _share(share: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "affiliate": public_id("aff", share["enrollment_id"]),
        "weight": share["weight"],
        "evidence": share["evidence"],
    }


def _asked(retry_after: str | None, now: datetime) -> datetime | None:
    """RFC 9110, section 10.2.3: seconds or a date; what is neither is nothing."""
    if not retry_after:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return now + timedelta(seconds=min(int(text[:9]), 10**8))
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
