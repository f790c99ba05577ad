"""Who may speak, and when: roots, rotations, revocations, credentials, and every attack on them.

The authority is the real one of `cellwall pki`; what it signs is read by the standalone verifier.
"""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import cbor2
import pytest

from element.protocol import schema, trust
from hil.benchmarks.attest import START_MS, make_building, make_credential
from host_tools import codec
from host_tools.attest import bundle, standing
from host_tools.attest.standing import SKEW_S, RootKey, Trust
from host_tools.attest.verifier import Refused, verify_bundle
from host_tools.identity.credentials import party_credential
from host_tools.identity.keys import make_key_pair
from host_tools.identity.keystore import FileKeys
from host_tools.identity.pki import Pki
from host_tools.identity.revocation import Revocation, sign_list
from host_tools.identity.roots import Roots, key_hash, rotation

START_S = START_MS // 1000
END_S = START_S + 60  # of the one interval, and of its records
DAY_S = 86_400
BEFORE = {"not_before_unix_s": START_S - 400 * DAY_S, "issued_unix_s": START_S - 300 * DAY_S,
          "expires_unix_s": START_S + 400 * DAY_S}


class Clock:
    """A clock that stands until it is moved."""

    now_s = START_S - 300 * DAY_S

    def __call__(self) -> int:
        return self.now_s


@pytest.fixture(scope="module")
def building():
    return make_building(1, 4, 1, 2)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pki(tmp_path: Path, clock: Clock) -> Pki:
    made = Pki(tmp_path / "site", FileKeys(tmp_path / "site" / "keys"), clock)
    made.init()
    return made


def _credential(building, pki: Pki, role: str = "issuer", **changes) -> bytes:
    """Return the first element's credential, by a root of the authority."""
    return make_credential(pki.keys.get(role), building.elements[0],
                           building.authorities.aggregator_agree.public, 0,
                           {**BEFORE, **changes})


def _party(building, pki: Pki, party: str = "aggregator", role: str = "operator", issued_s=None,
           valid_s: int = 3650 * DAY_S) -> bytes:
    keys = building.authorities
    return party_credential("roof", party, keys.aggregator.public, keys.aggregator_agree.public,
                            pki.keys.get(role), "site",
                            BEFORE["issued_unix_s"] if issued_s is None else issued_s, valid_s)


def _bundle(building, credentials, parties, lists=()) -> bytes:
    value = cbor2.loads(bundle.build(bundle.Holdings(building.entries), {1: [0]}))
    value[2], value[3], value[7] = sorted(credentials), sorted(parties), sorted(lists)
    return cbor2.dumps(value)


def _good(building, pki: Pki, lists=()) -> bytes:
    return _bundle(building, [_credential(building, pki)], [_party(building, pki)], lists)


def _refusal(data: bytes, trusted, lists=None) -> Refused:
    with pytest.raises(Refused) as caught:
        verify_bundle(data, trusted if isinstance(trusted, Trust) else Trust.load(trusted), lists)
    return caught.value


# roots

def test_a_bundle_is_checked_with_the_public_folder_alone(building, pki, tmp_path) -> None:
    data = _good(building, pki)
    pki.sign_lists()
    handed = tmp_path / "handed"
    shutil.copytree(pki.folder / "roots", handed / "roots")
    assert verify_bundle(data, Trust.load(handed)).trust.lists == ()
    shutil.copytree(pki.folder / "revocations", handed / "revocations")
    inside = tmp_path / "one folder"
    shutil.copytree(handed / "roots", inside)
    shutil.copytree(handed / "revocations", inside / "revocations")
    for place in (handed, handed / "roots", inside, pki.folder, pki.folder / "roots"):
        outcome = verify_bundle(data, Trust.load(place))
        assert {one.role for one in outcome.trust.lists} == {"issuer", "operator"}
        assert outcome.records and outcome.parties


@pytest.mark.parametrize("change", [
    {"key": "zz"}, {"key": "00"}, {"next_hash": "00"}, {"from_unix_s": "now"}, {"rotations": 5},
    {"rotations": ["zz"]}, {"rotations": ["00"]}, {"role": "operator"}, {"role": 5},
    {"key": None}, {"rotations": ["d284"] * 2000}])
def test_a_damaged_root_is_refused(pki, change) -> None:
    path = pki.folder / "roots" / "issuer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(Refused):
        Trust.load(pki.folder)


@pytest.mark.parametrize("text", ["", "[]", "5", "{}", "[" * 100_000, "\ud800"])
def test_a_root_that_is_no_object_is_refused(pki, text) -> None:
    (pki.folder / "roots" / "issuer.json").write_text(text, errors="surrogatepass")
    with pytest.raises(Refused):
        Trust.load(pki.folder)


def test_an_authority_and_its_verifier_read_the_same_keys(pki, clock) -> None:
    for days in (1, 2, 3):
        clock.now_s += days * DAY_S
        pki.rotate("issuer", clock.now_s - DAY_S // 2)
    ours = Roots.load(pki.folder / "roots")
    theirs = Trust.load(pki.folder).roots
    for role, root in ours.by_role.items():
        assert theirs[role] == [RootKey(one.key, one.from_unix_s, one.until_unix_s)
                                for one in root.keys]
    assert len(theirs["issuer"]) == 4


# rotations

def test_a_credential_is_of_the_key_that_spoke_when_it_was_issued(building, pki, clock) -> None:
    early, party, old = _credential(building, pki), _party(building, pki), pki.keys.get("issuer")
    clock.now_s = START_S - 100 * DAY_S
    revoked_s = clock.now_s - DAY_S
    pki.rotate("issuer", revoked_s)
    trusted = Trust.load(pki.folder)
    assert verify_bundle(_bundle(building, [early], [party]), trusted).records
    late = _credential(building, pki, issued_unix_s=clock.now_s)
    assert verify_bundle(_bundle(building, [late], [party]), trusted).records

    def signed(key, issued_s: int) -> str:
        made = make_credential(key, building.elements[0],
                               building.authorities.aggregator_agree.public, 0,
                               {**BEFORE, "issued_unix_s": issued_s})
        return _refusal(_bundle(building, [made], [party]), trusted).code

    assert signed(old, revoked_s) == signed(old, clock.now_s + 1) == \
        "signed by a key of the issuer's root after it was revoked"
    assert signed(pki.keys.get("issuer"), clock.now_s - 1) == \
        "signed by a key of the issuer's root before it was in force"
    assert signed(pki.keys.get("issuer.next"), clock.now_s) == \
        "signed by no key of the issuer's root"
    said = _refusal(_bundle(building, [early], [_party(building, pki, role="issuer")]), trusted)
    assert said.code == "signed by the issuer's root and not the operator's"


def test_the_operator_may_rotate_too(building, pki, clock) -> None:
    element, early = _credential(building, pki), _party(building, pki)
    old = pki.keys.get("operator")
    clock.now_s = START_S - 100 * DAY_S
    pki.rotate("operator")
    assert verify_bundle(_bundle(building, [element], [early]), Trust.load(pki.folder)).records
    keys = building.authorities
    late = party_credential("roof", "aggregator", keys.aggregator.public,
                            keys.aggregator_agree.public, old, "site", clock.now_s)
    said = _refusal(_bundle(building, [element], [late]), pki.folder)
    assert said.code == "signed by a key of the operator's root after it was revoked"
    assert f"to {standing.utc(clock.now_s)}; signed at" in str(said.value)


def _rotated(pki: Pki, clock: Clock, count: int = 3) -> tuple[Path, dict]:
    for _ in range(count):
        clock.now_s += DAY_S
        pki.rotate("issuer")
    path = pki.folder / "roots" / "issuer.json"
    return path, json.loads(path.read_text())


def test_an_altered_chain_of_rotations_is_refused(pki, clock) -> None:
    path, said = _rotated(pki, clock)
    first, second, third = said["rotations"]
    pki.rotate("operator")
    other = json.loads((pki.folder / "roots" / "operator.json").read_text())["rotations"][0]
    for chain, code in (
        ([second, first, third], "rotation out of order"), ([second, third], "out of order"),
        ([first, third], "rotation out of order"), ([first, first, second], "out of order"),
        ([first, third, second], "rotation out of order"), ([other], "another root")):
        path.write_text(json.dumps({**said, "rotations": chain}))
        with pytest.raises(Refused, match=code):
            Trust.load(pki.folder)
    path.write_text(json.dumps({**said, "next_hash": "00" * 32}))
    with pytest.raises(Refused, match="not promised"):
        Trust.load(pki.folder)
    whole = bytes.fromhex(first)
    for bit in range(len(whole) * 8):
        changed = bytearray(whole)
        changed[bit >> 3] ^= 1 << (bit & 7)
        with pytest.raises(Refused):
            standing.open_root("issuer", {**said, "rotations": [bytes(changed).hex()]})


def test_a_chain_without_its_end_believes_no_successor(building, pki, clock) -> None:
    path, said = _rotated(pki, clock)
    made = _credential(building, pki, issued_unix_s=clock.now_s)
    data = _bundle(building, [made], [_party(building, pki)])
    assert verify_bundle(data, Trust.load(pki.folder)).records
    path.write_text(json.dumps({**said, "rotations": said["rotations"][:2]}))
    assert _refusal(data, pki.folder).code == "signed by no key of the issuer's root"


def test_a_rotation_has_to_follow_in_time_and_to_be_signed_by_its_key(pki, clock) -> None:
    root = Roots.load(pki.folder / "roots")["issuer"]
    begins, after = root.current.from_unix_s, pki.keys.get("issuer.next")
    made = {"role": "issuer", "number": 2, "pair": after, "next_hash": key_hash(b"x" * 64)}
    for not_before_s, revoked_s in ((begins + 9, begins - 1), (begins + 9, begins + 10),
                                    (begins - 1, begins - 1)):
        one = rotation(**made, not_before_unix_s=not_before_s, revoked_unix_s=revoked_s)
        with pytest.raises(Refused, match="times of a rotation"):
            standing.open_root("issuer", {**root.as_dict(), "rotations": [one.hex()]})
    thief = make_key_pair(random.Random(3).randbytes)
    one = rotation(**{**made, "pair": thief}, not_before_unix_s=begins, revoked_unix_s=begins)
    with pytest.raises(Refused, match="not promised"):
        standing.open_root("issuer", {**root.as_dict(), "rotations": [one.hex()]})
    # the promised key, appointed by the one in use: a thief of that one signs this
    payload = codec.encode_statement(trust.ROOT_ROTATION, {
        "role": 1, "number": 2, "key": schema.cose_key(after.public), "next_hash": bytes(32),
        "not_before_unix_s": begins, "revoked_unix_s": begins})
    for kid in (pki.keys.get("issuer").key_id, after.key_id):
        one = codec.sign1(pki.keys.get("issuer").private, "cw/root", kid, payload)
        with pytest.raises(Refused, match=r"signature|not trusted"):
            standing.open_root("issuer", {**root.as_dict(), "rotations": [one.hex()]})


# credentials as of a time

@pytest.mark.parametrize(("changes", "code"), [
    ({"expires_unix_s": END_S - SKEW_S}, None),
    ({"expires_unix_s": END_S - SKEW_S - 1}, "credential expired"),
    ({"not_before_unix_s": START_S + SKEW_S}, None),
    ({"not_before_unix_s": START_S + SKEW_S + 1}, "credential not yet valid")])
def test_an_elements_validity_is_asked_for_its_record(building, pki, changes, code) -> None:
    data = _bundle(building, [_credential(building, pki, **changes)], [_party(building, pki)])
    if code is None:
        assert verify_bundle(data, Trust.load(pki.folder)).records
    else:
        assert _refusal(data, pki.folder).code == code


@pytest.mark.parametrize(("issued_s", "valid_s", "code"), [
    (END_S - 5 * DAY_S, 5 * DAY_S - SKEW_S, None),
    (END_S - 5 * DAY_S, 5 * DAY_S - SKEW_S - 1, "credential expired"),
    (END_S + 3600 + SKEW_S, DAY_S, None),
    (END_S + 3600 + SKEW_S + 1, DAY_S, "credential not yet valid")])
def test_an_aggregators_validity_is_asked_for_its_commitment(building, pki, issued_s, valid_s,
                                                            code) -> None:
    party = _party(building, pki, issued_s=issued_s, valid_s=valid_s)
    data = _bundle(building, [_credential(building, pki)], [party])
    if code is None:
        assert verify_bundle(data, Trust.load(pki.folder)).records
    else:
        assert _refusal(data, pki.folder).code == code


def test_a_checkpoint_needs_a_credential_of_its_own_time(building, pki) -> None:
    party = _party(building, pki, issued_s=START_S - DAY_S, valid_s=2 * DAY_S)
    held = bundle.Holdings([*building.without_party, (9, None, party)])
    key = building.authorities.aggregator
    made = bundle.build(held, {1: [0]}, key, (START_S + DAY_S) * 1000)
    with pytest.raises(bundle.DecodeError, match="was in force"):
        bundle.build(held, {1: [0]}, key, (START_S + DAY_S + SKEW_S + 1) * 1000)
    value = cbor2.loads(made)
    value[2] = [_credential(building, pki)]
    assert verify_bundle(cbor2.dumps(value), Trust.load(pki.folder)).checkpoints
    later = _party(building, pki, issued_s=START_S - 3 * DAY_S, valid_s=3 * DAY_S + 60)
    value[3] = [later]
    assert _refusal(cbor2.dumps(value), pki.folder).code == "credential expired"
    # renewed: each of the two speaks for its time, and the bundle has both
    value[3] = sorted([later, party])
    assert verify_bundle(cbor2.dumps(value), Trust.load(pki.folder)).checkpoints
    held.add_credential(trust.PARTY_CREDENTIAL, later)
    assert len(held.parties[key.key_id]) == 2


def test_a_renewed_element_is_shown_with_the_credential_of_the_time(building, pki) -> None:
    old = _credential(building, pki, expires_unix_s=END_S + 5)
    new = _credential(building, pki, not_before_unix_s=END_S - 5 + SKEW_S,
                      expires_unix_s=END_S + 9 * DAY_S, issued_unix_s=END_S)
    party = _party(building, pki)
    assert _refusal(_bundle(building, [new], [party]), pki.folder).code == \
        "credential not yet valid"
    outcome = verify_bundle(_bundle(building, [old, new], [party]), Trust.load(pki.folder))
    assert outcome.records[0].claims[4] == END_S + 5
    # the ledger has both, whatever their order
    entries = [one for one in building.entries if one[0] != schema.CREDENTIAL]
    for order in ((old, new), (new, old)):
        held = bundle.Holdings([*entries, *[(1, None, one) for one in order]])
        assert cbor2.loads(bundle.build(held, {1: [0]}))[2] == [old]


@pytest.mark.parametrize("party", ["alarm", "meter"])
def test_another_kind_of_party_commits_to_nothing(building, pki, party) -> None:
    made = _party(building, pki, party)
    said = _refusal(_bundle(building, [_credential(building, pki)], [made]), pki.folder)
    assert (said.code, said.value) == ("party is no aggregator", f"{party} roof")


def test_forged_swapped_and_foreign_credentials_are_refused(building, pki, tmp_path) -> None:
    element, party = _credential(building, pki), _party(building, pki)
    other = Pki(tmp_path / "other", FileKeys(tmp_path / "other" / "keys"), Clock())
    other.init()
    stranger = make_key_pair(random.Random(5).randbytes)
    keys, operator = building.authorities, pki.keys.get("operator")
    claims = codec.decode_statement(trust.PARTY_CREDENTIAL, codec.peek(party)[2])

    def forged(typ: str = "cw/party", **changes) -> bytes:
        return codec.sign1(operator.private, typ, operator.key_id, codec.encode_statement(
            trust.PARTY_CREDENTIAL, {**claims, **changes}))

    swapped = forged(cnf={"cose_key": schema.cose_key(stranger.public)})
    renamed = forged(cnf={"cose_key": schema.cose_key(stranger.public)},
                     subject=stranger.key_id.hex())
    by_element = party_credential("roof", "aggregator", keys.aggregator.public,
                                  keys.aggregator_agree.public, building.elements[0], "site",
                                  BEFORE["issued_unix_s"])
    changed = bytearray(party)
    changed[-1] ^= 1
    for made, code in (
        (_party(building, other), "signed by no key of the operator's root"),
        (by_element, "signed by no key of the operator's root"),
        (_party(building, pki, role="life_safety"), "by the life_safety's root and not the op"),
        (_party(building, pki, role="meter"), "signed by the meter's root and not the operator"),
        (swapped, "subject"), (renamed, "signer of cw/interval is not trusted"),
        (forged("cw/credential"), "typ"), (element, "typ"), (bytes(changed), "signature"),
        (b"", "cw/party"), (b"\xd2", "cbor")):
        assert code in _refusal(_bundle(building, [element], [made]), pki.folder).code
    assert "no key" in _refusal(
        _bundle(building, [_credential(building, other)], [party]), pki.folder).code
    two = sorted([party, renamed])
    assert _refusal(_bundle(building, [element], two), pki.folder).code == \
        "unused party credential"
    assert "no party" in _refusal(_bundle(building, [element], []), pki.folder).code
    assert "out of order" in _refusal(_bundle(building, [element], [party] * 2), pki.folder).code


# revocations

def _list(pki: Pki, key_id: bytes, at_s: int, number: int = 3, count: int = 1,
          role: str = "issuer") -> list[bytes]:
    rng = random.Random(1)
    entries = [Revocation(key_id, at_s, 1)]
    entries += [Revocation(rng.randbytes(8), at_s, 2) for _ in range(count - 1)]
    return sign_list(pki.keys.get(role), number, tuple(entries), END_S)


@pytest.mark.parametrize("role", ["issuer", "operator"])
@pytest.mark.parametrize("count", [1, 700])
def test_what_was_signed_before_a_revocation_holds(building, pki, role, count) -> None:
    key = building.elements[0] if role == "issuer" else building.authorities.aggregator
    trusted = Trust.load(pki.folder)
    for at_s, holds in ((END_S + SKEW_S + 1, True), (END_S + SKEW_S, False), (0, False)):
        parts = _list(pki, key.key_id, at_s, count=count, role=role)
        for enclosed, at_hand in (([parts], None), ([], [parts]), ([parts], [parts])):
            data = _good(building, pki, enclosed)
            if holds:
                assert len(verify_bundle(data, trusted, at_hand).trust.lists) == 1
            else:
                said = _refusal(data, trusted, at_hand)
                assert said.code == "credential revoked"
                assert f"since {standing.utc(at_s)}: key-compromised" in str(said.value)


def test_the_authoritys_own_list_is_read_from_its_folder(building, pki, clock) -> None:
    sign = building.elements[0]
    pki.keep(schema.CREDENTIAL, _credential(building, pki))
    data = _good(building, pki)
    clock.now_s = END_S + DAY_S
    pki.revoke(sign.key_id.hex(), 1, END_S + 999)
    assert verify_bundle(data, Trust.load(pki.folder)).records
    pki.rotate("issuer")  # signs the list anew
    trusted = Trust.load(pki.folder)
    assert trusted.newest("issuer").number == 2 and trusted.newest("operator") is None
    assert verify_bundle(data, trusted).records
    (pki.folder / "revocations" / "issuer.old.cborseq").write_bytes(
        b"".join(sign_list(pki.keys.get("issuer"), 9, (Revocation(sign.key_id, END_S, 3),),
                           clock.now_s)))
    said = _refusal(data, pki.folder)
    assert said.code == "credential revoked" and "removed" in said.value


def test_an_older_list_takes_nothing_back(building, pki) -> None:
    sign = building.elements[0].key_id
    older, newer = _list(pki, b"somebody", 0, 3), _list(pki, sign, END_S, 4)
    for first, second in ((older, newer), (newer, older)):
        assert _refusal(_good(building, pki, [first]), pki.folder, [second]).code == \
            "credential revoked"
    # and a newer one that has dropped what expired does not either
    last = _list(pki, b"somebody", 0, 5)
    assert _refusal(_good(building, pki, [last]), pki.folder, [newer]).code == \
        "credential revoked"
    moved = _list(pki, sign, END_S + 9999, 5)
    assert _refusal(_good(building, pki, [moved]), pki.folder, [newer]).code == \
        "credential revoked"
    assert _refusal(_good(building, pki, [older]), pki.folder, [_list(pki, sign, END_S, 3)]) \
        .code == "two revocation lists of one number"


def test_a_list_that_does_not_hold_is_refused(building, pki, clock) -> None:
    whole = _list(pki, b"somebody", END_S, 3, 700)
    other = _list(pki, b"somebody", END_S, 4, 700)
    assert len(whole) == 3
    stranger = make_key_pair(random.Random(9).randbytes)
    for parts, code in (
        (whole[:2], "missing"), (whole[1:], "out of order"), (whole[::-1], "out of order"),
        ([whole[0], *whole[2:]], "out of order"), ([*whole, whole[2]], "out of order"),
        ([*whole[:2], other[2]], "several revocation lists"), ([b"x"], "cw/revocations"),
        ([whole[0], b""], "cw/revocations"), ([], "revocation list"),
        (sign_list(stranger, 3, (), END_S), "signed by no key of the issuer's root"),
        (sign_list(pki.keys.get("meter"), 3, (), END_S), "by the meter's root and not the issue"),
        (sign_list(pki.keys.get("issuer"), 3, (), 5), "before it was in force"),
        (sign_list(pki.keys.get("issuer"), 3, (), END_S, -1), "dates"),
        ([_party(building, pki)], "typ")):
        assert code in _refusal(_good(building, pki, [parts]), pki.folder).code, code
    changed = _list(pki, b"somebody", END_S)[0]
    trusted = Trust.load(pki.folder)
    for bit in range(len(changed) * 8):
        flipped = bytearray(changed)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        with pytest.raises(Refused):
            trusted.with_list([bytes(flipped)])
    old = pki.keys.get("issuer")
    clock.now_s = END_S - DAY_S
    pki.rotate("issuer")
    assert "after it was revoked" in _refusal(
        _good(building, pki, [sign_list(old, 3, (), END_S)]), pki.folder).code


@pytest.mark.parametrize("entries", [
    b"aaaaaaaa" + bytes(5) + b"aaaaaaaa" + bytes(5), b"b" * 13 + b"a" * 13, b"a" * 14, b"a"])
def test_entries_are_whole_in_order_and_single(pki, entries) -> None:
    issuer = pki.keys.get("issuer")
    part = codec.sign1(issuer.private, "cw/revocations", issuer.key_id, codec.encode_statement(
        trust.REVOCATION_LIST, {"number": 1, "issued_unix_s": END_S, "next_unix_s": END_S,
                                "part": 1, "part_count": 1, "entries": entries}))
    with pytest.raises(Refused, match="entries of a revocation list"):
        Trust.load(pki.folder).with_list([part])


def test_a_file_of_parts_is_read_back(pki) -> None:
    whole = _list(pki, b"somebody", END_S, 3, 700)
    assert standing.parts_of_file(b"".join(whole)) == whole
    for broken in (b"".join(whole)[:-1], b"\xff", bytes(3_000_000), b""):
        with pytest.raises(Refused, match="revocation list"):
            standing.parts_of_file(broken)
    (pki.folder / "revocations").mkdir(exist_ok=True)
    (pki.folder / "revocations" / "issuer.cborseq").write_bytes(b"".join(whole)[:-1])
    with pytest.raises(Refused, match="revocation list"):
        Trust.load(pki.folder)


def test_lists_have_an_end(pki) -> None:
    trusted = Trust.load(pki.folder)
    one = trusted.with_list(_list(pki, b"somebody", 0)).lists[0]
    full = replace(trusted, lists=tuple(
        replace(one, number=number) for number in range(standing.LISTS_MAX)))
    with pytest.raises(Refused, match="revocation lists"):
        full.with_list(_list(pki, b"somebody", 0, 99))


@pytest.mark.parametrize("key", [{1: 1}, {-1: 2}, {1: 3, -1: 4}])
def test_a_key_on_another_curve_is_none(building, pki, key) -> None:
    operator = pki.keys.get("operator")
    claims = cbor2.loads(codec.peek(_party(building, pki))[2])
    claims[8][1].update(key)
    made = codec.sign1(operator.private, "cw/party", operator.key_id, codec.dumps(claims))
    assert _refusal(_bundle(building, [_credential(building, pki)], [made]), pki.folder).code == \
        "key"


def test_a_large_file_is_not_read_and_nobody_is_nobody(pki) -> None:
    with pytest.raises(Refused, match="no credential"):
        Trust().check([], 0, 0)
    path = pki.folder / "roots" / "issuer.json"
    path.write_text(path.read_text() + " " * standing.FILE_SIZE_MAX)
    with pytest.raises(Refused, match="trust root"):
        Trust.load(pki.folder)
