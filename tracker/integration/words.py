"""Steps and problems of a canary's walk in words, for pages and letters."""

from __future__ import annotations

from typing import Any, Final

from flask_babel import gettext
from flask_babel import lazy_gettext as _l

from tracker.integration.way import Problem, Step

STEPS: Final[dict[str, Any]] = {
    Step.CLICK: _l("Click on the test link"),
    Step.TOKEN: _l("Click token"),
    Step.PIXEL: _l("Pixel"),
    Step.REPORT: _l("Report of a page"),
    Step.API: _l("Order by API"),
}
PROBLEMS: Final[dict[str, Any]] = {
    Problem.UNREACHABLE: _l("nothing answers at the public address"),
    Problem.TOO_SLOW: _l("no answer came in time"),
    Problem.WRONG_ANSWER: _l("another answer came than expected"),
    Problem.NO_TOKEN: _l("the redirect carries no click token"),
    Problem.BAD_TOKEN: _l("the click token is not signed by this installation"),
    Problem.NOT_TAKEN: _l("it was answered, and nothing came of it"),
    Problem.NO_KEY: _l("the canary's key is gone: switch it off and on again"),
}


def where_it_broke(step: str | None, problem: str | None, detail: str) -> str:
    """`Order by API: another answer came than expected (401 key_refused)`."""
    if not step or not problem:
        return ""
    said = gettext(
        "%(step)s: %(problem)s",
        step=STEPS.get(step, step), problem=PROBLEMS.get(problem, problem),
    )  # fmt: skip
    return f"{said} ({detail})" if detail else str(said)
