"""The world of leads."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from lead_world import Leads, Make
from sqlalchemy.orm import Session

from affiliate.core.config import Settings


@pytest.fixture
def make(app: Flask, settings: Settings, client: FlaskClient, session: Session) -> Make:
    """A world under these terms: `make(commission={…}, attribution={…})`, defaults filled in."""

    def made(**terms: Any) -> Leads:
        return Leads.paying(app, settings, client, session, **terms)

    return made


@pytest.fixture
def leads(make: Make) -> Leads:
    """150.00 a lead, last click, 30 days, 14 days of hold."""
    return make()
