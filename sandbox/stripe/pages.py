"""Pages for people: what was transferred, and the onboarding form behind an account link."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from . import balances, console, currencies, onboarding, payouts, store
from .engine import Double
from .framing import page, redirect
from .wire import Answer, ApiError, Request

ROWS_MAX = 200
LINK_PATH = "/connect/onboarding/"
CSS = b"""
:root { color-scheme: light dark; --brand: #0f6b66; --line: #d9e0e0; --soft: #5d6b6b;
  --paper: #fff; --ground: #f4f7f7; --ink: #1b2626; }
@media (prefers-color-scheme: dark) { :root { --brand: #5cc4bb; --line: #2c3939; --soft: #93a3a3;
  --paper: #172020; --ground: #0f1616; --ink: #e4ecec; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { font-size: 1.5rem; margin: 0; color: var(--brand); }
h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p { margin: .25rem 0 0; color: var(--soft); max-width: 44rem; }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: .5rem;
  overflow-x: auto; }
.form { padding: 1.5rem; margin-top: 1.5rem; max-width: 32rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .5rem .75rem; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
th { color: var(--soft); font-weight: 600; }
.sum { text-align: right; font-variant-numeric: tabular-nums; }
code { font-size: .85em; }
button { font: inherit; margin-top: 1rem; padding: .6rem 1.1rem; border: 0; border-radius: .4rem;
  background: var(--brand); color: var(--paper); cursor: pointer; }
button.small { margin: 0 .25rem 0 0; padding: .2rem .6rem; font-size: .8rem; }
td form, div > form { display: inline; }
button:focus-visible, a:focus-visible { outline: 3px solid var(--brand); outline-offset: 2px; }
"""


def serve(double: Double, request: Request) -> Answer:
    if request.method == "GET" and request.path == "/":
        return _home(double)
    if request.method == "GET" and request.path == "/style.css":
        return Answer(200, CSS, "text/css; charset=utf-8")
    if request.method == "POST" and request.path.startswith(console.PATH):
        return _act(double, request)
    if request.path.startswith(LINK_PATH):
        token = request.path.removeprefix(LINK_PATH)
        if request.method == "GET":
            return onboarding.visit(double, token)
        if request.method == "POST":
            return onboarding.finish(double, token, request)
    return page(404, "Not here", "<h1>Not here</h1><p>The double has no such page.</p>")


def _act(double: Double, request: Request) -> Answer:
    """A button of the console: done, and back to the page; else why not."""
    try:
        console.act(double, request)
    except ApiError as refusal:
        body = f'<h1>Not done</h1><p>{escape(refusal.message)}</p><p><a href="/">Back</a></p>'
        return page(refusal.status, "Not done", body)
    return redirect("/")


def _home(double: Double) -> Answer:
    with double.store.reading() as con:
        sent = store.every(con, "transfer", limit=ROWS_MAX)
        payees = store.every(con, "account", limit=ROWS_MAX)
        sent_on = store.every(con, "payout", limit=ROWS_MAX)
        funds = balances.every(con, store.PLATFORM)
    rows = [
        (_time(one["created"]), _code(one["id"]), _code(one["destination"]),
         escape(one["transfer_group"] or ""), _metadata(one["metadata"]),
         _money(one["amount"], one["currency"]),
         _money(one["amount_reversed"], one["currency"]) if one["amount_reversed"] else "",
         "" if one["reversed"] else console.button("reverse", one["id"], "Take back"))
        for one in sent
    ]  # fmt: skip
    states = [
        (_code(one["id"]), escape(one["email"] or ""), escape(one["country"]),
         "closed" if one.get("closed") else escape(one["capabilities"].get("transfers", "none")),
         "yes" if one["payouts_enabled"] else "no",
         console.button("account", one["id"], "Restrict", "inactive")
         if one["payouts_enabled"] else console.button("account", one["id"], "Enable", "active"),
         console.button("pay-out", one["id"], "Pay to its bank"))
        for one in payees
    ]  # fmt: skip
    banked = [
        (_time(one["created"]), _code(one["id"]), escape(one["status"]),
         escape(one["failure_code"] or ""),
         "".join(console.button("bank", one["id"], status, status)
                 for status in payouts.WAYS[one["status"]]),
         _money(one["amount"], one["currency"]))
        for one in sent_on
    ]  # fmt: skip
    deliveries, endpoints = console.deliveries_of(double)
    body = (
        "<h1>Stripe double</h1><p>A stand-in for Stripe Connect: nothing here is real money. "
        "Every row below is one accepted transfer.</p><h2>Transfers</h2>"
        + _table(
            ("When (UTC)", "Transfer", "To", "Batch", "Metadata", "Amount", "Reversed", ""),
            rows, "No transfer yet. Approve a payout batch and it will appear here.", last_sums=3)
        + "<h2>Platform balance</h2>"
        + _table(("Currency", "Available"),
                 [(escape(name.upper()), _money(amount, name)) for name, amount in funds.items()],
                 "No funds. Start with --balance eur=100000 or set them at /_double/balance.",
                 last_sums=1)
        + "<h2>Accounts</h2>"
        + _table(("Account", "E-mail", "Country", "Transfers", "Payouts", "", ""), states,
                 "No connected account yet.")
        + "<h2>Bank payouts</h2>"
        + _table(("When (UTC)", "Payout", "Status", "Why", "", "Amount"), banked,
                 "No account has paid out to its bank yet.", last_sums=1)
        + f"<h2>Webhooks</h2><div>{endpoints}</div>"
        + _table(("Event", "Type", "Endpoint", "Answer", ""), deliveries,
                 "No event was sent yet.")
    )  # fmt: skip
    return page(200, "Stripe double", body, form_action="'self'")


def _table(
    heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], empty: str, *, last_sums: int = 0
) -> str:
    """A table of cells that are already escaped; the last columns may be sums."""
    if not rows:
        return f"<p>{escape(empty)}</p>"
    first_sum = len(heads) - last_sums

    def cell(tag: str, place: int, text: str) -> str:
        return (
            f'<{tag} class="sum">{text}</{tag}>'
            if place >= first_sum
            else (f"<{tag}>{text}</{tag}>")
        )

    head = "".join(cell("th", place, escape(text)) for place, text in enumerate(heads))
    lines = "".join(
        "<tr>" + "".join(cell("td", place, text) for place, text in enumerate(row)) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="card"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _metadata(labels: dict[str, Any]) -> str:
    return escape(", ".join(f"{name}: {value}" for name, value in sorted(labels.items())))


def _time(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _money(amount_minor: int, currency: str) -> str:
    digits = currencies.exponent(currency)
    whole, rest = divmod(amount_minor, 10**digits)
    text = f"{whole:,}" + (f".{rest:0{digits}d}" if digits else "")
    return escape(f"{text} {currency.upper()}")
