"""Tables of users, their sessions and roles, affiliates and their enrollments."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model

ROLES = ("affiliate", "finance", "curator", "manager", "analyst", "owner")


class User(Model):
    """A person who signs in. Addresses are compared without case."""

    __tablename__ = "users"
    __table_args__ = (
        sa.Index("uq_users_email", sa.text("lower(email)"), unique=True),
        sa.Index(
            "ix_users_to_sweep",
            "erased_at",
            postgresql_where=sa.text("erased_at IS NOT NULL AND swept_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    email: Mapped[str]
    name: Mapped[str] = mapped_column(server_default="")
    password: Mapped[str | None]
    """argon2id hash; none until an invitation is accepted."""
    active: Mapped[bool] = mapped_column(server_default=sa.true())
    """False ends every session of the person at the next request."""
    fs_uniquifier: Mapped[str] = mapped_column(unique=True)
    """Changes with the password, so that older sign-ins end (Flask-Security)."""
    confirmed_at: Mapped[datetime | None]
    """When the address was verified by mail."""
    pending_email: Mapped[str | None]
    """The new address of a change that is not verified yet."""
    locale: Mapped[str] = mapped_column(server_default="en")
    time_zone: Mapped[str] = mapped_column(server_default="UTC")
    created_at: Mapped[datetime]
    erased_at: Mapped[datetime | None]
    """When they were erased: the row is a number under a pseudonym since."""
    swept_at: Mapped[datetime | None]
    """When it was done once more, for what requests under way at that moment wrote."""

    # What Flask-Login asks of a user; roles are grants and are read per request.
    is_authenticated = True
    is_anonymous = False

    @property
    def is_active(self) -> bool:
        return self.active

    def get_id(self) -> str:
        return self.fs_uniquifier


class UserSession(Model):
    """One signed-in browser; can be listed and revoked by its owner."""

    __tablename__ = "user_sessions"
    __table_args__ = (sa.Index("ix_user_sessions_user_id", "user_id"),)

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    """SHA-256 of the random token in the signed session cookie."""
    agent: Mapped[str]
    created_at: Mapped[datetime]
    """Real time: a moved demo clock must not sign people out."""
    last_seen_at: Mapped[datetime]
    fresh_at: Mapped[datetime]
    """When the password was last given in this session."""
    factor_at: Mapped[datetime | None]
    """When a second factor was last given in it, real time. None: never; then the roles that
    need one sleep."""
    awaits_factor: Mapped[bool] = mapped_column(server_default=sa.false())
    """The password was right and the second factor is still asked for: nobody is signed in."""
    challenge: Mapped[bytes | None]
    """What a passkey has to sign next; taken away by the first answer."""
    challenge_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class SecondFactor(Model):
    """What a person proves beside the password by codes, and how often guessing failed.

    One row a user, locked by whoever looks at a code: that makes each code work once and
    guesses come one after the other.
    """

    __tablename__ = "second_factors"
    __table_args__ = (
        sa.CheckConstraint(
            "totp_since IS NULL OR totp_secret IS NOT NULL", name="since_has_secret"
        ),
    )

    user_id: Mapped[int] = mapped_column(
        sa.ForeignKey("users.id"), primary_key=True, autoincrement=False
    )
    totp_secret: Mapped[str | None]
    """Encrypted under a key derived from KOPECK_SECRET, with that key's name beside it."""
    totp_since: Mapped[datetime | None]
    """When the app's first code was taken; None: it is being set up and counts for nothing."""
    totp_counter: Mapped[int | None]
    """The last 30-second step whose code was taken."""
    failures: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    """Wrong codes since `failing_since`."""
    failing_since: Mapped[datetime | None]
    """Real time."""


class Passkey(Model):
    """A device or key that signs challenges (WebAuthn)."""

    __tablename__ = "passkeys"
    __table_args__ = (sa.Index("ix_passkeys_user_id", "user_id"),)

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    credential_id: Mapped[bytes] = mapped_column(unique=True)
    public_key: Mapped[bytes]
    sign_count: Mapped[int]
    """As the device last said; one that goes back belongs to a copied key."""
    name: Mapped[str]
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class RecoveryCode(Model):
    """One of ten codes for whoever has lost app and passkeys; works once."""

    __tablename__ = "recovery_codes"
    __table_args__ = (sa.UniqueConstraint("user_id", "code_hash"),)

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    code_hash: Mapped[bytes]
    """HMAC under a key derived from KOPECK_SECRET: the table alone opens nothing."""
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class FormerAddress(Model):
    """An address that a person gave up, kept for some weeks: notices about money go there too."""

    __tablename__ = "former_addresses"
    __table_args__ = (
        sa.Index("ix_former_addresses_user_id", "user_id", "replaced_at"),
        sa.Index("ix_former_addresses_replaced_at", "replaced_at"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    email: Mapped[str]
    replaced_at: Mapped[datetime]


class Grant(Model):
    """A staff role, for one program or, for an owner, for all."""

    __tablename__ = "grants"
    __table_args__ = (
        sa.CheckConstraint(
            "role IN ('finance', 'curator', 'manager', 'analyst', 'owner')", name="role_known"
        ),
        sa.CheckConstraint("(role = 'owner') = (program_id IS NULL)", name="owner_has_all"),
        sa.Index(
            "uq_grants_live",
            "user_id",
            "program_id",
            "role",
            unique=True,
            postgresql_where=sa.text("revoked_at IS NULL"),
            postgresql_nulls_not_distinct=True,
        ),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    program_id: Mapped[int | None] = mapped_column(sa.ForeignKey("programs.id"))
    role: Mapped[str]
    granted_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    granted_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class Invitation(Model):
    """A staff member asked to join; the link is in a mail, its hash here."""

    __tablename__ = "invitations"

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    email: Mapped[str]
    role: Mapped[str]
    program_id: Mapped[int | None] = mapped_column(sa.ForeignKey("programs.id"))
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    invited_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    accepted_at: Mapped[datetime | None]


class Affiliate(Model):
    """A person who promotes; one per user, enrolled in any number of programs."""

    __tablename__ = "affiliates"

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"), unique=True)
    name: Mapped[str]
    """As shown to the program, a person's or a channel's name."""
    website: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[datetime]


class AffiliateGroup(Model):
    """A segment of a program's affiliates."""

    __tablename__ = "affiliate_groups"
    __table_args__ = (sa.UniqueConstraint("program_id", "name"),)

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    name: Mapped[str]


class Enrollment(Model):
    """One affiliate in one program: application, decision, recruiter, way of being paid."""

    __tablename__ = "enrollments"
    __table_args__ = (
        sa.UniqueConstraint("program_id", "affiliate_id"),
        sa.UniqueConstraint("program_id", "id"),
        sa.CheckConstraint(
            "status IN ('applied', 'active', 'rejected', 'suspended', 'closed')",
            name="status_known",
        ),
        sa.CheckConstraint("recruiter_id <> id", name="not_own_recruiter"),
        sa.ForeignKeyConstraint(
            ["program_id", "recruiter_id"],
            ["enrollments.program_id", "enrollments.id"],
            name="fk_enrollments_recruiter_in_program",
        ),
        sa.Index("ix_enrollments_affiliate_id", "affiliate_id"),
        sa.Index("ix_enrollments_recruiter_id", "recruiter_id"),
        sa.Index("ix_enrollments_group_id", "group_id"),
        sa.Index(
            "ix_enrollments_closes_at",
            "closes_at",
            postgresql_where=sa.text("closes_at IS NOT NULL AND status <> 'closed'"),
        ),
        sa.Index(
            "uq_enrollments_shop_customer",
            "program_id",
            "shop_customer_id",
            unique=True,
            postgresql_where=sa.text("shop_customer_id IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    affiliate_id: Mapped[int] = mapped_column(sa.ForeignKey("affiliates.id"))
    status: Mapped[str]
    """applied → active or rejected; active ↔ suspended; closed after leaving."""
    group_id: Mapped[int | None] = mapped_column(sa.ForeignKey("affiliate_groups.id"))
    recruiter_id: Mapped[int | None]
    """Enrollment of whoever recruited this one; level 2 goes there. At most one, no cycle."""
    answers: Mapped[dict[str, Any]]
    """The application form as it was sent: how they promote, where, how many readers."""
    applied_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    decision_reason: Mapped[str | None]
    """Shown to the affiliate."""
    approved_at: Mapped[datetime | None]
    """When they were first let in. Rules of before are theirs without having been announced
    to them; later ones are announced."""
    closes_at: Mapped[datetime | None]
    """Set by declining new rules: an order placed then or later is not credited to them."""
    shop_customer_id: Mapped[str | None]
    """Under which id they are a customer of the program's shop, as a manager or the shop said:
    orders of this customer are their own purchases."""


class EnrollmentNote(Model):
    """What staff wrote down about an affiliate, for staff alone."""

    __tablename__ = "enrollment_notes"
    __table_args__ = (sa.Index("ix_enrollment_notes_enrollment_id", "enrollment_id"),)

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    enrollment_id: Mapped[int] = mapped_column(sa.ForeignKey("enrollments.id"))
    text: Mapped[str]
    written_by: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    written_at: Mapped[datetime]


class ApiKey(Model):
    """A key to the API of one program, a shop's or an affiliate's own. The secret is shown once
    and kept as a hash."""

    __tablename__ = "api_keys"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["program_id", "enrollment_id"], ["enrollments.program_id", "enrollments.id"]
        ),
        sa.Index(
            "ix_api_keys_enrollment_id",
            "enrollment_id",
            postgresql_where=sa.text("enrollment_id IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    enrollment_id: Mapped[int | None]
    """Whose own key it is: it reaches this affiliate alone. None: a shop's."""
    name: Mapped[str] = mapped_column(server_default="")
    prefix: Mapped[str] = mapped_column(unique=True)
    """The part of `kpk_<prefix>_<secret>` that finds the row."""
    secret_hash: Mapped[bytes]
    """SHA-256 of the secret: 32 random bytes need no slow hash."""
    scopes: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    created_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    """To the minute, so that a busy key is not a busy row."""
    revoked_at: Mapped[datetime | None]

    def has_ended(self, now: datetime) -> bool:
        """Whether it is refused: revoked, or run out. `now` is real time."""
        return self.revoked_at is not None or (
            self.expires_at is not None and self.expires_at <= now
        )
