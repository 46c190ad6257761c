"""The rules' document: JSON in, terms as values out, and back. Pure.

Every field, its default and its boundary: docs/rules.md, "The rule document".
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from marshmallow import ValidationError, fields, post_load

from affiliate.core.errors import Invalid
from affiliate.core.fields import field_errors
from affiliate.core.money import MoneyError, exponent
from affiliate.programs.terms import HOLD_DAYS_MAX, PayoutTerms, Terms
from affiliate.programs.terms_attribution import AttributionPart, attribution_document
from affiliate.programs.terms_commission import CommissionPart, commission_document
from affiliate.programs.terms_fields import Part, Whole, amounts_in


class PayoutPart(Part):
    hold_days = Whole(0, HOLD_DAYS_MAX, required=True)

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> PayoutTerms:
        return PayoutTerms(hold=timedelta(days=values["hold_days"]))


class TermsPart(Part):
    attribution = fields.Nested(AttributionPart, required=True)
    commission = fields.Nested(CommissionPart, required=True)
    payout = fields.Nested(PayoutPart, required=True)

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> Terms:
        return Terms(**values)


_SCHEMA = TermsPart()


def load(document: Any, currency: str) -> Terms:
    """Read a document; raises Invalid with the path of each field that is wrong.

    What it does not name has its default, so that a document of an older edition stays what
    it was. Amounts are in `currency`.
    """
    try:
        exponent(currency)
        with amounts_in(currency):
            terms: Terms = _SCHEMA.load(document)
    except MoneyError as error:
        raise Invalid.field("currency", error.code, str(error)) from None
    except ValidationError as error:
        errors = list(field_errors(error.messages))
        raise Invalid("The rules cannot be accepted.", errors=errors) from None
    return terms


def dump(terms: Terms) -> dict[str, Any]:
    """The document of these terms, with every default written out, so that a version that
    was published means the same when a default changes. `load(dump(terms)) == terms`."""
    return {
        "attribution": attribution_document(terms.attribution),
        "commission": commission_document(terms.commission),
        "payout": {"hold_days": terms.payout.hold.days},
    }
