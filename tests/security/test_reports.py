"""Reports over ten years, deep pages and file after file: bounded, paged by key, braked (A50)."""

from __future__ import annotations

import html
import re

import pytest
from flask.testing import FlaskClient
from world import World

from affiliate.people import limits
from bench.walk import statements
from tests.desks.staff import hire, two_in_a_batch

pytestmark = pytest.mark.abuse("A50")

TEN_YEARS = "from=2016-11-27&to=2026-11-26"
REPORTS = (
    ("/account/statistics", "affiliate"),
    ("/account/statistics.csv", "affiliate"),
    ("/manage/statistics", "manager"),
    ("/manage/statistics.csv", "manager"),
    ("/finance/journal?format=csv", "finance"),
)


@pytest.fixture
def readers(world: World) -> dict[str, FlaskClient]:
    anna = world.affiliate("Anna")
    return {
        "affiliate": anna.client,
        "manager": hire(world, "manager").client,
        "finance": hire(world, "finance").client,
    }


@pytest.mark.parametrize(("path", "who"), REPORTS)
def test_ten_years_at_once_are_refused_before_anything_is_read(
    world: World, readers: dict[str, FlaskClient], path: str, who: str
) -> None:
    client = readers[who]
    client.get("/profile")
    with statements(world.app) as idle:
        client.get("/profile")
    with statements(world.app) as sent:
        answer = client.get(f"{path}{'&' if '?' in path else '?'}{TEN_YEARS}&program=demo")
    assert answer.status_code in (302, 303, 422), answer.status_code
    assert not [each for each in sent if re.search("ledger_entries|link_days|order_days", each)]
    assert len(sent) <= len(idle) + 8


def test_pages_go_on_by_key_however_deep(world: World, readers: dict[str, FlaskClient]) -> None:
    """Each page asks the same few things; none counts what it leaves out."""
    for number in range(130):
        world.sale("Anna", "10.00", days_ago=1 + number / 200)
    client, path, asked, seen = readers["manager"], "/manage/orders?program=demo", [], set()
    while path:
        with statements(world.app) as sent:
            page = client.get(path)
        assert page.status_code == 200
        asked.append(len(sent))
        shown = set(re.findall(r"/manage/orders/(ord_\w+)", page.text))
        assert not shown & seen
        seen |= shown
        found = re.search(r'rel="next" href="([^"]+)"', page.text)
        path = html.unescape(found[1]) if found else ""
    assert len(seen) == 130
    assert len(asked) >= 3
    assert max(asked) <= min(asked) + 1
    assert not re.search(r"\bOFFSET\b", " ".join(sent))


@pytest.mark.parametrize("before", ["ord_999999999", "0", "-1", "1' OR '1'='1", "9" * 40])
def test_a_page_that_is_none_is_empty_or_not_found(
    readers: dict[str, FlaskClient], before: str
) -> None:
    answer = readers["manager"].get("/manage/orders", query_string={"before": before})
    assert answer.status_code in (200, 404)


def test_whoever_takes_file_after_file_waits_and_others_do_not(
    world: World, readers: dict[str, FlaskClient]
) -> None:
    most = int(limits.DOWNLOADS.split()[0])
    path = "/account/statistics.csv"
    answers = [readers["affiliate"].get(path).status_code for _ in range(most + 1)]
    assert answers == [200] * most + [429]
    late = readers["affiliate"].get("/account/orders.csv")
    assert late.status_code == 429
    assert int(late.headers["Retry-After"]) > 0
    assert readers["affiliate"].get("/account/statistics").status_code == 200
    assert readers["manager"].get("/manage/statistics.csv").status_code == 200


def test_documents_are_braked_as_lists_are(
    world: World, readers: dict[str, FlaskClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    two_in_a_batch(world)
    monkeypatch.setattr(limits, "DOWNLOADS", "2 per hour")
    finance = readers["finance"]
    page = finance.get("/finance/batches").text
    batch = re.search(r"/finance/batches/bat_\w+", page)
    assert batch
    for wanted in ("pdf", "csv"):
        assert finance.get(f"{batch[0]}.{wanted}").status_code == 200
    assert finance.get(f"{batch[0]}.xlsx").status_code == 429
