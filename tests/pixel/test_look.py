"""Templates keep what the Content-Security-Policy and the icon sprite demand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPRITE = ROOT / "static" / "vendor" / "tabler-icons-3.51.0" / "sprite.svg"
PAGES = sorted(
    path
    for folder in ("templates", "sandbox/shop/templates")
    for path in (ROOT / folder).rglob("*.html")
    if "emails" not in path.parts
)
"""Mails are not pages: their readers know no policy and need inline styles."""
FORBIDDEN = {
    "inline style": re.compile(r"<[^>{]*\sstyle\s*=", re.I),
    "style element": re.compile(r"<style\b", re.I),
    "inline script": re.compile(r"<script\b(?![^>]*\bsrc=)", re.I),
    "event attribute": re.compile(r"<[a-z][^>]*\son[a-z]+\s*=", re.I),
    "javascript address": re.compile(r"javascript:", re.I),
    "foreign address": re.compile(
        r"""<(?:script|link|img)\b[^>]*(?:src|href)=["'](?:https?:)?//"""
    ),
}
EXAMPLE = re.compile(r"\{\{[^}]*\}\}|\{%[^%]*%\}|\{#.*?#\}", re.S)
"""Code blocks of templates; examples of embed codes stand in them as text."""
ICON = re.compile(r"""\bicon\(\s*['"]([a-z0-9-]+)['"]""")
ICON_VALUE = re.compile(r"""['"]icon(?:_name)?['"]\s*:\s*['"]([a-z0-9-]+)['"]""")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_page_holds_nothing_that_the_policy_refuses(page: Path) -> None:
    text = EXAMPLE.sub("", page.read_text(encoding="utf-8"))
    assert [name for name, pattern in FORBIDDEN.items() if pattern.search(text)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_icon_of_a_page_is_in_the_sprite(page: Path) -> None:
    known = set(re.findall(r'<symbol id="([^"]+)"', SPRITE.read_text(encoding="utf-8")))
    text = page.read_text(encoding="utf-8")
    assert (set(ICON.findall(text)) | set(ICON_VALUE.findall(text))) - known == set()
