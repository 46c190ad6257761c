"""Payments by bank file on the pages: the payee's form, the program's account, finance's desk."""

from __future__ import annotations

import io
import re
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from bank_accounts import OWN_RUSSIA, PAYEE_RUSSIA, csv_of
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from staff import Staff, hire, url_of, url_of_item
from world import World

from affiliate.core import clock, ids
from affiliate.core.audit import AuditEntry
from affiliate.people.models import UserSession
from affiliate.programs.models import Program
from payouts.batches.bank_models import BankStatement, PayoutFile, PayoutFileLine
from payouts.batches.models import PayeeAccount, PayoutBatch, PayoutItem

ACCOUNT = PAYEE_RUSSIA["account"]
MASKED = "•••• 0001"


@pytest.fixture
def world(world: World, session: Session) -> World:
    """The ruble program pays by bank file, and Anna has 410 rubles."""
    session.get_one(Program, world.program.id).rail = "bank_russia"
    session.commit()
    world.affiliate("Anna")
    world.sale("Anna", "4100.00", days_ago=30)
    world.release()
    return world


def send(client: FlaskClient, path: str, **data: Any) -> Any:
    return client.post(path, data=data)


@pytest.fixture(autouse=True)
def no_tokens(world: World) -> None:
    """Forms without their token: what that refuses has its own test."""
    world.app.config["WTF_CSRF_ENABLED"] = False


def text_of(client: FlaskClient, path: str) -> str:
    page = client.get(path)
    assert page.status_code == 200, path
    return " ".join(re.sub(r"<[^>]+>", " ", page.text).split())


def own_account(world: World) -> Staff:
    manager = hire(world, "manager")
    answer = send(manager.client, "/manage/programs/demo/paying/account", **OWN_RUSSIA)
    assert answer.status_code == 303
    return manager


def batch_of(world: World, session: Session) -> PayoutBatch:
    """Anna's withdrawal, approved."""
    anna = world.people["Anna"].client
    assert send(anna, "/account/money/payee", **PAYEE_RUSSIA).status_code == 303
    assert send(anna, "/account/money/withdrawals", amount="").status_code == 303
    batch = session.scalars(sa.select(PayoutBatch)).one()
    finance = world.staff_finance = hire(world, "finance")  # type: ignore[attr-defined]
    answer = send(finance.client, f"{url_of(batch)}/approval", hash=batch.hash)
    assert answer.status_code == 303
    return batch


def test_the_form_asks_for_what_a_payment_needs_and_shows_the_end_alone(
    world: World, session: Session
) -> None:
    anna = world.people["Anna"].client
    page = text_of(anna, "/account/money")
    for label in ("Account holder", "INN", "KPP", "BIK of the bank", "Correspondent account"):
        assert label in page
    assert send(anna, "/account/money/payee", **PAYEE_RUSSIA).status_code == 303
    page = text_of(anna, "/account/money")
    assert f"{MASKED} ready" in page
    assert ACCOUNT not in anna.get("/account/money").text
    destination = session.scalars(sa.select(PayeeAccount.destination)).one()
    assert destination.startswith(f"ru:{ACCOUNT};bik=044525225;")


def test_what_is_wrong_stands_beside_its_field_and_what_was_typed_stays(
    world: World, session: Session
) -> None:
    anna = world.people["Anna"].client
    typed = PAYEE_RUSSIA | {"account": "40817810538000000001", "inn": "1"}
    answer = send(anna, "/account/money/payee", **typed)
    assert answer.status_code == 422
    assert "does not fit the BIK" in answer.text
    assert "An INN has 10 or 12 digits" in answer.text
    assert 'value="40817810538000000001"' in answer.text
    assert session.scalar(sa.select(sa.func.count(PayeeAccount.id))) == 0


def test_logs_that_managers_read_have_the_end_of_an_account_alone(
    world: World, session: Session
) -> None:
    own_account(world)
    batch_of(world, session)
    told = session.execute(
        sa.select(AuditEntry.new).where(
            AuditEntry.action.in_(("payee.change", "withdrawal.request"))
        )
    ).scalars()
    for new in told:
        assert new is not None
        assert new["destination"] == f"ru:{MASKED}"


def test_an_account_that_a_bank_refused_is_confirmed_by_its_owner(
    world: World, session: Session
) -> None:
    anna = world.people["Anna"].client
    send(anna, "/account/money/payee", **PAYEE_RUSSIA)
    session.execute(sa.update(PayeeAccount).values(ready_at=None))
    session.commit()
    assert "Check again" in text_of(anna, "/account/money")
    assert send(anna, "/account/money/payee", again="1").status_code == 303
    assert f"{MASKED} ready" in text_of(anna, "/account/money")


def test_only_rails_that_pay_the_currency_can_be_chosen(world: World) -> None:
    manager = hire(world, "manager")
    page = manager.client.get("/manage/programs/demo").text
    assert 'value="bank_russia"' in page
    assert 'value="bank_sepa"' not in page
    owner = hire(world, "owner")
    new = owner.client.get("/manage/programs/new").text
    assert 'value="bank_sepa"' in new


def test_a_manager_names_the_account_to_pay_from(world: World) -> None:
    manager = own_account(world)
    answer = send(
        manager.client, "/manage/programs/demo/paying/account", **OWN_RUSSIA | {"kpp": ""}
    )
    assert answer.status_code == 422
    assert "Please fill this in." in answer.text
    page = manager.client.get("/manage/programs/demo/paying").text
    assert f'value="{OWN_RUSSIA["account"]}"' in page


@pytest.mark.parametrize("role", ["finance", "curator", "analyst"])
def test_nobody_else_names_the_account_to_pay_from(world: World, role: str) -> None:
    staff = hire(world, role)
    answer = send(staff.client, "/manage/programs/demo/paying/account", **OWN_RUSSIA)
    assert answer.status_code == 403


def test_a_batch_without_an_account_to_pay_from_is_not_approved(
    world: World, session: Session
) -> None:
    anna = world.people["Anna"].client
    send(anna, "/account/money/payee", **PAYEE_RUSSIA)
    send(anna, "/account/money/withdrawals", amount="")
    batch = session.scalars(sa.select(PayoutBatch)).one()
    finance = hire(world, "finance")
    answer = send(finance.client, f"{url_of(batch)}/approval", hash=batch.hash)
    assert answer.status_code == 409
    assert "named the account that this program pays from" in answer.text


def test_what_a_payout_costs_is_shown_to_who_gets_it_whole(world: World) -> None:
    manager = hire(world, "manager")
    path = "/manage/programs/demo/paying/fee"
    for wrong in ("", "-1", "1000.01", "ten", "0.001"):
        assert send(manager.client, path, fee=wrong).status_code == 422, wrong
    assert send(manager.client, path, fee="19,50").status_code == 303
    page = text_of(world.people["Anna"].client, "/account/money")
    assert "Each payout costs 19.50 RUB. The program bears it" in page


def test_from_the_approval_to_the_banks_word(world: World, session: Session) -> None:
    own_account(world)
    batch = batch_of(world, session)
    item = session.scalars(sa.select(PayoutItem)).one()
    finance: Staff = world.staff_finance  # type: ignore[attr-defined]
    client = finance.client
    page = text_of(client, url_of(batch))
    assert "1 payout is in no file yet." in page
    assert MASKED in page and ACCOUNT not in page
    assert ACCOUNT in text_of(client, url_of_item(item)), "finance sees all of it in the payout"
    assert send(client, f"{url_of(batch)}/files").status_code == 303
    file = session.scalars(sa.select(PayoutFile)).one()
    page = text_of(client, url_of(batch))
    assert file.sha256 in page and file.name in page and "Finance" in page
    url = f"/finance/files/{ids.public_id('fil', file.id)}"
    first, second = client.get(url), client.get(url)
    assert first.data == second.data == file.content
    assert file.name in first.headers["Content-Disposition"]
    assert send(client, f"{url_of_item(item)}/hold", reason="Late").status_code == 409
    assert send(client, f"{url_of(batch)}/files").status_code == 409
    known_as = session.scalars(sa.select(PayoutFileLine.end_to_end_id)).one()
    told = csv_of((known_as, "executed", "P-17", "2026-11-26", "")).encode()
    answer = client.post(
        f"{url_of(batch)}/statements",
        data={"file": (io.BytesIO(told), "<b>statement</b>.csv")},
    )
    assert answer.status_code == 303
    page = client.get(answer.location).text
    assert "The payout is marked as paid." in page
    assert "<b>statement</b>" not in page
    (seen,) = re.findall(r'name="seen" value="([0-9a-f]{64})"', page)
    there = answer.location.partition("?")[0]
    assert send(client, f"{there}/application", seen="0" * 64).status_code == 409
    assert send(client, f"{there}/application", seen=seen).status_code == 303
    session.rollback()
    assert session.get_one(PayoutItem, item.id).status == "paid"
    assert "Nothing in it changes anything." in text_of(client, there)
    page = text_of(world.people["Anna"].client, "/account/money")
    assert "P-17" in page and MASKED in page
    found = client.get("/finance/search?q=P-17").text
    assert url_of_item(item) in found, "by the number that the bank gave it"


def test_a_file_is_not_downloaded_in_place_of_the_page_that_asks_for_the_password(
    world: World, session: Session
) -> None:
    own_account(world)
    batch = batch_of(world, session)
    client = world.staff_finance.client  # type: ignore[attr-defined]
    send(client, f"{url_of(batch)}/files")
    page = client.get(url_of(batch)).text
    [link] = re.findall(r'<a [^>]*href="(/finance/files/[^"]+)"[^>]*>', page)
    assert not re.search(rf'<a [^>]*href="{link}"[^>]* download', page)
    assert "attachment" in client.get(link).headers["Content-Disposition"]
    session.execute(sa.update(UserSession).values(fresh_at=clock.real_now() - timedelta(hours=1)))
    session.commit()
    led = client.get(link)
    assert led.status_code == 303
    assert led.location.startswith("/confirm-password?next=")
    assert "/finance/batches/" in led.location, "back to the button, and not to the file"


def test_a_file_that_was_never_sent_says_who_said_so(world: World, session: Session) -> None:
    own_account(world)
    batch = batch_of(world, session)
    client = world.staff_finance.client  # type: ignore[attr-defined]
    send(client, f"{url_of(batch)}/files")
    file = session.scalars(sa.select(PayoutFile)).one()
    url = f"/finance/files/{ids.public_id('fil', file.id)}"
    asked_for = {"reason": "The upload failed"}
    session.execute(sa.update(UserSession).values(factor_at=clock.real_now() - timedelta(hours=1)))
    session.commit()
    assert send(client, f"{url}/not-sent", **asked_for).location.startswith("/confirm-factor")
    session.execute(sa.update(UserSession).values(factor_at=clock.real_now()))
    session.commit()
    assert send(client, f"{url}/not-sent", reason="").status_code == 422
    assert send(client, f"{url}/not-sent", **asked_for).status_code == 303
    page = text_of(client, url_of(batch))
    assert "never sent, says Finance: The upload failed" in page
    assert "1 payout is in no file yet." in page
    assert client.get(url).status_code == 409


@pytest.mark.parametrize("raw", [b"", b"hello", b"<!DOCTYPE x><x/>"], ids=["none", "text", "dtd"])
def test_what_is_no_statement_is_refused_in_words(
    world: World, session: Session, raw: bytes
) -> None:
    own_account(world)
    batch = batch_of(world, session)
    client = world.staff_finance.client  # type: ignore[attr-defined]
    sent = {"file": (io.BytesIO(raw), "x")} if raw else {}
    answer = client.post(f"{url_of(batch)}/statements", data=sent)
    assert answer.status_code == 422
    assert session.scalar(sa.select(sa.func.count(BankStatement.id))) == 0


def test_a_statement_may_be_larger_than_other_forms_and_no_larger(
    world: World, session: Session
) -> None:
    own_account(world)
    batch = batch_of(world, session)
    client = world.staff_finance.client  # type: ignore[attr-defined]
    head = csv_of().encode()
    for size, status in ((3_000_000, 303), (11_000_000, 413)):
        # Encoded here: the test client would leave a temporary file open.
        start = b'--x\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        raw = start + head + b"\n" * size + b"\r\n--x--\r\n"
        answer = client.post(
            f"{url_of(batch)}/statements", data=raw, content_type="multipart/form-data; boundary=x"
        )
        assert answer.status_code == status, size
    assert send(client, f"{url_of(batch)}/hold", reason="x" * 2_000_000).status_code in (404, 413)


def test_another_programs_files_and_statements_are_not_there(
    world: World, session: Session
) -> None:
    own_account(world)
    batch = batch_of(world, session)
    client = world.staff_finance.client  # type: ignore[attr-defined]
    send(client, f"{url_of(batch)}/files")
    client.post(f"{url_of(batch)}/statements", data={"file": (io.BytesIO(csv_of().encode()), "x")})
    file_id = session.scalars(sa.select(PayoutFile.id)).one()
    statement_id = session.scalars(sa.select(BankStatement.id)).one()
    stranger = hire(world, "finance", program=world.euros).client
    file = f"/finance/files/{ids.public_id('fil', file_id)}"
    statement = f"/finance/bank-statements/{ids.public_id('bst', statement_id)}"
    assert stranger.get(file).status_code == 404
    assert send(stranger, f"{file}/not-sent", reason="x").status_code == 404
    assert stranger.get(statement).status_code == 404
    assert send(stranger, f"{statement}/application", seen="").status_code == 404
    assert send(stranger, f"{url_of(batch)}/files").status_code == 404
    assert send(stranger, f"{url_of(batch)}/statements").status_code == 404
