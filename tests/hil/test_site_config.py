"""site.yaml: every mistake is one line that names file, line and what is allowed."""

import json
from pathlib import Path

import pytest

from hil.swarm.element import SimulatedElement
from hil.swarm.population import Population
from hil.swarm.site import enrol_into
from host_tools.cli.main import main
from host_tools.panel.check import load_site
from host_tools.panel.config import SiteConfig
from host_tools.yaml_model import FileError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with two enrolled elements and a token."""
    folder = tmp_path_factory.mktemp("site-config")
    elements: list[SimulatedElement] = list(Population.make(2).elements.values())
    enrol_into(folder / "site", [(one, f"tcp:127.0.0.1:{at + 1}")
                                 for at, one in enumerate(elements)])
    token = folder / "read.token"
    token.write_text("read-" + "a" * 40)
    token.chmod(0o600)
    (folder / "fire").write_text("1\n")
    return folder


def written(folder: Path, text: str) -> Path:
    """Write a configuration."""
    path = folder / "site.yaml"
    path.write_text("name: House\nsite: site\n" + text)
    return path


GOOD = "lines:\n  - line: tcp:127.0.0.1:1\n"


def test_a_good_configuration_and_its_defaults(folder: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    path = written(folder, GOOD + "policy: {rule: economic, reserve_kwh: 1.5, ramp_pct_per_s: "
                                  "{frequency: 20}}\ninterlock:\n  inputs:\n    - {path: fire, "
                                  "zone: 3}\napi:\n  token_files: {read: read.token}\n")
    loaded = load_site(path)
    policy = loaded.config.policy.policy()
    assert (policy.rule, policy.reserve_mwh, policy.partial) == ("economic", 1_500_000, False)
    assert policy.ramp_bp_per_s == ((8, 2000),)
    assert (policy.phase_spread_bp, policy.unbalance_bp) == (2000, 300)
    assert loaded.ledger_url == f"sqlite:///{folder / 'aggregator.db'}"
    assert main(["aggregator", "check", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["elements"] == 2


@pytest.mark.parametrize(("text", "line", "says"), [
    ("lines: []\n", None, "no line to any element"),
    (GOOD + "polcy: {}\n", 5, "unknown key 'polcy'"),
    (GOOD + "policy:\n  rule: fastest\n", 6, "economic"),
    (GOOD + "policy:\n  headroom: 5\n", 6, "did you mean headroom_pct"),
    (GOOD + "policy:\n  headroom_pct: 101\n", 6, "less than or equal to 100"),
    (GOOD + "lease_ms: '1500'\n", 5, "lease_ms"),
    (GOOD + "  - line: tcp:127.0.0.1:1\n", 5, "is named twice"),
    (GOOD + "elements:\n  - {id: ffff0000, phase: 1}\n", 6, "0 elements begin with ffff0000"),
    (GOOD + "elements:\n  - {id: '0123', phase: 4}\n", 6, "phase"),
    (GOOD + "discovery:\n  full_period_s: 10\n", 5, "delta_period_s must not be above"),
    (GOOD + "interlock:\n  inputs:\n    - {path: nowhere, zone: 1}\n", 7, "is an alarm"),
    (GOOD + "api:\n  token_files:\n    read: nothing.token\n", 7, "cellwall aggregator token"),
    (GOOD + "api:\n  host: example\n", 6, "host"),
    (GOOD + "support:\n  nearness_steps: 3\n  place: north/f1\n", 5, "the 2 steps of place"),
    (GOOD + "support:\n  place: north//f1\n", 6, "place"),
    (GOOD + "elements:\n  - {id: '0123', backup_kwh: -1}\n", 6, "backup_kwh"),
    (GOOD + "ledger: 'not a url'\n", 5, "not a database URL"),
    (GOOD + "name: twice\n", 5, "duplicate key"),
    (GOOD + "record_interval_s: [\n", 6, "expected"),
])
def test_a_mistake_is_named_with_its_line(folder: Path, text: str, line: int | None, says: str,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    path = written(folder, text)
    with pytest.raises(FileError) as found:
        load_site(path)
    assert says in found.value.problem
    if line is not None:
        assert found.value.line == line, found.value
    assert main(["aggregator", "check", str(path)]) == 1
    assert "site.yaml" in capsys.readouterr().err
    assert main(["aggregator", "run", str(path)]) == 1


def test_a_token_that_others_can_read_is_refused(folder: Path) -> None:
    token = folder / "open.token"
    token.write_text("x" * 40)
    token.chmod(0o644)
    path = written(folder, GOOD + "api:\n  token_files: {read: open.token}\n")
    with pytest.raises(FileError, match="chmod 600"):
        load_site(path)


def test_a_site_without_keys_says_what_to_do(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    with pytest.raises(FileError, match="cellwall enrol"):
        load_site(path)


def test_the_schema_is_for_editors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["aggregator", "check", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert set(schema["properties"]) == set(SiteConfig.model_fields)


def test_tokens_are_long_and_never_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    tokens = set()
    for role in ("read", "dispatch", "life-safety", "admin"):
        assert main(["aggregator", "token", role]) == 0
        tokens.add(capsys.readouterr().out.strip())
    assert len(tokens) == 4 and all(len(one) > 40 for one in tokens)
    assert main(["aggregator", "token", "root"]) == 2


@pytest.mark.parametrize(("support", "armed"), [
    ({}, False), ({"curve": "dynamic-containment", "power_kw": 5}, True),
    ({"curve": "fcr", "power_kw": 5}, False),
    ({"curve": "fcr", "power_kw": 5, "armed": True}, True),
    ({"curve": "dynamic-containment", "power_kw": 5, "armed": False}, False)])
def test_products_that_want_a_fast_start_keep_elements_armed(support, armed):
    assert SiteConfig(name="House", support=support).support.is_armed is armed
