"""The audit's check of the counters of clicks. `kopeck rollups check` recounts the rows as well."""

from __future__ import annotations

from flask import Flask

from affiliate.core.config import Settings
from payouts.audit.run import Check, Severity, register

CHECKS = (
    Check(
        "S1",
        Severity.LIVENESS,
        "counters of links sum to their program's, on its last three days",
        """
        WITH days AS (
            SELECT program_id, max(day) - 2 AS first FROM program_days GROUP BY program_id),
        links AS (
            SELECT program_id, day, sum(clicks) AS clicks, sum(uniques) AS uniques,
                   sum(duplicates) AS duplicates, sum(dropped) AS dropped
              FROM link_days JOIN days USING (program_id)
             WHERE day >= first GROUP BY program_id, day),
        programs AS (
            SELECT program_id, day, clicks, uniques, duplicates, dropped
              FROM program_days JOIN days USING (program_id) WHERE day >= first)
        SELECT program_id, day, programs.clicks AS program_clicks, links.clicks AS link_clicks
          FROM programs FULL JOIN links USING (program_id, day)
         WHERE (programs.clicks, programs.uniques, programs.duplicates, programs.dropped)
               IS DISTINCT FROM
               (links.clicks, links.uniques, links.duplicates, links.dropped)
        """,
    ),
)


def set_up(app: Flask, settings: Settings) -> None:  # noqa: ARG001 -- the shape of every set_up
    """Let `kopeck audit` know these checks."""
    register(app, CHECKS)
