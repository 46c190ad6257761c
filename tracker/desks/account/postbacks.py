"""The affiliate's postbacks: addresses of their own tracker that are told of their commissions."""

from __future__ import annotations

from affiliate.people.access import affiliates
from affiliate.webhooks.endpoints import Owner
from tracker.desks.account.blueprint import Answer, account, in_program, page
from tracker.desks.account.place import Place
from tracker.desks.webhooks import Pages


@account.get("/postbacks")
@affiliates
@in_program
def webhooks(place: Place) -> Answer:
    """The postbacks, and a form for another."""
    return _pages(place).listing()


@account.post("/postbacks")
@affiliates
@in_program
def create_webhook(place: Place) -> Answer:
    """Make one."""
    return _pages(place).create()


@account.get("/postbacks/<webhook>")
@affiliates
@in_program
def webhook(place: Place, webhook: str) -> Answer:
    """One postback and its deliveries."""
    return _pages(place).one(webhook)


@account.post("/postbacks/<webhook>")
@affiliates
@in_program
def change_webhook(place: Place, webhook: str) -> Answer:
    """Another address, other events."""
    return _pages(place).change(webhook)


@account.post("/postbacks/<webhook>/tests")
@affiliates
@in_program
def test_webhook(place: Place, webhook: str) -> Answer:
    """Send a test."""
    return _pages(place).test(webhook)


@account.post("/postbacks/<webhook>/disabling")
@affiliates
@in_program
def disable_webhook(place: Place, webhook: str) -> Answer:
    """Switch it off."""
    return _pages(place).switch(webhook, on=False)


@account.post("/postbacks/<webhook>/enabling")
@affiliates
@in_program
def enable_webhook(place: Place, webhook: str) -> Answer:
    """Switch it on."""
    return _pages(place).switch(webhook, on=True)


@account.post("/postbacks/<webhook>/deletion")
@affiliates
@in_program
def delete_webhook(place: Place, webhook: str) -> Answer:
    """End it for good."""
    return _pages(place).delete(webhook)


@account.post("/postbacks/<webhook>/repeats")
@affiliates
@in_program
def repeat_failed_webhooks(place: Place, webhook: str) -> Answer:
    """Send again all that failed in the last days."""
    return _pages(place).repeat_failed(webhook)


@account.get("/postbacks/<webhook>/deliveries/<delivery>")
@affiliates
@in_program
def webhook_delivery(place: Place, webhook: str, delivery: str) -> Answer:
    """One delivery with each attempt."""
    return _pages(place).delivery(webhook, delivery)


@account.post("/postbacks/<webhook>/deliveries/<delivery>/repeats")
@affiliates
@in_program
def repeat_webhook(place: Place, webhook: str, delivery: str) -> Answer:
    """Send it again."""
    return _pages(place).repeat(webhook, delivery)


def _pages(place: Place) -> Pages:
    return Pages(
        "account", Owner(place.program.id, place.enrollment.id), place.program,
        lambda template, **context: page(template, place, **context), may_act=place.active,
    )  # fmt: skip
