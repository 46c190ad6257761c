"""What must be so after a round: the double's oracle, the books, every item at an end."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.payouts.processes.playhouse import House
from tests.payouts.processes.round_books import CURRENCY, Books

MICROS_OF_A_CENT = 10_000
AUDIT_WAIT_S = 60.0
ITEMS = """
    SELECT i.id, i.status, i.reason, i.amount_micros, i.destination, b.program_id,
           count(a.id) AS attempts, coalesce(max(a.tries), 0) AS tries,
           max(a.transfer_id) FILTER (WHERE a.status = 'succeeded') AS transfer_id,
           max(a.idempotency_key) FILTER (WHERE a.status <> 'failed') AS key,
           max(a.first_sent_at) FILTER (WHERE a.status <> 'failed') AS first_sent_at,
           bool_or(a.missed_at IS NOT NULL) AS missed
    FROM payout_items i JOIN payout_batches b ON b.id = i.batch_id
    LEFT JOIN payout_attempts a ON a.item_id = i.id
    WHERE b.rail = 'stripe' GROUP BY i.id, b.id ORDER BY i.id
"""
LEFT = """
    SELECT coalesce(sum(e.amount_micros), 0) AS micros
    FROM ledger_entries e JOIN ledger_accounts c ON c.id = e.account_id
    WHERE c.kind = 'cash' AND c.rail = 'stripe' AND c.currency = :currency
"""


@dataclass
class Outcome:
    """One round, as it is written down."""

    seed: str
    kills: dict[str, int] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    acts: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    recovered_s: float = 0.0
    """From the last fault until nothing of the round was left open without a person."""
    reviews: list[str] = field(default_factory=list)
    """What stood on the desk, and why."""
    violations: list[str] = field(default_factory=list)


def transfers_by_item(house: House) -> dict[int, list[dict[str, Any]]]:
    """The oracle: every transfer that the double accepted, by our item."""
    found: dict[int, list[dict[str, Any]]] = {}
    for each in house.control("GET", "/transfers")["transfers"]:
        found.setdefault(int(each["metadata"].get("item_id", 0)), []).append(each)
    return found


def payments(house: House) -> list[str]:
    """Exactly one transfer a paid item and none of any other, as approved; the sums are equal."""
    found, sent, paid = [], 0, 0
    made = transfers_by_item(house)
    items = {row.id: row for row in house.rows(ITEMS)}
    for item_id, transfers in made.items():
        sent += sum(each["amount"] for each in transfers if each["currency"] == CURRENCY.lower())
        if len(transfers) > 1:
            found.append(f"item {item_id} was paid {len(transfers)} times")
        if item_id not in items:
            found.append(f"item {item_id} was paid and is nowhere")
    for item in items.values():
        transfers = made.get(item.id, [])
        if item.status == "paid":
            paid += item.amount_micros
        if item.status == "paid" and not transfers:
            found.append(f"item {item.id} is called paid, and was not")
        if item.status != "paid" and transfers:
            found.append(f"item {item.id} was paid and is called {item.status} ({item.reason})")
        for each in transfers:
            if each["amount"] * MICROS_OF_A_CENT != item.amount_micros:
                found.append(f"item {item.id} of {item.amount_micros} was paid {each['amount']}")
            if each["destination"] != item.destination:
                found.append(f"item {item.id} went to {each['destination']}")
            if item.transfer_id not in (None, each["id"]):
                found.append(f"item {item.id} names {item.transfer_id}, not {each['id']}")
    [booked] = [row.micros for row in house.rows(LEFT, currency=CURRENCY)]
    if not sent * MICROS_OF_A_CENT == paid == abs(int(booked)):
        found.append(f"transfers {sent} cents, paid items {paid} micros, booked {booked} micros")
    return found


def ends(books: Books, outcome: Outcome) -> list[str]:
    """Every item is paid or with a person who needs to look, and nothing is open besides."""
    house = books.house
    made = transfers_by_item(house)
    found = [f"batch {each} is not done" for each in books.open_batches()]
    found += [f"batch {each} is not approved" for each in books.frozen()]
    states: Counter[str] = Counter()
    retried = renewed = 0
    for item in house.rows(ITEMS):
        if item.program_id not in books.programs:
            continue
        states[item.status] += 1
        retried += item.tries > 1
        renewed += item.attempts > 1
        if item.status == "needs_review":
            found += _review(house, item, made.get(item.id, []), outcome)
        elif item.status != "paid":
            found.append(f"item {item.id} is {item.status} ({item.reason})")
    outcome.counts |= {f"items {status}": number for status, number in states.items()}
    outcome.counts |= {
        "items": states.total(),
        "items asked about again under their key": retried,
        "items with a second attempt": renewed,
        "transfers": sum(len(made.get(each, [])) for each in _items_of(books)),
    }
    return found


def _items_of(books: Books) -> list[int]:
    return [row.id for row in books.house.rows(ITEMS) if row.program_id in books.programs]


def _review(
    house: House, item: Any, transfers: list[dict[str, Any]], outcome: Outcome
) -> list[str]:
    """A person is asked only where nobody else can know: no key any more, no transfer listed."""
    age_h = (house.real_now() - item.first_sent_at).total_seconds() / 3600
    outcome.reviews.append(
        f"item {item.id}: {item.reason}, {item.tries} tries under one key, the first "
        f"{age_h:.1f} h ago, {len(transfers)} transfers at the provider"
    )
    if transfers or age_h < 23 or item.reason != "not_found":
        return [f"needless review: {outcome.reviews[-1]}"]
    return []


def audit(house: House) -> list[str]:
    """`kopeck audit`, once what was booked has had time to be sealed."""
    from payouts.ledger.seals.jobs import seal

    deadline = time.monotonic() + AUDIT_WAIT_S
    while True:
        seal.wake()
        done = house.command("audit")
        broken = [line for line in done.stdout.splitlines() if ": not so: " in line]
        if not broken and done.returncode == 0 and " 0 broken." in done.stdout:
            return []
        if time.monotonic() > deadline:
            return broken or [f"the audit failed: {(done.stdout + done.stderr)[-2000:]}"]
        time.sleep(5)


def locked(house: House) -> list[str]:
    rows = house.rows("SELECT reason, detail FROM payout_locks WHERE lifted_at IS NULL")
    return [f"payouts are locked: {row.reason}: {row.detail}" for row in rows]


def late_posts(house: House, keys: set[str], since: float) -> list[str]:
    """Whatever was sent under a key after its life."""
    rows = house.control("GET", "/requests")["requests"]
    return [
        f"{row['idempotency_key']} was sent after its life"
        for row in rows
        if row["method"] == "POST" and row["idempotency_key"] in keys and row["at"] > since
    ]


def faults_since(house: House, since: float) -> Counter[str]:
    """Which faults the double dealt, counted by kind."""
    rows = house.control("GET", "/requests")["requests"]
    return Counter(row["fault"] for row in rows if row["fault"] and row["at"] >= since)
