"""The trees of RFC 9162: known answers, every path, and what must not pass for a leaf."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payouts.ledger.seals.merkle import Tree, leaf_hash, node_hash, root_by_path

# The inputs of the RFC 6962 reference implementation's tests, with its roots for 0 to 8 leaves.
KNOWN = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)

contents = st.lists(st.binary(max_size=40), min_size=1, max_size=70)


@pytest.mark.parametrize("count", range(9))
def test_roots_are_those_of_the_reference_implementation(count: int) -> None:
    assert Tree([leaf_hash(each) for each in KNOWN[:count]]).root.hex() == ROOTS[count]


def test_one_leaf_is_its_own_root_with_an_empty_path() -> None:
    only = leaf_hash(b"one")
    tree = Tree([only])
    assert (tree.root, tree.path(0)) == (only, ())
    assert root_by_path(only, position=0, leaves=1, path=()) == only


@given(contents)
def test_every_leaf_leads_to_the_root(found: list[bytes]) -> None:
    hashes = [leaf_hash(each) for each in found]
    tree = Tree(hashes)
    for place, leaf in enumerate(hashes):
        path = tree.path(place)
        assert root_by_path(leaf, position=place, leaves=len(hashes), path=path) == tree.root


@given(contents, st.data())
def test_no_other_leaf_position_count_or_path_leads_there(
    found: list[bytes], data: st.DataObject
) -> None:
    hashes = [leaf_hash(bytes([n]) + each) for n, each in enumerate(found)]
    tree, count = Tree(hashes), len(hashes)
    place = data.draw(st.integers(0, count - 1))
    path = list(tree.path(place))
    other = data.draw(st.integers(-2, count + 2).filter(lambda n: n != place))
    wrong = [
        root_by_path(leaf_hash(b"other"), position=place, leaves=count, path=path),
        root_by_path(hashes[place], position=place, leaves=count, path=[*path, bytes(32)]),
        root_by_path(hashes[place], position=other, leaves=count, path=path),
    ]
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        flipped = bytes([path[at][0] ^ 1]) + path[at][1:]
        changed = [*path[:at], flipped, *path[at + 1 :]]
        for bad in (path[:-1], changed):
            wrong.append(root_by_path(hashes[place], position=place, leaves=count, path=bad))
    assert tree.root not in wrong


@given(st.lists(st.binary(max_size=40), min_size=2, max_size=40))
def test_an_inner_node_does_not_pass_for_a_leaf(found: list[bytes]) -> None:
    """Second preimage: the two children of a node, as the content of one leaf of a shorter tree."""
    hashes = [leaf_hash(each) for each in found]
    inner = hashes[0] + hashes[1]
    assert node_hash(hashes[0], hashes[1]) == sha256(b"\x01" + inner).digest() != leaf_hash(inner)
    shorter = [leaf_hash(inner), *hashes[2:]]
    assert Tree(shorter).root != Tree(hashes).root
    # Nor does the whole level above, as leaves.
    pairs = [leaf_hash(a + b) for a, b in zip(hashes[::2], hashes[1::2], strict=False)]
    assert Tree(pairs).root != Tree(hashes).root


@given(contents, st.data())
def test_changing_order_adding_or_leaving_out_makes_another_root(
    found: list[bytes], data: st.DataObject
) -> None:
    hashes = [leaf_hash(bytes([n]) + each) for n, each in enumerate(found)]
    at = data.draw(st.integers(0, len(hashes) - 1))
    root = Tree(hashes).root
    assert Tree([*hashes[:at], *hashes[at + 1 :]]).root != root
    assert Tree([*hashes, hashes[-1]]).root != root, "an odd last node is not doubled"
    if len(hashes) > 1:
        swapped = hashes[at - 1], hashes[at]
        hashes[at], hashes[at - 1] = swapped
        assert Tree(hashes).root != root


def test_there_is_no_path_of_a_leaf_that_is_not_there() -> None:
    with pytest.raises(IndexError):
        Tree([]).path(0)
    with pytest.raises(IndexError):
        Tree([leaf_hash(b"one")]).path(1)
