"""What buyers see: browse, cart, checkout, thank you."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

from flask import (
    Blueprint,
    abort,
    current_app,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from sandbox.shop.catalogue import BY_SKU, PRODUCTS, QUANTITY_MAX, Bill, bill_for, coupon_from
from sandbox.shop.config import ShopConfig
from sandbox.shop.feed import feed
from sandbox.shop.kopeck import Kopeck
from sandbox.shop.report import clicks_from, order_report, server_report, visitor_from
from sandbox.shop.store import Store

EMAIL = re.compile(r"[^\s@]{1,64}@[^\s@]{1,190}")
NAME_CHARS_MAX = 100

blueprint = Blueprint("pages", __name__)


@dataclass(frozen=True, slots=True)
class Shop:
    """What the pages work with."""

    config: ShopConfig
    store: Store
    kopeck: Kopeck


def the_shop() -> Shop:
    return cast(Shop, current_app.extensions["shop"])


@blueprint.get("/")
def home() -> str:
    return render_template("home.html", products=PRODUCTS)


@blueprint.get("/healthz")
def healthz() -> dict[str, str]:
    return {"status": "ok"}


@blueprint.get("/feed.xml")
def feed_xml() -> Response:
    """The catalogue for Google Merchant, and for Kopeck."""
    text = feed(request.host_url, the_shop().config.currency)
    return Response(text, content_type="application/rss+xml; charset=utf-8")


@blueprint.get("/products/<slug>")
def product(slug: str) -> str:
    found = BY_SKU.get(slug.upper())
    if found is None:
        abort(404)
    others = [p for p in PRODUCTS if p.category == found.category and p != found][:3]
    return render_template("product.html", product=found, others=others)


@blueprint.get("/cart")
def cart() -> str:
    return render_template("cart.html", bill=_bill())


@blueprint.post("/cart")
def change_cart() -> Response:
    """Put something in (add), or set how many of it there are (quantity; 0 takes it out)."""
    sku = request.form.get("sku", "")
    if sku not in BY_SKU:
        abort(404)
    contents = _contents()
    adding = "add" in request.form
    number = _number(request.form["add"] if adding else request.form.get("quantity", "0"))
    contents[sku] = min((contents.get(sku, 0) if adding else 0) + number, QUANTITY_MAX)
    session["cart"] = {sku: quantity for sku, quantity in contents.items() if quantity > 0}
    return redirect(url_for("pages.cart"), 303)


@blueprint.get("/checkout")
def checkout() -> Response | str:
    if not _contents():
        return redirect(url_for("pages.cart"))
    return render_template("checkout.html", bill=_bill(), form={}, errors={})


@blueprint.post("/orders")
def place_order() -> Response | tuple[str, int]:
    """Take the order: written down with its call to Kopeck in one transaction, then sent."""
    form = {key: request.form.get(key, "").strip() for key in ("name", "email", "coupon")}
    coupon = coupon_from(form["coupon"])
    # "Show the price with the code" is the same form without an order, so only the code counts.
    pricing = "price" in request.form
    errors = _errors(form, coupon, only_coupon=pricing)
    bill = _bill(coupon or "")
    if not bill.lines:
        return redirect(url_for("pages.cart"), 303)
    if errors or pricing:
        page = render_template("checkout.html", bill=bill, form=form, errors=errors)
        return page, 422 if errors else 200
    order_id = _write_down(bill, form["name"], form["email"].lower())
    the_shop().kopeck.wake()
    session["cart"] = {}
    session["orders"] = [*session.get("orders", []), order_id][-20:]
    return redirect(url_for("pages.thanks", order_id=order_id), 303)


@blueprint.get("/orders/<order_id>")
def thanks(order_id: str) -> str:
    """The buyer's own order, with the pixel's report on it."""
    found = the_shop().store.order(order_id)
    if found is None or order_id not in session.get("orders", []):
        abort(404)
    return render_template("thanks.html", order=found)


def not_found(_error: HTTPException) -> tuple[str, int]:
    return render_template("not_found.html"), 404


@blueprint.app_context_processor
def _cart_size() -> dict[str, int]:
    return {"cart_size": sum(_contents().values())}


def _write_down(bill: Bill, name: str, email: str) -> str:
    shop = the_shop()
    placed_at = shop.kopeck.now()
    with shop.store.transaction() as db:
        customer_id, is_new = shop.store.customer(db, email)
        order_id = shop.store.add_order(
            db,
            placed_at=placed_at,
            name=name,
            email=email,
            total=bill.total,
            currency=bill.currency,
        )
        shop.store.set_report(db, order_id, order_report(order_id, bill))
        if shop.config.mode == "server":
            report = server_report(
                order_id,
                bill,
                placed_at=placed_at,
                email=email,
                customer_id=customer_id,
                is_new=is_new,
                clicks=clicks_from(request.cookies),
                visitor=visitor_from(request.cookies),
            )
            shop.store.add_call(db, order_id, "order", "/orders", report)
    return order_id


def _errors(form: dict[str, str], coupon: str | None, *, only_coupon: bool) -> dict[str, str]:
    errors = {}
    if coupon is None:
        errors["coupon"] = "A code is made of letters and digits, such as ANNA10."
    if only_coupon:
        return errors
    if not form["name"] or len(form["name"]) > NAME_CHARS_MAX:
        errors["name"] = "Tell us whom the parcel is for."
    if not EMAIL.fullmatch(form["email"]):
        errors["email"] = "An e-mail address has a name, an @ and a place."
    return errors


def _contents() -> dict[str, int]:
    kept = session.get("cart", {})
    return {sku: int(quantity) for sku, quantity in kept.items() if sku in BY_SKU}


def _bill(coupon: str = "") -> Bill:
    return bill_for(_contents(), coupon, the_shop().config.currency)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0
