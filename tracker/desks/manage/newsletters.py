"""Newsletters: what is new in the program, written by a manager, on the day they choose."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Final

from flask import Response, url_for
from flask_babel import force_locale
from flask_babel import lazy_gettext as _l
from sqlalchemy.orm import Session
from wtforms import BooleanField, SelectMultipleField, StringField, TextAreaField, widgets
from wtforms.validators import Length, Optional

from affiliate.core import clock, languages, outbox
from affiliate.core.db import db
from affiliate.core.errors import Invalid, NotFound, Phrase
from affiliate.core.outbox import Rendered
from affiliate.letters.rules import Kind
from affiliate.people import access
from affiliate.promo.creatives import creative_code, creative_row
from affiliate.promo.lookup import Material, offered
from tracker.desks import promo_words
from tracker.desks.acting import Answer, act, submit
from tracker.desks.manage.blueprint import (
    Place,
    actors,
    manage,
    page,
    place,
    place_of,
    readers,
    require_acting,
)
from tracker.desks.manage.letters import framed, settings
from tracker.desks.manage.rules_form import Form
from tracker.desks.words import _
from tracker.letters.models import Newsletter
from tracker.letters.newsletters import (
    Content,
    change_newsletter,
    delete_newsletter,
    newsletter_code,
    newsletter_row,
    newsletters_of,
    plan,
    stage,
    take_back,
    texts_of,
    write_newsletter,
)
from tracker.letters.rules import (
    BEST_FROM,
    BEST_SHOWN,
    BODY_CHARS_MAX,
    CREATIVES_MAX,
    NEWSLETTER_HOUR,
    TITLE_CHARS_MAX,
    NewsText,
    Stage,
    tidy_text,
)
from tracker.letters.sending import content_of
from tracker.stats.questions import today

_DAY: Final = {"type": "date"}


def _fields() -> type[Form]:
    """A form with a title and a text for each language."""
    made: dict[str, Any] = {}
    for code in languages.LANGUAGES:
        made[f"title_{code}"] = StringField(_l("Title"), [Optional(), Length(max=TITLE_CHARS_MAX)])
        made[f"body_{code}"] = TextAreaField(
            _l("Text"), [Optional(), Length(max=BODY_CHARS_MAX)], render_kw={"rows": 10}
        )
    return type("_Texts", (Form,), made)


class NewsletterForm(_fields()):  # type: ignore[misc]
    """What a newsletter says, shows, and when."""

    creatives = SelectMultipleField(
        _l("Promo materials that it shows"),
        [Optional()],
        option_widget=widgets.CheckboxInput(),
        widget=widgets.ListWidget(prefix_label=False),
        description=_l("At most six; by name, without pictures."),
        validate_choice=False,
    )
    shows_best = BooleanField(
        _l("Tell the best results of the month before"),
        description=_l(
            "Rounded, and without names unless somebody has agreed to be named. Left out where "
            "fewer than five affiliates earned something."
        ),
    )
    send_on = StringField(
        _l("Goes out on"),
        [Optional()],
        render_kw=_DAY,
        description=_l("At 10 in the morning by the program's clock; at most one a month."),
    )

    def texts(self) -> dict[str, NewsText]:
        """By language, those that are empty as well."""
        return {
            code: tidy_text(self[f"title_{code}"].data or "", self[f"body_{code}"].data or "")
            for code in languages.LANGUAGES
        }

    def content(self) -> Content:
        """What was sent. Raises Invalid for a day that is none."""
        return Content(
            texts=self.texts(),
            creative_ids=[_creative(text) for text in self.creatives.data or ()],
            shows_best=bool(self.shows_best.data),
            send_on=_day(self.send_on.data or ""),
        )


@manage.get("/newsletters")
@readers
def newsletters() -> str:
    """All of them, the newest first."""
    here = place()
    session = db.session()
    now = clock.now(session)
    rows = newsletters_of(session, program_id=here.required.id)
    return page(
        "newsletters",
        here,
        program=here.required,
        rows=[(row, newsletter_code(row.id), _title(row), stage(row, here.required, now))
              for row in rows],
        stages=_stages(),
    )  # fmt: skip


@manage.get("/newsletters/new")
@actors
def new_newsletter() -> str:
    """The empty form."""
    here = place()
    require_acting(here.required.id)
    return _form_page(here, NewsletterForm(formdata=None))


@manage.post("/newsletters")
@actors
def keep_newsletter() -> Answer:
    """Keep a draft."""
    here = place()
    require_acting(here.required.id)
    form = NewsletterForm()

    def verb(session: Session, now: datetime) -> Newsletter:
        return write_newsletter(
            session, program_id=here.required.id, content=form.content(),
            by=access.actor().user_id, now=now,
        )  # fmt: skip

    return _kept(form, verb, lambda: _form_page(here, form))


@manage.get("/newsletters/<code>")
@readers
def newsletter(code: str) -> str:
    """One of them: the form while it is a draft, and what its readers get."""
    here, row = _found(code)
    return _form_page(here, _filled(row), row)


@manage.post("/newsletters/<code>")
@actors
def rewrite_newsletter(code: str) -> Answer:
    """Say it anew."""
    here, row = _found(code)
    require_acting(here.required.id)
    form = NewsletterForm()

    def verb(session: Session, now: datetime) -> Newsletter:
        change_newsletter(
            session, newsletter_id=row.id, content=form.content(), by=access.actor().user_id,
            now=now,
        )  # fmt: skip
        return row

    return _kept(form, verb, lambda: _form_page(here, form, row))


@manage.get("/newsletters/<code>/<language>.html")
@readers
def newsletter_as_sent(code: str, language: str) -> Response:
    """The letter's own HTML as it is now, for the frame of the page before."""
    if language not in languages.LANGUAGES:
        raise NotFound
    here, row = _found(code)
    return framed(_rendered(here, row, language).html)


@manage.post("/newsletters/<code>/plan")
@actors
def plan_newsletter(code: str) -> Answer:
    """Let it go out on its day."""
    return _act_on(code, plan, _("It goes out on its day. Until then you can take it back."))


@manage.post("/newsletters/<code>/draft")
@actors
def draft_newsletter(code: str) -> Answer:
    """Take it back."""
    return _act_on(code, take_back, _("It is a draft again."))


@manage.post("/newsletters/<code>/deletion")
@actors
def discard_newsletter(code: str) -> Answer:
    """Throw a draft away."""
    here, row = _found(code)
    require_acting(here.required.id)
    return act(
        lambda session, now: delete_newsletter(
            session, newsletter_id=row.id, by=access.actor().user_id, now=now
        ),
        done=_("The draft is deleted."),
        back=url_for("manage.newsletters", program=here.required.slug),
        page=lambda: newsletter(code),
    )


def _act_on(code: str, verb: Any, done: str) -> Answer:
    here, row = _found(code)
    require_acting(here.required.id)
    return act(
        lambda session, now: verb(
            session, newsletter_id=row.id, by=access.actor().user_id, now=now
        ),
        done=done,
        back=_page_of_newsletter(row),
        page=lambda: newsletter(code),
    )


def _kept(
    form: NewsletterForm, verb: Callable[[Session, datetime], Newsletter], shown: Callable[[], str]
) -> Answer:
    done = _("Saved. Look at it in each language, then plan it.")
    return submit(form, verb, done=done, back=_page_of_newsletter, page=shown)


def _form_page(here: Place, form: NewsletterForm, row: Newsletter | None = None) -> str:
    session, program = db.session(), here.required
    now = clock.now(session)
    materials = offered(session, program_id=program.id, today=today(now, program.time_zone))
    form.creatives.choices = [(one.code, _label(one)) for one in materials]
    return page(
        "newsletter",
        here,
        program=program,
        form=form,
        row=row,
        code=newsletter_code(row.id) if row else "",
        title=_title(row) if row else _("New newsletter"),
        stage=stage(row, program, now) if row else Stage.DRAFT,
        stages=_stages(),
        fixed=row is not None and row.planned_at is not None,
        languages_by_code=languages.NAMES,
        shown=_shown(here, row) if row else [],
        hour=NEWSLETTER_HOUR,
        creatives_max=CREATIVES_MAX,
        best_from=BEST_FROM,
        best_shown=BEST_SHOWN,
    )


def _shown(here: Place, row: Newsletter) -> list[tuple[str, str, Rendered]]:
    return [(code, name, _rendered(here, row, code)) for code, name in languages.NAMES.items()]


def _rendered(here: Place, row: Newsletter, language: str) -> Rendered:
    session, program = db.session(), here.required
    public_url = settings().public_url
    with force_locale(language):
        content = content_of(
            session, row, program, settings=settings(), language=language,
            now=clock.now(session),
        )  # fmt: skip
    return outbox.render(
        Kind.NEWSLETTER.template, locale=language, name="Anna", program=program,
        public_url=public_url, unsubscribe_url=f"{public_url}/unsubscribe/…",
        choices_url=f"{public_url}/account/letters?program={program.slug}", **content,
    )  # fmt: skip


def _filled(row: Newsletter) -> NewsletterForm:
    values: dict[str, Any] = {}
    for code, text in texts_of(row).items():
        values |= {f"title_{code}": text.title, f"body_{code}": text.body}
    return NewsletterForm(
        formdata=None,
        creatives=[creative_code(number) for number in row.creative_ids],
        shows_best=row.shows_best,
        send_on=row.send_on.isoformat() if row.send_on else "",
        **values,
    )


def _found(code: str) -> tuple[Place, Newsletter]:
    """The newsletter and the place of its program; NotFound for anybody else's."""
    row = db.session.get(Newsletter, newsletter_row(code))
    if row is None:
        raise NotFound
    return place_of(row.program_id), row


def _page_of_newsletter(row: Newsletter) -> str:
    return url_for("manage.newsletter", code=newsletter_code(row.id))


def _title(row: Newsletter) -> str:
    """In the first language that it was written in."""
    return next((text.title for text in texts_of(row).values()), "")


def _label(one: Material) -> str:
    return f"{promo_words.kinds()[one.kind]}: {one.row.name}"


def _stages() -> dict[Stage, tuple[str, str]]:
    """Each stage's word and tone."""
    return {
        Stage.DRAFT: (_("draft"), "neutral"),
        Stage.PLANNED: (_("planned"), "info"),
        Stage.DUE: (_("being sent"), "info"),
        Stage.SENT: (_("sent"), "success"),
        Stage.MISSED: (_("its day was missed"), "warning"),
    }


def _creative(text: str) -> int:
    try:
        return creative_row(text)
    except NotFound:
        raise Invalid.field(
            "creatives", "not_offered", Phrase("One of them is not offered today.")
        ) from None


def _day(text: str) -> date | None:
    if not text.strip():
        return None
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        message = Phrase("Write the day as 2026-11-21.")
        raise Invalid.field("send_on", "send_on_wrong", message) from None
