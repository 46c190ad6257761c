"""What a program's managers are written of its canary: that the way is broken, and well again."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from affiliate.core import outbox
from affiliate.core.config import Settings
from affiliate.programs.models import Program
from tracker.claims.reading import deciders
from tracker.integration.rules import News
from tracker.integration.way import Walk
from tracker.integration.words import where_it_broke

TEMPLATES = {News.BROKEN: "integration/canary_broken", News.WELL: "integration/canary_well"}


def tell_managers(
    session: Session,
    *,
    program_id: int,
    news: News,
    walk: Walk,
    since: datetime,
    settings: Settings,
    now: datetime,
) -> None:
    """Write to every manager of the program and to the owners, in the caller's transaction."""
    program = session.get_one(Program, program_id)
    for user in deciders(session, program_id=program_id):
        outbox.send(
            session,
            to=user.email,
            template=TEMPLATES[news],
            locale=user.locale,
            now=now,
            scope=program_id,
            name=user.name,
            program=program,
            step=walk.step and walk.step.value,
            problem=walk.problem and walk.problem.value,
            detail=walk.detail,
            broke=where_it_broke,
            since=since,
            url=f"{settings.public_url}/manage/integration?program={program.slug}",
        )
