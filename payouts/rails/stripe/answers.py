"""What an error of Stripe means for an attempt. Whatever is not known to be a no is unknown.

Which answer means what: docs/reliability.md, "Answers of Stripe"; docs.stripe.com/error-low-level.
"""

from __future__ import annotations

from typing import Final

import stripe

from payouts.rails.protocol import Answer, NotReady, Postponed, Refused, Unknown

TEXT_CHARS_MAX: Final = 500
LATER_CODES: Final = frozenset({"balance_insufficient"})
NOT_READY_CODES: Final = frozenset(
    {"insufficient_capabilities_for_transfer", "transfers_not_allowed"}
)
"""The payee's account, not our request: parked, and paid once it is ready."""


def meaning(error: stripe.StripeError) -> Answer:
    """The attempt's answer behind an exception of a transfer's POST."""
    code, text = code_of(error), str(error.user_message or error)[:TEXT_CHARS_MAX]
    if isinstance(error, stripe.RateLimitError):
        return Postponed(code, text)
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        return Postponed(code, text, halts=True)
    if isinstance(error, stripe.IdempotencyError):
        # Another request went out under this key: what became of it must be looked up.
        return Unknown(code, text)
    if isinstance(error, stripe.InvalidRequestError) and error.http_status == 400:
        if code in NOT_READY_CODES:
            return NotReady(code, text)
        return Refused(code, text, again=code in LATER_CODES)
    # A 404 too: Stripe answers an unknown destination with 400, so a 404 is no word on this
    # transfer (an address that is not Stripe's, a proxy), and the try before may have moved it.
    return Unknown(code, text)


def code_of(error: stripe.StripeError) -> str:
    """Stripe's code, or the kind of the exception with its HTTP status."""
    inner = getattr(error.error, "code", None) if error.error else None
    return str(error.code or inner or _kind(error))


def _kind(error: stripe.StripeError) -> str:
    status = f"_{error.http_status}" if error.http_status else ""
    return f"{type(error).__name__}{status}".lower()
