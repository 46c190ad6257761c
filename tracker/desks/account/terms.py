"""The rules in force, in words and with an example in the program's own currency."""

from __future__ import annotations

from affiliate.core.db import db
from affiliate.people.access import affiliates
from affiliate.programs import examples, rule_versions, words
from tracker.desks.account.blueprint import Answer, account, in_program, page
from tracker.desks.account.place import Place


@account.get("/rules")
@affiliates
@in_program
def rules(place: Place) -> Answer:
    """What the affiliate is paid by, since when, and what comes next."""
    session = db.session()
    version = rule_versions.in_force(session, program_id=place.program.id, at=place.now)
    versions = rule_versions.versions(session, program_id=place.program.id)
    shown = examples.example(version.terms, place.currency, earned=examples.calculator())
    return page(
        "rules",
        place,
        version=version,
        headline=words.headline(version.terms.commission),
        rules=words.rules_in_words(version.terms, place.program),
        example=words.example_sentences(shown, version.terms.commission),
        versions=[
            (
                each,
                "in_force"
                if each.id == version.id
                else "announced"
                if each.effective_at > place.now
                else "past",
            )
            for each in versions
        ],
        coming=[each for each in versions if each.effective_at > place.now],
    )
