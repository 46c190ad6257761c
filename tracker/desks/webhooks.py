"""The pages of webhooks and of postbacks, which are one: the list, an address, a delivery.

A desk gives the frame, says whose endpoints they are, and has views of the same names
(`webhooks`, `webhook`, `webhook_delivery`, …), so that the templates lead to its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from flask import current_app, flash, redirect, request, url_for
from flask_babel import lazy_gettext as _l
from sqlalchemy.orm import Session
from wtforms import SelectField, SelectMultipleField, StringField
from wtforms.validators import Length, Optional
from wtforms.widgets import CheckboxInput, ListWidget

from affiliate.core import clock, ids
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import Forbidden, NotFound, Refusal
from affiliate.people import access, freshness
from affiliate.programs.models import Program
from affiliate.webhooks import again, endpoints, reading
from affiliate.webhooks.endpoints import DELIVERY, ENDPOINT, METHODS, Owner, Wanted
from affiliate.webhooks.models import WebhookEndpoint
from affiliate.webhooks.reading import State
from affiliate.webhooks.rules import DESCRIPTION_CHARS_MAX, URL_CHARS_MAX, Blank
from tracker.desks import webhook_words as words
from tracker.desks.acting import Answer, act, submit
from tracker.desks.manage.rules_form import NEEDED, Form
from tracker.desks.words import _, ngettext

ROWS_MAX: Final = 50
FAILED_DAYS: Final = (1, 3, 7, 30)
"""Since when all that failed can be sent again."""


class EndpointForm(Form):
    """An address and what it is told."""

    url = StringField(_l("Address"), [NEEDED, Length(max=URL_CHARS_MAX)])
    description = StringField(_l("What it is for"), [Optional(), Length(max=DESCRIPTION_CHARS_MAX)])
    method = SelectField(_l("Sent as"), choices=list(METHODS), default="GET")
    types = SelectMultipleField(
        _l("Events"), widget=ListWidget(prefix_label=False), option_widget=CheckboxInput()
    )

    def offer(self, owner: Owner) -> EndpointForm:
        """With the events that this owner can choose."""
        names = words.event_names()
        self.types.choices = [(one.value, names[one]) for one in owner.offered]
        if not owner.of_postbacks:
            del self.method
        return self

    def wanted(self) -> Wanted:
        """As the verbs take it."""
        method = self.method.data if self.method is not None else "POST"
        return Wanted(
            self.url.data or "", self.types.data or (), self.description.data or "", method
        )


@dataclass(frozen=True)
class Pages:
    """Somebody's endpoints on a desk."""

    at: str
    """The desk's blueprint."""
    owner: Owner
    program: Program
    frame: Callable[..., str]
    """Renders a template of the desk."""
    may_act: bool = True

    def listing(
        self, form: EndpointForm | None = None, *, made: tuple[str, str] | None = None
    ) -> str:
        """All of them and a form for one more; `made`: a new one's code and its secret."""
        return self._page(
            "webhooks",
            form=form or EndpointForm(formdata=None).offer(self.owner),
            rows=[
                (ids.public_id(ENDPOINT, one.row.id), one)
                for one in reading.faring(db.session(), owner=self.owner)
            ],
            made=made,
        )

    def create(self) -> Answer:
        """Make one; of a webhook the secret is shown right then."""
        if not self.may_act:
            raise Forbidden
        form, session = EndpointForm().offer(self.owner), db.session()
        if not form.validate_on_submit():
            return self.listing(form), 422
        try:
            endpoint, secret = endpoints.create_endpoint(
                session, owner=self.owner, wanted=form.wanted(), settings=_settings(),
                actor=access.actor().label, by=access.actor().user_id, now=clock.now(session),
            )  # fmt: skip
            session.commit()
        except NotFound:
            raise
        except Refusal as refusal:
            session.rollback()
            form.show(refusal)
            return self.listing(form), refusal.status
        code = ids.public_id(ENDPOINT, endpoint.id)
        if secret is not None:
            return self.listing(made=(code, secret)), 201
        flash(_("The postback is there. Send a test to see what your tracker gets."), "success")
        return redirect(self._url("webhook", webhook=code), 303)

    def one(self, code: str, form: EndpointForm | None = None, *, secret: str | None = None) -> str:
        """One of them: what it is told, and every delivery."""
        session, row = db.session(), self._row(code)
        state = _state()
        found = reading.deliveries(
            session, owner=self.owner, endpoint_id=row.id, state=state, before=_before(),
            rows_max=ROWS_MAX + 1,
        )  # fmt: skip
        shown, more = found[:ROWS_MAX], len(found) > ROWS_MAX
        if form is None:
            form = EndpointForm(formdata=None, obj=row).offer(self.owner)
        filters = {"webhook": code, "state": state.value if state else None}
        return self._page(
            "webhook",
            code=code,
            row=row,
            form=form,
            secret=secret,
            real_now=clock.real_now(),
            state=state,
            deliveries=[(ids.public_id(DELIVERY, one.id), one) for one in shown],
            older=self._url(
                "webhook", **filters, before=ids.public_id(DELIVERY, shown[-1].id)
            ) if more else None,
            newest=self._url("webhook", **filters) if request.args.get("before") else None,
            failed_days=FAILED_DAYS,
            any_failed=bool(
                reading.deliveries(
                    session, owner=self.owner, endpoint_id=row.id, state=State.FAILED, rows_max=1
                )
            ),
        )  # fmt: skip

    def change(self, code: str) -> Answer:
        """Another address or other events."""
        row, form = self._row(code), EndpointForm().offer(self.owner)

        def verb(session: Session, now: datetime) -> WebhookEndpoint:
            return endpoints.change_endpoint(
                session, owner=self.owner, endpoint_id=row.id, wanted=form.wanted(),
                settings=_settings(), actor=access.actor().label, now=now,
            )  # fmt: skip

        return submit(
            form, verb, done=_("It is saved."), back=self._url("webhook", webhook=code),
            page=lambda: self.one(code, form),
        )  # fmt: skip

    def show_secret(self, code: str) -> Answer:
        """The secret, after the password."""
        row = self._row(code)
        freshness.require_fresh()
        try:
            secret = endpoints.secret_of(
                db.session(), owner=self.owner, endpoint_id=row.id, settings=_settings()
            )
        except endpoints.SecretUnreadable as refusal:
            flash(_("The secret cannot be read any more. Make a new one."), "danger")
            return self.one(code), refusal.status
        return self.one(code, secret=secret)

    def rotate(self, code: str) -> Answer:
        """A new secret, after the password; the one before signs for a day more."""
        row = self._row(code)
        freshness.require_fresh()
        session = db.session()
        secret = endpoints.rotate_secret(
            session, owner=self.owner, endpoint_id=row.id, settings=_settings(),
            actor=access.actor().label, now=clock.now(session),
        )  # fmt: skip
        session.commit()
        flash(_("There is a new secret. The one before signs as well for 24 hours."), "success")
        return self.one(code, secret=secret)

    def test(self, code: str) -> Answer:
        """Send a test, and show what becomes of it."""
        row = self._row(code)
        made: list[int] = []

        def verb(session: Session, now: datetime) -> None:
            made.append(endpoints.send_test(session, owner=self.owner, endpoint_id=row.id, now=now))

        session = db.session()
        try:
            verb(session, clock.now(session))
            session.commit()
        except endpoints.EndpointDisabled as refusal:
            session.rollback()
            flash(_("It is switched off. Switch it on first."), "danger")
            return self.one(code), refusal.status
        flash(_("A test is on its way; look at it again in a moment."), "success")
        delivery = ids.public_id(DELIVERY, made[0])
        return redirect(self._url("webhook_delivery", webhook=code, delivery=delivery), 303)

    def switch(self, code: str, *, on: bool) -> Answer:
        """Switch it on or off."""
        row = self._row(code)
        verb = endpoints.enable_endpoint if on else endpoints.disable_endpoint
        done = (
            _("It is told again of what happens from now on.")
            if on
            else _("Nothing is sent there any more. What waited is given up.")
        )
        return act(
            lambda session, now: verb(
                session, owner=self.owner, endpoint_id=row.id, actor=access.actor().label, now=now
            ),
            done=done, back=self._url("webhook", webhook=code), page=lambda: self.one(code),
        )  # fmt: skip

    def delete(self, code: str) -> Answer:
        """End it for good."""
        row = self._row(code)
        return act(
            lambda session, now: endpoints.delete_endpoint(
                session, owner=self.owner, endpoint_id=row.id, actor=access.actor().label, now=now
            ),
            done=_("It is removed."), back=self._url("webhooks"), page=lambda: self.one(code),
        )  # fmt: skip

    def delivery(self, code: str, delivery: str) -> str:
        """One delivery: the message as it was sent, and each attempt."""
        row = self._row(code)
        shown = reading.delivery(
            db.session(), owner=self.owner, endpoint_id=row.id,
            delivery_id=ids.row_id(DELIVERY, delivery),
        )  # fmt: skip
        return self._page(
            "webhook_delivery", code=code, delivery=delivery, shown=shown, real_now=clock.real_now()
        )

    def repeat(self, code: str, delivery: str) -> Answer:
        """Send one again."""
        row, number = self._row(code), ids.row_id(DELIVERY, delivery)
        return act(
            lambda session, _now: again.send_again(
                session, owner=self.owner, endpoint_id=row.id, delivery_id=number
            ),
            done=_("It is being sent again."),
            back=self._url("webhook_delivery", webhook=code, delivery=delivery),
            page=lambda: self.delivery(code, delivery),
        )

    def repeat_failed(self, code: str) -> Answer:
        """Send all again that failed in the last days."""
        row, days = self._row(code), request.form.get("days", "")
        if days not in {str(each) for each in FAILED_DAYS}:
            raise NotFound
        since = clock.real_now() - timedelta(days=int(days))
        count: list[int] = []
        return act(
            lambda session, _now: count.append(
                again.send_failed_again(
                    session, owner=self.owner, endpoint_id=row.id, since=since
                )
            ),
            done=lambda: ngettext(
                "%(num)d delivery is sent again.", "%(num)d deliveries are sent again.", count[0]
            ),
            back=self._url("webhook", webhook=code), page=lambda: self.one(code),
        )  # fmt: skip

    def _row(self, code: str) -> WebhookEndpoint:
        return endpoints.find_endpoint(
            db.session(), owner=self.owner, endpoint_id=ids.row_id(ENDPOINT, code)
        )

    def _url(self, view: str, **values: Any) -> str:
        return url_for(f"{self.at}.{view}", **values)

    def _page(self, template: str, **context: Any) -> str:
        return self.frame(
            template, at=self.at, program=self.program, owner=self.owner, may_act=self.may_act,
            event_names=words.event_names(), states=words.states(),
            why_disabled=words.why_disabled(), answered=words.answered,
            last_answer=words.last_answer, blanks=[f"{{{blank}}}" for blank in Blank], **context,
        )  # fmt: skip


def _state() -> State | None:
    text = request.args.get("state")
    if not text:
        return None
    try:
        return State(text)
    except ValueError:
        raise NotFound from None


def _before() -> int | None:
    text = request.args.get("before")
    return ids.row_id(DELIVERY, text) if text else None


def _settings() -> Settings:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings
