"""Products of the program's shop: where they come from, what an import would do, what there is."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from flask import url_for
from flask_babel import lazy_gettext as _l
from flask_wtf.file import FileField
from sqlalchemy.orm import Session
from wtforms import StringField
from wtforms.validators import Length, Optional

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import Invalid, NotFound, Phrase
from affiliate.core.http import takes_bytes
from affiliate.core.pages import say
from affiliate.people import access
from affiliate.products.fetching import ask_soon, set_address
from affiliate.products.importing import (
    bring_file,
    confirm_import,
    discard_import,
)
from affiliate.products.jobs import fetch_feeds, fetch_pictures
from affiliate.products.lookup import (
    categories_of,
    count_of,
    feed_of,
    imports_of,
    page_of,
    product_code,
)
from affiliate.products.models import ProductImport
from affiliate.products.pictures import paths_of
from affiliate.products.reading import said
from affiliate.products.rules import FEED_BYTES_MAX, LINK_CHARS_MAX, UNRANKED
from tracker.desks import product_words
from tracker.desks.acting import Answer, act, submit
from tracker.desks.manage import people
from tracker.desks.manage.blueprint import (
    Place,
    actors,
    manage,
    page,
    place,
    place_of,
    readers,
    require_acting,
)
from tracker.desks.manage.rules_form import Form
from tracker.desks.product_search import asked
from tracker.desks.product_search import place_of as place_in_list
from tracker.desks.words import _, ngettext
from tracker.stats.jobs import count_best_sellers

FORM_BYTES: Final = 20_000
"""Of a form beside its file."""
SHOWN_MAX: Final = 50
IMPORTS_SHOWN_MAX: Final = 10


class FeedFileForm(Form):
    """A feed that somebody brings."""

    file = FileField(_l("File"))

    def raw(self) -> bytes:
        """What the file holds, its name aside. Raises Invalid."""
        if not getattr(self.file.data, "filename", ""):
            raise Invalid.field("file", "required", Phrase("Choose a file."))
        content: bytes = self.file.data.read(FEED_BYTES_MAX + 1)
        return content


class FeedAddressForm(Form):
    """Where it is fetched from."""

    address = StringField(
        _l("Address"),
        [Optional(), Length(max=LINK_CHARS_MAX)],
        render_kw={"inputmode": "url", "placeholder": "https://", "autocomplete": "off"},
        description=_l("On the program's own sites. Empty: nothing is fetched."),
    )


@manage.get("/products")
@readers
def products() -> str:
    """The feed, what waits for a decision, and the products."""
    return _page(place())


@manage.post("/products/files")
@takes_bytes(FEED_BYTES_MAX + FORM_BYTES)
@actors
def bring_products() -> Answer:
    """Read a file and show what it would do; nothing is imported yet."""
    here, form = place(), FeedFileForm()
    program_id = here.required.id
    require_acting(program_id)

    def verb(session: Session, now: datetime) -> None:
        bring_file(
            session, program_id=program_id, raw=form.raw(), by=access.actor().user_id, now=now
        )

    return submit(
        form, verb, done=_("The file is read. Look at what it would do, then import it."),
        back=_list_of(here), page=lambda: _page(here, brought=form),
    )  # fmt: skip


@manage.post("/products/address")
@actors
def set_feed_address() -> Answer:
    """Fetch the feed from an address every day, or no longer."""
    here, form = place(), FeedAddressForm()
    program_id = here.required.id
    require_acting(program_id)

    def verb(session: Session, now: datetime) -> None:
        set_address(
            session, program_id=program_id, address=form.address.data or "",
            by=access.actor().user_id, now=now,
        )  # fmt: skip
        fetch_feeds.after_commit(session)

    done = _("It is kept; the feed is fetched within a minute or so, and then every day.")
    if not (form.address.data or "").strip():
        done = _("Nothing is fetched any more; the products stay as they are.")
    return submit(
        form, verb, done=done, back=_list_of(here), page=lambda: _page(here, addressed=form)
    )


@manage.post("/products/fetch")
@actors
def fetch_products() -> Answer:
    """Ask the address now."""
    here = place()
    require_acting(here.required.id)

    def verb(session: Session, now: datetime) -> None:
        ask_soon(session, program_id=here.required.id, now=now)
        fetch_feeds.after_commit(session)

    return act(verb, done=_("The feed is fetched within a minute or so."), back=_list_of(here),
               page=lambda: _page(here))  # fmt: skip


@manage.post("/products/imports/<import_id>/done")
@actors
def import_products(import_id: str) -> Answer:
    """Do what a waiting import says."""
    here, row = _found(import_id)
    require_acting(row.program_id)

    def verb(session: Session, now: datetime) -> None:
        confirm_import(session, import_id=row.id, by=access.actor().user_id, now=now)
        fetch_pictures.after_commit(session)
        count_best_sellers.after_commit(session)

    return act(verb, done=lambda: _told(row), back=_list_of(here), page=lambda: _page(here))


@manage.post("/products/imports/<import_id>/discarded")
@actors
def discard_products(import_id: str) -> Answer:
    """Leave the products as they are."""
    here, row = _found(import_id)
    require_acting(row.program_id)
    return act(
        lambda session, now: discard_import(
            session, import_id=row.id, by=access.actor().user_id, now=now
        ),
        done=_("The import is discarded; the products stay as they are."),
        back=_list_of(here),
        page=lambda: _page(here),
    )


def _told(row: ProductImport) -> str:
    parts = [
        ngettext("%(num)d product is new.", "%(num)d products are new.", row.new),
        ngettext("%(num)d has changed.", "%(num)d have changed.", row.changed),
        ngettext("%(num)d is gone.", "%(num)d are gone.", row.gone),
    ]
    counts = (row.new, row.changed, row.gone)
    told = [part for part, count in zip(parts, counts, strict=True) if count]
    return " ".join(told) or _("Every product of it was known already; nothing has changed.")


def _page(
    here: Place, brought: FeedFileForm | None = None, addressed: FeedAddressForm | None = None
) -> str:
    program, session = here.required, db.session()
    now, wanted = clock.now(session), asked(program.currency)
    feed = feed_of(session, program_id=program.id)
    found = page_of(
        session, program_id=program.id, search=wanted.search, now=now, after=wanted.after,
        rows_max=SHOWN_MAX,
    )  # fmt: skip
    imports = imports_of(session, program_id=program.id, rows_max=IMPORTS_SHOWN_MAX)
    if addressed is None:
        addressed = FeedAddressForm(formdata=None, address=feed.address if feed else "")
    following = place_in_list(found.next)
    return page(
        "products",
        here,
        program=program,
        feed=feed,
        brought=brought or FeedFileForm(formdata=None),
        addressed=addressed,
        waiting=[each for each in imports if each.status == "waiting"],
        imports=[(each, [say(said(error)) for error in each.errors]) for each in imports
                 if each.status != "waiting"],
        names=people.user_names(session, {f"user:{each.created_by}" for each in imports}),
        states=product_words.states(),
        troubles=product_words.troubles(),
        wanted=wanted,
        shown=[(row, row.sale_price_at(now), product_code(row.id)) for row in found.rows],
        pictures=paths_of(
            session, program_id=program.id, sources=[row.image_link for row in found.rows]
        ),
        count=count_of(session, program_id=program.id, search=wanted.search, now=now),
        categories=categories_of(session, program_id=program.id),
        sorts=[(label, url_for(".products", **wanted.words(sort=one.value)), one)
               for one, label in product_words.sorts().items()],
        availabilities=product_words.availabilities(),
        tones=product_words.TONES,
        unranked=UNRANKED,
        newer=url_for(".products", **wanted.words()) if wanted.after else None,
        older=following and url_for(".products", **wanted.words(after=following)),
    )  # fmt: skip


def _list_of(here: Place) -> str:
    """The products of this program, whichever the reader looked at last."""
    return url_for("manage.products", program=here.required.slug)


def _found(import_id: str) -> tuple[Place, Any]:
    """The import and the place of its program; NotFound for anybody else's."""
    if not (import_id.isascii() and import_id.isdigit() and len(import_id) <= 18):
        raise NotFound
    row = db.session().get(ProductImport, int(import_id))
    if row is None:
        raise NotFound
    return place_of(row.program_id), row
