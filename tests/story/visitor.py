"""People without a browser: cookies, forms with their tokens, and patience while things restart."""

from __future__ import annotations

import html
import json
import re
import time

import requests

from tests.browser.people import AGENT
from tests.story.outside import DEADLINE_S, PAUSE_S, TIMEOUT_S

AWAY_STATUSES = (500, 502, 503, 504)
GONE = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
"""Whoever would have answered is gone, the last of them in the middle of the answer."""


class Visitor:
    """One person's cookies. Addresses are whole."""

    def __init__(self) -> None:
        self.http = requests.Session()
        # A connection kept open would end with the process that is killed.
        self.http.headers.update({"User-Agent": AGENT, "Connection": "close"})

    def get(self, url: str) -> str:
        """The page; asked for again as long as nobody answers, as a person does."""
        return self.answer(url).text

    def answer(self, url: str, *, follow: bool = True) -> requests.Response:
        """As `get`, the whole answer."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                answer = self.http.get(url, timeout=TIMEOUT_S, allow_redirects=follow)
                if answer.status_code not in AWAY_STATUSES:
                    answer.raise_for_status()
                    return answer
                trouble = f"{answer.status_code}"
            except GONE as error:
                trouble = str(error)
            assert time.monotonic() < deadline, f"{url}: {trouble}"
            time.sleep(PAUSE_S)

    def send(self, page: str, action: str, **fields: str) -> requests.Response:
        """Fill in the form of a page that is sent to `action`, once: no second try by itself."""
        hidden = self._hidden(page, action)
        answer = self.http.post(
            action,
            data={**hidden, **fields},
            headers={"Referer": page},
            timeout=TIMEOUT_S,
            allow_redirects=False,
        )
        said = f"{action}: {answer.status_code} {text_of(answer.text)[:2000]}"
        assert answer.status_code in (200, 302, 303), said
        return answer

    def sign_in(self, base: str, account: dict[str, str]) -> None:
        page = f"{base}/sign-in"
        answer = self.send(page, page, email=account["email"], password=account["password"])
        assert answer.status_code == 303, text_of(answer.text)[:2000]
        if answer.headers["Location"].startswith("/second-factor"):
            page = f"{base}/second-factor"
            answer = self.send(page, page, code=code_of(self, base, account["email"]))
            assert answer.status_code == 303, text_of(answer.text)[:2000]

    def _hidden(self, page: str, action: str) -> dict[str, str]:
        """What the form carries unseen: its token, the hash of the batch."""
        path = "/" + action.split("/", 3)[3]
        found_at = self.get(page)
        forms = re.findall(r"<form\b.*?</form>", found_at, flags=re.DOTALL)
        of_action = [form for form in forms if re.search(rf'action="{re.escape(path)}["#]', form)]
        plain = [form for form in forms if "action=" not in form and page == action]
        assert of_action or plain, f"{page} has no form for {path}: {text_of(found_at)[:2000]}"
        inputs = re.findall(r"<input\b[^>]*>", (of_action or plain)[0])
        found = {}
        for each in inputs:
            name, value = (re.search(rf'\b{a}="([^"]*)"', each) for a in ("name", "value"))
            if 'type="hidden"' in each and name and value:
                found[name[1]] = html.unescape(value[1])
        return found


def code_of(visitor: Visitor, base: str, who: str) -> str:
    """What the app of somebody of the demo shows now; by address, or the part before @."""
    codes: dict[str, str] = json.loads(visitor.get(f"{base}/demo/codes"))
    return next(code for email, code in codes.items() if email in (who, f"{who}@demo.example"))


def text_of(page: str) -> str:
    """What a reader sees of a page, in one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())
