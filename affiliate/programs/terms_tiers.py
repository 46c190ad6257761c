"""Volume tiers in the rules' document: half-open bands that meet. Pure.

Rule: docs/rules.md, "The rule document".
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

from marshmallow import ValidationError, fields, post_load

from affiliate.core.errors import Phrase
from affiliate.core.money import MICROS
from affiliate.programs.terms import BANDS_MAX, ORDERS_MAX, Apply, Band, Measure, Period, Tiers
from affiliate.programs.terms_fields import (
    Amount,
    Choice,
    Part,
    Rate,
    Several,
    Whole,
    refuse_together,
    wrong,
)

_AMOUNT = Amount()
_ORDERS = Whole(0, ORDERS_MAX)
_OVERLAP: Final = Phrase(
    "This band and the next overlap: it ends where the next one begins, which is no longer "
    "inside it."
)
_GAP: Final = Phrase(
    "This band and the next leave a gap: it ends where the next one begins, which is no longer "
    "inside it."
)


class BandPart(Part):
    begins = fields.Raw(data_key="from", required=True)
    """An amount or a number of orders, by what the tiers measure."""
    ends = fields.Raw(data_key="until", allow_none=True, load_default=None)
    """Where the next band begins. Not needed; whoever writes it is told where it does not fit."""
    rate_ppm = Rate(required=True)


class TiersPart(Part):
    measure = Choice(Measure, required=True)
    period = Choice(Period, required=True)
    apply = Choice(Apply, required=True)
    bands = Several(fields.Nested(BandPart), BANDS_MAX, least=1, required=True)

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> Tiers:
        bands = _read(values.pop("bands"), values["measure"])
        refuse_together(_what_is_wrong(bands))
        made = tuple(Band(band["begins"], band["rate_ppm"]) for band in bands)
        return Tiers(bands=made, **values)


def tiers_document(tiers: Tiers) -> dict[str, Any]:
    """The tiers of a document."""
    return {
        "measure": tiers.measure.value,
        "period": tiers.period.value,
        "apply": tiers.apply.value,
        "bands": [
            {"from": _from(band.begins, tiers.measure), "rate_ppm": band.rate_ppm}
            for band in tiers.bands
        ],
    }


def _read(bands: list[dict[str, Any]], measure: Measure) -> list[dict[str, Any]]:
    """The bands with both ends as numbers, micros where sales are measured."""
    read, refused = [], []
    for place, band in enumerate(bands):
        ends = {"begins": "from", "ends": "until"}
        numbers: dict[str, int | None] = {}
        for name, written in ends.items():
            try:
                numbers[name] = (
                    None if name == "ends" and band[name] is None else _number(band[name], measure)
                )
            except ValidationError as error:
                refused.append(ValidationError({"bands": {place: {written: error.messages}}}))
        read.append({**band, **numbers})
    refuse_together(iter(refused))
    return read


def _number(value: Any, measure: Measure) -> int:
    if measure is Measure.ORDERS:
        return int(_ORDERS.deserialize(value))
    return int(_AMOUNT.deserialize(value).micros)


def _what_is_wrong(bands: list[dict[str, Any]]) -> Iterator[ValidationError]:
    if bands[0]["begins"] != 0:
        yield wrong("bands.0.from", "not_from_zero", "The first band begins at 0.")
    for place, (band, following) in enumerate(pairwise(bands)):
        if following["begins"] <= band["begins"]:
            yield wrong(
                f"bands.{place + 1}.from",
                "not_rising",
                "Bands rise: each begins above the one before it.",
            )
        elif band["ends"] is not None and band["ends"] != following["begins"]:
            overlap = band["ends"] > following["begins"]
            yield wrong(f"bands.{place}.until", "bands_do_not_meet", _OVERLAP if overlap else _GAP)
    if bands[-1]["ends"] is not None:
        yield wrong(f"bands.{len(bands) - 1}.until", "last_band_ends", "The last band has no end.")


def _from(begins: int, measure: Measure) -> int | str:
    """The number, or the amount without zeros that its currency may not have."""
    if measure is Measure.ORDERS:
        return begins
    whole, fraction = divmod(begins, MICROS)
    return f"{whole}.{fraction:06d}".rstrip("0").rstrip(".") if fraction else str(whole)
