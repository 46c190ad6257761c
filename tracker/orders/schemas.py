"""What shops send and get: the schemas at the API's door (docs/api.md, "Orders")."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from marshmallow import EXCLUDE, Schema, fields, validate

from affiliate.core.fields import (
    OPTIONAL,
    Flag,
    IpAddress,
    MomentField,
    MoneyField,
    Sha256,
    ShopId,
    Text,
    refuse,
)
from affiliate.core.quick_schema import QuickSchema
from tracker.attribution.asking import TOKENS_MAX
from tracker.clicks.tokens import TOKEN_CHARS_MAX as CLICK_TOKEN_CHARS_MAX
from tracker.orders.order_tokens import TOKEN_CHARS_MAX
from tracker.orders.rules import (
    CustomerIn,
    Item,
    OrderReportIn,
    RefundIn,
    RefundItem,
    SubscriptionIn,
    TestReport,
)

ITEMS_MAX: Final = 500
QUANTITY_MAX: Final = 1_000_000
SEQUENCE_MAX: Final = 10_000
METADATA_KEYS_MAX: Final = 50
METADATA_KEY_CHARS_MAX: Final = 64
METADATA_TEXT_CHARS_MAX: Final = 500
VISITOR_CHARS_MAX: Final = 64
COUPON_CHARS_MAX: Final = 64
REASON_CHARS_MAX: Final = 500


class Metadata(fields.Field[dict[str, Any]]):
    """A flat object of texts, numbers and booleans; kept and given back, never interpreted."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Any, **kwargs: Any
    ) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            refuse("not_an_object", "Write an object.")
        if len(value) > METADATA_KEYS_MAX:
            refuse("too_many", f"At most {METADATA_KEYS_MAX} keys.")
        for key, entry in value.items():
            if len(key) > METADATA_KEY_CHARS_MAX:
                refuse("too_long", f"A key has at most {METADATA_KEY_CHARS_MAX} characters.")
            if isinstance(entry, dict | list):
                refuse("not_flat", "Values are texts, numbers, booleans or null.")
            if isinstance(entry, str) and len(entry) > METADATA_TEXT_CHARS_MAX:
                refuse("too_long", f"A text has at most {METADATA_TEXT_CHARS_MAX} characters.")
            if isinstance(entry, float) and not math.isfinite(entry):
                refuse("invalid", "A number must be finite.")
        return dict(value)


class ItemSchema(QuickSchema):
    """One line; `price` is of one piece, before the order's discount."""

    sku = Text(load_default="")
    name = Text(load_default="")
    category = Text(load_default="")
    quantity = fields.Integer(
        strict=True, load_default=1, validate=validate.Range(min=1, max=QUANTITY_MAX)
    )
    price = MoneyField(required=True)

    def make(self, values: dict[str, Any]) -> Item:
        return Item(**values)


class CustomerSchema(QuickSchema):
    """The buyer; the e-mail address only as SHA-256 of its trimmed lower-case form, what paid
    as SHA-256 of the account (an IBAN without spaces, in capitals) or of a card's fingerprint."""

    id = ShopId(load_default=None)
    email_sha256 = Sha256(load_default=None)
    is_new = Flag(load_default=None)
    payment_sha256 = Sha256(load_default=None)

    def make(self, values: dict[str, Any]) -> CustomerIn:
        return CustomerIn(**values)


class SubscriptionSchema(QuickSchema):
    """Which payment of a subscription it is; 1 is the first."""

    id = ShopId(required=True)
    sequence = fields.Integer(
        strict=True, required=True, validate=validate.Range(min=1, max=SEQUENCE_MAX)
    )

    def make(self, values: dict[str, Any]) -> SubscriptionIn:
        return SubscriptionIn(**values)


class OrderIn(QuickSchema):
    """An order as a shop's server reports it."""

    order_id = ShopId(required=True)
    placed_at = MomentField(required=True)
    total = MoneyField(required=True)
    discount = MoneyField()
    tax = MoneyField()
    tax_included = Flag(load_default=True)
    shipping = MoneyField()
    fees = MoneyField()
    credits = MoneyField()
    items = fields.List(fields.Nested(ItemSchema), validate=validate.Length(max=ITEMS_MAX))
    customer = fields.Nested(CustomerSchema)
    subscription = fields.Nested(SubscriptionSchema)
    clicks = fields.List(
        Text(chars_max=CLICK_TOKEN_CHARS_MAX), validate=validate.Length(max=TOKENS_MAX)
    )
    visitor = Text(chars_max=VISITOR_CHARS_MAX)
    ip = IpAddress()
    coupon = Text(chars_max=COUPON_CHARS_MAX)
    metadata = Metadata()

    def make(self, values: dict[str, Any]) -> OrderReportIn | dict[str, Any]:
        for name in ("items", "clicks"):
            if name in values:
                values[name] = tuple(values[name])
        return OrderReportIn(**values)


class OrderOrTestIn(OrderIn):
    """The same, or an order that is only tried: `test` says so, and nothing else of it does."""

    test = Flag(load_default=False)

    def make(self, values: dict[str, Any]) -> Any:
        tested = values.pop("test")
        report = super().make(values)
        return TestReport(report) if tested and isinstance(report, OrderReportIn) else report


class BrowserOrder(OrderIn):
    """An order as a page reports it: a claim, so what we do not know is passed over."""

    class Meta:
        unknown = EXCLUDE

    placed_at = MomentField()
    test = Flag(load_default=False)
    token = Text(chars_max=TOKEN_CHARS_MAX)

    def make(self, values: dict[str, Any]) -> dict[str, Any]:
        return values


class RefundItemSchema(QuickSchema):
    """A line given back."""

    sku = Text(load_default="")
    quantity = fields.Integer(
        strict=True, load_default=1, validate=validate.Range(min=1, max=QUANTITY_MAX)
    )
    amount = MoneyField(required=True)

    def make(self, values: dict[str, Any]) -> RefundItem:
        return RefundItem(**values)


class RefundInSchema(QuickSchema):
    """A refund; without an amount all that is left of the order."""

    refund_id = ShopId(required=True)
    amount = MoneyField()
    items = fields.List(fields.Nested(RefundItemSchema), validate=validate.Length(max=ITEMS_MAX))
    tax = MoneyField()
    shipping = MoneyField()
    reason = Text(chars_max=REASON_CHARS_MAX)

    def make(self, values: dict[str, Any]) -> RefundIn:
        values["items"] = tuple(values.get("items", ()))
        return RefundIn(**values)


class ConfirmationIn(Schema):
    """`total`, where given, must be the total that the browser reported."""

    total = MoneyField(load_default=None)


class CancellationIn(Schema):
    """Why, in the shop's own words."""

    reason = Text(chars_max=REASON_CHARS_MAX, load_default=None)


class ShareOut(Schema):
    affiliate = fields.String()
    weight = fields.String(metadata={"description": 'An exact fraction: "1", "1/3"'})
    evidence = fields.String()
    click_id = fields.String(metadata=OPTIONAL)


class TraceOut(Schema):
    candidate = fields.String()
    affiliate = fields.String(metadata=OPTIONAL)
    click_id = fields.String(metadata=OPTIONAL)
    age_seconds = fields.Integer(metadata=OPTIONAL)
    check = fields.String()
    outcome = fields.String()
    reason = fields.String(metadata=OPTIONAL)
    weight = fields.String(
        metadata={**OPTIONAL, "description": "Its part of the credit, where it won"}
    )
    buyer_by = fields.String(
        metadata={**OPTIONAL, "description": "By what an own purchase was known"}
    )
    text = fields.String(metadata={**OPTIONAL, "description": "The same as a sentence"})


class AttributionOut(Schema):
    outcome = fields.String()
    reason = fields.String(metadata=OPTIONAL)
    model = fields.String()
    rule_version = fields.Integer()
    shares = fields.List(fields.Nested(ShareOut))
    trace = fields.List(fields.Nested(TraceOut))


class CommissionOut(Schema):
    affiliate = fields.String()
    level = fields.Integer()
    via = fields.String(metadata=OPTIONAL)
    of = fields.String(allow_none=True, metadata=OPTIONAL)
    base = MoneyField()
    rate = fields.String(allow_none=True)
    amount = MoneyField()
    reversed = MoneyField(metadata=OPTIONAL)
    status = fields.String()
    reason = fields.String(metadata=OPTIONAL)
    available_at = MomentField()
    waits_for = fields.String(allow_none=True)
    rule = fields.String()
    rule_version = fields.Integer()


class RefundOut(Schema):
    refund_id = fields.String()
    order_id = fields.String()
    amount = MoneyField()
    net = MoneyField()
    reason = fields.String(allow_none=True)
    received_at = MomentField()


class ConvertedOut(Schema):
    """Of an order in another currency than the program's; its own amounts stay its own."""

    currency = fields.String(metadata={"description": "The program's"})
    net = MoneyField(metadata={**OPTIONAL, "description": "The base of its commissions"})
    rate = fields.String(
        metadata={**OPTIONAL, "description": 'For one unit: "98.1234"; kept for life'}
    )
    rate_from = fields.Date(metadata={**OPTIONAL, "description": "The day of the rate"})
    waits_for = fields.String(
        metadata={**OPTIONAL, "description": "`exchange_rate`: none of its day is entered yet"}
    )


class OrderOut(Schema):
    """The order as it stands."""

    test = Flag(
        metadata=OPTIONAL | {"description": "Only of a test order, which was tried and not taken"}
    )
    order_id = fields.String()
    status = fields.String(validate=validate.OneOf(["unconfirmed", "confirmed", "cancelled"]))
    program = fields.String()
    source = fields.String()
    placed_at = MomentField()
    total = MoneyField()
    net = MoneyField()
    converted = fields.Nested(ConvertedOut, metadata=OPTIONAL)
    refunded = MoneyField()
    discount = MoneyField()
    tax = MoneyField()
    tax_included = Flag()
    shipping = MoneyField()
    fees = MoneyField()
    credits = MoneyField()
    items = fields.List(fields.Nested(ItemSchema))
    coupon = fields.String(allow_none=True)
    subscription = fields.Nested(SubscriptionSchema, allow_none=True)
    metadata = fields.Dict()
    attribution = fields.Nested(AttributionOut)
    commissions = fields.List(fields.Nested(CommissionOut))
    refunds = fields.List(fields.Nested(RefundOut))


class ParkedOut(Schema):
    """Kept until the order comes."""

    status = fields.String()
    order_id = fields.String()
    detail = fields.String()
