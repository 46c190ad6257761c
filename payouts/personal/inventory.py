"""Every text, document, bytes and UUID in this package's tables, and what an erasure does to it.

What documents, payments and their proofs say is kept: it is bookkeeping, and others check it.
"""

from __future__ import annotations

from typing import Final

from affiliate.core.personal import Inventory, Table, Why

INVENTORY: Final[Inventory] = {
    "ledger_accounts": Table(plain="kind rail currency"),
    "ledger_transactions": Table(plain="kind reference reason"),
    "ledger_entries": Table(plain="currency"),
    "ledger_seals": Table(plain="before root head salts leaf_hashes"),
    "ledger_seal_salt": Table(plain="salt"),
    "ledger_adjustments": Table(
        kept={Why.BOOKS: "note decline_note"}, plain="kind currency reason status"
    ),
    "commissions": Table(plain="reference currency rule trace waits_for void_reason"),
    "commission_reversals": Table(plain="reference trace"),
    "payout_periods": Table(plain="currency rail key"),
    "payout_policies": Table(plain="currency", kept={Why.STAFF: "reason"}),
    "payout_batches": Table(
        plain="kind currency rail status hash approved_hash approval_policy not_automatic",
        kept={Why.STAFF: "cancel_reason pause_reason"},
    ),
    "batch_makers": Table(plain="did"),
    "batch_signatures": Table(plain="hash void_reason"),
    "batch_absences": Table(plain="reason"),
    "batch_rehearsals": Table(plain="hash away objections"),
    "payout_items": Table(kept={Why.BOOKS: "destination"}, plain="currency status reason"),
    "payout_attempts": Table(
        kept={Why.BOOKS: "params destination transfer_id error_text"},
        plain="idempotency_key request_hash currency status error_code",
    ),
    "payout_reversals": Table(kept={Why.BOOKS: "reference reason"}),
    "payout_files": Table(
        kept={Why.BOOKS: "content", Why.STAFF: "not_sent_reason"},
        plain="rail name format message_id sha256 currency",
    ),
    "payout_file_lines": Table(plain="end_to_end_id"),
    "bank_statements": Table(kept={Why.BOOKS: "content"}, plain="rail name format sha256"),
    "withdrawals": Table(plain="currency paused_for outcome"),
    "withdrawal_pauses": Table(plain="reason"),
    "payout_holds": Table(replaced="reason lift_reason"),
    "payout_punctuality": Table(plain="kind"),
    "payout_locks": Table(plain="reason detail lifted_by"),
    "payout_installation": Table(plain="key"),
    "payout_paces": Table(plain="rail"),
    "own_accounts": Table(plain="rail details options"),
    "rail_costs": Table(plain="rail"),
    "payee_accounts": Table(
        replaced="destination", erased="named_network named_browser state", plain="rail named_by"
    ),
    "payee_onboardings": Table(
        replaced="params account", plain="rail idempotency_key asked_by refusal"
    ),
    "payee_stops": Table(erased="why", plain="lifted_by outcome"),
    # Deleted of whom nothing was ever paid; else the next invoice may still have to name them.
    "tax_profiles": Table(
        kept={Why.BOOKS: "name address tax_number vat_number"},
        plain="legal_form country vat_status",
    ),
    "invoices": Table(kept={Why.BOOKS: "document"}, plain="kind name currency hash"),
    "invoice_issuers": Table(plain="name address country tax_number vat_number number_prefix"),
    "provider_accounts": Table(plain="rail account"),
    "provider_events": Table(
        kept={Why.BOOKS: "account object_id error"},
        plain="rail id type idempotency_key came_by outcome",
    ),
    "provider_event_cursors": Table(erased="account", plain="rail"),
    "provider_transfers": Table(kept={Why.BOOKS: "destination"}, plain="rail id currency"),
    "provider_payee_accounts": Table(erased="id disabled_reason due", plain="rail"),
    "provider_bank_payouts": Table(erased="account failure", plain="rail id currency status"),
    "provider_differences": Table(
        kept={Why.BOOKS: "subject detail", Why.STAFF: "why"}, plain="rail kind resolved_by"
    ),
    "reconciliations": Table(plain="rail status by error"),
}
