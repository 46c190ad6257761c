"""Between the fields of the form and the rules' document: which is where, both ways. Pure."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta
from typing import Any, Final

from flask_babel import lazy_gettext as _l

from affiliate.core.errors import Invalid
from affiliate.programs.terms import (
    COUPON_SHARE_DEFAULT_PPM,
    EVIDENCE_DEFAULT,
    HALF_LIFE_DEFAULT,
    ORDERS_MAX,
    Position,
)
from tracker.desks.manage.percentages import parts_per_million, percent_text

ROWS: Final = range(2, 7)
"""Bands above the first, whose rate is level 1."""
PATHS: Final = {
    "attribution.model": "model",
    "attribution.position": "position_first",
    "attribution.position.first_ppm": "position_first",
    "attribution.position.last_ppm": "position_last",
    "attribution.half_life_hours": "half_life_hours",
    "attribution.window_days": "window_days",
    "attribution.coupon": "coupon",
    "attribution.coupon_share_ppm": "coupon_share",
    "attribution.existing_customer": "existing_customer",
    "attribution.self_purchase": "self_purchase",
    "attribution.binding": "binding",
    "attribution.binding.months": "binding_months",
    "commission.level_1": "level_1_rate",
    "commission.level_1.rate_ppm": "level_1_rate",
    "commission.level_1.amount": "level_1_amount",
    "commission.level_2": "level_2_rate",
    "commission.level_2.rate_ppm": "level_2_rate",
    **{f"commission.tiers.bands.{row - 1}.from": f"tier_from_{row}" for row in ROWS},
    **{f"commission.tiers.bands.{row - 1}.rate_ppm": f"tier_rate_{row}" for row in ROWS},
    "commission.caps.per_order": "cap_order",
    "commission.caps.per_period.amount": "cap_amount",
    "commission.caps.per_period.period": "cap_period",
    "payout.hold_days": "hold_days",
}
"""Where a refusal of the rules' document belongs in the form."""
PLAIN: Final = ("model", "window_days", "coupon", "existing_customer", "self_purchase")
FIELDS: Final = (
    *PLAIN, "position_first", "position_last", "half_life_hours", "coupon_share", "binding",
    "binding_months", "level_1_kind", "level_1_rate", "level_1_amount", "level_2_of",
    "level_2_rate", "tiers_measure", "tiers_period", "tiers_apply",
    *(f"tier_{part}_{row}" for row in ROWS for part in ("from", "rate")),
    "cap_order", "cap_amount", "cap_period", "hold_days",
)  # fmt: skip
"""What the form shows of a document; everything else stands in its text alone."""
Values = dict[str, Any]
HALF_LIFE_HOURS_DEFAULT: Final = HALF_LIFE_DEFAULT // timedelta(hours=1)


def with_fields(base: Values, values: Values) -> Values:
    """The document `base`, changed by what the fields hold. Raises Invalid by field names."""
    document = deepcopy(base)
    attribution = _part(document, "attribution")
    attribution.update({name: values[name] for name in PLAIN})
    _set_model(attribution, values)
    _set_coupon(attribution, values)
    attribution["binding"] = {
        "none": None,
        "months": {"months": values["binding_months"]},
        "life": {"months": None},
    }.get(values["binding"])
    if values["binding"] == "months" and values["binding_months"] is None:
        raise Invalid.field("binding_months", "missing", str(_l("Write the number of months.")))
    commission = _part(document, "commission")
    commission["level_1"] = _level_1(values)
    commission["level_2"] = _level_2(values)
    if not _too_many_bands(commission.get("tiers")):
        commission["tiers"] = _tiers(commission["level_1"], values)
    commission["caps"] = _caps(values)
    _part(document, "payout")["hold_days"] = values["hold_days"]
    return document


def fields_of(document: Values) -> Values:
    """What the fields show of a document that `dump` wrote."""
    attribution, commission = document["attribution"], document["commission"]
    values: Values = {name: attribution[name] for name in PLAIN}
    position = attribution.get("position", {})
    for end in ("first", "last"):
        rate = position.get(f"{end}_ppm", getattr(Position(), f"{end}_ppm"))
        values[f"position_{end}"] = percent_text(rate)
    values["half_life_hours"] = attribution.get("half_life_hours", HALF_LIFE_HOURS_DEFAULT)
    values["coupon_share"] = percent_text(
        attribution.get("coupon_share_ppm", COUPON_SHARE_DEFAULT_PPM)
    )
    months = (attribution["binding"] or {}).get("months")
    values["binding"] = "none" if attribution["binding"] is None else "months" if months else "life"
    values["binding_months"] = months
    values["hold_days"] = document["payout"]["hold_days"]
    return values | _commission_fields(commission)


def _commission_fields(commission: Values) -> Values:
    level_1, level_2, tiers = commission["level_1"], commission["level_2"], commission["tiers"]
    caps = commission["caps"]
    rate = level_1.get("rate_ppm")
    values: Values = {
        "level_1_kind": level_1["kind"],
        "level_1_rate": "" if rate is None else percent_text(rate),
        "level_1_amount": level_1.get("amount", ""),
        "level_2_of": level_2["of"] if level_2 else "none",
        "level_2_rate": percent_text(level_2["rate_ppm"]) if level_2 else "",
        "tiers_measure": tiers["measure"] if tiers else "none",
        "tiers_period": tiers["period"] if tiers else "month",
        "tiers_apply": tiers["apply"] if tiers else "marginal",
        "cap_order": caps["per_order"] or "",
        "cap_amount": caps["per_period"]["amount"] if caps["per_period"] else "",
        "cap_period": caps["per_period"]["period"] if caps["per_period"] else "month",
    }
    bands = tiers["bands"] if tiers else []
    for row in ROWS:
        band = bands[row - 1] if row <= len(bands) else None
        values[f"tier_from_{row}"] = str(band["from"]) if band else ""
        values[f"tier_rate_{row}"] = percent_text(band["rate_ppm"]) if band else ""
    return values


def _set_model(attribution: Values, values: Values) -> None:
    """A model takes the numbers that it reads; those of another one go."""
    attribution.pop("position", None)
    attribution.pop("half_life_hours", None)
    if values["model"] == "position_based":
        attribution["position"] = {
            "first_ppm": _rate(values, "position_first"),
            "last_ppm": _rate(values, "position_last"),
        }
    if values["model"] == "time_decay":
        if values["half_life_hours"] is None:
            raise Invalid.field("half_life_hours", "missing", str(_l("Write the hours.")))
        attribution["half_life_hours"] = values["half_life_hours"]


def _set_coupon(attribution: Values, values: Values) -> None:
    """A coupon that is to stand in the order of evidence is put after the clicks."""
    attribution.pop("coupon_share_ppm", None)
    if values["coupon"] == "shares":
        attribution["coupon_share_ppm"] = _rate(values, "coupon_share")
    steps = attribution.get(
        "evidence", [[kind.value for kind in step] for step in EVIDENCE_DEFAULT]
    )
    if not isinstance(steps, list) or not all(isinstance(step, list) for step in steps):
        return  # The document's own reader says what is wrong with it.
    named = any("coupon" in step for step in steps)
    if values["coupon"] == "in_order" and not named:
        clicks = [i for i, step in enumerate(steps) if {"click_token", "visitor_click"} & set(step)]
        after = clicks[-1] + 1 if clicks else 0
        attribution["evidence"] = [*steps[:after], ["coupon"], *steps[after:]]
    elif values["coupon"] != "in_order" and named:
        left = ([kind for kind in step if kind != "coupon"] for step in steps)
        attribution["evidence"] = [step for step in left if step]


def _level_1(values: Values) -> Values:
    kind = values["level_1_kind"]
    if kind == "percent":
        return {"kind": kind, "rate_ppm": _rate(values, "level_1_rate")}
    if not values["level_1_amount"]:
        raise Invalid.field("level_1_amount", "missing", str(_l("Write the amount.")))
    return {"kind": kind, "amount": values["level_1_amount"].strip()}


def _level_2(values: Values) -> Values | None:
    if values["level_2_of"] == "none":
        return None
    return {"of": values["level_2_of"], "rate_ppm": _rate(values, "level_2_rate")}


def _tiers(level_1: Values, values: Values) -> Values | None:
    measure = values["tiers_measure"]
    if measure in (None, "none"):
        return None
    bands: list[Values] = [
        {"from": 0 if measure == "orders" else "0", "rate_ppm": level_1.get("rate_ppm", 0)}
    ]
    for row in ROWS:
        begins = (values[f"tier_from_{row}"] or "").strip()
        if not begins and not values[f"tier_rate_{row}"]:
            continue
        rate = _rate(values, f"tier_rate_{row}")
        bands.append({"from": _begins(begins, measure, row), "rate_ppm": rate})
    return {
        "measure": measure,
        "period": values["tiers_period"],
        "apply": values["tiers_apply"],
        "bands": bands,
    }


def _begins(text: str, measure: str, row: int) -> int | str:
    if measure == "sales":
        return text
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(ORDERS_MAX))):
        message = str(_l("Write a whole number of orders."))
        raise Invalid.field(f"tier_from_{row}", "not_an_integer", message)
    return int(text)


def _caps(values: Values) -> Values:
    amount = (values["cap_amount"] or "").strip()
    return {
        "per_order": (values["cap_order"] or "").strip() or None,
        "per_period": {"amount": amount, "period": values["cap_period"]} if amount else None,
    }


def _rate(values: Values, name: str) -> int:
    if not values[name]:
        raise Invalid.field(name, "missing", str(_l("Write the percentage.")))
    return parts_per_million(values[name])


def _too_many_bands(tiers: Any) -> bool:
    """More than the fields can show: those of the text stay as they are."""
    bands = tiers.get("bands") if isinstance(tiers, dict) else None
    return isinstance(bands, list) and len(bands) > ROWS[-1]


def _part(document: Values, name: str) -> Values:
    """The part as an object, whatever was sent for it."""
    part = document.get(name)
    made: Values = dict(part) if isinstance(part, dict) else {}
    document[name] = made
    return made
