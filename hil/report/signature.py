"""Sign the folder of a run, and say later which of its files was changed.

`SHA256SUMS` has a line for every result, as `sha256sum` writes it. `run.cose` is a COSE_Sign1
(RFC 9052, ES256), typ cw/bench-run, over a deterministic CBOR map that holds the hash of that
file: {1: key id, 2: scenario, 3: seed, 4: commit, 5: firmware hash, 6: start of the run, Unix ms,
7: when it was signed, Unix ms, 8: SHA-256 of SHA256SUMS}. It is a document of the bench, signed by
the bench's own key; no element or site knows of it.
"""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from host_tools import codec
from host_tools.attest.primitives import Refused, open_signed, peek
from host_tools.identity.keys import KeyPair, key_id

from .files import JUNIT_FILE, PAGE_FILE, RESULTS_FILE, write_whole

RUN_TYP = "cw/bench-run"
RUN_SHAPE = {1: "b8", 2: "s", 3: "i", 4: "s", 5: "b32", 6: "i", 7: "i", 8: "b32"}
SIGNATURE_FILE = "run.cose"
SUMS_FILE = "SHA256SUMS"
# Made again by `cellwall hil report` from the other files.
REMADE = (PAGE_FILE, JUNIT_FILE)
STATEMENTS = "statements/"
# What the bench works with and nobody judges: the panel's database, the boards' flash.
_WORKING = re.compile(r"(^|/)\.|^ledger\.db|^boards/(?!.*/console\.log$)")
_LINE = re.compile(r"([0-9a-f]{64})  ([^\0\n]+)")
SUMS_SIZE_MAX = 16 << 20
SIGNATURE_SIZE_MAX = 4096


@dataclass(frozen=True)
class RunSignature:
    """What run.cose says. Times are Unix ms of the machine's own clock."""

    key_id: bytes
    scenario: str
    seed: int
    commit: str
    firmware_sha256: str
    began_unix_ms: int
    signed_unix_ms: int
    sums_sha256: bytes

    @classmethod
    def of(cls, fields: dict[int, Any]) -> "RunSignature":
        """Return it from a checked payload."""
        return cls(fields[1], fields[2], fields[3], fields[4], fields[5].hex(), *(
            fields[label] for label in (6, 7, 8)))


@dataclass
class Verified:
    """What was found. problems: (file, why); foreign: signed by a key that was not given."""

    signature: RunSignature | None = None
    problems: list[tuple[str, str]] = field(default_factory=list)
    checked: int = 0
    unlisted: list[str] = field(default_factory=list)
    foreign: bool = False

    @property
    def holds(self) -> bool:
        """True when the signature and every file hold."""
        return not self.problems


def result_files(folder: Path) -> list[str]:
    """Return the names of all files of a run that are results, sorted, '/' between folders."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*")
             if path.is_file() and not path.is_symlink()]
    return sorted(name for name in names
                  if name not in (SIGNATURE_FILE, SUMS_FILE) and "\n" not in name
                  and not _WORKING.search(name))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sign_run(folder: Path, results: dict[str, Any], key: KeyPair, began_unix_ms: int,
             signed_unix_ms: int) -> None:
    """Write SHA256SUMS and run.cose for the files that are in the folder now.

    results: what results.json holds. began_unix_ms: start of the run, by which runs are ordered.
    """
    sums = "".join(f"{_sha256(folder / name)}  {name}\n" for name in result_files(folder)).encode(
        "utf-8", "surrogateescape")
    payload = codec.dumps({
        1: key.key_id, 2: results["scenario"], 3: results["seed"], 4: results["commit"],
        5: bytes.fromhex(results["firmware_sha256"]), 6: began_unix_ms, 7: signed_unix_ms,
        8: hashlib.sha256(sums).digest()})
    # a folder cut between the two has a signature that does not hold, and none that lies
    write_whole(folder / SUMS_FILE, sums)
    write_whole(folder / SIGNATURE_FILE, codec.sign1(key.private, RUN_TYP, key.key_id, payload))


def _read(path: Path, size_max: int) -> bytes:
    """Return a file's bytes. Raises Refused."""
    try:
        if path.stat().st_size > size_max:
            raise Refused("is too large", path.stat().st_size)
        return path.read_bytes()
    except FileNotFoundError as error:
        raise Refused("is missing") from error
    except OSError as error:
        raise Refused("cannot be read", error.strerror) from error


def peek_run(folder: Path) -> RunSignature:
    """Return what run.cose says without checking its signature. Raises Refused."""
    _, fields = peek(_read(folder / SIGNATURE_FILE, SIGNATURE_SIZE_MAX), RUN_TYP, RUN_SHAPE)
    return RunSignature.of(fields)


def verify_run(folder: Path, public: bytes, only: str | None = None) -> Verified:
    """Check run.cose with the signer's raw public key, and every file with SHA256SUMS.

    only: the one file to check, for those who read no other.
    """
    found = Verified()
    place = SIGNATURE_FILE
    try:
        found.signature = peek_run(folder)
        signer, given = found.signature.key_id, key_id(public)
        if signer != given:
            found.foreign = True
            raise Refused(f"is signed by key {signer.hex()}, which is not the given one")
        open_signed(_read(folder / place, SIGNATURE_SIZE_MAX), RUN_TYP, {given: public}, RUN_SHAPE)
        place = SUMS_FILE
        sums = _read(folder / place, SUMS_SIZE_MAX)
        if hashlib.sha256(sums).digest() != found.signature.sums_sha256:
            raise Refused("was changed after it was signed")
        listed = _listed(sums)
    except Refused as error:
        found.problems.append((place, _why(place, error)))
        return found
    if only is not None:
        listed = {name: digest for name, digest in listed.items() if name == only}
        if not listed:
            found.problems.append((only, "was added after the run was signed"))
    _check_files(folder, listed, found)
    if only is None:
        _check_added(folder, listed, found)
    return found


def _why(place: str, error: Refused) -> str:
    """Return in words what is wrong with run.cose or SHA256SUMS."""
    if place == SIGNATURE_FILE and error.code == "is missing":
        return "is missing: the run was never signed, or did not come to its end"
    if error.code == "signature":
        return "its signature does not hold: it was changed, or made with another key"
    if error.code.startswith(("is ", "was ", "cannot ")):
        return error.code if error.value is None else f"{error.code}: {error.value}"
    return f"is no signature of a run ({error.code})"


def _listed(sums: bytes) -> dict[str, str]:
    """Return the hash of each name. Raises Refused for what is no such list."""
    listed = {}
    for line in sums.decode("utf-8", "surrogateescape").split("\n")[:-1]:
        match = _LINE.fullmatch(line)
        if match is None or match[2].startswith("/") or ".." in match[2].split("/"):
            raise Refused("is no list of hashes", line[:80])
        listed[match[2]] = match[1]
    return listed


def _check_files(folder: Path, listed: dict[str, str], found: Verified) -> None:
    """Compare every listed file with its hash."""
    for name, wanted in listed.items():
        found.checked += 1
        try:
            if _sha256(folder / name) != wanted:
                found.problems.append((name, "was changed after it was signed"))
        except FileNotFoundError:
            found.problems.append((name, "is missing"))
        except OSError as error:
            found.problems.append((name, f"cannot be read: {error.strerror}"))


def _check_added(folder: Path, listed: dict[str, str], found: Verified) -> None:
    """Name the files that are there beyond the list."""
    for name in result_files(folder):
        if name in listed:
            continue
        # what is added there is read by `cellwall verify`; anywhere else it is a note of somebody
        if name.startswith(STATEMENTS) or name in (RESULTS_FILE, *REMADE):
            found.problems.append((name, "was added after the run was signed"))
        else:
            found.unlisted.append(name)
