"""The rules by which the affiliate is paid, what changes in them, and the answer to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import flash, redirect, request, url_for
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import Invalid
from affiliate.core.pages import day
from affiliate.people.access import affiliates
from affiliate.programs import (
    answers,
    commission_versions,
    examples,
    rule_versions,
    telling,
    words,
)
from affiliate.programs.commission_versions import Facts
from affiliate.programs.models import RuleAnswer, RuleVersion
from affiliate.programs.standing import Because, Said, Standing
from tracker.desks.account.blueprint import Answer, account, in_program, page
from tracker.desks.account.place import Place
from tracker.desks.words import _


@account.get("/rules")
@affiliates
@in_program
def rules(place: Place) -> Answer:
    """What the affiliate is paid by, since when, and what comes next."""
    session = db.session()
    in_force = rule_versions.in_force(session, program_id=place.program.id, at=place.now)
    facts = commission_versions.facts_of(session, enrollment_ids=[place.enrollment.id])
    standing = facts.standing_of(place.enrollment.id, place.now)
    own = facts.version(standing.version_id)
    # What is said are the rules that hold for this reader: commission by their own version.
    terms = replace(in_force.terms, commission=own.terms.commission, payout=own.terms.payout)
    shown = examples.example(terms, place.currency, earned=examples.calculator())
    versions = rule_versions.versions(session, program_id=place.program.id)
    said = answers.answers_of(session, enrollment_id=place.enrollment.id)
    return page(
        "rules",
        place,
        version=in_force,
        own=own,
        why=why_in_words(standing) if own.id != in_force.id else "",
        headline=words.headline(terms.commission),
        rules=words.rules_in_words(terms, place.program),
        example=words.example_sentences(shown, terms.commission),
        versions=[
            {
                "row": each,
                "state": rule_versions.state_of(each, in_force_id=in_force.id, now=place.now),
                "agreed": _agreed(each, said.get(each.id), facts, place),
            }
            for each in versions
        ],
        coming=[
            {"row": each, "said": _said(said.get(each.id))}
            for each in reversed(versions)
            if each.effective_at > place.now
        ],
    )


@account.get("/rules/<int:number>")
@affiliates
@in_program
def rule_version(place: Place, number: int) -> Answer:
    """One version: what it changed, and the answer to it while it is to come."""
    return _version_page(db.session(), place, number)


@account.post("/rules/<int:number>/answer")
@affiliates
@in_program
def answer_rules(place: Place, number: int) -> Answer:
    """Accept a version or decline it; declining is confirmed after its meaning was read."""
    session = db.session()
    version = rule_versions.numbered(session, program_id=place.program.id, number=number)
    said = _chosen()
    if said is Said.DECLINED and request.form.get("understood") != "yes":
        message = _("Tick that you have read what declining means.")
        return _version_page(session, place, number, error=message), 422
    answers.answer(
        session,
        enrollment_id=place.enrollment.id,
        version_id=version.id,
        said=said,
        by=place.actor.user_id,
        now=clock.now(session),
    )
    session.commit()
    if said is Said.ACCEPTED:
        flash(_("You accepted version %(number)s.", number=str(number)), "success")
    else:
        flash(_("You declined. A letter says until when you are credited."), "success")
    return redirect(url_for("account.rules"), 303)


def why_in_words(standing: Standing) -> str:
    """Why somebody is on another version than the one in force."""
    until = "" if standing.until is None else day(standing.until)
    if standing.because is Because.DECLINED:
        return _("You declined the one after it; you are credited until %(day)s.", day=until)
    if standing.because is Because.GRANDFATHERED:
        if until:
            return _(
                "You were here before the terms changed and keep yours until %(day)s.", day=until
            )
        return _("You were here before the terms changed and keep yours for good.")
    if standing.because is Because.GROUP:
        return _("It was agreed for your group.")
    if until:
        return _("It was agreed with you until %(day)s.", day=until)
    return _("It was agreed with you.")


def _version_page(session: Session, place: Place, number: int, *, error: str = "") -> str:
    version = rule_versions.numbered(session, program_id=place.program.id, number=number)
    known = answers.answers_of(session, enrollment_id=place.enrollment.id).get(version.id)
    open_ = (
        known is None
        and place.now < version.effective_at
        and place.status in answers.MAY_ANSWER
        and place.enrollment.closes_at is None
    )
    terms = rule_versions.terms_in(version, place.currency)
    return page(
        "rule_version",
        place,
        version=version,
        coming=place.now < version.effective_at,
        ahead=telling.ahead_of(
            session,
            version=version,
            program=place.program,
            enrollment_id=place.enrollment.id,
        ),
        rules=words.rules_in_words(terms, place.program),
        headline=words.headline(terms.commission),
        said=_said(known),
        said_at=known and known.answered_at,
        open=open_,
        closes_at=answers.closes_at(version, place.program),
        error=error,
    )


def _chosen() -> Said:
    try:
        return Said(request.form.get("answer", ""))
    except ValueError:
        raise Invalid.field("answer", "unknown", "Accept or decline.") from None


def _said(answer: RuleAnswer | None) -> str:
    return "" if answer is None else answer.answer


def _agreed(version: RuleVersion, answer: RuleAnswer | None, facts: Facts, place: Place) -> str:
    """When the affiliate agreed to a version, and how."""
    if answer is not None:
        told: dict[str, Any] = {"day": day(answer.answered_at)}
        if answer.answer == Said.ACCEPTED:
            return _("You agreed on %(day)s.", **told)
        return _("You declined on %(day)s.", **told)
    joined_at = facts.members[place.enrollment.id].joined_at
    if version.effective_at > place.now:
        then = facts.standing_of(place.enrollment.id, version.effective_at)
        if then.because is Because.GRANDFATHERED:
            return _("You have not answered; silence keeps your commission terms.")
        return _("You have not answered; silence is acceptance.")
    if version.effective_at <= joined_at:
        came_to = facts.standing_of(place.enrollment.id, joined_at).version_id
        return _("In force when you were let in.") if version.id == came_to else ""
    then = facts.standing_of(place.enrollment.id, version.effective_at)
    if then.closed:
        return ""
    if then.because is Because.DECLINED:
        return _("You had declined the one before.")
    if then.because is Because.GRANDFATHERED:
        return _("Silence: you kept your commission terms.")
    return _("Accepted by silence on %(day)s.", day=day(version.effective_at))
