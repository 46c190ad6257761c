"""What shops send and get about leads (docs/api.md, "Leads")."""

from __future__ import annotations

from typing import Any, Final

from marshmallow import Schema, fields, validate

from affiliate.core.fields import OPTIONAL, MomentField, ShopId, Text
from affiliate.core.quick_schema import QuickSchema
from tracker.attribution.asking import TOKENS_MAX
from tracker.clicks.tokens import TOKEN_CHARS_MAX as CLICK_TOKEN_CHARS_MAX
from tracker.leads.rules import LeadReportIn, Status
from tracker.orders.schemas import (
    COUPON_CHARS_MAX,
    VISITOR_CHARS_MAX,
    AttributionOut,
    CommissionOut,
    CustomerSchema,
    Metadata,
)

KIND_CHARS_MAX: Final = 64


class LeadIn(QuickSchema):
    """A lead as a shop's server reports it."""

    lead_id = ShopId(required=True)
    placed_at = MomentField(required=True)
    kind = Text(chars_max=KIND_CHARS_MAX)
    customer = fields.Nested(CustomerSchema)
    clicks = fields.List(
        Text(chars_max=CLICK_TOKEN_CHARS_MAX), validate=validate.Length(max=TOKENS_MAX)
    )
    visitor = Text(chars_max=VISITOR_CHARS_MAX)
    coupon = Text(chars_max=COUPON_CHARS_MAX)
    metadata = Metadata()

    def make(self, values: dict[str, Any]) -> LeadReportIn:
        if "clicks" in values:
            values["clicks"] = tuple(values["clicks"])
        return LeadReportIn(**values)


class LeadOut(Schema):
    """The lead as it stands."""

    lead_id = fields.String()
    kind = fields.String(allow_none=True)
    status = fields.String(validate=validate.OneOf([status.value for status in Status]))
    program = fields.String()
    placed_at = MomentField()
    cancel_reason = fields.String(
        metadata={**OPTIONAL, "description": "Where it was cancelled with one"}
    )
    metadata = fields.Dict()
    attribution = fields.Nested(AttributionOut)
    commissions = fields.List(fields.Nested(CommissionOut))
