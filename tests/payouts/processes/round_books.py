"""What a round is about: programs of its own, people with balances, batches as in real life."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction

import requests
import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.db import committed
from affiliate.core.errors import Conflict
from affiliate.core.ids import public_id
from affiliate.core.money import Money
from affiliate.people.models import Affiliate, Enrollment, Grant, User
from affiliate.programs.models import RuleVersion
from affiliate.programs.programs import create_program
from affiliate.programs.terms import CommissionTerms, Percent
from payouts.batches.draft import draft_weekly, open_periods, undrafted
from payouts.batches.payees import set_payee
from payouts.batches.withdraw import withdraw
from payouts.commissions.earn import earn
from payouts.commissions.release import release_due
from payouts.commissions.rules import Credit, Sale
from tests.browser.people import sign_in_of
from tests.builders import terms_document
from tests.payouts.processes.playhouse import House
from tests.story.visitor import Visitor, code_of

CURRENCY = "EUR"
BATCH = "bat"
BEFORE = timedelta(days=8)
"""So old are a round's programs: one payout day of theirs has come, and nobody was paid."""
ALL = CommissionTerms(level_1=Percent(1_000_000), level_2=None)
FINANCE = "finance"
AGAIN_S = 1.0
HELPLESS_S = 150.0


@dataclass(frozen=True)
class Size:
    """How much a round has to pay."""

    programs: int = 4
    weekly: int = 6
    """Affiliates in the weekly batch of each program."""
    withdrawals: int = 7
    """Affiliates of each program who ask for their money themselves, a batch each."""
    asks_s: float = 50.0
    """Within it they ask."""


@dataclass
class Books:
    """A round's programs, and who is to be paid by them."""

    house: House
    name: str
    programs: list[int] = field(default_factory=list)
    asking: list[int] = field(default_factory=list)
    """Enrollments that will withdraw."""

    def frozen(self) -> list[int]:
        """Batches that wait for finance."""
        return self._batches("status = 'frozen'")

    def open_items(self) -> list[int]:
        """Items that are neither at their end nor with a person, and those of no approved batch."""
        query = """
            SELECT i.id FROM payout_items i JOIN payout_batches b ON b.id = i.batch_id
            WHERE b.program_id = ANY(:programs)
              AND i.status NOT IN ('paid', 'failed', 'cancelled', 'needs_review') ORDER BY i.id
        """
        return [row.id for row in self.house.rows(query, programs=self.programs)]

    def open_batches(self) -> list[int]:
        """Batches that are not done although no item of theirs waits for anything."""
        return self._batches(
            "status NOT IN ('done', 'cancelled') AND NOT EXISTS (SELECT FROM payout_items i"
            " WHERE i.batch_id = b.id AND i.status NOT IN ('paid', 'failed', 'cancelled'))"
        )

    def weekly_items(self) -> list[int]:
        query = """
            SELECT i.id FROM payout_items i JOIN payout_batches b ON b.id = i.batch_id
            WHERE b.program_id = ANY(:programs) AND b.kind = 'weekly' ORDER BY i.id
        """
        return [row.id for row in self.house.rows(query, programs=self.programs)]

    def _batches(self, condition: str) -> list[int]:
        query = f"SELECT id FROM payout_batches b WHERE program_id = ANY(:programs) AND {condition}"
        return [row.id for row in self.house.rows(query, programs=self.programs)]


def prepare(house: House, name: str, size: Size, chance: random.Random) -> Books:
    """Programs, people, commissions; the weekly batches are drafted, by us or by the scheduler."""
    books = Books(house, name)
    with house.sessions.begin() as session:
        weekly = [_program(house, session, books, number, size) for number in range(size.programs)]
        for program_id, enrolled in zip(books.programs, weekly, strict=True):
            _earn(house, session, name, program_id, enrolled, chance)
    with house.sessions() as session:
        open_periods(session, now=house.now(session))
        session.commit()
        for period_id in undrafted(session):
            draft_weekly(session, period_id=period_id, rails=house.rails, now=house.now(session))
            session.commit()
    deadline = time.monotonic() + HELPLESS_S
    while len(books.weekly_items()) < size.programs * size.weekly:
        assert time.monotonic() < deadline, "the weekly batches were not drafted"
        time.sleep(AGAIN_S)
    with house.sessions.begin() as session:
        for program_id in books.programs:
            enrolled = _people(house, session, f"{name}-{program_id}", program_id, size.withdrawals)
            _earn(house, session, f"{name}-asks", program_id, enrolled, chance)
            books.asking += enrolled
    chance.shuffle(books.asking)
    return books


def _program(house: House, session: Session, books: Books, number: int, size: Size) -> list[int]:
    now = house.now(session)
    program = create_program(
        session, slug=f"round-{books.name}-{number}", name=f"Round {books.name}",
        currency=CURRENCY, landing_url="https://shop.example/", allowed_sites=["shop.example"],
        terms_document=terms_document(), by=None, now=now - BEFORE, rail="stripe",
    )  # fmt: skip
    books.programs.append(program.id)
    finance = session.scalars(sa.select(User.id).where(User.email.like(f"{FINANCE}%@demo.example")))
    for user_id in finance:
        session.add(Grant(user_id=user_id, program_id=program.id, role="finance", granted_at=now))
    return _people(house, session, f"{books.name}-{number}-weekly", program.id, size.weekly)


def _people(house: House, session: Session, name: str, program_id: int, count: int) -> list[int]:
    """Affiliates whose accounts at the provider are ready; their enrollments."""
    then = house.now(session) - BEFORE
    enrolled = []
    for number in range(count):
        own = f"{name}-{number}"
        user = User(email=f"{own}@blog.example", fs_uniquifier=own, created_at=then)
        session.add(user)
        session.flush()
        affiliate = Affiliate(user_id=user.id, name=own, created_at=then)
        session.add(affiliate)
        session.flush()
        enrollment = Enrollment(
            program_id=program_id, affiliate_id=affiliate.id, status="active", answers={},
            applied_at=then,
        )  # fmt: skip
        session.add(enrollment)
        session.flush()
        account = f"acct_{own.replace('-', '')}"
        house.control("POST", "/accounts", {"id": account})
        set_payee(
            session, affiliate_id=affiliate.id, rail="stripe", destination=account, ready=True,
            by="campaign", now=then,
        )  # fmt: skip
        enrolled.append(enrollment.id)
    return enrolled


def _earn(
    house: House, session: Session, name: str, program_id: int, enrolled: list[int],
    chance: random.Random,
) -> None:  # fmt: skip
    """A commission each, of some euros, cents and parts of a cent; released."""
    now = house.now(session)
    version = session.scalars(
        sa.select(RuleVersion.id).where(RuleVersion.program_id == program_id)
    ).one()
    for enrollment_id in enrolled:
        sale = Sale(
            program_id=program_id,
            reference=f"campaign:{name}:{enrollment_id}",
            decision=1,
            net=Money(chance.randrange(1_000_000, 30_000_000), CURRENCY),
            credits=(Credit(enrollment_id, Fraction(1), ALL, version, None),),
            placed_at=now - BEFORE,
            hold=timedelta(days=7),
        )
        earn(session, sale=sale, waits_for=None, now=now - BEFORE)
    session.flush()
    release_due(session, now=now)


class Desk(threading.Thread):
    """Affiliates who ask for their money and the finance user who approves all there is.

    Both come back until it is done: what was answered must be so, what was not is asked again.
    """

    def __init__(self, books: Books, size: Size, seed: int) -> None:
        super().__init__(name="desk", daemon=True)
        self.books, self.size, self.chance = books, size, random.Random(seed)
        self.acknowledged: set[int] = set()
        """Batches whose approval was answered with a yes."""
        self.asked: set[int] = set()
        """Enrollments whose withdrawal was committed."""
        self.failed: BaseException | None = None
        self.closed = threading.Event()
        """Nobody asks any more; what was asked for is still approved."""
        self.finance = Visitor()

    def enter(self) -> None:
        """Sign in; a code that was used for the last one has to pass first."""
        sign_in = sign_in_of(FINANCE, self.books.house.running.sign_ins())
        deadline = time.monotonic() + HELPLESS_S
        while True:
            self.finance = Visitor()
            try:
                self.finance.sign_in(self.books.house.url, sign_in)
            except (AssertionError, requests.RequestException):
                if time.monotonic() > deadline:
                    raise
                time.sleep(5 * AGAIN_S)
            else:
                return

    def run(self) -> None:
        try:
            self._approve_all()
            pause_s = self.size.asks_s / max(1, len(self.books.asking))
            for enrollment_id in self.books.asking:
                if self.closed.wait(self.chance.uniform(0, 2 * pause_s)):
                    break
                self._ask(enrollment_id)
                self._approve_all()
            deadline = time.monotonic() + HELPLESS_S
            while self.books.frozen():
                assert time.monotonic() < deadline, f"not approved: {self.books.frozen()}"
                self._approve_all()
        except BaseException as error:  # noqa: BLE001 -- told by the round
            self.failed = error

    def _ask(self, enrollment_id: int) -> None:
        house = self.books.house

        def verb(session: Session) -> None:
            withdraw(
                session, enrollment_id=enrollment_id, amount=None, requested_by=None,
                by="campaign", rails=house.rails, now=house.now(session),
            )  # fmt: skip

        deadline = time.monotonic() + HELPLESS_S
        while True:
            try:
                committed(house.sessions, verb)
            except Conflict:
                break  # The COMMIT whose answer was lost had been one.
            except sa.exc.DBAPIError:
                assert time.monotonic() < deadline, "PostgreSQL did not come back"
                time.sleep(AGAIN_S)
            else:
                break
        self.asked.add(enrollment_id)

    def _approve_all(self) -> None:
        for batch_id in self.books.frozen():
            if not self._approve(batch_id):
                time.sleep(AGAIN_S)

    def _approve(self, batch_id: int) -> bool:
        """On the batch's own page, as it was seen there; the code where it is asked for."""
        base = self.books.house.url
        page = f"{base}/finance/batches/{public_id(BATCH, batch_id)}"
        try:
            seen = self.finance.get(page)
            code = {"code": code_of(self.finance, base, FINANCE)} if 'name="code"' in seen else {}
            answer = self.finance.send(page, f"{page}/approval", **code)
        except (AssertionError, requests.RequestException):
            return False  # The web died, or somebody's yes has come through unanswered.
        if answer.status_code == 303:
            self.acknowledged.add(batch_id)
        return answer.status_code == 303
