"""A program on Stripe with its webhooks: what tests of the provider's word begin with."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from flask import Flask
from paying import Pay

from affiliate.core.db import session_for
from payouts.audit.run import run
from payouts.batches.models import PayeeAccount
from payouts.provider.catch_up import CaughtUp, catch_up
from payouts.provider.checks import CHECKS
from payouts.provider.digest import Digestion, digest_due
from payouts.provider.models import ProviderEvent
from payouts.provider.reconcile import Compared, Comparing, reconcile
from payouts.rails.protocol import Provider, provider
from wsgi import create_app

PLATFORM_SECRET = "whsec_of_the_platform_endpoint"
CONNECT_SECRET = "whsec_of_the_connect_endpoint"


class Hooked:
    """The double's events on their way to a running application, and what it makes of them."""

    def __init__(self, pay: Pay, app: Flask, url: str) -> None:
        self.pay, self.app, self.url = pay, app, url
        assert pay.double is not None
        self.double = pay.double
        found = provider(pay.rails["stripe"])
        assert found is not None
        self.provider: Provider = found
        self.sessions = session_for(pay.engine)
        self.apps = [app]

    def another_app(self, **changes: Any) -> Flask:
        """The application with other settings, closed with this one."""
        made = create_app(replace(self.pay.settings, **changes))
        self.apps.append(made)
        return made

    def events(self, topic: str, *, about: str) -> list[str]:
        """Ids of the double's events of a type about an object or an account, oldest first."""
        told = self.double.control("GET", "/events", query={"type": topic})["events"]
        return [
            each["id"]
            for each in told
            if about in (each["data"]["object"].get("id"), each.get("account"))
        ]

    def deliver(self, *event_ids: str, copies: int = 1) -> list[list[int]]:
        """The answers that each event got, one after the other."""
        told = self.double.control(
            "POST", "/deliver", {"events": list(event_ids), "copies": copies}
        )
        return [each["statuses"] for each in told["sent"]]

    def digest(self) -> None:
        """What the job does, until nothing is due."""
        while digest_due(self.digestion()):
            pass

    def digestion(self, **changes: Any) -> Digestion:
        sending = self.pay.sending
        return Digestion(
            self.sessions, self.provider, now=sending.now, real_now=sending.real_now, **changes
        )

    def catch_up(self) -> CaughtUp:
        found = catch_up(self.sessions, self.provider, real_now=self.pay.sending.real_now)
        self.digest()
        return found

    def reconcile(self, **changes: Any) -> Compared:
        sending = self.pay.sending
        run_ = Comparing(self.sessions, self.provider, sending.now, sending.real_now)
        return reconcile(run_, by="test", **changes)

    def stored(self) -> list[ProviderEvent]:
        self.pay.session.rollback()
        query = sa.select(ProviderEvent).order_by(ProviderEvent.received_at, ProviderEvent.id)
        return list(self.pay.session.scalars(query.execution_options(populate_existing=True)))

    def outcomes(self) -> list[str | None]:
        return [each.outcome for each in self.stored()]

    def account_of(self, name: str) -> str:
        self.pay.session.rollback()
        return self.pay.session.scalars(
            sa.select(PayeeAccount.destination).where(
                PayeeAccount.affiliate_id == self.pay.world.affiliate_id(name),
                PayeeAccount.replaced_at.is_(None),
            )
        ).one()

    def ready(self, name: str) -> bool:
        self.pay.session.rollback()
        return (
            self.pay.session.scalars(
                sa.select(PayeeAccount.ready_at).where(
                    PayeeAccount.affiliate_id == self.pay.world.affiliate_id(name),
                    PayeeAccount.replaced_at.is_(None),
                )
            ).one()
            is not None
        )

    def transfer_of(self, item_id: int) -> str:
        (transfer,) = self.pay.transfers(item_id)
        return str(transfer["id"])

    def unanswered(self, name: str, amount: str = "5.00") -> int:
        """An item that Stripe has paid, and whose answer was lost for good; its id."""
        self.pay.affiliate(name, amount)
        made = self.pay.approved(name, amount)
        self.double.fault("accept-then-500")
        self.pay.run(made.batch_id)
        assert self.pay.item(made.item_id).status == "unknown"
        return made.item_id

    def sound(self) -> None:
        """Every check of the books and of the provider's finds nothing."""
        self.pay.sound()
        real_now = self.pay.sending.real_now() + timedelta(seconds=1)
        assert run(self.pay.session, CHECKS, real_now=real_now) == []
