"""What the platform and each connected account can spend, per currency, in minor units."""

from __future__ import annotations

import sqlite3
from typing import Any

from .calls import Call
from .wire import ApiError


def available_minor(con: sqlite3.Connection, owner: str, currency: str) -> int:
    row = con.execute(
        "SELECT available_minor FROM balances WHERE owner = ? AND currency = ?", (owner, currency)
    ).fetchone()
    return 0 if row is None else int(row["available_minor"])


def debit(con: sqlite3.Connection, owner: str, currency: str, amount_minor: int) -> bool:
    """Take the amount if it is there: check and debit are one statement. False if it is not."""
    done = con.execute(
        "UPDATE balances SET available_minor = available_minor - :amount"
        " WHERE owner = :owner AND currency = :currency AND available_minor >= :amount",
        {"owner": owner, "currency": currency, "amount": amount_minor},
    )
    return done.rowcount == 1


def credit(con: sqlite3.Connection, owner: str, currency: str, amount_minor: int) -> None:
    con.execute(
        "INSERT INTO balances (owner, currency, available_minor) VALUES (?, ?, ?)"
        " ON CONFLICT (owner, currency) DO UPDATE"
        " SET available_minor = available_minor + excluded.available_minor",
        (owner, currency, amount_minor),
    )


def put(con: sqlite3.Connection, owner: str, currency: str, amount_minor: int) -> None:
    """Set a balance outright, as only our control endpoint may."""
    con.execute(
        "INSERT INTO balances (owner, currency, available_minor) VALUES (?, ?, ?)"
        " ON CONFLICT (owner, currency) DO UPDATE SET available_minor = excluded.available_minor",
        (owner, currency, amount_minor),
    )


def every(con: sqlite3.Connection, owner: str) -> dict[str, int]:
    rows = con.execute(
        "SELECT currency, available_minor FROM balances WHERE owner = ? ORDER BY currency",
        (owner,),
    )
    return {row["currency"]: row["available_minor"] for row in rows}


def retrieve(call: Call) -> dict[str, Any]:
    funds = every(call.con, call.owner)
    return {
        "object": "balance",
        "available": [
            {"amount": amount, "currency": currency, "source_types": {"card": amount}}
            for currency, amount in funds.items()
        ],
        "livemode": False,
        "pending": [
            {"amount": 0, "currency": currency, "source_types": {"card": 0}} for currency in funds
        ],
    }


def insufficient() -> ApiError:
    return ApiError(
        400,
        "You have insufficient available funds in your Stripe account. Try adding funds directly "
        "to your available balance by creating Charges using the 4000000000000077 test card. See: "
        "https://stripe.com/docs/testing#available-balance",
        code="balance_insufficient",
        remembered=True,
    )
