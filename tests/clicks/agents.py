"""Agents as real browsers and real fetchers send them, by what sends them.

Written down from the makers' own documentation and from logs; what the big public lists
hold is tested beside them.
"""

from __future__ import annotations

from typing import Final

from tracker.clicks.rules import DeviceClass

_KHTML = "(KHTML, like Gecko)"
_PIXEL = "Linux; Android 14; Pixel 8 Build/UQ1A.240205.004; wv"
_VIEW = f"Mozilla/5.0 ({_PIXEL}) AppleWebKit/537.36 {_KHTML} Version/4.0 Chrome/130.0.6723.58"
_IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 " + _KHTML
_CHROME = f"AppleWebKit/537.36 {_KHTML} Chrome/141.0.0.0 Safari/537.36"
_PHONE = f"AppleWebKit/537.36 {_KHTML} Chrome/141.0.0.0 Mobile Safari/537.36"

BROWSERS: Final[dict[str, tuple[DeviceClass, str]]] = {
    "chrome on windows": (
        DeviceClass.DESKTOP,
        f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_CHROME}",
    ),
    "edge": (
        DeviceClass.DESKTOP,
        f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_CHROME} Edg/141.0.0.0",
    ),
    "opera": (DeviceClass.DESKTOP, f"Mozilla/5.0 (X11; Linux x86_64) {_CHROME} OPR/122.0.0.0"),
    "vivaldi": (
        DeviceClass.DESKTOP,
        f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_CHROME} Vivaldi/7.1",
    ),
    "yandex browser": (
        DeviceClass.DESKTOP,
        f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 {_KHTML} Chrome/138.0.0.0 "
        "YaBrowser/25.8.0.0 Safari/537.36",
    ),
    "safari on a mac": (
        DeviceClass.DESKTOP,
        f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 {_KHTML} "
        "Version/18.1 Safari/605.1.15",
    ),
    "firefox": (
        DeviceClass.DESKTOP,
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0",
    ),
    "chromebook": (DeviceClass.DESKTOP, f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {_CHROME}"),
    "internet explorer 11": (
        DeviceClass.DESKTOP,
        "Mozilla/5.0 (Windows NT 6.1; WOW64; Trident/7.0; rv:11.0) like Gecko",
    ),
    "internet explorer 8 on a tablet pc": (
        DeviceClass.DESKTOP,
        "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0; SLCC2; Tablet PC 2.0)",
    ),
    "old opera": (DeviceClass.DESKTOP, "Opera/9.80 (Windows NT 6.1) Presto/2.12.388 Version/12.18"),
    "konqueror": (
        DeviceClass.DESKTOP,
        "Mozilla/5.0 (compatible; Konqueror/4.14; Linux) KHTML/4.14.3 (like Gecko)",
    ),
    "iphone": (DeviceClass.MOBILE, f"{_IPHONE} Version/18.1 Mobile/15E148 Safari/604.1"),
    "chrome on an iphone": (
        DeviceClass.MOBILE,
        f"{_IPHONE} CriOS/130.0 Mobile/15E148 Safari/604.1",
    ),
    "firefox on an iphone": (
        DeviceClass.MOBILE,
        f"{_IPHONE} FxiOS/132.0 Mobile/15E148 Safari/605.1",
    ),
    "chrome on android": (DeviceClass.MOBILE, f"Mozilla/5.0 (Linux; Android 10; K) {_PHONE}"),
    "firefox on android": (
        DeviceClass.MOBILE,
        "Mozilla/5.0 (Android 14; Mobile; rv:132.0) Gecko/132.0 Firefox/132.0",
    ),
    "samsung internet": (
        DeviceClass.MOBILE,
        f"Mozilla/5.0 (Linux; Android 14; SM-S921B) AppleWebKit/537.36 {_KHTML} "
        "SamsungBrowser/26.0 Chrome/122.0.0.0 Mobile Safari/537.36",
    ),
    "uc browser": (
        DeviceClass.MOBILE,
        "Mozilla/5.0 (Linux; U; Android 11; en-US; Redmi Note 9 Build/RP1A.200720.011) "
        f"AppleWebKit/537.36 {_KHTML} Version/4.0 Chrome/100.0.4896.58 UCBrowser/13.5.5.1313 "
        "Mobile Safari/537.36",
    ),
    "opera mini": (
        DeviceClass.MOBILE,
        "Opera/9.80 (J2ME/MIDP; Opera Mini/7.1.32052/191.308; U; en) Presto/2.12.423 Version/12.16",
    ),
    "feature phone": (
        DeviceClass.MOBILE,
        "Nokia6300/2.0 (05.50) Profile/MIDP-2.0 Configuration/CLDC-1.1",
    ),
    "kaios": (
        DeviceClass.MOBILE,
        "Mozilla/5.0 (Mobile; Nokia_8110_4G; rv:48.0) Gecko/48.0 Firefox/48.0 KAIOS/2.5",
    ),
    "cubot phone": (DeviceClass.MOBILE, f"Mozilla/5.0 (Linux; Android 11; CUBOT NOTE 20) {_PHONE}"),
    "cubot without a model": (
        DeviceClass.MOBILE,
        f"Mozilla/5.0 (Linux; Android 9; CUBOT) {_PHONE}",
    ),
    "a phone named M bot": (
        DeviceClass.MOBILE,
        f"Mozilla/5.0 (Linux; Android 7.0; M bot 54) {_PHONE}",
    ),
    "a phone named XBot": (
        DeviceClass.MOBILE,
        f"Mozilla/5.0 (Linux; Android 8.1.0; XBot_Senior Build/O11019) {_PHONE}",
    ),
    "instagram on a cubot": (
        DeviceClass.MOBILE,
        f"{_VIEW} Mobile Safari/537.36 Instagram 237.0.0.7.102 Android (28/9; 480dpi; 1080x2115; "
        "CUBOT; X20 PRO; X20_PRO; mt6771; it_IT; 372544735)",
    ),
    "instagram on android": (
        DeviceClass.MOBILE,
        f"{_VIEW} Mobile Safari/537.36 Instagram 355.0.0.40.103 Android (34/14; 420dpi; "
        "1080x2201; Google/google; Pixel 8; shiba; shiba; en_US; 658190101; IABMV/1)",
    ),
    "instagram on an iphone": (
        DeviceClass.MOBILE,
        f"{_IPHONE} Mobile/22B83 Instagram 355.0.0.30.99 (iPhone15,3; iOS 18_1; ru_RU; ru; "
        "scale=3.00; 1290x2796; 658190102; IABMV/1)",
    ),
    "facebook on android": (
        DeviceClass.MOBILE,
        f"{_VIEW} Mobile Safari/537.36 [FB_IAB/FB4A;FBAV/486.0.0.62.72;IABMV/1;]",
    ),
    "facebook on an iphone": (
        DeviceClass.MOBILE,
        f"{_IPHONE} Mobile/22B83 [FBAN/FBIOS;FBAV/485.1.0.45.110;FBBV/658190101;FBDV/iPhone15,3;"
        "FBMD/iPhone;FBSN/iOS;FBSV/18.1;FBSS/3;FBID/phone;FBLC/en_US;FBOP/5]",
    ),
    "messenger": (
        DeviceClass.MOBILE,
        f"{_VIEW} Mobile Safari/537.36 [FB_IAB/Orca-Android;FBAV/480.0.0.32.109;]",
    ),
    "tiktok on android": (
        DeviceClass.MOBILE,
        f"{_VIEW} Mobile Safari/537.36 musical_ly_2023602040 JsSdk/1.0 NetType/WIFI "
        "Channel/googleplay AppName/musical_ly app_version/36.2.4 "
        "ByteLocale/en ByteFullLocale/en Region/US",
    ),
    "tiktok on an iphone": (
        DeviceClass.MOBILE,
        f"{_IPHONE} Mobile/22B83 musical_ly_36.5.0 JsSdk/2.0 NetType/WIFI Channel/App Store "
        "ByteLocale/en Region/US BytedanceWebview/d8a21c6",
    ),
    "telegram on android": (
        DeviceClass.MOBILE,
        f"Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/UQ1A) {_PHONE} "
        "Telegram-Android/11.4.2 (Google Pixel 8; Android 14; SDK 34; HIGH)",
    ),
    "vk on android": (
        DeviceClass.MOBILE,
        f"{_VIEW} Mobile Safari/537.36 VKAndroidApp/8.100-24222 (Android 14; SDK 34; arm64-v8a; "
        "Google Pixel 8; ru; 2400x1080)",
    ),
    "wechat": (
        DeviceClass.MOBILE,
        f"{_VIEW} XWEB/1300 MMWEBSDK/20241001 Mobile Safari/537.36 MMWEBID/6170 "
        "MicroMessenger/8.0.54.2760(0x28003637) WeChat/arm64 Weixin NetType/WIFI Language/zh_CN",
    ),
    "line": (DeviceClass.MOBILE, f"{_IPHONE} Mobile/15E148 Safari Line/14.18.0"),
    "kakao": (DeviceClass.MOBILE, f"{_VIEW} Mobile Safari/537.36 KAKAOTALK/25.9.1 (INAPP)"),
    "pinterest app": (DeviceClass.MOBILE, f"{_IPHONE} Mobile/15E148 [Pinterest/iOS]"),
    "snapchat": (
        DeviceClass.MOBILE,
        f"{_IPHONE} Mobile/22B83 Snapchat/13.14.0.43 (like Safari/8619.2.8.10.7, panda)",
    ),
    "twitter app": (DeviceClass.MOBILE, f"{_IPHONE} Mobile/22B83 Twitter for iPhone/10.69"),
    "linkedin app": (DeviceClass.MOBILE, f"{_IPHONE} Mobile/22B83 [LinkedInApp]/9.30.1"),
    "google app": (DeviceClass.MOBILE, f"{_IPHONE} GSA/341.0.0 Mobile/15E148 Safari/604.1"),
    "gmail": (DeviceClass.MOBILE, f"{_IPHONE} Mobile/22B83"),
    "yandex app": (
        DeviceClass.MOBILE,
        "Mozilla/5.0 (Linux; arm_64; Android 11; SM-M625F) AppleWebKit/537.36 "
        f"{_KHTML} Chrome/92.0.4515.159 BroPP/1.0 SA/3 YaSearchBrowser/21.81.1 "
        "YaApp_Android/21.81.1 ru.yandex.searchplugin/21.81.1 (samsung SM-M625F; Android 11) "
        "Mobile Safari/537.36",
    ),
    "yandex search": (
        DeviceClass.MOBILE,
        f"{_VIEW} Mobile Safari/537.36 YandexSearch/7.80 YandexSearchBrowser/7.80",
    ),
    "ecosia": (
        DeviceClass.MOBILE,
        f"Mozilla/5.0 (Linux; Android 11; FP4) {_PHONE} (Ecosia android@101.0.4951.41)",
    ),
    "duckduckgo": (
        DeviceClass.MOBILE,
        f"{_IPHONE} Version/18.1 Mobile/15E148 DuckDuckGo/7 Safari/605",
    ),
    "ipad before desktop mode": (
        DeviceClass.TABLET,
        f"Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) AppleWebKit/605.1.15 {_KHTML} "
        "Version/12.1.2 Mobile/15E148 Safari/604.1",
    ),
    "a web view on an ipad": (
        DeviceClass.TABLET,
        f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 {_KHTML} "
        "Version/18.3.1 Mobile/15E148 Safari/604.1",
    ),
    "android tablet": (DeviceClass.TABLET, f"Mozilla/5.0 (Linux; Android 13; SM-X710) {_CHROME}"),
    "a tablet named Spider": (
        DeviceClass.TABLET,
        f"Mozilla/5.0 (Linux; Android 13; Spider 8) {_CHROME}",
    ),
    "firefox on a tablet": (
        DeviceClass.TABLET,
        "Mozilla/5.0 (Android 14; Tablet; rv:132.0) Gecko/132.0 Firefox/132.0",
    ),
    "kindle fire": (
        DeviceClass.TABLET,
        f"Mozilla/5.0 (Linux; Android 9; KFMAWI) AppleWebKit/537.36 {_KHTML} Silk/110.3.1 like "
        "Chrome/110.0.5481.154 Safari/537.36",
    ),
    "samsung television": (
        DeviceClass.OTHER,
        f"Mozilla/5.0 (SMART-TV; LINUX; Tizen 7.0) AppleWebKit/537.36 {_KHTML} "
        "94.0.4606.31/7.0 TV Safari/537.36",
    ),
    "lg television": (
        DeviceClass.OTHER,
        f"Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 {_KHTML} Chrome/108.0.5359.211 "
        "Safari/537.36 WebAppManager",
    ),
    "fire tv": (
        DeviceClass.OTHER,
        f"Mozilla/5.0 (Linux; Android 9; AFTKA Build/PS7655) AppleWebKit/537.36 {_KHTML} "
        "Silk/120.4.4 like Chrome/120.0.6099.230 Safari/537.36",
    ),
    "hbbtv": (
        DeviceClass.OTHER,
        "HbbTV/1.1.1 (;;;;) Mozilla/5.0 (compatible; ANTGalio/3.0.2.1.22.43.08; Linux2.6.18-7.1)",
    ),
    "playstation": (
        DeviceClass.OTHER,
        f"Mozilla/5.0 (PlayStation; PlayStation 5/8.00) AppleWebKit/605.1.15 {_KHTML} "
        "Version/15.4 Safari/605.1.15",
    ),
    "xbox": (
        DeviceClass.OTHER,
        f"Mozilla/5.0 (Windows NT 10.0; Win64; x64; Xbox; Xbox One) {_CHROME} Edge/44.18363.8131",
    ),
    "nintendo switch": (
        DeviceClass.OTHER,
        f"Mozilla/5.0 (Nintendo Switch; WifiWebAuthApplet) AppleWebKit/609.4 {_KHTML} "
        "NF/6.0.2.21.3 NintendoBrowser/5.1.0.22474",
    ),
}

PREVIEWS: Final[dict[str, str]] = {
    "facebook, instagram, threads": (
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)"
    ),
    "imessage": (
        f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 {_KHTML} "
        "Version/9.0.1 Safari/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0"
    ),
    "x": "Twitterbot/1.0",
    "slack": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "telegram": "TelegramBot (like TwitterBot)",
    "whatsapp": "WhatsApp/2.24.20.89 A",
    "discord": "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
    "linkedin": "LinkedInBot/1.0 (compatible; Mozilla/5.0; +http://www.linkedin.com)",
    "skype": "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
    "teams": f"Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 {_KHTML} MicrosoftPreview/2.0",
    "vk": "Mozilla/5.0 (compatible; vkShare; +http://vk.com/dev/Share)",
    "odnoklassniki": "Mozilla/5.0 (compatible; OdklBot/1.0 like Linux; klass@odnoklassniki.ru)",
    "pinterest": "Mozilla/5.0 (compatible; Pinterestbot/1.0; +http://www.pinterest.com/bot.html)",
    "reddit": "Mozilla/5.0 (compatible; redditbot/1.0; +http://www.reddit.com/feedback)",
    "mastodon": "Mastodon/4.3.1 (http.rb/5.2.0; +https://mastodon.social/)",
    "bluesky": "Mozilla/5.0 (compatible; Bluesky Cardyb/1.1; +mailto:support@bsky.app)",
    "embedly": "Mozilla/5.0 (compatible; Embedly/0.2; +http://support.embed.ly/)",
    "viber": "Viber/22.0 (compatible; preview)",
    "snapchat": "Mozilla/5.0 (compatible; SnapURLPreview/1.0; +https://www.snapchat.com)",
    "meta": "meta-externalagent/1.1 (+https://developers.facebook.com/docs/sharing/webmasters/crawler)",
}

PROGRAMS: Final[tuple[str, ...]] = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    f"Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) {_PHONE} (compatible; "
    "Googlebot/2.1; +http://www.google.com/bot.html)",
    f"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 {_KHTML} HeadlessChrome/141.0.0.0 "
    "Safari/537.36",
    f"Mozilla/5.0 (Unknown; Linux x86_64) AppleWebKit/538.1 {_KHTML} PhantomJS/2.1.1 Safari/538.1",
    "curl/8.5.0",
    "Wget/1.21.4",
    "python-requests/2.32.3",
    "Python/3.12 aiohttp/3.10.5",
    "Go-http-client/2.0",
    "okhttp/4.12.0",
    "node-fetch/1.0 (+https://github.com/bitinn/node-fetch)",
    "axios/1.7.7",
    "Java/17.0.2",
    "Scrapy/2.11.2 (+https://scrapy.org)",
)
"""What the front itself refuses a token: nobody reads a page with one of these."""

LATE_PROGRAMS: Final[tuple[str, ...]] = (
    "Dalvik/2.1.0 (Linux; U; Android 14; Pixel 8 Build/UQ1A.240205.004)",
    "MyApp/3.1 CFNetwork/1568.200.51 Darwin/24.1.0",
    "acme-fetcher/0.3",
    "Some Link Tool",
    "Mozilla/5.0 (compatible; Acme; +https://acme.example/why)",
    f"Mozilla/5.0 AppleWebKit/537.36 {_KHTML}; compatible; Acme-User/1.0; +https://acme.example) "
    "Chrome/135.0.0.0 Safari/537.36",
    f"Mozilla/5.0 (X11; Linux x86_64) {_CHROME} (mail us: ops@acme.example)",
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_CHROME} Playwright/1.40.0",
    f"Mozilla/5.0 (Linux; Android 7.0; compatible; Acmebot/1.0) {_PHONE}",
)
"""Named nowhere, and yet no browsers by the form of their names: the loader's verdict."""
