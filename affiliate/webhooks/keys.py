"""Secrets of endpoints: encrypted in the table, read back to sign, two while one is replaced.

A receiver needs the very secret, so a hash would not do. It is encrypted under keys of
KOPECK_SECRET (Fernet): a copy of the database alone signs nothing.
"""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from standardwebhooks import Webhook

from affiliate.core.config import Settings
from affiliate.webhooks.models import WebhookEndpoint
from affiliate.webhooks.rules import Overlapping

PURPOSE: Final = "webhooks"


class SecretLost(Exception):
    """It was encrypted under a KOPECK_SECRET that was taken away."""


def encrypted(settings: Settings, secret: str) -> str:
    """As it stands in the table."""
    return _ours(settings).encrypt(secret.encode()).decode()


def current_secret(settings: Settings, endpoint: WebhookEndpoint) -> str:
    """The secret that its owner has to know. Raises SecretLost."""
    return _read(settings, endpoint.secret or "")


def signatures(
    settings: Settings, endpoint: WebhookEndpoint, *, message_id: str, body: str, now: datetime
) -> str:
    """The value of `webhook-signature`: one by the secret, and in the overlap one by the former.

    `now` is the real time that stands in `webhook-timestamp`. Raises SecretLost.
    """
    known = Overlapping(
        endpoint.secret or "", endpoint.previous_secret, endpoint.previous_until
    ).at(now)
    return " ".join(Webhook(_read(settings, one)).sign(message_id, now, body) for one in known)


def _read(settings: Settings, stored: str) -> str:
    try:
        return _ours(settings).decrypt(stored.encode()).decode()
    except InvalidToken:
        raise SecretLost from None


def _ours(settings: Settings) -> MultiFernet:
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in settings.keys(PURPOSE)])
