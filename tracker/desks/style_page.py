"""What the style page shows: one value of each kind, as pages get them."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace

from flask_babel import gettext as _
from flask_wtf import FlaskForm
from wtforms import BooleanField, SelectField, StringField, TextAreaField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import DataRequired, Optional

from affiliate.core.money import Money

CURRENCY = "RUB"


def example(now: datetime) -> SimpleNamespace:
    """The context `example` of templates/_styleguide.html."""
    return SimpleNamespace(
        form=_form(),
        at=now,
        available=_rubles(1_284_170_000),
        pending=_rubles(912_500_000),
        month=_rubles(2_420_800_000),
        paid=_rubles(18_204_330_000),
        zero=_rubles(0),
        negative=_rubles(-350_000_000),
        rows=[
            ["A-10042", now, "pending", _rubles(4_490_000_000), _rubles(350_000_000)],
            ["A-10038", now - timedelta(days=1), "available", _rubles(12_300_000_000),
             _rubles(1_012_500_000)],
            ["A-10031", now - timedelta(days=3), "refunded", _rubles(990_000_000),
             _rubles(-79_200_000)],
            ["A-10007", now - timedelta(days=9), "unconfirmed", _rubles(150_000_000),
             _rubles(11_250_000)],
        ],
    )  # fmt: skip


def _form() -> FlaskForm:
    class ExampleForm(FlaskForm):  # type: ignore[misc]
        destination = StringField(
            _("Page of the shop"),
            [Optional()],
            description=_("Any page of the shop; we check that it is one of its own."),
        )
        amount = StringField(_("Amount"), [DataRequired()])
        rail = SelectField(
            _("Paid by"),
            choices=[SelectChoice("stripe", "Stripe"), SelectChoice("bank", _("Bank"))],
        )
        note = TextAreaField(_("Note to finance"), [Optional()])
        agree = BooleanField(_("I have read the rules of 1 November"))

    form = ExampleForm()
    form.amount.errors = [_("At most two digits after the point: 0.01 is the smallest amount.")]
    return form


def _rubles(micros: int) -> Money:
    return Money(micros=micros, currency=CURRENCY)
