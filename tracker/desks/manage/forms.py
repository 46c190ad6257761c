"""Forms of rules and programs: people's words in, the documents of the verbs out."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from flask_babel import lazy_gettext as _l
from flask_babel import lazy_pgettext
from wtforms import (
    BooleanField,
    HiddenField,
    IntegerField,
    RadioField,
    SelectField,
    StringField,
    TextAreaField,
)
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Length, NumberRange, Optional

from affiliate.core.errors import Invalid
from affiliate.programs.announcements import Grandfather
from affiliate.programs.drafts import NAME_CHARS_MAX as DRAFT_NAME_CHARS_MAX
from affiliate.programs.drafts import NOTE_CHARS_MAX
from affiliate.programs.programs import (
    NAME_CHARS_MAX,
    NOTICE_DAYS_DEFAULT,
    RATE_DAYS,
    RATE_DAYS_DEFAULT,
    RULES_NOTICE_DAYS,
    SUMMARY_CHARS_MAX,
)
from tracker.desks.manage.rules_form import NEEDED, Form, TermsForm

TEXT_CHARS_MAX: Final = 300
YEAR_MIN: Final = 2000


class DraftForm(TermsForm):
    """The next version while it is being written."""

    name = StringField(
        _l("Name of the draft"),
        [NEEDED, Length(max=DRAFT_NAME_CHARS_MAX)],
        description=_l("For the people who write it, such as Winter terms."),
    )
    note = TextAreaField(
        _l("Note"),
        [Optional(), Length(max=NOTE_CHARS_MAX)],
        description=_l("Affiliates do not see it."),
        render_kw={"rows": 2},
    )
    revision = HiddenField()
    """Which state of the draft the page showed."""

    @property
    def seen(self) -> int:
        """The revision; 0, which no draft has, where a stranger wrote something else."""
        text = self.revision.data or ""
        return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0


class AnnouncementForm(Form):
    """From when on a draft is in force, and who keeps what."""

    effective_at = StringField(
        _l("In force from"), [Length(max=16)], render_kw={"type": "datetime-local"}
    )
    keep = RadioField(
        _l("Affiliates who are here before"),
        choices=[
            SelectChoice("no", _l("get the new commission terms as well")),
            SelectChoice("until", _l("keep their commission terms until a day")),
            SelectChoice("for_good", _l("keep their commission terms for good")),
        ],
        default="no",
        validators=[NEEDED],
    )
    grandfather_until = StringField(
        _l("They keep them until"), [Length(max=16)], render_kw={"type": "datetime-local"}
    )
    revision = HiddenField()

    def effective(self, zone: str) -> datetime:
        """The instant; a local moment is of the program's zone. Raises Invalid."""
        return moment_of(self.effective_at, zone)

    def grandfather(self, zone: str) -> Grandfather | None:
        """Who keeps what. Raises Invalid."""
        if self.keep.data == "until":
            return Grandfather(moment_of(self.grandfather_until, zone))
        return Grandfather() if self.keep.data == "for_good" else None

    @property
    def seen(self) -> int:
        """As `DraftForm.seen`."""
        text = self.revision.data or ""
        return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0


class TrialForm(Form):
    """The days on which a draft is tried, first and last included."""

    first = StringField(_l("First day"), [Length(max=10)], render_kw={"type": "date"})
    last = StringField(_l("Last day"), [Length(max=10)], render_kw={"type": "date"})

    def days(self) -> tuple[date | None, date | None]:
        """The two days; None where none was written. Raises Invalid for days before there was
        anything."""
        days = _day_of(self.first), _day_of(self.last)
        for field, day in zip((self.first, self.last), days, strict=True):
            if day is not None and day.year < YEAR_MIN:
                message = str(_l("There are no orders of that year."))
                raise Invalid.field(field.name, "out_of_range", message)
        return days


class AssignmentForm(Form):
    """Another version for one affiliate or one group."""

    affiliate = StringField(
        _l("Affiliate"),
        [Optional(), Length(max=40)],
        description=_l("Their id, such as aff_7Qk2; or choose a group."),
    )
    group = SelectField(_l("Group"), coerce=int)
    version = SelectField(_l("Version"), coerce=int)
    begins_at = StringField(
        _l("From"),
        [Length(max=16)],
        description=_l("Empty: from now on."),
        render_kw={"type": "datetime-local"},
    )
    ends_at = StringField(
        _l("Until"),
        [Length(max=16)],
        description=_l("Not included. Empty: until it is ended."),
        render_kw={"type": "datetime-local"},
    )
    reason = StringField(_l("Reason"), [NEEDED, Length(max=1_000)])

    def times(self, zone: str, now: datetime) -> tuple[datetime, datetime | None]:
        """From and until. Raises Invalid."""
        begins = moment_of(self.begins_at, zone) if self.begins_at.data else now
        return begins, moment_of(self.ends_at, zone) if self.ends_at.data else None


def _day_of(field: Any) -> date | None:
    try:
        return date.fromisoformat(field.data or "")
    except ValueError:
        return None


def moment_of(field: Any, zone: str) -> datetime:
    """The instant that a field's local moment is in a zone. Raises Invalid."""
    try:
        local = datetime.fromisoformat(field.data or "")
        return local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        message = str(_l("Choose the day and the hour."))
        raise Invalid.field(field.name, "not_a_moment", message) from None


def local_text(moment: datetime, zone: str) -> str:
    """A moment as an input of a day and an hour takes it, up to the next whole hour."""
    local = moment.astimezone(ZoneInfo(zone))
    hour = local.replace(minute=0, second=0, microsecond=0)
    shown = hour if hour == local else hour + timedelta(hours=1)
    return shown.strftime("%Y-%m-%dT%H:%M")


_ZONES: Final = [*sorted(zone for zone in available_timezones() if "/" in zone), "UTC"]


class SettingsForm(Form):
    """What can be changed about a program at any time."""

    name = StringField(lazy_pgettext("of a thing", "Name"), [NEEDED, Length(max=NAME_CHARS_MAX)])
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
    notice_days = IntegerField(
        _l("Announced ahead by (days)"),
        [Optional(), NumberRange(RULES_NOTICE_DAYS.start, RULES_NOTICE_DAYS.stop - 1)],
        default=NOTICE_DAYS_DEFAULT,
        description=_l("New rules take effect no sooner, while anybody is enrolled."),
    )

    rate_days_max = IntegerField(
        _l("An exchange rate holds for (days)"),
        [Optional(), NumberRange(RATE_DAYS.start, RATE_DAYS.stop - 1)],
        default=RATE_DAYS_DEFAULT,
        description=_l("After its own day, where no later one is entered."),
    )

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
            **({"notice_days": self.notice_days.data} if self.notice_days.data else {}),
            **({"rate_days_max": self.rate_days_max.data} if self.rate_days_max.data else {}),
        }


class ProgramForm(SettingsForm, TermsForm):
    """A new program: its address, currency, settings and first rules."""

    SHOWN = ("name", "slug", "currency", "landing_url", "allowed_sites")
    """What a new program needs; the rest has a beginning that is sensible."""

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
    allowed_sites = TextAreaField(
        _l("Allowed sites"),
        [Optional(), Length(max=5_000)],
        description=_l(
            "One host a line; .shop.example allows every subdomain. Empty: the landing page's."
        ),
        render_kw={"rows": 3},
    )

    def changes(self) -> dict[str, Any]:
        """The settings; links may lead to the landing page's host where no other is named."""
        found = super().changes()
        if not found["allowed_sites"]:
            found["allowed_sites"] = landing_hosts(found["landing_url"])
        return found

    def folded_errors(self) -> bool:
        """Whether something is wrong with what the page folds away."""
        return any(field.errors for field in self if field.name not in self.SHOWN)


def landing_hosts(url: str) -> list[str]:
    """The host of an address, as a list of sites; empty where it has none."""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return []
    return [host] if host else []
