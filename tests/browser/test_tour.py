"""docs/tour.md shows every picture that `make tour` draws, and no other."""

from __future__ import annotations

import re

from affiliate.core.config import ROOT
from tests.browser.tour import OUT, SHOTS

PICTURE = re.compile(r"tour/([a-z-]+)\.webp")


def test_every_picture_of_the_tour_is_there_and_shown() -> None:
    shown = PICTURE.findall((ROOT / "docs" / "tour.md").read_text())
    assert sorted(shown) == sorted(shot.name for shot in SHOTS)
    assert sorted(path.stem for path in OUT.glob("*.webp")) == sorted(shown)
