"""`cellwall disclose` and `cellwall verify BUNDLE` from a user's side: outputs and exit codes."""

import json

import cbor2
import pytest

from element.protocol import schema
from hil.benchmarks.attest import START_MS, make_building
from host_tools.attest import policy
from host_tools.attest.log import CHECKPOINT_KIND
from host_tools.cli import disclose_command
from host_tools.cli.main import main
from host_tools.ledger.store import Ledger


@pytest.fixture(scope="module")
def building():
    return make_building(6, 6, 1, 3, checkpoints=3)


@pytest.fixture
def run(building, tmp_path, monkeypatch):
    """A run's folder, a trust.json outside of it, and a site that has the aggregator's key."""
    folder = tmp_path / "run" / "statements"
    folder.mkdir(parents=True)
    with (folder / "statements.cborseq").open("wb") as file:
        for entry in building.entries:
            file.write(cbor2.dumps(list(entry), canonical=True))
    building.authorities.trust_root.save(tmp_path / "trust.json")
    building.authorities.trust_root.save(folder / "trust.json")
    monkeypatch.setattr(disclose_command, "_signing_key",
                        lambda site: building.authorities.aggregator if site else None)
    monkeypatch.delenv("CELLWALL_SITE", raising=False)
    monkeypatch.delenv("CELLWALL_POLICY", raising=False)
    return tmp_path


def _disclose(run, *options: str, name: str = "out.cbor") -> int:
    return main(["disclose", str(run / "run"), "-o", str(run / name), *options])


def _verify(run, capsys, *options: str, name: str = "out.cbor") -> tuple[int, str]:
    capsys.readouterr()
    code = main(["verify", str(run / name), "--trust", str(run / "trust.json"), *options])
    return code, capsys.readouterr().out


def test_a_tenant_is_disclosed_and_verified(run, building, capsys) -> None:
    assert _disclose(run, "--tenant", "north") == 0
    code, out = _verify(run, capsys)
    assert code == 0
    name = building.elements[0].key_id.hex()
    assert name in out and building.elements[1].key_id.hex() not in out
    assert f"Element {name}: no record between counter 1 and 12 is missing" in out
    assert "Not proven" in out and "declared, not checked" in out
    code, out = _verify(run, capsys, "--json")
    said = json.loads(out)
    assert code == 0 and said["holds"] and len(said["records"]) == 12
    assert said["elements"][0]["tenant"] == "north" and said["elements"][0]["missing"] == []
    assert said["intervals"][0]["leaf_count"] == 6 and said["equivocations"] == []
    assert [one["intervals"] for one in said["checkpoints"]] == [2, 6]


def test_a_span_of_time_and_an_element(run, building, capsys) -> None:
    name = building.elements[2].key_id.hex()
    assert _disclose(run, "--element", name[:8], "--from", "2026-01-01T00:01:00",
                     "--to", "2026-01-01T00:03:00+00:00", "--json") == 0
    assert json.loads(capsys.readouterr().out)["size"] == (run / "out.cbor").stat().st_size
    said = json.loads(_verify(run, capsys, "--json")[1])
    assert {one["interval"] for one in said["records"]} == {2, 3}
    assert {one["element"] for one in said["records"]} == {name}


def test_totals_an_audit_and_receipts(run, capsys) -> None:
    assert _disclose(run, "--totals") == 0
    said = json.loads(_verify(run, capsys, "--json")[1])
    assert said["records"] == [] and len(said["intervals"]) == 6
    site = ("--site", str(run))
    assert _disclose(run, "--audit", "2", "--sample", "3", "--challenge", "c0ffee", *site) == 0
    code, out = _verify(run, capsys, "--json")
    said = json.loads(out)["audit"]
    assert code == 0 and said["sample"] == 3 and said["challenge"] == "c0ffee"
    assert "would have escaped with probability" in _verify(run, capsys)[1]
    assert _disclose(run, "--role", "wall", "--receipts", *site) == 0
    assert _verify(run, capsys, "--extract", str(run / "files"))[0] == 0
    assert len(list((run / "files").glob("*.receipt.cose"))) == 12
    assert len(json.loads(_verify(run, capsys, "--json")[1])["checkpoints"]) == 2


def test_a_ledger_is_a_source_too(run, building, capsys) -> None:
    ledger = Ledger.at(run / "panel.db")
    members: dict[int, list] = {}
    for count, (kind, number, statement) in enumerate(building.entries, 1):
        assert ledger.add(kind, bytes(8), count, 0, statement)
        if number is not None and kind == schema.EXECUTION_RECORD:
            members.setdefault(number, []).append((kind, bytes(8), count))
    for number, some in members.items():
        ledger.commit(number, some)
    ledger.close()
    assert main(["disclose", str(run / "panel.db"), "-o", str(run / "b.cbor")]) == 0
    assert _disclose(run) == 0
    assert (run / "b.cbor").read_bytes() == (run / "out.cbor").read_bytes()


def test_two_stories_are_told_apart(run, building, capsys) -> None:
    other = make_building(6, 6, 1, 3, change=lambda number, leaves: leaves[1:])
    with (run / "run" / "statements" / "statements.cborseq").open("wb") as file:
        for entry in other.entries:
            file.write(cbor2.dumps(list(entry), canonical=True))
    assert _disclose(run, name="yours.cbor") == 0
    with (run / "run" / "statements" / "statements.cborseq").open("wb") as file:
        for entry in building.entries:
            file.write(cbor2.dumps(list(entry), canonical=True))
    assert _disclose(run) == 0
    code, out = _verify(run, capsys, "--against", str(run / "yours.cbor"))
    assert code == 1 and "EQUIVOCATION two commitments for one interval" in out
    code, out = _verify(run, capsys, "--against", str(run / "yours.cbor"), "--json")
    assert code == 1 and json.loads(out)["equivocations"][0]["first"].startswith("d284")
    assert _verify(run, capsys, "--against", str(run / "out.cbor"))[0] == 0


def test_a_policy_refuses_and_the_refusal_is_kept(run, building, capsys) -> None:
    (run / "run" / "policy.json").write_text('{"disclose": "aggregates"}')
    site = ("--site", str(run))
    assert _disclose(run, "--tenant", "north", *site) == 1
    assert "refused by policy" in capsys.readouterr().err
    assert _disclose(run, "--audit", "1", *site) == 1
    assert not (run / "out.cbor").exists()
    kept = policy.Refusals(run / "run" / "refusals.cborseq")
    found = kept.check(building.trust.aggregators)
    assert [one[7] for one in found] == ["records tenant=north", "audited everything"]
    assert [(one[5], one[6]) for one in found] == [(3, 1), (2, 1)]
    assert found[0][4] > START_MS
    assert _disclose(run, "--totals") == 0
    # a wider policy elsewhere widens nothing, and without a key a refusal is one all the same
    (run / "wide.json").write_text('{"disclose": "records"}')
    assert _disclose(run, "--policy", str(run / "wide.json"), name="no.cbor") == 1
    assert "not recorded" in capsys.readouterr().err and not (run / "no.cbor").exists()
    (run / "run" / "policy.json").unlink()
    (run / "broken.json").write_text("{")
    assert _disclose(run, "--totals", "--policy", str(run / "broken.json"), name="no.cbor") == 1
    assert not (run / "no.cbor").exists()


def test_a_damaged_bundle_is_refused_with_the_reason(run, capsys) -> None:
    assert _disclose(run) == 0
    data = bytearray((run / "out.cbor").read_bytes())
    data[-40] ^= 1
    (run / "out.cbor").write_bytes(data)
    code, out = _verify(run, capsys)
    assert code == 1 and "REFUSED" in out
    code, out = _verify(run, capsys, "--json")
    assert code == 1 and json.loads(out)["holds"] is False
    (run / "trust.json").write_text("{}")
    assert _verify(run, capsys)[0] == 1


@pytest.mark.parametrize("options", [
    ("--from", "yesterday"), ("--challenge", "xyz"), ("--receipts",), ("--audit", "1"),
    ("--sample", "0")])
def test_wrong_usage_is_two(run, options) -> None:
    assert _disclose(run, *options) == 2
    assert not (run / "out.cbor").exists()


def test_sources_that_are_none(run, capsys) -> None:
    for source in ("nothing", "."):
        assert main(["disclose", str(run / source), "-o", str(run / "x")]) == 2
    (run / "junk").write_bytes(b"\x83\x01")
    assert main(["disclose", str(run / "junk"), "-o", str(run / "x")]) == 1
    assert _disclose(run, "--tenant", "nobody") == 1
    assert "nothing matches" in capsys.readouterr().err
    assert _disclose(run) == 0
    assert main(["verify", str(run / "out.cbor")]) == 2
    assert main(["verify", str(run / "junk"), "--trust", str(run / "trust.json")]) == 1


def test_checkpoints_in_an_archive_are_verified_with_it(run, building, capsys) -> None:
    assert main(["verify", str(run / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["by_kind"]["checkpoint"] == 3
    path = run / "run" / "statements" / "statements.cborseq"
    other = make_building(6, 6, 1, 3, checkpoints=3, change=lambda number, leaves: leaves[1:])
    false = next(one for one in other.entries if one[0] == CHECKPOINT_KIND)
    path.write_bytes(path.read_bytes() + cbor2.dumps(list(false), canonical=True))
    assert main(["verify", str(run / "run"), "--json"]) == 1
    assert "checkpoint does not match" in capsys.readouterr().out
