"""Walk every page and every form that people of each role are shown, and every route."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from html.parser import HTMLParser
from urllib.parse import urldefrag, urlsplit

from builders import terms_document
from flask.testing import FlaskClient
from werkzeug.routing import Rule
from werkzeug.test import TestResponse
from world import World

from affiliate.people import api_keys
from affiliate.people.access import Kind, mark_of
from affiliate.products.importing import take_fetched
from affiliate.programs import drafts
from bench.walk import kind_of
from tests.desks.staff import hire, two_in_a_batch
from tests.products.feeds import lamps
from tracker.replay import runs
from tracker.replay.jobs import run_replays

MARK = "<script>kpk"
"""Stands in many of the bad values; no page may ever repeat it as it is."""
STARTS = {
    "anonymous": ("/", "/programs", "/sign-in", "/sign-up", "/contact", "/demo/", "/api/"),
    "affiliate": ("/account/", "/profile"),
    "owner": ("/finance/", "/manage/", "/manage/programs/new", "/profile", "/manage/staff"),
}
_ENDS_SIGN_INS = ("/sign-out",)
_READS = re.compile(r"request\.(?:args|values|form)\.get(?:list)?\(\s*\"(\w+)\"")


@dataclass
class Form:
    """A form as it stands on a page."""

    page: str
    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)


class _Reader(HTMLParser):
    """Links and forms of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.page = page
        self.links: list[str] = []
        self.forms: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "form":
            action = values.get("action") or self.page
            self.forms.append(Form(self.page, action, values.get("method", "get").lower()))
        elif tag in ("input", "select", "textarea") and values.get("name") and self.forms:
            self.forms[-1].fields.setdefault(values["name"], values.get("value", ""))
        elif tag == "option" and self.forms and self.forms[-1].fields:
            last = next(reversed(self.forms[-1].fields))
            self.forms[-1].fields[last] = self.forms[-1].fields[last] or values.get("value", "")


@dataclass
class Installation:
    """Browsers by role, and a key with every scope."""

    world: World
    browsers: dict[str, FlaskClient]
    api_key: str

    @classmethod
    def build(cls, world: World) -> Installation:
        world.affiliate("Boris")
        anna = world.affiliate("Anna", recruiter="Boris")
        world.affiliate("Newcomer", approved=False)
        world.coupon("Anna", "ANNA10")
        two_in_a_batch(world)
        world.refund(world.sale("Anna", "900.00", days_ago=2), "100.00")
        _try_a_draft(world)
        take_fetched(world.session, program_id=world.program.id, raw=lamps(2), now=world.now)
        world.session.commit()
        browsers = {
            "anonymous": world.app.test_client(),
            "affiliate": anna.client,
            "owner": hire(world, "owner").client,
        }
        _, key = api_keys.create_key(
            world.session, program_id=world.program.id, scopes=sorted(api_keys.SCOPES),
            name="shop", by=None, now=world.now,
        )  # fmt: skip
        world.session.commit()
        asked = {"order_id": "X-1", "day": world.now.date().isoformat(), "program": "demo"}
        guarded = world.app.config.get("WTF_CSRF_ENABLED", True)
        world.app.config["WTF_CSRF_ENABLED"] = False
        assert anna.client.post("/account/orders/claims", data=asked).status_code == 303
        world.app.config["WTF_CSRF_ENABLED"] = guarded
        return cls(world, browsers, key)

    def pages(self, role: str) -> tuple[list[str], list[Form]]:
        """Every kind of page that links lead this role to, and every kind of form on them."""
        waiting, seen = list(STARTS[role]), set(STARTS[role])
        found: list[str] = []
        forms: dict[tuple[str, str, tuple[str, ...]], Form] = {}
        while waiting:
            path = waiting.pop(0)
            answer = self.browsers[role].get(path)
            if answer.status_code != 200:
                continue
            found.append(path)
            if not (answer.content_type or "").startswith("text/html"):
                continue
            reader = _Reader(path)
            reader.feed(answer.text)
            for form in reader.forms:
                if form.method != "dialog" and not form.action.startswith(_ENDS_SIGN_INS):
                    key = (form.method, kind_of(form.action), tuple(sorted(form.fields)))
                    forms.setdefault(key, form)
            for link in (urldefrag(each)[0] for each in reader.links):
                if kind_of(link) not in seen and link.startswith("/") and "/static/" not in link:
                    seen.add(kind_of(link))
                    waiting.append(link)
        return found, list(forms.values())

    def parameters(self, path: str) -> set[str]:
        """Names that the module of this page's view reads out of an address."""
        adapter = self.world.app.url_map.bind("127.0.0.1:8000")
        endpoint, _ = adapter.match(urlsplit(path).path)
        view = inspect.unwrap(self.world.app.view_functions[endpoint])
        return {"program", "before"} | set(
            _READS.findall(inspect.getsource(inspect.getmodule(view)))
        )

    def rules(self) -> Iterator[tuple[Rule, str, Kind]]:
        """Each rule and method of the URL map, with who may call it."""
        for rule in self.world.app.url_map.iter_rules():
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                mark = mark_of(self.world.app.view_functions[rule.endpoint], rule.endpoint, method)
                assert mark is not None
                yield rule, method, mark.kind


def _try_a_draft(world: World) -> None:
    """A draft that was tried on what there is, for the pages that show it."""
    document = terms_document(
        commission={"level_1": {"kind": "percent", "rate_ppm": 120_000}, "level_2": None}
    )
    day = world.now.date()
    with world.app.app_context():
        draft = drafts.begin_draft(
            world.session, program_id=world.program.id, name="Q4", document=document, by=None,
            now=world.now,
        )  # fmt: skip
        runs.begin_replay(
            world.session, draft_id=draft.id, first=day - timedelta(days=40), last=day, by=None,
            now=world.now,
        )  # fmt: skip
        world.session.commit()
        run_replays()


def address(template: str, value: str) -> str:
    """The rule's address with the value in each place."""
    return re.sub(r"<[^>]+>", lambda _: value, template)


def faults(answer: TestResponse, what: str) -> list[str]:
    """What is wrong with an answer, whatever was asked: nothing may be, ever."""
    wrong = []
    if answer.status_code >= 500:
        wrong.append(f"{what}: {answer.status_code}")
    headers = answer.headers
    if "frame-ancestors 'none'" not in headers.get("Content-Security-Policy", ""):
        wrong.append(f"{what}: no Content-Security-Policy")
    if headers.get("X-Content-Type-Options") != "nosniff":
        wrong.append(f"{what}: no nosniff")
    if "Cache-Control" not in headers:
        wrong.append(f"{what}: says nothing to caches")
    if any("\r" in value or "\n" in value for _, value in headers):
        wrong.append(f"{what}: a line break in a header")
    if (answer.content_type or "").startswith("text/html") and not answer.direct_passthrough:
        text = answer.get_data(as_text=True)
        if MARK in text:
            wrong.append(f"{what}: repeats markup as it came")
        if "Traceback (most recent" in text:
            wrong.append(f"{what}: shows a trace")
    answer.close()  # One that is streamed has a connection until then.
    return wrong
