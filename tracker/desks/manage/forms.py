"""Forms of rules and programs: people's words in, the documents of the verbs out."""

from __future__ import annotations

from typing import Any, Final
from zoneinfo import available_timezones

from flask_babel import lazy_gettext as _l
from wtforms import BooleanField, IntegerField, SelectField, StringField, TextAreaField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Length, NumberRange, Optional

from affiliate.programs.programs import NAME_CHARS_MAX, SUMMARY_CHARS_MAX
from tracker.desks.manage.rules_form import NEEDED, Form, TermsForm

TEXT_CHARS_MAX: Final = 300
_ZONES: Final = [*sorted(zone for zone in available_timezones() if "/" in zone), "UTC"]


class SettingsForm(Form):
    """What can be changed about a program at any time."""

    name = StringField(_l("Name"), [NEEDED, Length(max=NAME_CHARS_MAX)])
    summary = TextAreaField(
        _l("Summary"),
        [Optional(), Length(max=SUMMARY_CHARS_MAX)],
        description=_l("One or two sentences for the public page."),
        render_kw={"rows": 2},
    )
    landing_url = StringField(
        _l("Landing page"),
        [NEEDED, Length(max=TEXT_CHARS_MAX)],
        description=_l("Where a link without a page of its own leads."),
    )
    allowed_sites = TextAreaField(
        _l("Allowed sites"),
        [NEEDED, Length(max=5_000)],
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
        [NEEDED, Length(max=63)],
        description=_l("Stands in /programs/…: small letters, digits, hyphens. It stays."),
    )
    currency = StringField(
        _l("Currency"),
        [NEEDED, Length(3, 3, _l("Three letters, such as EUR."))],
        description=_l("ISO code such as EUR. It stays."),
    )
