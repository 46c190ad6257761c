"""What kind of device an agent names (pure).

A few rules, not a library: the maintained parsers answer which of ten thousand models it
was, at two megabytes or a millisecond an agent, where the counters ask one of four words.
Chrome, Safari and Firefox promise the two marks that the rules stand on: phones say
`Mobile` or `Mobi`, tablets with Android leave it out (MDN, "Browser detection using the
user agent string").

An iPad whose Safari asks for desktop sites, as it does from the first day, calls itself a
Macintosh: no agent tells the two apart, and it is counted as a desktop. So is a phone whose
owner asked for the desktop site.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from tracker.clicks.rules import DeviceClass

AGENTS_REMEMBERED_MAX: Final = 20_000

# Read first: a console says Windows, a television Android, and neither is one to its owner.
_OTHER: Final = re.compile(
    r"\bTV\b|Smart-?TV|GoogleTV|AppleTV|HbbTV|Hybridcast|\bDTV|NetCast|Web0S|Viera|BRAVIA"
    r"|\bAFT[A-Z]|CrKey|Roku|Espial|\bOMI/|\bMI ?BOX|\bSTB\b|X(?:box|BOX)|Play[Ss]tation|Nintendo"
    r"|OculusBrowser|\bWatch\b|FamilyHub"
)
_TABLET: Final = re.compile(
    # A Macintosh that says Mobile is an iPad's web view inside an app.
    r"iPad|Macintosh.*\bMobile/|Tablet(?! PC)|PlayBook|Kindle"
    r"|\bSilk/(?!.*Mobile)|\bKF[A-Z]{2,4}\b|Nexus (?:7|9|10)\b"
    r"|\bSM-[TPX]\d{3}|\bGT-P\d{4}|\bTab\b"
)
_MOBILE: Final = re.compile(
    r"Mobi|iPhone|iPod|Windows Phone|IEMobile|Opera Mini|Opera Mobi|BlackBerry|\bBB10\b|webOS"
    r"|\bMIDP\b|\bCLDC\b|\bWAP\b|UP\.Browser|UCWEB|UCBrowser|NetFront|Obigo|Nokia|SonyEricsson"
    r"|Symbian|Series ?[34569]0|J2ME|BREW|DoCoMo|KAIOS|Windows CE|PPC;|\bPalm",
    re.IGNORECASE,
)
_LAPTOP: Final = re.compile(r"Windows|Chromebook|CrosArc")
_DESKTOP: Final = re.compile(
    r"Chromebook|Windows|Win(?:9[58]|NT|32|64)|Macintosh|Mac OS|Mac_PowerPC|X11|Linux|CrOS"
    r"|FreeBSD|OpenBSD|SunOS|Haiku|OpenHarmony.*2in1"
)


@lru_cache(maxsize=AGENTS_REMEMBERED_MAX)
def device_class(agent: bytes) -> DeviceClass:
    """The class of the device by the agent's first 300 characters; never raises.

    Whatever names itself in no known way is OTHER, an empty agent too.
    """
    name = agent.decode("utf-8", "replace")
    if _OTHER.search(name):
        return DeviceClass.OTHER
    if _TABLET.search(name):
        return DeviceClass.TABLET
    if "Android" in name and not _MOBILE.search(name) and not _LAPTOP.search(name):
        return DeviceClass.TABLET
    if _MOBILE.search(name):
        return DeviceClass.MOBILE
    return DeviceClass.DESKTOP if _DESKTOP.search(name) else DeviceClass.OTHER
