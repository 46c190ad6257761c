"""What the shop sells, and what a cart of it costs (pure).

Amounts are whole hundredths of the currency. Prices include 20 % tax.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

HUNDREDTHS = 100
QUANTITY_MAX = 20
TAX_PERCENT = 20
COUPON_PERCENT = 5
SHIPPING = 290
SHIPPING_FREE_FROM = 5_000
"""In rubles; other currencies take a hundredth of it, as with every price."""
COUPON = re.compile(r"[A-Z][A-Z0-9_-]{2,31}")


@dataclass(frozen=True, slots=True)
class Product:
    sku: str
    name: str
    category: str
    rubles: int
    line: str
    text: str
    before: int = 0
    """What it cost before, in rubles, while it is reduced; 0: it is not."""

    @property
    def slug(self) -> str:
        return self.sku.lower()

    def price(self, currency: str) -> int:
        """Hundredths of the currency, tax included."""
        return in_hundredths(self.rubles, currency)

    def price_before(self, currency: str) -> int:
        """The same of what it cost before; 0: it is not reduced."""
        return in_hundredths(self.before, currency)


@dataclass(frozen=True, slots=True)
class Line:
    product: Product
    quantity: int
    price: int

    @property
    def sum(self) -> int:
        return self.price * self.quantity


@dataclass(frozen=True, slots=True)
class Bill:
    """What a cart costs: goods − discount + shipping = total; the tax is within the goods."""

    lines: tuple[Line, ...]
    coupon: str
    goods: int
    discount: int
    shipping: int
    tax: int
    total: int
    currency: str


PRODUCTS = (
    Product("LAMP-1", "Heron desk lamp", "lighting", 4_200, "Bends its neck where you read",
            "A slim steel arm, a warm bulb and a foot heavy enough to stay. Folds flat at night."),
    Product("LAMP-2", "Pebble table lamp", "lighting", 3_600, "A glow like a stone in the sun",
            "Mouth-blown glass on an oak ring. Three steps of brightness, one for talking."),
    Product("LAMP-3", "Crane floor lamp", "lighting", 9_600, "Leans over the whole sofa",
            "A long bow with a linen shade and a marble foot. The light falls where the book is."),
    Product("LAMP-4", "Firefly lantern", "lighting", 1_800, "For the balcony and the power cut",
            "Charges by day, shines for eleven hours. The handle is ash, the glass takes a fall.",
            before=2_100),
    Product("LEAF-1", "Monstera in a basket", "plants", 2_400, "Big leaves, small demands",
            "Half a metre tall when it leaves us. Water it on Sundays and turn it now and then."),
    Product("LEAF-2", "Snake plant", "plants", 1_500, "Forgives a month of holidays",
            "Upright, striped, hard to offend. Good for a dark corner and for beginners."),
    Product("LEAF-3", "Hanging fern", "plants", 1_980, "Likes the steam of the bathroom",
            "A full Boston fern in a rope sling, ready for the hook. Keep it damp and out of sun.",
            before=2_400),
    Product("POT-1", "Clay pot with saucer", "pots", 720, "Thrown by hand, fired twice",
            "Sixteen centimetres across, with a hole that drains and a saucer that stays dry."),
)  # fmt: skip
BY_SKU: Mapping[str, Product] = {product.sku: product for product in PRODUCTS}


def in_hundredths(rubles: int, currency: str) -> int:
    """A ruble price as hundredths: 4,200 is 4200.00 RUB, or 42.00 in any other currency."""
    return rubles * HUNDREDTHS if currency == "RUB" else rubles


def coupon_from(text: str) -> str | None:
    """The code as the shop writes it, '' for none, None for something that is no code."""
    code = text.strip().upper()
    return code if not code or COUPON.fullmatch(code) else None


def bill_for(cart: Mapping[str, int], coupon: str, currency: str) -> Bill:
    """Price a cart of sku → quantity; unknown skus are left out."""
    lines = tuple(
        Line(BY_SKU[sku], min(quantity, QUANTITY_MAX), BY_SKU[sku].price(currency))
        for sku, quantity in cart.items()
        if sku in BY_SKU and quantity > 0
    )
    goods = sum(line.sum for line in lines)
    discount = goods * COUPON_PERCENT // 100 if coupon else 0
    paid_goods = goods - discount
    free = not lines or paid_goods >= in_hundredths(SHIPPING_FREE_FROM, currency)
    shipping = 0 if free else in_hundredths(SHIPPING, currency)
    return Bill(
        lines=lines,
        coupon=coupon,
        goods=goods,
        discount=discount,
        shipping=shipping,
        tax=_rounded(paid_goods * TAX_PERCENT, 100 + TAX_PERCENT),
        total=paid_goods + shipping,
        currency=currency,
    )


def decimal(hundredths: int) -> str:
    """`4490.00`: how amounts travel in JSON."""
    return f"{hundredths // HUNDREDTHS}.{hundredths % HUNDREDTHS:02d}"


def _rounded(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)
