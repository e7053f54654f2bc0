"""The forms about users and about the own account."""

from __future__ import annotations

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import BooleanField, Form, PasswordField, RadioField, SelectField, StringField, ValidationError
from wtforms.fields import SelectChoice
from wtforms.validators import EqualTo, InputRequired, Length, Regexp

from app import accounts, job_forms, languages

ROLES = {
    accounts.VIEWER: _l("Viewer"),
    accounts.ADMINISTRATOR: _l("Administrator"),
}
ROLE_MEANINGS = {
    accounts.VIEWER: _l("Sees every job, its reports and the settings, and changes nothing."),
    accounts.ADMINISTRATOR: _l("May change everything: settings, channels, keys and users."),
}
GENERATED = "generated"
TYPED = "typed"
_PASSWORD_LENGTH = Length(
    accounts.SHORTEST_PASSWORD,
    accounts.LONGEST_PASSWORD,
    _l("Expected: at least %(min)d characters, at most %(max)d."),
)
_USERNAME = Regexp(
    r"[A-Za-z0-9._@+-]{1,80}\Z", message=_l("Expected: 1 to 80 letters without accents, digits or . _ @ + -")
)


class NewPasswordForm(FlaskForm):  # type: ignore[misc]
    """A password that an administrator gives to somebody."""

    how = RadioField(
        _l("Password"),
        [InputRequired(_l("Choose one of the two."))],
        choices=[
            SelectChoice(GENERATED, _l("Make a random one and show it to me once")),
            SelectChoice(TYPED, _l("Take the one I type")),
        ],
    )
    password = PasswordField(_l("Password to take"))

    def validate_password(self, field: PasswordField) -> None:
        if self.how.data == TYPED:
            _PASSWORD_LENGTH(self, field)

    @property
    def is_generated(self) -> bool:
        return bool(self.how.data == GENERATED)

    def chosen(self) -> str:
        """The password to set, made now if it is to be a random one."""
        return accounts.make_password() if self.is_generated else str(self.password.data)


class UserForm(NewPasswordForm):
    username = StringField(_l("User name"), [InputRequired(_l("Type a name.")), _USERNAME])
    role = RadioField(
        _l("Role"),
        [InputRequired(_l("Choose a role."))],
        choices=[SelectChoice(value, label) for value, label in ROLES.items()],
    )


class RoleForm(FlaskForm):  # type: ignore[misc]
    role = RadioField(
        _l("Role"),
        [InputRequired(_l("Choose a role."))],
        choices=[SelectChoice(value, label) for value, label in ROLES.items()],
    )
    sure = BooleanField(_l("I want to give up my own rights as an administrator"))


class OwnPasswordForm(FlaskForm):  # type: ignore[misc]
    current = PasswordField(
        _l("Current password"),
        [InputRequired(_l("Type the password you log in with now.")), Length(max=accounts.LONGEST_PASSWORD)],
    )
    password = PasswordField(
        _l("New password"), [InputRequired(_l("Type a new password.")), _PASSWORD_LENGTH]
    )
    repeated = PasswordField(
        _l("New password again"), [EqualTo("password", _l("The two new passwords are not the same."))]
    )


class PreferencesForm(FlaskForm):  # type: ignore[misc]
    language = SelectField(_l("Language"))
    timezone = StringField(_l("Time zone"))

    def validate_timezone(self, field: StringField) -> None:
        field.data = (field.data or "").strip()
        if field.data and field.data not in job_forms.zones():
            raise ValidationError(
                _("There is no time zone of this name; expected one such as Europe/Paris, or nothing.")
            )

    def offer(self) -> PreferencesForm:
        """Fill in the choices; the first one leaves the language to the browser."""
        choices = {"": _("Automatic: as the browser asks for it")} | languages.names()
        self.language.choices = [SelectChoice(value, label) for value, label in choices.items()]
        return self


def apart(form: Form, prefix: str) -> None:
    """Where several forms stand on one page, an id may be used once."""
    for field in form:
        field.id = field.label.field_id = f"{prefix}-{field.id}"
