"""The part `attribution` of the rules' document: whose order it is. Pure.

Rule: docs/rules.md, "The rule document".
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

from marshmallow import ValidationError, fields, post_load, validates_schema

from affiliate.core.errors import Phrase
from affiliate.core.fields import Flag
from affiliate.core.money import PPM
from affiliate.programs.terms import (
    EVIDENCE_DEFAULT,
    HALF_LIFE_HOURS_MAX,
    MONTHS_MAX,
    NAME_CHARS_MAX,
    SECONDS_MIN_MAX,
    SITES_MAX,
    WINDOW_DAYS_MAX,
    WINDOWS_MAX,
    AttributionTerms,
    Binding,
    CouponPolicy,
    CustomerPolicy,
    Evidence,
    ExcludedSources,
    Model,
    Position,
    WindowFor,
)
from affiliate.programs.terms_fields import (
    Choice,
    Part,
    Rate,
    Several,
    Site,
    Whole,
    affiliates,
    names,
    refuse_together,
    several_parts,
    take_who,
    who_document,
    wrong,
)

READ_BY: Final = {
    "position": ("model", Model.POSITION_BASED),
    "half_life_hours": ("model", Model.TIME_DECAY),
    "coupon_share_ppm": ("coupon", CouponPolicy.SHARES),
}
"""Settings that one choice alone reads; beside another one they would promise what is not so."""


class WindowPart(Part):
    groups = names(NAME_CHARS_MAX)
    affiliates = affiliates()
    days = Whole(1, WINDOW_DAYS_MAX, required=True)

    @validates_schema
    def _names_somebody(self, values: dict[str, Any], **_: Any) -> None:
        if not values["groups"] and not values["affiliates"]:
            raise wrong("groups", "nobody_named", "Name groups or affiliates; for all others the "
                        "window is window_days.")  # fmt: skip

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> WindowFor:
        return WindowFor(take_who(values), timedelta(days=values["days"]))


class PositionPart(Part):
    first_ppm = Rate(load_default=Position().first_ppm)
    last_ppm = Rate(load_default=Position().last_ppm)

    @validates_schema
    def _within_the_whole(self, values: dict[str, Any], **_: Any) -> None:
        if values["first_ppm"] + values["last_ppm"] > PPM:
            raise wrong("last_ppm", "over_the_whole", "First and last together are over the whole.")

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> Position:
        return Position(**values)


class BindingPart(Part):
    months = Whole(1, MONTHS_MAX, required=True, allow_none=True)

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> Binding:
        return Binding(**values)


class ExcludedPart(Part):
    sites = Several(Site(), SITES_MAX, load_default=list)
    paid_search = Flag(load_default=False)

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> ExcludedSources:
        return ExcludedSources(frozenset(values["sites"]), values["paid_search"])


class AttributionPart(Part):
    model = Choice(Model, required=True)
    window_days = Whole(1, WINDOW_DAYS_MAX, required=True)
    windows = several_parts(WindowPart, WINDOWS_MAX)
    evidence = Several(Several(Choice(Evidence), len(Evidence), least=1), len(Evidence), least=1)
    coupon = Choice(CouponPolicy, required=True)
    coupon_share_ppm = Rate(1, PPM - 1)
    existing_customer = Choice(CustomerPolicy, required=True)
    self_purchase = Choice(CustomerPolicy, required=True)
    position = fields.Nested(PositionPart)
    half_life_hours = Whole(1, HALF_LIFE_HOURS_MAX)
    binding = fields.Nested(BindingPart, allow_none=True, load_default=None)
    seconds_min = Whole(0, SECONDS_MIN_MAX, load_default=0)
    excluded = fields.Nested(ExcludedPart, load_default=ExcludedSources)

    @validates_schema
    def _go_together(self, values: dict[str, Any], **_: Any) -> None:
        refuse_together(_what_does_not_fit(values))

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> AttributionTerms:
        values["evidence"] = _steps(values)
        values["windows"] = tuple(values["windows"])
        if "half_life_hours" in values:
            values["half_life"] = timedelta(hours=values.pop("half_life_hours"))
        return AttributionTerms(window=timedelta(days=values.pop("window_days")), **values)


def attribution_document(terms: AttributionTerms) -> dict[str, Any]:
    """The part of the document; what the chosen model and policy do not read is left out."""
    document: dict[str, Any] = {
        "model": terms.model.value,
        "window_days": terms.window.days,
        "windows": [{**who_document(w.who), "days": w.window.days} for w in terms.windows],
        "evidence": [[kind.value for kind in step] for step in terms.evidence],
        "coupon": terms.coupon.value,
        "existing_customer": terms.existing_customer.value,
        "self_purchase": terms.self_purchase.value,
        "binding": terms.binding and {"months": terms.binding.months},
        "seconds_min": terms.seconds_min,
        "excluded": {
            "sites": sorted(terms.excluded.sites),
            "paid_search": terms.excluded.paid_search,
        },
    }
    if terms.model is Model.POSITION_BASED:
        shares = terms.position
        document["position"] = {"first_ppm": shares.first_ppm, "last_ppm": shares.last_ppm}
    if terms.model is Model.TIME_DECAY:
        document["half_life_hours"] = terms.half_life // timedelta(hours=1)
    if terms.coupon is CouponPolicy.SHARES:
        document["coupon_share_ppm"] = terms.coupon_share_ppm
    return document


def _what_does_not_fit(values: dict[str, Any]) -> Iterator[ValidationError]:
    for name, (by, choice) in READ_BY.items():
        if name in values and values[by] is not choice:
            read = Phrase(
                "Read only where %(by)s is %(choice)s; leave it out.", by=by, choice=choice.value
            )
            yield wrong(name, "not_read", read)
    kinds = [kind for step in _steps(values) for kind in step]
    for kind in dict.fromkeys(kinds):
        if kinds.count(kind) > 1:
            twice = Phrase("The kind %(kind)s stands here twice.", kind=kind.value)
            yield wrong("evidence", "named_twice", twice)
    in_order = values["coupon"] is CouponPolicy.IN_ORDER
    if in_order and Evidence.COUPON not in kinds:
        missing = Phrase("Where coupon is in_order, name coupon in the order of evidence.")
        yield wrong("evidence", "coupon_missing", missing)
    if not in_order and Evidence.COUPON in kinds:
        unread = Phrase("The place of the coupon is read only where coupon is in_order.")
        yield wrong("evidence", "not_read", unread)
    if values["binding"] is not None and Evidence.BOUND_CUSTOMER not in kinds:
        unbound = Phrase("A binding needs bound_customer in the order of evidence.")
        yield wrong("binding", "not_read", unbound)


def _steps(values: dict[str, Any]) -> tuple[tuple[Evidence, ...], ...]:
    if "evidence" not in values:
        return EVIDENCE_DEFAULT
    return tuple(tuple(step) for step in values["evidence"])
