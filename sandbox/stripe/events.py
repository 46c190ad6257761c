"""Events: stored with each change, listed by ``/v1/events``.

An event carries the id and the idempotency key of the request that caused it, so that a transfer
whose answer was lost can be told by the event alone. Events about a connected account belong to
that account, as Connect's do. The webhook sender delivers from what is stored here.
"""

from __future__ import annotations

from typing import Any

from . import lists, store, webhooks
from .calls import Call
from .wire import API_VERSION, ApiError, missing, new_id

EVENT_AGE_MAX_S = 30 * 24 * 60 * 60
"""``/v1/events`` reaches back 30 days (docs.stripe.com/api/events)."""


def record(call: Call, topic: str, body: dict[str, Any], *, account: str = store.PLATFORM) -> None:
    """Store an event with a snapshot of the object as it now is."""
    event = {
        "id": new_id("evt_"),
        "object": "event",
        "api_version": API_VERSION,
        "created": call.created,
        "data": {"object": body},
        "livemode": False,
        "pending_webhooks": 0,
        "request": {"id": call.request_id, "idempotency_key": call.idempotency_key},
        "type": topic,
    }
    if account:
        event["account"] = account
    store.add(call.con, "event", event, owner=account)
    webhooks.queue(call.con, event, call.now)


def retrieve(call: Call) -> dict[str, Any]:
    event = store.find(call.con, "event", call.ids[0], owner=call.owner)
    if event is None:
        raise missing("event", call.ids[0], param="id")
    return event


def index(call: Call) -> dict[str, Any]:
    if "type" in call.fields and "types" in call.fields:
        raise ApiError(400, "You may pass either 'type' or 'types', but not both.")
    topics = call.fields.get("types") or ([call.fields["type"]] if "type" in call.fields else None)
    floor = call.created - EVENT_AGE_MAX_S
    created = call.fields.get("created", {})
    if isinstance(created, int):
        created = {"gte": created, "lte": created}
    fields = {
        **call.fields,
        "created": {**created, "gte": max(floor, created.get("gte", floor))},
    }
    listing = lists.Listing(
        kind="event",
        noun="event",
        url="/v1/events",
        owner=call.owner,
        topics=None if topics is None else tuple(topics),
        visible_until=call.now - call.list_lag_s,
    )
    return lists.page(call.con, listing, fields)
