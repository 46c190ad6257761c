"""Every text, document, bytes and UUID in this package's tables, and what an erasure does to it."""

from __future__ import annotations

from typing import Final

from affiliate.core.personal import Inventory, Table, Why

INVENTORY: Final[Inventory] = {
    "users": Table(
        erased="password pending_email", replaced="email name fs_uniquifier locale time_zone"
    ),
    # Rows of these go as a whole.
    "user_sessions": Table(erased="token_hash agent challenge"),
    "second_factors": Table(erased="totp_secret"),
    "passkeys": Table(erased="credential_id public_key name"),
    "recovery_codes": Table(erased="code_hash"),
    "former_addresses": Table(erased="email"),
    "invitations": Table(erased="email token_hash", plain="role"),
    "outbox_mails": Table(
        erased="recipient subject text html last_error unsubscribe_url",
        plain="template message_id",
    ),
    "grants": Table(plain="role"),
    "api_keys": Table(replaced="name", plain="prefix secret_hash scopes"),
    # Two days old at most.
    "api_answers": Table(kept={Why.AGES: "body"}, plain="idempotency_key request_hash headers"),
    "affiliates": Table(replaced="name website"),
    "affiliate_groups": Table(plain="name"),
    "enrollments": Table(erased="answers decision_reason shop_customer_id", plain="status"),
    "enrollment_notes": Table(erased="text"),
    "letters": Table(plain="kind about"),
    "letter_choices": Table(plain="choice chosen_by"),
    "links": Table(
        erased="s1 s2 s3 s4 s5",
        replaced="name destination",
        kept={Why.PUBLISHED: "code"},
    ),
    # A buyer types it; the manager gave it, and old orders name it.
    "coupons": Table(kept={Why.EVIDENCE: "code"}),
    "audit_log": Table(erased="old new reason", plain="actor action subject request_id"),
    "programs": Table(
        plain="slug name summary currency status landing_url allowed_sites rail time_zone "
        "contact_email"
    ),
    "rule_versions": Table(plain="terms urgent_reason"),
    "rule_drafts": Table(plain="name document note"),
    "rule_answers": Table(plain="answer"),
    "rule_notices": Table(plain="kind"),
    "rule_assignments": Table(replaced="reason"),
    # What an affiliate drew for themselves; the program's own stay.
    "creatives": Table(
        replaced="name alt", plain="kind language subject body destination video_url button"
    ),
    "creative_pictures": Table(erased="content", plain="extension"),
    "banner_brands": Table(plain="name colour accent"),
    "products": Table(
        plain="sku title description link image_link currency availability brand category gtin "
        "content_hash"
    ),
    "product_feeds": Table(plain="address trouble"),
    "product_imports": Table(plain="source status file_kind content examples errors"),
    "product_pictures": Table(plain="source content trouble"),
    "exchange_rates": Table(plain="source target origin"),
    # An affiliate's postbacks go as a whole; a program's endpoints are the merchant's own.
    "webhook_endpoints": Table(
        erased="url description",
        plain="method types disabled_for secret previous_secret",
    ),
    "webhook_events": Table(kept={Why.AGES: "facts body"}, plain="type subject message_id"),
    "webhook_deliveries": Table(erased="address", plain="subject"),
    "webhook_attempts": Table(erased="answer", plain="trouble"),
}
