"""Where the link of a letter leads: "this was not me". No sign-in: whoever took the account
over may have changed the password."""

from __future__ import annotations

from flask import current_app, render_template

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.people.access import public
from affiliate.people.forms import ButtonForm
from payouts.batches.payee_letters import known_by, payee_of_link
from payouts.batches.payee_stops import stop
from tracker.desks.account.blueprint import Answer, account
from tracker.desks.account.language import gettext as _


@account.route("/disowned/<token>", methods=["GET", "POST"])
@public
def disown(token: str) -> Answer:
    """Ask once, for scanners of mail open links; then stop payouts and end all sign-ins."""
    session = db.session()
    settings: Settings = current_app.extensions["kopeck.settings"]
    payee = payee_of_link(session, settings, token)
    form = ButtonForm()
    if form.validate_on_submit():
        stop(session, payee_id=payee.id, now=clock.now(session))
        session.commit()
        return render_template("tracker/account/disowned.html", reset_url="/forgot-password")
    return render_template(
        "affiliate/people/form_page.html",
        form=form,
        title=_("Was it not you?"),
        lead=_(
            "Payouts to the account that ends in %(destination)s stop at once, everybody who is "
            "signed in to your account is signed out, and a person of the program looks at it.",
            destination=known_by(settings, payee),
        ),
        submit=_("It was not me: stop payouts"),
        links=[],
        next="",
    )
