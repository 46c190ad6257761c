"""Why a claim, or an answer to one, is refused: one class each."""

from __future__ import annotations

from affiliate.core.errors import Conflict, Forbidden, Phrase, TooMany
from tracker.claims.rules import APPEAL_DAYS, CASES_OPEN_MAX, CASES_PER_DAY_MAX, NOTES_MAX


class OpenAlready(Conflict):
    code = "claim_open_already"
    title = "A case about this is open already; add to it what you know."


class TooManyClaims(TooMany):
    code = "too_many_claims"
    title = Phrase(
        "That were %(most)s order numbers today that we could not answer at once. "
        "You can ask about others tomorrow.",
        most=CASES_PER_DAY_MAX,
    )


class TooManyOpen(TooMany):
    code = "too_many_open_claims"
    title = Phrase(
        "%(most)s of your cases are open. Ask again when some are answered.", most=CASES_OPEN_MAX
    )


class TooManyNotes(TooMany):
    code = "too_many_notes"
    title = Phrase(
        "You have added %(most)s notes to this case; they are read with the answer.", most=NOTES_MAX
    )


class NothingToAppeal(Conflict):
    code = "nothing_to_appeal"
    title = "Nothing was refused or taken back here that could be objected to."


class AppealTooLate(Conflict):
    code = "appeal_too_late"
    title = Phrase(
        "A decision can be objected to for %(days)s days; they are over.", days=APPEAL_DAYS
    )


class Final(Conflict):
    code = "claim_final"
    title = "Two people have looked at this; what they said is final."


class NotAMember(Forbidden):
    code = "not_a_member"
    title = "Only affiliates of the program can ask about its orders."


class ClaimClosed(Conflict):
    code = "claim_closed"
    title = "The case is closed already; what was decided first stands."


class OwnClaim(Forbidden):
    code = "own_claim"
    title = "It is your own case: somebody else has to decide it."


class SecondReaderNeeded(Conflict):
    code = "second_reader_needed"
    title = "You made the first decision. Somebody else has to read the objection to it."


class RemedyNotThere(Conflict):
    code = "remedy_not_there"
    title = "That cannot be done about this case any more. Look at the order as it is now."
