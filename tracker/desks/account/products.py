"""The shop's products: to be found, shared with the reader's own link, and taken as a feed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from flask import flash, redirect, request, url_for
from sqlalchemy.orm import Session

from affiliate.core.db import db
from affiliate.core.errors import NotFound, Refusal
from affiliate.core.ids import public_id
from affiliate.core.money import Money
from affiliate.core.pages import say
from affiliate.links.destinations import deep_link
from affiliate.links.models import Link
from affiliate.people import limits
from affiliate.people.access import affiliates
from affiliate.products import keys
from affiliate.products.importing import rules_of
from affiliate.products.lookup import (
    categories_of,
    count_of,
    feed_of,
    page_of,
    product_code,
)
from affiliate.products.models import ShopProduct
from affiliate.products.pictures import paths_of
from affiliate.products.rules import FileKind
from affiliate.programs.words_rule import rate_in_words
from affiliate.promo.rules import address
from tracker.desks import product_words
from tracker.desks.account.blueprint import Answer, account, in_program, page
from tracker.desks.account.links import PREFIX, link_url, own_link
from tracker.desks.account.place import Place
from tracker.desks.account.product_rates import ProductRates
from tracker.desks.account.promo import chosen_link, links_to_choose
from tracker.desks.product_feeds import feed_answer, feed_kind, feed_url
from tracker.desks.product_search import asked, place_of
from tracker.desks.words import _

SHOWN_MAX: Final = 24


@dataclass(frozen=True, slots=True)
class Shown:
    """A product as its reader takes it away."""

    row: ShopProduct
    code: str
    link: str
    """The reader's own, which leads to the product; empty without one."""
    picture: str
    """Where it is; empty: there is none."""
    sale_price: Money | None
    """What it costs now, where that is less than its price."""
    earns: str
    """In a few words; empty where it takes more than that."""


@account.get("/products")
@affiliates
@in_program
def products(place: Place) -> Answer:
    """What the shop has, by what sells, what is new or what is reduced."""
    return _page(place)


@account.get("/products/feed")
@affiliates
@limits.braked(limits.brake_own_feeds)
@in_program
def product_feed(place: Place) -> Answer:
    """All of them in one file, with the reader's link in each."""
    session = db.session()
    kind = feed_kind(request.args.get("format", FileKind.CSV.value))
    link = chosen_link(session, place, links_to_choose(session, place))
    if link is None or not place.active:
        raise NotFound
    return feed_answer(session, program=place.program, link=link, kind=kind)


@account.post("/products/address")
@affiliates
@in_program
def make_feed_address(place: Place) -> Answer:
    """A private address of the feed; an earlier one ends."""
    session = db.session()
    try:
        link = own_link(session, place, request.form.get("link", ""))
        keys.make_key(session, enrollment_id=place.enrollment.id, link_id=link.id, now=place.now)
        session.commit()
    except NotFound:
        raise
    except Refusal as refusal:
        session.rollback()
        flash(say(refusal.detail), "danger")
        return _page(place), refusal.status
    flash(_("The address is ready. Whoever knows it can read the feed."), "success")
    return redirect(url_for(".products") + "#feed", 303)


@account.post("/products/address/ended")
@affiliates
@in_program
def end_feed_address(place: Place) -> Answer:
    """The private address answers no more."""
    session = db.session()
    keys.revoke_key(session, enrollment_id=place.enrollment.id, now=place.now)
    session.commit()
    flash(_("The address answers no more."), "success")
    return redirect(url_for(".products") + "#feed", 303)


def _page(place: Place) -> str:
    session, wanted = db.session(), asked(place.currency)
    program_id = place.program.id
    here: dict[str, Any] = {"link": request.args.get("link")}
    found = page_of(
        session, program_id=program_id, search=wanted.search, now=place.now, after=wanted.after,
        rows_max=SHOWN_MAX,
    )  # fmt: skip
    links = links_to_choose(session, place)
    link = chosen_link(session, place, links)
    key = keys.live_key(session, enrollment_id=place.enrollment.id)
    feed = feed_of(session, program_id=program_id)
    following = place_of(found.next)
    return page(
        "products",
        place,
        feed=feed,
        wanted=wanted,
        shown=_shown(session, place, found.rows, link),
        count=count_of(session, program_id=program_id, search=wanted.search, now=place.now),
        categories=categories_of(session, program_id=program_id),
        sorts=[(label, url_for(".products", **wanted.words(sort=one.value, **here)), one)
               for one, label in product_words.sorts().items()],
        availabilities=product_words.availabilities(),
        tones=product_words.TONES,
        link=link,
        link_id=link and public_id(PREFIX, link.id),
        links=[(public_id(PREFIX, each.id), each) for each in links],
        kinds=[(each.value.upper(), url_for(".product_feed", **{**here, "format": each.value}))
               for each in FileKind],
        key=key,
        key_urls=[(each.value.upper(), feed_url(keys.token_of(key), each)) for each in FileKind]
        if key
        else [],
        newer=url_for(".products", **wanted.words(**here)) if wanted.after else None,
        older=following and url_for(".products", **wanted.words(after=following, **here)),
    )  # fmt: skip


def _shown(
    session: Session, place: Place, rows: list[ShopProduct], link: Link | None
) -> list[Shown]:
    rates, rules = ProductRates(session, place), rules_of(place.program)
    pictures = paths_of(
        session, program_id=place.program.id, sources=[row.image_link for row in rows]
    )
    made = []
    for row in rows:
        # None where the program's sites have changed since the import.
        to = deep_link(row.link, rules.sites, plain_loopback=rules.plain_loopback)
        code, rate = product_code(row.id), rates.of(row)
        url = address(link_url(link.code), creative=code, destination=to) if link and to else ""
        made.append(
            Shown(
                row, code, url, pictures.get(row.image_link, ""), row.sale_price_at(place.now),
                "" if rate is None else rate_in_words(rate),
            )
        )  # fmt: skip
    return made
