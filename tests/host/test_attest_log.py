"""The log of intervals, its checkpoints, and every way to be caught telling two stories."""

import pytest

from hil.benchmarks.attest import START_MS, make_building
from host_tools import codec
from host_tools.attest import log
from host_tools.attest.commitment import Committer
from host_tools.attest.verifier import Refused


@pytest.fixture(scope="module")
def one():
    return make_building(6, 4, 1, 2)


@pytest.fixture(scope="module")
def other():
    """The same keys and intervals, other records in interval 4 and so after it."""
    return make_building(6, 4, 1, 2, change=lambda number, leaves:
                         leaves[1:] if number == 4 else leaves)


def _commitments(building) -> list[bytes]:
    return [statement for kind, _, statement in building.entries if kind == 5]


def _keys(building):
    return building.bare_trust.aggregators


def test_one_history_is_no_equivocation(one) -> None:
    kept = log.IntervalLog(_commitments(one))
    key = one.authorities.aggregator
    points = [kept.checkpoint(key, START_MS + size, size) for size in range(1, 7)]
    proofs = {(older, newer): kept.consistency(older, newer)
              for older in range(1, 7) for newer in range(older + 1, 7)}
    assert log.find_equivocation([*kept.entries, *points], _keys(one), proofs) == []
    # the same checkpoint signed again at another time says the same
    again = kept.checkpoint(key, START_MS + 99, 6)
    assert log.find_equivocation([*points, again], _keys(one)) == []


def test_two_roots_for_one_interval_are_named_with_both_statements(one, other) -> None:
    first, second = _commitments(one), _commitments(other)
    assert first[:3] == second[:3]
    found = log.find_equivocation([*first[:4], *second[:4]], _keys(one))
    assert [case.name for case in found] == [log.SAME_INTERVAL]
    assert {found[0].first, found[0].second} == {first[3], second[3]}
    assert found[0].as_dict()["first"] == found[0].first.hex()


def test_a_commitment_that_continues_another_past_is_named(one, other) -> None:
    first, second = _commitments(one), _commitments(other)
    found = log.find_equivocation([first[3], second[4]], _keys(one))
    assert [case.name for case in found] == [log.BROKEN_CHAIN]


def test_two_checkpoints_of_one_size_are_named(one, other) -> None:
    key = one.authorities.aggregator
    points = [log.IntervalLog(_commitments(which)).checkpoint(key, START_MS)
              for which in (one, other)]
    found = log.find_equivocation(points, _keys(one))
    assert [case.name for case in found] == [log.SAME_SIZE]


def test_checkpoints_of_two_histories_have_no_proof(one, other) -> None:
    key = one.authorities.aggregator
    kept, forked = log.IntervalLog(_commitments(one)), log.IntervalLog(_commitments(other))
    points = [kept.checkpoint(key, START_MS, 5), forked.checkpoint(key, START_MS, 6)]
    for proof in ((), kept.consistency(5, 6), forked.consistency(5, 6)):
        found = log.find_equivocation(points, _keys(one), {(5, 6): proof})
        assert [case.name for case in found] == [log.NO_CONTINUATION]
    # before the fork both are one
    points = [kept.checkpoint(key, START_MS, 3), forked.checkpoint(key, START_MS, 6)]
    assert log.find_equivocation(points, _keys(one), {(3, 6): forked.consistency(3, 6)}) == []


def test_a_statement_of_a_stranger_is_evidence_of_nothing(one) -> None:
    stranger = make_building(2, 2, 9, 2)
    with pytest.raises(Refused, match="not trusted"):
        log.find_equivocation(_commitments(stranger), _keys(one))


def test_a_checkpoint_says_what_the_log_was(one) -> None:
    kept = log.IntervalLog()
    for commitment in _commitments(one):
        kept.append(commitment)
    statement = kept.checkpoint(one.authorities.aggregator, START_MS, 4)
    fields = codec.loads(codec.peek(statement)[2])
    assert fields[2] == 4 and fields[3] == log.merkle.root(kept.entries[:4])
    for size in (0, 7):
        with pytest.raises(IndexError):
            kept.checkpoint(one.authorities.aggregator, START_MS, size)


def test_a_committer_signs_the_checkpoints_of_its_own_log(one) -> None:
    key = one.authorities.aggregator
    committer, kept = Committer(key), log.IntervalLog()
    for number in range(1, 6):
        kept.append(committer.commit([], number, number + 1, 0, 0)[0])
        assert committer.checkpoint(START_MS) == kept.checkpoint(key, START_MS)
