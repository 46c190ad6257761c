"""Forms of sign-in, profile, staff and keys; a refusal's errors are shown beside its field."""

from __future__ import annotations

from zoneinfo import available_timezones

from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import (
    EmailField,
    PasswordField,
    SelectField,
    SelectMultipleField,
    StringField,
    widgets,
)
from wtforms.validators import InputRequired, Length

from affiliate.core.errors import Refusal
from affiliate.core.pages import say
from affiliate.people import api_keys, passwords, users

_NEW_PASSWORD = {"autocomplete": "new-password", "minlength": passwords.CHARS_MIN}
_PRESENT_PASSWORD = {"autocomplete": "current-password"}
_EMAIL = {"autocomplete": "username", "inputmode": "email"}
_NEEDED = InputRequired(_l("Please fill this in."))
_PASSWORD_HELP = _l("At least 10 characters; a few words are fine.")


class Form(FlaskForm):  # type: ignore[misc]
    """Ours: knows how to show a refusal."""

    def show(self, refusal: Refusal) -> None:
        """Put each error beside its field; what belongs to none goes above the form."""
        for error in refusal.errors:
            if error.field in self:
                self[error.field].errors = [*self[error.field].errors, say(error.message)]
            else:
                self.form_errors.append(say(error.message))
        if not refusal.errors:
            self.form_errors.append(say(refusal.detail))


class SignInForm(Form):
    email = EmailField(_l("E-mail"), [_NEEDED], render_kw=_EMAIL)
    password = PasswordField(_l("Password"), [_NEEDED], render_kw=_PRESENT_PASSWORD)


class RegisterForm(Form):
    name = StringField(
        _l("Name"), [_NEEDED, Length(max=users.NAME_CHARS_MAX)], render_kw={"autocomplete": "name"}
    )
    email = EmailField(_l("E-mail"), [_NEEDED], render_kw=_EMAIL)
    password = PasswordField(
        _l("Password"), [_NEEDED], render_kw=_NEW_PASSWORD, description=_PASSWORD_HELP
    )


class EmailForm(Form):
    """An address alone: where the link that resets goes."""

    email = EmailField(_l("E-mail"), [_NEEDED], render_kw=_EMAIL)


class NewAddressForm(Form):
    email = EmailField(_l("New address"), [_NEEDED], render_kw={"autocomplete": "email"})


class NewPasswordForm(Form):
    password = PasswordField(
        _l("New password"), [_NEEDED], render_kw=_NEW_PASSWORD, description=_PASSWORD_HELP
    )


class JoinForm(NewPasswordForm):
    name = StringField(
        _l("Name"), [_NEEDED, Length(max=users.NAME_CHARS_MAX)], render_kw={"autocomplete": "name"}
    )


class PresentPasswordForm(Form):
    password = PasswordField(_l("Password"), [_NEEDED], render_kw=_PRESENT_PASSWORD)


class ButtonForm(Form):
    """No field: the press of the button is all."""


class ChangePasswordForm(Form):
    present = PasswordField(_l("Present password"), [_NEEDED], render_kw=_PRESENT_PASSWORD)
    password = PasswordField(
        _l("New password"), [_NEEDED], render_kw=_NEW_PASSWORD, description=_PASSWORD_HELP
    )


class ProfileForm(Form):
    name = StringField(
        _l("Name"), [_NEEDED, Length(max=users.NAME_CHARS_MAX)], render_kw={"autocomplete": "name"}
    )
    locale = SelectField(_l("Language"))
    time_zone = SelectField(_l("Time zone"), choices=lambda: sorted(available_timezones()))


class InviteForm(Form):
    email = EmailField(_l("E-mail"), [_NEEDED], render_kw={"autocomplete": "off"})
    role = SelectField(_l("Role"))
    program = SelectField(_l("Program"))


class KeyForm(Form):
    name = StringField(
        _l("What it is for"),
        [_NEEDED, Length(max=api_keys.NAME_CHARS_MAX)],
        description=_l("Say, the shop's server. You will recognise the key by it."),
    )
    program = SelectField(_l("Program"))
    scopes = SelectMultipleField(
        _l("What it may do"),
        [_NEEDED],
        option_widget=widgets.CheckboxInput(),
        widget=widgets.ListWidget(prefix_label=False),
    )
