"""The quick pass over a document: exactly what marshmallow itself reads and refuses."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from affiliate.core.fields import Flag, MomentField, MoneyField, Sha256, ShopId, Text
from affiliate.core.quick_schema import QuickSchema

ODD: st.SearchStrategy[object] = st.sampled_from(
    [None, True, 0, -1, 1.5, "", "x", "0" * 64, "x" * 600, [], [None], {}, "é"]
)
MONEY = st.sampled_from(
    [
        {"amount": "19.99", "currency": "EUR"},
        {"amount": "19.999", "currency": "EUR"},
        {"amount": 19, "currency": "EUR"},
        {"amount": "1"},
        {"amount": "1", "currency": "XXX", "more": 1},
    ]
)
MOMENT = st.sampled_from(["2026-11-21T10:15:00Z", "2026-02-30T10:15:00Z", "yesterday"])
LINE = st.fixed_dictionaries(
    {}, optional={"sku": ODD, "quantity": st.one_of(ODD, st.just(3)), "price": MONEY, "odd": ODD}
)
BUYER = st.fixed_dictionaries(
    {}, optional={"id": st.one_of(ODD, st.just("C-1")), "hash": ODD, "new": ODD, "odd": ODD}
)
DOCUMENTS = st.fixed_dictionaries(
    {"id": st.one_of(st.just("A-1"), st.just("A-1"), ODD)},
    optional={
        "at": st.one_of(MOMENT, ODD),
        "total": st.one_of(MONEY, ODD),
        "lines": st.one_of(st.lists(LINE, max_size=3), ODD),
        "buyer": st.one_of(BUYER, ODD),
        "tokens": st.one_of(st.lists(ODD, max_size=3), st.just(["a", "b"]), ODD),
        "flag": ODD,
        "odd": ODD,
    },
)


class Line(QuickSchema):
    sku = Text(load_default="")
    quantity = fields.Integer(strict=True, load_default=1, validate=validate.Range(min=1, max=9))
    price = MoneyField(required=True)


class Buyer(QuickSchema):
    id = ShopId(load_default=None)
    hash = Sha256(load_default=None)
    new = Flag(load_default=None)

    def make(self, values: dict[str, object]) -> object:
        return ("buyer", *sorted(values.items(), key=repr))


class Document(QuickSchema):
    id = ShopId(required=True)
    at = MomentField()
    total = MoneyField()
    lines = fields.List(fields.Nested(Line), validate=validate.Length(max=2))
    buyer = fields.Nested(Buyer)
    tokens = fields.List(Text(chars_max=20))
    flag = Flag(load_default=True)


class Lenient(Document):
    class Meta:
        unknown = EXCLUDE


def read(schema: Schema, document: object) -> object:
    try:
        return schema.load(document)  # type: ignore[arg-type]
    except ValidationError as error:
        return error.messages


@settings(max_examples=400, deadline=None)
@given(document=DOCUMENTS, kind=st.sampled_from([Document, Lenient]))
def test_the_quick_pass_reads_and_refuses_what_marshmallow_does(
    document: dict[str, object], kind: type[QuickSchema]
) -> None:
    quick = read(kind(), document)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QuickSchema, "load", Schema.load)
        assert quick == read(kind(), document)


@pytest.mark.parametrize("document", [None, [], "x", 1])
def test_what_is_no_object_is_refused_as_marshmallow_refuses_it(document: object) -> None:
    assert read(Document(), document) == {"_schema": ["Invalid input type."]}


def test_a_right_document_is_not_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Schema, "load", None)
    assert Document().load({"id": "A-1", "lines": []}) == {"id": "A-1", "lines": [], "flag": True}


def test_fields_that_the_quick_pass_does_not_know_are_refused_at_once() -> None:
    for field in (
        Text(data_key="other"),
        Text(load_default=str),
        fields.Nested(Schema.from_dict({"a": Text()})),
        fields.Nested(Line, many=True),
        Text(post_load=str.strip),
    ):
        schema = type("Odd", (QuickSchema,), {"odd": field})
        with pytest.raises(TypeError, match="odd"):
            schema()
