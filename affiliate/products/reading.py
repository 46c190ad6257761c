"""What the texts of a feed mean: products, or what is wrong with each of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from affiliate.core.errors import FieldError, Invalid, Phrase
from affiliate.core.money import Money, MoneyError
from affiliate.core.tables import guarded
from affiliate.links.destinations import deep_link
from affiliate.products.files import Entry, entries
from affiliate.products.rules import (
    DESCRIPTION_CHARS_MAX,
    LINK_CHARS_MAX,
    PRODUCTS_MAX,
    SKU_CHARS_MAX,
    TITLE_CHARS_MAX,
    UNRANKED,
    WORD_CHARS_MAX,
    Availability,
    Product,
    cut,
    is_gtin,
    visible,
)

ERRORS_SHOWN_MAX: Final = 20
_PRICE: Final = re.compile(r"(?a:([0-9]{1,13})(?:\.([0-9]{1,6}))?)(?: ([A-Z]{3}))?")
_RANK: Final = re.compile(r"(?a:[1-9][0-9]{0,5})")
_MOMENT: Final = re.compile(r"(?a:\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d)?(?:Z|[+-]\d\d:?\d\d))")
T = TypeVar("T")
_ALWAYS: Final[tuple[datetime | None, datetime | None]] = (None, None)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the program has to say about a product."""

    currency: str
    """Of prices that name none."""
    sites: tuple[str, ...]
    plain_loopback: bool = False


@dataclass(slots=True)
class _Found:
    """What is wrong so far."""

    errors: list[FieldError] = field(default_factory=list)
    count: int = 0

    def add(self, where: Phrase, name: str, code: str, message: str) -> None:
        self.count += 1
        if len(self.errors) < ERRORS_SHOWN_MAX:
            said = Phrase("%(where)s, %(field)s: %(message)s", where=where, field=name,
                          message=message)  # fmt: skip
            self.errors.append(FieldError("file", code, said))


class _Wrong(Exception):
    """A text that does not mean what its field should; carries the sentence to its reader."""

    def __init__(self, code: str, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(message)


def products_of(raw: bytes, rules: Rules) -> tuple[Product, ...]:
    """All products of a file, in its order. Raises Invalid (`file`) with the first of what is
    wrong, each with its line and field; then nothing of the file counts."""
    found: dict[str, Product] = {}
    wrong = _Found()
    for number, entry in enumerate(entries(raw), start=1):
        if number > PRODUCTS_MAX:
            message = Phrase("A program has at most %(most)s products.", most=PRODUCTS_MAX)
            raise Invalid.field("file", "too_many_products", message)
        product = _product(entry, rules, wrong)
        if product is None:
            continue
        if product.sku in found:
            message = Phrase("%(id)s is there already.", id=product.sku)
            wrong.add(entry.where, "id", "twice", message)
        found[product.sku] = product
    if wrong.count > len(wrong.errors):
        more = Phrase("… and %(more)s more of the kind.", more=wrong.count - len(wrong.errors))
        wrong.errors.append(FieldError("file", "more", more))
    if wrong.errors:
        raise Invalid(Phrase("The feed cannot be taken as it is."), errors=wrong.errors)
    return tuple(found.values())


def _product(entry: Entry, rules: Rules, wrong: _Found) -> Product | None:
    """The product, or None after telling everything that is wrong with it."""
    before, texts = wrong.count, entry.texts

    def read(name: str, what: Callable[[str], T], otherwise: T) -> T:
        text = visible(texts.get(name, ""))
        if not text:
            return otherwise
        try:
            return what(text)
        except _Wrong as error:
            wrong.add(entry.where, name, error.code, error.message)
            return otherwise

    currency = read("currency", _currency, rules.currency)
    zero = Money.zero(currency)
    given: dict[str, Any] = {
        "sku": read("id", _sku, ""),
        "title": read("title", _short(TITLE_CHARS_MAX), ""),
        "description": cut(visible(texts.get("description", "")), DESCRIPTION_CHARS_MAX),
        "link": read("link", lambda text: _link(text, rules), ""),
        "image_link": read("image_link", lambda text: _image(text, rules), ""),
        "availability": read("availability", _availability, Availability.IN_STOCK),
        "brand": read("brand", _short(WORD_CHARS_MAX), ""),
        "category": read("category", _short(WORD_CHARS_MAX), ""),
        "gtin": read("gtin", _gtin, ""),
        "rank": read("rank", _rank, UNRANKED),
    }
    price = read("price", lambda text: _price(text, currency), zero)
    sale = read("sale_price", lambda text: _price(text, price.currency), None)
    begins, ends = read("sale_price_effective_date", _span, _ALWAYS)
    for name in ("id", "title", "link", "price"):
        if not visible(texts.get(name, "")):
            wrong.add(entry.where, name, "required", Phrase("Please fill this in."))
    if sale is not None and sale.currency != price.currency:
        message = Phrase("It is in another currency than the price.")
        wrong.add(entry.where, "sale_price", "other_currency", message)
    elif sale is not None and sale > price:
        message = Phrase("It is higher than the price.")
        wrong.add(entry.where, "sale_price", "above_price", message)
    if wrong.count > before:
        return None
    if sale is None or sale == price:  # Many shops repeat the price where there is no sale.
        sale = begins = ends = None
    return Product(**given, price=price, sale_price=sale, sale_from=begins, sale_until=ends)


def _short(chars_max: int) -> Callable[[str], str]:
    def read(text: str) -> str:
        if len(text) > chars_max:
            raise _Wrong("too_long", Phrase("At most %(most)s visible characters.", most=chars_max))
        return text

    return read


def _sku(text: str) -> str:
    """The shop's id as it is; it stands in CSV files, where it must not be read as a formula."""
    found = _short(SKU_CHARS_MAX)(text)
    if guarded(found) != found:
        message = Phrase("An id does not begin with = + - or @: tables would reckon with it.")
        raise _Wrong("id_shape", message)
    return found


def _link(text: str, rules: Rules) -> str:
    found = deep_link(text, rules.sites, plain_loopback=rules.plain_loopback)
    if found is None or len(found) > LINK_CHARS_MAX:
        sites = ", ".join(dict.fromkeys(site.lstrip(".") for site in rules.sites))
        message = Phrase(
            "Links of this program lead to pages of %(sites)s, over https.", sites=sites
        )
        raise _Wrong("destination_refused", message)
    return found


def _image(text: str, rules: Rules) -> str:
    """Any site's picture: shops keep theirs where it suits them, and no click goes there."""
    try:
        host = urlsplit(text).hostname or ""
    except ValueError:
        host = ""
    site = f"[{host}]" if ":" in host else host
    found = deep_link(text, (site,), plain_loopback=rules.plain_loopback) if host else None
    if found is None or len(found) > LINK_CHARS_MAX:
        raise _Wrong("image_refused", Phrase("Write the whole address, beginning with https://."))
    return found


def _currency(text: str) -> str:
    try:
        return Money.parse("0", text).currency
    except MoneyError:
        message = Phrase("%(code)s is not an ISO 4217 currency.", code=text[:10])
        raise _Wrong("unknown_currency", message) from None


def _price(text: str, currency: str) -> Money:
    match = _PRICE.fullmatch(text)
    if match is None:
        raise _Wrong("not_a_price", Phrase("Write it as 4200.00 %(currency)s.", currency=currency))
    whole, fraction, named = match.groups()
    currency = named or currency
    # Shops write 1500.00 JPY as well, although the yen has no hundredths.
    digits = whole if not (fraction or "").strip("0") else f"{whole}.{fraction}"
    try:
        return Money.parse(digits, currency)
    except MoneyError as error:
        raise _Wrong(error.code, PRICE_WRONG[error.code]) from None


PRICE_WRONG: Final = {
    "unknown_currency": Phrase("This is not an ISO 4217 currency."),
    "not_a_decimal": Phrase("Write it as 4200.00 with its currency behind it."),
    "too_many_digits": Phrase("The currency has fewer digits after the point."),
    "too_large": Phrase("The amount is above 1,000,000,000,000."),
}
"""Why a price cannot be one, by the code of the MoneyError."""


def _span(text: str) -> tuple[datetime | None, datetime | None]:
    """Two moments with a stroke between them (ISO 8601), each with its zone."""
    begins, stroke, ends = (part.strip() for part in text.partition("/"))
    if not stroke or not (_MOMENT.fullmatch(begins) and _MOMENT.fullmatch(ends)):
        raise _span_wrong()
    try:
        span = tuple(datetime.fromisoformat(each).astimezone(UTC) for each in (begins, ends))
    except (ValueError, OverflowError):
        raise _span_wrong() from None
    if span[0] >= span[1]:
        raise _Wrong("not_after", Phrase("It ends before it begins."))
    return span[0], span[1]


def _span_wrong() -> _Wrong:
    return _Wrong(
        "not_a_span",
        Phrase("Write it as 2026-11-26T00:00+03:00/2026-12-24T23:59+03:00."),
    )


def _availability(text: str) -> Availability:
    try:
        return Availability(text.lower().replace(" ", "_"))
    except ValueError:
        choices = ", ".join(Availability)
        raise _Wrong("unknown_choice", Phrase("One of: %(choices)s.", choices=choices)) from None


def _gtin(text: str) -> str:
    found = text.replace("-", "").replace(" ", "")
    if not is_gtin(found):
        raise _Wrong("not_a_gtin", Phrase("Its control digit does not fit; leave it out."))
    return found


def _rank(text: str) -> int:
    if not _RANK.fullmatch(text):
        raise _Wrong("not_a_rank", Phrase("A place is a whole number from 1 on."))
    return int(text)


def field_texts(errors: Sequence[FieldError]) -> list[dict[str, Any]]:
    """Errors as a row keeps them, so that a page can say them in its reader's language later."""
    return [{"code": each.code, **_kept(each.message)} for each in errors]


def said(kept: Mapping[str, Any]) -> Phrase:
    """The sentence behind what a row kept."""
    values = {
        name: said(value) if isinstance(value, dict) else value
        for name, value in kept["values"].items()
    }
    return Phrase(kept["pattern"], **values)


def _kept(message: str) -> dict[str, Any]:
    if not isinstance(message, Phrase):
        return {"pattern": message, "values": {}}
    values = {
        name: _kept(value) if isinstance(value, Phrase) else value
        for name, value in message.values.items()
    }
    return {"pattern": message.pattern, "values": values}
