"""Why a call about a lead is refused: one class each (docs/api.md, "Leads")."""

from __future__ import annotations

from affiliate.core.errors import Conflict


class LeadConflict(Conflict):
    code = "lead_conflict"
    title = (
        "A lead with this id was reported with other content. The first report stands; give a "
        "different lead its own id."
    )


class LeadCancelled(Conflict):
    code = "lead_cancelled"
    title = "The lead is cancelled; it earns nobody anything."


class NoLeadToReview(Conflict):
    code = "nothing_to_review"
    title = "Nobody has to look at this lead, or somebody has already."
