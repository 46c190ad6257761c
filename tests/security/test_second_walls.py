"""Should the code ever let it through, the tables do not take it."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from walk import Installation

WALLS = (
    ("orders", "total_micros = -1", "in_range"),
    ("orders", "total_micros = 1000000000000000001", "in_range"),
    ("orders", "net_micros = -1", "net_in_range"),
    ("orders", "net_micros = total_micros + 1", "net_in_range"),
    ("orders", "refunded_net_micros = net_micros + 1", "refund_in_net"),
    ("refunds", "amount_micros = 0", "amount_positive"),
    ("refunds", "amount_micros = -1", "amount_positive"),
    ("commissions", "amount_micros = -1", "amount_not_negative"),
    ("commissions", "reversed_micros = amount_micros + 1", "reversed_within"),
    ("payout_items", "amount_micros = -1", "amount_positive"),
    ("enrollments", "recruiter_id = id", "not_own_recruiter"),
)


@pytest.mark.abuse("A6", "A10", "A21")
def test_the_tables_refuse_what_no_code_may_write(installation: Installation) -> None:
    session = installation.world.session
    session.rollback()
    for table, change, name in WALLS:
        with pytest.raises(sa.exc.IntegrityError, match=name):
            session.execute(sa.text(f"UPDATE {table} SET {change}"))
        session.rollback()


@pytest.mark.abuse("A43")
def test_other_sites_read_the_pixel_alone(installation: Installation) -> None:
    wrong = []
    shared = {"events.events", "events.gif", "pixel.versioned_pixel", "pixel.moving_pixel"}
    shared |= {"pixel.debug_panel", "pixel.published"}
    for rule, method, _ in installation.rules():
        path = rule.rule.replace("<", "").replace(">", "")
        headers = {"Origin": "https://evil.example"}
        for asked in (method, "OPTIONS"):
            answer = installation.browsers["owner"].open(path, method=asked, headers=headers)
            told = [name for name, _ in answer.headers if name.startswith("Access-Control")]
            if told and rule.endpoint not in shared:
                wrong.append(f"{asked} {rule.rule}: {told}")
            if "Access-Control-Allow-Credentials" in answer.headers:
                wrong.append(f"{asked} {rule.rule}: with credentials")
    assert not wrong, "\n".join(wrong)
