"""Who is a program and not a person, by the agent's name: the long look (pure).

Two answers together: the list that the package crawlerdetect keeps, and the form of the
name. Names of crawlers change every week; that a browser's name has a browser's form has
held since Mozilla/4.0. The front asks only `filters.agent_reason`; the loader asks this.
Rules: docs/rules.md, "Which clicks count".
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from crawlerdetect import __version__ as _list_version
from crawlerdetect.providers.crawlers import data as LISTED
from crawlerdetect.providers.exclusions import data as EXCLUDED

FORM_RULES: Final = 1
"""Version of the rules of form below; raised with every change of what they catch."""
FILTER_VERSION: Final = f"crawlerdetect {_list_version}, form {FORM_RULES}"
"""Which filter judges; in `/metrics` as `kopeck_click_filter_info`."""

AGENTS_REMEMBERED_MAX: Final = 20_000

# A browser's name begins like this, and so do those of the web views in which apps open
# links. The lines behind are phones, televisions and consoles with browsers of their own,
# by what only such a device says of itself.
_BROWSER: Final = re.compile(
    r"^\s*[\"']?(?:Mozilla[/ ][345]\.\d|Opera[/ ]\d)|AppleWebKit|Gecko/\d{8}|Presto/|FBAN/|FBAV/"
    r"|UCWEB|UCBrowser|UP\.Browser|Browser/UC|NetFront|Obigo|Teleca|\bMIDP\b|\bCLDC\b|\bWAP\b"
    r"|\bMAUI|Nokia|SonyEricsson|BlackBerry|J2ME|BREW|DoCoMo|KDDI|SoftBank|Symbian|Dorado|Maemo"
    r"|^(?:SAMSUNG|SEC|LG|LGE|ZTE|HUAWEI|ALCATEL|MOT|SIE|PHILIPS|SAGEM|Panasonic|PANTECH|Vodafone)"
    r"[-/ _]|HbbTV|Hybridcast|Smart-?TV|PlayStation|Nintendo|^Roku|^Windows Phone"
    r"|^(?:Lynx|E?Links|w3m|iCab|amaya|NCSA_Mosaic|IBrowse|AmigaVoyager|Dillo)\b",
    re.IGNORECASE,
)

# "compatible;" was Internet Explorer's word, and a few browsers of its time said it after
# it. Whoever else says it names a service.
_COMPATIBLE: Final = re.compile(
    r"compatible;(?!\s*(?:MSIE|Konqueror|ANTGalio|Linux|ABrowse|NetFront|Windows|Polaris"
    r"|NetPositive|iCab|OmniWeb|Opera|U;|N;)|[^;)]*(?:\bTV\b|HbbTV))",
    re.IGNORECASE,
)

# A browser gives no address to write to; toolbars once put theirs into Internet Explorer.
_CONTACT: Final = re.compile(r"https?://|\w(?:@|\[at\]|\(at\))[\w-]+\.[a-z]{2}", re.IGNORECASE)
_TOOLBARS: Final = re.compile(r"MSIE [4-9]\.")

_WORDS: Final = re.compile(
    r"(?<!cu)bots?\b|crawl|spider|scrap(?:er|ing|y)|scann(?:er|ing)\b|\bmonitor(?:ing)?\b|synthetic"
    r"|selenium|playwright|puppeteer|headless|webdriver|phantomjs|\bpreview\b|validator|uptime"
    r"|archiv(?:er|ing)",
    re.IGNORECASE,
)

# Where anybody's words may stand in a person's agent: the model of an Android phone (there
# are the "M bot 54", the "Cubot", the "Spider 8" and the "Zeus 10") and the names of apps,
# "ru.yandex.searchplugin" among them, with which a list for crawlers is too quick.
_FREE_TEXT: Final = re.compile(
    r"(?<=Android)(?:[ -][\w.]+)?;(?![^()]*compatible)[^()]*|(?<=HbbTV/)[^()]*\([^()]*\)"
    r"|\b(?:com|ru|org|net)(?:\.\w+){2,}(?:/\S+)?|\bYandexSearch(?:Browser)?/\S+",
)


@lru_cache(maxsize=AGENTS_REMEMBERED_MAX)
def is_crawler(agent: bytes) -> bool:
    """Whether the agent is a program's: on the maintained list, or not a browser by its form."""
    name = agent.decode("utf-8", "replace")
    return looks_automatic(name) or is_listed(_FREE_TEXT.sub("", name))


def looks_automatic(agent: str) -> bool:
    """Whether the name's form is none of a browser's. The patterns are linear in its length."""
    if not _BROWSER.search(agent) or _COMPATIBLE.search(agent):
        return True
    if _CONTACT.search(agent) and not _TOOLBARS.search(agent):
        return True
    return bool(_WORDS.search(_FREE_TEXT.sub("", agent)))


def is_listed(agent: str) -> bool:
    """Whether crawlerdetect's list knows the agent; says what its `isCrawler` says.

    Its one large expression takes eight milliseconds for an agent made to be slow, and a
    hundred such a second would hold the loader. Nearly all of the list are plain words, for
    which looking is linear; what is left is a short expression.
    """
    excluded, words, expression = _patterns()
    left = excluded.sub("", agent.strip())
    if not left:
        return False
    lowered = left.lower()
    return any(word in lowered for word in words) or expression.search(left) is not None


@lru_cache(maxsize=1)
def _patterns() -> tuple[re.Pattern[str], tuple[str, ...], re.Pattern[str]]:
    """What is taken out of a name, the list's plain words, and its other patterns."""
    words = [pattern for pattern in LISTED if _PLAIN.fullmatch(pattern)]
    others = [
        # What may stand before a word does not change whether the word is there.
        pattern.removeprefix(r"[a-z0-9\-_]*")
        for pattern in LISTED
        if not _PLAIN.fullmatch(pattern)
    ]
    return (
        re.compile("|".join(EXCLUDED), re.IGNORECASE),
        tuple(re.sub(r"\\(.)", r"\1", word).lower() for word in words),
        re.compile("|".join(others), re.IGNORECASE),
    )


_PLAIN: Final = re.compile(r"(?:[\w /-]|\\\W)+")
