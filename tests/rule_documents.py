"""Rule documents for tests: one that sets everything, and hypothesis strategies of valid ones."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from affiliate.people import ids

GONE = object()
"""As a value of `changed`: the field is taken out."""

FULL: dict[str, Any] = {
    "attribution": {
        "model": "position_based",
        "window_days": 30,
        "windows": [
            {"groups": ["press"], "days": 60},
            {"groups": ["press"], "affiliates": [ids.public(7)], "days": 90},
        ],
        "evidence": [["click_token", "visitor_click"], ["coupon"], ["bound_customer"]],
        "coupon": "in_order",
        "existing_customer": "refuses",
        "self_purchase": "refuses",
        "position": {"first_ppm": 400_000, "last_ppm": 300_000},
        "binding": {"months": 12},
        "seconds_min": 5,
        "excluded": {"sites": ["shop.example", ".search.example"], "paid_search": True},
    },
    "commission": {
        "level_1": {"kind": "percent", "rate_ppm": 100_000},
        "level_2": {"of": "sale", "rate_ppm": 20_000},
        "rules": [
            {
                "name": "Lamps for the press",
                "when": {
                    "groups": ["press"],
                    "affiliates": [ids.public(7)],
                    "products": ["LAMP-1"],
                    "categories": ["lamps"],
                    "customer": "new",
                    "from": "2026-12-01T00:00:00+03:00",
                    "until": "2027-01-01T00:00:00+03:00",
                },
                "earns": {"kind": "percent", "rate_ppm": 150_000},
            },
            {
                "name": "Books",
                "when": {"categories": ["books"]},
                "earns": {"kind": "per_item", "amount": "25.00"},
            },
        ],
        "tiers": {
            "measure": "sales",
            "period": "month",
            "apply": "marginal",
            "bands": [
                {"from": "0", "rate_ppm": 100_000},
                {"from": "100000.00", "rate_ppm": 120_000},
                {"from": "500000.00", "rate_ppm": 150_000},
            ],
        },
        "recurring": {"months": 12, "earns": {"kind": "percent", "rate_ppm": 50_000}},
        "bonus": {"amount": "300.00", "first_of": "affiliate"},
        "boosts": [
            {
                "name": "Black Friday",
                "groups": ["press"],
                "from": "2026-11-27T00:00:00+03:00",
                "until": "2026-11-30T00:00:00+03:00",
                "times_ppm": 1_500_000,
            },
            {
                "name": "New year",
                "from": "2026-12-25T00:00:00Z",
                "until": "2027-01-08T00:00:00Z",
                "add_ppm": 50_000,
            },
        ],
        "caps": {"per_order": "5000.00", "per_period": {"amount": "90000", "period": "month"}},
        "budget": {"amount": "1000000.00", "period": "quarter"},
        "per_lead": "40.00",
        "per_click": "0.012345",
    },
    "payout": {"hold_days": 14},
}


def changed(path: str, value: Any, document: dict[str, Any] = FULL) -> dict[str, Any]:
    """The document with one field set, or taken out by GONE."""
    made = deepcopy(document)
    *way, last = path.split(".")
    place: Any = made
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    if value is GONE:
        del place[int(last) if isinstance(place, list) else last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return made


MOMENTS = st.datetimes().map(lambda at: f"{at.isoformat(timespec='microseconds')}Z")
SPANS = st.tuples(MOMENTS, MOMENTS).filter(lambda two: two[0] != two[1]).map(sorted)
LABELS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)
NAMES = st.lists(LABELS, min_size=1, max_size=3)
AFFILIATES = st.lists(st.integers(0, 2**40).map(ids.public), min_size=1, max_size=3)
AMOUNTS = st.tuples(st.integers(0, 10**6), st.integers(0, 99)).map(lambda p: f"{p[0]}.{p[1]:02d}")
ABOVE_ZERO = AMOUNTS.filter(lambda amount: amount.strip("0") != ".")
SOME_RATE = st.integers(0, 200_000)
"""Low enough for rules, a boost and level 2 together."""
PERIODS = st.sampled_from(["month", "quarter", "year"])
WHO: dict[str, Any] = {"groups": NAMES, "affiliates": AFFILIATES}


def some_of(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with any of these fields."""
    return st.fixed_dictionaries({}, optional=optional)


EARNS = st.one_of(
    st.fixed_dictionaries({"kind": st.just("percent"), "rate_ppm": SOME_RATE}),
    st.fixed_dictionaries({"kind": st.sampled_from(["fixed", "per_item"]), "amount": AMOUNTS}),
)
WINDOWS = st.fixed_dictionaries({"days": st.integers(1, 3_650)}, optional=WHO).filter(
    lambda window: len(window) > 1
)


@st.composite
def attributions(draw: st.DrawFn) -> dict[str, Any]:
    coupon = draw(st.sampled_from(["wins", "loses", "shares", "in_order"]))
    model = draw(
        st.sampled_from(["last_click", "first_click", "linear", "position_based", "time_decay"])
    )
    made: dict[str, Any] = {
        "model": model,
        "window_days": draw(st.integers(1, 3_650)),
        "coupon": coupon,
        "existing_customer": draw(st.sampled_from(["pays", "refuses"])),
        "self_purchase": draw(st.sampled_from(["pays", "refuses"])),
        **draw(
            some_of(
                windows=st.lists(WINDOWS, max_size=3),
                binding=st.none() | st.fixed_dictionaries({"months": st.none() | st.just(3)}),
                seconds_min=st.integers(0, 86_400),
                excluded=some_of(
                    sites=st.lists(st.sampled_from(["shop.example", ".Shop.example"])),
                    paid_search=st.booleans(),
                ),
            )
        ),
    }
    kinds = ["click_token", "visitor_click", "bound_customer", "customer_email"]
    if coupon == "in_order" or draw(st.booleans()):
        kinds += ["coupon"] if coupon == "in_order" else []
        made["evidence"] = [[kind] for kind in draw(st.permutations(kinds))]
    first = draw(st.integers(0, 10**6))
    numbers = {
        "position": {"first_ppm": first, "last_ppm": 10**6 - first},
        "half_life_hours": draw(st.integers(1, 8_760)),
        "coupon_share_ppm": draw(st.integers(1, 999_999)),
    }
    reads = {"position_based": "position", "time_decay": "half_life_hours"}
    for name in (reads.get(model), "coupon_share_ppm" if coupon == "shares" else None):
        if name and draw(st.booleans()):
            made[name] = numbers[name]
    return made


@st.composite
def tiers(draw: st.DrawFn) -> dict[str, Any]:
    orders = draw(st.booleans())
    begins = sorted({0, *draw(st.lists(st.integers(1, 10**9), max_size=4))})
    return {
        "measure": "orders" if orders else "sales",
        "period": draw(PERIODS),
        "apply": draw(st.sampled_from(["marginal", "whole_period"])),
        "bands": [
            {"from": begin if orders else f"{begin}", "rate_ppm": draw(SOME_RATE)}
            for begin in begins
        ],
    }


@st.composite
def commissions(draw: st.DrawFn) -> dict[str, Any]:
    made = draw(
        some_of(
            tiers=st.none() | tiers(),
            recurring=st.none()
            | st.fixed_dictionaries(
                {"months": st.none() | st.integers(1, 120)}, optional={"earns": st.none() | EARNS}
            ),
            bonus=st.fixed_dictionaries(
                {"amount": ABOVE_ZERO, "first_of": st.sampled_from(["customer", "affiliate"])}
            ),
            caps=some_of(
                per_order=st.none() | ABOVE_ZERO,
                per_period=st.fixed_dictionaries({"amount": ABOVE_ZERO, "period": PERIODS}),
            ),
            budget=st.fixed_dictionaries({"amount": ABOVE_ZERO, "period": st.none() | PERIODS}),
            per_lead=st.none() | ABOVE_ZERO,
            per_click=st.integers(1, 999_999).map(lambda micros: f"0.{micros:06d}"),
        )
    )
    made["level_1"] = draw(EARNS)
    if made.get("tiers"):
        first = made["tiers"]["bands"][0]["rate_ppm"]
        made["level_1"] = {"kind": "percent", "rate_ppm": first}
    made["level_2"] = draw(
        st.none()
        | st.fixed_dictionaries(
            {"of": st.sampled_from(["sale", "commission"]), "rate_ppm": st.integers(1, 200_000)}
        )
    )
    made["rules"] = [
        {
            "name": name,
            "when": draw(
                st.fixed_dictionaries(
                    {"categories": NAMES},
                    optional={**WHO, "products": NAMES, "customer": st.sampled_from(["new", None])},
                )
            )
            | draw(SPANS.map(lambda span: {"from": span[0], "until": span[1]}) | st.just({})),
            "earns": draw(EARNS),
        }
        for name in draw(st.lists(LABELS, max_size=3, unique=True))
    ]
    made["boosts"] = [
        {
            "name": name,
            **draw(some_of(**WHO)),
            **draw(SPANS.map(lambda span: {"from": span[0], "until": span[1]})),
            "times_ppm": draw(st.integers(1_000_001, 3_000_000)),
        }
        for name in draw(st.lists(LABELS, max_size=3, unique=True))
    ]
    return made


DOCUMENTS = st.fixed_dictionaries(
    {
        "attribution": attributions(),
        "commission": commissions(),
        "payout": st.fixed_dictionaries({"hold_days": st.integers(0, 365)}),
    }
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=30)
    | st.sampled_from(["0", "10.00", "-1", "month", "percent", "aff_", ids.public(3), "sale"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=12,
)


@st.composite
def broken(draw: st.DrawFn) -> Any:
    """A valid document in which something, somewhere, became anything else."""
    document = deepcopy(draw(DOCUMENTS | st.just(FULL)))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = document
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and draw(st.integers(0, 3)):
                place = place[key]
                continue
            what = draw(st.integers(0, 3))
            if what == 0:
                del place[key]
            elif what == 1 and isinstance(place, dict):
                place[draw(st.text(max_size=8))] = draw(JSON)
            else:
                place[key] = draw(JSON)
            break
    return document
