"""Under which id an affiliate is a customer of the program's shop."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, FieldError, Invalid, Phrase
from affiliate.core.fields import SHOP_ID_CHARS_MAX, is_shop_id
from affiliate.people.models import Enrollment


class CustomerTaken(Conflict):
    code = "customer_taken"
    title = "Another affiliate of this program is this customer of the shop already."


def set_shop_customer(
    session: Session,
    *,
    enrollment_id: int,
    customer_id: str | None,
    by: str,
    now: datetime,
) -> None:
    """Say under which id the affiliate is a customer of the program's shop; None: under none.

    Orders that come later from this customer by the affiliate's own link are their own
    purchases (docs/rules.md, "Own purchases"). Refuses an id that is none (`not_an_id`) or that
    another affiliate of the program has (CustomerTaken).
    """
    if customer_id is not None and not is_shop_id(customer_id):
        raise Invalid.field(
            "customer_id",
            "not_an_id",
            Phrase(
                "An id has 1 to %(most)s characters out of A-Z a-z 0-9 . _ : @ # ~ -",
                most=SHOP_ID_CHARS_MAX,
            ),
        )
    enrollment = session.get_one(
        Enrollment, enrollment_id, populate_existing=True, with_for_update={"key_share": True}
    )
    old = enrollment.shop_customer_id
    if old == customer_id:
        return
    try:
        with session.begin_nested():
            enrollment.shop_customer_id = customer_id
            session.flush()
    except sa.exc.IntegrityError as error:  # The unique index: two managers may say it at once.
        raise CustomerTaken(
            errors=[FieldError("customer_id", CustomerTaken.code, CustomerTaken.title)]
        ) from error
    audit.record(
        session,
        actor=by,
        action="enrollment.set_shop_customer",
        subject=f"enrollment:{enrollment_id}",
        scope=enrollment.program_id,
        old={"customer_id": old},
        new={"customer_id": customer_id},
        now=now,
    )
