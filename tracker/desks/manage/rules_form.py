"""The form of a rule version: the most used settings as fields, the whole document as text.

One of the two is what is saved: the text where it was edited, else the document that the form
was opened with, changed by the fields. Either way both are filled anew from what was saved or
previewed, so that they never say two things. Rule: docs/rules.md, "The rule document".
"""

from __future__ import annotations

import json
from typing import Any, Final

from flask_babel import lazy_gettext as _l
from flask_babel import lazy_pgettext
from flask_wtf import FlaskForm
from wtforms import (
    HiddenField,
    IntegerField,
    RadioField,
    SelectField,
    StringField,
    TextAreaField,
)
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Length, NumberRange, Optional

from affiliate.core import strict_json
from affiliate.core.errors import Invalid, Malformed, Refusal
from affiliate.core.pages import say
from affiliate.programs.terms import (
    HALF_LIFE_HOURS_MAX,
    HOLD_DAYS_MAX,
    MONTHS_MAX,
    WINDOW_DAYS_MAX,
)
from tracker.desks.manage import rules_document
from tracker.desks.manage.percentages import is_rate

TEXT_CHARS_MAX: Final = 200_000
AMOUNT_CHARS_MAX: Final = 30
NEEDED = InputRequired(_l("Please fill this in."))
_DECIMAL: Final = {"inputmode": "decimal"}


class Form(FlaskForm):  # type: ignore[misc]
    """Ours: shows a refusal beside the fields that it is about."""

    def show(self, refusal: Refusal) -> None:
        """Put each error beside its field; what belongs to none goes above the form."""
        for error in refusal.errors:
            name = self.field_of(error.field)
            if name in self:
                message = say(error.message)
                told = message if name == error.field else f"{message} ({error.field})"
                self[name].errors = [*self[name].errors, told]
            else:
                self.form_errors.append(say(error.message))
        if not refusal.errors:
            self.form_errors.append(say(refusal.detail))

    def field_of(self, path: str) -> str:
        """The field in which the setting of this path is written."""
        return path


def _percent(label: str, **kwargs: Any) -> StringField:
    return StringField(label, [is_rate], render_kw=_DECIMAL, **kwargs)


def _amount(label: str, **kwargs: Any) -> StringField:
    return StringField(label, [Length(max=AMOUNT_CHARS_MAX)], render_kw=_DECIMAL, **kwargs)


def _whole(label: str, most: int) -> IntegerField:
    return IntegerField(label, [Optional(), NumberRange(1, most)])


def _choice(label: str, *choices: tuple[str, Any], **kwargs: Any) -> SelectField:
    return SelectField(label, choices=[SelectChoice(*each) for each in choices], **kwargs)


_PERIODS = (
    ("month", _l("calendar month")), ("quarter", _l("quarter")), ("year", _l("calendar year")),
)  # fmt: skip


class TermsForm(Form):
    """The rules of one version."""

    level_1_kind = RadioField(
        _l("What an order earns"),
        choices=[
            SelectChoice("percent", _l("a percentage of its net")),
            SelectChoice("fixed", _l("a fixed amount")),
            SelectChoice("per_item", _l("an amount for each piece")),
        ],
        default="percent",
        validators=[NEEDED],
    )
    level_1_rate = _percent(
        _l("Percentage"),
        description=_l("Of the net: without shipping, fees and tax, after discounts."),
    )
    level_1_amount = _amount(
        _l("Amount for an order or a piece"), description=_l("Never more than the order's net.")
    )
    level_2_of = _choice(
        _l("Second level: what recruiters earn"),
        ("none", _l("nothing")),
        ("sale", _l("a percentage of the sale")),
        ("commission", _l("a percentage of the recruit's commission")),
    )
    level_2_rate = _percent(_l("Percentage of it"))
    tiers_measure = _choice(
        _l("Rates rise"),
        ("none", _l("no, one rate for all")),
        ("sales", _l("by net sales")),
        ("orders", _l("by number of orders")),
        default="none",
    )
    tiers_period = _choice(_l("Counted in a"), *_PERIODS, default="month")
    tiers_apply = _choice(
        _l("A higher rate counts"),
        ("marginal", _l("for what lies above its edge")),
        ("whole_period", _l("for the whole period, made up for at its end")),
        default="marginal",
    )
    tier_from_2, tier_rate_2 = _amount(lazy_pgettext("band", "From")), _percent(_l("Percentage"))
    tier_from_3, tier_rate_3 = _amount(lazy_pgettext("band", "From")), _percent(_l("Percentage"))
    tier_from_4, tier_rate_4 = _amount(lazy_pgettext("band", "From")), _percent(_l("Percentage"))
    tier_from_5, tier_rate_5 = _amount(lazy_pgettext("band", "From")), _percent(_l("Percentage"))
    tier_from_6, tier_rate_6 = _amount(lazy_pgettext("band", "From")), _percent(_l("Percentage"))
    cap_order = _amount(
        _l("At most for an order"), description=_l("Level 1. Empty: no limit but the net.")
    )
    cap_amount = _amount(_l("At most in a period"), description=_l("Per affiliate, level 1."))
    cap_period = _choice(_l("Which period"), *_PERIODS, default="month")
    model = RadioField(
        _l("Clicks of several affiliates"),
        choices=[
            SelectChoice("last_click", _l("the last click is credited")),
            SelectChoice("first_click", _l("the first click is credited")),
            SelectChoice("linear", _l("all share equally")),
            SelectChoice("position_based", _l("the first and the last take more than the others")),
            SelectChoice("time_decay", _l("later clicks take more")),
        ],
        default="last_click",
        validators=[NEEDED],
    )
    position_first = _percent(_l("Share of the first click, percent"))
    position_last = _percent(_l("Share of the last click, percent"))
    half_life_hours = _whole(_l("A click weighs half after (hours)"), HALF_LIFE_HOURS_MAX)
    window_days = IntegerField(
        _l("A click counts for (days)"), [NEEDED, NumberRange(1, WINDOW_DAYS_MAX)]
    )
    coupon = _choice(
        _l("A coupon against another's click"),
        ("loses", _l("the click wins")),
        ("wins", _l("the coupon wins")),
        ("shares", _l("they share")),
        ("in_order", _l("it counts where the order of evidence names it")),
    )
    coupon_share = _percent(_l("Share of the coupon, percent"))
    existing_customer = _choice(
        _l("The buyer was a customer before"),
        ("pays", _l("the order is credited")),
        ("refuses", _l("it is not credited")),
    )
    self_purchase = _choice(
        _l("Affiliates buying for themselves"),
        ("refuses", _l("are not credited")),
        ("pays", _l("are credited")),
    )
    binding = _choice(
        _l("A buyer stays with their first affiliate"),
        ("none", _l("no")),
        ("months", _l("for some months")),
        ("life", _l("for good")),
        default="none",
    )
    binding_months = _whole(_l("Months"), MONTHS_MAX)
    hold_days = IntegerField(
        _l("Hold period (days)"),
        [NEEDED, NumberRange(0, HOLD_DAYS_MAX)],
        description=_l("From the order until its commission can be withdrawn."),
    )
    whole = TextAreaField(
        _l("The whole document"),
        [Length(max=TEXT_CHARS_MAX)],
        description=_l(
            "If you change this text, it is what counts, and the fields above are filled from it."
        ),
        render_kw={"rows": 24, "spellcheck": "false", "autocomplete": "off"},
    )
    base = HiddenField()
    """The text as the page was drawn; another text in `whole` was edited."""

    @property
    def edited(self) -> bool:
        """Whether the text is what counts."""
        return _plain(self.whole.data) not in ("", _plain(self.base.data))

    def validate(self, extra_validators: Any = None) -> bool:
        """Where the text counts, the fields that it stands for are not looked at."""
        super().validate(extra_validators)
        if self.edited:
            for name in rules_document.FIELDS:
                self[name].errors = []
        return not self.errors

    def document(self) -> dict[str, Any]:
        """The rules' document. Raises Invalid: it is no JSON, or a choice lacks its number."""
        if self.edited:
            return _parsed(self.whole.data)
        base = _parsed(self.base.data) if _plain(self.base.data) else {}
        values = {name: self[name].data for name in rules_document.FIELDS}
        return rules_document.with_fields(base, values)

    def fill(self, document: dict[str, Any]) -> None:
        """Show a document that was read and written back, in the fields and as text."""
        for name, value in rules_document.fields_of(document).items():
            # A number that was sent is drawn again out of raw_data, whatever data says.
            self[name].data, self[name].raw_data = value, None
        text = json.dumps(document, indent=2, ensure_ascii=False)
        self.whole.data = self.base.data = text

    def field_of(self, path: str) -> str:
        """The field of a setting; the text for settings without one, and where it counts."""
        if not path.startswith(("attribution", "commission", "payout")):
            return path
        return "whole" if self.edited else rules_document.PATHS.get(path, "whole")


def _plain(text: str | None) -> str:
    """Browsers send line breaks of their own."""
    return (text or "").replace("\r\n", "\n").strip()


def _parsed(text: str | None) -> dict[str, Any]:
    try:
        document = strict_json.loads(_plain(text).encode("utf-8", "replace"))
    except Malformed as refusal:
        message = refusal.detail.replace("The body", "The text")
        raise Invalid.field("whole", "not_json", message) from None
    if not isinstance(document, dict):
        raise Invalid.field("whole", "not_an_object", str(_l("Write one JSON object: { … }.")))
    return document
