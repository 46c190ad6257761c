"""A browser in two words, for the list of sign-ins. Pure; good enough to recognise one's own."""

from __future__ import annotations

BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("YaBrowser", "Yandex Browser"),
    ("Firefox", "Firefox"),
    ("Chrom", "Chrome"),
    ("Safari", "Safari"),
)
"""Marks in the order of their meaning: nearly every browser also says Chrome or Safari."""
SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)
UNKNOWN_CHARS_MAX = 40


def describe(agent: str) -> str:
    """`Firefox, Linux`; the beginning of an agent that is neither."""
    browser = next((name for mark, name in BROWSERS if mark in agent), "")
    system = next((name for mark, name in SYSTEMS if mark in agent), "")
    named = ", ".join(part for part in (browser, system) if part)
    return named or agent[:UNKNOWN_CHARS_MAX] or "?"
