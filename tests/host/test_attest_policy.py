"""The constrained-credential mode: what policies allow, and the chain of refusals."""

import pytest

from element.protocol.errors import DecodeError, SignatureError
from hil.benchmarks.attest import START_MS, make_building
from host_tools.attest import policy


@pytest.fixture(scope="module")
def keys():
    return make_building(1, 1, 1, 1)


@pytest.mark.parametrize(("text", "level"), [
    ('{"disclose": "records"}', policy.RECORDS), ('{"disclose": "audited"}', policy.AUDITED),
    ('{"disclose": "aggregates"}', policy.AGGREGATES), ('{"disclose": "nothing"}', 0),
    ('{"disclose": "all"}', 0), ("", 0), ("[]", 0), ("{}", 0), ('"records"', 0),
    ('{"disclose": ["records"]}', 0), ('{"disclose": "records", "but": 1}', 0)])
def test_only_a_whole_policy_allows(tmp_path, text, level) -> None:
    path = tmp_path / "policy.json"
    path.write_text(text)
    said = policy.Policy.load(path)
    assert said == policy.Policy(level, str(path))
    assert [said.allows(one) for one in (1, 2, 3)] == [level >= one for one in (1, 2, 3)]
    assert policy.Policy.load(tmp_path / "missing.json").level == policy.NOTHING


def test_policies_only_narrow_each_other() -> None:
    assert policy.strictest([]).level == policy.RECORDS
    one, two = policy.Policy(policy.RECORDS, "a"), policy.Policy(policy.AGGREGATES, "b")
    assert policy.strictest([one, two]) == policy.strictest([two, one]) == two


def test_refusals_are_signed_and_chained(tmp_path, keys) -> None:
    kept = policy.Refusals(tmp_path / "inner" / policy.REFUSALS_FILE)
    assert kept.read() == [] and kept.check({}) == []
    key = keys.authorities.aggregator
    for number in range(3):
        kept.add(key, START_MS + number, policy.RECORDS, policy.AGGREGATES, "tenant=ü" * 200)
    found = kept.check(keys.bare_trust.aggregators)
    assert [one[2] for one in found] == [1, 2, 3]
    assert (found[0][5], found[0][6]) == (policy.RECORDS, policy.AGGREGATES)
    assert len(found[0][7].encode()) <= policy.ASKED_SIZE_MAX
    data = kept.path.read_bytes()
    size = len(kept.read()[0]) + 3
    for broken in (data[size:], data[:size] + data[2 * size:], data[size:2 * size] + data[:size],
                   data + data[-size:]):
        kept.path.write_bytes(broken)
        with pytest.raises(SignatureError):
            kept.check(keys.bare_trust.aggregators)
    kept.path.write_bytes(data)
    with pytest.raises(SignatureError):
        kept.check({})
    for bit in range(0, len(data) * 8, 5):
        changed = bytearray(data)
        changed[bit >> 3] ^= 1 << (bit & 7)
        kept.path.write_bytes(changed)
        with pytest.raises((SignatureError, DecodeError)):
            kept.check(keys.bare_trust.aggregators)
    kept.path.write_bytes(data[:-1])
    with pytest.raises(DecodeError):
        kept.add(key, START_MS, 3, 1, "")
