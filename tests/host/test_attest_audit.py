"""Audited totals: the selection, the bound by brute force, and every way to lie in a sum tree."""

import hashlib
import itertools
import math
import random

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from element.protocol.errors import RangeError
from hil.benchmarks.attest import LATER_MS, make_building
from host_tools import codec
from host_tools.attest import audit, bundle
from host_tools.attest.audit_check import (
    audit_indexes,
    check_audit,
    escape_probability,
    sum_join,
    sum_leaf,
    wrong_leaves_min,
)
from host_tools.attest.bundle import Holdings
from host_tools.attest.verifier import Refused, verify_bundle
from tests.campaign import BIT_STEP


@pytest.fixture(scope="module")
def building():
    return make_building(2, 40, 1, 4, checkpoints=1)


def _verify(data, building):
    return verify_bundle(data, building.trust, None, check_audit)


def _refusal(data, building) -> str:
    with pytest.raises(Refused) as caught:
        _verify(data, building)
    return caught.value.code


@pytest.mark.parametrize(("sample", "challenge"), [(1, b""), (10, b""), (10, b"mine"), (99, b"")])
def test_an_honest_total_is_audited(building, sample, challenge) -> None:
    held = Holdings(building.entries)
    data = audit.build_audit(held, 2, sample, building.authorities.aggregator, LATER_MS,
                             challenge)
    outcome = _verify(data, building)
    assert len(outcome.audit.pop("commitment")) == 32
    assert outcome.audit == {
        "leaf_count": 40, "sample": min(sample, 40), "challenge": challenge,
        "total_mwh": held.intervals[2].fields["realized_mwh"], "leaf_mwh_max": 91667}
    assert len(outcome.records) == min(sample, 40)
    assert audit.findings(outcome.audit)[0]["wrong_leaves"] >= 1
    assert [one[2] for one in outcome.checkpoints] == [2]


def test_without_the_second_half_of_the_verifier_an_audit_is_refused(building) -> None:
    data = audit.build_audit(Holdings(building.entries), 1, 5, building.authorities.aggregator,
                             LATER_MS)
    with pytest.raises(Refused, match="audit unchecked"):
        verify_bundle(data, building.trust)


def test_every_flipped_bit_of_an_audit_is_refused() -> None:
    building = make_building(1, 5, 3, 1)
    data = audit.build_audit(Holdings(building.entries), 1, 5, building.authorities.aggregator,
                             LATER_MS, b"a challenge")
    assert _verify(data, building).audit
    for bit in range(0, len(data) * 8, BIT_STEP):
        changed = bytearray(data)
        changed[bit >> 3] ^= 1 << (bit & 7)
        _refusal(bytes(changed), building)


def test_the_sample_is_uniform_nested_and_without_repeats() -> None:
    counts = dict.fromkeys(itertools.combinations(range(5), 2), 0)
    for number in range(5000):
        seed = hashlib.sha256(b"%d" % number).digest()
        chosen = audit_indexes(seed, 5, 2)
        counts[tuple(chosen)] += 1
        assert set(chosen) <= set(audit_indexes(seed, 5, 3))
    # chi-squared, 9 degrees of freedom: 27.9 is exceeded once in a thousand
    assert sum((one - 500) ** 2 / 500 for one in counts.values()) < 27.9
    assert audit_indexes(bytes(32), 7, 7) == list(range(7))
    for count, sample in ((0, 1), (5, 0), (5, 6), (1_000_001, 1)):
        with pytest.raises(Refused):
            audit_indexes(bytes(32), count, sample)


def test_words_that_would_make_some_indexes_likelier_are_skipped(monkeypatch) -> None:
    words = iter([2**64 - 1, 2**64 - 2, 4])

    class Digest:
        def __init__(self, data) -> None:
            self.word = next(words)

        def digest(self) -> bytes:
            return self.word.to_bytes(8, "big") + bytes(24)

    monkeypatch.setattr("host_tools.attest.audit_check.hashlib.sha256", Digest)
    # 2**64 % 6 is 4: the last four words are skipped, 4 is taken
    assert audit_indexes(b"", 6, 1) == [4]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.data())
def test_the_escape_probability_is_that_of_counting_every_sample(count, data) -> None:
    sample = data.draw(st.integers(1, count))
    wrong = data.draw(st.integers(0, count))
    all_samples = list(itertools.combinations(range(count), sample))
    missed = sum(1 for one in all_samples if min(one) >= wrong)
    assert math.isclose(escape_probability(count, sample, wrong), missed / len(all_samples),
                        abs_tol=1e-12)


def test_an_inflation_needs_as_many_leaves_as_can_hide_it() -> None:
    # 10 % over a true 1,000,000 is 100,000; a leaf hides 2 * 1000
    assert wrong_leaves_min(1_100_000, 1000, 1000) == 50
    assert wrong_leaves_min(-1_100_000, 1000, 1000) == 50
    assert wrong_leaves_min(1_100_001, 1000, 1000) == 51
    assert wrong_leaves_min(1, 1, 10**9) == 1 and wrong_leaves_min(0, 100, 5) == 0
    sample = audit.sample_for(10_000, 500, 40, 20)
    assert escape_probability(10_000, sample, 500) <= 2.0 ** -60
    assert escape_probability(10_000, sample - 1, 500) > 2.0 ** -60
    assert audit.sample_for(10, 1) == 10


class Liar(audit.SumTree):
    """A sum tree whose leaves claim what the liar wants; the hashes bind the claims."""

    def __init__(self, leaves, claims) -> None:
        level = [sum_leaf(claims.get(index, audit.energy_of(leaf)), leaf.statement)
                 for index, leaf in enumerate(leaves)]
        self.levels = [level]
        while len(level) > 1:
            pairs = len(level) & ~1
            level = [sum_join(level[at], level[at + 1])
                     for at in range(0, pairs, 2)] + level[pairs:]
            self.levels.append(level)


def _lying_audit(building, extra_mwh, claims, sample, bound=91667, declared=None):
    """Return the audit of a total inflated by extra_mwh; claims by leaf hide it."""
    held = Holdings(building.entries)
    held.checkpoints.clear()
    key = building.authorities.aggregator
    interval = held.intervals[1]
    assert interval.tree.size  # and puts the leaves in order
    fields = dict(interval.fields)
    fields["realized_mwh"] += extra_mwh
    interval.statement = codec.sign1(key.private, "cw/interval", key.key_id,
                                     codec.encode_statement(5, fields))
    tree = Liar(interval.leaves, claims)
    statement, opening, seed = audit.sign_audit(key, {
        1: key.key_id, 2: 1, 3: hashlib.sha256(codec.peek(interval.statement)[2]).digest(),
        4: tree.root[1], 5: len(interval.leaves),
        6: fields["realized_mwh"] if declared is None else declared, 7: bound}, b"")
    indexes = audit_indexes(seed, len(interval.leaves), sample)
    data = bundle.build(held, {1: indexes}, audit=[statement, opening, tree.shared_proof(indexes)])
    return data, indexes


def test_a_total_that_no_sum_makes_is_refused(building) -> None:
    data, _ = _lying_audit(building, 1000, {}, 5)
    assert _refusal(data, building) == "the sums do not make the total"
    data, _ = _lying_audit(building, 0, {}, 5, declared=1)
    assert _refusal(data, building) == "audit of another interval"


def test_one_leaf_cannot_carry_it_all(building) -> None:
    data, indexes = _lying_audit(building, 10**7, {39: 10**7}, 1)
    assert indexes != [39]
    assert _refusal(data, building) == "sum above its bound"


def test_a_leaf_above_its_rating_is_refused(building) -> None:
    data, _ = _lying_audit(building, 0, {}, 40, bound=20_000)
    assert _refusal(data, building) == "energy above the rating"


def test_lies_within_the_bound_escape_as_often_as_stated(building) -> None:
    """Make many false totals with m wrong leaves; count how many pass one sample."""
    rng = random.Random(3)
    held = Holdings(building.entries)
    assert held.intervals[1].tree.size  # and puts the leaves in order
    energies = [audit.energy_of(leaf) for leaf in held.intervals[1].leaves]
    wrong, sample, tries, passed = 4, 8, 150, 0
    for _ in range(tries):
        claims = {index: energies[index] + rng.randint(1, 1000)
                  for index in rng.sample(range(40), wrong)}
        extra = sum(claims[index] - energies[index] for index in claims)
        data, indexes = _lying_audit(building, extra, claims, sample)
        if set(indexes) & set(claims):
            assert _refusal(data, building) in (
                "the sums do not make the total", "sum above its bound")
        else:
            assert _verify(data, building).audit
            passed += 1
    expected = escape_probability(40, sample, wrong)
    assert abs(passed / tries - expected) < 4 * math.sqrt(expected * (1 - expected) / tries)


def test_other_leaves_than_the_selected_ones_are_refused(building) -> None:
    held = Holdings(building.entries)
    data = audit.build_audit(held, 1, 5, building.authorities.aggregator, LATER_MS)
    value = cbor2.loads(data)
    indexes = value[4][0][2]
    other = sorted({*indexes[1:], next(i for i in range(40) if i not in indexes)})
    tree = audit.SumTree(held.intervals[1].leaves)
    shown = bundle.build(held, {1: other}, audit=[*value[6][:2], tree.shared_proof(other)])
    assert _refusal(shown, building) == "other leaves than the root selects"
    # a challenge that is not the one that selected them, and one of another audit
    for number, code in ((1, "other leaves than the root selects"),
                         (2, "opening of another audit")):
        again = cbor2.loads(audit.build_audit(
            held, number, 5, building.authorities.aggregator, LATER_MS, b"another"))
        value[6][1] = again[6][1]
        assert _refusal(cbor2.dumps(value), building) == code


def test_what_cannot_be_audited_says_so(building) -> None:
    held = Holdings(building.entries)
    key = building.authorities.aggregator
    for number, challenge in ((9, b""), (1, bytes(65))):
        with pytest.raises(RangeError):
            audit.build_audit(held, number, 5, key, LATER_MS, challenge)
    empty = make_building(1, 1, 1, 1, change=lambda number, leaves: [])
    with pytest.raises(RangeError):
        audit.build_audit(Holdings(empty.entries), 1, 5, empty.authorities.aggregator)
