"""Applications and affiliates: lists, a page each, and what a manager decides about them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import request, url_for
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import Invalid, NotFound
from affiliate.imports.lookup import former_months
from affiliate.links import coupons as coupon_verbs
from affiliate.links.models import Coupon, Link
from affiliate.people import access, enrollments, freshness, groups, recruiters, shop_customers
from affiliate.people import ids as people_ids
from affiliate.people.access import Role
from affiliate.people.models import Affiliate, Enrollment
from affiliate.people.rules import Status
from affiliate.programs.forms import AUDIENCES, CHANNELS
from payouts.batches.payee_sharing import shared_by
from payouts.batches.payee_stops import Outcome, is_of_bank, lift, open_stop
from payouts.batches.payees import history
from payouts.commissions.rows import as_row
from payouts.ledger.balances import balances
from tracker.clicks.models import LinkDay
from tracker.desks.acting import Answer, act
from tracker.desks.manage import people, sentences
from tracker.desks.manage.blueprint import (
    actors,
    manage,
    page,
    place,
    place_of,
    readers,
    require_acting,
)
from tracker.desks.words import _

ORDERS_SHOWN_MAX = 10
RECRUITS_SHOWN_MAX = 50
APPLICATIONS_SHOWN_MAX = 100
LINKS_SHOWN_MAX = 50
SEARCH_CHARS_MAX = 200
ID_DIGITS_MAX = 18
NOTE_WRITERS = (Role.MANAGER, Role.CURATOR, Role.OWNER)


@manage.get("/applications")
@readers
def applications() -> str:
    """Who wants to join, with what they wrote."""
    return applications_page()


@manage.post("/applications/<affiliate>/approval")
@actors
def approve(affiliate: str) -> Answer:
    """Let an applicant in."""
    enrollment, name = _mine(affiliate)
    return act(
        lambda session, now: enrollments.approve(
            session, enrollment_id=enrollment, by=access.actor().user_id, now=now
        ),
        done=_("%(name)s is in the program now, and is told by mail.", name=name),
        back=url_for("manage.applications"),
        page=applications_page,
    )


@manage.post("/applications/<affiliate>/rejection")
@actors
def reject(affiliate: str) -> Answer:
    """Turn an application down, with a reason that the applicant reads."""
    enrollment, name = _mine(affiliate)
    return act(
        lambda session, now: enrollments.reject(
            session,
            enrollment_id=enrollment,
            reason=request.form.get("reason", ""),
            by=access.actor().user_id,
            now=now,
        ),
        done=_("%(name)s is told by mail, with your reason.", name=name),
        back=url_for("manage.applications"),
        page=applications_page,
    )


@manage.get("/affiliates")
@readers
def affiliates() -> str:
    """Search and filter everybody in the program."""
    here = place()
    program = here.required
    text = " ".join(request.args.get("q", "").replace("\0", "").split())[:SEARCH_CHARS_MAX]
    status = request.args.get("status", "")
    if status not in {"", *(each.value for each in Status)}:
        raise NotFound
    known = groups.groups_of(db.session(), program_id=program.id)
    group = request.args.get("group", type=int)
    if group is not None and group not in {one.id for one in known}:
        raise NotFound
    before = request.args.get("before", type=people_ids.enrollment_of)
    found = people.rows(
        db.session(),
        program=program,
        text=text,
        status=status,
        group_id=group,
        before_id=before,
        rows_max=people.ROWS_MAX + 1,
    )
    shown = found[: people.ROWS_MAX]
    filters: dict[str, Any] = {"q": text or None, "status": status or None, "group": group}
    more = len(found) > people.ROWS_MAX
    return page(
        "affiliates",
        here,
        rows=shown,
        q=text,
        status=status,
        statuses=[each.value for each in Status],
        groups=known,
        group=group,
        next_url=url_for("manage.affiliates", before=shown[-1].public, **filters) if more else None,
        previous_url=url_for("manage.affiliates", **filters) if before else None,
    )


@manage.get("/affiliates/<affiliate>")
@readers
def affiliate(affiliate: str) -> str:
    """One affiliate: facts, timeline, links, coupons, orders."""
    return affiliate_page(affiliate)


@manage.post("/affiliates/<affiliate>/suspension")
@actors
def suspend(affiliate: str) -> Answer:
    """Stop crediting from now on; what was earned stays theirs."""
    enrollment, name = _mine(affiliate)
    return _act_on(
        affiliate,
        lambda session, now: enrollments.suspend(
            session,
            enrollment_id=enrollment,
            reason=request.form.get("reason", ""),
            by=access.actor().user_id,
            now=now,
        ),
        _("%(name)s is suspended and told why. What was earned before stays.", name=name),
    )


@manage.post("/affiliates/<affiliate>/reinstatement")
@actors
def reinstate(affiliate: str) -> Answer:
    """Credit a suspended affiliate again."""
    enrollment, name = _mine(affiliate)
    return _act_on(
        affiliate,
        lambda session, now: enrollments.reinstate(
            session, enrollment_id=enrollment, by=access.actor().user_id, now=now
        ),
        _("%(name)s is active again.", name=name),
    )


@manage.post("/affiliates/<affiliate>/recruiter")
@actors
def set_recruiter(affiliate: str) -> Answer:
    """Name another recruiter, or none; counts from the next order on."""
    enrollment, name = _mine(affiliate)
    return _act_on(
        affiliate,
        lambda session, now: recruiters.set_recruiter(
            session,
            enrollment_id=enrollment,
            recruiter_id=_named_recruiter(request.form.get("recruiter", "")),
            by=access.actor().user_id,
            now=now,
            reason=request.form.get("reason", ""),
        ),
        _("The recruiter of %(name)s is changed, from the next order on.", name=name),
    )


@manage.post("/affiliates/<affiliate>/customer")
@actors
def set_customer(affiliate: str) -> Answer:
    """Say which customer of the shop this affiliate is; their orders are own purchases."""
    enrollment, name = _mine(affiliate)
    customer_id = request.form.get("customer_id", "").strip() or None
    return _act_on(
        affiliate,
        lambda session, now: shop_customers.set_shop_customer(
            session,
            enrollment_id=enrollment,
            customer_id=customer_id,
            by=access.actor().label,
            now=now,
        ),
        _("Orders of this customer are own purchases of %(name)s from now on.", name=name)
        if customer_id
        else _("No customer of the shop is known to be %(name)s any more.", name=name),
    )


@manage.post("/affiliates/<affiliate>/group")
@actors
def set_group(affiliate: str) -> Answer:
    """Put an affiliate into a group, or into none."""
    enrollment, name = _mine(affiliate)
    chosen = request.form.get("group", "")
    if chosen and not (chosen.isascii() and chosen.isdigit() and len(chosen) <= ID_DIGITS_MAX):
        raise NotFound
    return _act_on(
        affiliate,
        lambda session, now: groups.put_in_group(
            session,
            enrollment_id=enrollment,
            group_id=int(chosen) if chosen else None,
            by=access.actor().user_id,
            now=now,
        ),
        _(
            "The group of %(name)s is changed. Terms of the group hold from the next order on.",
            name=name,
        ),
    )


@manage.post("/affiliates/<affiliate>/notes")
@access.allow(*NOTE_WRITERS)
def note(affiliate: str) -> Answer:
    """Write something down for colleagues."""
    row, _person, _user = people.find(db.session(), public=affiliate)
    if row.program_id not in {one.id for one in access.programs_of(*NOTE_WRITERS)}:
        raise NotFound
    return _act_on(
        affiliate,
        lambda session, now: groups.add_note(
            session,
            enrollment_id=row.id,
            text=request.form.get("text", ""),
            by=access.actor().user_id,
            now=now,
        ),
        _("The note is kept. The affiliate does not see it."),
    )


@manage.get("/groups")
@readers
def all_groups() -> str:
    """The program's groups."""
    return groups_page()


@manage.post("/groups")
@actors
def new_group() -> Answer:
    """Make a group."""
    program = place().required
    require_acting(program.id)
    name = request.form.get("name", "")
    return act(
        lambda session, now: groups.create_group(
            session, program_id=program.id, name=name, by=access.actor().user_id, now=now
        ),
        done=_("The group is there. Put affiliates into it on their pages."),
        back=url_for("manage.all_groups", program=program.slug),
        page=groups_page,
    )


def groups_page() -> str:
    """Groups of the program that the reader looks at."""
    here = place()
    found = groups.groups_of(db.session(), program_id=here.required.id)
    return page("groups", here, groups=found, name_chars=groups.NAME_CHARS_MAX)


@manage.post("/affiliates/<affiliate>/payee/lifting")
@actors
def lift_payee_stop(affiliate: str) -> Answer:
    """A person has looked at a disowned account: it stays, or the one before is theirs again."""
    _enrollment, name = _mine(affiliate)
    freshness.require_fresh()
    _row, person, _user = people.find(db.session(), public=affiliate)
    try:
        outcome = Outcome(request.form.get("outcome", ""))
    except ValueError:
        raise NotFound from None
    return _act_on(
        affiliate,
        lambda session, now: lift(
            session,
            affiliate_id=person.id,
            outcome=outcome,
            by=access.actor().label,
            why=request.form.get("reason", ""),
            now=now,
        ),
        _("Payouts to %(name)s go on.", name=name),
    )


@manage.post("/affiliates/<affiliate>/coupons")
@actors
def give_coupon(affiliate: str) -> Answer:
    """Give a coupon: its orders are credited to this affiliate."""
    enrollment, _name = _mine(affiliate)
    return _act_on(
        affiliate,
        lambda session, now: coupon_verbs.create_coupon(
            session,
            enrollment_id=enrollment,
            code=request.form.get("code", ""),
            by=access.actor().user_id,
            now=now,
        ),
        _("The coupon is theirs. It counts from now on."),
    )


@manage.post("/affiliates/<affiliate>/coupons/<int:coupon_id>/disabling")
@actors
def disable_coupon(affiliate: str, coupon_id: int) -> Answer:
    """Switch a coupon of this affiliate off."""
    enrollment, _name = _mine(affiliate)
    owner = db.session.scalar(sa.select(Coupon.enrollment_id).where(Coupon.id == coupon_id))
    if owner != enrollment:
        raise NotFound
    return _act_on(
        affiliate,
        lambda session, now: coupon_verbs.disable_coupon(
            session, coupon_id=coupon_id, by=access.actor().user_id, now=now
        ),
        _("The coupon credits nothing from now on."),
    )


def applications_page() -> str:
    """Applications of the program that the reader looks at, oldest first."""
    here = place()
    program = here.required
    session = db.session()
    waiting = people.rows(
        session, program=program, status=Status.APPLIED, rows_max=APPLICATIONS_SHOWN_MAX
    )
    decided = people.rows(session, program=program, status=Status.REJECTED, rows_max=10)
    return page(
        "applications",
        here,
        waiting=list(reversed(waiting)),
        screenings=people.screenings(session, program=program, waiting=waiting),
        signals=sentences.signals(),
        rejected=decided,
        channels={channel.value: label for channel, label in CHANNELS},
        audiences={audience.value: label for audience, label in AUDIENCES},
    )


def affiliate_page(public: str) -> str:
    """An affiliate of one of the reader's programs; NotFound otherwise."""
    session = db.session()
    enrollment, person, user = people.find(session, public=public)
    here = place_of(enrollment.program_id)
    program = here.required
    recruits = session.execute(
        sa.select(Enrollment.id, Affiliate.name, Enrollment.status)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .where(Enrollment.recruiter_id == enrollment.id)
        .order_by(Enrollment.id)
        .limit(RECRUITS_SHOWN_MAX)
    ).all()
    links = session.execute(
        sa.select(
            Link,
            sa.select(sa.func.coalesce(sa.func.sum(LinkDay.clicks), 0))
            .where(LinkDay.enrollment_id == Link.enrollment_id, LinkDay.link_id == Link.id)
            .scalar_subquery(),
        )
        .where(Link.enrollment_id == enrollment.id)
        .order_by(Link.id.desc())
        .limit(LINKS_SHOWN_MAX)
    ).all()
    coupons = session.scalars(
        sa.select(Coupon).where(Coupon.enrollment_id == enrollment.id).order_by(Coupon.id.desc())
    ).all()
    recruiter = people.name_of(session, enrollment.recruiter_id)
    stop = open_stop(session, affiliate_id=person.id)
    return page(
        "affiliate",
        here,
        public=public,
        enrollment=enrollment,
        person=person,
        user=user,
        recruiter=recruiter,
        recruiter_public=enrollment.recruiter_id and people_ids.public(enrollment.recruiter_id),
        recruits=[(people_ids.public(row_id), name, status) for row_id, name, status in recruits],
        links=links,
        coupons=coupons,
        orders=[
            (found["source"], as_row(found["commission"]))
            for found in people.orders_of(
                session, enrollment_id=enrollment.id, rows_max=ORDERS_SHOWN_MAX
            )
        ],
        balances=balances(session, enrollment_id=enrollment.id, currency=program.currency),
        timeline=people.timeline(session, enrollment=enrollment),
        former=former_months(session, enrollment_id=enrollment.id, currency=program.currency),
        notes=groups.notes_on(session, enrollment_id=enrollment.id),
        may_note=program.id in {one.id for one in access.programs_of(*NOTE_WRITERS)},
        groups=groups.groups_of(session, program_id=program.id),
        stop=stop,
        stop_of_bank=stop is not None and is_of_bank(session, stop),
        accounts=history(session, affiliate_id=person.id),
        whole=False,  # The whole number is finance's own.
        shared=shared_by(session, affiliate_ids=[person.id]).get(person.id, ()),
        now=clock.now(session),
        channels={channel.value: label for channel, label in CHANNELS},
        audiences={audience.value: label for audience, label in AUDIENCES},
    )


def _act_on(affiliate: str, verb: Callable[[Session, datetime], object], done: str) -> Answer:
    return act(
        verb,
        done=done,
        back=url_for("manage.affiliate", affiliate=affiliate),
        page=lambda: affiliate_page(affiliate),
    )


def _mine(affiliate: str) -> tuple[int, str]:
    """The enrollment that a form is about, in a program in which the reader may act."""
    enrollment, person, _user = people.find(db.session(), public=affiliate)
    require_acting(enrollment.program_id)
    return enrollment.id, person.name


def _named_recruiter(text: str) -> int | None:
    """`aff_…` as the form has it; empty for nobody."""
    text = text.strip()
    if not text:
        return None
    try:
        return people_ids.enrollment_of(text)
    except NotFound:
        message = _("Write the recruiter's id as it stands on their page: aff_7Qk2.")
        raise Invalid.field("recruiter", "not_an_affiliate", message) from None
