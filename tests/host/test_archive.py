"""The offline verification: what holds, and what is said of everything that does not."""

import hashlib
import random
from dataclasses import replace
from pathlib import Path

import cbor2
import pytest

from element.protocol import schema
from element.protocol.errors import DecodeError
from hil.benchmarks.attest import START_MS, make_building, make_credential
from hil.benchmarks.host import make_archive
from host_tools import codec
from host_tools.attest import bundle
from host_tools.attest import verifier as attest_verifier
from host_tools.attest.archive import (
    Verification,
    Verifier,
    export,
    load_trust,
    read_entries,
    verify_folder,
)
from host_tools.attest.commitment import Leaf
from host_tools.attest.standing import RootKey, Trust
from host_tools.identity.credentials import party_credential
from host_tools.identity.issuer import Authorities, TrustRoot
from host_tools.identity.revocation import Revocation, sign_list
from host_tools.ledger.store import Ledger

from .test_attest_verifier import roots_of

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


# roots, rotations, revocations in an archive

START_S = START_MS // 1000


@pytest.fixture(scope="module")
def building():
    return make_building(3, 4, 1, 2, checkpoints=1)


def _whys(trusted, entries) -> list[tuple[str, str]]:
    return [(one.what.split()[0], one.why) for one in _verify(trusted, entries).failures]


def _changed(building, kind: int, change):
    """Return the entries with change(statement) in the place of the first of a kind."""
    index = _index(building.entries, kind)
    one = building.entries[index]
    return [*building.entries[:index], (one[0], one[1], change(one[2])),
            *building.entries[index + 1:]]


def test_an_archive_is_checked_with_roots(building) -> None:
    outcome = _verify(building.trust, building.entries)
    assert outcome.failures == [] and outcome.not_checked == []
    assert outcome.by_kind == {"checkpoint": 1, "credential": 2, "interval": 3, "party": 1,
                               "record": 12}
    # bare keys leave the party alone and say what they can not tell
    outcome = _verify(building.authorities.trust_root, building.entries)
    assert outcome.failures == [] and "party" not in outcome.by_kind
    assert "1 party credentials" in outcome.not_checked[0]
    whys = _whys(building.trust, building.without_party)
    assert {(what, why.split(" (")[0]) for what, why in whys} == {
        ("interval", "no valid party credential of"),
        ("checkpoint", "no valid party credential of")}


@pytest.mark.parametrize(("kind", "issued_s", "valid_s", "party", "why"), [
    (9, START_S - 1, 0, "aggregator", "credential expired"),
    (9, START_S + 60 + 3600 + 121, 86400, "aggregator", "credential not yet valid"),
    (9, START_S, 86400, "alarm", "party is no aggregator (alarm)"),
    (9, START_S, 86400, "meter", "party is no aggregator (meter)")])
def test_an_aggregator_is_asked_for_its_credential(building, kind, issued_s, valid_s, party, why
                                                   ) -> None:
    keys = building.authorities
    made = party_credential("x", party, keys.aggregator.public, keys.aggregator_agree.public,
                            building.operator, "x", issued_s, valid_s)
    whys = _whys(building.trust, _changed(building, kind, lambda _: made))
    assert whys and all(text.startswith(why) for what, text in whys if what == "interval")
    # the minute's interval that lies within 120 s of an end still holds
    held = {"credential expired": 1, "credential not yet valid": 2}.get(why.split(" (")[0], 0)
    assert 3 - sum(what == "interval" for what, _ in whys) == held


@pytest.mark.parametrize(("changes", "failed"), [
    ({"expires_unix_s": START_S + 60}, 0), ({"expires_unix_s": START_S + 59}, 1),
    ({"not_before_unix_s": START_S + 120}, 0), ({"not_before_unix_s": START_S + 121}, 1)])
def test_validity_has_the_skew_and_is_that_of_the_record(building, changes, failed) -> None:
    keys = building.authorities
    made = make_credential(keys.issuer, building.elements[0], keys.aggregator_agree.public, 0,
                           changes)
    for trusted in (building.trust, keys.trust_root):
        whys = _whys(trusted, _changed(building, schema.CREDENTIAL, lambda _: made))
        late = [why for what, why in whys if what == "record" and why.startswith("credential ")]
        assert len(late) == 2 * failed  # the first or the last minute's two records


def _with_untimed_event(intervals: int = 3, credential_changes=None):
    """Return a building whose first element signed an event before its clock was ever set."""
    sign = make_building(1, 4, 1, 2).elements[0]

    def change(number: int, members: list[Leaf]) -> list[Leaf]:
        if number < intervals:
            return members
        last = [one for one in members if one.element_id == sign.key_id][-1]
        fields = {"element_id": sign.key_id, "counter": last.fields["counter"] + 1,
                  "previous_hash": hashlib.sha256(last.statement).digest(), "cause": 1,
                  "at_unix_ms": 0, "value": 0, "limit": 0, "released": False, "index": None}
        statement = codec.sign1(
            sign.private, schema.STATEMENT_TYP[schema.SAFETY_EVENT], sign.key_id,
            codec.encode_statement(schema.SAFETY_EVENT, fields))
        return sorted([*members, Leaf(sign.key_id, schema.SAFETY_EVENT, fields, statement)],
                      key=lambda one: one.order)

    return make_building(intervals, 4, 1, 2, change=change, credential_changes=credential_changes)


def test_an_event_before_the_clock_was_set_is_asked_as_of_its_commitment() -> None:
    """1970 is when no credential held: the interval that commits it says until when it was."""
    made = _with_untimed_event()
    for trusted in (made.trust, made.authorities.trust_root):
        outcome = _verify(trusted, made.entries)
        assert outcome.failures == [] and outcome.by_kind["safety-event"] == 1
    holdings = bundle.Holdings(made.entries)
    chosen = holdings.chosen(bundle.Choice())
    checked = attest_verifier.verify_bundle(bundle.build(holdings, chosen), made.trust)
    assert any(one.is_event for one in checked.records)
    # revoked before the commitment: who has the key signs what he likes
    keys = made.authorities
    for at_s, bad in ((START_S + 301, 0), (START_S + 180, 1)):
        revoked = Revocation(made.elements[0].key_id, at_s, 1)
        listed = sign_list(keys.issuer, 1, (revoked,), START_S)
        whys = _whys(made.trust.with_list(listed), made.entries)
        assert sum(what == "safety-event" for what, _ in whys) == bad
    # a credential that was over by then does not hold either
    over = _with_untimed_event(5, {"expires_unix_s": START_S + 120})
    assert ("safety-event", "credential expired") in [
        (what, why.split(" (")[0]) for what, why in _whys(over.trust, over.entries)]


def test_an_untimed_event_that_nothing_commits_yet_holds() -> None:
    made = _with_untimed_event(1)
    index = _index(made.entries, schema.SAFETY_EVENT)
    kind, _, statement = made.entries[index]
    later = [*made.entries[:index], *made.entries[index + 1:], (kind, None, statement)]
    assert [one for one in _whys(made.trust, later) if one[0] == "safety-event"] == []


def test_a_kind_of_which_none_holds_is_not_counted() -> None:
    """results.json lists what holds by kind: a kind with none of it is not there."""
    made = _with_untimed_event(1)
    index = _index(made.entries, schema.SAFETY_EVENT)
    outcome = _verify(made.trust, [*made.entries[:index - 1], *made.entries[index:]])
    assert any("counter" in one.why for one in outcome.failures)
    assert "safety-event" not in outcome.by_kind and min(outcome.by_kind.values()) > 0


def test_renewed_credentials_stand_side_by_side(building) -> None:
    keys = building.authorities
    old, new = (make_credential(keys.issuer, building.elements[0], keys.aggregator_agree.public,
                                0, changes) for changes in (
        {"expires_unix_s": START_S + 10}, {"not_before_unix_s": START_S + 130}))
    entries = _changed(building, schema.CREDENTIAL, lambda _: old)
    assert _whys(building.trust, entries)
    assert _whys(building.trust, [*entries, (schema.CREDENTIAL, None, new)]) == []


def test_a_revocation_is_asked_as_of_the_record(building) -> None:
    keys = building.authorities
    for role, signer, key, what in (
            ("issuer", keys.issuer, building.elements[0], "record"),
            ("operator", building.operator, keys.aggregator, "interval")):
        for at_s, bad in ((START_S + 301, 0), (START_S + 300, 1), (START_S + 180, 3)):
            parts = sign_list(signer, 1, (Revocation(key.key_id, at_s, 1),), START_S)
            trusted = building.trust.with_list(parts)
            assert trusted.newest(role)
            revoked = [one for one, why in _whys(trusted, building.entries)
                       if why.startswith("credential revoked") and one == what]
            assert len(revoked) == bad * (2 if what == "record" else 1)


def test_a_void_root_key_and_a_foreign_one_are_named(building) -> None:
    roots = building.trust.roots
    for role, what in (("issuer", "credential"), ("operator", "party")):
        void = Trust(roots={**roots, role: [replace(roots[role][0], until_unix_s=START_S)]})
        said = _whys(void, building.entries)
        assert any(one == what and "after it was revoked" in why for one, why in said)
        missing = Trust(roots={name: keys for name, keys in roots.items() if name != role})
        assert any(why.startswith(f"the {role}'s root is unknown")
                   for _, why in _whys(missing, building.entries))
    swapped = Trust(roots={"issuer": roots["operator"], "operator": roots["issuer"]})
    whys = {why.split(" (")[0] for _, why in _whys(swapped, building.entries)}
    assert {"signed by the operator's root and not the issuer's",
            "signed by the issuer's root and not the operator's"} <= whys


def test_every_flipped_byte_of_the_party_credential_is_found(building) -> None:
    statement = building.entries[_index(building.entries, 9)][2]
    for position in range(len(statement)):
        changed = bytearray(statement)
        changed[position] ^= 0x08
        whys = _whys(building.trust, _changed(building, 9, lambda _, to=changed: bytes(to)))
        assert ("party" in {what for what, _ in whys}
                and sum(what == "interval" for what, _ in whys) == 3), position


def test_a_release_is_by_the_life_safety_key_of_its_time(building) -> None:
    safety = building.authorities.life_safety
    order = codec.sign1(safety.private, "cw/release", safety.key_id, codec.encode_statement(
        schema.RELEASE_ORDER, {"element_id": building.elements[0].key_id, "order_number": 1,
                               "issued_unix_ms": START_MS, "cause": 1}))
    entries = [*building.entries, (schema.RELEASE_ORDER, None, order)]
    key = RootKey(safety.public, START_S - 5, START_S + 5)
    for life_safety, why in (([key], ""), ([replace(key, until_unix_s=START_S)], "revoked"),
                             ([replace(key, from_unix_s=START_S + 1)], "before it was in force"),
                             ([RootKey(bytes(64), 0)], "signed by no key"), (None, "unknown")):
        roots = dict(building.trust.roots)
        if life_safety:
            roots["life_safety"] = life_safety
        whys = _whys(Trust(roots=roots), entries)
        assert whys == [] if not why else (whys[0][0] == "release" and why in whys[0][1])


def test_roots_go_with_an_archive_and_come_from_elsewhere(building, tmp_path: Path) -> None:
    ledger = Ledger.at(tmp_path / "ledger.db")
    members: dict[int, list] = {}
    for count, (kind, number, statement) in enumerate(building.entries, 1):
        assert ledger.add(kind, bytes(8), count, 0, statement)
        if kind == schema.EXECUTION_RECORD:
            members.setdefault(number, []).append((kind, bytes(8), count))
    for number, some in members.items():
        ledger.commit(number, some)
    site = tmp_path / "site"
    roots_of(building).save(site / "roots")
    (site / "revocations").mkdir()
    parts = sign_list(building.authorities.issuer, 1, (), START_S)
    (site / "revocations" / "issuer.cborseq").write_bytes(b"".join(parts))
    bare = building.authorities.trust_root
    export(ledger, bare, tmp_path / "with", site)
    export(ledger, bare, tmp_path / "without")
    ledger.close()
    assert load_trust(tmp_path / "with").newest("issuer").number == 1
    outcome = verify_folder(tmp_path / "with")
    assert outcome.failures == [] and outcome.not_checked == [] and outcome.by_kind["party"] == 1
    assert verify_folder(tmp_path / "without").not_checked
    for place in (site, site / "roots"):
        assert verify_folder(tmp_path / "without", place).not_checked == []
    revoking = sign_list(building.operator, 1, (
        Revocation(building.authorities.aggregator.key_id, 0, 1),), START_S)
    assert verify_folder(tmp_path / "with", None, [revoking]).failed == 4
    for path, lists in ((tmp_path / "without", [revoking]), (tmp_path / "no", []),
                        (tmp_path / "with", [revoking[:0]])):
        with pytest.raises(DecodeError):
            load_trust(path, lists)
