"""The checks of who approved what, and under which rules of approval.

Batches of before signatures were rows have no `signatures_needed`; P3 alone looks at them.
"""

from __future__ import annotations

from typing import Final

from payouts.audit.run import Check, Severity

_INTEGRITY = Severity.INTEGRITY
# A maker's hand is never the second one; one-person mode is what says otherwise.
_MAKER = """
    (b.created_by IS NOT DISTINCT FROM {user} OR EXISTS (
        SELECT 1 FROM batch_makers m WHERE m.batch_id = b.id AND m.user_id = {user}))
"""
_HAD_THE_ROLE = """
    EXISTS (SELECT 1 FROM grants g
            WHERE g.user_id = {user} AND g.role IN ('finance', 'owner')
              AND (g.program_id = b.program_id OR g.program_id IS NULL))
"""

APPROVALS: Final = (
    Check(
        "P3",
        _INTEGRITY,
        "whoever approved had the role, and is none of the makers but in one-person mode",
        f"""
        SELECT b.id AS batch_id, b.approved_by, b.approval_policy FROM payout_batches b
        LEFT JOIN payout_policies p ON p.id = b.policy_id
        WHERE b.status IN ('approved', 'paying', 'done') AND (
              coalesce(b.approval_policy, '') NOT IN ('four_eyes', 'one_person', 'automatic')
           OR b.approval_policy = 'automatic' AND b.approved_by IS NOT NULL
           OR b.approval_policy <> 'automatic' AND (
                 b.approved_by IS NULL OR NOT {_HAD_THE_ROLE.format(user="b.approved_by")})
           OR b.approval_policy = 'four_eyes' AND {_MAKER.format(user="b.approved_by")}
           OR b.approval_policy = 'one_person' AND p.one_person IS NOT TRUE
           OR p.program_id <> b.program_id)
        """,  # noqa: S608 -- constants of this module
    ),
    Check(
        "P17",
        _INTEGRITY,
        "an approved batch has the signatures that its rules asked for, under its hash",
        f"""
        SELECT b.id AS batch_id, b.signatures_needed, count(DISTINCT s.user_id) AS signatures
        FROM payout_batches b
        LEFT JOIN payout_policies p ON p.id = b.policy_id
        LEFT JOIN batch_signatures s ON s.batch_id = b.id AND s.voided_at IS NULL
             AND s.hash = b.approved_hash
             AND (b.approval_policy = 'one_person' OR NOT {_MAKER.format(user="s.user_id")})
             AND {_HAD_THE_ROLE.format(user="s.user_id")}
        WHERE b.status IN ('approved', 'paying', 'done') AND b.signatures_needed IS NOT NULL
        GROUP BY b.id, p.id
        HAVING count(DISTINCT s.user_id) < b.signatures_needed
            OR b.signatures_needed <> CASE
                 WHEN b.approval_policy = 'automatic' THEN 0
                 WHEN b.approved_total_micros > p.second_signature_micros THEN 2
                 ELSE 1 END
            OR b.approval_policy <> 'automatic'
               AND NOT coalesce(bool_or(s.user_id = b.approved_by), false)
        """,  # noqa: S608 -- constants of this module
    ),
    Check(
        "P18",
        _INTEGRITY,
        "what was approved by itself is a withdrawal within the limit of its rules",
        """
        SELECT b.id AS batch_id, b.approved_total_micros AS approved FROM payout_batches b
        LEFT JOIN payout_policies p ON p.id = b.policy_id
        WHERE b.approval_policy = 'automatic' AND (
              b.kind <> 'on_demand' OR p.automatic_item_micros IS NULL
           OR b.approved_total_micros > p.automatic_item_micros)
        """,
    ),
)
