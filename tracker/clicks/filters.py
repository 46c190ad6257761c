"""The front's filters: what a request says about itself without any memory (pure).

Ordered, named, the first that answers wins. A click dropped here still redirects and is
still recorded; it gets no token. What needs memory or a long list is the loader's.
Rules: docs/rules.md, "Which clicks count"; Fetch Metadata (W3C), Sec-Purpose (Fetch).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from tracker.clicks.rules import DropReason

AGENT_CHARS_MAX: Final = 300
AGENTS_REMEMBERED_MAX: Final = 4096

Check = Callable[[Mapping[str, Any]], DropReason | None]

_FRAMES = frozenset(("iframe", "frame", "fencedframe", "embed", "object"))

_PREVIEWS = re.compile(
    r"facebookexternalhit|facebookcatalog|Twitterbot|Slackbot|Slack-ImgProxy|TelegramBot|"
    r"^WhatsApp/|Discordbot|LinkedInBot|SkypeUriPreview|MicrosoftPreview|vkShare|"
    r"Pinterestbot|redditbot|Embedly|Iframely|BingPreview|Google-PageRenderer|"
    r"GoogleMessages|Mastodon/|Bluesky Cardyb|OdklBot",
    re.IGNORECASE,
)

# Only names that no browser and no phone carries: "bot" alone would drop Cubot phones.
_BOTS = re.compile(
    r"Googlebot|AdsBot-Google|Mediapartners-Google|Google-InspectionTool|APIs-Google|"
    r"bingbot|YandexBot|YandexMobileBot|YandexImages|Baiduspider|DuckDuckBot|Applebot|"
    r"AhrefsBot|SemrushBot|MJ12bot|DotBot|PetalBot|Bytespider|GPTBot|ClaudeBot|CCBot|"
    r"PerplexityBot|Amazonbot|UptimeRobot|Pingdom|HeadlessChrome|PhantomJS|"
    r"Lighthouse|^curl/|^Wget/|^python-|^Python/|^Go-http-client/|^Java/|^okhttp/|"
    r"^Apache-HttpClient/|^axios/|^node-fetch|^Scrapy/|^libwww-perl/|^Ruby|^PostmanRuntime/",
    re.IGNORECASE,
)


def by_method(environ: Mapping[str, Any]) -> DropReason | None:
    """HEAD asks what is there; nobody goes there."""
    return DropReason.HEAD_REQUEST if environ["REQUEST_METHOD"] == "HEAD" else None


def by_purpose(environ: Mapping[str, Any]) -> DropReason | None:
    """Prefetch and prerender load a page that may never be seen."""
    get = environ.get
    purpose = get("HTTP_SEC_PURPOSE") or get("HTTP_PURPOSE") or get("HTTP_X_PURPOSE")
    if purpose is None:
        purpose = get("HTTP_X_MOZ")
        if purpose is None:
            return None
    lowered = purpose.lower()
    ahead = "prefetch" in lowered or "prerender" in lowered or "preview" in lowered
    return DropReason.PREFETCH if ahead else None


def by_destination(environ: Mapping[str, Any]) -> DropReason | None:
    """Only a page of its own is a visit. Browsers without Fetch Metadata send nothing."""
    wanted = environ.get("HTTP_SEC_FETCH_DEST")
    if wanted is None or wanted == "document":
        return None
    return DropReason.FRAMED if wanted in _FRAMES else DropReason.SUBRESOURCE


def by_agent(environ: Mapping[str, Any]) -> DropReason | None:
    """The name that the client gives itself."""
    return agent_reason(environ.get("HTTP_USER_AGENT", "")[:AGENT_CHARS_MAX])


FRONT_CHECKS: Final[tuple[Check, ...]] = (by_method, by_purpose, by_destination, by_agent)


def front_reason(environ: Mapping[str, Any]) -> DropReason | None:
    """The first reason that a request gives against itself, or None. Never raises."""
    for check in FRONT_CHECKS:
        reason = check(environ)
        if reason is not None:
            return reason
    return None


@lru_cache(maxsize=AGENTS_REMEMBERED_MAX)
def agent_reason(agent: str) -> DropReason | None:
    """What the agent's name alone says. The patterns are linear in its length."""
    if not agent.strip():
        return DropReason.EMPTY_AGENT
    if _PREVIEWS.search(agent):
        return DropReason.LINK_PREVIEW
    if _BOTS.search(agent):
        return DropReason.BOT
    return None
