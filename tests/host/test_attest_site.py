"""A real authority, ledger and tools end to end: disclosed by one folder, checked by another.

Nothing is replaced: keys and credentials are those that `cellwall pki` keeps, times are now.
"""

import hashlib
import json
import os
import shutil
import time

import pytest

from element.protocol import schema
from hil.benchmarks.attest import make_credential, make_record
from host_tools.attest.commitment import Committer
from host_tools.attest.log import CHECKPOINT_KIND
from host_tools.cli.main import main
from host_tools.identity.keys import make_key_pair
from host_tools.identity.site import Site
from host_tools.ledger.store import Ledger

MINUTES = 6


class Panel:
    """A site, one element, and a ledger of some minutes that lie half an hour back."""

    def __init__(self, folder) -> None:
        self.site = Site(folder / "site")
        self.site.create()
        self.path = folder / "panel.db"
        self.roots = folder / "handed" / "roots"
        self.element = make_key_pair(os.urandom)
        self.start_ms = (int(time.time()) // 60 - 40) * 60_000
        self._fill()
        shutil.copytree(self.site.folder / "roots", self.roots)

    def _fill(self) -> None:
        ledger, keys, now_s = Ledger.at(self.path), self.site.keys, self.start_ms // 1000
        credential = make_credential(
            keys.get("issuer"), self.element, keys.get("aggregator_agree").public, 0,
            {"issued_unix_s": now_s, "not_before_unix_s": now_s - 600,
             "expires_unix_s": now_s + 86_400})
        self.site.pki.keep(schema.CREDENTIAL, credential)
        ledger.add(schema.CREDENTIAL, self.element.key_id, 1, 0, credential)
        committer, _ = Committer.resumed(keys.get("aggregator"), ledger)
        previous = bytes(32)
        for number in range(1, MINUTES + 1):
            start_ms = self.start_ms + (number - 1) * 60_000
            leaf = make_record(self.element, number, previous, start_ms, 1_000_000)
            previous = hashlib.sha256(leaf.statement).digest()
            ledger.add(leaf.kind, leaf.element_id, number, 0, leaf.statement)
            statement, fields = committer.commit([leaf], start_ms, start_ms + 60_000, 0, 0)
            ledger.add(schema.INTERVAL_COMMITMENT, fields["aggregator_id"], number, 0, statement)
            ledger.add(CHECKPOINT_KIND, fields["aggregator_id"], number, 0,
                       committer.checkpoint(start_ms + 60_000))
            ledger.commit(number, [(leaf.kind, leaf.element_id, number)])
        ledger.close()

    def disclose(self, *options: str) -> int:
        return main(["disclose", str(self.path), "-o", str(self.path.with_name("b.cbor")),
                     "--site", str(self.site.folder), *options])

    def verify(self, capsys, *options: str, trust=None) -> dict:
        """Return what verify says as JSON; its exit code has to go with it."""
        capsys.readouterr()
        code = main(["verify", str(self.path.with_name("b.cbor")), "--trust",
                     str(trust or self.roots), "--json", *options])
        said = json.loads(capsys.readouterr().out)
        assert code == (0 if said["holds"] else 1)
        return said


@pytest.fixture
def panel(tmp_path, monkeypatch):
    for name in ("CELLWALL_SITE", "CELLWALL_POLICY"):
        monkeypatch.delenv(name, raising=False)
    return Panel(tmp_path)


def test_a_ledger_is_disclosed_and_checked_with_roots_alone(panel, capsys) -> None:
    assert panel.disclose() == 0
    said = panel.verify(capsys)
    assert said["holds"] and said["trust"] == "roots" and len(said["records"]) == MINUTES
    assert [one["intervals"] for one in said["checkpoints"]] == [1, MINUTES]
    assert any("(aggregator) had a credential" in one for one in said["proven"])
    for options in (("--totals",), ("--audit", "2", "--sample", "1"), ("--receipts",)):
        assert panel.disclose(*options) == 0
        assert panel.verify(capsys)["holds"]
    # the site's own trust.json can not check its aggregator's credential, and says so
    said = panel.verify(capsys, trust=panel.site.folder / "trust.json")
    assert said["error"].startswith("party credential unchecked")


def test_a_rotation_before_and_after(panel, capsys) -> None:
    assert panel.disclose() == 0
    time.sleep(1.1)  # what a key signs in the second of its revocation is void
    for role in ("issuer", "operator"):
        panel.site.pki.rotate(role)
    # what was issued before holds for who knows of the rotation and for who does not
    assert panel.verify(capsys)["holds"]
    said = panel.verify(capsys, trust=panel.site.folder)
    assert said["holds"], said
    # rotated because the key was stolen before it signed any of this
    panel.site.pki.rotate("operator", int(time.time()))
    assert main(["pki", "renew", "aggregator", "--site", str(panel.site.folder)]) == 0
    assert panel.disclose() == 0
    assert "signed by no key of the operator's root" in panel.verify(capsys)["error"]
    assert panel.verify(capsys, trust=panel.site.folder)["holds"]


def test_a_revocation_counts_from_its_time(panel, capsys) -> None:
    pki = panel.site.pki
    aggregator = panel.site.keys.get("aggregator").key_id.hex()
    assert panel.disclose() == 0
    last_s = panel.start_ms // 1000 + MINUTES * 60
    pki.revoke(panel.element.key_id.hex(), 1, last_s + 121)
    pki.revoke(aggregator, 1, last_s + 121)
    said = panel.verify(capsys, trust=panel.site.folder)
    assert {one["role"] for one in said["revocation_lists"]} == {"issuer", "operator"}
    assert panel.verify(capsys)["revocation_lists"] == []
    lists = [str(path) for path in sorted((panel.site.folder / "revocations").iterdir())]
    named = [part for path in lists for part in ("--revocations", path)]
    assert len(panel.verify(capsys, *named)["revocation_lists"]) == 2
    # a checkpoint of now would be by a revoked aggregator
    (panel.path.with_name("b.cbor")).unlink()
    ledger = Ledger.at(panel.path)
    committer, _ = Committer.resumed(panel.site.keys.get("aggregator"), ledger)
    statement, fields = committer.commit([], panel.start_ms, int(time.time()) * 1000, 0, 0)
    ledger.add(schema.INTERVAL_COMMITMENT, fields["aggregator_id"], fields["number"], 0, statement)
    ledger.close()
    assert panel.disclose("--totals", *named) == 0
    assert panel.verify(capsys)["error"].startswith("credential revoked")
