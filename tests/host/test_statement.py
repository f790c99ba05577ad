"""A tenant's statement: hand-computed numbers, months, renewals, and what is not credited."""

import csv
import hashlib
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest

from element.protocol import schema, trust
from element.protocol.errors import RangeError
from hil.swarm.specs import profile_of
from host_tools import codec
from host_tools.attest.commitment import Committer, Leaf
from host_tools.cli.main import main
from host_tools.identity.credentials import common_claims, sign_credential
from host_tools.identity.keys import KeyPair, make_key_pair
from host_tools.identity.keystore import FileKeys
from host_tools.identity.pki import Pki
from host_tools.ledger.dispatches import DONE, Dispatch, Dispatches
from host_tools.ledger.store import Ledger
from host_tools.settlement.tenants import month_unix_ms, ranges

MINUTE_MS = 60_000
# 2026-11-01T00:00Z and 2026-12-01T00:00Z
NOVEMBER_MS, DECEMBER_MS = 1_793_491_200_000, 1_796_083_200_000
MADE_S = 1_780_000_000  # in May


class Books:
    """A site's authority, and a ledger that is filled by hand, one interval a record."""

    def __init__(self, folder: Path, seed: int = 1) -> None:
        self.folder, self.path = folder, folder / "panel.db"
        self.random = random.Random(seed).randbytes
        folder.mkdir(exist_ok=True)
        keys = FileKeys(folder / "keys", self.random)
        self.pki = Pki(folder, keys, lambda: MADE_S)
        self.pki.init()
        self.aggregator = keys.create("aggregator")
        keys.create("aggregator_agree")
        self.issuer = keys.get("issuer")
        self.ledger = Ledger.at(self.path)
        self.committer, _ = Committer.resumed(self.aggregator, self.ledger)
        party = self.pki.issue_party("aggregator", "aggregator").credential
        self.ledger.add(trust.PARTY_CREDENTIAL, self.aggregator.key_id, 1, 0, party)
        self._chains: dict[bytes, tuple[int, bytes]] = {}

    def element(self, tenant: str, chemistry: str = "LFP", manufacturer: str = "Acme",
                pair: KeyPair | None = None, issued_s: int = MADE_S,
                issuer: KeyPair | None = None) -> KeyPair:
        """Credential an element of 5 kW and 10 kWh."""
        pair = pair or make_key_pair(self.random)
        claims = {**common_claims("site", pair.public, pair.public, issued_s, 10**8),
                  "profile": profile_of(1, chemistry, 16 if chemistry == "LFP" else 14, 5000),
                  "zone": 1, "tenant": tenant, "manufacturer": manufacturer}
        self.ledger.add(schema.CREDENTIAL, pair.key_id, issued_s, 0,
                        sign_credential(schema.CREDENTIAL, claims, issuer or self.issuer))
        return pair

    def record(self, pair: KeyPair, start_ms: int, energy: int, signer: KeyPair | None = None,
               commit: bool = True, **changes: Any) -> bytes:
        """File one record and commit to it."""
        counter, previous = self._chains.get(pair.key_id, (0, bytes(32)))
        fields = {
            "element_id": pair.key_id, "counter": counter + 1, "previous_hash": previous,
            "dispatch_id": 0, "start_unix_ms": start_ms, "end_unix_ms": start_ms + MINUTE_MS,
            "instructed_mw_mean": energy * 60, "realized_mw_mean": energy * 60,
            "realized_mw_min": 0, "realized_mw_max": 0, "energy_mwh": energy,
            "soc_bp_start": None, "soc_bp_end": None, "quality": 0} | changes
        statement = codec.sign1((signer or pair).private, "cw/record", pair.key_id,
                                codec.encode_statement(schema.EXECUTION_RECORD, fields))
        self._chains[pair.key_id] = counter + 1, hashlib.sha256(statement).digest()
        self.ledger.add(schema.EXECUTION_RECORD, pair.key_id, counter + 1, 0, statement)
        if commit:
            leaf = Leaf(pair.key_id, schema.EXECUTION_RECORD, fields, statement)
            signed, said = self.committer.commit([leaf], start_ms, fields["end_unix_ms"], 0, 0)
            self.ledger.add(schema.INTERVAL_COMMITMENT, said["aggregator_id"], said["number"], 0,
                            signed)
            self.ledger.commit(said["number"], [
                (schema.EXECUTION_RECORD, pair.key_id, counter + 1)])
        self.ledger.flush()
        return statement

    def ask(self, capsys, *options: str, tenant: str = "north", month: str = "2026-11",
            code: int = 0, ledger: Path | None = None) -> dict:
        """Return what the command says as JSON."""
        self.ledger.flush()
        capsys.readouterr()
        got = main(["statement", "--tenant", tenant, "--month", month, "--ledger",
                    str(ledger or self.path), "--trust", str(self.folder), "--json", *options])
        out = capsys.readouterr()
        assert got == code, out
        said: dict = json.loads(out.out)
        return said


@pytest.fixture
def books(tmp_path: Path, monkeypatch) -> Books:
    monkeypatch.delenv("CELLWALL_SITE_YAML", raising=False)
    return Books(tmp_path / "site")


def test_a_month_by_hand(books: Books, capsys) -> None:
    one, two = books.element("north"), books.element("north", "NMC", "Bolt")
    other = books.element("south")
    row = Dispatches(books.ledger).add(Dispatch(
        "api:x", "api", 5_000_000, 1, NOVEMBER_MS, NOVEMBER_MS + MINUTE_MS, False, DONE,
        5_000_000, "", NOVEMBER_MS))
    # one minute at 5 kW is 83,333 mWh; what was asked was 5.4 kW: 90,000 mWh
    books.record(one, NOVEMBER_MS, 83_333, dispatch_id=row.id, instructed_mw_mean=5_400_000)
    books.record(one, NOVEMBER_MS + MINUTE_MS, -50_000, instructed_mw_mean=-3_000_000)
    books.record(one, NOVEMBER_MS + 5 * MINUTE_MS, 1_000, quality=1)  # three are missing
    books.record(two, NOVEMBER_MS, 7)
    books.record(other, NOVEMBER_MS, 999_999)
    books.record(one, NOVEMBER_MS - MINUTE_MS, 4_000)  # October's
    said = books.ask(capsys)
    assert said["not_credited"] == [] and said["pending_count"] == 0
    total = said["total"]
    assert (total["out_mwh"], total["in_mwh"]) == (83_333 + 1_000 + 7, 50_000)
    assert (total["record_count"], total["flagged_count"], total["flagged_ms"]) \
        == (4, 1, MINUTE_MS)
    assert (total["missing_count"], total["missing_ms"]) == (3, 3 * MINUTE_MS)
    # 90,000 - 83,333 of 90,000 + 50,000 + 1,000 + 7 were not delivered
    assert (total["shortfall_mwh"], total["instructed_mwh"]) == (6_667, 141_007)
    assert total["shortfall_bp"] == 472
    assert set(said["elements"]) == {one.key_id.hex(), two.key_id.hex()}
    lines = [line for line in said["lines"] if line["element_id"] == one.key_id.hex()]
    assert [(line["dispatch_id"], line["service"], line["source"], line["out_mwh"],
             line["in_mwh"], line["counters"], line["intervals"]) for line in lines] \
        == [(0, "", "", 1_000, 50_000, "2-3", "2-3"),
            (row.id, "regulation", "api", 83_333, 0, "1", "1")]
    groups = {(one["chemistry"], one["manufacturer"]): one for one in said["groups"]}
    assert set(groups) == {("LFP", "Acme"), ("NMC", "Bolt")}
    # 134,333 mWh through a pack of 10 kWh, there and back 20 kWh: 6.7 thousandths of a cycle
    assert (groups["LFP", "Acme"]["throughput_mwh"], groups["LFP", "Acme"]["cycles_milli"]) \
        == (134_333, 6)


def test_a_record_across_the_end_of_a_month_is_divided_and_nothing_is_lost(
    books: Books, capsys,
) -> None:
    one = books.element("north")
    books.record(one, DECEMBER_MS - 20_000, -1_000)  # 20 s of November, 40 s of December
    november, december = books.ask(capsys), books.ask(capsys, month="2026-12")
    assert (november["total"]["in_mwh"], december["total"]["in_mwh"]) == (333, 667)
    assert [one["total"]["split_count"] for one in (november, december)] == [1, 1]
    # in Berlin December begins an hour earlier
    berlin = books.ask(capsys, "--zone-name", "Europe/Berlin", month="2026-12")
    assert (berlin["total"]["in_mwh"], berlin["total"]["split_count"]) == (1_000, 0)
    assert books.ask(capsys, "--zone-name", "Europe/Berlin", code=1)["total"]["in_mwh"] == 0


def test_months_and_ranges() -> None:
    assert month_unix_ms("2026-11") == (NOVEMBER_MS, DECEMBER_MS)
    # the month in which summer time ends has an hour more
    begin, end = month_unix_ms("2026-10", "Europe/Berlin")
    assert end - begin == (31 * 24 + 1) * 3_600_000
    assert month_unix_ms("2026-12")[1] == month_unix_ms("2027-01")[0]
    for wrong in ("2026", "2026-13", "2026-1", "11-2026", "x"):
        with pytest.raises(RangeError):
            month_unix_ms(wrong)
    with pytest.raises(RangeError):
        month_unix_ms("2026-11", "Nowhere/Land")
    assert ranges([3, 1, 2, 7, 9, 8, 7]) == "1-3 7-9" and ranges([]) == ""


def test_a_renewed_credential_credits_another_tenant_from_its_day_on(
    books: Books, capsys,
) -> None:
    one = books.element("north")
    moved_s = NOVEMBER_MS // 1000 + 600
    books.element("south", pair=one, issued_s=moved_s)
    for minute in range(20):
        books.record(one, NOVEMBER_MS + minute * MINUTE_MS, 100)
    assert books.ask(capsys)["total"]["out_mwh"] == 1_000
    assert books.ask(capsys, tenant="south")["total"]["out_mwh"] == 1_000


def test_what_does_not_verify_is_listed_and_not_credited(books: Books, capsys) -> None:
    one, thief = books.element("north"), make_key_pair(books.random)
    books.record(one, NOVEMBER_MS, 100)
    books.record(one, NOVEMBER_MS + MINUTE_MS, 1_000_000, signer=thief)
    said = books.ask(capsys, code=1)
    assert said["total"]["out_mwh"] == 100
    assert [(line["element_id"], line["counter"], line["why"]) for line in said["not_credited"]] \
        == [(one.key_id.hex(), 2, "signature")]
    # an element that nobody credentialed, and one by a foreign root
    books.record(thief, NOVEMBER_MS, 5)
    foreign = books.element("north", issuer=thief)
    books.record(foreign, NOVEMBER_MS, 7)
    said = books.ask(capsys, code=1)
    assert said["total"]["out_mwh"] == 100
    whys = {(line["element_id"], line["why"]) for line in said["not_credited"]}
    assert {(thief.key_id.hex(), "no credential of its element here"),
            (foreign.key_id.hex(), "its credential is by no root that is trusted")} <= whys


def test_nothing_is_credited_after_a_revocation(books: Books, capsys) -> None:
    one = books.element("north")
    for minute in range(10):
        books.record(one, NOVEMBER_MS + minute * MINUTE_MS, 100)
    credential = next(statement for kind, _, _, _, statement in books.ledger.statements()
                      if kind == schema.CREDENTIAL)
    books.pki.keep(schema.CREDENTIAL, credential)
    # clocks may be two minutes apart, so it counts from two minutes before
    books.pki.revoke(one.key_id.hex(), trust.REASON_KEY_COMPROMISED,
                     NOVEMBER_MS // 1000 + 6 * 60)
    said = books.ask(capsys, code=1)
    assert (said["total"]["record_count"], said["total"]["out_mwh"]) == (3, 300)
    assert {line["why"] for line in said["not_credited"]} == {"credential revoked"}


def test_what_the_aggregator_did_not_commit_to_is_not_credited(books: Books, capsys) -> None:
    one = books.element("north")
    books.record(one, NOVEMBER_MS, 100)
    late = books.record(one, NOVEMBER_MS + MINUTE_MS, 50, commit=False)
    said = books.ask(capsys)
    assert (said["total"]["out_mwh"], said["pending_count"]) == (100, 1)
    # put under an interval afterwards: its root says otherwise
    books.ledger.commit(1, [(schema.EXECUTION_RECORD, one.key_id, 2)])
    said = books.ask(capsys, code=1)
    assert said["total"]["out_mwh"] == 0 and late
    assert {line["why"] for line in said["not_credited"]} == {
        "its interval does not hold: records are not those that were committed to"}


def test_several_ledgers_each_record_once(books: Books, tmp_path: Path, capsys) -> None:
    other = Books(tmp_path / "floor", seed=2)
    one, two = books.element("north"), other.element("north")
    books.record(one, NOVEMBER_MS, 100)
    other.record(two, NOVEMBER_MS, 30)
    both = ["--ledger", str(other.path), "--trust", str(other.folder)]
    assert books.ask(capsys, *both)["total"]["out_mwh"] == 130
    assert books.ask(capsys, *both, "--ledger", f"sqlite:///{books.path}")["total"]["out_mwh"] \
        == 130
    # without the floor's roots nobody there is believed
    said = books.ask(capsys, "--ledger", str(other.path), code=1)
    assert said["total"]["out_mwh"] == 100 and len(said["not_credited"]) >= 1


def test_text_csv_file_and_wrong_usage(books: Books, tmp_path: Path, capsys) -> None:
    one = books.element("north")
    books.record(one, NOVEMBER_MS, 1_234_567)
    base = ["statement", "--tenant", "north", "--month", "2026-11", "--ledger", str(books.path),
            "--trust", str(books.folder)]
    assert main(base) == 0
    text = capsys.readouterr().out
    assert "1.234567" in text and one.key_id.hex() in text and "LFP, Acme" in text
    path = tmp_path / "north.csv"
    assert main([*base, "--csv", "-o", str(path)]) == 0
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [(row["out_mwh"], row["counters"], row["intervals"]) for row in rows] \
        == [("1234567", "1", "1")]
    assert main([*base, "--json", "--csv"]) == 2
    assert main([*base[:4], "2026-99", *base[5:]]) == 2
    assert main(["statement", "--tenant", "north", "--month", "2026-11"]) == 2
    assert main([*base[:6], str(tmp_path / "none.db"), *base[7:]]) == 3
    assert not (tmp_path / "none.db").exists()
    assert main([*base[:2], "nobody", *base[3:]]) == 1
    assert main([*base[:8], str(tmp_path)]) == 1
