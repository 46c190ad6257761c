"""The application form."""

from __future__ import annotations

from flask import request
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import (
    BooleanField,
    HiddenField,
    RadioField,
    SelectMultipleField,
    StringField,
    TextAreaField,
)
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Length, Optional
from wtforms.widgets import CheckboxInput

from affiliate.core.errors import FieldError, Invalid
from affiliate.people.applications import (
    NAME_CHARS_MAX,
    SITE_CHARS_MAX,
    TEXT_CHARS_MAX,
    TEXT_CHARS_MIN,
    Answers,
    Audience,
    Channel,
)

CHANNELS = (
    (Channel.BLOG, _l("A blog or site")),
    (Channel.SOCIAL, _l("Social networks")),
    (Channel.VIDEO, _l("Video")),
    (Channel.MAIL, _l("Newsletters")),
    (Channel.COUPONS, _l("Coupons and offers")),
    (Channel.CASHBACK, _l("Cash-back")),
    (Channel.ADVERTS, _l("Paid adverts")),
    (Channel.PEOPLE, _l("Talking to people")),
    (Channel.OTHER, _l("Something else")),
)
AUDIENCES = (
    (Audience.UNDER_1000, _l("fewer than 1,000")),
    (Audience.UNDER_10000, _l("1,000 to 10,000")),
    (Audience.UNDER_100000, _l("10,000 to 100,000")),
    (Audience.MORE, _l("more")),
)


class ApplicationForm(FlaskForm):  # type: ignore[misc]
    """Who applies, how they promote, and that they agree to the rules."""

    name = StringField(
        _l("Your name, or your channel's"),
        validators=[
            InputRequired(_l("Tell the program what to call you.")),
            Length(max=NAME_CHARS_MAX),
        ],
        description=_l("The program sees it; buyers do not."),
    )
    channels = SelectMultipleField(
        _l("Where do you promote?"),
        choices=[SelectChoice(channel.value, label) for channel, label in CHANNELS],
        option_widget=CheckboxInput(),
        validators=[InputRequired(_l("Choose at least one."))],
    )
    how = TextAreaField(
        _l("How do you promote, in your own words?"),
        validators=[
            InputRequired(_l("One or two sentences are enough.")),
            Length(TEXT_CHARS_MIN, TEXT_CHARS_MAX, _l("One or two sentences are enough.")),
        ],
        description=_l("What you write or film about, and how you would bring these goods in."),
    )
    site = StringField(
        _l("Address of your site or channel"),
        validators=[Optional(), Length(max=SITE_CHARS_MAX)],
        description=_l("With https:// in front. Leave it empty if you have none."),
    )
    audience = RadioField(
        _l("How many people do you reach in a month?"),
        choices=[SelectChoice(audience.value, label) for audience, label in AUDIENCES],
        validators=[InputRequired(_l("Choose one; a guess is fine."))],
    )
    agreement = BooleanField(
        _l("I have read the rules and agree to them."),
        validators=[InputRequired(_l("Without your agreement you cannot be enrolled."))],
    )
    by = HiddenField()
    """Public id of whose recruiting link was followed, for browsers without cookies."""
    rule_version = HiddenField()
    """Number of the version that the page showed."""

    def answers(self) -> Answers:
        """What was sent, as a value. Raises Invalid when an answer does not do."""
        shown = self.rule_version.data or ""
        answers = Answers(
            channels=tuple(Channel(value) for value in self.channels.data or ()),
            how=self.how.data or "",
            audience=Audience(self.audience.data),
            site=(self.site.data or "").strip(),
            rule_version=int(shown) if shown.isascii() and shown.isdigit() else None,
        )
        answers.check()
        return answers

    def refuse_extra_fields(self) -> None:
        """A field that the form does not have is somebody trying what it does (A35)."""
        extra = sorted(set(request.form) - set(self._fields) - {"csrf_token"})
        if extra:
            raise Invalid(
                "The form was sent with fields that it does not have.",
                errors=[FieldError(name[:60], "unknown_field", "Unknown field.") for name in extra],
            )
