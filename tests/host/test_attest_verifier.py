"""The standalone verifier: what it imports, how long it is, whom it trusts."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from hil.benchmarks.attest import LATER_MS, make_building
from host_tools.attest import audit, audit_check, bundle, primitives, standing, verifier
from host_tools.attest.verifier import Refused, Trust
from host_tools.identity.roots import Root, Roots, key_hash

PARTS = (primitives, standing, verifier, audit_check)
FILES = [Path(one.__file__) for one in PARTS]
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


@pytest.mark.parametrize("place", range(len(PARTS)))
def test_each_part_imports_libraries_and_the_parts_before_it(place: int) -> None:
    before = {one.__name__ for one in PARTS[:place]}
    foreign = {name for name in _imports(FILES[place])
               if name.split(".")[0] not in sys.stdlib_module_names}
    assert {name.split(".")[0] for name in foreign - before} <= ALLOWED


def test_it_is_short_enough_for_one_sitting() -> None:
    sizes = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert sizes["verifier.py"] <= 400
    # and the two that it stands on with it are no book either
    assert sum(sizes.values()) - sizes["audit_check.py"] <= 800


def roots_of(building) -> Roots:
    """Return the building's roots as its authority would keep them."""
    return Roots({
        role: Root(role, building.trust.roots[role][0].key, key_hash(b""),
                   building.trust.roots[role][0].from_unix_s) for role in ("issuer", "operator")})


def test_it_works_where_nothing_else_of_ours_is(tmp_path) -> None:
    building = make_building(1, 8, 1, 2)
    held = bundle.Holdings(building.entries)
    data = audit.build_audit(held, 1, 3, building.authorities.aggregator, LATER_MS)
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        (tmp_path / path.name).write_text(text.replace("host_tools.attest.", ""))
    (tmp_path / "bundle.cbor").write_bytes(data)
    roots_of(building).save(tmp_path / "roots")
    program = ("import sys; sys.path.insert(0, '.')\n"
               "from pathlib import Path\nimport verifier, audit_check\n"
               "out = verifier.verify_bundle(Path('bundle.cbor').read_bytes(),\n"
               "    verifier.Trust.load(Path('roots')), None, audit_check.check_audit)\n"
               "ours = ('host_tools', 'element')\n"
               "assert not any(name.startswith(ours) for name in sys.modules)\n"
               "print(len(out.records), out.audit['sample'])")
    done = subprocess.run([sys.executable, "-I", "-c", program], cwd=tmp_path, text=True,
                          capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3", "3"]


def test_bare_keys_are_a_file_or_a_folder_of_them(tmp_path) -> None:
    first, second = make_building(1, 1, 1, 1), make_building(1, 1, 2, 1)
    first.authorities.trust_root.save(tmp_path / "a.json")
    second.authorities.trust_root.save(tmp_path / "b.json")
    assert Trust.load(tmp_path / "a.json") == first.bare_trust
    both = Trust.load(tmp_path)
    assert both.issuers == {**first.bare_trust.issuers, **second.bare_trust.issuers}
    for building in (first, second):
        data = bundle.build(bundle.Holdings(building.without_party), {1: [0]})
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


def test_a_key_that_is_no_point_is_a_refusal() -> None:
    building = make_building(1, 1, 1, 1)
    data = bundle.build(bundle.Holdings(building.without_party), {1: [0]})
    kid = next(iter(building.bare_trust.aggregators))
    with pytest.raises(Refused, match="signature"):
        verifier.verify_bundle(data, Trust(building.bare_trust.issuers, {kid: bytes(64)}))
