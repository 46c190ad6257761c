"""Tables beside the accounts of payees: how providers make them, and what stops them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model


class PayeeOnboarding(Model):
    """The intent to have a provider make an account for an affiliate, written before the call."""

    __tablename__ = "payee_onboardings"
    __table_args__ = (
        sa.UniqueConstraint("affiliate_id", "rail", "number"),
        sa.CheckConstraint(
            "(ended_at IS NULL) = (account IS NULL AND refusal IS NULL)", name="ended_has_outcome"
        ),
        sa.Index(
            "uq_payee_onboardings_open", "affiliate_id", "rail", unique=True,
            postgresql_where=sa.text("ended_at IS NULL"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    affiliate_id: Mapped[int] = mapped_column(sa.ForeignKey("affiliates.id"))
    rail: Mapped[str]
    number: Mapped[int] = mapped_column(sa.Integer)
    """1, 2, 3 … of this affiliate on this rail."""
    idempotency_key: Mapped[str] = mapped_column(unique=True)
    params: Mapped[dict[str, Any]]
    """What is asked for, stored so that a retry is the same to the byte."""
    asked_by: Mapped[str]
    asked_at: Mapped[datetime]
    account: Mapped[str | None] = mapped_column(unique=True)
    refusal: Mapped[str | None]
    """The provider's code of a definite no."""
    ended_at: Mapped[datetime | None]


class PayeeStop(Model):
    """Somebody said "this was not me": nothing is paid to the affiliate until a person looked."""

    __tablename__ = "payee_stops"
    __table_args__ = (
        sa.CheckConstraint("outcome IN ('kept', 'put_back')", name="outcome_known"),
        sa.CheckConstraint(
            "(lifted_at IS NULL) = (lifted_by IS NULL) AND (lifted_at IS NULL) = (outcome IS NULL)",
            name="lifted_has_outcome",
        ),
        sa.Index(
            "uq_payee_stops_open", "affiliate_id", unique=True,
            postgresql_where=sa.text("lifted_at IS NULL"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    affiliate_id: Mapped[int] = mapped_column(sa.ForeignKey("affiliates.id"))
    payee_id: Mapped[int] = mapped_column(sa.ForeignKey("payee_accounts.id"))
    """The account that they say they have not named."""
    stopped_at: Mapped[datetime]
    lifted_at: Mapped[datetime | None]
    lifted_by: Mapped[str | None]
    outcome: Mapped[str | None]
    """kept: the account stays; put_back: the one before is theirs again."""
    why: Mapped[str | None]
