"""The standalone verifier: what it imports, how long it is, whom it trusts."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from hil.benchmarks.attest import make_building
from host_tools.attest import audit, audit_check, bundle, verifier
from host_tools.attest.verifier import Refused, Trust

FILE = Path(verifier.__file__)
ALLOWED = {"cbor2", "cryptography"}


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found.add(node.module or "")
    return found


def test_it_imports_cbor2_cryptography_and_the_standard_library() -> None:
    roots = {name.split(".")[0] for name in _imports(FILE)}
    assert roots - set(sys.stdlib_module_names) == ALLOWED
    half = _imports(Path(audit_check.__file__))
    assert {name for name in half if name.split(".")[0] not in sys.stdlib_module_names} == {
        "host_tools.attest.verifier"}


def test_it_is_short_enough_for_one_sitting() -> None:
    assert len(FILE.read_text(encoding="utf-8").splitlines()) <= 400


def test_it_works_where_nothing_else_of_ours_is(tmp_path) -> None:
    building = make_building(1, 8, 1, 2)
    held = bundle.Holdings(building.entries)
    data = audit.build_audit(held, 1, 3, building.authorities.aggregator)
    (tmp_path / "verifier.py").write_bytes(FILE.read_bytes())
    half = Path(audit_check.__file__).read_text(encoding="utf-8")
    (tmp_path / "audit_check.py").write_text(half.replace("host_tools.attest.verifier",
                                                          "verifier"))
    (tmp_path / "bundle.cbor").write_bytes(data)
    building.authorities.trust_root.save(tmp_path / "trust.json")
    program = ("import sys; sys.path.insert(0, '.')\n"
               "from pathlib import Path\nimport verifier, audit_check\n"
               "out = verifier.verify_bundle(Path('bundle.cbor').read_bytes(),\n"
               "    verifier.Trust.load(Path('trust.json')), None, audit_check.check_audit)\n"
               "ours = ('host_tools', 'element')\n"
               "assert not any(name.startswith(ours) for name in sys.modules)\n"
               "print(len(out.records), out.audit['sample'])")
    done = subprocess.run([sys.executable, "-I", "-c", program], cwd=tmp_path, text=True,
                          capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3", "3"]


def test_trust_is_a_file_or_a_folder_of_them(tmp_path) -> None:
    first, second = make_building(1, 1, 1, 1), make_building(1, 1, 2, 1)
    first.authorities.trust_root.save(tmp_path / "a.json")
    second.authorities.trust_root.save(tmp_path / "b.json")
    assert Trust.load(tmp_path / "a.json") == first.trust
    both = Trust.load(tmp_path)
    assert both.issuers == {**first.trust.issuers, **second.trust.issuers}
    for building in (first, second):
        data = bundle.build(bundle.Holdings(building.entries), {1: [0]})
        assert verifier.verify_bundle(data, both).records
    good = json.loads((tmp_path / "a.json").read_text())
    for bad in ("", "[]", "{}", json.dumps({**good, "issuer": "zz"}),
                json.dumps({**good, "issuer": "00"}), json.dumps({**good, "aggregator": 5})):
        (tmp_path / "c.json").write_text(bad)
        with pytest.raises(Refused, match="trust root"):
            Trust.load(tmp_path)
    (tmp_path / "empty").mkdir()
    for missing in ("empty", "none.json"):
        with pytest.raises(Refused, match="trust root"):
            Trust.load(tmp_path / missing)


def test_a_key_that_is_no_point_is_a_refusal(tmp_path) -> None:
    building = make_building(1, 1, 1, 1)
    data = bundle.build(bundle.Holdings(building.entries), {1: [0]})
    kid = next(iter(building.trust.aggregators))
    with pytest.raises(Refused, match="signature"):
        verifier.verify_bundle(data, Trust(building.trust.issuers, {kid: bytes(64)}))
