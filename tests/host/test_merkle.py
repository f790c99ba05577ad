"""Merkle trees against the reference roots of Certificate Transparency, and every proof."""

import hashlib

import pytest

from host_tools.attest import merkle

# Leaves and roots of the Certificate Transparency reference tests (RFC 6962 and RFC 9162 hash
# alike): google/certificate-transparency, merkle_tree tests.
LEAVES = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f")]
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def test_the_empty_tree_is_the_hash_of_nothing() -> None:
    assert merkle.root([]) == hashlib.sha256(b"").digest()


@pytest.mark.parametrize("count", range(1, 9))
def test_reference_roots(count: int) -> None:
    assert merkle.root(LEAVES[:count]).hex() == ROOTS[count - 1]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13, 32, 33])
def test_every_leaf_is_proven_and_nothing_else_is(count: int) -> None:
    leaves = [b"leaf %d" % number for number in range(count)]
    root = merkle.root(leaves)
    for index, leaf in enumerate(leaves):
        path = merkle.inclusion_path(leaves, index)
        assert merkle.verify_inclusion(leaf, index, count, path, root)
        assert not merkle.verify_inclusion(b"other", index, count, path, root)
        assert not merkle.verify_inclusion(leaf, index, count, [*path, root], root)
        assert not merkle.verify_inclusion(leaf, index, count, path, bytes(32))
        if path:
            assert not merkle.verify_inclusion(leaf, index, count, path[:-1], root)
            assert not merkle.verify_inclusion(leaf, (index + 1) % count, count, path, root)
            broken = [bytes([path[0][0] ^ 1]) + path[0][1:], *path[1:]]
            assert not merkle.verify_inclusion(leaf, index, count, broken, root)


def test_an_index_outside_the_tree_has_no_proof() -> None:
    with pytest.raises(IndexError):
        merkle.inclusion_path([b"a"], 1)
    assert not merkle.verify_inclusion(b"a", 1, 1, [], merkle.root([b"a"]))
