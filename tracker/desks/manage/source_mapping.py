"""The mapping of a generic source: written field by field, tried against what came."""

from __future__ import annotations

import json
from typing import Any, Final

from flask import request
from flask_babel import lazy_gettext as _l
from wtforms import RadioField, SelectField, StringField, TextAreaField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import Length

from affiliate.core.db import db
from affiliate.core.errors import Invalid, NotFound, Phrase, Refusal
from affiliate.core.pages import moment, say
from tracker.desks.acting import Answer, submit
from tracker.desks.manage import source_words as words
from tracker.desks.manage.blueprint import Place, actors, manage, page, require_acting
from tracker.desks.manage.rules_form import Form
from tracker.desks.manage.sources import address_of, found, header_field, me, scheme_field
from tracker.desks.words import _
from tracker.orders.rules import net_of
from tracker.sources import bodies, connect, generic, lookup
from tracker.sources.models import Source
from tracker.sources.rules import Kind
from tracker.sources.signatures import Scheme
from tracker.sources.trial import Tried, try_mapping

BODY_CHARS_MAX: Final = 100_000
_PLAIN: Final = {"autocomplete": "off", "spellcheck": "false", "class": "mono"}


def _expression(label: Any) -> StringField:
    checks = [Length(max=generic.EXPRESSION_CHARS_MAX)]
    return StringField(label, checks, render_kw=dict(_PLAIN))


def _words(label: Any) -> StringField:
    checks = [Length(max=generic.WORDS_CHARS_MAX)]
    return StringField(label, checks, render_kw={"autocomplete": "off"})


class MappingForm(Form):
    """What stands where in the bodies of a source, and how they are signed."""

    scheme = scheme_field()
    header = header_field()
    amounts = RadioField(
        _l("Amounts are"),
        choices=[
            SelectChoice("decimal", _l("decimal numbers: 19.99")),
            SelectChoice(generic.MINOR, _l("whole smallest units: 1999")),
        ],
        default="decimal",
    )
    event = _expression(_l("Kind of event"))
    orders = _words(_l("Events that are orders"))
    refunds = _words(_l("Events that are refunds"))
    cancellations = _words(_l("Events that are cancellations"))
    delivery_id = _expression(_l("Id of the event"))
    changed_at = _expression(_l("Time of the event"))
    order_id = _expression(_l("Order number"))
    placed_at = _expression(_l("Time of the order"))
    currency = _expression(_l("Currency"))
    total = _expression(_l("Total"))
    discount = _expression(_l("Discount"))
    tax = _expression(_l("Tax on the goods"))
    tax_included = _expression(_l("Prices include tax"))
    shipping = _expression(_l("Shipping"))
    fees = _expression(_l("Fees"))
    customer_id = _expression(_l("Customer's id"))
    customer_email = _expression(_l("Customer's e-mail"))
    clicks = _expression(_l("Click tokens"))
    visitor = _expression(_l("Visitor"))
    coupon = _expression(_l("Coupon"))
    subscription_id = _expression(_l("Subscription's id"))
    subscription_sequence = _expression(_l("Which payment of it"))
    items = _expression(_l("List of items"))
    item_sku = _expression(_l("SKU"))
    item_name = _expression(_l("Item's name"))
    item_category = _expression(_l("Category"))
    item_quantity = _expression(_l("Quantity"))
    item_price = _expression(_l("Price of a piece"))
    refund_id = _expression(_l("Refund's id"))
    refund_amount = _expression(_l("Refunded amount"))
    reason = _expression(_l("Reason"))
    against = SelectField(_l("Try it against"), validate_choice=False)
    body = TextAreaField(
        _l("or a body that you paste"),
        [Length(max=BODY_CHARS_MAX)],
        render_kw={"rows": "4", "spellcheck": "false"},
    )

    def document(self) -> dict[str, Any]:
        """The mapping as it is kept."""
        fields = {name: (self[name].data or "").strip() for name in generic.FIELDS}
        said = {name: (self[name].data or "").strip() for name in generic.WORDS}
        return {
            "amounts": self.amounts.data,
            **said,
            "fields": {name: value for name, value in fields.items() if value},
        }


GROUPS: Final = (
    (_l("Events"), (
        "event", "orders", "refunds", "cancellations", "delivery_id", "changed_at")),
    (_l("The order"), (
        "order_id", "placed_at", "currency", "total", "discount", "tax", "tax_included",
        "shipping", "fees")),
    (_l("Who bought, and by whom they came"), (
        "customer_id", "customer_email", "clicks", "visitor", "coupon", "subscription_id",
        "subscription_sequence")),
    (_l("Its items"), ("items", *generic.ITEM_FIELDS)),
    (_l("Refunds"), ("refund_id", "refund_amount", "reason")),
)  # fmt: skip


@manage.get("/sources/<source>/mapping")
@actors
def source_mapping(source: str) -> str:
    """The mapping as it is."""
    here, row = _generic(source)
    said = row.mapping
    form = MappingForm(
        formdata=None, scheme=row.scheme, header=row.header,
        amounts=said.get("amounts", "decimal"), **said.get("fields", {}),
        **{name: said.get(name, "") for name in generic.WORDS},
    )  # fmt: skip
    return _page(here, row, form)


@manage.post("/sources/<source>/mapping")
@actors
def set_source_mapping(source: str) -> Answer:
    """Try the mapping against a body, or keep it."""
    here, row = _generic(source)
    require_acting(row.program_id)
    form = MappingForm()
    if request.form.get("what") == "try":
        return _try(here, row, form)
    return submit(
        form,
        lambda session, now: connect.set_mapping(
            session, source_id=row.id, document=form.document(), scheme=Scheme(form.scheme.data),
            header=form.header.data or "", by=me(), now=now,
        ),
        done=_("The mapping is kept; what comes from now on is read by it."),
        back=address_of(row),
        page=lambda: _page(here, row, form),
    )  # fmt: skip


def _try(here: Place, row: Source, form: MappingForm) -> Answer:
    if not form.validate_on_submit():
        return _page(here, row, form), 422
    try:
        body = _body(row, form)
    except Refusal as refusal:
        form.show(refusal)
        return _page(here, row, form), refusal.status
    tried = try_mapping(form.document(), body)
    for error in tried.errors:
        if error.field in form:
            form[error.field].errors = [*form[error.field].errors, say(error.message)]
        else:
            form.form_errors.append(f"{error.field}: {say(error.message)}")
    return _page(here, row, form, tried, body)


def _body(row: Source, form: MappingForm) -> dict[str, Any]:
    """What was pasted, else the delivery that was chosen."""
    if (form.body.data or "").strip():
        return bodies.read(form.body.data.encode("utf-8", "replace"))
    if not form.against.data:
        raise Invalid.field("body", "required", Phrase("Choose a body, or paste one."))
    found_ = lookup.delivery_of(db.session(), source_id=row.id, text=form.against.data)
    return found_.body or {}


def _page(
    here: Place,
    row: Source,
    form: MappingForm,
    tried: Tried | None = None,
    body: dict[str, Any] | None = None,
) -> str:
    recorded = lookup.recorded(db.session(), source_id=row.id)
    form.against.choices = [SelectChoice("", _("the pasted one"))] if not recorded else [
        SelectChoice(lookup.public(each.id), _choice(each)) for each in recorded
    ]  # fmt: skip
    if body is None and recorded:
        body = recorded[0].body
    order = tried.order if tried else None
    return page(
        "source_mapping",
        here,
        source=row,
        name=connect.public(row.id),
        form=form,
        groups=GROUPS,
        tried=tried,
        errors=[(_label(form, each.field), say(each.message)) for each in tried.errors]
        if tried
        else [],
        order=order,
        net=net_of(order) if order else None,
        body=None if body is None else json.dumps(body, indent=2, ensure_ascii=False),
        words=words,
    )


def _label(form: MappingForm, name: str) -> str:
    return str(form[name].label.text) if name in form else name


def _choice(each: Any) -> str:
    return f"{moment(each.received_at)} · {each.order_id or each.delivery_id[:24]}"


def _generic(text: str) -> tuple[Place, Source]:
    here, row = found(text)
    if row.kind != Kind.GENERIC:
        raise NotFound
    return here, row
