"""The program's webhooks: where they go, what each endpoint is told, and every delivery."""

from __future__ import annotations

from affiliate.core import ids
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.webhooks.endpoints import ENDPOINT, Owner
from affiliate.webhooks.models import WebhookEndpoint
from tracker.desks.acting import Answer
from tracker.desks.manage.blueprint import (
    Place,
    actors,
    manage,
    page,
    place,
    place_of,
    require_acting,
)
from tracker.desks.webhooks import Pages


@manage.get("/webhooks")
@actors
def webhooks() -> str:
    """The endpoints, and a form for another."""
    return _pages(place()).listing()


@manage.post("/webhooks")
@actors
def create_webhook() -> Answer:
    """Make one and show its secret."""
    return _pages(place()).create()


@manage.get("/webhooks/<webhook>")
@actors
def webhook(webhook: str) -> str:
    """One endpoint and its deliveries."""
    return _of(webhook).one(webhook)


@manage.post("/webhooks/<webhook>")
@actors
def change_webhook(webhook: str) -> Answer:
    """Another address, other events."""
    return _of(webhook).change(webhook)


@manage.post("/webhooks/<webhook>/secret/showing")
@actors
def show_webhook_secret(webhook: str) -> Answer:
    """The secret once more."""
    return _of(webhook).show_secret(webhook)


@manage.post("/webhooks/<webhook>/secret")
@actors
def rotate_webhook_secret(webhook: str) -> Answer:
    """A new secret."""
    return _of(webhook).rotate(webhook)


@manage.post("/webhooks/<webhook>/tests")
@actors
def test_webhook(webhook: str) -> Answer:
    """Send a test."""
    return _of(webhook).test(webhook)


@manage.post("/webhooks/<webhook>/disabling")
@actors
def disable_webhook(webhook: str) -> Answer:
    """Switch it off."""
    return _of(webhook).switch(webhook, on=False)


@manage.post("/webhooks/<webhook>/enabling")
@actors
def enable_webhook(webhook: str) -> Answer:
    """Switch it on."""
    return _of(webhook).switch(webhook, on=True)


@manage.post("/webhooks/<webhook>/deletion")
@actors
def delete_webhook(webhook: str) -> Answer:
    """End it for good."""
    return _of(webhook).delete(webhook)


@manage.post("/webhooks/<webhook>/repeats")
@actors
def repeat_failed_webhooks(webhook: str) -> Answer:
    """Send again all that failed in the last days."""
    return _of(webhook).repeat_failed(webhook)


@manage.get("/webhooks/<webhook>/deliveries/<delivery>")
@actors
def webhook_delivery(webhook: str, delivery: str) -> str:
    """One delivery with each attempt."""
    return _of(webhook).delivery(webhook, delivery)


@manage.post("/webhooks/<webhook>/deliveries/<delivery>/repeats")
@actors
def repeat_webhook(webhook: str, delivery: str) -> Answer:
    """Send it again."""
    return _of(webhook).repeat(webhook, delivery)


def _pages(here: Place) -> Pages:
    """Those of a program in which the reader may act; what is told there is not for all readers."""
    program = here.required
    require_acting(program.id)

    return Pages(
        "manage", Owner(program.id), program,
        lambda template, **context: page(template, here, **context),
    )  # fmt: skip


def _of(code: str) -> Pages:
    """The pages of the program whose endpoint it is; NotFound where the reader has no role."""
    row = db.session.get(WebhookEndpoint, ids.row_id(ENDPOINT, code))
    if row is None or row.enrollment_id is not None:
        raise NotFound
    return _pages(place_of(row.program_id))
