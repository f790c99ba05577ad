"""Roots, credentials, revocation and rotation: what holds, when, and what is refused."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from element.protocol import schema, trust
from element.protocol.errors import BusError, DecodeError, Error, SignatureError
from host_tools import codec
from host_tools.identity.credentials import EARLY_S, common_claims, party_credential
from host_tools.identity.keys import KeyPair, key_id, make_key_pair
from host_tools.identity.keystore import FileKeys
from host_tools.identity.pki import Pki, load_list
from host_tools.identity.revocation import SKEW_S, Revocation, Revocations, open_list, sign_list
from host_tools.identity.roots import Root, Roots, key_hash, rotation
from tests.portable.fakes import profile_fields

NOW_S = 1_800_000_000
DAY_S = 86_400


class Clock:
    """A clock that stands until it is moved."""

    now_s = NOW_S

    def __call__(self) -> int:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pki(tmp_path: Path, clock: Clock) -> Pki:
    """An authority with its four roots."""
    made = Pki(tmp_path / "site", FileKeys(tmp_path / "site" / "keys"), clock)
    made.init()
    return made


def element_claims(sign: KeyPair, agree: KeyPair, **changes: Any) -> dict[str, Any]:
    """Return the claims of an element's credential."""
    claims = {**common_claims("site", sign.public, agree.public, NOW_S, 10 * DAY_S),
              "profile": profile_fields(), "zone": 2, "tenant": "acme",
              "manufacturer": "wallworks"}
    claims.update(changes)
    return claims


def pair() -> KeyPair:
    return make_key_pair(os.urandom)


# ---- keys ----


def test_keys_are_private_files_and_never_replaced(pki: Pki, tmp_path: Path) -> None:
    folder = tmp_path / "site" / "keys"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    names = sorted(path.stem for path in folder.iterdir())
    assert names == sorted([*Roots.load(tmp_path / "site" / "roots").by_role,
                            *(f"{role}.next" for role in ("issuer", "operator", "life_safety",
                                                          "meter"))])
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.iterdir())
    keys = FileKeys(folder)
    before = keys.get("issuer").public
    with pytest.raises(BusError, match="already"):
        keys.create("issuer")
    with pytest.raises(BusError, match="already"):
        keys.rename("meter", "issuer")
    assert keys.get("issuer").public == before
    pki.init()
    assert keys.get("issuer").public == before
    keys.path("issuer").chmod(0o644)
    with pytest.raises(BusError, match="others can read"):
        keys.get("issuer")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a b", "x" * 65])
def test_a_key_has_a_plain_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(BusError):
        FileKeys(tmp_path).create(name)


# ---- credentials ----


def test_a_credential_holds_in_its_time_give_or_take_the_skew(pki: Pki) -> None:
    issued = pki.issue_element(element_claims(pair(), pair()))
    believed = pki.trust()
    begins, ends = NOW_S - EARLY_S, NOW_S + 10 * DAY_S
    for at_s in (begins - SKEW_S, NOW_S, ends + SKEW_S):
        claims = believed.claims(schema.CREDENTIAL, issued.credential, at_s)
        assert claims == issued.claims and claims["manufacturer"] == "wallworks"
    for at_s, why in ((begins - SKEW_S - 1, "not yet valid"), (ends + SKEW_S + 1, "expired")):
        with pytest.raises(SignatureError, match=why):
            believed.claims(schema.CREDENTIAL, issued.credential, at_s)


def test_what_another_root_signed_is_refused(pki: Pki, tmp_path: Path, clock: Clock) -> None:
    other = Pki(tmp_path / "other", FileKeys(tmp_path / "other" / "keys"), clock)
    other.init()
    foreign = other.issue_element(element_claims(pair(), pair()))
    party = pki.issue_party("aggregator", "aggregator")
    believed = pki.trust()
    assert believed.claims(trust.PARTY_CREDENTIAL, party.credential, NOW_S)["party"] == 1
    with pytest.raises(SignatureError):
        believed.claims(schema.CREDENTIAL, foreign.credential, NOW_S)
    with pytest.raises(Error):  # a party is no element
        believed.claims(schema.CREDENTIAL, party.credential, NOW_S)
    # signed by the wrong one of our own roots
    sign, agree = pair(), pair()
    wrong = party_credential("x", "alarm", sign.public, agree.public, pki.keys.get("issuer"), "me",
                             NOW_S)
    with pytest.raises(SignatureError):
        believed.claims(trust.PARTY_CREDENTIAL, wrong, NOW_S)
    # a key that is not the subject's
    strange = key_id(pair().public).hex()
    swapped = pki.issue_element(element_claims(pair(), pair(), subject=strange))
    with pytest.raises(SignatureError, match="subject"):
        believed.claims(schema.CREDENTIAL, swapped.credential, NOW_S)


def test_every_flipped_bit_of_a_credential_is_refused(pki: Pki) -> None:
    issued = pki.issue_party("alarm", "alarm")
    believed = pki.trust()
    for bit in range(8 * len(issued.credential)):
        data = bytearray(issued.credential)
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Error):
            believed.claims(trust.PARTY_CREDENTIAL, bytes(data), NOW_S)


def test_a_renewed_credential_has_the_same_rights_and_a_new_time(pki: Pki, clock: Clock) -> None:
    issued = pki.issue_element(element_claims(pair(), pair()))
    clock.now_s += 9 * DAY_S
    again = pki.renew(issued.subject[:6])
    changed = {name for name in again.claims if again.claims[name] != issued.claims[name]}
    assert changed == {"expires_unix_s", "not_before_unix_s", "issued_unix_s"}
    assert pki.trust().claims(schema.CREDENTIAL, again.credential, NOW_S + 12 * DAY_S)
    assert [one.credential for one in pki.issued()] == [again.credential]
    with pytest.raises(BusError, match="no such credential"):
        pki.renew("ffff")


# ---- revocation ----


def test_a_revoked_key_is_refused_from_then_on_and_not_before(pki: Pki, clock: Clock) -> None:
    issued = pki.issue_element(element_claims(pair(), pair()))
    clock.now_s += DAY_S
    pki.revoke(issued.subject, trust.REASON_KEY_COMPROMISED)
    believed = pki.trust()
    assert believed.claims(schema.CREDENTIAL, issued.credential, clock.now_s - SKEW_S - 1)
    with pytest.raises(SignatureError, match="key-compromised"):
        believed.claims(schema.CREDENTIAL, issued.credential, clock.now_s - SKEW_S)
    with pytest.raises(BusError, match="revoked"):
        pki.renew(issued.subject)
    before = pki.revocations()["issuer"]
    pki.revoke(issued.subject, trust.REASON_REMOVED)  # twice changes nothing
    assert pki.revocations()["issuer"] == before and before.number == 1
    assert not before.is_stale(clock.now_s) and before.is_stale(clock.now_s + 31 * DAY_S)
    clock.now_s += 20 * DAY_S  # the credential has expired: the entry may go
    pki.sign_lists()
    after = pki.revocations()["issuer"]
    assert after.number == 2 and after.entries == ()


def test_a_list_of_many_parts_is_whole_or_refused() -> None:
    root = pair()
    entries = tuple(Revocation(number.to_bytes(8, "big"), NOW_S + number, 1)
                    for number in range(1, 701))
    parts = sign_list(root, 7, entries, NOW_S)
    assert len(parts) == 3 and open_list(parts, root.public).entries == entries
    assert open_list(sign_list(root, 1, (), NOW_S), root.public) == Revocations(
        1, NOW_S, NOW_S + 30 * DAY_S)
    other = sign_list(root, 8, entries, NOW_S)
    for bad in (parts[:2], parts[1:], [parts[1], parts[0], parts[2]], [*parts, parts[2]], [],
                [parts[0], other[1], parts[2]]):
        with pytest.raises(DecodeError):
            open_list(bad, root.public)
    with pytest.raises(SignatureError):
        open_list(parts, pair().public)
    double = sign_list(root, 9, (entries[0], entries[0]), NOW_S)
    with pytest.raises(DecodeError, match="order"):
        open_list(double, root.public)


# ---- rotation ----


def test_a_rotated_root_speaks_from_then_on_and_the_old_one_for_what_was(
        pki: Pki, clock: Clock) -> None:
    old = pki.issue_element(element_claims(pair(), pair()))
    revoked = pki.issue_element(element_claims(pair(), pair()))
    pki.revoke(revoked.subject, trust.REASON_REMOVED)
    before = pki.keys.get("issuer").public
    clock.now_s += DAY_S
    pki.rotate("issuer")
    after = pki.keys.get("issuer").public
    assert after != before and pki.keys.get("issuer.1").public == before
    new = pki.issue_element(element_claims(pair(), pair(), issued_unix_s=clock.now_s))
    believed = pki.trust()
    for one in (old, new):
        assert believed.claims(schema.CREDENTIAL, one.credential, clock.now_s)
    assert believed.revocations["issuer"].number == 2  # signed anew by the new key
    with pytest.raises(SignatureError, match="revoked"):
        believed.claims(schema.CREDENTIAL, revoked.credential, clock.now_s)
    # the old key signs no more, whatever date it writes beyond the rotation
    late = codec.sign1(pki.keys.get("issuer.1").private, "cw/credential", key_id(before),
                       codec.encode_statement(schema.CREDENTIAL, element_claims(
                           pair(), pair(), issued_unix_s=clock.now_s + 5)))
    with pytest.raises(SignatureError):
        believed.claims(schema.CREDENTIAL, late, clock.now_s + 5)
    for role in ("operator", "life_safety", "meter", "issuer"):
        pki.rotate(role)
    assert len(pki.roots()["issuer"].keys) == 3


def test_a_stolen_key_appoints_nobody(pki: Pki) -> None:
    root = pki.roots()["life_safety"]
    thief, stolen = pair(), pki.keys.get("life_safety")
    following = pki.keys.get("life_safety.next")

    def statement(by: KeyPair, **changes: Any) -> bytes:
        fields = {"role": "life_safety", "number": 2, "pair": by,
                  "next_hash": key_hash(thief.public), "not_before_unix_s": NOW_S,
                  "revoked_unix_s": NOW_S, **changes}
        return rotation(**fields)

    for bad in (statement(thief), statement(stolen), statement(following, number=3),
                statement(following, number=1), statement(following, role="issuer"),
                statement(following, revoked_unix_s=NOW_S + 1),
                statement(following, revoked_unix_s=NOW_S - 2 * DAY_S)):
        with pytest.raises(SignatureError):
            Root("life_safety", root.keys[0].key, root.keys[0].next_hash,
                 root.keys[0].from_unix_s, [bad])
    good = statement(following)
    assert root.apply(good).key == following.public
    assert root.apply(good).key == following.public and len(root.keys) == 2  # known: no change
    for bit in range(0, 8 * len(good), 5):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Error):
            Root("life_safety", root.keys[0].key, root.keys[0].next_hash,
                 root.keys[0].from_unix_s, [bytes(data)])


class Interrupted(Exception):
    """The power went."""


@pytest.mark.parametrize("after", range(8))
def test_a_rotation_that_is_interrupted_is_whole_or_none(pki: Pki, after: int) -> None:
    left = [after]
    keys = pki.keys

    class Cut:
        """A key store that loses power after so many changes."""

        def __getattr__(self, name: str) -> Callable[..., Any]:
            method = getattr(keys, name)
            if name not in ("create", "rename"):
                return method  # type: ignore[no-any-return]

            def counted(*arguments: Any) -> Any:
                if left[0] == 0:
                    raise Interrupted
                left[0] -= 1
                return method(*arguments)
            return counted

    pki.keys = Cut()  # type: ignore[assignment]
    try:
        pki.rotate("operator")
        whole = True
    except Interrupted:
        whole = False
    assert whole == (after >= 4)
    pki.keys = keys
    root = pki.roots()["operator"]  # a fresh look settles it
    assert pki.keys.get("operator").public == root.current.key
    assert key_hash(pki.keys.get("operator.next").public) == root.current.next_hash
    assert pki.issue_party("aggregator", "aggregator")
    pki.rotate("operator")
    assert len(pki.roots()["operator"].keys) == len(root.keys) + 1


# ---- files ----


def test_a_damaged_folder_is_named(pki: Pki, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    with pytest.raises(BusError, match="no roots"):
        Roots.load(tmp_path / "nothing")
    path = folder / "roots" / "meter.json"
    text = path.read_text()
    for bad in ("", "[]", "{}", text.replace("meter", "issuer"), text.replace('"key"', '"kay"')):
        path.write_text(bad)
        with pytest.raises(DecodeError):
            Roots.load(folder / "roots")
    path.write_text(text)
    issued = pki.issue_party("panel", "alarm")
    pki.revoke("panel", trust.REASON_REMOVED)
    lists = folder / "revocations" / "operator.cborseq"
    data = lists.read_bytes()
    for bad_list in (b"", data[:-1], data + b"\x00", data + data):
        lists.write_bytes(bad_list)
        with pytest.raises(Error):
            load_list(lists.parent, pki.roots()["operator"])
    lists.write_bytes(data)
    (folder / "issued" / f"{issued.subject}.party").write_bytes(b"\x01")
    with pytest.raises(DecodeError, match="issued"):
        pki.issued()


def test_without_a_list_nobody_is_revoked(pki: Pki) -> None:
    assert pki.revocations() == {"issuer": Revocations(), "operator": Revocations()}
