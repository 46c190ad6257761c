"""What a tester does by hand on the page: reverse, pay to the bank, fail there, send events again.

The buttons do what the control endpoints do. A form is taken only from this very page: the browser
says where it stood (``Origin``), and a foreign page cannot say otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from html import escape
from urllib.parse import parse_qs

from . import control, store, webhooks
from .engine import Double
from .wire import ApiError, Request

PATH = "/console/"
ROWS_MAX = 30


def act(double: Double, request: Request) -> None:
    """Do what a form asks for. Raises ApiError when it came from elsewhere or cannot be done."""
    if request.headers.get("origin") != f"http://{request.headers.get('host', '')}":
        raise ApiError(403, "This form was sent by another page.")
    given = {
        name: values[-1]
        for name, values in parse_qs(request.body.decode("utf-8", "replace")).items()
    }
    chosen = ACTS.get(request.path.removeprefix(PATH))
    if chosen is None:
        raise ApiError(404, "The console has no such button.")
    chosen(double, given)


def _reverse(double: Double, given: dict[str, str]) -> None:
    control.reverse(double, {"transfer": given.get("id", ""), "force": True})


def _pay_out(double: Double, given: dict[str, str]) -> None:
    control.bank_payout(double, {"account": given.get("id", "")})


def _bank_says(double: Double, given: dict[str, str]) -> None:
    control.bank_payout(double, {"id": given.get("id", ""), "status": given.get("status", "")})


def _ready(double: Double, given: dict[str, str]) -> None:
    ready = given.get("status") == "active"
    control.account(
        double,
        {
            "id": given.get("id", ""),
            "transfers": "active" if ready else "inactive",
            "payouts_enabled": ready,
        },
    )


def _send(double: Double, given: dict[str, str]) -> None:
    double.sender.deliver([given.get("id", "")])


def _hold(double: Double, given: dict[str, str]) -> None:
    control.switch_webhooks(double, {"hold": given.get("status") == "hold"})


ACTS: dict[str, Callable[[Double, dict[str, str]], None]] = {
    "reverse": _reverse,
    "pay-out": _pay_out,
    "bank": _bank_says,
    "account": _ready,
    "send": _send,
    "hold": _hold,
}


def button(name: str, object_id: str, label: str, status: str = "") -> str:
    """A form of one button."""
    return (
        f'<form method="post" action="{PATH}{name}">'
        f'<input type="hidden" name="id" value="{escape(object_id)}">'
        f'<input type="hidden" name="status" value="{escape(status)}">'
        f'<button class="small">{escape(label)}</button></form>'
    )


def deliveries_of(double: Double) -> tuple[list[tuple[str, ...]], str]:
    """The rows of the newest deliveries, and a sentence on where they go."""
    with double.store.reading() as con:
        known, chosen = webhooks.endpoints(con), webhooks.switches(con)
        found, now = webhooks.deliveries(con, ROWS_MAX), store.now(con)
    rows: list[tuple[str, ...]] = [
        (f"<code>{escape(one['event'])}</code>", escape(one["type"]), escape(one["endpoint"]),
         _state(one, now), button("send", one["event"], "Send again"))
        for one in found
    ]  # fmt: skip
    if not known:
        return rows, "No endpoint. Start with --platform-webhook URL SECRET."
    where = ", ".join(f"{escape(name)}: {escape(each.url)}" for name, each in known.items())
    wrong = {name: value for name, value in asdict(chosen).items() if value not in (0, False)}
    wrong.pop("copies") if wrong.get("copies") == 1 else None
    held = button("hold", "", "Go on sending") if chosen.hold else button(
        "hold", "", "Hold all", "hold"
    )  # fmt: skip
    switched = escape(", ".join(f"{name} {value}" for name, value in wrong.items()) or "none")
    return rows, f"{where}. Switches: {switched}. {held}"


def _state(one: dict[str, object], now: float) -> str:
    if one["done"] is not None:
        return f"{one['status']}"
    if not one["tries"]:
        return "waits"
    left_s = max(0, int(float(str(one["due"])) - now))
    return f"{one['status'] or 'no answer'}, try {one['tries']}, again in {left_s} s"
