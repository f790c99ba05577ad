"""`cellwall pki` as a person uses it, with keys in files and on a SoftHSM2 token."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from host_tools import codec
from host_tools.identity.issuer import TrustRoot
from host_tools.identity.site import Site

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ROOT / "build" / "services" / "env"
RUN_S_MAX = 60


def pki(site: Path, *words: str, environment: dict[str, str] | None = None) -> Any:
    """Run a command with --json; return what it prints, or the finished process of a failure."""
    done = subprocess.run(
        [sys.executable, "-m", "host_tools.cli.main", "pki", *words, "--site", str(site),
         "--json"],
        capture_output=True, text=True, timeout=RUN_S_MAX, check=False,
        env={**os.environ, **(environment or {})})
    assert "Traceback" not in done.stderr, done.stderr
    return json.loads(done.stdout) if done.returncode == 0 else done


def states(site: Path) -> dict[str, str]:
    """Return the state of every credential by subject."""
    return {row["subject"]: row["state"] for row in pki(site, "show")["credentials"]}


def test_a_site_from_nothing_to_a_rotated_root(tmp_path: Path) -> None:
    nothing = pki(tmp_path, "show")
    assert nothing.returncode == 3 and "cellwall pki init" in nothing.stderr
    roots = pki(tmp_path, "init")
    assert sorted(roots) == ["issuer", "life_safety", "meter", "operator"]
    assert pki(tmp_path, "init") == roots
    panel = pki(tmp_path, "issue", "roof", "--party", "alarm", "--days", "30")
    assert panel["kind"] == "alarm" and states(tmp_path) == {panel["subject"]: "valid"}
    again = pki(tmp_path, "issue", "roof", "--party", "alarm")
    assert again.returncode == 3 and "cellwall pki renew roof" in again.stderr
    renewed = pki(tmp_path, "renew", "roof", "--days", "60")
    assert renewed["subject"] == panel["subject"] and renewed["expires"] > panel["expires"]
    gone = pki(tmp_path, "revoke", panel["subject"][:6], "--reason", "removed")
    assert gone["reason"] == "removed" and states(tmp_path) == {panel["subject"]: "revoked"}
    assert pki(tmp_path, "renew", "roof").returncode == 3
    rotated = pki(tmp_path, "rotate", "operator")
    assert rotated["before"] == roots["operator"] != rotated["after"]
    assert states(tmp_path) == {panel["subject"]: "revoked"}
    rows = [row for row in pki(tmp_path, "show")["roots"] if row["root"] == "operator"]
    assert [row["key"] for row in rows] == [rotated["before"], rotated["after"]]


def test_what_a_root_has_issued_is_signed_anew_by_its_next_key(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.create()
    before = site.pki.find("aggregator")
    for role in ("issuer", "operator", "life_safety"):
        assert pki(tmp_path, "rotate", role)["role"] == role
    after = site.pki.find("aggregator")
    assert after.credential != before.credential
    assert after.claims["expires_unix_s"] <= before.claims["expires_unix_s"]
    codec.verify1(after.credential, site.pki.roots()["operator"].current.key, "cw/party")
    trust_root = TrustRoot.load(tmp_path / "trust.json")
    assert trust_root.issuer == site.pki.roots()["issuer"].current.key
    assert trust_root.life_safety == site.authorities().life_safety.public


@pytest.mark.parametrize(("words", "why"), [
    (("issue", "x", "--party", "foe"), "aggregator, alarm, meter"),
    (("issue", "x"), "--party"),
    (("revoke", "x", "--reason", "bored"), "key-compromised"),
    (("rotate", "king"), "life_safety"),
    (("revoke", "x", "--since", "yesterday"), "%Y-%m-%d"),
])
def test_wrong_usage_says_what_there_is(tmp_path: Path, words: tuple[str, ...],
                                        why: str) -> None:
    done = pki(tmp_path, *words)
    assert done.returncode == 2 and why in done.stderr


def test_what_is_not_there_has_a_next_step(tmp_path: Path) -> None:
    pki(tmp_path, "init")
    done = pki(tmp_path, "renew", "nobody")
    assert done.returncode == 3 and "cellwall pki show" in done.stderr
    (tmp_path / "keys" / "operator.pem").unlink()
    done = pki(tmp_path, "issue", "x", "--party", "meter")
    assert done.returncode == 3 and "operator.pem" in done.stderr


@pytest.fixture
def token(tmp_path: Path) -> dict[str, str]:
    """The environment of an initialised SoftHSM2 token."""
    services = dict(line.split("=", 1) for line in SERVICES.read_text().split())
    (tmp_path / "tokens").mkdir()
    configuration = tmp_path / "softhsm2.conf"
    configuration.write_text(
        f"directories.tokendir = {tmp_path / 'tokens'}\nobjectstore.backend = file\n")
    environment = {"SOFTHSM2_CONF": str(configuration), "CELLWALL_PIN": "271828",
                   "LD_LIBRARY_PATH": services["LD_LIBRARY_PATH"],
                   "MODULE": services["SOFTHSM2_MODULE"]}
    subprocess.run(
        [services["SOFTHSM2_UTIL"], "--module", services["SOFTHSM2_MODULE"], "--init-token",
         "--free", "--label", "site", "--pin", "271828", "--so-pin", "31415926"],
        check=True, capture_output=True, timeout=RUN_S_MAX, env={**os.environ, **environment})
    return environment


def test_keys_on_a_token_never_become_files(tmp_path: Path, token: dict[str, str]) -> None:
    site = tmp_path / "site"
    options = ("--pkcs11", token["MODULE"], "--token", "site")
    roots = pki(site, "init", *options, environment=token)
    assert len(roots) == 4 and not (site / "keys").exists()
    meter = pki(site, "issue", "main", "--party", "meter", *options, environment=token)
    pki(site, "revoke", "main", *options, environment=token)
    rotated = pki(site, "rotate", "operator", *options, environment=token)
    assert rotated["before"] == roots["operator"]
    # who only looks needs no token: the signatures hold
    assert states(site) == {meter["subject"]: "revoked"}
    assert not (site / "keys").exists()
    wrong = pki(site, "rotate", "meter", *options, environment={**token, "CELLWALL_PIN": "0"})
    assert wrong.returncode == 3 and "PIN" in wrong.stderr
    other = pki(site, "init", "--pkcs11", token["MODULE"], "--token", "none", environment=token)
    assert other.returncode == 3 and "label" in other.stderr
