"""The site's folder: private keys stay private, entries are whole or an error."""

import contextlib
import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from element.protocol import schema, trust
from element.protocol.errors import BusError
from host_tools import codec
from host_tools.identity.issuer import Issuer, TrustRoot
from host_tools.identity.keys import KeyPair, make_key_pair
from host_tools.identity.keystore import FileKeys
from host_tools.identity.site import KEY_NAMES, ElementEntry, Site, default_folder
from host_tools.provision.enrol import load_profile


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path / "site")
    made.create()
    return made


def enrol(site: Site, port: str = "/dev/ttyACM0") -> ElementEntry:
    """Enrol an element that exists only here."""
    sign, agree = make_key_pair(os.urandom), make_key_pair(os.urandom)
    request = codec.sign1(
        sign.private, schema.STATEMENT_TYP[schema.ENROL_REQUEST], sign.key_id,
        codec.encode_statement(schema.ENROL_REQUEST, {
            "element_id": sign.key_id, "challenge": b"c" * 16,
            "sign_key": schema.cose_key(sign.public), "agree_key": schema.cose_key(agree.public),
            "hardware_id": b"1234", "board": "memory", "firmware": "1"}))
    enrolled, _ = Issuer(site.authorities()).enrol(
        request, b"c" * 16, load_profile("lfp_16s_2500w", "wall"), 3, "acme", 1_800_000_000)
    entry = ElementEntry(enrolled.element_id.hex(), port, "memory", 3, "acme", "wall",
                         enrolled.credential.hex())
    site.save(entry)
    return entry


def test_keys_are_made_once_and_are_ours_alone(site: Site) -> None:
    keys = site.folder / "keys"
    assert keys.stat().st_mode & 0o777 == 0o700
    paths = [keys / f"{name}.pem" for name in KEY_NAMES]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in paths)
    before = [path.read_bytes() for path in paths]
    assert len(set(before)) == len(KEY_NAMES)
    site.create()
    assert [path.read_bytes() for path in paths] == before
    assert TrustRoot.load(site.folder / "trust.json") == site.authorities().trust_root


def test_the_umask_decides_nothing(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        Site(tmp_path / "open").create()
    finally:
        os.umask(old)
    for path in (tmp_path / "open" / "keys").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_making_that_is_interrupted_goes_on(tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    create = FileKeys.create
    for allowed in range(12):
        made = Site(tmp_path / str(allowed))
        left = [allowed]

        def cut(keys: FileKeys, name: str, left: list[int] = left) -> KeyPair:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return create(keys, name)

        monkeypatch.setattr(FileKeys, "create", cut)
        with contextlib.suppress(KeyboardInterrupt):
            made.create()
        monkeypatch.setattr(FileKeys, "create", create)
        made.create()
        assert made.pki.trust() and made.authorities()
        assert made.pki.find("aggregator").claims["party"] == 1


def test_a_lost_key_is_named_and_not_made_anew(site: Site) -> None:
    for name in ("issuer", "aggregator_agree"):
        path = site.keys.path(name)
        data = path.read_bytes()
        path.unlink()
        with pytest.raises(BusError, match="gone") as caught:
            site.create()
        assert name in str(caught.value.value) and not path.exists()
        path.write_bytes(data)
        path.chmod(0o600)
    site.create()


def test_a_key_that_others_can_read_is_refused(site: Site) -> None:
    path = site.folder / "keys" / "issuer.pem"
    for mode in (0o640, 0o604, 0o620, 0o601):
        path.chmod(mode)
        with pytest.raises(BusError, match="others can read") as caught:
            site.authorities()
        assert f"chmod 600 {path}" in str(caught.value.value)
    path.chmod(0o400)
    assert site.authorities().issuer.public


def test_a_missing_or_damaged_key_is_an_error(site: Site) -> None:
    path = site.folder / "keys" / "life_safety.pem"
    whole = path.read_bytes()
    other = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for data, code in ((b"", "no private key"), (whole[:-40], "no private key"),
                       (whole.replace(b"PRIVATE", b"PUBLIC"), "no private key"),
                       (other, "no P-256 key")):
        path.write_bytes(data)
        with pytest.raises(BusError, match=code):
            site.authorities()
    path.unlink()
    assert not site.exists
    with pytest.raises(BusError, match="no site keys") as caught:
        site.authorities()
    assert "--site" in str(caught.value.value)


def test_elements_are_found_by_the_begin_of_their_id(site: Site) -> None:
    assert site.elements() == []
    with pytest.raises(BusError, match="no such element") as caught:
        site.element("ab")
    assert "none" in str(caught.value.value)
    for name in ("aa01", "aa02", "bb01"):
        site.save(ElementEntry(name, "/dev/x", "memory", 1, "", "wall", ""))
    assert site.element("bb").element_id == site.element("BB01").element_id == "bb01"
    with pytest.raises(BusError, match="several elements") as caught:
        site.element("aa")
    assert "aa01, aa02" in str(caught.value.value) and "bb01" not in str(caught.value.value)
    with pytest.raises(BusError, match="no such element") as caught:
        site.element("cc")
    assert "aa01, aa02, bb01" in str(caught.value.value)


def test_an_entry_is_replaced_whole(site: Site) -> None:
    first = enrol(site)
    second = ElementEntry(**{**first.__dict__, "port": "/dev/ttyACM7"})
    site.save(second)
    assert site.elements() == [second]
    assert [path.suffix for path in (site.folder / "elements").iterdir()] == [".json"]


def test_what_a_session_needs_follows_from_entry_and_key(site: Site) -> None:
    entry = enrol(site)
    keyring = site.keyring()
    known = keyring.known[bytes.fromhex(entry.element_id)]
    assert known.claims["zone"] == 3 and known.credential.hex() == entry.credential
    assert known.agree_key == schema.raw_key(known.claims["agree_key"])
    claims = codec.decode_statement(trust.PARTY_CREDENTIAL,
                                    codec.peek(keyring.party.credential)[2])
    assert schema.raw_key(claims["agree_key"]) == keyring.party.agree.public
    assert keyring.refusal(known, known.claims["issued_unix_s"]) == ""
    assert keyring.refusal(known, known.claims["expires_unix_s"] + 121).startswith("expired")


def test_a_renewed_credential_is_the_one_for_the_next_session(site: Site) -> None:
    entry = enrol(site)
    element_id = bytes.fromhex(entry.element_id)
    site.pki.keep(schema.CREDENTIAL, bytes.fromhex(entry.credential))
    here = {"element_id": element_id, "issuer_number": 1, "operator_number": 1,
            "life_safety_number": 1, "revocation_number": 0,
            "credential_unix_s": site.keyring().known[element_id].claims["issued_unix_s"]}
    assert site.keyring().news(here) == []
    rotation = site.pki.rotate("issuer")
    renewed = site.keyring().known[element_id].credential
    assert renewed.hex() != entry.credential
    site.pki.revoke("aggregator", 1)
    news = site.keyring().news({**here, "credential_unix_s": 0})
    assert news == [rotation, site.pki.operator_list()[1], renewed]
    assert site.keyring().news({**here, "credential_unix_s": 0, "issuer_number": 2,
                                "revocation_number": 1}) == [renewed]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"element_id": "aa"}', "\x00",
                                  '{"element_id": 1, "extra": 2}', '"text"', '{"zone": "3"}',
                                  '{"element_id": "aa", "port": "", "board": "", "zone": true,'
                                  ' "tenant": "", "role": "", "credential": ""}'])
def test_a_damaged_entry_is_named(site: Site, text: str) -> None:
    enrol(site)
    path = site.folder / "elements" / "cc.json"
    path.write_text(text)
    with pytest.raises(BusError, match="damaged element entry") as caught:
        site.elements()
    assert "cc.json" in str(caught.value.value)


@pytest.mark.parametrize(("field", "value"), [
    ("credential", ""), ("credential", "zz"), ("credential", "d284"), ("element_id", "xy")])
def test_an_entry_whose_credential_is_damaged_is_named(site: Site, field: str,
                                                       value: str) -> None:
    entry = enrol(site)
    path = site.folder / "elements" / f"{entry.element_id}.json"
    path.write_text(json.dumps({**entry.__dict__, field: value}))
    with pytest.raises(BusError, match="damaged element entry"):
        site.keyring()


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    assert default_folder() == Path("/somewhere/cellwall/site")
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/where/one")
    assert default_folder() == Path("/where/one/.local/share/cellwall/site")
