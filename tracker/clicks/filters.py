"""The front's filters: what a request says about itself without any memory (pure).

Ordered, named, the first that answers wins. A click dropped here still redirects and is
still recorded; it gets no token. What needs memory or a long list is the loader's.
Rules: docs/rules.md, "Which clicks count"; Fetch Metadata (W3C), Sec-Purpose (Fetch).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from tracker.clicks.rules import DropReason

AGENT_CHARS_MAX: Final = 300
AGENTS_REMEMBERED_MAX: Final = 4096

HEADER_CHARS_MAX: Final = 60
"""More than any value that the checks look for; longer ones are cut, so that what is
remembered stays small."""


class Asked(NamedTuple):
    """What the checks look at in a request."""

    method: str
    purpose: str
    """Sec-Purpose and its forerunners; empty when none was sent."""
    destination: str
    """Sec-Fetch-Dest; `document` when none was sent, as by old browsers."""
    agent: str


Check = Callable[[Asked], DropReason | None]

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


def by_method(asked: Asked) -> DropReason | None:
    """HEAD asks what is there; nobody goes there."""
    return DropReason.HEAD_REQUEST if asked.method == "HEAD" else None


def by_purpose(asked: Asked) -> DropReason | None:
    """Prefetch and prerender load a page that may never be seen."""
    purpose = asked.purpose.lower()
    ahead = "prefetch" in purpose or "prerender" in purpose or "preview" in purpose
    return DropReason.PREFETCH if ahead else None


def by_destination(asked: Asked) -> DropReason | None:
    """Only a page of its own is a visit."""
    if asked.destination == "document":
        return None
    return DropReason.FRAMED if asked.destination in _FRAMES else DropReason.SUBRESOURCE


def by_agent(asked: Asked) -> DropReason | None:
    """The name that the client gives itself."""
    return agent_reason(asked.agent)


FRONT_CHECKS: Final[tuple[Check, ...]] = (by_method, by_purpose, by_destination, by_agent)


def front_reason(environ: Mapping[str, Any]) -> DropReason | None:
    """The first reason that a request gives against itself, or None. Never raises."""
    get = environ.get
    purpose = (
        get("HTTP_SEC_PURPOSE")
        or get("HTTP_PURPOSE")
        or get("HTTP_X_PURPOSE")
        or get("HTTP_X_MOZ")
        or ""
    )
    return _first_reason(
        environ["REQUEST_METHOD"],
        purpose[:HEADER_CHARS_MAX],
        get("HTTP_SEC_FETCH_DEST", "document")[:HEADER_CHARS_MAX],
        get("HTTP_USER_AGENT", "")[:AGENT_CHARS_MAX],
    )


@lru_cache(maxsize=AGENTS_REMEMBERED_MAX)
def _first_reason(method: str, purpose: str, destination: str, agent: str) -> DropReason | None:
    asked = Asked(method, purpose, destination, agent)
    for check in FRONT_CHECKS:
        reason = check(asked)
        if reason is not None:
            return reason
    return None


def agent_reason(agent: str) -> DropReason | None:
    """What the agent's name alone says. The patterns are linear in its length."""
    if not agent.strip():
        return DropReason.EMPTY_AGENT
    if _PREVIEWS.search(agent):
        return DropReason.LINK_PREVIEW
    if _BOTS.search(agent):
        return DropReason.BOT
    return None
