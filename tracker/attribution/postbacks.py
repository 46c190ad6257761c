"""What a postback says of the click behind an order: its id and the sub-ids of its link."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.webhooks.claim import provide_click_blanks
from affiliate.webhooks.rules import Blank
from tracker.attribution.models import Decision
from tracker.attribution.subject import REFERENCE
from tracker.clicks.receipts import receipt

SUB_IDS = (Blank.SUB1, Blank.SUB2, Blank.SUB3, Blank.SUB4, Blank.SUB5)


def set_up(app: Flask, _settings: Settings) -> None:
    """Tell the package that sends postbacks who knows clicks."""
    provide_click_blanks(app, click_blanks)


def click_blanks(session: Session, subject: str, enrollment_id: int) -> Mapping[str, str]:
    """Of the last decision's click of this affiliate; nothing where a coupon or a person decided.

    Nothing of a click that is another affiliate's, whatever the decision says.
    """
    if not subject.startswith(REFERENCE):
        return {}
    shares = session.scalar(
        sa.select(Decision.shares)
        .where(Decision.order_id == int(subject.removeprefix(REFERENCE)))
        .order_by(Decision.number.desc())
        .limit(1)
    )
    click_id = next(
        (share["click_id"] for share in shares or () if share["enrollment_id"] == enrollment_id),
        None,
    )
    found = None if click_id is None else receipt(session, click_id=UUID(click_id))
    if click_id is None:
        return {}
    if found is None or found.enrollment_id != enrollment_id:
        return {Blank.CLICK_ID: click_id}
    sub_ids = zip(SUB_IDS, found.sub_ids, strict=True)
    return {Blank.CLICK_ID: click_id, **{blank: value or "" for blank, value in sub_ids}}
