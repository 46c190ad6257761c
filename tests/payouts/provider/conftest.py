"""Kopeck on a real socket, so that the double's own sender can call its webhook addresses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from hooked import CONNECT_SECRET, PLATFORM_SECRET, Hooked
from paying import Pay
from werkzeug.serving import make_server

from affiliate.core.db import db
from wsgi import create_app


@pytest.fixture
def hooked(by_stripe: Pay) -> Iterator[Hooked]:
    """A program on Stripe whose application the double sends its events to."""
    assert by_stripe.double is not None
    settings = replace(
        by_stripe.settings,
        stripe_webhook_secrets=(PLATFORM_SECRET,),
        stripe_connect_webhook_secrets=(CONNECT_SECRET,),
    )
    app = create_app(settings)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    made = Hooked(by_stripe, app, f"http://127.0.0.1:{server.server_port}")
    by_stripe.double.control("POST", "/webhooks/switches", {"hold": True})
    by_stripe.double.control(
        "POST",
        "/webhooks",
        {
            "platform": {"url": f"{made.url}/webhooks/stripe", "secret": PLATFORM_SECRET},
            "connect": {"url": f"{made.url}/webhooks/stripe-connect", "secret": CONNECT_SECRET},
        },
    )
    yield made
    by_stripe.double.control("POST", "/webhooks", {"platform": {}, "connect": {}})
    server.shutdown()
    thread.join()
    server.server_close()
    for each in made.apps:
        with each.app_context():
            db.session.remove()
            for engine in db.engines.values():
                engine.dispose()


@pytest.fixture
def paid(hooked: Hooked) -> Callable[..., int]:
    """Pay somebody over the wire; the item's id."""

    def make(name: str = "anna", amount: str = "5.00") -> int:
        hooked.pay.affiliate(name, amount)
        made = hooked.pay.approved(name, amount)
        hooked.pay.run(made.batch_id)
        assert hooked.pay.item(made.item_id).status == "paid"
        return made.item_id

    return make
