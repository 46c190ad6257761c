"""Pictures of promo materials, for whoever visits a site on which they stand."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from flask import Blueprint, Flask, Response, request

from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.people.access import public
from affiliate.promo.creatives import creative_row
from affiliate.promo.models import CreativePicture
from affiliate.promo.pictures import CONTENT_TYPES

KEPT_S: Final = 365 * 86_400

promo = Blueprint("promo", __name__, url_prefix="/promo")


def set_up(app: Flask, settings: Settings) -> None:  # noqa: ARG001 -- the shape of every set_up
    """Register the route."""
    app.register_blueprint(promo)


@promo.get("/<code>.<extension>")
@public
def picture(code: str, extension: str) -> Response:
    """The picture of a banner or logo, retired ones included: they stand on sites.

    It is never another one, so that browsers may keep it; opened by itself it can do nothing.
    """
    row = db.session().scalar(
        sa.select(CreativePicture)
        .options(sa.orm.undefer(CreativePicture.content))
        .where(CreativePicture.creative_id == creative_row(code))
    )
    if row is None or row.extension != extension:
        raise NotFound
    answer = Response(row.content, content_type=CONTENT_TYPES[row.extension])
    answer.headers["Cache-Control"] = f"public, max-age={KEPT_S}, immutable"
    answer.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    answer.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    answer.set_etag(code)
    answer.make_conditional(request)
    return answer
