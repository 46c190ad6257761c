"""The shop's back room: orders, refunds, cancellations, and what Kopeck answered."""

from __future__ import annotations

import json
import re
from typing import Any

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from sandbox.shop.catalogue import decimal
from sandbox.shop.pages import the_shop
from sandbox.shop.store import Call, Order

AMOUNT = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,2}))?")

blueprint = Blueprint("admin", __name__, url_prefix="/admin")


@blueprint.get("")
def orders() -> str:
    shop = the_shop()
    listed = [(order, _last(shop.store.calls(order.order_id))) for order in shop.store.orders()]
    return render_template("admin.html", orders=listed)


@blueprint.get("/orders/<order_id>")
def order(order_id: str) -> str:
    shop = the_shop()
    found = _order(order_id)
    calls = [(call, _pretty(call.answer)) for call in shop.store.calls(order_id)]
    return render_template(
        "admin_order.html", order=found, calls=calls, known=shop.kopeck.order(order_id)
    )


@blueprint.post("/orders/<order_id>/refunds")
def refund(order_id: str) -> Response:
    """Refund an amount, or all that is left when none is named."""
    found = _order(order_id)
    wanted = request.form.get("amount", "").strip()
    amount = _hundredths(wanted) if wanted else found.left
    if not amount:
        flash("An amount such as 10.00, more than nothing.")
        return _back(order_id)
    shop = the_shop()
    with shop.store.transaction() as db:
        refund_id = shop.store.add_refund(db, order_id, amount)
        if refund_id:
            body: dict[str, Any] = {"refund_id": refund_id, "reason": "returned"}
            if amount != found.left:
                body["amount"] = {"amount": decimal(amount), "currency": found.currency}
            shop.store.add_call(db, order_id, "refund", f"/orders/{order_id}/refunds", body)
    if refund_id is None:
        flash("That is more than is left of this order.")
    return _send_and_show(order_id)


@blueprint.post("/orders/<order_id>/cancellation")
def cancellation(order_id: str) -> Response:
    _order(order_id)
    shop = the_shop()
    with shop.store.transaction() as db:
        if shop.store.set_cancelled(db, order_id):
            path = f"/orders/{order_id}/cancellation"
            shop.store.add_call(db, order_id, "cancellation", path, {})
    return _send_and_show(order_id)


@blueprint.post("/orders/<order_id>/confirmation")
def confirmation(order_id: str) -> Response:
    """Stand by an order that only the buyer's browser has reported."""
    _order(order_id)
    shop = the_shop()
    with shop.store.transaction() as db:
        path = f"/orders/{order_id}/confirmation"
        shop.store.add_call(db, order_id, "confirmation", path, {})
    return _send_and_show(order_id)


def _send_and_show(order_id: str) -> Response:
    """Make this order's calls now, so that the page can show the answers; a failed one waits."""
    shop = the_shop()
    while shop.kopeck.deliver(order_id):
        pass
    return _back(order_id)


def _back(order_id: str) -> Response:
    return redirect(url_for("admin.order", order_id=order_id), 303)


def _order(order_id: str) -> Order:
    found = the_shop().store.order(order_id)
    if found is None:
        abort(404)
    return found


def _last(calls: list[Call]) -> Call | None:
    return calls[-1] if calls else None


def _pretty(answer: str | None) -> str:
    try:
        return json.dumps(json.loads(answer or ""), indent=2, ensure_ascii=False)
    except ValueError:
        return answer or ""


def _hundredths(text: str) -> int:
    match = AMOUNT.fullmatch(text)
    return int(match[1]) * 100 + int((match[2] or "").ljust(2, "0")) if match else 0
