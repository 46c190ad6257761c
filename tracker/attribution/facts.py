"""What attribution reads and what it answers, as values (pure).

Codes are stored in rows and shown by the API, so that none of them is ever renamed.
Rule: docs/rules.md, "Whose order it is".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from typing import Final, NamedTuple

from affiliate.programs.terms import Evidence
from tracker.clicks.rules import DropReason


class Kind(StrEnum):
    """What a candidate is: the evidence of `affiliate.programs.terms`, or a manager's word."""

    CLICK_TOKEN = "click_token"  # noqa: S105 -- a word, no secret
    VISITOR_CLICK = "visitor_click"
    COUPON = "coupon"
    BOUND_CUSTOMER = "bound_customer"
    CUSTOMER_EMAIL = "customer_email"
    ASSIGNMENT = "assignment"

    evidence: Evidence | None
    """The same in the words of the rules; None: no evidence but a person's word."""
    is_click: bool
    code: str

    def __init__(self, code: str) -> None:
        # Kept with the member: every order asks several times, and enums look up slowly.
        self.code = code
        self.evidence = Evidence(code) if code in set(Evidence) else None
        self.is_click = self.evidence in (Evidence.CLICK_TOKEN, Evidence.VISITOR_CLICK)


class Check(StrEnum):
    """What a candidate has to pass, in this order, and then what chooses among the rest."""

    SIGNATURE = "signature"
    PROGRAM = "program"
    EVIDENCE = "evidence"
    LINK = "link"
    COUPON = "coupon"
    BINDING = "binding"
    AFFILIATE = "affiliate"
    ORDER_OF_TIME = "order_of_time"
    WINDOW = "window"
    SOURCE = "source"
    SELF_PURCHASE = "self_purchase"
    EXISTING_CUSTOMER = "existing_customer"
    CLICK = "click"
    TIMING = "timing"
    ASSIGNMENT = "assignment"
    EVIDENCE_ORDER = "evidence_order"
    COUPON_AGAINST_CLICK = "coupon_against_click"
    MODEL = "model"


class Step(StrEnum):
    """What a check said."""

    PASSED = "passed"
    REMOVED = "removed"
    LOST = "lost"
    WON = "won"
    HELD = "held"
    """It is credited, and a person looks at it first."""


class Reason(StrEnum):
    """Why a candidate was removed, lost or held, and why nobody was credited."""

    NO_EVIDENCE = "no_evidence"
    PROGRAM_CLOSED = "program_closed"
    TOKEN_NOT_GENUINE = "token_not_genuine"  # noqa: S105 -- a word, no secret
    OTHER_PROGRAM = "other_program"
    TEST_LINK = "test_link"
    """It came by the test link, which is nobody's; a test order is told who would have earned."""
    EVIDENCE_NOT_COUNTED = "evidence_not_counted"
    """The rules of the program do not name this kind of evidence."""
    LINK_DISABLED = "link_disabled"
    COUPON_UNKNOWN = "coupon_unknown"
    COUPON_NOT_VALID = "coupon_not_valid"
    BINDING_OVER = "binding_over"
    NOT_YET_KNOWN = "not_yet_known"
    """The buyer was bound, or seen with this affiliate, only by this order or after it."""
    AFFILIATE_INACTIVE = "affiliate_inactive"
    CLICK_AFTER_ORDER = "click_after_order"
    OUTSIDE_WINDOW = "outside_window"
    EXCLUDED_SITE = "excluded_site"
    PAID_SEARCH = "paid_search"
    SELF_PURCHASE = "self_purchase"
    EXISTING_CUSTOMER = "existing_customer"
    NOT_A_VISIT = "not_a_visit"
    NOT_A_PERSON = "not_a_person"
    REVIEW_DECLINED = "review_declined"
    TIMING = "timing"
    """The class in which an order is told that came too soon after its click."""
    PERHAPS_OWN = "perhaps_own"
    """The buyer came out of a network in which the affiliate's account was open that day."""
    ASSIGNED = "assigned"
    """A manager said whose order it is."""
    EARLIER_EVIDENCE_WINS = "earlier_evidence_wins"
    LATER_CLICK_WINS = "later_click_wins"
    EARLIER_CLICK_WINS = "earlier_click_wins"
    NO_SHARE = "no_share"
    """The model leaves nothing for it."""
    CLICK_WINS = "click_wins"
    COUPON_WINS = "coupon_wins"


CLASS_OF_DROP: Final = {
    DropReason.LINK_DISABLED: Reason.LINK_DISABLED,
    DropReason.AFFILIATE_INACTIVE: Reason.AFFILIATE_INACTIVE,
    DropReason.PROGRAM_CLOSED: Reason.PROGRAM_CLOSED,
    DropReason.HEAD_REQUEST: Reason.NOT_A_VISIT,
    DropReason.PREFETCH: Reason.NOT_A_VISIT,
    DropReason.FRAMED: Reason.NOT_A_VISIT,
    DropReason.SUBRESOURCE: Reason.NOT_A_VISIT,
    DropReason.EMPTY_AGENT: Reason.NOT_A_PERSON,
    DropReason.LINK_PREVIEW: Reason.NOT_A_PERSON,
    DropReason.BOT: Reason.NOT_A_PERSON,
    DropReason.FLOOD: Reason.REVIEW_DECLINED,
}
"""What people are told of a filter: its class, not how to get around it."""


class ReviewReason(StrEnum):
    """Why a person has to look at a credited order before it is paid."""

    FLOOD = "flood"
    """Its click came with more of one address or device than people click."""
    TOO_SOON = "too_soon"
    """Its click lies nearer to the order than the rules allow for."""
    PERHAPS_OWN = "perhaps_own"
    """The buyer came out of the affiliate's network, and the rules refuse own purchases."""
    CONTESTED = "contested"
    """Two browsers said with the order's total that they were the buyer's, with other clicks."""


class BuyerBy(StrEnum):
    """By what the buyer is known to be the affiliate."""

    CUSTOMER_ID = "customer_id"
    EMAIL = "email"
    ADDRESS = "address"
    DEVICE = "device"
    PAYMENT_ACCOUNT = "payment_account"

    @property
    def is_sure(self) -> bool:
        """Whether it names a person; a network has many behind it, of whom one is known."""
        return self is not BuyerBy.ADDRESS


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that may credit an affiliate, with everything that was read about it."""

    kind: Kind
    enrollment_id: int | None = None
    click_id: str | None = None
    at: datetime | None = None
    """When it was clicked, the customer bound, or the address last seen with a credit of this
    affiliate; None for a coupon, which counts as of the order."""
    genuine: bool = True
    """False: a token that we did not sign, or not in this spelling."""
    in_program: bool = True
    """False: its link is another program's, or unknown."""
    by_test_link: bool = False
    """Its token was minted for the program's test link."""
    disabled_at: datetime | None = None
    """When its link or coupon was switched off."""
    valid_until: datetime | None = None
    """A coupon's or a binding's first instant at which it no longer counts."""
    active: bool = True
    """Whether the affiliate's enrollment is active."""
    buyer_by: BuyerBy | None = None
    """By what the buyer is known to be this affiliate; None: not known to be."""
    drop: DropReason | None = None
    """The loader's verdict on the click, where there is one against it."""
    loaded: bool = True
    """False: the click's row has not arrived, so its verdict is still open."""
    unrecorded: bool = False
    """The token says that no row will ever come; it stands alone."""
    group: str | None = None
    """The affiliate's group in the program."""
    referrer_host: str | None = None
    """The host of the page that the click came from, where the browser told it."""
    paid_search: bool = False
    """The click's address carried the mark of an advertisement in a search engine."""


@dataclass(frozen=True, slots=True)
class OrderFacts:
    """What attribution reads of an order and its buyer."""

    placed_at: datetime
    customer_since: datetime | None = None
    """placed_at of the buyer's earliest confirmed order on our record."""
    says_new: bool | None = None
    """The shop's word, used where we have no record."""
    program_closed: bool = False
    """The program's notice period was over when the order was placed."""
    review_declined: bool = False
    """A person looked at the order and did not accept its suspicious clicks."""
    contested: bool = False
    """Of its clicks only browsers told, and they contradict each other."""
    assigned_to: int | None = None
    """The enrollment that a manager said the order belongs to."""


class TraceLine(NamedTuple):
    """What one check said of one candidate. A tuple, as every order makes several."""

    candidate: Kind
    check: Check
    outcome: Step
    reason: Reason | None = None
    enrollment_id: int | None = None
    click_id: str | None = None
    age_s: int | None = None
    weight: Fraction | None = None
    """Its part of the credit, where it won."""
    buyer_by: BuyerBy | None = None
    """By what the buyer was known, where it was removed or held as an own purchase."""


@dataclass(frozen=True, slots=True)
class CreditedClick:
    """A click that has a part in a share."""

    click_id: str
    clicked_at: datetime


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the order's credit: one affiliate's, however many touches brought it."""

    enrollment_id: int
    weight: Fraction
    evidence: Kind
    """What the latest of its touches is."""
    click_id: str | None
    clicked_at: datetime | None
    awaits_click_check: bool
    review_reason: ReviewReason | None = None
    """Why a person has to look at the order before this is paid."""
    existing_customer: bool = False
    """The buyer was a customer before every touch of it; False also where nobody knows."""
    other_clicks: tuple[CreditedClick, ...] = ()
    """Clicks besides `click_id` that have a part in it, oldest first."""


@dataclass(frozen=True, slots=True)
class Attribution:
    shares: tuple[Share, ...]
    """Their weights sum to exactly one; one an affiliate, by the time of the first touch."""
    trace: tuple[TraceLine, ...]


@dataclass(frozen=True, slots=True)
class Unattributed:
    reason: Reason
    trace: tuple[TraceLine, ...]
