"""What a seal commits to, and under which names. Pure; docs/reliability.md, "Seals".

A leaf is one entry, not one transaction: whoever is shown an entry with its salt and path sees
the other entries of its transaction as hashes alone. People stand in it by pseudonyms, keyed by
a salt of the installation: what erases a person's rows leaves every seal as it is.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import blake2s, sha256
from typing import Final, NamedTuple

HEAD: Final = b"\x02"
SUMMARY: Final = b"\x03"
"""First bytes of what is hashed, besides merkle.LEAF and merkle.NODE: no hash is two things."""
GENESIS: Final = bytes(32)
"""What stands before the first seal."""
SALT_BYTES: Final = 16
ENTRY_FORM: Final = "kopeck-entry-1"
PSEUDONYM_BYTES: Final = 16
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_text = json.JSONEncoder(separators=(",", ":")).encode


class SealedEntry(NamedTuple):
    """An entry as its leaf has it; each field can be handed to the affiliate it belongs to."""

    transaction: str
    """Pseudonym of the transaction: of its id, its reference and what it reverses."""
    kind: str
    reason: str
    occurred_at: str
    """Business time, ISO 8601 in UTC with microseconds."""
    recorded_at: str
    """Real time at which it was written."""
    account: str
    """`pending`, `available`, …; with the rail after a colon where there is one."""
    owner: str
    """Pseudonym of the program and, where the account has one, the enrollment."""
    currency: str
    amount_micros: int


def content(entry: SealedEntry, salt: bytes) -> bytes:
    """What the leaf is the hash of: a JSON array in ASCII, without spaces; the salt comes first."""
    return _text([ENTRY_FORM, salt.hex(), *entry]).encode("ascii")


def owner_pseudonym(salt: bytes, *, program_id: int, enrollment_id: int | None) -> str:
    """Whose an account is, to nobody but those who were told."""
    return _pseudonym(salt, f"owner:{program_id}:{enrollment_id or 0}")


def transaction_pseudonym(
    salt: bytes, *, transaction_id: int, reference: str, reverses_id: int | None
) -> str:
    """A transaction without its number, which would tell how many there are."""
    return _pseudonym(salt, f"transaction:{transaction_id}:{reverses_id or 0}:{reference}")


def moment(at: datetime) -> str:
    """2026-11-21T07:15:00.000000+00:00."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def summary_of(*, root: bytes, leaves: int, emptied: bool) -> bytes:
    """What a seal holds, in one hash: a chain of summaries tells nobody how much was booked.

    `emptied`: nothing that was committed was left unsealed. The root cannot be guessed, so
    neither can the number that is hashed with it.
    """
    return sha256(SUMMARY + root + leaves.to_bytes(8) + bytes([emptied])).digest()


def head_of(*, number: int, before: bytes, summary: bytes, sealed_at: datetime) -> bytes:
    """The head of the chain up to and with this seal."""
    micros = (sealed_at - _EPOCH) // (datetime.resolution)
    return sha256(HEAD + number.to_bytes(8) + before + summary + micros.to_bytes(8)).digest()


def _pseudonym(salt: bytes, name: str) -> str:
    """BLAKE2 with a key (RFC 7693): a third of the time of an HMAC, once a transaction."""
    return blake2s(name.encode(), key=salt, digest_size=PSEUDONYM_BYTES).hexdigest()
