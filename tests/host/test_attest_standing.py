"""Revocation lists in bundles: enclosed by disclose, opened by verify, asked for each record."""

import json
import random

import cbor2
import pytest

from element.protocol.errors import DecodeError
from hil.benchmarks.attest import START_MS, make_building
from host_tools.attest import bundle, standing
from host_tools.attest.verifier import Refused, verify_bundle
from host_tools.cli.main import main
from host_tools.identity.keys import make_key_pair
from host_tools.identity.revocation import Revocation, sign_list

END_S = START_MS // 1000 + 60


@pytest.fixture(scope="module")
def building():
    return make_building(1, 4, 1, 2)


def _list(building, at_s: int, count: int = 1, key=None) -> list[bytes]:
    rng = random.Random(1)
    entries = [Revocation(building.elements[0].key_id, at_s, 1)]
    entries += [Revocation(rng.randbytes(8), at_s, 2) for _ in range(count - 1)]
    return sign_list(key or building.authorities.issuer, 3, tuple(entries), END_S)


def _verified(building, parts):
    held = bundle.Holdings(building.entries)
    data = bundle.build(held, {1: [0]}, revocations=parts)
    return verify_bundle(data, building.trust, standing.OpenList(building.trust.issuers))


def test_a_record_before_the_revocation_holds_and_one_after_does_not(building) -> None:
    for count in (1, 700):
        assert _verified(building, _list(building, END_S + 121, count)).revocations_checked
        with pytest.raises(Refused, match="credential revoked") as caught:
            _verified(building, _list(building, END_S + 120, count))
        assert "key-compromised" in caught.value.value


def test_a_list_that_does_not_hold_is_refused(building) -> None:
    other = make_key_pair(random.Random(9).randbytes)
    whole = _list(building, END_S + 999, 700)
    assert len(whole) == 3
    for parts in (_list(building, END_S + 999, 1, other), whole[:2], whole[::-1], [], [b"x"],
                  [whole[0], b""], [5]):
        with pytest.raises(Refused, match="revocation list"):
            _verified(building, parts)
    with pytest.raises(Refused, match="revocation list"):
        standing.OpenList({})(whole)


def test_a_file_of_parts_is_read_back(building) -> None:
    whole = _list(building, END_S, 700)
    assert standing.parts_of_file(b"".join(whole)) == whole
    for broken in (b"".join(whole)[:-1], b"\xff", bytes(2_000_000)):
        with pytest.raises(DecodeError):
            standing.parts_of_file(broken)


def test_the_command_line_encloses_and_asks(building, tmp_path, capsys) -> None:
    with (tmp_path / "statements.cborseq").open("wb") as file:
        for entry in building.entries:
            file.write(cbor2.dumps(list(entry), canonical=True))
    building.authorities.trust_root.save(tmp_path / "trust.json")
    for at_s, code in ((END_S + 999, 0), (END_S, 1)):
        (tmp_path / "issuer.cborseq").write_bytes(b"".join(_list(building, at_s, 700)))
        assert main(["disclose", str(tmp_path), "-o", str(tmp_path / "b.cbor"), "--revocations",
                     str(tmp_path / "issuer.cborseq")]) == 0
        capsys.readouterr()
        assert main(["verify", str(tmp_path / "b.cbor"), "--trust", str(tmp_path / "trust.json"),
                     "--json"]) == code
        said = json.loads(capsys.readouterr().out)
        assert said["holds"] == (code == 0)
        words = " ".join(said["proven"]) if code == 0 else said["error"]
        assert "revoked" in words
