"""docs/attestation.md against real bytes: its CDDL, and its table of probabilities."""

import re
from functools import cache
from pathlib import Path

import cbor2
import pytest

from hil.benchmarks.attest import START_MS, make_building
from host_tools.attest import audit, bundle, policy
from host_tools.attest.audit_check import escape_probability, wrong_leaves_min

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
    names = {1: "credential", 3: "record", 5: "interval-commitment", 64: "checkpoint"}
    for kind, _, statement in building.entries:
        _payload(names[kind], statement)
    refusals = policy.Refusals(tmp_path / "refusals")
    _payload("refusal", refusals.add(building.authorities.aggregator, START_MS, 3, 1, "x"))


def test_every_bundle_is_as_described(building) -> None:
    held = bundle.Holdings(building.entries)
    key = building.authorities.aggregator
    audited = audit.build_audit(held, 2, 3, key, START_MS * 2, b"challenge")
    for data in (bundle.build(held, {1: [], 2: []}),
                 bundle.build(held, {1: [0, 2], 3: [1]}, key, START_MS * 2, receipts=True),
                 bundle.build(held, {1: [0]}, revocations=[b"list"]), audited):
        _holds("bundle", data)
    statement, opening, _ = cbor2.loads(audited)[5]
    _payload("audit-commitment", statement)
    _payload("audit-opening", opening)
    with pytest.raises(zcbor.CddlValidationError):
        _holds("bundle", cbor2.dumps(["cw/bundle", 1, [], [], None, None, None]))


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
