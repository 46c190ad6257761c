"""The terms of a rule version as values. Pure.

Rule: docs/rules.md. The stored document is JSON (`RuleVersion.terms`); `load` and `dump`
are its only door.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema

from affiliate.core.errors import FieldError, Invalid
from affiliate.core.money import PPM, Money, MoneyError

WINDOW_DAYS_MAX = 3_650
HOLD_DAYS_MAX = 365


class Model(StrEnum):
    """Which of the candidates inside the window is credited."""

    LAST_CLICK = "last_click"
    FIRST_CLICK = "first_click"


class CouponPolicy(StrEnum):
    """What a typed coupon means against another affiliate's click."""

    WINS = "wins"
    LOSES = "loses"


class CustomerPolicy(StrEnum):
    """What an order earns whose customer bought before the credited click, or that the
    affiliate placed for themselves."""

    PAYS = "pays"
    REFUSES = "refuses"


class Of(StrEnum):
    """What the level-2 rate is taken of."""

    SALE = "sale"
    COMMISSION = "commission"


@dataclass(frozen=True, slots=True)
class AttributionTerms:
    model: Model
    window: timedelta
    """A click counts while `placed_at - clicked_at <= window`."""
    coupon: CouponPolicy
    existing_customer: CustomerPolicy
    self_purchase: CustomerPolicy


@dataclass(frozen=True, slots=True)
class Percent:
    rate_ppm: int


@dataclass(frozen=True, slots=True)
class Fixed:
    amount: Money
    """Per order; split by the shares where several are credited."""


@dataclass(frozen=True, slots=True)
class LevelTwo:
    of: Of
    rate_ppm: int


@dataclass(frozen=True, slots=True)
class CommissionTerms:
    level_1: Percent | Fixed
    level_2: LevelTwo | None


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


class _Attribution(Schema):
    model = fields.Enum(Model, by_value=True, required=True)
    window_days = fields.Integer(
        required=True, strict=True, validate=validate.Range(1, WINDOW_DAYS_MAX)
    )
    coupon = fields.Enum(CouponPolicy, by_value=True, required=True)
    existing_customer = fields.Enum(CustomerPolicy, by_value=True, required=True)
    self_purchase = fields.Enum(CustomerPolicy, by_value=True, required=True)

    @post_load
    def _make(self, data: dict[str, Any], **_: Any) -> AttributionTerms:
        window = timedelta(days=data.pop("window_days"))
        return AttributionTerms(window=window, **data)


class _LevelOne(Schema):
    kind = fields.String(required=True, validate=validate.OneOf(["percent", "fixed"]))
    rate_ppm = fields.Integer(strict=True, validate=validate.Range(0, PPM))
    amount = fields.String()

    @validates_schema
    def _one_of(self, data: dict[str, Any], **_: Any) -> None:
        wanted, other = (
            ("rate_ppm", "amount") if data.get("kind") == "percent" else ("amount", "rate_ppm")
        )
        if wanted not in data:
            raise ValidationError(f"A {data.get('kind')} commission needs it.", wanted)
        if other in data:
            raise ValidationError(f"A {data.get('kind')} commission has none.", other)


class _LevelTwo(Schema):
    of = fields.Enum(Of, by_value=True, required=True)
    rate_ppm = fields.Integer(required=True, strict=True, validate=validate.Range(1, PPM))

    @post_load
    def _make(self, data: dict[str, Any], **_: Any) -> LevelTwo:
        return LevelTwo(**data)


class _Commission(Schema):
    level_1 = fields.Nested(_LevelOne, required=True)
    level_2 = fields.Nested(_LevelTwo, required=True, allow_none=True)

    @validates_schema
    def _within_the_sale(self, data: dict[str, Any], **_: Any) -> None:
        """Both levels together may not promise more than the whole sale."""
        first, second = data.get("level_1") or {}, data.get("level_2")
        taken = first.get("rate_ppm") or 0
        if second and second.of is Of.SALE and taken + second.rate_ppm > PPM:
            raise ValidationError("Both levels together are over the whole sale.", "level_2")


class _Payout(Schema):
    hold_days = fields.Integer(
        required=True, strict=True, validate=validate.Range(0, HOLD_DAYS_MAX)
    )

    @post_load
    def _make(self, data: dict[str, Any], **_: Any) -> PayoutTerms:
        return PayoutTerms(hold=timedelta(days=data["hold_days"]))


class _Terms(Schema):
    attribution = fields.Nested(_Attribution, required=True)
    commission = fields.Nested(_Commission, required=True)
    payout = fields.Nested(_Payout, required=True)


_SCHEMA = _Terms()


def load(document: dict[str, Any], currency: str) -> Terms:
    """Read a document; raises Invalid with the path of each field that is wrong."""
    try:
        data = _SCHEMA.load(document)
    except ValidationError as error:
        raise Invalid(
            "The rules cannot be accepted.", errors=list(_flatten(error.messages))
        ) from None
    commission = data["commission"]
    return Terms(
        attribution=data["attribution"],
        commission=CommissionTerms(
            level_1=_level_1(commission["level_1"], currency), level_2=commission["level_2"]
        ),
        payout=data["payout"],
    )


def dump(terms: Terms) -> dict[str, Any]:
    """The document of these terms; `load(dump(terms)) == terms`."""
    attribution, commission = terms.attribution, terms.commission
    level_1: dict[str, Any] = (
        {"kind": "percent", "rate_ppm": commission.level_1.rate_ppm}
        if isinstance(commission.level_1, Percent)
        else {"kind": "fixed", "amount": commission.level_1.amount.decimal}
    )
    level_2 = commission.level_2
    return {
        "attribution": {
            "model": attribution.model.value,
            "window_days": attribution.window.days,
            "coupon": attribution.coupon.value,
            "existing_customer": attribution.existing_customer.value,
            "self_purchase": attribution.self_purchase.value,
        },
        "commission": {
            "level_1": level_1,
            "level_2": level_2 and {"of": level_2.of.value, "rate_ppm": level_2.rate_ppm},
        },
        "payout": {"hold_days": terms.payout.hold.days},
    }


def _level_1(data: dict[str, Any], currency: str) -> Percent | Fixed:
    if data["kind"] == "percent":
        return Percent(data["rate_ppm"])
    try:
        return Fixed(Money.parse(data["amount"], currency))
    except MoneyError as error:
        raise Invalid.field("commission.level_1.amount", error.code, error.message) from None


def _flatten(messages: Any, path: str = "") -> list[FieldError]:
    """marshmallow's nested messages as field errors with dotted paths."""
    if isinstance(messages, dict):
        found: list[FieldError] = []
        for key, value in messages.items():
            name = path if key == "_schema" else f"{path}.{key}".strip(".")
            found += _flatten(value, name)
        return found
    return [FieldError(path, "invalid", message) for message in messages]
