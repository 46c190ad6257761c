"""Everything that is held about a person, as a ZIP that holds nothing of anybody else."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from marked import EMAIL, MARK, NAME, marked
from world import World

from affiliate.core import outbox
from affiliate.core.audit import AuditEntry
from affiliate.core.clock import real_now
from affiliate.core.personal import Fate
from affiliate.people import account, limits
from affiliate.people.models import User
from tests.desks.staff import hire
from tracker.personal import archive
from tracker.personal.held import HELD
from tracker.personal.inventory import INVENTORY

PATH = "/profile/data/archive"
SECRET = {
    "users.fs_uniquifier", "second_factors.totp_secret", "passkeys.credential_id",
    "passkeys.public_key", "recovery_codes.code_hash",
}  # fmt: skip
NOT_OURS_TO_GIVE = {
    "payout_holds.reason", "payout_holds.lift_reason", "payee_stops.why",
    "payee_accounts.named_network", "provider_payee_accounts.id",
    "provider_payee_accounts.disabled_reason", "provider_payee_accounts.due",
    "provider_bank_payouts.account", "provider_bank_payouts.failure",
    "provider_event_cursors.account", "payee_onboardings.account", "payee_onboardings.params",
    "audit_log.reason",
}  # fmt: skip
"""Staff's words about suspicions; hashes; the provider's mirror of what accounts.json shows."""


def taken(client: Any) -> dict[str, str]:
    """The files of the archive by name."""
    answer = client.post(PATH)
    assert answer.status_code == 200, answer.text
    assert answer.content_type == "application/zip"
    assert answer.headers["Cache-Control"] == "no-store"
    with zipfile.ZipFile(io.BytesIO(answer.data)) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name).decode("utf-8-sig") for name in opened.namelist()}


def rows(files: dict[str, str], name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files[name])))


@pytest.fixture(autouse=True)
def _no_brake(world: World) -> Any:
    assert world
    limits.limiter.reset()
    yield
    limits.limiter.reset()


@pytest.mark.abuse("A40")
def test_it_holds_what_an_erasure_would_take(world: World) -> None:
    person = marked(world)
    files = taken(person.client)
    assert set(files) == {"index.txt", *(held.file for held in HELD)}
    whole = "\n".join(files.values())
    for said in (
        EMAIL, f"new.{EMAIL}", f"old.{EMAIL}", f"{MARK} browser", f"{MARK} key",
        f"A blog about {MARK} and lamps.", f"{MARK} sells no tea", f"{MARK}-customer",
        f"{MARK} link", f"{MARK}-code", f"from={MARK}", f"{MARK}1", f"{MARK}5", "MQXZ10",
        f"{MARK} asked", f"https://{MARK}.example/page", f"https://{MARK}.example/",
        f"{MARK}, DE89 3704 0044 0532 0130 00", f"acct_{MARK}", f"{NAME} Leaf", f"{MARK} street",
        f"{MARK} waited", f"{MARK} misses it", f"{MARK} again", f"Is it {MARK}?", f"Not {MARK}'s",
    ):  # fmt: skip
        assert said in whole, said
    columns = {
        f"{table}.{name}"
        for table, said in INVENTORY.items()
        for name, fate in said.columns()
        if fate in (Fate.ERASED, Fate.REPLACED)
    }
    assert columns >= SECRET | NOT_OURS_TO_GIVE


def test_amounts_are_decimals_beside_their_currency(world: World) -> None:
    person = marked(world)
    files = taken(person.client)
    earned = rows(files, "commissions.csv")
    assert [(row["amount"], row["currency"], row["level"]) for row in earned] == [
        ("410.00", "RUB", "1")
    ]
    paid = rows(files, "payouts.csv")
    assert [(row["amount"], row["status"]) for row in paid] == [("411.00", "paid")]
    [order] = rows(files, "orders.csv")
    assert (order["status"], order["taken_back"]) == ("confirmed", "False")
    [program, other] = json.loads(files["programs.json"])
    assert (program["program"], other["program"]) == ("demo", "demo-manual")
    assert program["affiliate"].startswith("aff_")
    assert other["answers"]["site"] == f"https://{MARK}.example"
    assert json.loads(files["stops.json"])[0]["outcome"] == "kept"


def test_it_holds_no_secret(world: World) -> None:
    person = marked(world)
    whole = "\n".join(taken(person.client).values())
    for secret in ("$argon2", "totp_secret", "token_hash", "fs_uniquifier", "/reset-password/"):
        assert secret not in whole, secret


@pytest.mark.abuse("A24", "A40")
def test_it_holds_nothing_of_anybody_else(world: World) -> None:
    """Neither of recruits nor of a recruiter, of staff, nor of others in the same program."""
    marked(world)
    boss = world.affiliate("Boss Above")
    anna = world.affiliate("Anna", recruiter="Boss Above")
    world.affiliate("Below Recruit", recruiter="Anna")
    below = world.sale("Below Recruit", "500.00", days_ago=1)
    boss_sale = world.sale("Boss Above", "700.00", days_ago=1)
    own = world.sale("Anna", "300.00", days_ago=1)
    manager = hire(world, "manager", name="quiet.manager")
    assert boss.user_id != anna.user_id
    whole = "\n".join(taken(anna.client).values())
    assert "anna@example.com" in whole
    assert own.order_id in whole
    others = (MARK, NAME, "Boss Above", "boss.above", "Below Recruit", "below.recruit",
              "quiet.manager", below.order_id, boss_sale.order_id)  # fmt: skip
    for other in others:
        assert other not in whole, other
    staff = "\n".join(taken(manager.client).values())
    assert "quiet.manager@example.com" in staff
    for other in (MARK, NAME, "anna@example.com", "boss.above"):
        assert other not in staff, other


@pytest.mark.abuse("A40")
def test_an_address_that_was_only_asked_for_brings_nobodys_letters(world: World) -> None:
    """Anybody may ask to change to any address: who asked has not shown that it is theirs."""
    boris = world.affiliate("Boris")
    anna = world.affiliate("Anna")
    with world.app.app_context():
        session = world.session
        session.get_one(User, boris.user_id).email = "boris@example.com"
        session.flush()
        outbox.send(
            session, to="boris@example.com", template="enrollment_reinstated", name="Secret of B",
            program=world.program, now=world.now,
        )  # fmt: skip
        account.ask_change_email(
            session, user_id=anna.user_id, email="boris@example.com", now=world.now
        )
        session.commit()
    assert "Secret of B" not in "\n".join(taken(world.sign_in(anna.user_id)).values())
    assert "Secret of B" in "\n".join(taken(world.sign_in(boris.user_id)).values())


def test_staff_take_their_own_roles_and_what_they_did(world: World) -> None:
    manager = hire(world, "manager")
    waiting = world.affiliate("Newcomer", approved=False)
    from affiliate.people.ids import public

    done = manager.client.post(
        f"/manage/applications/{public(waiting.enrollment.id)}/rejection",
        data={"reason": "a reason that names Newcomer"},
    )
    assert done.status_code == 303
    done = manager.client.post(
        f"/manage/affiliates/{public(waiting.enrollment.id)}/customer",
        data={"customer_id": "newcomer-881"},
    )
    assert done.status_code == 303
    files = taken(manager.client)
    assert json.loads(files["roles.json"])[0]["role"] == "manager"
    assert [row["action"] for row in rows(files, "history.csv") if row["by_you"] == "True"] == [
        "enrollment.reject",
        "enrollment.set_shop_customer",
    ]
    assert "newcomer" not in "\n".join(files.values()).lower()
    assert "affiliate.json" not in files


def test_the_index_says_what_is_in_it_in_the_readers_language(world: World) -> None:
    anna = world.affiliate("Anna")
    index = taken(anna.client)["index.txt"]
    assert "profile.json: Who you are here" in index
    assert "invoices.json" not in index, "nothing is in it"
    anna.client.post("/profile", data={"name": "Anna", "locale": "ru", "time_zone": "UTC"})
    assert "profile.json: Who you are here" not in taken(anna.client)["index.txt"]


def test_it_asks_for_the_password_again_and_is_noted(world: World) -> None:
    anna = world.affiliate("Anna")
    with time_machine.travel(real_now() + timedelta(minutes=16), tick=False):
        asked = anna.client.post(PATH)
    assert asked.status_code == 303
    assert asked.location.startswith("/confirm-password")
    taken(anna.client)
    world.session.rollback()
    noted = world.session.scalars(
        sa.select(AuditEntry.subject).where(AuditEntry.action == "person.take_away")
    ).all()
    assert noted == [f"user:{anna.user_id}"]


@pytest.mark.abuse("A50")
def test_it_is_taken_five_times_an_hour_at_most(world: World) -> None:
    anna, boris = world.affiliate("Anna"), world.affiliate("Boris")
    for _ in range(5):
        taken(anna.client)
    assert anna.client.post(PATH).status_code == 429
    taken(boris.client)


@pytest.mark.abuse("A50")
def test_a_long_list_ends_and_the_index_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = world.affiliate("Anna")
    for days in range(4):
        world.sale("Anna", "100.00", days_ago=days + 0.5)
    monkeypatch.setattr(archive, "ROWS_MAX", 3)
    files = taken(anna.client)
    assert len(rows(files, "commissions.csv")) == 3
    assert "The first 3 rows; there are more." in files["index.txt"]


def test_a_formula_in_a_name_is_text_in_the_table(world: World) -> None:
    anna = world.affiliate("Anna")
    from affiliate.links.links import create_link

    with world.app.app_context():
        create_link(world.session, enrollment_id=anna.enrollment.id, name="=1+1", now=world.now)
        world.session.commit()
    assert "'=1+1" in taken(anna.client)["links.csv"]


def test_a_visitor_is_led_to_where_one_signs_in(world: World) -> None:
    assert world.app.test_client().post(PATH).status_code in (302, 303)
