"""Whether a webhook is Stripe's: its signature over the raw body, by any secret that is valid."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import stripe

TOLERANCE_S: Final = 300
"""How far the signature's time may be from ours, to either side. The library looks back alone."""


class NotSigned(Exception):
    """Not Stripe's, too old, of another secret, or not readable as a signature at all."""


def check_signature(body: bytes, header: str | None, *, secrets: Sequence[str]) -> None:
    """Return when one of the secrets signed this very body within the tolerance.

    Several secrets are valid while one is rolled. Raises NotSigned. What the library raises for
    texts that a stranger chose (non-ASCII in a signature is a TypeError in compare_digest, a body
    that is no UTF-8 a UnicodeDecodeError) is a NotSigned too.
    """
    for secret in secrets:
        try:
            stripe.WebhookSignature.verify_header(body, header, secret, TOLERANCE_S)
            _refuse_from_the_future(header or "")
        except (ValueError, TypeError, AttributeError, stripe.SignatureVerificationError):
            continue
        return
    raise NotSigned


def _refuse_from_the_future(header: str) -> None:
    times = [part[2:] for part in header.split(",") if part.startswith("t=")]
    if int(times[0]) > time.time() + TOLERANCE_S:
        raise ValueError("signed in the future")
