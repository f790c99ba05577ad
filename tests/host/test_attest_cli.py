"""`cellwall disclose` and `cellwall verify BUNDLE` from a user's side: outputs and exit codes."""

import json
import shutil

import cbor2
import pytest

from element.protocol import schema
from hil.benchmarks.attest import START_MS, make_building
from host_tools.attest import policy
from host_tools.attest.log import CHECKPOINT_KIND
from host_tools.cli import disclose_command
from host_tools.cli.main import main
from host_tools.identity.credentials import party_credential
from host_tools.identity.revocation import Revocation, sign_list
from host_tools.ledger.store import Ledger

from .test_attest_verifier import roots_of


@pytest.fixture(scope="module")
def building():
    return make_building(6, 6, 1, 3, checkpoints=3)


@pytest.fixture
def run(building, tmp_path, monkeypatch):
    """A run's folder, roots outside of it, and a site that has the aggregator's key."""
    folder = tmp_path / "run" / "statements"
    folder.mkdir(parents=True)
    _write(tmp_path, building.entries)
    roots_of(building).save(tmp_path / "roots")
    roots_of(building).save(folder / "roots")
    building.authorities.trust_root.save(folder / "trust.json")
    monkeypatch.setattr(disclose_command, "_signing_key",
                        lambda site: building.authorities.aggregator if site else None)
    monkeypatch.delenv("CELLWALL_SITE", raising=False)
    monkeypatch.delenv("CELLWALL_POLICY", raising=False)
    return tmp_path


def _write(run, entries) -> None:
    with (run / "run" / "statements" / "statements.cborseq").open("wb") as file:
        for entry in entries:
            file.write(cbor2.dumps(list(entry), canonical=True))


def _bench(run, building) -> None:
    """Make the run one of the bench: no authority, no credential of the aggregator."""
    _write(run, building.without_party)
    shutil.rmtree(run / "run" / "statements" / "roots")


def _disclose(run, *options: str, name: str = "out.cbor") -> int:
    return main(["disclose", str(run / "run"), "-o", str(run / name), *options])


def _verify(run, capsys, *options: str, name: str = "out.cbor") -> tuple[int, str]:
    capsys.readouterr()
    code = main(["verify", str(run / name), "--trust", str(run / "roots"), *options])
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
    _write(run, other.entries)
    assert _disclose(run, name="yours.cbor") == 0
    _write(run, building.entries)
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
    found = kept.check(building.bare_trust.aggregators)
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
    (run / "roots" / "issuer.json").write_text("{}")
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
    assert main(["verify", str(run / "junk"), "--trust", str(run / "roots")]) == 1


def test_checkpoints_in_an_archive_are_verified_with_it(run, building, capsys) -> None:
    assert main(["verify", str(run / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["by_kind"]["checkpoint"] == 3
    path = run / "run" / "statements" / "statements.cborseq"
    other = make_building(6, 6, 1, 3, checkpoints=3, change=lambda number, leaves: leaves[1:])
    false = next(one for one in other.entries if one[0] == CHECKPOINT_KIND)
    path.write_bytes(path.read_bytes() + cbor2.dumps(list(false), canonical=True))
    assert main(["verify", str(run / "run"), "--json"]) == 1
    assert "checkpoint does not match" in capsys.readouterr().out


def test_a_run_of_the_bench_is_checked_with_bare_keys_and_says_so(run, building, capsys) -> None:
    _bench(run, building)
    assert _disclose(run, "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["trust"] == "bare keys" and "trust.json alone" in said.err
    bare = str(run / "run" / "statements" / "trust.json")
    assert main(["verify", str(run / "out.cbor"), "--trust", bare]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "bare keys were given, so rotation, the aggregator's validity and its revocation" in out
    code, out = _verify(run, capsys)
    assert code == 1 and "no party credential of an aggregator" in out
    # and the run itself
    assert main(["verify", str(run / "run")]) == 0
    assert "not checked: who could speak when" in capsys.readouterr().out
    assert main(["verify", str(run / "run"), "--json"]) == 0
    assert "bare keys" in json.loads(capsys.readouterr().out)["not_checked"][0]


def test_a_ledger_without_the_aggregators_credential_takes_it_from_the_site(
        run, building, capsys, monkeypatch) -> None:
    _write(run, building.without_party)
    party = next(one for kind, _, one in building.entries if kind == 9)
    for options, where in (((), "none is named"), (("--site", str(run)), "nor in the site")):
        assert _disclose(run, *options) == 1
        error = " ".join(capsys.readouterr().err.split())
        assert "no party credential of the aggregator" in error and where in error
        assert "cellwall pki issue aggregator --party aggregator" in error
    assert not (run / "out.cbor").exists()
    (run / "issued").mkdir()
    (run / "issued" / "x.party").write_bytes(party)
    assert _disclose(run, "--site", str(run)) == 0
    code, out = _verify(run, capsys)
    assert code == 0 and "(aggregator) had a credential by the operator's root" in out
    # one that was not in force then is named
    (run / "issued" / "x.party").write_bytes(party_credential(
        "aggregator", "aggregator", building.authorities.aggregator.public,
        building.authorities.aggregator.public, building.operator, "x", START_MS // 500))
    assert _disclose(run, "--site", str(run)) == 1
    assert "was in force" in capsys.readouterr().err


def test_lists_are_enclosed_named_and_asked(run, building, capsys) -> None:
    key = building.elements[0].key_id
    end_s = START_MS // 1000 + 360
    for at_s, code in ((end_s + 999, 0), (end_s - 60, 1)):
        parts = sign_list(building.authorities.issuer, 3, (Revocation(key, at_s, 1),), end_s)
        (run / "issuer.cborseq").write_bytes(b"".join(parts))
        named = ("--revocations", str(run / "issuer.cborseq"))
        # in the bundle, at the verifier's hand, in the folder beside its roots
        assert _disclose(run, *named) == 0
        enclosed = _verify(run, capsys, "--json")
        assert _disclose(run) == 0
        at_hand = _verify(run, capsys, "--json", *named)
        (run / "revocations").mkdir(exist_ok=True)
        (run / "revocations" / "issuer.cborseq").write_bytes(b"".join(parts))
        for got, out in (enclosed, at_hand, _verify(run, capsys, "--json")):
            said = json.loads(out)
            assert got == code and said["holds"] == (code == 0)
            words = " ".join(said["proven"]) if code == 0 else said["error"]
            assert ("By the issuer's list 3 of" if code == 0 else "credential revoked") in words
        # an archive asks them too
        assert main(["verify", str(run / "run"), "--trust", str(run / "roots"), "--json"]) == code
        whys = [one["why"] for one in json.loads(capsys.readouterr().out)["failures"]]
        assert bool(whys) == bool(code) and all("revoked" in why or "match" in why
                                                or "leaf count" in why for why in whys)
        shutil.rmtree(run / "revocations")
        assert main(["verify", str(run / "run"), "--json", *named]) == code
        capsys.readouterr()
    (run / "issuer.cborseq").write_bytes(b"junk")
    assert _disclose(run, "--revocations", str(run / "issuer.cborseq")) == 1
    assert _verify(run, capsys, "--revocations", str(run / "issuer.cborseq"))[0] == 1


def test_what_is_said_without_lists(run, capsys) -> None:
    assert _disclose(run, "--tenant", "north") == 0
    out = " ".join(_verify(run, capsys)[1].split())
    assert "That no element shown was revoked: no list of that root is in the bundle" in out
    assert "That the aggregator was not revoked: no list of that root" in out
