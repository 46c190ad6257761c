"""Letters about money: each once, to whom it is about, with the account masked, and not late."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa
from approving import weekly
from flask import Flask
from money_world import NOW
from paying import Pay, at_once
from sqlalchemy.orm import Session

from affiliate.core.outbox import Mail
from affiliate.letters.models import Letter
from affiliate.letters.rules import CHOSEN_BY, Kind
from affiliate.people.models import Affiliate, User
from payouts.batches import money_letters
from payouts.batches.draft import open_periods, undrafted
from payouts.batches.money_letters import (
    ACCOUNT_WITHIN,
    OLD_AFTER,
    tell_of_accounts,
    tell_of_payouts,
)
from payouts.batches.payees import set_payee
from payouts.batches.reverse import reverse_item
from payouts.batches.review import mark_paid

MINUTE = timedelta(minutes=1)
IBAN = "Anna Lamp, DE89 3704 0044 0532 0130 00"
Tell = Callable[..., int]


@pytest.fixture
def tell(app: Flask, by_hand: Pay) -> Tell:
    """Run a sweep as a job would; how many letters."""
    return _telling(app, by_hand)


@pytest.fixture
def tell_by_stripe(app: Flask, by_stripe: Pay) -> Tell:
    return _telling(app, by_stripe)


def _telling(app: Flask, pay: Pay) -> Tell:
    def run(verb: Callable[..., int], *, after: timedelta = timedelta(), own: Session | None = None
            ) -> int:  # fmt: skip
        session = own or pay.session
        with app.app_context():
            written = verb(session, settings=pay.settings, now=NOW + after)
        session.commit()
        return written

    return run


def letters(pay: Pay, kind: Kind) -> list[Mail]:
    pay.session.rollback()
    query = sa.select(Mail).where(Mail.template == kind.template).order_by(Mail.id)
    return list(pay.session.scalars(query))


def paid(pay: Pay, name: str = "anna", amount: str = "5.00") -> int:
    """A withdrawal that finance approved and paid by hand; its item."""
    pay.world.affiliate(name)
    set_payee(
        pay.session, affiliate_id=pay.world.affiliate_id(name), rail=pay.world.rail,
        destination=IBAN, ready=True, by="test", now=NOW,
    )  # fmt: skip
    pay.session.commit()
    pay.world.available(name, amount)
    made = pay.approved(name, amount)
    mark_paid(
        pay.session, item_id=made.item_id, reference="PP-1", by_user_id=pay.finance,
        rails=pay.rails, now=NOW,
    )  # fmt: skip
    pay.session.commit()
    return made.item_id


def test_a_payout_that_is_paid_is_told_once_with_its_account_masked(
    by_hand: Pay, tell: Tell
) -> None:
    paid(by_hand)
    assert (tell(tell_of_payouts), tell(tell_of_payouts)) == (1, 0)
    (mail,) = letters(by_hand, Kind.MONEY_SENT)
    for text in (mail.text, mail.html):
        assert "Lamps has paid you 5.00\N{NO-BREAK SPACE}EUR" in text
        assert "three working days" in text
        assert "3704 0044" not in text and "Anna Lamp" not in text
        assert "To: …3000" in text
        assert "/account/money?program=" in text
    assert mail.scope == by_hand.world.program_id
    assert mail.unsubscribe_url is None


def test_letters_about_money_cannot_be_turned_off() -> None:
    for kind in (Kind.MONEY_SENT, Kind.PAYOUT_FAILED, Kind.MONEY_BACK, Kind.ACCOUNT_NEEDED):
        assert kind not in CHOSEN_BY


@pytest.mark.parametrize(("after", "written"), [(OLD_AFTER - MINUTE, 1), (OLD_AFTER, 0)])
def test_a_payout_of_long_ago_is_no_news(
    by_hand: Pay, tell: Tell, after: timedelta, written: int
) -> None:
    paid(by_hand)
    assert tell(tell_of_payouts, after=after) == written


def test_two_sweeps_at_once_write_one_letter(by_hand: Pay, tell: Tell) -> None:
    paid(by_hand)
    found = at_once(by_hand, *[lambda own: tell(tell_of_payouts, own=own)] * 3)
    assert sorted(found, key=str) == [0, 0, 1]
    assert len(letters(by_hand, Kind.MONEY_SENT)) == 1


def test_a_letter_that_is_not_committed_is_written_by_the_next_sweep(
    app: Flask, by_hand: Pay, tell: Tell
) -> None:
    paid(by_hand)
    with app.app_context():
        tell_of_payouts(by_hand.session, settings=by_hand.settings, now=NOW)
    by_hand.session.rollback()
    assert letters(by_hand, Kind.MONEY_SENT) == []
    assert tell(tell_of_payouts) == 1


def test_somebody_who_may_not_sign_in_any_more_is_not_written_to(by_hand: Pay, tell: Tell) -> None:
    paid(by_hand)
    by_hand.session.execute(
        sa.update(User).where(User.id == by_hand.world.users["anna"]).values(active=False)
    )
    assert tell(tell_of_payouts) == 0


def test_money_that_came_back_is_told_for_each_return(by_hand: Pay, tell: Tell) -> None:
    item_id = paid(by_hand)
    tell(tell_of_payouts)
    for number, amount in enumerate(("2.00", "3.00")):
        reverse_item(
            by_hand.session, item=by_hand.item(item_id), amount=by_hand.world.money(amount),
            reference=f"R{number}", reason="AC04", now=NOW,
        )  # fmt: skip
        by_hand.session.commit()
        assert (tell(tell_of_payouts), tell(tell_of_payouts)) == (1, 0)
    first, second = letters(by_hand, Kind.MONEY_BACK)
    assert "a part of a payout" in first.text and "2.00" in first.text
    assert "3.00" in second.text and "balance" in second.text


def test_a_refused_payout_says_that_the_money_is_back(by_stripe: Pay, tell_by_stripe: Tell) -> None:
    assert by_stripe.double is not None
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    destination = by_stripe.item(made.item_id).destination
    by_stripe.double.control("POST", "/accounts", {"id": destination, "closed": True})
    by_stripe.run(made.batch_id)
    assert (tell_by_stripe(tell_of_payouts), tell_by_stripe(tell_of_payouts)) == (1, 0)
    (mail,) = letters(by_stripe, Kind.PAYOUT_FAILED)
    assert "5.00 EUR" in mail.subject
    assert destination not in mail.text and destination not in mail.html
    assert "back in your balance" in mail.text


def test_an_account_that_became_unready_while_money_leaves_is_told_once(
    by_stripe: Pay, tell_by_stripe: Tell
) -> None:
    assert by_stripe.double is not None
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    destination = by_stripe.item(made.item_id).destination
    by_stripe.double.control("POST", "/accounts", {"id": destination, "transfers": "inactive"})
    by_stripe.run(made.batch_id)
    assert by_stripe.item(made.item_id).reason == "payee_not_ready"
    assert (tell_by_stripe(tell_of_accounts), tell_by_stripe(tell_of_accounts)) == (1, 0)
    (mail,) = letters(by_stripe, Kind.ACCOUNT_NEEDED)
    assert "cannot receive money yet" in mail.text
    assert "/account/money" in mail.text


def test_on_a_payout_day_whoever_lacks_an_account_is_told_once_a_month(
    by_hand: Pay, tell: Tell
) -> None:
    """Also in a program in which nobody could be paid, so that there is no batch at all."""
    by_hand.world.affiliate("anna")
    by_hand.world.available("anna", "5.00")
    assert tell(tell_of_accounts) == 0, "no payout day has come yet"
    with pytest.raises(IndexError):
        weekly(by_hand)
    assert undrafted(by_hand.session) == []
    by_hand.session.commit()
    assert (tell(tell_of_accounts), tell(tell_of_accounts)) == (1, 0)
    (mail,) = letters(by_hand, Kind.ACCOUNT_NEEDED)
    assert "you have not named an account" in mail.text
    assert "5.00 EUR" in mail.subject
    about = by_hand.session.scalars(sa.select(Letter.about)).one()
    assert about == f"enrollment:{by_hand.world.enrollments['anna']}:2026-11"


def test_people_who_cannot_be_written_to_do_not_stand_before_others(
    by_hand: Pay, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(money_letters, "LETTERS_MAX", 1)
    for name in ("anna", "boris"):
        by_hand.world.affiliate(name)
        by_hand.world.available(name, "5.00")
    anna = sa.select(Affiliate.user_id).where(Affiliate.id == by_hand.world.affiliate_id("anna"))
    by_hand.session.get_one(User, by_hand.session.scalar(anna)).active = False
    with pytest.raises(IndexError):
        weekly(by_hand)
    by_hand.session.commit()
    assert tell(tell_of_accounts) == 1


def test_whoever_has_named_an_account_meanwhile_is_not_asked_for_one(
    by_hand: Pay, tell: Tell
) -> None:
    by_hand.affiliate("anna", "5.00")
    weekly(by_hand)
    assert tell(tell_of_accounts) == 0


def test_a_payout_day_of_some_days_ago_asks_for_no_account(by_hand: Pay, tell: Tell) -> None:
    by_hand.world.affiliate("anna")
    by_hand.world.available("anna", "5.00")
    open_periods(by_hand.session, now=NOW)
    with pytest.raises(IndexError):
        weekly(by_hand)
    by_hand.session.commit()
    assert tell(tell_of_accounts, after=ACCOUNT_WITHIN) == 0
    assert tell(tell_of_accounts, after=ACCOUNT_WITHIN - MINUTE) == 1
