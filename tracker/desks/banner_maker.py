"""The banner maker: what an address or a form asks for, drawn; the same on both desks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from affiliate.core.errors import Invalid, NotFound
from affiliate.core.pages import say
from affiliate.links.destinations import deep_link
from affiliate.products.importing import rules_of
from affiliate.products.lookup import product_of
from affiliate.products.models import ShopProduct
from affiliate.products.pictures import content_of
from affiliate.products.rules import cut
from affiliate.programs.models import Program
from affiliate.promo.banner_drawing import draw
from affiliate.promo.banner_rules import SIZES, TEXT_CHARS_MAX, Design, Look
from affiliate.promo.banners import brand_of, checked
from affiliate.promo.pictures import CONTENT_TYPES, Picture
from tracker.desks.words import _

FIELDS: Final = ("size", "product", "text", "button", "look", "format")
CODE_CHARS_MAX: Final = 40


@dataclass(frozen=True, slots=True)
class Asked:
    """A banner as somebody asks for it."""

    typed: Mapping[str, str]
    design: Design | None
    """None where something about it is wrong, or nothing was asked for yet."""
    product: ShopProduct | None
    webp: bool = False
    errors: Mapping[str, list[str]] = field(default_factory=dict)
    """Sentences by field."""

    @property
    def words(self) -> dict[str, Any]:
        """The same as parameters of an address or fields of a form."""
        return {name: self.typed[name] for name in FIELDS if self.typed[name]}


def asked(session: Session, program: Program, values: Mapping[str, Any]) -> Asked:
    """Read it; a product brings its title. NotFound for one that this program does not have."""
    typed = {name: str(values.get(name, "")).strip() for name in FIELDS}
    product = None
    if typed["product"]:
        if len(typed["product"]) > CODE_CHARS_MAX:
            raise NotFound
        product = product_of(session, program_id=program.id, code=typed["product"])
    begun = bool(typed["text"] or product)
    typed["size"] = typed["size"] or "x".join(map(str, SIZES[0]))
    typed["text"] = typed["text"] or (cut(product.title, TEXT_CHARS_MAX) if product else "")
    typed["button"] = typed["button"] or _("To the shop")
    typed["look"] = typed["look"] if typed["look"] in list(Look) else Look.FULL.value
    typed["format"] = "webp" if typed["format"] == "webp" else "png"
    webp = typed["format"] == "webp"
    if not begun and not any(values.get(name) for name in FIELDS):
        return Asked(typed, None, None, webp)
    try:
        design = checked(_design(typed))
    except Invalid as refusal:
        errors: dict[str, list[str]] = {}
        for error in refusal.errors:
            errors.setdefault(error.field, []).append(say(error.message))
        return Asked(typed, None, product, webp, errors)
    return Asked(typed, design, product, webp)


def drawn(session: Session, program: Program, wanted: Asked) -> Picture:
    """The banner itself. Raises Invalid where it cannot be drawn."""
    if wanted.design is None:
        raise Invalid(_("The banner cannot be drawn like this."))
    picture = None
    if wanted.product is not None:
        picture = content_of(session, program_id=program.id, source=wanted.product.image_link)
    brand = brand_of(session, program_id=program.id)
    return draw(wanted.design, brand, picture, webp=wanted.webp)


def preview(session: Session, program: Program, wanted: Asked) -> Response:
    """The banner as an answer, which nobody keeps."""
    picture = drawn(session, program, wanted)
    answer = Response(picture.content, content_type=CONTENT_TYPES[picture.extension])
    answer.headers["Content-Security-Policy"] = (
        "default-src 'none'; sandbox; frame-ancestors 'none'"
    )
    return answer


def destination_of(program: Program, product: ShopProduct | None) -> str:
    """The product's page as the click front will take it; empty: wherever the link leads."""
    if product is None:
        return ""
    rules = rules_of(program)
    return deep_link(product.link, rules.sites, plain_loopback=rules.plain_loopback) or ""


def looks() -> dict[str, str]:
    """What the looks are called."""
    return {
        Look.FULL: _("The brand's colour"),
        Look.LIGHT: _("White"),
        Look.ACCENT: _("The accent"),
    }


def sizes() -> list[tuple[str, str]]:
    """Each size as a form sends it and as people read it."""
    return [(f"{width}x{height}", f"{width} × {height}") for width, height in SIZES]


def _design(typed: Mapping[str, str]) -> Design:
    size = next((one for one in SIZES if typed["size"] == f"{one[0]}x{one[1]}"), (0, 0))
    return Design(*size, typed["text"], typed["button"], Look(typed["look"]))
