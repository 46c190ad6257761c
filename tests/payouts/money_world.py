"""A program, its affiliates and sales, as the money sees them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import MICROS, Money
from affiliate.people.models import Affiliate, Enrollment, Grant, User
from affiliate.programs.terms import CommissionTerms, LevelTwo, Of, Percent
from payouts.commissions.earn import earn
from payouts.commissions.release import release_due
from payouts.commissions.rules import Credit, Sale

NOW = datetime(2026, 11, 21, 7, 15, tzinfo=UTC)
TERMS = CommissionTerms(level_1=Percent(100_000), level_2=LevelTwo(Of.SALE, 20_000))
HOLD = timedelta(days=14)

_numbers = itertools.count(1)


@dataclass
class World:
    """One program and whoever was made in it; every helper commits."""

    session: Session
    program_id: int
    rule_version_id: int
    currency: str
    rail: str
    enrollments: dict[str, int] = field(default_factory=dict)
    users: dict[str, int] = field(default_factory=dict)

    def user(self, name: str, *, role: str | None = None) -> int:
        user = User(
            email=f"{name}{next(_numbers)}@example.com",
            fs_uniquifier=f"{name}-{next(_numbers)}",
            created_at=NOW,
        )
        self.session.add(user)
        self.session.flush()
        if role:
            program = None if role == "owner" else self.program_id
            self.session.add(Grant(user_id=user.id, program_id=program, role=role, granted_at=NOW))
        self.session.commit()
        self.users[name] = user.id
        return user.id

    def affiliate(self, name: str, *, recruiter: str | None = None) -> int:
        user_id = self.user(name)
        affiliate = Affiliate(user_id=user_id, name=name, created_at=NOW)
        self.session.add(affiliate)
        self.session.flush()
        enrollment = Enrollment(
            program_id=self.program_id,
            affiliate_id=affiliate.id,
            status="active",
            recruiter_id=self.enrollments[recruiter] if recruiter else None,
            answers={},
            applied_at=NOW,
        )
        self.session.add(enrollment)
        self.session.commit()
        self.enrollments[name] = enrollment.id
        return enrollment.id

    def affiliate_id(self, name: str) -> int:
        found = self.session.scalar(
            sa.select(Enrollment.affiliate_id).where(Enrollment.id == self.enrollments[name])
        )
        assert found is not None
        return found

    def money(self, text: str) -> Money:
        return Money(int(Decimal(text) * MICROS), self.currency)

    def sale(
        self,
        name: str,
        net: str,
        *,
        terms: CommissionTerms = TERMS,
        reference: str | None = None,
        decision: int = 1,
        placed_at: datetime = NOW,
    ) -> Sale:
        enrollment_id = self.enrollments[name]
        recruiter_id = self.session.scalar(
            sa.select(Enrollment.recruiter_id).where(Enrollment.id == enrollment_id)
        )
        return Sale(
            program_id=self.program_id,
            reference=reference or f"sale:{next(_numbers)}",
            decision=decision,
            net=self.money(net),
            credits=(
                Credit(enrollment_id, Fraction(1), terms, self.rule_version_id, recruiter_id),
            ),
            placed_at=placed_at,
            hold=HOLD,
        )

    def available(self, name: str, amount: str) -> None:
        """Let a commission of exactly this amount be earned and released."""
        whole = CommissionTerms(level_1=Percent(1_000_000), level_2=None)
        sale = self.sale(name, amount, terms=whole, placed_at=NOW - HOLD)
        earn(self.session, sale=sale, waits_for=None, now=NOW)
        release_due(self.session, now=NOW)
        self.session.commit()
