"""The terms of a rule version as values. Pure.

Rule: docs/rules.md, "The rule document". What is stored is JSON (`RuleVersion.terms`);
`load` and `dump` of affiliate.programs.terms_document are its only door.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from affiliate.core.money import Money

WINDOW_DAYS_MAX: Final = 3_650
HOLD_DAYS_MAX: Final = 365
HALF_LIFE_HOURS_MAX: Final = 8_760
MONTHS_MAX: Final = 120
"""Of a binding and of a subscription; longer is said as "for life"."""
SECONDS_MIN_MAX: Final = 86_400
BOOST_TIMES_MAX: Final = 10
NAME_CHARS_MAX: Final = 80
"""Of a rule, a boost and a group."""
WINDOWS_MAX: Final = 50
SITES_MAX: Final = 200
RULES_MAX: Final = 100
BANDS_MAX: Final = 20
BOOSTS_MAX: Final = 20
NAMES_MAX: Final = 500
"""Groups, affiliates, products or categories named in one place."""
ORDERS_MAX: Final = 1_000_000_000
"""Where a band of orders may begin at the most."""


class Model(StrEnum):
    """How the credit of an order is shared among the touches that are left."""

    LAST_CLICK = "last_click"
    FIRST_CLICK = "first_click"
    LINEAR = "linear"
    POSITION_BASED = "position_based"
    TIME_DECAY = "time_decay"


class Evidence(StrEnum):
    """What may name an affiliate."""

    CLICK_TOKEN = "click_token"  # noqa: S105 -- a word, no secret
    VISITOR_CLICK = "visitor_click"
    COUPON = "coupon"
    BOUND_CUSTOMER = "bound_customer"
    CUSTOMER_EMAIL = "customer_email"


class CouponPolicy(StrEnum):
    """What a typed coupon means against other evidence."""

    WINS = "wins"
    LOSES = "loses"
    SHARES = "shares"
    """Its owner gets `coupon_share_ppm`, the rest goes to whom the model credits."""
    IN_ORDER = "in_order"
    """It stands where the order of evidence names it."""


class CustomerPolicy(StrEnum):
    """What an order earns whose customer bought before the credited click, or that the
    affiliate placed for themselves."""

    PAYS = "pays"
    REFUSES = "refuses"


class Customer(StrEnum):
    """Whether the buyer bought before the credited click."""

    NEW = "new"
    EXISTING = "existing"


class Of(StrEnum):
    """What the level-2 rate is taken of."""

    SALE = "sale"
    COMMISSION = "commission"


class Measure(StrEnum):
    """What the bands of volume tiers count."""

    SALES = "sales"
    """Net amounts, less what was refunded."""
    ORDERS = "orders"


class Period(StrEnum):
    """A stretch of the calendar in the program's time zone."""

    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"


class Apply(StrEnum):
    """What of a period a higher band counts for."""

    MARGINAL = "marginal"
    """Only what lies inside the band."""
    WHOLE_PERIOD = "whole_period"
    """All of the period, made up for at its end."""


class BonusFor(StrEnum):
    """Whose first order earns the bonus."""

    CUSTOMER = "customer"
    AFFILIATE = "affiliate"


EVIDENCE_DEFAULT: tuple[tuple[Evidence, ...], ...] = (
    (Evidence.CLICK_TOKEN, Evidence.VISITOR_CLICK),
    (Evidence.BOUND_CUSTOMER,),
)
"""Known addresses count only where the rules name them: a buyer's later orders would else go to
whoever brought the first one, without anybody having said so."""
COUPON_SHARE_DEFAULT_PPM = 500_000
HALF_LIFE_DEFAULT: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Who:
    """For whom something holds; with nothing named, for everybody."""

    groups: frozenset[str] = frozenset()
    enrollments: frozenset[int] = frozenset()

    @property
    def everybody(self) -> bool:
        return not self.groups and not self.enrollments

    def fits(self, enrollment_id: int, group: str | None) -> bool:
        """Whether this affiliate is meant: named themselves, or by their group."""
        return self.everybody or enrollment_id in self.enrollments or group in self.groups


@dataclass(frozen=True, slots=True)
class WindowFor:
    """Another attribution window for some affiliates."""

    who: Who
    window: timedelta


@dataclass(frozen=True, slots=True)
class Position:
    """Shares of the first and the last touch; those between share the rest equally."""

    first_ppm: int = 400_000
    last_ppm: int = 400_000


@dataclass(frozen=True, slots=True)
class Binding:
    """A buyer stays with the affiliate of their first credited order."""

    months: int | None
    """None: for life."""


@dataclass(frozen=True, slots=True)
class ExcludedSources:
    """Clicks that bring nobody new: from these sites, and out of paid search."""

    sites: frozenset[str] = frozenset()
    """Host names of referring pages; `.shop.example` means every subdomain."""
    paid_search: bool = False
    """Clicks whose address carries the mark of an advertisement in a search engine."""


@dataclass(frozen=True, slots=True)
class AttributionTerms:
    model: Model
    window: timedelta
    """A click counts while `placed_at - clicked_at <= window`."""
    coupon: CouponPolicy
    existing_customer: CustomerPolicy
    self_purchase: CustomerPolicy
    position: Position = Position()
    """Read by the model position_based alone."""
    half_life: timedelta = HALF_LIFE_DEFAULT
    """Read by the model time_decay alone: after it a touch weighs half."""
    windows: tuple[WindowFor, ...] = ()
    """One that names the affiliate goes before one that names their group; then the later one."""
    evidence: tuple[tuple[Evidence, ...], ...] = EVIDENCE_DEFAULT
    """Steps, best first: the first of which anything is left decides; the kinds of one step
    are looked at together."""
    coupon_share_ppm: int = COUPON_SHARE_DEFAULT_PPM
    binding: Binding | None = None
    seconds_min: int = 0
    """An order sooner than this after the credited click waits for a person; 0: none does."""
    excluded: ExcludedSources = ExcludedSources()

    def window_for(self, enrollment_id: int, group: str | None) -> timedelta:
        """The window of one affiliate."""
        named = [w for w in self.windows if enrollment_id in w.who.enrollments]
        grouped = [w for w in self.windows if group in w.who.groups]
        found = named or grouped
        return found[-1].window if found else self.window

    @property
    def window_max(self) -> timedelta:
        """How far back clicks have to be looked for."""
        return max((self.window, *(other.window for other in self.windows)))


@dataclass(frozen=True, slots=True)
class Percent:
    rate_ppm: int


@dataclass(frozen=True, slots=True)
class Fixed:
    amount: Money
    """Per order; split by the shares where several are credited."""


@dataclass(frozen=True, slots=True)
class PerItem:
    amount: Money
    """For each piece bought; split by the shares where several are credited."""


Rate = Percent | Fixed | PerItem


@dataclass(frozen=True, slots=True)
class When:
    """What a rule of commission wants of the order; what is not named is not asked for."""

    who: Who = Who()
    products: frozenset[str] = frozenset()
    """`sku` of items."""
    categories: frozenset[str] = frozenset()
    customer: Customer | None = None
    begins: datetime | None = None
    """First instant of placed_at."""
    ends: datetime | None = None
    """First instant of placed_at at which it no longer holds."""


@dataclass(frozen=True, slots=True)
class CommissionRule:
    """Another rate for some orders, items or affiliates."""

    name: str
    """As it is called on pages and in traces."""
    when: When
    earns: Rate


@dataclass(frozen=True, slots=True)
class Band:
    """From `begins` on (included) up to where the next band begins (excluded)."""

    begins: int
    """Micros where sales are measured, else a number of orders."""
    rate_ppm: int


@dataclass(frozen=True, slots=True)
class Tiers:
    """Rates that rise with what an affiliate sold in the period; they stand in for the default
    rate, and rules that fit an order go before them."""

    measure: Measure
    period: Period
    apply: Apply
    bands: tuple[Band, ...]
    """Rising; the first begins at 0."""


@dataclass(frozen=True, slots=True)
class Recurring:
    """What later payments of a subscription earn."""

    months: int | None
    """For so long after the first payment; None: as long as it is paid."""
    earns: Rate | None = None
    """None: what any order earns."""


@dataclass(frozen=True, slots=True)
class Bonus:
    """On top of level 1, for a first order."""

    amount: Money
    first_of: BonusFor


@dataclass(frozen=True, slots=True)
class Boost:
    """More of level 1 between two instants; exactly one of the two amounts is set."""

    name: str
    who: Who
    begins: datetime
    ends: datetime
    """Excluded."""
    add_ppm: int = 0
    """Added to a percentage."""
    times_ppm: int = 0
    """Multiplies what level 1 earns, of whatever kind: 1_500_000 is half as much again."""


@dataclass(frozen=True, slots=True)
class PeriodCap:
    amount: Money
    period: Period


@dataclass(frozen=True, slots=True)
class Caps:
    """What level 1 of one affiliate earns at the most."""

    per_order: Money | None = None
    per_period: PeriodCap | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """What a program releases at the most; looked at when commissions are released."""

    amount: Money
    period: Period | None
    """None: in all."""


@dataclass(frozen=True, slots=True)
class LevelTwo:
    of: Of
    rate_ppm: int


@dataclass(frozen=True, slots=True)
class CommissionTerms:
    level_1: Rate
    """What an order earns that no rule fits."""
    level_2: LevelTwo | None
    rules: tuple[CommissionRule, ...] = ()
    """The most specific one that fits wins, then the one that stands later."""
    tiers: Tiers | None = None
    recurring: Recurring | None = None
    bonus: Bonus | None = None
    boosts: tuple[Boost, ...] = ()
    caps: Caps = Caps()
    budget: Budget | None = None
    per_lead: Money | None = None
    per_click: Money | None = None
    """For each unique click; fractions of a minor unit add up."""


@dataclass(frozen=True, slots=True)
class PayoutTerms:
    hold: timedelta
    """From placed_at to the instant at which a commission becomes available."""


@dataclass(frozen=True, slots=True)
class Terms:
    """One edition of a program's rules."""

    attribution: AttributionTerms
    commission: CommissionTerms
    payout: PayoutTerms
