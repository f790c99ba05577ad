"""The signature of a run's folder: what it holds, what breaks it, and when it is made again."""

import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from element.protocol import cbor, cose
from element.protocol.errors import BusError
from hil.bench import bench_key as keys
from hil.report.remake import remake
from hil.report.signature import RUN_TYP, result_files, sign_run, verify_run
from hil.report.write import write_report
from host_tools import codec
from host_tools.identity.keys import KeyPair, make_key_pair, raw_public

from .report_example import example, write_trace

BEGAN, SIGNED, LATER = 1_790_000_000_000, 1_790_000_060_000, 1_790_000_999_000


@pytest.fixture
def key() -> KeyPair:
    """A bench's key."""
    return make_key_pair(os.urandom)


@pytest.fixture
def folder(tmp_path: Path, key: KeyPair) -> Path:
    """A run's folder, signed, with what the bench works with still in it."""
    made = tmp_path / "run"
    (made / "statements" / "roots").mkdir(parents=True)
    (made / "boards" / "wall-1" / "flash").mkdir(parents=True)
    (made / "statements" / "statements.cborseq").write_bytes(b"\x01")
    (made / "statements" / "roots" / "issuer.json").write_text("{}")
    (made / "boards" / "wall-1" / "console.log").write_text("boot")
    (made / "boards" / "wall-1" / "flash" / "latch").write_bytes(b"x")
    (made / "ledger.db").write_bytes(b"sqlite")
    write_trace(made, 240)
    write_report(example(), made, key.key_id)
    sign_run(made, example(), key, BEGAN, SIGNED)
    return made


FILES = ["boards/wall-1/console.log", "junit.xml", "report.html", "results.json",
         "statements/roots/issuer.json", "statements/statements.cborseq", "trace.csv"]


def test_a_signed_folder_holds_and_says_what_it_is(folder: Path, key: KeyPair) -> None:
    found = verify_run(folder, key.public)
    assert found.holds and found.checked == len(FILES) and not found.unlisted
    said = found.signature
    assert said is not None and said.key_id == key.key_id
    assert (said.scenario, said.seed, said.commit) == ("small", 7, example()["commit"])
    assert said.firmware_sha256 == "ab" * 32
    assert (said.began_unix_ms, said.signed_unix_ms) == (BEGAN, SIGNED)
    assert key.key_id.hex() in (folder / "report.html").read_text()


def test_the_bytes_are_plain_cose_and_plain_sums(folder: Path, key: KeyPair) -> None:
    """The contract's own reader opens it, and coreutils check the list."""
    _, header, payload, _ = cose.sign1_parse((folder / "run.cose").read_bytes())
    assert header == {1: -7, 4: key.key_id, 16: RUN_TYP}
    fields = cbor.decode(payload)
    assert fields[8] == hashlib.sha256((folder / "SHA256SUMS").read_bytes()).digest()
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder,
                          capture_output=True, text=True, check=True)
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == FILES
    assert result_files(folder) == FILES


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_names_its_file(folder: Path, key: KeyPair, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)
    assert verify_run(folder, key.public).problems == [(name, "was changed after it was signed")]


def test_a_missing_and_an_added_file_are_named(folder: Path, key: KeyPair) -> None:
    """A list of revocations slipped in would be read by `cellwall verify`; a note harms nobody."""
    (folder / "trace.csv").unlink()
    (folder / "statements" / "revocations").mkdir()
    (folder / "statements" / "revocations" / "x.cose").write_bytes(b"")
    (folder / "note.txt").write_text("looked at it")
    found = verify_run(folder, key.public)
    assert found.problems == [
        ("trace.csv", "is missing"),
        ("statements/revocations/x.cose", "was added after the run was signed")]
    assert found.unlisted == ["note.txt"]


def _flip(path: Path, index: int) -> None:
    data = bytearray(path.read_bytes())
    data[index] ^= 1
    path.write_bytes(data)


BREAKS: list[tuple[str, Callable[[Path], object], str, str]] = [
    ("sums", lambda f: _flip(f / "SHA256SUMS", 3), "SHA256SUMS", "was changed"),
    ("sums cut", lambda f: (f / "SHA256SUMS").write_text(""), "SHA256SUMS", "was changed"),
    ("no sums", lambda f: (f / "SHA256SUMS").unlink(), "SHA256SUMS", "is missing"),
    ("no signature", lambda f: (f / "run.cose").unlink(), "run.cose", "never signed"),
    ("signature", lambda f: _flip(f / "run.cose", -1), "run.cose", "its signature does not hold"),
    ("payload", lambda f: _flip(f / "run.cose", 60), "run.cose", "its signature does not hold"),
    ("garbage", lambda f: (f / "run.cose").write_bytes(b"\xd2\x84"), "run.cose",
     "is no signature of a run"),
    ("huge", lambda f: (f / "run.cose").write_bytes(bytes(5000)), "run.cose", "is too large"),
]


@pytest.mark.parametrize(("act", "name", "why"), [one[1:] for one in BREAKS],
                         ids=[one[0] for one in BREAKS])
def test_a_broken_signature_vouches_for_nothing(
    folder: Path, key: KeyPair, act: Callable[[Path], object], name: str, why: str
) -> None:
    act(folder)
    found = verify_run(folder, key.public)
    assert [one[0] for one in found.problems] == [name] and why in found.problems[0][1]
    assert found.checked == 0


def test_no_byte_of_the_signature_can_change(folder: Path, key: KeyPair) -> None:
    whole = (folder / "run.cose").read_bytes()
    for index in range(len(whole)):
        _flip(folder / "run.cose", index)
        assert not verify_run(folder, key.public).holds, index
        (folder / "run.cose").write_bytes(whole)
    assert verify_run(folder, key.public).holds


def test_another_key_is_said_to_be_another(folder: Path, key: KeyPair) -> None:
    other = make_key_pair(os.urandom)
    found = verify_run(folder, other.public)
    assert found.foreign and not found.holds
    assert key.key_id.hex() in found.problems[0][1]
    # signed by the other, in the first one's name
    sums = example() | {"seed": 8}
    sign_run(folder, sums, KeyPair(other.private, key.public), BEGAN, SIGNED)
    found = verify_run(folder, key.public)
    assert found.problems[0][0] == "run.cose" and "does not hold" in found.problems[0][1]


def test_a_list_that_leaves_the_folder_is_refused(folder: Path, key: KeyPair) -> None:
    """Even when it is signed: nothing outside of the folder is read."""
    for line in (f"{'0' * 64}  ../x\n", f"{'0' * 64}  /etc/passwd\n", "no hash\n"):
        (folder / "SHA256SUMS").write_text(line)
        sums = hashlib.sha256(line.encode()).digest()
        payload = cbor.encode({1: key.key_id, 2: "s", 3: 1, 4: "c", 5: bytes(32), 6: 1, 7: 1,
                               8: sums})
        (folder / "run.cose").write_bytes(
            codec.sign1(key.private, RUN_TYP, key.key_id, payload))
        found = verify_run(folder, key.public)
        assert found.problems[0][0] == "SHA256SUMS" and "no list" in found.problems[0][1]


def test_the_report_made_again_is_signed_again(folder: Path, key: KeyPair) -> None:
    """What is made again may have been changed; the start of the run stays the start."""
    (folder / "report.html").write_text("scribbled")
    (folder / "junit.xml").unlink()
    made = remake(folder, key, LATER)
    assert made.problems == [] and made.results == example()
    found = verify_run(folder, key.public)
    assert found.holds and found.signature is not None
    assert (found.signature.began_unix_ms, found.signature.signed_unix_ms) == (BEGAN, SIGNED)


def test_another_page_is_signed_anew(folder: Path, key: KeyPair) -> None:
    (folder / "report.html").write_text("of an older version")
    sign_run(folder, example(), key, BEGAN, SIGNED)
    assert remake(folder, key, LATER).problems == []
    found = verify_run(folder, key.public)
    assert found.holds and found.signature is not None
    assert (found.signature.began_unix_ms, found.signature.signed_unix_ms) == (BEGAN, LATER)


@pytest.mark.parametrize("name", ["results.json", "trace.csv", "statements/statements.cborseq"])
def test_what_was_tampered_with_is_not_signed(folder: Path, key: KeyPair, name: str) -> None:
    """The page is made from what is there, and says that nobody signs it."""
    before = (folder / "run.cose").read_bytes()
    if name == "results.json":
        changed = example()
        changed["limits"][1] |= {"value": 2.9, "margin": 0.1, "met": True}
        (folder / name).write_text(json.dumps(changed, indent=1) + "\n")
    else:
        with (folder / name).open("a") as file:
            file.write("240,release,0.0,0.0,0.0,0.0" + ",0.0,0.0,50.00" * 2 + "\n")
    made = remake(folder, key, LATER)
    assert made.problems == [(name, "was changed after it was signed")]
    assert (folder / "run.cose").read_bytes() == before
    assert not verify_run(folder, key.public).holds
    assert "not signed" in (folder / "report.html").read_text()


def test_an_unsigned_folder_stays_unsigned(folder: Path, key: KeyPair) -> None:
    (folder / "run.cose").unlink()
    assert [one[0] for one in remake(folder, key, LATER).problems] == ["run.cose"]
    assert not (folder / "run.cose").exists()


@pytest.mark.parametrize("own", [True, False])
def test_another_benchs_run_keeps_its_signature(folder: Path, key: KeyPair, own: bool) -> None:
    """With a key of our own or without: its files come out the same, and still verify."""
    before = (folder / "run.cose").read_bytes()
    made = remake(folder, make_key_pair(os.urandom) if own else None, LATER)
    assert made.foreign_signer == key.key_id and made.problems == []
    assert (folder / "run.cose").read_bytes() == before
    assert verify_run(folder, key.public).holds


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty configuration folder of a user."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("CELLWALL_BENCH_KEY", raising=False)
    return tmp_path / "config" / "cellwall"


def test_the_key_is_made_once_for_its_user_alone(config: Path) -> None:
    assert keys.existing_key() is None and not config.exists()
    first = keys.bench_key()
    assert keys.bench_key().public == first.public
    file = config / "bench.pem"
    assert file.stat().st_mode & 0o777 == 0o600 and config.stat().st_mode & 0o777 == 0o700
    assert list(config.iterdir()) == [file]
    file.chmod(0o644)
    with pytest.raises(BusError, match="others can read"):
        keys.bench_key()


def test_runs_that_begin_together_have_one_key(config: Path) -> None:
    """The key appears whole: nobody reads half of it, and nobody replaces it."""
    start, found = threading.Barrier(8), []

    def begin() -> None:
        start.wait()
        found.append(keys.bench_key().public)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(found) == 8 and len(set(found)) == 1


def test_a_named_key_is_used_and_never_made(config: Path, tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    named = tmp_path / "our-bench.pem"
    monkeypatch.setenv("CELLWALL_BENCH_KEY", str(named))
    with pytest.raises(BusError, match="names no file") as caught:
        keys.bench_key()
    assert "next: " in str(caught.value) and not named.exists()
    private = ec.generate_private_key(ec.SECP256R1())
    named.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    named.chmod(0o600)
    pair = keys.bench_key()
    assert pair.public == raw_public(private.public_key()) and not config.exists()


def test_a_place_that_takes_no_key_is_named(tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CELLWALL_BENCH_KEY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    (tmp_path / "file").write_text("")
    with pytest.raises(BusError, match="cannot be kept"):
        keys.bench_key()


def test_public_keys_travel_as_pem(tmp_path: Path, key: KeyPair) -> None:
    file = tmp_path / "public.pem"
    file.write_text(keys.public_pem(key.public))
    assert keys.read_public(file) == key.public
    for text in ("", "x" * 20_000, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"):
        file.write_text(text)
        with pytest.raises(BusError, match="no public key"):
            keys.read_public(file)
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    file.write_bytes(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(BusError, match=r"no P-256 key"):
        keys.read_public(file)
