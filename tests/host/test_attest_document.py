"""docs/attestation.md against real bytes: its CDDL, and its table of probabilities."""

import re
from functools import cache
from pathlib import Path

import cbor2
import pytest

from hil.benchmarks.attest import LATER_MS, START_MS, make_building
from host_tools.attest import audit, bundle, policy
from host_tools.attest.audit_check import escape_probability, wrong_leaves_min
from host_tools.identity.revocation import Revocation, sign_list
from host_tools.identity.roots import rotation

from .test_cddl import thawed, zcbor

DOCUMENT = (Path(__file__).parents[2] / "docs" / "attestation.md").read_text(encoding="utf-8")
CDDL = "\n".join(re.findall(r"```cddl\n(.*?)```", DOCUMENT, re.DOTALL))


@cache
def _rules() -> dict:
    """Return zcbor's validators by rule name, the standard prelude included."""
    prelude = Path(zcbor.PRELUDE_PATH).read_text(encoding="ascii")
    return zcbor.DataTranslator.from_cddl(CDDL + prelude, 1000).my_types


def _holds(rule: str, data: bytes) -> None:
    assert _rules()[rule].validate_obj(thawed(cbor2.loads(data)))


def _payload(rule: str, statement: bytes) -> None:
    """Check a statement's frame, header and payload against the document."""
    assert statement[:1] == b"\xd2"
    _holds("statement", statement[1:])
    protected, _, payload, _ = cbor2.loads(statement[1:])
    _holds("header", protected)
    _holds(rule, payload)


@pytest.fixture(scope="module")
def building():
    return make_building(4, 6, 1, 3, checkpoints=2)


def test_every_statement_is_as_described(building, tmp_path) -> None:
    names = {1: "credential", 9: "party", 3: "record", 5: "interval-commitment", 64: "checkpoint"}
    for kind, _, statement in building.entries:
        _payload(names[kind], statement)
    refusals = policy.Refusals(tmp_path / "refusals")
    issuer, after = building.authorities.issuer, building.operator
    _payload("rotation", rotation("issuer", 2, after, bytes(32), 9, 8))
    _payload("revocations", sign_list(issuer, 1, (Revocation(after.key_id, 8, 1),), 9)[0])
    _payload("refusal", refusals.add(building.authorities.aggregator, START_MS, 3, 1, "x"))


def test_every_bundle_is_as_described(building) -> None:
    held = bundle.Holdings(building.entries)
    key = building.authorities.aggregator
    audited = audit.build_audit(held, 2, 3, key, LATER_MS, b"challenge")
    for data in (bundle.build(held, {1: [], 2: []}),
                 bundle.build(held, {1: [0, 2], 3: [1]}, key, LATER_MS, receipts=True),
                 bundle.build(held, {1: [0]}, revocations=[[b"list"]]), audited):
        _holds("bundle", data)
    statement, opening, _ = cbor2.loads(audited)[6]
    _payload("audit-commitment", statement)
    _payload("audit-opening", opening)
    with pytest.raises(zcbor.CddlValidationError):
        _holds("bundle", cbor2.dumps(["cw/bundle", 1, [], [], [], None, None, []]))


def test_a_commitment_gets_back_the_header_that_the_document_says(building) -> None:
    before, after = re.search(r"`([0-9a-f ]+)` kid `10 6b \"cw/interval\" a0`", DOCUMENT)[1], \
        b"\x10\x6bcw/interval\xa0"
    held = bundle.Holdings(building.entries)
    payload, signature = cbor2.loads(bundle.build(held, {1: []}))[4][0][0]
    assert held.intervals[1].statement == (
        bytes.fromhex(before) + building.authorities.aggregator.key_id + after
        + cbor2.dumps(payload) + cbor2.dumps(signature))


def test_the_table_of_probabilities() -> None:
    bound, count = 91667, 10_000
    total = 416_666_755
    rows = re.findall(r"^\| (\d+) % \| (\d+) \| (\S+) \| (\S+) \| (\S+) \|$", DOCUMENT,
                      re.MULTILINE)
    assert len(rows) == 3
    for pct, wrong, hundred, thousand, needed in rows:
        found = wrong_leaves_min(total, int(pct) * 100, bound)
        assert found == int(wrong)
        for sample, said in ((100, hundred), (1000, thousand)):
            assert escape_probability(count, sample, found) == pytest.approx(float(said), rel=0.3)
        assert audit.sample_for(count, found) == pytest.approx(
            int(needed.replace(",", "")), rel=0.01)
