"""Forms of rules and programs: people's words in, the documents of the verbs out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import BooleanField, IntegerField, RadioField, SelectField, StringField, TextAreaField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Length, NumberRange, Optional, ValidationError

from affiliate.core.errors import Invalid, Refusal
from affiliate.core.pages import say
from affiliate.programs.programs import NAME_CHARS_MAX, SUMMARY_CHARS_MAX
from affiliate.programs.terms import HOLD_DAYS_MAX, WINDOW_DAYS_MAX

PPM_PER_PERCENT: Final = 10_000
PERCENT_DIGITS_MAX: Final = 4
TEXT_CHARS_MAX: Final = 300
_NEEDED = InputRequired(_l("Please fill this in."))

PATHS: Final = {
    "attribution.model": "model",
    "attribution.window_days": "window_days",
    "attribution.coupon": "coupon",
    "attribution.existing_customer": "existing_customer",
    "attribution.self_purchase": "self_purchase",
    "commission.level_1": "level_1_rate",
    "commission.level_1.rate_ppm": "level_1_rate",
    "commission.level_1.amount": "level_1_amount",
    "commission.level_2": "level_2_rate",
    "commission.level_2.rate_ppm": "level_2_rate",
    "payout.hold_days": "hold_days",
}
"""Where a refusal of the rules' document belongs in the form."""


class Form(FlaskForm):  # type: ignore[misc]
    """Ours: shows a refusal beside the fields that it is about."""

    def show(self, refusal: Refusal) -> None:
        """Put each error beside its field; what belongs to none goes above the form."""
        for error in refusal.errors:
            name = PATHS.get(error.field, error.field)
            if name in self:
                self[name].errors = [*self[name].errors, say(error.message)]
            else:
                self.form_errors.append(say(error.message))
        if not refusal.errors:
            self.form_errors.append(say(refusal.detail))


def parts_per_million(text: str) -> int:
    """`12.5` percent as 125,000 parts per million; ValueError when it is no rate."""
    text = text.strip().removesuffix("%").strip().replace(",", ".")
    whole, point, fraction = text.partition(".")
    digits = whole + fraction
    if not (digits.isascii() and digits.isdigit() and whole) or len(whole) > 3:
        raise ValueError("not a percentage")
    if (point and not fraction) or len(fraction) > PERCENT_DIGITS_MAX:
        raise ValueError("too many digits")
    return int(whole) * PPM_PER_PERCENT + int(fraction.ljust(PERCENT_DIGITS_MAX, "0"))


def percent_text(rate_ppm: int) -> str:
    """`12.5` for 125,000 parts per million: as the form shows it again."""
    whole, rest = divmod(rate_ppm, PPM_PER_PERCENT)
    fraction = f"{rest:04d}".rstrip("0")
    return f"{whole}.{fraction}" if fraction else str(whole)


def _is_rate(_form: Any, field: Any) -> None:
    if not field.data:
        return
    try:
        rate = parts_per_million(field.data)
    except ValueError:
        raise ValidationError(_l("Write a percentage such as 10 or 12.5.")) from None
    if rate > 100 * PPM_PER_PERCENT:
        raise ValidationError(_l("At most 100."))


class TermsForm(Form):
    """The rules of one version."""

    level_1_kind = RadioField(
        _l("What an order earns"),
        choices=[
            SelectChoice("percent", _l("a percentage of its net")),
            SelectChoice("fixed", _l("a fixed amount")),
        ],
        default="percent",
        validators=[_NEEDED],
    )
    level_1_rate = StringField(
        _l("Percentage"),
        [_is_rate],
        description=_l("Of the net: without shipping, fees and tax, after discounts."),
        render_kw={"inputmode": "decimal"},
    )
    level_1_amount = StringField(
        _l("Fixed amount for an order"),
        [Length(max=30)],
        description=_l("Never more than the order's net."),
        render_kw={"inputmode": "decimal"},
    )
    level_2_of = SelectField(
        _l("Second level: what recruiters earn"),
        choices=[
            SelectChoice("none", _l("nothing")),
            SelectChoice("sale", _l("a percentage of the sale")),
            SelectChoice("commission", _l("a percentage of the recruit's commission")),
        ],
    )
    level_2_rate = StringField(
        _l("Percentage of it"), [_is_rate], render_kw={"inputmode": "decimal"}
    )
    model = RadioField(
        _l("Clicks of several affiliates"),
        choices=[
            SelectChoice("last_click", _l("the last click is credited")),
            SelectChoice("first_click", _l("the first click is credited")),
        ],
        default="last_click",
        validators=[_NEEDED],
    )
    window_days = IntegerField(
        _l("A click counts for (days)"),
        [_NEEDED, NumberRange(1, WINDOW_DAYS_MAX)],
    )
    coupon = SelectField(
        _l("A coupon against another's click"),
        choices=[
            SelectChoice("loses", _l("the click wins")),
            SelectChoice("wins", _l("the coupon wins")),
        ],
    )
    existing_customer = SelectField(
        _l("The buyer was a customer before"),
        choices=[
            SelectChoice("pays", _l("the order is credited")),
            SelectChoice("refuses", _l("it is not credited")),
        ],
    )
    self_purchase = SelectField(
        _l("Affiliates buying for themselves"),
        choices=[
            SelectChoice("refuses", _l("are not credited")),
            SelectChoice("pays", _l("are credited")),
        ],
    )
    hold_days = IntegerField(
        _l("Hold period (days)"),
        [_NEEDED, NumberRange(0, HOLD_DAYS_MAX)],
        description=_l("From the order until its commission can be withdrawn."),
    )

    def document(self) -> dict[str, Any]:
        """The rules' document. Raises Invalid where a chosen kind lacks its number."""
        return {
            "attribution": {
                "model": self.model.data,
                "window_days": self.window_days.data,
                "coupon": self.coupon.data,
                "existing_customer": self.existing_customer.data,
                "self_purchase": self.self_purchase.data,
            },
            "commission": {"level_1": self._level_1(), "level_2": self._level_2()},
            "payout": {"hold_days": self.hold_days.data},
        }

    def fill(self, document: dict[str, Any]) -> None:
        """Show the rules of a document."""
        level_1, level_2 = document["commission"]["level_1"], document["commission"]["level_2"]
        for name in ("model", "window_days", "coupon", "existing_customer", "self_purchase"):
            self[name].data = document["attribution"][name]
        self.hold_days.data = document["payout"]["hold_days"]
        self.level_1_kind.data = level_1["kind"]
        if level_1["kind"] == "percent":
            self.level_1_rate.data = percent_text(level_1["rate_ppm"])
        else:
            self.level_1_amount.data = level_1["amount"]
        self.level_2_of.data = level_2["of"] if level_2 else "none"
        self.level_2_rate.data = percent_text(level_2["rate_ppm"]) if level_2 else ""

    def _level_1(self) -> dict[str, Any]:
        if self.level_1_kind.data == "fixed":
            if not self.level_1_amount.data:
                raise Invalid.field("level_1_amount", "missing", str(_l("Write the amount.")))
            return {"kind": "fixed", "amount": self.level_1_amount.data.strip()}
        if not self.level_1_rate.data:
            raise Invalid.field("level_1_rate", "missing", str(_l("Write the percentage.")))
        return {"kind": "percent", "rate_ppm": parts_per_million(self.level_1_rate.data)}

    def _level_2(self) -> dict[str, Any] | None:
        if self.level_2_of.data == "none":
            return None
        if not self.level_2_rate.data:
            raise Invalid.field("level_2_rate", "missing", str(_l("Write the percentage.")))
        return {
            "of": self.level_2_of.data,
            "rate_ppm": parts_per_million(self.level_2_rate.data),
        }


class RulesForm(TermsForm):
    """The next version, and from when on it is in force."""

    when = RadioField(
        _l("From when"),
        choices=[
            SelectChoice("now", _l("from now on")),
            SelectChoice("later", _l("from a later moment")),
        ],
        default="now",
        validators=[_NEEDED],
    )
    effective_at = StringField(
        _l("From"),
        [Length(max=16)],
        render_kw={"type": "datetime-local"},
    )

    def effective(self, *, zone: str, now: datetime) -> datetime:
        """The instant; a local moment is of the program's zone. Raises Invalid."""
        if self.when.data == "now":
            return now
        try:
            local = datetime.fromisoformat(self.effective_at.data or "")
        except ValueError:
            message = str(_l("Choose the day and the hour."))
            raise Invalid.field("effective_at", "not_a_moment", message) from None
        return local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


_ZONES: Final = [*sorted(zone for zone in available_timezones() if "/" in zone), "UTC"]


class SettingsForm(Form):
    """What can be changed about a program at any time."""

    name = StringField(_l("Name"), [_NEEDED, Length(max=NAME_CHARS_MAX)])
    summary = TextAreaField(
        _l("Summary"),
        [Optional(), Length(max=SUMMARY_CHARS_MAX)],
        description=_l("One or two sentences for the public page."),
        render_kw={"rows": 2},
    )
    landing_url = StringField(
        _l("Landing page"),
        [_NEEDED, Length(max=TEXT_CHARS_MAX)],
        description=_l("Where a link without a page of its own leads."),
    )
    allowed_sites = TextAreaField(
        _l("Allowed sites"),
        [_NEEDED, Length(max=5_000)],
        description=_l("One host a line; .shop.example allows every subdomain."),
        render_kw={"rows": 3},
    )
    rail = SelectField(_l("Paid by"))
    payout_weekday = SelectField(_l("Payout day"), coerce=int)
    payout_hour = IntegerField(_l("Payout hour"), [InputRequired(), NumberRange(0, 23)])
    time_zone = SelectField(_l("Time zone"), choices=[SelectChoice(zone, zone) for zone in _ZONES])
    contact_email = StringField(
        _l("Contact for affiliates"), [Optional(), Length(max=TEXT_CHARS_MAX)]
    )
    auto_approve = BooleanField(_l("Let verified applicants in at once"))

    def changes(self) -> dict[str, Any]:
        """The settings as the verbs take them."""
        return {
            "name": self.name.data,
            "summary": (self.summary.data or "").strip(),
            "landing_url": (self.landing_url.data or "").strip(),
            "allowed_sites": (self.allowed_sites.data or "").split(),
            "rail": self.rail.data,
            "payout_weekday": self.payout_weekday.data,
            "payout_hour": self.payout_hour.data,
            "time_zone": self.time_zone.data,
            "contact_email": (self.contact_email.data or "").strip(),
            "auto_approve": bool(self.auto_approve.data),
        }


class ProgramForm(SettingsForm, TermsForm):
    """A new program: its address, currency, settings and first rules."""

    slug = StringField(
        _l("Address"),
        [_NEEDED, Length(max=63)],
        description=_l("Stands in /programs/…: small letters, digits, hyphens. It stays."),
    )
    currency = StringField(
        _l("Currency"),
        [_NEEDED, Length(3, 3, _l("Three letters, such as EUR."))],
        description=_l("ISO code such as EUR. It stays."),
    )
