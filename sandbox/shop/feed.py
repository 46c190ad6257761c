"""The shop's products as Google Merchant reads them (RSS 2.0), for whoever asks."""

from __future__ import annotations

from html import escape

from sandbox.shop.catalogue import PRODUCTS, Product, decimal

RANKED = ("LAMP-1", "LEAF-1", "LAMP-3")
"""What the shop itself recommends, the best first."""


def feed(base_url: str, currency: str) -> str:
    """The whole catalogue; `base_url` ends with a stroke."""
    items = "".join(_item(product, base_url, currency) for product in PRODUCTS)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel>'
        f"<title>Lamp &amp; Leaf</title><link>{escape(base_url)}</link>"
        f"<description>Light to read by, leaves to look at</description>\n{items}"
        "</channel></rss>\n"
    )


def _item(product: Product, base_url: str, currency: str) -> str:
    price, now = product.price_before(currency), product.price(currency)
    fields = {
        "g:id": product.sku,
        "title": product.name,
        "description": f"{product.line}. {product.text}",
        "link": f"{base_url}products/{product.slug}",
        "g:image_link": f"{base_url}static/products/{product.slug}.png",
        "g:price": f"{decimal(price or now)} {currency}",
        "g:sale_price": f"{decimal(now)} {currency}" if price else "",
        "g:availability": "in_stock",
        "g:brand": "Lamp & Leaf",
        "g:product_type": product.category,
        "rank": str(RANKED.index(product.sku) + 1) if product.sku in RANKED else "",
    }
    inner = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in fields.items() if text)
    return f"<item>{inner}</item>\n"
