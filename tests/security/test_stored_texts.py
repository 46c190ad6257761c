"""What strangers write is shown as they wrote it, on every page and in every mail: as text.

Each text goes in through its own door (form, API, click, agent, address); then every page
that any role is led to, and every mail that was written, is searched for it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from walk import Installation
from world import World

from affiliate.core import ids
from affiliate.core.outbox import Mail
from affiliate.links.models import Link
from affiliate.people.ids import public
from tests.desks.staff import url_of
from tracker.claims.models import Claim

SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(1)>'
TEMPLATE = "{{7*7}}${7*7}<%=7*7%>"
EVIL = f"{IMAGE}{SCRIPT}{TEMPLATE}"
SAFE_LINKS = re.compile(r"(https?://|/|#|\?|mailto:|data:image/|$)")


class Elements(HTMLParser):
    """What a browser would make of a page that should not be there."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if not re.fullmatch("[a-z][a-z0-9-]*", tag):
            self.wrong.append(f"an element of a stranger: <{tag[:40]}>")
        self.wrong += [f"<{tag} {name}>" for name in values if name.startswith("on")]
        if tag == "script" and not values.get("src", "").startswith("/static/"):
            self.wrong.append("a script of a stranger")
        if tag == "img" and values.get("src") == "x":
            self.wrong.append("an image of a stranger")
        for name in ("href", "src", "action", "formaction"):
            if name in values and not SAFE_LINKS.match(values[name].strip().lower()):
                self.wrong.append(f"{tag} {name}={values[name][:40]}")


def strange_elements(html: str) -> list[str]:
    reader = Elements()
    reader.feed(html)
    return reader.wrong


def post(client: FlaskClient, path: str, status: int = 303, **fields: Any) -> None:
    answer = client.post(path, data=fields)
    assert answer.status_code == status, (
        f"{path}: {answer.status_code} {re.findall('error[^<]*<', answer.text)}"
    )


@pytest.fixture
def written(installation: Installation) -> Installation:
    """Everything that strangers can write, written through its door."""
    world, browsers = installation.world, installation.browsers
    anna, owner = browsers["affiliate"], browsers["owner"]
    post(anna, "/profile", name=EVIL[:80], locale="en", time_zone="UTC")
    post(anna, "/account/links", name=EVIL[:80], code="", destination="", program="demo",
         s1=EVIL, s2=SCRIPT, s3=IMAGE)  # fmt: skip
    post(anna, "/account/money/payee", program="demo", destination=f"Anna {EVIL}"[:140])
    link = world.session.scalars(sa.select(Link).order_by(Link.id.desc())).first()
    assert link is not None and link.s1 == EVIL
    at = world.now - world.now.resolution
    token = world.click(
        link, at=at, referrer=f"https://x.example/{EVIL}", sub_ids=(EVIL, SCRIPT, "", "", "")
    )
    _order(installation, token)
    _apply(installation)
    _dispute(installation, anna, owner)
    _decide(installation, owner)
    world.session.expire_all()
    return installation


def _order(installation: Installation, token: str) -> None:
    headers = {"Authorization": f"Bearer {installation.api_key}"}
    rub = {"amount": "900.00", "currency": "RUB"}
    body = {
        "order_id": "A-evil", "placed_at": installation.world.now.isoformat(), "total": rub,
        "items": [{"sku": EVIL[:60], "name": EVIL, "category": SCRIPT, "price": rub}],
        "coupon": EVIL[:64], "visitor": SCRIPT, "clicks": [token], "metadata": {SCRIPT: EVIL},
    }  # fmt: skip
    client = installation.browsers["anonymous"]
    answer = client.post("/api/v1/orders", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    assert answer.get_json()["commissions"], "the order is Anna's, so that her pages show it"
    refund = {"refund_id": "R-evil", "amount": {"amount": "1.00", "currency": "RUB"}}
    done = client.post(
        "/api/v1/orders/A-evil/refunds", json={**refund, "reason": EVIL}, headers=headers
    )
    assert done.status_code == 201, done.text


def _apply(installation: Installation) -> None:
    """A stranger signs up and applies, with an agent that is markup too."""
    world = installation.world
    world.affiliate("Carla")
    carla = world.people["Carla"].client
    carla.environ_base["HTTP_USER_AGENT"] = EVIL
    answer = carla.post("/programs/demo-manual/apply", data={
        "name": EVIL[:80], "channels": "blog", "how": f"About lamps {EVIL}", "audience": "more",
        "site": f"https://x.example/{IMAGE}".replace(" ", "%20"), "agreement": "y",
    })  # fmt: skip
    assert answer.status_code == 303


def _dispute(installation: Installation, anna: FlaskClient, owner: FlaskClient) -> None:
    """Cases with what both sides write, one of them declined and one open."""
    world = installation.world
    day = world.now.date().isoformat()
    for number in ("X-evil", "X-open"):
        post(anna, "/account/orders/claims", program="demo", order_id=number, day=day, said=EVIL)
        claim_id = world.session.scalars(sa.select(Claim.id).order_by(Claim.id.desc())).first()
        world.session.rollback()
        assert claim_id is not None
        case = ids.public_id("clm", claim_id)
        post(anna, f"/account/orders/claims/{case}/notes", program="demo", text=EVIL)
        post(owner, f"/manage/claims/{case}/notes", text=EVIL, for_affiliate="yes")
        post(owner, f"/manage/claims/{case}/notes", text=EVIL)
        if number == "X-evil":
            post(owner, f"/manage/claims/{case}/refusal", reason=EVIL)


def _decide(installation: Installation, owner: FlaskClient) -> None:
    world = installation.world
    newcomer = public(world.people["Newcomer"].enrollment.id)
    boris = public(world.people["Boris"].enrollment.id)
    post(owner, f"/manage/applications/{newcomer}/rejection", reason=EVIL)
    post(owner, f"/manage/affiliates/{boris}/suspension", reason=EVIL)
    post(owner, "/manage/keys", name=EVIL[:60], scopes="orders:read", program="demo", status=201)
    program = world.program
    program.summary, program.name = EVIL[:200], EVIL[:60]
    world.session.commit()
    from payouts.batches.models import PayoutBatch, PayoutItem

    batch = world.session.scalars(sa.select(PayoutBatch)).first()
    item = world.session.scalars(sa.select(PayoutItem)).first()
    assert batch is not None and item is not None
    item_page = f"/finance/items/{ids.public_id('pay', item.id)}"
    post(owner, f"{item_page}/hold", reason=EVIL)
    post(owner, f"{url_of(batch)}/cancellation", reason=EVIL)


def pages(installation: Installation) -> Iterator[tuple[str, str]]:
    for role in installation.browsers:
        for path in installation.pages(role)[0]:
            answer = installation.browsers[role].get(path)
            if path == "/manage/applications":
                # The stranger applied to the other program.
                answer = installation.browsers[role].get(f"{path}?program=demo-manual")
                assert "&lt;img" in answer.text
            if (answer.content_type or "").startswith("text/html"):
                yield f"{path} as {role}", answer.text


@pytest.mark.abuse("A32", "A47")
def test_no_page_makes_markup_of_a_strangers_text(written: Installation) -> None:
    wrong: list[str] = []
    shown = 0
    for where, html in pages(written):
        wrong += [f"{where}: {what}" for what in strange_elements(html)]
        if "49" in re.findall(r"\}\}(\d+)", html) or "${49" in html:
            wrong.append(f"{where}: ran a template")
        shown += "&lt;script&gt;" in html or "&lt;img" in html
    assert not wrong, "\n".join(wrong)
    assert shown >= 10, "the texts are on the pages: else nothing was tried"


@pytest.mark.abuse("A3", "A32", "A47")
def test_no_mail_makes_markup_of_a_strangers_text(written: Installation) -> None:
    mails = written.world.session.scalars(sa.select(Mail)).all()
    strange = {mail.template for mail in mails if EVIL in mail.text}
    assert strange >= {
        "application_rejected", "enrollment_suspended", "claims/asked", "claims/decided",
    }  # fmt: skip
    for mail in mails:
        assert strange_elements(mail.html) == [], mail.template
        assert "\n" not in mail.subject and "\r" not in mail.subject


@pytest.mark.abuse("A31")
def test_no_file_makes_a_formula_or_a_line_of_a_strangers_text(written: Installation) -> None:
    for path in ("/account/orders.csv", "/account/clicks.csv"):
        answer = written.browsers["affiliate"].get(path)
        assert answer.headers["Content-Disposition"].startswith("attachment")
        rows = list(csv.reader(io.StringIO(answer.text)))
        assert len({len(row) for row in rows}) == 1
        assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "@", "\t"))]


@pytest.mark.abuse("A32")
@pytest.mark.parametrize(
    "site",
    ["javascript:alert(1)", "JaVaScript:alert(1)//https://x", "data:text/html,x", "//x.example",
     "https://x.example/\r\nX: y", "https://x.example/\u202ecod", "vbscript:x", " javascript:x"],
)  # fmt: skip
def test_an_applicants_site_is_a_web_address_or_refused(world: World, site: str) -> None:
    world.app.config["WTF_CSRF_ENABLED"] = False
    client = world.affiliate("Carla").client
    answer = client.post("/programs/demo-manual/apply", data={
        "name": "Carla", "channels": "blog", "how": "About lamps and leaves", "audience": "more",
        "site": site, "agreement": "y",
    })  # fmt: skip
    assert answer.status_code == 422
    assert strange_elements(answer.text) == []


HIDDEN = "An\u202ena\u200b \ufeff\x1b[31m\u2066"


@pytest.mark.abuse("A5")
@pytest.mark.parametrize("path", ["/profile", "/account/links"])
def test_characters_that_hide_or_turn_text_are_not_kept_in_names(
    installation: Installation, path: str
) -> None:
    client = installation.browsers["affiliate"]
    fields = {"name": HIDDEN, "locale": "en", "time_zone": "UTC", "program": "demo"}
    answer = client.post(path, data=fields)
    assert answer.status_code in (303, 422)
    page = client.get(path).text
    assert not re.search("[\u202e\u200b\u2066\ufeff\x1b]", page)
