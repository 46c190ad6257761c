"""The checklist of an integration in words, and what a shop copies to get it right."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from affiliate.core.fields import money_json
from affiliate.core.money import MICROS, Money
from affiliate.core.pages import moment
from tracker.desks.words import _, ngettext
from tracker.integration.browsers import IN_APP, OTHER
from tracker.integration.rules import Check, Finding, Line, State
from tracker.integration.words import where_it_broke

TONES: Final = {
    State.GREEN: "success", State.AMBER: "warning", State.RED: "danger", State.GREY: "neutral",
}  # fmt: skip
TEST_UNITS: Final = 100


def title(check: Check) -> str:
    """What a line is about."""
    return {
        Check.PIXEL: _("Pixel"),
        Check.LANDING: _("Clicks that land"),
        Check.REPORTS: _("Reports of pages"),
        Check.API_ORDERS: _("Orders by API"),
        Check.WEBHOOK_ORDERS: _("Orders by a shop system's webhook"),
        Check.CONFIRMATION: _("Confirmed by the server"),
        Check.ORDER_TOKENS: _("Signed order tokens"),
        Check.CLOCK: _("The server's clock"),
        Check.REFUSED: _("Refused calls"),
        Check.CANARY: _("Canary"),
    }[check]


def state(one: State) -> str:
    """The state in a word."""
    return {
        State.GREEN: _("in order"),
        State.AMBER: _("look at it"),
        State.RED: _("to be mended"),
        State.GREY: _("nothing known"),
    }[one]


def sentence(line: Line) -> str:
    """What was found."""
    at = moment(line.at) if line.at else ""
    values = line.values
    known = {
        (Check.PIXEL, Finding.WELL): _("Seen on %(at)s.", at=at),
        (Check.PIXEL, Finding.LONG_AGO): _("Last seen on %(at)s.", at=at),
        (Check.PIXEL, Finding.NEVER): _("No page of this site has fetched it yet."),
        (Check.PIXEL, Finding.OLD_VERSION): _(
            "On %(at)s a page asked for version %(version)s, which is not "
            "installed: it got nothing.",
            at=at, version=values.get("version", ""),
        ),
        (Check.LANDING, Finding.WELL): _("A click token came back on %(at)s.", at=at),
        (Check.LANDING, Finding.LONG_AGO): _("The last click token came back on %(at)s.", at=at),
        (Check.LANDING, Finding.NEVER): _("No click token has come back from this site yet."),
        (Check.LANDING, Finding.BAD_SIGNATURE): _(
            "On %(at)s a token came that credits nobody: %(problem)s.",
            at=at, problem=token_problem(values.get("problem", "")),
        ),
        (Check.REPORTS, Finding.WELL): _("The last came on %(at)s.", at=at),
        (Check.REPORTS, Finding.NEVER): _("No page of this site has reported an order."),
        (Check.API_ORDERS, Finding.WELL): _("The last came on %(at)s.", at=at),
        (Check.API_ORDERS, Finding.LONG_AGO): _("The last came on %(at)s.", at=at),
        (Check.API_ORDERS, Finding.NEVER): _("The shop's server has sent no order yet."),
        (Check.API_ORDERS, Finding.TESTED): _(
            "A test order came on %(at)s, no real one yet.", at=at
        ),
        (Check.WEBHOOK_ORDERS, Finding.WELL): _("The last came on %(at)s.", at=at),
        (Check.WEBHOOK_ORDERS, Finding.NEVER): _("None has come; the API does as well."),
        (Check.ORDER_TOKENS, Finding.WELL): _("The last was believed on %(at)s.", at=at),
        (Check.ORDER_TOKENS, Finding.NEVER): _("None has come; they are not needed."),
        (Check.ORDER_TOKENS, Finding.BAD_SIGNATURE): _(
            "On %(at)s one was not believed: %(problem)s.",
            at=at, problem=order_token_problem(values.get("problem", "")),
        ),
        (Check.CLOCK, Finding.WELL): _("Orders come from no future."),
        (Check.CLOCK, Finding.NEVER): _("No server has sent an order yet."),
        (Check.CLOCK, Finding.AHEAD): ngettext(
            "Orders came up to %(num)d second out of the future.",
            "Orders came up to %(num)d seconds out of the future.", values.get("seconds", 0),
        ),
        (Check.REFUSED, Finding.NEVER): _("None in the last 24 hours."),
        (Check.CANARY, Finding.OFF): _("It is off."),
        (Check.CANARY, Finding.WAITS): _("It is about to walk for the first time."),
        (Check.CANARY, Finding.WELL): _("It last came through on %(at)s.", at=at),
        (Check.CANARY, Finding.LATE): _("It has not walked since %(at)s.", at=at),
        (Check.CANARY, Finding.BROKEN): " ".join(
            (
                _("It has not come through since %(at)s.", at=at),
                where_it_broke(values.get("step"), values.get("problem"), ""),
            )
        ).strip(),
    }  # fmt: skip
    if line.check is Check.CONFIRMATION:
        return _confirmation(line)
    if line.check is Check.REFUSED and line.finding is not Finding.NEVER:
        return ngettext(
            "%(num)d in the last 24 hours, the last on %(at)s: %(code)s.",
            "%(num)d in the last 24 hours, the last on %(at)s: %(code)s.",
            values["count"], at=at, code=values["code"],
        )  # fmt: skip
    return known[line.check, line.finding]


def mend(line: Line) -> str:
    """How to put it right; empty where nothing is to be done."""
    return {
        (Check.PIXEL, Finding.NEVER): _("Put the line of the pixel on every page of the site."),
        (Check.PIXEL, Finding.LONG_AGO): _(
            "Open a page of the site and see that the line of the pixel is still in it, and that "
            "no Content-Security-Policy forbids it."
        ),
        (Check.PIXEL, Finding.OLD_VERSION): _(
            "Embed /pixel.js, which is always the installed one, or the address of that version."
        ),
        (Check.LANDING, Finding.NEVER): _(
            "Open the test link, and report a test order from a page of the shop."
        ),
        (Check.LANDING, Finding.LONG_AGO): _(
            "Open the test link and see that kpk disappears from the address of the page."
        ),
        (Check.LANDING, Finding.BAD_SIGNATURE): _(
            "See that nothing between us and the page shortens or re-writes the kpk parameter."
        ),
        (Check.API_ORDERS, Finding.NEVER): _("Make a key and send a test order as shown here."),
        (Check.API_ORDERS, Finding.LONG_AGO): _(
            "See that the shop's job that sends orders is running."
        ),
        (Check.CONFIRMATION, Finding.UNCONFIRMED): _(
            "Let the server send the same orders, or confirm them: before that nobody is paid."
        ),
        (Check.ORDER_TOKENS, Finding.BAD_SIGNATURE): _(
            "Compare what the shop signs with the documentation: id, total and net as they are "
            "sent."
        ),
        (Check.CLOCK, Finding.AHEAD): _(
            "Set the server's clock by the network (NTP): from five minutes on orders are refused."
        ),
        (Check.REFUSED, Finding.SOME): _("See which, and what to send instead."),
        (Check.REFUSED, Finding.SINCE_LAST): _(
            "No order was taken since. See which, and what to send instead."
        ),
        (Check.CANARY, Finding.OFF): _("Switch it on: it notices before affiliates do."),
        (Check.CANARY, Finding.LATE): _("See that the scheduler and a worker are running."),
        (Check.CANARY, Finding.BROKEN): _("See its last walks on this page."),
    }.get((line.check, line.finding), "")  # fmt: skip


def token_problem(code: str) -> str:
    """Why a click token was not believed."""
    return {
        "malformed": _("it is no token, or not a whole one"),
        "unknown_version": _("it is of another version of Kopeck"),
        "unknown_key": _("it was signed by another installation, or by a key that is gone"),
        "bad_signature": _("it was changed on its way"),
    }.get(code, code)


def order_token_problem(detail: str) -> str:
    """Why a signed order token was not believed: the last word of the refusal says it."""
    code = detail.rstrip(".").rpartition(" ")[2]
    return {
        "malformed": _("it is no token, or not a whole one"),
        "bad_signature": _("the signature does not fit the order"),
        "expired": _("it is older than a day, or from the future"),
        "not_this_order": _("it signs more than the order's total"),
    }.get(code, code)


def family(name: str) -> str:
    """A browser's name."""
    return {
        IN_APP: _("Browsers inside of apps"),
        OTHER: _("Others"),
        "": _("Not known: no click of an affiliate"),
    }.get(name, name)


def caller(name: str) -> str:
    """Who called: a key by its prefix, or a page."""
    return _("a page of the shop") if name == "browser" else name


def pixel(public_url: str, slug: str) -> str:
    """The line that goes on every page."""
    return f'<script async src="{public_url}/pixel.js" data-program="{slug}"></script>'


def page_order(currency: str) -> str:
    """What a page runs to report a test order."""
    total = money_json(Money(TEST_UNITS * MICROS, currency))
    return (
        "<script>\n"
        "window.kopeck = window.kopeck || [];\n"
        'kopeck.push(["order", {\n'
        "  test: true,\n"
        '  order_id: "T-" + Date.now(),\n'
        f'  total: {{amount: "{total["amount"]}",\n'
        f'          currency: "{currency}"}}\n'
        "}]);\n"
        "</script>"
    )


def curl(public_url: str, currency: str, now: datetime) -> str:
    """A test order by the API."""
    total = money_json(Money(TEST_UNITS * MICROS, currency))
    return (
        f"curl {public_url}/api/v1/orders \\\n"
        "  -H 'Authorization: Bearer kpk_…' \\\n"
        "  -H 'Content-Type: application/json' \\\n"
        '  -d \'{"test": true,\n'
        '    "order_id": "T-1",\n'
        f'    "placed_at": "{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",\n'
        f'    "total": {{"amount": "{total["amount"]}",\n'
        f'              "currency": "{currency}"}}}}\''
    )


def _confirmation(line: Line) -> str:
    if line.finding is Finding.NEVER:
        return _("There are no orders yet.")
    count, orders = line.values["count"], line.values["orders"]
    if not count:
        return ngettext(
            "The last order is confirmed.", "All of the last %(num)d orders are confirmed.", orders
        )
    return ngettext(
        "Of the last %(orders)s orders %(num)d waits for the server's word.",
        "Of the last %(orders)s orders %(num)d wait for the server's word.",
        count, orders=orders,
    )  # fmt: skip
