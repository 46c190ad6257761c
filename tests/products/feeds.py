"""Feeds for the tests of products, and the rules of the program that they belong to."""

from __future__ import annotations

import csv
import io
from typing import Any

from PIL import Image

from affiliate.products.reading import Rules

RULES = Rules("RUB", ("shop.example", ".shop.example"))
CSV_HEAD = "id,title,link,price,sale_price,availability,brand,category,image_link,rank,description"


def row(sku: str = "LAMP-1", **changes: str) -> dict[str, str]:
    """A product as a feed says it."""
    return {
        "id": sku, "title": f"Lamp {sku}", "link": f"https://shop.example/p/{sku}",
        "price": "4200.00 RUB", **changes,
    }  # fmt: skip


def csv_feed(*rows: dict[str, str]) -> bytes:
    """Rows as CSV."""
    names = list(dict.fromkeys(name for each in rows for name in each)) or CSV_HEAD.split(",")
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(names)
    writer.writerows([each.get(name, "") for name in names] for each in rows)
    return out.getvalue().removesuffix("\r\n").encode()


def lamps(count: int, **changes: str) -> bytes:
    """So many products."""
    return (
        csv_feed(*(row(f"L-{number}", **changes) for number in range(count)))
        if count
        else (CSV_HEAD.encode())
    )


def rss(items: str, head: str = "") -> bytes:
    """Items of Google Merchant's RSS."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{head}'
        '<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel><title>Shop</title>'
        f"{items}</channel></rss>"
    ).encode()


def item(**fields: Any) -> str:
    """One of them, every field by Google's name."""
    inner = "".join(f"<g:{name}>{text}</g:{name}>" for name, text in fields.items())
    return f"<item>{inner}</item>"


def png(size: tuple[int, int] = (900, 300)) -> bytes:
    """A picture as a shop has it."""
    out = io.BytesIO()
    Image.new("RGB", size, (20, 120, 110)).save(out, "PNG")
    return out.getvalue()
