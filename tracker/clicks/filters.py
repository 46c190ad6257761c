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


PURPOSE_HEADERS: Final = ("HTTP_SEC_PURPOSE", "HTTP_PURPOSE", "HTTP_X_PURPOSE", "HTTP_X_MOZ")
"""Sec-Purpose and what Chrome, Safari and Firefox said before it was agreed upon."""


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

# Messengers and networks that fetch a link to show what is behind it; their makers' own
# documentation names them. iMessage has none of its own: it says facebookexternalhit and
# Twitterbot. Instagram's FBAN and FBAV are no fetchers but people in an app.
_PREVIEWS = re.compile(
    r"facebookexternalhit|facebookcatalog|Twitterbot|Slackbot|Slack-ImgProxy|TelegramBot|"
    r"^WhatsApp/|Discordbot|LinkedInBot|SkypeUriPreview|MicrosoftPreview|vkShare|"
    r"Pinterestbot|redditbot|Embedly|Iframely|BingPreview|Google-PageRenderer|"
    r"GoogleMessages|Mastodon/|Bluesky Cardyb|OdklBot|^Viber\b|SnapURLPreview|"
    r"Snap URL Preview|meta-externalagent|meta-externalfetcher|ClickUpLinkUnfurler|"
    r"SteamChatURLLookup|Lemmy/|Friendica|Misskey/|"
    r"Pleroma|Akkoma",
    re.IGNORECASE,
)

# Only names that no browser and no phone carries: "bot" alone would drop Cubot phones.
_BOTS = re.compile(
    r"Googlebot|AdsBot-Google|Storebot-Google|Mediapartners-Google|Google-InspectionTool|"
    r"APIs-Google|"
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
    """Only a page of its own is a visit.

    `Sec-Fetch-Mode` and `-Site` say nothing beyond that. `-User` would: it is left out where
    no finger was on the link. But a page that sends people on by itself leaves it out too,
    and whoever stuffs visits can touch. Web views and older Safari send none of them, and
    silence is never held against a click.
    """
    if asked.destination == "document":
        return None
    return DropReason.FRAMED if asked.destination in _FRAMES else DropReason.SUBRESOURCE


def by_agent(asked: Asked) -> DropReason | None:
    """The name that the client gives itself."""
    return agent_reason(asked.agent)


FRONT_CHECKS: Final[tuple[Check, ...]] = (by_method, by_purpose, by_destination, by_agent)


def is_plain(environ: Mapping[str, Any]) -> bool:
    """Whether nothing but the agent can speak against the request: what most clicks are.

    Exactly the requests for which `front_reason` comes down to `agent_reason`; a check that
    looks at one more header names it here too.
    """
    return (
        environ["REQUEST_METHOD"] == "GET"
        and environ.get("HTTP_SEC_FETCH_DEST", "document") == "document"
        and "HTTP_SEC_PURPOSE" not in environ
        and "HTTP_PURPOSE" not in environ
        and "HTTP_X_PURPOSE" not in environ
        and "HTTP_X_MOZ" not in environ
    )


def front_reason(environ: Mapping[str, Any]) -> DropReason | None:
    """The first reason that a request gives against itself, or None. Never raises."""
    get = environ.get
    purpose = " ".join(get(name, "")[:HEADER_CHARS_MAX] for name in PURPOSE_HEADERS)
    return _first_reason(
        environ["REQUEST_METHOD"],
        purpose,
        get("HTTP_SEC_FETCH_DEST", "")[:HEADER_CHARS_MAX] or "document",
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
