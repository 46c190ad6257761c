"""Every letter that goes out: to whom, when, and what one looks like with made-up values.

For the manager's page. A test holds that no template of a letter is missing here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import SimpleNamespace
from typing import Any, Final

from flask_babel import force_locale, gettext
from flask_babel import lazy_gettext as _l

from affiliate.core import outbox
from affiliate.core.config import Settings
from affiliate.core.money import MICROS, Money
from affiliate.core.outbox import Rendered
from affiliate.letters.rules import CHOSEN_BY, ONE_CLICK, Kind
from affiliate.letters.write import choices_url
from affiliate.programs.models import Program
from payouts.batches.periods import month_at
from tracker.integration.words import where_it_broke
from tracker.letters.rules import Best, Told, Week, as_html

Sample = Callable[["Frame"], dict[str, Any]]


class Audience(StrEnum):
    """Who gets it."""

    AFFILIATES = "affiliates"
    FINANCE = "finance"
    MANAGERS = "managers"
    EVERYBODY = "everybody"


@dataclass(frozen=True, slots=True)
class Frame:
    """What samples are made of."""

    program: Program
    settings: Settings
    now: datetime

    def url(self, path: str) -> str:
        return self.settings.public_url + path


@dataclass(frozen=True, slots=True)
class Entry:
    """A letter as managers are shown it."""

    template: str
    audience: Audience
    title: Any
    when: Any
    sample: Sample
    kind: Kind | None = None

    @property
    def slug(self) -> str:
        """In addresses."""
        return self.template.replace("/", "-")

    @property
    def optional(self) -> bool:
        """Whether its reader can turn it off."""
        return self.kind in CHOSEN_BY


def render(entry: Entry, frame: Frame, *, language: str) -> Rendered:
    """The letter with its sample, in a language."""
    choice = CHOSEN_BY.get(entry.kind) if entry.kind else None
    with force_locale(language):
        values = entry.sample(frame)
    shared = {
        "name": "Anna",
        "program": frame.program,
        "public_url": frame.settings.public_url,
        "choices_url": choices_url(frame.settings, frame.program, choice),
        "unsubscribe_url": frame.url("/unsubscribe/…") if choice in ONE_CLICK else None,
    }
    return outbox.render(entry.template, locale=language, **{**shared, **values})


def _whole(units: int, frame: Frame) -> Money:
    return Money(units * MICROS, frame.program.currency)


def _none(frame: Frame) -> dict[str, Any]:  # noqa: ARG001 -- the shape of every sample
    return {}


def _taken_over(frame: Frame) -> dict[str, Any]:
    return {
        "new_here": True,
        "reset_url": frame.url("/forgot-password"),
        "sign_in_url": frame.url("/sign-in"),
    }


def _reason(frame: Frame) -> dict[str, Any]:  # noqa: ARG001
    return {"reason": gettext("The site that you named cannot be opened.")}


def _announced(frame: Frame) -> dict[str, Any]:
    at = frame.now + timedelta(days=frame.program.notice_days)
    change = SimpleNamespace(
        question=gettext("What does an order earn?"),
        before=gettext("A tenth of the net."),
        after=gettext("An eighth of the net."),
    )
    return {
        "version": SimpleNamespace(number=2, effective_at=at, urgent_reason=None),
        "ahead": SimpleNamespace(changes=(change,), agreed=False, keeps=False, until=None),
        "closes_at": at + timedelta(days=frame.program.notice_days),
    }


def _statement(frame: Frame) -> dict[str, Any]:
    running = month_at(frame.now.date(), frame.program.time_zone)
    return {
        "period": month_at(running.first - timedelta(days=1), frame.program.time_zone),
        "opening": _whole(100, frame), "earned": _whole(250, frame),
        "taken_back": -_whole(20, frame), "paid": -_whole(100, frame),
        "closing": _whole(230, frame), "head": f"17:{'0123456789abcdef' * 4}",
    }  # fmt: skip


def _corrected(frame: Frame) -> dict[str, Any]:
    return {
        "amount": _whole(12, frame), "code": "", "note": "2026-17",
        "reason": lambda _code: gettext("A commission was missed"),
    }  # fmt: skip


def _claim(status: str = "open") -> Sample:
    def sample(frame: Frame) -> dict[str, Any]:
        return {
            "claim": SimpleNamespace(
                kind="missing_order", order_id="A-10017", day=frame.now.date(), status=status,
                reason=gettext("The order was credited to another click."),
                due_at=frame.now + timedelta(days=5),
            ),
            "text": gettext("On which page did the buyer find your link?"),
            "url": frame.url("/account/orders/claims/clm_…"),
            "count": 3, "first_due_at": frame.now + timedelta(hours=20),
        }  # fmt: skip

    return sample


def _payee(frame: Frame) -> dict[str, Any]:
    return {
        "at": frame.now, "pays_from": frame.now + timedelta(hours=72), "former": False,
        "destination": "•••• 3000", "bank": "•••• 3000",
        "stop_url": frame.url("/account/disowned/…"),
    }  # fmt: skip


def _person(path: str, **more: Any) -> Sample:
    def sample(frame: Frame) -> dict[str, Any]:
        pages = {"sign_in_url": frame.url("/sign-in"), "reset_url": frame.url("/forgot-password")}
        return {"url": frame.url(path), **pages, **more}

    return sample


def _invitation(frame: Frame) -> dict[str, Any]:
    return {
        "inviter": "Boris", "role": "finance", "days": 7, "program": frame.program.name,
        "url": frame.url("/invitations/…"),
    }  # fmt: skip


def _first_click(frame: Frame) -> dict[str, Any]:
    return {
        "clicks": 1, "link": SimpleNamespace(name="Blog", code="k7Qk2"),
        "url": frame.url(f"/account/clicks?program={frame.program.slug}"),
    }  # fmt: skip


def _first_sale(frame: Frame) -> dict[str, Any]:
    return {
        "order_id": "A-10017", "placed_at": frame.now, "net": _whole(100, frame),
        "amount": _whole(10, frame), "available_at": frame.now + timedelta(days=14),
        "url": frame.url("/account/orders/ord_…"),
    }  # fmt: skip


def _payout(frame: Frame) -> dict[str, Any]:
    return {
        "amount": _whole(230, frame), "destination": "•••• 3000", "rail": frame.program.rail,
        "whole": True, "named": False,
        "url": frame.url(f"/account/money?program={frame.program.slug}"),
    }  # fmt: skip


def _digest(frame: Frame) -> dict[str, Any]:
    monday = frame.now.date() - timedelta(days=frame.now.weekday() + 7)
    return {
        "week": Week(monday, frame.now, frame.now),
        "told": Told(128, 5, _whole(250, frame)), "before": Told(97, 3, _whole(180, frame)),
        "available": _whole(230, frame), "pending": _whole(120, frame),
        "news": SimpleNamespace(materials=2, rules_from=frame.now + timedelta(days=7)),
        "url": frame.url(f"/account/statistics?program={frame.program.slug}"),
    }  # fmt: skip


def _newsletter(frame: Frame) -> dict[str, Any]:
    body = gettext("Spring is here, and so are new banners.\n\nThe sale runs until the end of "
                   "the month: https://shop.example/sale")  # fmt: skip
    month = month_at(frame.now.date(), frame.program.time_zone).first - timedelta(days=1)
    return {
        "title": gettext("News of the month"), "body": body, "body_html": as_html(body),
        "best": (Best("Anna", _whole(41_000, frame)), Best("", _whole(38_000, frame))),
        "materials": (SimpleNamespace(row=SimpleNamespace(name="728 × 90", ends_on=None)),),
        "month": month.replace(day=1),
        "promo_url": frame.url(f"/account/promo?program={frame.program.slug}"),
    }  # fmt: skip


def _batch(frame: Frame) -> dict[str, Any]:
    return {
        "number": 17, "total": _whole(41_230, frame), "count": 128, "since": frame.now,
        "url": frame.url("/finance/batches/bat_…"),
    }  # fmt: skip


def _webhook(frame: Frame) -> dict[str, Any]:
    return {
        "address": "https://shop.example/kopeck", "gone": False,
        "url": frame.url("/manage/webhooks"),
    }  # fmt: skip


def _withdrawals(frame: Frame) -> dict[str, Any]:
    due = frame.now + timedelta(hours=20)
    asked = SimpleNamespace(name="Anna", amount=_whole(230, frame), deadline_at=due)
    return {"count": 1, "listed": (asked,), "url": frame.url("/finance/withdrawals")}


def _canary(frame: Frame) -> dict[str, Any]:
    return {
        "since": frame.now - timedelta(minutes=10), "step": "api", "problem": "wrong_answer",
        "detail": "401 key_refused", "broke": where_it_broke,
        "url": frame.url(f"/manage/integration?program={frame.program.slug}"),
    }  # fmt: skip


def _of_kind(kind: Kind, audience: Audience, title: Any, when: Any, sample: Sample) -> Entry:
    return Entry(kind.template, audience, title, when, sample, kind)


_TO_AFFILIATES: Final = Audience.AFFILIATES
ENTRIES: Final = (
    Entry("application_received", _TO_AFFILIATES, _l("Application received"),
          _l("When somebody applies."), _none),
    Entry("application_approved", _TO_AFFILIATES, _l("Application approved"),
          _l("When they are let in."), _none),
    Entry("application_rejected", _TO_AFFILIATES, _l("Application turned down"),
          _l("With the reason that was given."), _reason),
    _of_kind(Kind.FIRST_CLICK, _TO_AFFILIATES, _l("First click"),
             _l("Once, within minutes of the first click that is counted."), _first_click),
    _of_kind(Kind.FIRST_SALE, _TO_AFFILIATES, _l("First sale"),
             _l("Once, when the first order earns something and waits for nothing but time."),
             _first_sale),
    _of_kind(Kind.DIGEST, _TO_AFFILIATES, _l("Weekly digest"),
             _l("Mondays at 9, by the program's clock, when one of the last two weeks brought "
                "anything."), _digest),
    _of_kind(Kind.NEWSLETTER, _TO_AFFILIATES, _l("Newsletter"),
             _l("At 10 on the day that you choose, at most once a month."), _newsletter),
    _of_kind(Kind.MONEY_SENT, _TO_AFFILIATES, _l("Money sent"),
             _l("When a payout is paid."), _payout),
    _of_kind(Kind.PAYOUT_FAILED, _TO_AFFILIATES, _l("Payout refused"),
             _l("When the bank or the provider says no; the money is back in the balance."),
             _payout),
    _of_kind(Kind.MONEY_BACK, _TO_AFFILIATES, _l("Payout came back"),
             _l("When money that was paid is returned."), _payout),
    _of_kind(Kind.ACCOUNT_NEEDED, _TO_AFFILIATES, _l("Account needed"),
             _l("On a payout day, when money is due that has nowhere to go; at most once a "
                "month."), _payout),
    Entry("people/taken_over", _TO_AFFILIATES, _l("The program has moved"),
          _l("When you bring affiliates along from the program before and ask for it."),
          _taken_over),
    Entry("statement", _TO_AFFILIATES, _l("Monthly statement"),
          _l("A day after the month's end, to whoever had something booked in it."), _statement),
    Entry("balance_corrected", _TO_AFFILIATES, _l("Correction"),
          _l("When a correction of a balance is confirmed."), _corrected),
    Entry("rules_announced", _TO_AFFILIATES, _l("New rules"),
          _l("When a version is announced."), _announced),
    Entry("rules_reminder", _TO_AFFILIATES, _l("Reminder of new rules"),
          _l("Three days before they take effect, to whoever has not answered."), _announced),
    Entry("rules_declined", _TO_AFFILIATES, _l("Rules declined"),
          _l("When somebody declines new rules."), _announced),
    Entry("enrollment_suspended", _TO_AFFILIATES, _l("Membership suspended"),
          _l("With the reason that was given."), _reason),
    Entry("enrollment_reinstated", _TO_AFFILIATES, _l("Membership goes on"),
          _l("When a suspension is lifted."), _none),
    Entry("enrollment_closed", _TO_AFFILIATES, _l("Membership ended"),
          _l("When the notice of somebody who declined new rules is over."), _none),
    Entry("claims/opened", _TO_AFFILIATES, _l("Claim received"),
          _l("When somebody claims an order or objects."), _claim()),
    Entry("claims/asked", _TO_AFFILIATES, _l("Question about a claim"),
          _l("When you ask back."), _claim()),
    Entry("claims/decided", _TO_AFFILIATES, _l("Claim answered"),
          _l("When you decide, or the claim has solved itself."), _claim("declined")),
    Entry("payee_changed", _TO_AFFILIATES, _l("Another payout account"),
          _l("At once, also to the address of before; its link stops payouts."), _payee),
    Entry("payee_bank_changed", _TO_AFFILIATES, _l("Another bank behind the account"),
          _l("At once, also to the address of before; its link stops payouts."), _payee),
    Entry("claims/due_soon", Audience.MANAGERS, _l("Claims are due"),
          _l("A day before a claim has to be answered."), _claim()),
    Entry("integration/canary_broken", Audience.MANAGERS, _l("The way of orders is broken"),
          _l("When the canary has failed twice in a row."), _canary),
    Entry("integration/canary_well", Audience.MANAGERS, _l("The way of orders works again"),
          _l("When the canary comes through after that."), _canary),
    Entry("webhook_disabled", Audience.MANAGERS, _l("A webhook is switched off"),
          _l("When an address has only failed for five days, or says that it is gone; of a "
             "postback, to its affiliate."), _webhook),
    _of_kind(Kind.BATCH_WAITING, Audience.FINANCE, _l("Batch waits"),
             _l("When a weekly batch is drafted."), _batch),
    _of_kind(Kind.BATCH_STILL_WAITING, Audience.FINANCE, _l("Batch still waits"),
             _l("A day later, if nobody has approved it."), _batch),
    _of_kind(Kind.WITHDRAWALS_WAITING, Audience.FINANCE, _l("Withdrawals wait"),
             _l("When somebody asks to be paid and no rule approves it."), _withdrawals),
    _of_kind(Kind.WITHDRAWALS_DUE, Audience.FINANCE, _l("Withdrawals are due"),
             _l("Four hours before the deadline."), _withdrawals),
    Entry("people/verify_address", Audience.EVERYBODY, _l("Verify the address"),
          _l("After signing up."), _person("/verify/…", days=3)),
    Entry("people/already_registered", Audience.EVERYBODY, _l("Has an account already"),
          _l("When somebody signs up with a known address."), _person("")),
    Entry("people/reset_password", Audience.EVERYBODY, _l("New password"),
          _l("When somebody asks for one."), _person("/reset-password/…", minutes=60)),
    Entry("people/password_changed", Audience.EVERYBODY, _l("Password changed"),
          _l("At once."), _person("")),
    Entry("people/change_address", Audience.EVERYBODY, _l("New address"),
          _l("To the new address, to be confirmed."), _person("/profile/email/…", minutes=60)),
    Entry("people/address_changed", Audience.EVERYBODY, _l("Address changed"),
          _l("To the old address."), _none),
    Entry("people/second_factor", Audience.EVERYBODY, _l("Second factor"),
          _l("When one is added, removed, used in another way, or guessed at."),
          _person("/profile/second-factor", what="passkey_added")),
    Entry("people/invitation", Audience.EVERYBODY, _l("Invitation of staff"),
          _l("When you invite somebody."),
          _invitation),
)  # fmt: skip
"""In the order of the page."""
BY_SLUG: Final = {entry.slug: entry for entry in ENTRIES}
