"""A payout batch on paper and as tables: what was approved, by whom, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from sqlalchemy.orm import Session

from affiliate.core import ids
from affiliate.core.paper import Align, Block, Column, Figures, Note, Paper, Row, Table
from affiliate.core.tables import Cell, Sheet
from affiliate.people import ids as people_ids
from affiliate.programs.models import Program
from payouts.batches.queries import BatchView, ItemView, items_of
from payouts.batches.review import bare_reference
from tracker.desks.finance import sentences
from tracker.desks.finance.blueprint import ITEM, account_shown, rail_title
from tracker.desks.finance.questions import Maker
from tracker.desks.papers.words import language, moment_in, money, page_words
from tracker.desks.words import _, ngettext

ITEMS_PRINTED_MAX: Final = 2_000
ITEMS_PER_FETCH: Final = 500
HEAD: Final = (
    "item", "affiliate", "name", "amount", "currency", "destination", "status", "reason",
    "attempts", "transfer", "paid_at", "finished_at",
)  # fmt: skip
FACTS_HEAD: Final = ("fact", "value")


@dataclass(frozen=True, slots=True)
class BatchFile:
    """A batch with those who had a hand in it."""

    batch: BatchView
    program: Program
    makers: Sequence[Maker]

    @property
    def file_name(self) -> str:
        return f"batch-{self.program.slug}-{self.batch.number}"

    @property
    def at(self) -> datetime:
        """The last instant at which it changed as a whole: what its documents are dated by."""
        batch = self.batch
        found = (batch.done_at, batch.cancelled_at, batch.approved_at, batch.frozen_at)
        return next((at for at in found if at is not None), batch.created_at)


def facts_of(file: BatchFile) -> list[tuple[str, str]]:
    """What approval knows of the batch, each with its name."""
    batch, zone = file.batch, file.program.time_zone
    found = [
        (_("Batch"), str(batch.number)),
        (_("Kind"), _("weekly") if batch.kind == "weekly" else _("withdrawal")),
        (_("Rail"), rail_title(batch.rail)),
        (_("Status"), status(batch.status)),
    ]
    if batch.frozen_at:
        found.append((_("Frozen"), moment_in(batch.frozen_at, zone)))
    for maker in file.makers:
        found.append((DID[maker.did](), f"{maker.name}, {moment_in(maker.at, zone)}")
                     if maker.did in DID else (maker.did, maker.name))  # fmt: skip
    if not file.makers:
        found.append((_("Made by"), _("the schedule")))
    if batch.approved_total is not None and batch.approved_count is not None:
        approved = ngettext("%(num)s payout", "%(num)s payouts", batch.approved_count)
        found.append((_("Approved"), f"{approved}, {money(batch.approved_total)}"))
    if batch.approval_policy:
        found.append((_("Policy of the approval"), policy(batch.approval_policy)))
    if batch.cancel_reason:
        found.append((_("Why it was cancelled"), batch.cancel_reason))
    if batch.done_at:
        found.append((_("Done"), moment_in(batch.done_at, zone)))
    return found


def sheets_of(session: Session, file: BatchFile) -> list[Sheet]:
    """Every item with its result; the facts of the approval beside it."""
    facts = [*facts_of(file), (_("Fingerprint"), file.batch.hash or "")]
    return [
        Sheet(_("Payouts"), HEAD, map(_cells, _items(session, file)), file.program.time_zone),
        Sheet(_("Approval"), FACTS_HEAD, facts),
    ]


def paper_of(session: Session, file: BatchFile) -> Paper:
    """The batch on paper, up to ITEMS_PRINTED_MAX items of it."""
    batch = file.batch
    columns = [
        Column(_("Affiliate"), 22),
        Column(_("Destination"), 28),
        Column(_("Result"), 26),
        Column(_("Reference"), 16),
        Column(_("Amount"), 16, Align.RIGHT),
    ]
    blocks: list[Block] = [
        Figures(
            [
                (_("Total"), money(batch.total)),
                (_("Payouts"), str(batch.count)),
                (_("Paid"), money(batch.paid)),
            ]
        ),
        Table(
            _("Payouts"),
            columns,
            (_row(file, item) for item in islice(_items(session, file), ITEMS_PRINTED_MAX)),
            empty=_("Nobody is in this batch."),
        ),
    ]
    if batch.count > ITEMS_PRINTED_MAX:
        blocks.append(
            Note(_("The first payouts are printed; the CSV and XLSX files have each one."))
        )
    if batch.hash:
        said = _("Fingerprint (SHA-256) of items, amounts, destinations: %(hash)s", hash=batch.hash)
        blocks.append(Note(said))
    return Paper(
        identity=f"{file.program.slug} · {_('batch %(number)s', number=batch.number)}",
        language=language(),
        made_at=file.at,
        brand=file.program.name,
        title=_("Payout batch %(number)s", number=batch.number),
        page_words=page_words(),
        facts=facts_of(file),
        blocks=blocks,
    )


def status(code: str) -> str:
    """How far a batch has come."""
    return {
        "draft": _("draft"),
        "frozen": _("waits for approval"),
        "approved": _("approved"),
        "paying": _("being paid"),
        "done": _("done"),
        "cancelled": _("cancelled"),
    }.get(code, code)


def policy(code: str) -> str:
    """Under which policy a batch was approved."""
    return {
        "four_eyes": _("four eyes: none of its makers"),
        "one_person": _("one-person mode: no second person looked"),
        "automatic": _("approved by itself, as a small withdrawal"),
    }.get(code, code)


DID: Final = {
    "create": lambda: _("Made by"),
    "request_withdrawal": lambda: _("Asked for by"),
    "hold_item": lambda: _("Changed by"),
    "approve": lambda: _("Approved by"),
    "cancel": lambda: _("Cancelled by"),
}


def _items(session: Session, file: BatchFile) -> Iterator[ItemView]:
    after = 0
    while some := items_of(
        session, batch_id=file.batch.id, rows_max=ITEMS_PER_FETCH, after_id=after
    ):
        yield from some
        after = some[-1].id


def _cells(item: ItemView) -> Sequence[Cell]:
    return (
        ids.public_id(ITEM, item.id),
        people_ids.public(item.enrollment_id),
        item.affiliate_name,
        item.amount,
        item.amount.currency,
        item.destination,
        item.status,
        item.reason,
        len(item.attempts),
        _reference(item),
        item.paid_at,
        item.finished_at,
    )


def _row(file: BatchFile, item: ItemView) -> Row:
    result = item_status(item.status)
    if item.paid_at:
        result = f"{result}, {moment_in(item.paid_at, file.program.time_zone)}"
    elif item.reason:
        result = f"{result}: {sentences.item_reason(item.reason)}"
    account = account_shown(item.destination, file.batch.rail, whole=True)
    reference = bare_reference(_reference(item), item_id=item.id)
    return Row((item.affiliate_name, account, result, reference, money(item.amount)))


def item_status(code: str) -> str:
    """What became of an item."""
    return {
        "queued": _("waiting"),
        "sending": _("being sent"),
        "unknown": _("answer unknown"),
        "paid": _("paid"),
        "failed": _("failed"),
        "needs_review": _("needs review"),
        "cancelled": _("taken out"),
        "reversed": _("came back"),
    }.get(code, code)


def _reference(item: ItemView) -> str:
    last = next((a for a in reversed(item.attempts) if a.status == "succeeded"), None)
    return "" if last is None else last.reference or last.transfer_id or ""
