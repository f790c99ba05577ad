"""Receipts, trees and proofs against an independent library, scitt-cose, and bit by bit."""

import cbor2
import pytest
import scitt_cose
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.benchmarks.attest import make_building
from host_tools.attest import merkle, receipts
from host_tools.attest.log import IntervalLog
from host_tools.attest.verifier import Refused, check_consistency, shared_root
from host_tools.identity.keys import public_from_raw

SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 31, 33)


def _leaves(count: int) -> list[bytes]:
    return [b"leaf %d" % number for number in range(count)]


def _pem(public: bytes) -> bytes:
    return public_from_raw(public).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(scope="module")
def building():
    return make_building(1, 21, 1, 5)


@pytest.fixture(scope="module")
def made(building):
    leaves = [one[2] for one in building.entries if one[0] == 3]
    tree = merkle.Tree(leaves)
    signed = receipts.sign_root(building.authorities.aggregator, 1, tree.size, tree.root)
    return leaves, tree, receipts.all_receipts(signed, tree)


@pytest.mark.parametrize("count", SIZES)
def test_roots_and_paths_are_those_of_the_recursion_and_of_scitt_cose(count) -> None:
    leaves = _leaves(count)
    tree = merkle.Tree(leaves)
    assert tree.root == merkle.root(leaves)
    assert tree.root.hex() == scitt_cose.merkle_root([one.hex() for one in leaves])
    for index in range(count):
        path = tree.inclusion_path(index)
        assert path == merkle.inclusion_path(leaves, index)
        theirs = scitt_cose.inclusion_proof([one.hex() for one in leaves], index)
        assert [one.hex() for one in path] == theirs


@pytest.mark.parametrize("count", SIZES)
def test_consistency_between_any_two_sizes_holds_here_and_with_scitt_cose(count) -> None:
    leaves = _leaves(count)
    tree = merkle.Tree(leaves)
    for older in range(1, count + 1):
        path = tree.consistency_path(older)
        before = merkle.root(leaves[:older])
        assert tree.root_at(older) == before
        assert merkle.verify_consistency(older, count, path, before, tree.root)
        texts = [one.hex() for one in path]
        assert texts == scitt_cose.consistency_proof(
            [one.hex() for one in leaves], older, count)
        assert scitt_cose.verify_consistency(before.hex(), tree.root.hex(), older, count, texts)
        if older < count:
            check_consistency(older, count, path, before, tree.root)
            for wrong in ([*path, bytes(32)], path[:-1], [bytes(32), *path[1:]]):
                assert not merkle.verify_consistency(older, count, wrong, before, tree.root)
                with pytest.raises(Refused):
                    check_consistency(older, count, wrong, before, tree.root)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.data())
def test_a_proof_between_two_earlier_sizes_holds(count, data) -> None:
    newer = data.draw(st.integers(1, count))
    older = data.draw(st.integers(1, newer))
    tree = merkle.Tree(_leaves(count))
    path = tree.consistency_path(older, newer)
    assert merkle.verify_consistency(older, newer, path, tree.root_at(older), tree.root_at(newer))
    assert not merkle.verify_consistency(older, newer, path, bytes(32), tree.root_at(newer))


def test_every_receipt_holds_here_and_with_scitt_cose(building, made) -> None:
    leaves, tree, all_made = made
    public = building.authorities.aggregator.public
    for index, (leaf, receipt) in enumerate(zip(leaves, all_made, strict=True)):
        assert receipts.check_inclusion(receipt, leaf, public) == (1, index, tree.root)
        theirs = scitt_cose.verify_receipt(
            receipt, leaf_entry_hex=leaf.hex(), log_public_key_pem=_pem(public))
        assert theirs.ok and theirs.leaf_index == index and theirs.root == tree.root.hex()
        # and it is the receipt that cbor2 would have written
        parts = cbor2.loads(receipt).value
        proof = [tree.size, index, tree.inclusion_path(index)]
        assert parts[1] == {396: {-1: (cbor2.dumps(proof),)}} and parts[2] is None
        assert cbor2.dumps(cbor2.loads(receipt)) == receipt


def test_the_numbers_are_those_of_rfc_9942(made) -> None:
    header = cbor2.loads(cbor2.loads(made[2][0]).value[0])
    assert header[1] == -7 and header[395] == 1 and header[16] == "cw/receipt"
    assert (receipts.RECEIPTS, receipts.VDP) == (394, 396)
    assert (receipts.INCLUSION, receipts.CONSISTENCY) == (-1, -2)


def test_every_flipped_bit_of_a_receipt_is_refused(building, made) -> None:
    leaves, _, all_made = made
    for index in (0, 20):
        receipt = all_made[index]
        for bit in range(len(receipt) * 8):
            changed = bytearray(receipt)
            changed[bit >> 3] ^= 1 << (bit & 7)
            with pytest.raises(Refused):
                receipts.check_inclusion(bytes(changed), leaves[index],
                                         building.authorities.aggregator.public)


def test_a_receipt_proves_its_own_entry_and_its_own_signer(building, made) -> None:
    leaves, _, all_made = made
    public = building.authorities.aggregator.public
    for entry in (leaves[1], leaves[0] + b"\0", b""):
        with pytest.raises(Refused):
            receipts.check_inclusion(all_made[0], entry, public)
    with pytest.raises(Refused, match="signer"):
        receipts.check_inclusion(all_made[0], leaves[0], building.authorities.issuer.public)
    with pytest.raises(Refused, match="typ"):
        receipts.check_inclusion(all_made[0], leaves[0], public, receipts.LOG_TYP)


def test_a_consistency_receipt_of_the_log(building) -> None:
    log = IntervalLog(_leaves(11))
    key = building.authorities.aggregator
    signed = log.signed_root(key)
    receipt = receipts.consistency_receipt(signed, 6, log.consistency(6, 11))
    before = log.tree.root_at(6)
    assert receipts.check_growth(receipt, before, log.tree.root, key.public) == (6, 11)
    for older, newer in ((bytes(32), log.tree.root), (before, bytes(32))):
        with pytest.raises(Refused):
            receipts.check_growth(receipt, older, newer, key.public)
    for bit in range(len(receipt) * 8):
        changed = bytearray(receipt)
        changed[bit >> 3] ^= 1 << (bit & 7)
        with pytest.raises(Refused):
            receipts.check_growth(bytes(changed), before, log.tree.root, key.public)


def test_a_statement_carries_receipts_that_scitt_cose_extracts(made) -> None:
    leaves, _, all_made = made
    carried = receipts.with_receipts(leaves[3], [all_made[3]])
    assert scitt_cose.extract_receipts(carried) == [all_made[3]]


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 200), st.data())
def test_a_shared_proof_leads_to_the_root_and_has_no_hash_too_many(count, data) -> None:
    leaves = _leaves(count)
    tree = merkle.Tree(leaves)
    chosen = sorted(data.draw(st.sets(st.integers(0, count - 1), max_size=20)))
    nodes = tree.shared_proof(chosen)
    entries = {index: leaves[index] for index in chosen}
    assert shared_root(count, entries, b"".join(nodes)) == tree.root
    for wrong in ([*nodes, bytes(32)], nodes[:-1] if nodes else [bytes(32)]):
        with pytest.raises(Refused):
            shared_root(count, entries, b"".join(wrong))


def test_a_frontier_has_the_root_of_every_size() -> None:
    leaves = _leaves(70)
    frontier = merkle.Frontier()
    assert frontier.root == merkle.root([])
    for size, leaf in enumerate(leaves, 1):
        frontier.append(leaf)
        assert (frontier.size, frontier.root) == (size, merkle.root(leaves[:size]))


def test_indexes_outside_have_no_proof() -> None:
    tree = merkle.Tree(_leaves(5))
    for indexes in ([5], [-1], [2, 2], [3, 1]):
        with pytest.raises(IndexError):
            tree.shared_proof(indexes)
    for older in (0, 6):
        with pytest.raises(IndexError):
            tree.consistency_path(older)
        with pytest.raises(IndexError):
            tree.root_at(older)
    with pytest.raises(IndexError):
        tree.inclusion_path(5)
