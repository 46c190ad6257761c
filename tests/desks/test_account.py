"""The affiliate's account."""

from __future__ import annotations

from world import World

PAGES = ("/account/", "/account/links", "/account/clicks", "/account/orders", "/account/money",
         "/account/team", "/account/rules")  # fmt: skip


def test_every_page_is_there(world: World) -> None:
    anna = world.affiliate("Anna")
    boris = world.affiliate("Boris", recruiter="Anna")
    for path in PAGES:
        page = anna.client.get(path)
        assert page.status_code == 200, (path, page.text)
    world.payee("Anna")
    world.history("Anna", days=20)
    world.history("Boris", days=10)
    world.release()
    for path in PAGES:
        page = anna.client.get(path)
        assert page.status_code == 200, (path, page.text)
    assert boris
