"""The page behind an account link: real Stripe asks for identity and bank, the double for a word.

Whoever looks at the demo chooses what becomes of it: complete, in review, refused, or left.
"""

from __future__ import annotations

import secrets
from html import escape
from typing import Any
from urllib.parse import parse_qs

from . import accounts, store
from .calls import Call
from .engine import Double
from .framing import origin, page, redirect
from .wire import Answer, Request

WORDS_MAX = 10
BANK_CHARS_MAX = 40
IN_REVIEW = "requirements.pending_verification"
REFUSED = "rejected.other"
OUTCOMES: dict[str, dict[str, Any]] = {
    "complete": {"transfers": "active", "payouts_enabled": True},
    "review": {
        "transfers": "pending",
        "payouts_enabled": False,
        "details_submitted": True,
        "disabled_reason": IN_REVIEW,
        "requirements": {
            "currently_due": [],
            "eventually_due": [],
            "past_due": [],
            "pending_verification": ["individual.verification.document"],
        },
    },
    "refused": {
        "transfers": "inactive",
        "payouts_enabled": False,
        "details_submitted": True,
        "disabled_reason": REFUSED,
        "requirements": {"currently_due": [], "eventually_due": [], "past_due": []},
    },
}
"""What each button of the page does to the account; leaving does nothing."""
BUTTONS = (
    ("complete", "Give the details and enable payouts"),
    ("review", "Give the details, and let Stripe check them first"),
    ("refused", "Let Stripe refuse the account"),
    ("leave", "Leave without giving anything"),
)


def visit(double: Double, token: str) -> Answer:
    """Show the form once; a spent or old link goes back to its ``refresh_url``."""
    with double.store.writing() as con:
        call = double.own_call(con)
        link = _use(call, token)
        if link is None:
            spent = store.find(con, "account_link", token)
            if spent is None:
                return page(404, "Unknown link", "<h1>This link is unknown</h1>")
            return redirect(spent["refresh_url"])
        account = store.find(con, "account", link["account"])
    due = account["requirements"]["currently_due"] if account else []
    wanted = f"<p>It wants: {escape(', '.join(due[:WORDS_MAX]))}.</p>" if due else ""
    buttons = "".join(
        f'<button name="outcome" value="{name}">{escape(text)}</button> ' for name, text in BUTTONS
    )
    body = (
        '<h1>Set up payouts</h1><form class="card form" method="post">'
        f"<strong>Account <code>{escape(link['account'])}</code></strong>"
        "<p>Real Stripe asks for identity and a bank account here. The double takes your word.</p>"
        f"{wanted}<p><label>Bank account <small>(any number; none: the one there is)</small><br>"
        f'<input name="bank_number" maxlength="{BANK_CHARS_MAX}" size="34" autocomplete="off">'
        "</label></p>"
        f'<input type="hidden" name="session" value="{escape(link["session"])}">'
        f"{buttons}</form>"
    )
    # Chromium applies form-action to the redirect after the form too.
    return page(200, "Set up payouts", body, form_action=f"'self' {origin(link['return_url'])}")


def finish(double: Double, token: str, request: Request) -> Answer:
    """Do what the person chose and send them back; without a word it is complete."""
    given = parse_qs(request.body.decode("utf-8", "replace"))
    outcome = given.get("outcome", ["complete"])[0]
    if outcome not in OUTCOMES and outcome != "leave":
        return page(400, "No such choice", "<h1>There is no such choice</h1>")
    with double.store.writing() as con:
        link = _end(double.own_call(con), token, given, outcome)
    if link is None:
        return page(403, "Not your link", "<h1>This form was already used</h1>")
    return redirect(link["return_url"])


def _use(call: Call, token: str) -> dict[str, Any] | None:
    """Use up a link: the link with a fresh session, or None when it is spent or too old."""
    link = store.find(call.con, "account_link", token)
    if link is None or link["session"] is not None or call.now > link["expires_at"]:
        return None
    link["session"] = secrets.token_urlsafe(24)
    store.change(call.con, link)
    return link


def _end(
    call: Call, token: str, given: dict[str, list[str]], outcome: str
) -> dict[str, Any] | None:
    """Move the account as chosen. None for a wrong session or a form that was used."""
    session = given.get("session", [""])[0]
    link = store.find(call.con, "account_link", token)
    if link is None or link["session"] is None or link["finished"]:
        return None
    if not secrets.compare_digest(link["session"].encode(), session.encode()):
        return None
    account = store.find(call.con, "account", link["account"])
    if account is None:
        return None
    link["finished"] = True
    store.change(call.con, link)
    if outcome != "leave":
        accounts.set_bank(account, number=given.get("bank_number", [""])[0][:BANK_CHARS_MAX])
        accounts.set_states(call, account, **OUTCOMES[outcome])
    return link
