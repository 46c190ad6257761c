"""Merkle trees as RFC 9162, section 2.1, has them (the trees of RFC 6962 alike), over SHA-256.

A leaf's hash begins with the byte 0, an inner node's with 1, so that no node can be passed off
as a leaf or the other way about (second preimages). An odd last node of a level goes up as it
is: that is the RFC's split at the largest power of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

HASH_BYTES: Final = 32
LEAF: Final = b"\x00"
NODE: Final = b"\x01"


def leaf_hash(content: bytes) -> bytes:
    """The hash under which content stands in a tree."""
    return sha256(LEAF + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees side by side."""
    return sha256(NODE + left + right).digest()


class Tree:
    """The tree over these leaf hashes, in their order."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._levels = [list(leaves)]
        while len(self._levels[-1]) > 1:
            self._levels.append(_above(self._levels[-1]))

    @property
    def root(self) -> bytes:
        """The hash that commits to all; that of nothing is SHA-256 of no bytes (RFC 9162)."""
        (top,) = self._levels[-1] or [sha256(b"").digest()]
        return top

    def path(self, position: int) -> tuple[bytes, ...]:
        """The audit path of a leaf: its neighbours, from the lowest to the root's."""
        if not 0 <= position < len(self._levels[0]):
            raise IndexError(position)
        found = []
        for level in self._levels[:-1]:
            beside = position ^ 1
            if beside < len(level):
                found.append(level[beside])
            position >>= 1
        return tuple(found)


def root_by_path(leaf: bytes, *, position: int, leaves: int, path: Sequence[bytes]) -> bytes | None:
    """The root to which a path leads from a leaf hash; None for a path of another length.

    RFC 9162, section 2.1.3.2: position and number of leaves say on which side each neighbour is.
    """
    if not 0 <= position < leaves:
        return None
    rest = list(path)[::-1]
    while leaves > 1:
        if position ^ 1 < leaves:
            if not rest:
                return None
            beside = rest.pop()
            leaf = node_hash(beside, leaf) if position & 1 else node_hash(leaf, beside)
        position, leaves = position >> 1, (leaves + 1) >> 1
    return None if rest else leaf


def _above(level: list[bytes]) -> list[bytes]:
    pairs = zip(level[::2], level[1::2], strict=False)
    odd = level[-1:] if len(level) % 2 else []
    return [*(node_hash(left, right) for left, right in pairs), *odd]
