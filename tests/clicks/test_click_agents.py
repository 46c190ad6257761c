"""Who is a person by the agent's name: public lists, real browsers, real fetchers."""

from __future__ import annotations

import json
from importlib.metadata import version
from importlib.resources import files
from itertools import islice

import pytest
from agents import BROWSERS, LATE_PROGRAMS, PREVIEWS, PROGRAMS
from crawlerdetect import CrawlerDetect
from flask.testing import FlaskClient

from tracker.clicks import crawlers, devices
from tracker.clicks.filters import AGENT_CHARS_MAX, agent_reason
from tracker.clicks.rules import DeviceClass, DropReason

RECOGNISED_MIN = 0.95
CRAWLERS_MIN, BROWSERS_MIN = 2_000, 800
"""What the lists hold at least: an emptied list must not pass."""


def is_filtered(agent: str) -> bool:
    """What front and loader say together."""
    name = agent[:AGENT_CHARS_MAX]
    return agent_reason(name) is not None or crawlers.is_crawler(name.encode())


def public_crawlers() -> list[str]:
    """Agents of the list `crawler-user-agents` (github.com/monperrus, MIT), as logs have them.

    A list of its own, collected by other people than crawlerdetect's; nothing in the filter
    is made from it.
    """
    listed = files("crawleruseragents").joinpath("crawler-user-agents.json").read_text("utf-8")
    return [agent for entry in json.loads(listed) for agent in entry.get("instances", ())]


def public_browsers() -> dict[str, str]:
    """Agents that a large site saw in spring 2025 (`fake-useragent`, Apache-2.0): to class."""
    listed = files("fake_useragent").joinpath("data/browsers.jsonl").read_text("utf-8")
    rows = [json.loads(line) for line in listed.splitlines()]
    return {row["useragent"]: row["type"] for row in rows}


@pytest.mark.abuse("A19")
def test_a_public_list_of_crawlers_that_the_filter_was_not_built_from_is_recognised() -> None:
    listed = public_crawlers()
    assert len(listed) >= CRAWLERS_MIN
    missed = [agent for agent in listed if not is_filtered(agent)]
    share = 1 - len(missed) / len(listed)
    assert share >= RECOGNISED_MIN, (
        f"crawler-user-agents {version('crawler-user-agents')}: {share:.1%} of {len(listed)} "
        f"recognised, missed: {list(islice(missed, 100))}"
    )


def test_no_browser_of_a_public_list_is_filtered() -> None:
    listed = public_browsers()
    assert len(listed) >= BROWSERS_MIN
    filtered = [agent for agent in listed if is_filtered(agent)]
    assert not filtered, f"fake-useragent {version('fake-useragent')}: {filtered}"


def test_devices_of_a_public_list_are_told_apart() -> None:
    listed = public_browsers()
    differing = {
        agent: found
        for agent, said in listed.items()
        if (found := devices.device_class(agent.encode())) != said
    }
    # The list calls the web view of an iPad a desktop.
    assert set(differing) <= {BROWSERS["a web view on an ipad"][1]}


@pytest.mark.parametrize("name", BROWSERS)
def test_a_persons_browser_is_never_filtered_and_its_device_is_known(name: str) -> None:
    device, agent = BROWSERS[name]
    assert not is_filtered(agent)
    assert devices.device_class(agent.encode()) is device


def test_an_ipad_that_asks_for_desktop_sites_cannot_be_told_from_a_mac() -> None:
    agent = BROWSERS["safari on a mac"][1]
    assert devices.device_class(agent.encode()) is DeviceClass.DESKTOP


@pytest.mark.parametrize("agent", ["", "-", "Mozilla/5.0", "\x00\xff", "я" * 300])
def test_an_agent_that_says_nothing_known_is_an_other_device(agent: str) -> None:
    assert devices.device_class(agent.encode()) is DeviceClass.OTHER


@pytest.mark.abuse("A19")
@pytest.mark.parametrize("name", PREVIEWS)
def test_what_fetches_links_for_previews_is_no_visitor(name: str) -> None:
    assert agent_reason(PREVIEWS[name]) is DropReason.LINK_PREVIEW


@pytest.mark.abuse("A19")
@pytest.mark.parametrize("agent", PROGRAMS)
def test_a_program_that_names_itself_gets_no_token(agent: str) -> None:
    assert agent_reason(agent) is DropReason.BOT


@pytest.mark.abuse("A19")
@pytest.mark.parametrize("agent", ["", " ", "\t"])
def test_an_empty_agent_gets_no_token(agent: str) -> None:
    assert agent_reason(agent) is DropReason.EMPTY_AGENT


@pytest.mark.abuse("A19")
@pytest.mark.parametrize("agent", LATE_PROGRAMS)
def test_what_is_no_browser_by_the_form_of_its_name_is_the_loaders_to_drop(agent: str) -> None:
    assert agent_reason(agent) is None
    assert crawlers.is_crawler(agent.encode())


@pytest.mark.abuse("A19", "A47")
def test_the_list_is_read_as_its_makers_read_it() -> None:
    """Our reading of the list is linear, and says what theirs says of every agent we have."""
    theirs = CrawlerDetect()
    agents = [*public_crawlers(), *public_browsers(), *PREVIEWS.values(), *PROGRAMS]
    agents += [*LATE_PROGRAMS, *(agent for _device, agent in BROWSERS.values()), "", " ", "yandex"]
    differing = [agent for agent in agents if crawlers.is_listed(agent) != theirs.isCrawler(agent)]
    assert not differing


@pytest.mark.abuse("A19")
def test_the_filter_says_which_edition_it_is(client: FlaskClient) -> None:
    listed = f"crawlerdetect {version('crawlerdetect')}"
    assert f"{listed}, form {crawlers.FORM_RULES}" == crawlers.FILTER_VERSION
    said = f'kopeck_click_filter_info{{version="{crawlers.FILTER_VERSION}"}} 1.0'
    assert said in client.get("/metrics").text
