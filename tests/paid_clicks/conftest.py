"""A program that pays for clicks, and clicks out of journal records."""

from __future__ import annotations

import pytest
from flask import Flask
from paid_world import Paying
from sqlalchemy.orm import Session

from affiliate.core.config import Settings


@pytest.fixture
def paying(app: Flask, settings: Settings, session: Session) -> Paying:
    """0.003 a unique click, 14 days of hold; days are those of UTC."""
    return Paying.build_under(app, settings, session)
