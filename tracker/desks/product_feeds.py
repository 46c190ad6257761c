"""Feeds with an affiliate's link in them: for whoever is signed in, and by private address.

Both are the same file. It is whole before its first byte leaves, so that a slow reader holds no
transaction; and whoever has it already is told so before a product is read. (A50.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import IO, Final

from flask import Blueprint, Flask, current_app, request
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.links.destinations import deep_link
from affiliate.links.models import Link
from affiliate.people import limits
from affiliate.people.access import public
from affiliate.products import keys
from affiliate.products.feeds import CONTENT_TYPES, Offer, written
from affiliate.products.importing import rules_of
from affiliate.products.lookup import all_of, feed_of
from affiliate.products.models import ShopProduct
from affiliate.products.rules import FEED_MATERIAL, FileKind
from affiliate.programs.models import Program
from affiliate.promo.rules import address
from tracker.desks.files import kept_answer

EDITION: Final = 1
"""Of what we write into a feed: another one makes every copy an old one."""

feeds = Blueprint("feeds", __name__, url_prefix="/feeds")


def set_up(app: Flask, settings: Settings) -> None:  # noqa: ARG001 -- the shape of every set_up
    """Register the route."""
    app.register_blueprint(feeds)


@feeds.get("/<token>/products.<kind>")
@public
@limits.braked(limits.brake_feeds)
def private_feed(token: str, kind: str) -> Response:
    """The feed behind a private address, for a site that asks for it again and again."""
    session = db.session()
    wanted = feed_kind(kind)
    key, link, program = keys.holder_of(session, token=token)
    if keys.note_use(session, key=key, now=clock.now(session)):
        session.commit()
    answer = feed_answer(session, program=program, link=link, kind=wanted)
    # May be kept, and has to be asked about each time: the address may have been taken back.
    answer.headers["Cache-Control"] = "private, no-cache"
    return answer


def feed_kind(text: str) -> FileKind:
    """What a feed is to be written in; NotFound for what we do not write."""
    if text not in list(FileKind):
        raise NotFound
    return FileKind(text)


def feed_url(token: str, kind: FileKind) -> str:
    """The whole private address."""
    return f"{_settings().public_url}/feeds/{token}/products.{kind.value}"


def feed_answer(session: Session, *, program: Program, link: Link, kind: FileKind) -> Response:
    """All products of a program, each leading where it belongs by way of this link."""
    tag = _tag(session, program, link, kind)
    if tag in request.if_none_match:
        answer = Response(status=304)
    else:
        offers = _offers(session, program, link)
        parts = written(kind, offers, title=program.name, home=program.landing_url)

        def write(to: IO[bytes]) -> None:
            for part in parts:
                to.write(part.encode())

        name = f"products-{program.slug}.{kind.value}"
        answer = kept_answer(name, CONTENT_TYPES[kind], write)
    answer.set_etag(tag)
    return answer


def _tag(session: Session, program: Program, link: Link, kind: FileKind) -> str:
    """Changes with whatever the file is made of."""
    feed = feed_of(session, program_id=program.id)
    made_of = (
        EDITION, program.id, feed.revision if feed else 0, program.name, program.landing_url,
        *program.allowed_sites, _settings().public_url, link.code, kind.value,
    )  # fmt: skip
    return hashlib.sha256(repr(made_of).encode()).hexdigest()[:32]


def _offers(session: Session, program: Program, link: Link) -> Iterator[Offer]:
    """What may be offered today: pages that the program's sites no longer have are left out."""
    rules, start = rules_of(program), f"{_settings().public_url}/r/{link.code}"
    for row in all_of(session, program_id=program.id):
        to = deep_link(row.link, rules.sites, plain_loopback=rules.plain_loopback)
        if to is not None:
            yield _offer(row, address(start, creative=FEED_MATERIAL, destination=to))


def _offer(row: ShopProduct, link: str) -> Offer:
    return Offer(
        sku=row.sku, title=row.title, description=row.description, link=link,
        image_link=row.image_link, price=row.price,
        sale_price=row.sale_price,
        sale_from=row.sale_from, sale_until=row.sale_until, availability=row.availability,
        brand=row.brand, category=row.category, gtin=row.gtin,
    )  # fmt: skip


def _settings() -> Settings:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings
