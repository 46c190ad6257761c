"""Tables of programs, of the immutable versions of their rules and of what is said to them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model


class Program(Model):
    """An offer to affiliates: one currency, one set of sites, one schedule of payouts."""

    __tablename__ = "programs"
    __table_args__ = (
        sa.CheckConstraint("slug ~ '^[a-z0-9][a-z0-9-]{1,62}$'", name="slug_shape"),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_shape"),
        sa.CheckConstraint("status IN ('open', 'closing', 'closed')", name="status_known"),
        sa.CheckConstraint("payout_weekday BETWEEN 0 AND 6", name="weekday_known"),
        sa.CheckConstraint("payout_hour BETWEEN 0 AND 23", name="hour_known"),
        sa.CheckConstraint("notice_days BETWEEN 1 AND 90", name="notice_in_days"),
        sa.CheckConstraint("rate_days_max BETWEEN 1 AND 366", name="rate_days_in_range"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    """Stands in addresses: /programs/<slug>."""
    name: Mapped[str]
    summary: Mapped[str] = mapped_column(server_default="")
    """One or two sentences for the public page."""
    currency: Mapped[str]
    """ISO 4217; every amount of the program is in it."""
    status: Mapped[str] = mapped_column(server_default="open")
    """open takes applications; closing credits until closes_at; closed credits nothing."""
    closes_at: Mapped[datetime | None]
    """End of the notice period; links credit clicks until then."""
    landing_url: Mapped[str]
    """Where a link without a destination of its own leads."""
    allowed_sites: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    """Host names that deep links may lead to; `.shop.example` allows every subdomain."""
    auto_approve: Mapped[bool] = mapped_column(server_default=sa.false())
    """True: an application by a verified address is approved at once."""
    rail: Mapped[str] = mapped_column(server_default="manual")
    """How its payouts leave: the name of a rail (payouts/rails)."""
    payout_weekday: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    """Day of the weekly batch, Monday is 0."""
    payout_hour: Mapped[int] = mapped_column(sa.SmallInteger, server_default="9")
    """Local hour at which the weekly batch is drafted."""
    time_zone: Mapped[str] = mapped_column(server_default="UTC")
    """IANA name; days of statistics and the payout hour are counted in it."""
    contact_email: Mapped[str] = mapped_column(server_default="")
    """Where affiliates of the program write to."""
    notice_days: Mapped[int] = mapped_column(sa.SmallInteger, server_default="7")
    """How long new rules are announced before they take effect."""
    rate_days_max: Mapped[int] = mapped_column(sa.SmallInteger, server_default="14")
    """How many days after its own an exchange rate still holds, where none is later."""
    versions_differ: Mapped[bool] = mapped_column(server_default=sa.false())
    """True once somebody may be on another version than the one in force (a version let
    people keep theirs, somebody declined, a version was assigned); never false again. While
    it is false, an order asks for nobody's version."""
    created_at: Mapped[datetime]


class RuleVersion(Model):
    """One immutable edition of a program's rules; the database refuses to change it."""

    __tablename__ = "rule_versions"
    __table_args__ = (
        sa.UniqueConstraint("program_id", "number"),
        sa.Index("ix_rule_versions_in_force", "program_id", "effective_at"),
        sa.CheckConstraint("grandfather_until > effective_at", name="kept_for_a_while"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    number: Mapped[int] = mapped_column(sa.Integer)
    """1, 2, 3 … within the program."""
    terms: Mapped[dict[str, Any]]
    """The validated document, as affiliate.programs.terms.Terms reads it."""
    effective_at: Mapped[datetime]
    """From this instant on it is in force, until a later version is."""
    announced_at: Mapped[datetime]
    created_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    """None for what the command line or the demo made."""
    created_at: Mapped[datetime]
    grandfathers: Mapped[bool] = mapped_column(server_default=sa.false())
    """Whoever was let in before it keeps the commission terms that were theirs."""
    grandfather_until: Mapped[datetime | None]
    """First instant at which they no longer keep them; none: for good."""
    urgent_reason: Mapped[str | None]
    """Why it was announced inside the notice period; none: it was not."""


class RuleDraft(Model):
    """The next version while it is being written. Nobody is paid by a draft."""

    __tablename__ = "rule_drafts"
    __table_args__ = (
        sa.Index(
            "ix_rule_drafts_open", "program_id", postgresql_where=sa.text("closed_at IS NULL")
        ),
        sa.CheckConstraint(
            "rule_version_id IS NULL OR closed_at IS NOT NULL", name="announced_is_closed"
        ),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    name: Mapped[str]
    document: Mapped[dict[str, Any]]
    """Valid whenever it is saved."""
    note: Mapped[str] = mapped_column(server_default="")
    """For the people who write it; affiliates do not see it."""
    revision: Mapped[int] = mapped_column(sa.Integer, server_default="1")
    """Counts the times it was saved, so that nobody saves over what they have not seen."""
    created_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    created_at: Mapped[datetime]
    saved_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    saved_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    """When it was announced or discarded; none: it is open."""
    rule_version_id: Mapped[int | None] = mapped_column(sa.ForeignKey("rule_versions.id"))
    """The version that it became; none for one that was discarded."""


class RuleAnswer(Model):
    """What an affiliate said to a version; a fact that the database refuses to change."""

    __tablename__ = "rule_answers"
    __table_args__ = (
        sa.UniqueConstraint("enrollment_id", "rule_version_id"),
        sa.CheckConstraint("answer IN ('accepted', 'declined')", name="answer_known"),
        sa.Index("ix_rule_answers_rule_version_id", "rule_version_id"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    enrollment_id: Mapped[int] = mapped_column(sa.ForeignKey("enrollments.id"))
    rule_version_id: Mapped[int] = mapped_column(sa.ForeignKey("rule_versions.id"))
    answer: Mapped[str]
    answered_at: Mapped[datetime]
    answered_by: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))


class RuleNotice(Model):
    """A letter about a version to an affiliate: each kind is written once."""

    __tablename__ = "rule_notices"
    __table_args__ = (
        sa.UniqueConstraint("rule_version_id", "enrollment_id", "kind"),
        sa.CheckConstraint("kind IN ('announced', 'reminder')", name="kind_known"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    rule_version_id: Mapped[int] = mapped_column(sa.ForeignKey("rule_versions.id"))
    enrollment_id: Mapped[int] = mapped_column(sa.ForeignKey("enrollments.id"))
    kind: Mapped[str]
    written_at: Mapped[datetime]


class RuleAssignment(Model):
    """Another version for one affiliate or one group, for commission alone, from-until."""

    __tablename__ = "rule_assignments"
    __table_args__ = (
        sa.CheckConstraint("num_nonnulls(enrollment_id, group_id) = 1", name="one_of_two"),
        sa.CheckConstraint("ends_at > begins_at", name="lasts"),
        sa.ForeignKeyConstraint(
            ["program_id", "enrollment_id"],
            ["enrollments.program_id", "enrollments.id"],
            name="fk_rule_assignments_enrollment_in_program",
        ),
        sa.Index("ix_rule_assignments_enrollment_id", "enrollment_id"),
        sa.Index("ix_rule_assignments_group_id", "group_id"),
        sa.Index("ix_rule_assignments_program_id", "program_id"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    enrollment_id: Mapped[int | None]
    group_id: Mapped[int | None] = mapped_column(sa.ForeignKey("affiliate_groups.id"))
    rule_version_id: Mapped[int] = mapped_column(sa.ForeignKey("rule_versions.id"))
    begins_at: Mapped[datetime]
    ends_at: Mapped[datetime | None]
    """First instant at which it no longer holds; none: it goes on. Only ever set to an
    instant that has not come, so that it never changes what was."""
    reason: Mapped[str]
    created_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    created_at: Mapped[datetime]
