"""What those who hold keys may not say either: every statement here is signed by its own key."""

import cbor2
import pytest

from hil.benchmarks.attest import LATER_MS, START_MS, make_building
from host_tools import codec
from host_tools.attest import bundle
from host_tools.attest.receipts import es256
from host_tools.attest.verifier import UNIX_MS_MAX, Refused, verify_bundle
from host_tools.identity.credentials import party_credential


@pytest.fixture(scope="module")
def building():
    return make_building(5, 4, 1, 2)


@pytest.fixture
def value(building):
    """A bundle of two neighbouring intervals and one apart, with the log of now, as a list."""
    held = bundle.Holdings(building.entries)
    return cbor2.loads(bundle.build(held, {1: [0], 2: [0, 3], 4: []},
                                    building.authorities.aggregator, LATER_MS))


def _code(building, value) -> str:
    with pytest.raises(Refused) as caught:
        verify_bundle(cbor2.dumps(value), building.trust)
    return caught.value.code


def _commit(key, pair: list, changes: dict) -> list:
    """Return a commitment as a bundle has it, with other fields under a true signature."""
    payload = codec.dumps({**cbor2.loads(pair[0]), **changes})
    return [payload, es256(key, codec.dumps({1: -7, 4: key.key_id, 16: "cw/interval"}), payload)]


def _sign(key, typ: str, statement: bytes, changes: dict) -> bytes:
    fields = {**cbor2.loads(codec.peek(statement)[2]), **changes}
    return codec.sign1(key.private, typ, key.key_id, codec.dumps(fields))


def test_what_is_changed_here_holds_unchanged(building, value) -> None:
    key = building.authorities.aggregator
    value[4][0][0] = _commit(key, value[4][0][0], {})
    value[5][0][0] = _sign(key, "cw/checkpoint", value[5][0][0], {})
    value[4][0][3][0] = _sign(building.elements[0], "cw/record", value[4][0][3][0], {})
    assert len(verify_bundle(cbor2.dumps(value), building.trust).records) == 3


@pytest.mark.parametrize(("changes", "code"), [
    ({3: bytes(32)}, "interval chain broken"), ({5: -1}, "interval"), ({5: 10**6 + 1}, "interval"),
    ({6: -1}, "interval"), ({7: START_MS}, "interval"), ({7: UNIX_MS_MAX + 1}, "interval"),
    ({7: UNIX_MS_MAX}, "credential expired"), ({5: 3}, "indexes out of order"),
    ({4: bytes(32)}, "root does not match the records of interval"),
    ({2: 1}, "intervals out of order"), ({2: 0}, "intervals out of order"),
    ({2: 3}, "interval chain broken"), ({2: 9}, "intervals out of order"),
    ({8: "1"}, "cw/interval"), ({13: 0}, "cw/interval")])
def test_a_commitment(building, value, changes, code) -> None:
    value[4][1][0] = _commit(building.authorities.aggregator, value[4][1][0], changes)
    assert _code(building, value) == code


def test_intervals_in_another_order_or_twice(building, value) -> None:
    intervals = value[4]
    for chosen in ((1, 0), (2, 0), (0, 0), (0, 2, 1)):
        value[4] = [intervals[index] for index in chosen]
        assert _code(building, value) == "intervals out of order"


def test_indexes_in_another_order_or_twice(building, value) -> None:
    _, _, indexes, records, _ = value[4][1]
    assert indexes == [0, 3]
    for other, codes in (([3, 0], "indexes out of order"), ([0, 0], "indexes out of order"),
                         ([0, 4], "indexes out of order"), ([-1, 3], "indexes out of order"),
                         ([0], "indexes"), ([0, "3"], "indexes"), ([False, 3], "indexes")):
        value[4][1][2] = other
        assert _code(building, value) == codes
    value[4][1][2:4] = [[3, 0], records[::-1]]
    assert _code(building, value) == "indexes out of order"


@pytest.mark.parametrize(("changes", "code"), [
    ({2: 0}, "record"), ({5: -1}, "record"), ({6: START_MS - 1}, "record"),
    ({6: UNIX_MS_MAX + 1}, "record"), ({6: UNIX_MS_MAX}, "credential expired"),
    ({5: 0}, "credential not yet valid"),
    ({1: b"somebody"}, "signed for another element"), ({15: 0}, "cw/record"),
    ({11: 1}, "root does not match the records of interval")])
def test_a_record(building, value, changes, code) -> None:
    value[4][0][3][0] = _sign(building.elements[0], "cw/record", value[4][0][3][0], changes)
    assert _code(building, value) == code


@pytest.mark.parametrize(("changes", "code"), [
    ({1: b"somebody"}, "aggregator"), ({4: -1}, "checkpoint"),
    ({4: UNIX_MS_MAX + 1}, "checkpoint"), ({4: UNIX_MS_MAX}, "credential expired"),
    ({4: 0}, "credential not yet valid"), ({2: 3}, "interval not in the log"),
    ({2: 0}, "interval not in the log"), ({3: bytes(32)}, "log and commitments differ"),
    ({5: 0}, "cw/checkpoint")])
def test_a_checkpoint(building, value, changes, code) -> None:
    key = building.authorities.aggregator
    value[5][0][0] = _sign(key, "cw/checkpoint", value[5][0][0], changes)
    assert _code(building, value) == code


@pytest.mark.parametrize("changes", [{2: 4, 4: LATER_MS + 1}, {2: 5}, {2: 6}])
def test_checkpoints_that_do_not_rise(building, value, changes) -> None:
    key, log = building.authorities.aggregator, bundle.Holdings(building.entries).log()
    older = log.checkpoint(key, LATER_MS, 4)
    value[5][0].insert(0, older)
    value[5][2] = [b"".join(log.consistency(4, 5))]
    assert len(verify_bundle(cbor2.dumps(value), building.trust).checkpoints) == 2
    value[5][0][0] = _sign(key, "cw/checkpoint", older, changes)
    assert _code(building, value) == "checkpoints out of order"


def test_a_credential_or_a_party_too_many(building, value) -> None:
    used, other = value[2], building.elements[0]
    every = [one for kind, _, one in building.entries if kind == 1]
    value[4], value[5] = value[4][:1], None
    assert sorted(every) == used and len(used) == 2
    assert _code(building, value) == "unused credential"
    value[2] = [one for one in used if other.key_id.hex().encode() in one]
    assert verify_bundle(cbor2.dumps(value), building.trust).records


def test_two_aggregators_in_one_bundle(building, value) -> None:
    keys, other = building.authorities, building.elements[1]
    party = party_credential("other", "aggregator", other.public, keys.aggregator_agree.public,
                             building.operator, "x", START_MS // 1000)
    value[3] = sorted([*value[3], party])
    assert _code(building, value) == "unused party credential"
    payload, _ = _commit(other, value[4][2][0], {1: other.key_id})
    value[4][2][0] = [payload, es256(other, codec.dumps(
        {1: -7, 4: other.key_id, 16: "cw/interval"}), payload)]
    assert _code(building, value) == "aggregator"
