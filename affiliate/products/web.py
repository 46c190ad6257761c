"""Small pictures of products, for lists on our own pages."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from flask import Blueprint, Flask, Response, request

from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.ids import row_id
from affiliate.people.access import public
from affiliate.products.models import ProductPicture
from affiliate.products.pictures import PREFIX

KEPT_S: Final = 30 * 86_400

products = Blueprint("products", __name__, url_prefix="/promo/products")


def set_up(app: Flask, settings: Settings) -> None:  # noqa: ARG001 -- the shape of every set_up
    """Register the route."""
    app.register_blueprint(products)


@products.get("/<code>.webp")
@public
def product_picture(code: str) -> Response:
    """A product's picture: what anybody sees in the shop as well. Opened by itself it can do
    nothing."""
    row = db.session().scalar(
        sa.select(ProductPicture)
        .options(sa.orm.undefer(ProductPicture.content))
        .where(ProductPicture.id == row_id(PREFIX, code))
    )
    if row is None or row.content is None:
        raise NotFound
    answer = Response(row.content, content_type="image/webp")
    answer.headers["Cache-Control"] = f"public, max-age={KEPT_S}, immutable"
    answer.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    answer.set_etag(code)
    answer.make_conditional(request)
    return answer
