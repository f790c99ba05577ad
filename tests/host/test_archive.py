"""The offline verification: what holds, and what is said of everything that does not."""

import random
from pathlib import Path

import cbor2
import pytest

from element.protocol import schema
from element.protocol.errors import DecodeError
from hil.benchmarks.host import make_archive
from host_tools.attest.archive import Verification, Verifier, export, read_entries, verify_folder
from host_tools.identity.issuer import Authorities, TrustRoot
from host_tools.ledger.store import Ledger

COUNT = 60


@pytest.fixture(scope="module")
def archive():
    verifier, entries = make_archive(COUNT, 3)
    return verifier._trust, entries


def _verify(trust: TrustRoot, entries) -> Verification:
    return Verifier(trust).run(entries)


def _index(entries, kind: int, skip: int = 0) -> int:
    return [index for index, entry in enumerate(entries) if entry[0] == kind][skip]


def test_a_true_archive_holds(archive) -> None:
    trust, entries = archive
    outcome = _verify(trust, entries)
    assert outcome.failed == 0, outcome.failures
    assert outcome.by_kind == {"credential": 20, "record": COUNT, "interval": 1}


def test_every_flipped_byte_of_a_record_is_found_and_named(archive) -> None:
    trust, entries = archive
    index = _index(entries, schema.EXECUTION_RECORD, 7)
    kind, number, statement = entries[index]
    for position in range(0, len(statement), 3):
        changed = bytearray(statement)
        changed[position] ^= 0x20
        broken = [*entries[:index], (kind, number, bytes(changed)), *entries[index + 1:]]
        outcome = _verify(trust, broken)
        assert any(one.index == index for one in outcome.failures), position
        # and the interval that contained it no longer matches its root
        assert any(one.what == "interval" for one in outcome.failures), position


@pytest.mark.parametrize("skip", [0, 1, COUNT - 1])
def test_an_omitted_record_breaks_chain_or_root(archive, skip: int) -> None:
    trust, entries = archive
    index = _index(entries, schema.EXECUTION_RECORD, skip)
    outcome = _verify(trust, entries[:index] + entries[index + 1:])
    assert any("leaf count" in one.why for one in outcome.failures)


def test_a_duplicated_record_is_found(archive) -> None:
    trust, entries = archive
    index = _index(entries, schema.EXECUTION_RECORD, 4)
    outcome = _verify(trust, [*entries, entries[index]])
    assert any("counter" in one.why for one in outcome.failures)


def test_a_record_moved_to_another_interval_breaks_both(archive) -> None:
    trust, entries = archive
    index = _index(entries, schema.EXECUTION_RECORD, 4)
    kind, _, statement = entries[index]
    moved = [*entries[:index], (kind, 2, statement), *entries[index + 1:]]
    whys = [one.why for one in _verify(trust, moved).failures]
    assert any("leaf count" in why for why in whys)
    assert any("commitment is missing" in why for why in whys)


def test_another_issuer_is_not_trusted(archive) -> None:
    _, entries = archive
    stranger = Authorities.make(random.Random(99).randbytes).trust_root
    outcome = _verify(stranger, entries)
    assert outcome.verified == 0
    assert {one.what for one in outcome.failures} == {"credential", "record", "interval"}


def test_a_missing_credential_is_named_with_the_element(archive) -> None:
    trust, entries = archive
    index = _index(entries, schema.CREDENTIAL)
    outcome = _verify(trust, entries[:index] + entries[index + 1:])
    named = [one for one in outcome.failures if one.what == "record"]
    assert len(named) == COUNT // 20
    assert all("no valid credential" in one.why for one in named)


def test_an_unknown_kind_is_a_failure(archive) -> None:
    trust, entries = archive
    outcome = _verify(trust, [*entries, (99, None, b"x")])
    assert [one.why for one in outcome.failures] == ["unknown kind of statement"]


def test_export_and_verify_folder(archive, tmp_path: Path) -> None:
    trust, entries = archive
    ledger = Ledger.at(tmp_path / "ledger.db")
    for count, (kind, _, statement) in enumerate(entries):
        assert ledger.add(kind, bytes(8), count + 1, 0, statement)
    assert export(ledger, trust, tmp_path / "out") == len(entries)
    ledger.close()
    assert len(read_entries(tmp_path / "out" / "statements.cborseq")) == len(entries)
    # without interval numbers the commitment finds no leaves: that is said, nothing else
    whys = [one.why for one in verify_folder(tmp_path / "out").failures]
    assert len(whys) == 1 and "leaf count" in whys[0]


@pytest.mark.parametrize("content", [
    b"\x83", b"\x83\x01\x02", cbor2.dumps([1, 2]), cbor2.dumps([1, 2, "text"]), b"\xff\xff",
    cbor2.dumps({"a": 1}), cbor2.dumps([1, "x", b""])])
def test_a_broken_file_is_an_error_and_not_a_crash(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "statements.cborseq"
    path.write_bytes(content)
    with pytest.raises(DecodeError):
        read_entries(path)


def test_a_broken_trust_root_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "trust.json"
    for text in ("", "[]", '{"issuer": 5}', '{"issuer": "zz"}'):
        path.write_text(text)
        with pytest.raises(DecodeError):
            TrustRoot.load(path)


def test_the_ledger_refuses_a_counter_twice(tmp_path: Path) -> None:
    ledger = Ledger.at(tmp_path / "ledger.db")
    assert ledger.add(schema.EXECUTION_RECORD, b"a" * 8, 1, 0, b"one")
    assert not ledger.add(schema.SAFETY_EVENT, b"a" * 8, 1, 0, b"two")
    assert ledger.add(schema.EXECUTION_RECORD, b"b" * 8, 1, 0, b"three")
    ledger.commit(5, [(schema.EXECUTION_RECORD, b"a" * 8, 1)])
    ledger.close()
    again = Ledger.at(tmp_path / "ledger.db")
    rows = list(again.statements())
    assert [(row[1][:1], row[3], row[4]) for row in rows] == [
        (b"a", 5, b"one"), (b"b", None, b"three")]
    again.close()
