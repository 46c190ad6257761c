"""Every route with real ids of other people and programs: as if they did not exist.

A route with a new kind of id fails here until it is said which real thing it would name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import sha256

import pytest
import sqlalchemy as sa
from bank_accounts import OWN_RUSSIA, executed
from flask.testing import FlaskClient
from walk import Installation
from world import World

from affiliate.core import clock, ids
from affiliate.links.models import Coupon
from affiliate.people import api_keys
from affiliate.people.access import Kind
from affiliate.people.ids import public
from affiliate.people.models import ApiKey, Grant, Invitation, Passkey, UserSession
from affiliate.products import importing
from affiliate.products.models import ProductImport
from affiliate.programs.assignments import assign
from affiliate.programs.models import RuleAssignment, RuleDraft
from affiliate.programs.rule_versions import in_force
from affiliate.promo import banners, creatives
from affiliate.promo.banner_drawing import draw
from affiliate.promo.banner_rules import Brand, Design, Look
from affiliate.promo.models import Creative
from affiliate.promo.rules import Kind as CreativeKind
from affiliate.promo.rules import Wording
from affiliate.webhooks.endpoints import Owner, Wanted, create_endpoint, send_test
from affiliate.webhooks.models import WebhookDelivery, WebhookEndpoint
from payouts.adjustments.models import LedgerAdjustment
from payouts.batches.bank_models import BankStatement, PayoutFile
from payouts.batches.models import PayoutBatch, PayoutItem, Withdrawal
from payouts.batches.own_accounts import set_own_account
from payouts.commissions.models import Commission
from payouts.invoices.models import Invoice
from payouts.invoices.rules import Document, InvoiceLine, InvoiceParty, fingerprint, stored
from payouts.ledger.seals.sealing import seal_next
from payouts.rails.bank import end_to_end_id
from payouts.rails.registry import rails
from tests.desks.staff import STAFF, hire
from tests.products.feeds import lamps
from tracker.claims.models import Claim
from tracker.clicks.models import Click
from tracker.leads.intake import report_lead
from tracker.leads.models import Lead
from tracker.leads.rules import LeadReportIn
from tracker.letters.models import Newsletter
from tracker.letters.newsletters import Content, newsletter_code, write_newsletter
from tracker.letters.rules import NewsText
from tracker.order_imports.models import OrderImport
from tracker.orders.models import Customer, Order, Refund
from tracker.paid_clicks.models import PaidClickDay
from tracker.replay.models import RuleReplay
from tracker.sources import connect
from tracker.sources.models import Source, SourceDelivery
from tracker.sources.rules import Kind as Kinds

HIDDEN = (403, 404)
PARKED = re.compile(r"/api/v1/orders/<order_id>/(refunds|confirmation|cancellation)")
"""An order that a program does not know may still come: a call about it waits for it."""
OPEN = re.compile(
    r"<(token|version|path:filename|month|period|int:number)>|^/language/|^/manage/letters/"
)
"""No id of anybody: a secret of its own, a public file, one's own month, a language, the number of
a rule version, which is counted within the caller's own program, or a kind of letter."""


@dataclass
class Things:
    """Real ids of the ruble program and of Anna, by the name that routes give them."""

    world: World

    def named(self, argument: str, rule: str) -> str:
        session, anna = self.world.session, self.world.people["Anna"]
        first: Callable[..., int] = lambda model: session.scalars(  # noqa: E731
            sa.select(model.id).order_by(model.id)
        ).first()  # type: ignore[assignment]
        order = session.scalars(sa.select(Order).order_by(Order.id)).first()
        assert order is not None and anna.link is not None
        values: dict[str, Callable[[], object]] = {
            "affiliate": lambda: public(anna.enrollment.id),
            "batch": lambda: ids.public_id("bat", first(PayoutBatch)),
            "item": lambda: ids.public_id("pay", first(PayoutItem)),
            "order": lambda: ids.public_id("ord", order.id),
            "order_id": lambda: order.order_id,
            "click_id": lambda: session.scalars(sa.select(Click.click_id)).first(),
            "coupon_id": lambda: first(Coupon),
            "key_id": lambda: first(ApiKey),
            "invitation_id": lambda: first(Invitation),
            "grant_id": lambda: first(Grant),
            "draft_id": lambda: first(RuleDraft),
            "trial_id": lambda: first(RuleReplay),
            "passkey_id": lambda: first(Passkey),
            "statement": lambda: ids.public_id("bst", first(BankStatement)),
            "file": lambda: ids.public_id("fil", first(PayoutFile)),
            "assignment_id": lambda: first(RuleAssignment),
            "lead": lambda: ids.public_id("led", first(Lead)),
            "lead_id": lambda: session.scalars(sa.select(Lead.lead_id)).first(),
            "adjustment": lambda: ids.public_id("adj", first(LedgerAdjustment)),
            "import_id": lambda: first(ProductImport),
            "order_import": lambda: ids.public_id("imp", first(OrderImport)),
            "creative": lambda: creatives.creative_code(first(Creative)),
            "link": lambda: ids.public_id("lnk", anna.link.id) if anna.link else "",
            "coupon": lambda: ids.public_id("cpn", first(Coupon)),
            "withdrawal": lambda: ids.public_id("wd", first(Withdrawal)),
            "commission": lambda: ids.public_id("com", first(Commission)),
            "refund_id": lambda: session.scalars(sa.select(Refund.refund_id)).first(),
            "customer_id": lambda: session.scalars(
                sa.select(Customer.shop_id).where(Customer.shop_id.is_not(None))
            ).first(),
            "code": lambda: newsletter_code(first(Newsletter)) if "/newsletters/" in rule else (
                creatives.creative_code(session.scalars(
                    sa.select(Creative.id).where(Creative.enrollment_id.is_(None))
                ).first() or 0)),
            "webhook": lambda: ids.public_id("whk", self._webhook(rule)),
            "delivery": lambda: ids.public_id("whd", session.scalars(
                sa.select(WebhookDelivery.id)
                .where(WebhookDelivery.endpoint_id == self._webhook(rule))).one()),
            "language": lambda: "en",
            "source": lambda: connect.public(first(Source)),
            "source_delivery": lambda: ids.public_id("dlv", first(SourceDelivery)),
            "invoice": lambda: ids.public_id("inv", first(Invoice)),
            "paid_day": lambda: ids.public_id("pcd", first(PaidClickDay)),
            "claim": lambda: ids.public_id("clm", first(Claim)),
            "user_id": lambda: anna.user_id,
            "session_id": lambda: session.scalars(
                sa.select(UserSession.id).where(UserSession.user_id == anna.user_id)
            ).first(),
            "slug": lambda: self.world.program.slug,
            "public": lambda: ids.public_id("ord", order.id) if "/orders/" in rule else (
                ids.public_id("lnk", anna.link.id) if anna.link else ""),
        }  # fmt: skip
        assert argument in values, f"say which real thing <{argument}> of {rule} names"
        return str(values[argument]())

    def _webhook(self, rule: str) -> int:
        """The program's endpoint on the manager's desk, Anna's postback in the account."""
        mine = WebhookEndpoint.enrollment_id.is_not(None)
        query = sa.select(WebhookEndpoint.id).where(mine if "/account/" in rule else ~mine)
        return self.world.session.scalars(query).one()

    def address(self, rule: str) -> str:
        return re.sub(r"<(?:\w+:)?(\w+)>", lambda m: self.named(m[1], rule), rule)


@pytest.fixture
def things(installation: Installation) -> Things:
    world = installation.world
    chief = hire(world, "manager", name="chief")
    answer = chief.client.post("/manage/staff/invitations", data={
        "email": "new@example.com", "role": "curator", "program": world.program.slug,
    })  # fmt: skip
    assert answer.status_code == 303
    world.session.rollback()
    called = {"program_id": world.program.id, "by": None, "now": world.now}
    assign(
        world.session,
        version_id=in_force(world.session, program_id=world.program.id, at=world.now).id,
        enrollment_id=world.people["Anna"].enrollment.id,
        begins_at=world.now,
        ends_at=None,
        reason="agreed by letter",
        **called,
    )
    _lead_and_clicks(world)
    _shop_system(world)
    _documents(world)
    _bank_file(world)
    design = Design(320, 50, "Lamp", "Go", Look.FULL)
    banners.keep_banner(
        world.session, enrollment_id=world.people["Anna"].enrollment.id, design=design,
        picture=draw(design, Brand()), destination="", **called,
    )  # fmt: skip
    wording = Wording(name="Lamps", body="Lamps for every leaf.", destination="")
    creatives.add_creative(world.session, kind=CreativeKind.TEXT, wording=wording, **called)
    write_newsletter(
        world.session, content=Content({"en": NewsText("Autumn", "Lamps are here.")}), **called
    )
    importing.bring_file(
        world.session, program_id=world.program.id, raw=lamps(1), by=None, now=world.now
    )
    world.session.add(
        Withdrawal(
            enrollment_id=world.people["Anna"].enrollment.id, currency="RUB", amount_micros=1,
            requested_at=world.now, deadline_at=world.now, closed_at=world.now, outcome="returned",
        )
    )  # fmt: skip
    world.session.add(
        Customer(program_id=world.program.id, shop_id="c-881", first_ordered_at=world.now)
    )
    world.session.add(
        OrderImport(
            program_id=world.program.id, format="csv", brought_by="cli", state="complete",
            started_at=world.now, ended_at=world.now,
        )
    )  # fmt: skip
    _webhooks(world)
    while seal_next(world.session, real_now=clock.real_now(), transactions_max=4_096):
        world.session.commit()
    world.session.add(
        Passkey(
            user_id=world.people["Anna"].user_id, credential_id=b"anna", public_key=b"key",
            sign_count=0, name="key", created_at=world.now,
        )
    )  # fmt: skip
    world.session.commit()
    return Things(world)


def _shop_system(world: World) -> None:
    """Any shop's webhooks, and one that it sent."""
    source, _ = connect.add_source(
        world.session, program_id=world.program.id, kind=Kinds.GENERIC, name="Shop", secret="",
        by="system", settings=world.settings, now=world.now, header="X-Signature",
    )  # fmt: skip
    world.session.add(
        SourceDelivery(
            source_id=source.id, delivery_id="1", topic="", body={}, body_hash=b"1",
            received_at=world.now, next_try_at=world.now, state="held", processed_at=world.now,
        )
    )  # fmt: skip


def _webhooks(world: World) -> None:
    """An endpoint of the program and a postback of Anna's, with a delivery each."""
    of_anna = world.people["Anna"].enrollment.id
    for owner in (Owner(world.program.id), Owner(world.program.id, of_anna)):
        endpoint, _ = create_endpoint(
            world.session, owner=owner, settings=world.settings, actor="test", by=None,
            wanted=Wanted("https://shop.example/hook", [owner.offered[-1].value]), now=world.now,
        )  # fmt: skip
        send_test(world.session, owner=owner, endpoint_id=endpoint.id, now=world.now)


def _bank_file(world: World) -> None:
    """The account that the program pays from, a file of its first batch, a bank's statement."""
    session, content = (
        world.session,
        executed(end_to_end_id("0" * 18, item_id=1, attempt=1)).encode(),
    )
    made_by = world.people["Anna"].user_id
    batch_id = session.scalars(sa.select(PayoutBatch.id)).first()
    own = set_own_account(
        session, program_id=world.program.id, rail="bank_russia", typed=OWN_RUSSIA,
        rails=rails(world.settings), by=made_by, now=world.now,
    )  # fmt: skip
    session.add(
        PayoutFile(
            program_id=world.program.id, batch_id=batch_id,
            rail="bank_russia", number=1, name="file.txt", format="1c", message_id="KPK-1",
            content=content, sha256=sha256(content).hexdigest(), items=1, total_micros=1,
            currency="RUB", own_account_id=own, made_on=world.now.date(), first_document=1,
            made_by=made_by, made_at=world.now,
        )
    )  # fmt: skip
    session.add(
        BankStatement(
            program_id=world.program.id, rail="bank_russia", name="back.csv", format="csv",
            content=content, sha256=sha256(content).hexdigest(), rows=0, brought_by=made_by,
            brought_at=world.now,
        )
    )  # fmt: skip


def _documents(world: World) -> None:
    """A correction that waits, and an invoice."""
    session, anna = world.session, world.people["Anna"].enrollment
    session.add(
        LedgerAdjustment(
            program_id=world.program.id, enrollment_id=anna.id, kind="adjust", currency="RUB",
            amount_micros=1, reason="other", note="agreed", status="proposed",
            proposed_by=world.people["Anna"].user_id, proposed_at=world.now,
        )
    )  # fmt: skip
    one = "1.00"
    party = InvoiceParty("Anna", "Moscow", "RU", "500100732259", "", "individual")
    document = stored(
        Document(
            "invoice", "X-2026-00001", "Lamps", public(anna.id), "2026-11", "UTC", "2026-12-01",
            "RUB", party, party, "2026-11-01", True, "not_registered", 0,
            (InvoiceLine("2026-11-02", 1, "17", one),), one, "0.00", one, one, "0.00",
        )
    )  # fmt: skip
    session.add(
        Invoice(
            program_id=world.program.id, enrollment_id=anna.id, kind="invoice", year=2026,
            number=1, name="X-2026-00001", period=date(2026, 11, 1), edition=1, currency="RUB",
            net_micros=1_000_000, vat_micros=0, gross_micros=1_000_000, document=document,
            hash=fingerprint(document), issued_at=world.now,
        )
    )  # fmt: skip


def _lead_and_clicks(world: World) -> None:
    """A lead of Anna's, and a day of her link on which clicks of a flood came."""
    anna = world.people["Anna"]
    assert anna.link is not None
    report = LeadReportIn(
        lead_id="L-1",
        placed_at=world.now,
        clicks=(world.click(anna.link, at=world.now - timedelta(hours=1)),),
    )
    with world.app.app_context():
        report_lead(
            world.session, program_id=world.program.id, report=report, reported_by="key:kpk_test",
            now=world.now,
        )  # fmt: skip
    world.session.add(
        PaidClickDay(
            program_id=world.program.id, enrollment_id=anna.enrollment.id, link_id=anna.link.id,
            day=world.now.date(), clicks=1, bookings=1, flooded=True,
        )
    )  # fmt: skip


def probe(
    installation: Installation, things: Things, client: FlaskClient, kinds: tuple[Kind, ...],
    headers: dict[str, str] | None = None,
) -> tuple[list[str], int]:  # fmt: skip
    """Call every route of these kinds that names a thing; what was not hidden, and the count."""
    wrong, tried = [], 0
    for rule, method, kind in installation.rules():
        if kind not in kinds or "<" not in rule.rule or OPEN.search(rule.rule):
            continue
        if rule.rule == "/programs/<slug>/apply":
            continue
        tried += 1
        answer = client.open(things.address(rule.rule), method=method, headers=headers or {})
        hidden = HIDDEN
        if kind is Kind.SCOPE and method in ("POST", "PUT"):
            hidden = (*HIDDEN, 422)  # the body is read before the id is looked up
        if answer.status_code == 202 and PARKED.match(rule.rule):
            continue
        if answer.status_code not in hidden:
            wrong.append(f"{method} {rule.rule}: {answer.status_code}")
    return wrong, tried


@pytest.mark.abuse("A24", "A25")
@pytest.mark.parametrize("role", [role for role in STAFF if role != "owner"])
def test_staff_of_another_program_find_nothing(
    installation: Installation, things: Things, role: str
) -> None:
    stranger = hire(installation.world, role, program=installation.world.euros)
    kinds = (Kind.ROLES, Kind.AFFILIATES, Kind.SIGNED_IN)
    wrong, tried = probe(installation, things, stranger.client, kinds)
    assert tried > 25
    assert not wrong, "\n".join(wrong)


@pytest.mark.abuse("A24", "A25")
def test_an_affiliate_of_the_same_program_finds_nothing_of_another(
    installation: Installation, things: Things
) -> None:
    carla = installation.world.affiliate("Carla")
    kinds = (Kind.ROLES, Kind.AFFILIATES, Kind.SIGNED_IN)
    wrong, tried = probe(installation, things, carla.client, kinds)
    assert tried > 25
    assert not wrong, "\n".join(wrong)


@pytest.mark.abuse("A15", "A24")
def test_another_programs_key_finds_nothing(installation: Installation, things: Things) -> None:
    world = installation.world
    before = world.session.scalars(sa.select(Order.refunded_micros).order_by(Order.id)).all()
    _, key = api_keys.create_key(
        world.session, program_id=world.euros.id, scopes=sorted(api_keys.SCOPES),
        name="other shop", by=None, now=world.now,
    )  # fmt: skip
    world.session.commit()
    client = world.app.test_client()
    headers = {"Authorization": f"Bearer {key}"}
    wrong, tried = probe(installation, things, client, (Kind.SCOPE,), headers)
    assert tried >= 8
    assert not wrong, "\n".join(wrong)
    world.session.rollback()
    after = world.session.scalars(sa.select(Order.refunded_micros).order_by(Order.id)).all()
    assert after == before


@pytest.mark.abuse("A24")
def test_the_ids_are_real_for_whoever_they_belong_to(
    installation: Installation, things: Things
) -> None:
    """Else the tests above would prove nothing."""
    wrong = []
    own = {"account.": "affiliate", "finance.": "owner", "manage.": "owner"}
    for rule, method, _ in installation.rules():
        role = next((own[start] for start in own if rule.endpoint.startswith(start)), None)
        if role is None or method != "GET" or "<" not in rule.rule or OPEN.search(rule.rule):
            continue
        answer = installation.browsers[role].get(things.address(rule.rule))
        if answer.status_code != 200:
            wrong.append(f"{rule.rule}: {answer.status_code}")
    assert not wrong, "\n".join(wrong)
