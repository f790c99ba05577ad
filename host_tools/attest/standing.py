"""Who may speak, and when: roots and their rotations, revocation lists, credentials.

A part of the standalone verifier, above primitives alone. What a counterparty trusts is a folder
`roots/` (`<role>.json`: first key, hash of the promised one, signed rotations) with the lists of
`revocations/`, or in a trust.json bare keys without any history. docs/attestation.md, section 4.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import cbor2

from host_tools.attest.primitives import Refused, key_id, need, open_signed, peek, shaped

SKEW_S = 120  # how far clocks may be apart: towards validity, and towards a revocation
NEVER = 0xFFFFFFFF
FILE_SIZE_MAX = 1 << 20
TRUST_FILES_MAX, ROTATIONS_MAX, PARTS_MAX, LISTS_MAX = 64, 1000, 255, 64
ROLES = {"issuer": 1, "operator": 2, "life_safety": 3, "meter": 4}
ROLE_OF_TYP = {"cw/credential": "issuer", "cw/party": "operator"}
REASONS = ("unspecified", "key-compromised", "replaced", "removed")
PARTIES = {1: "aggregator", 2: "alarm", 3: "meter"}
AGGREGATOR = 1
PARTY, NAME, PROFILE, TENANT = -70006, -70007, -70002, -70004
_COMMON = {1: "s", 2: "s", 4: "i", 5: "i", 6: "i", 8: "m"}
_SHAPES = {"cw/credential": {**_COMMON, PROFILE: "m", TENANT: "s"},
           "cw/party": {**_COMMON, PARTY: "i", NAME: "s"}}
_ROTATION = {1: "i", 2: "i", 3: "m", 4: "b32", 5: "i", 6: "i"}
_LIST = {1: "i", 2: "i", 3: "i", 4: "i", 5: "i", 6: "b"}
_ENTRY_SIZE = 13


def utc(unix_s: int) -> str:
    """Return a time as ISO 8601 in UTC, or the number itself where it is none."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") \
        if 0 <= unix_s <= NEVER else str(unix_s)


def raw_key(cose_key: Any) -> bytes:
    """Return x||y of a P-256 COSE_Key. Raises Refused for any other."""
    key = shaped(cose_key, {1: "i", -1: "i", -2: "b32", -3: "b32"}, True, "key")
    need(key[1] == 2 and key[-1] == 1, "key", key[-1])
    return bytes(key[-2] + key[-3])


@dataclass(frozen=True)
class RootKey:
    """One key of a root. It speaks in from_unix_s <= t < until_unix_s."""

    key: bytes
    from_unix_s: int
    until_unix_s: int = NEVER


def open_root(role: str, said: dict[str, Any]) -> list[RootKey]:
    """Return a root's keys in order, out of its file. Raises Refused for a rotation that fails.

    Every rotation is signed by the key it appoints, which the key before has promised by hash.
    """
    try:
        first, promised = bytes.fromhex(said["key"]), bytes.fromhex(said["next_hash"])
        begins, rotations = said["from_unix_s"], [bytes.fromhex(one) for one in said["rotations"]]
        need(said["role"] == role and len(first) == 64 and len(promised) == 32
             and type(begins) is int and len(rotations) <= ROTATIONS_MAX, "root", role)
    except (ValueError, KeyError, TypeError) as error:
        raise Refused("root", role) from error
    keys = [RootKey(first, begins)]
    for number, statement in enumerate(rotations, 2):
        where = f"{role}, number {number}"
        raw = raw_key(peek(statement, "cw/root", _ROTATION)[1][3])
        _, fields = open_signed(statement, "cw/root", {key_id(raw): raw}, _ROTATION)
        need(fields[1] == ROLES[role], "rotation of another root", where)
        need(fields[2] == number, "rotation out of order", where)
        need(sha256(raw).digest() == promised, "rotation to a key that was not promised", where)
        need(keys[-1].from_unix_s <= fields[6] <= fields[5] < NEVER, "times of a rotation", where)
        keys[-1] = replace(keys[-1], until_unix_s=fields[6])
        keys.append(RootKey(raw, fields[5]))
        promised = fields[4]
    return keys


@dataclass(frozen=True)
class Listed:
    """A revocation list whose signature holds: key id -> (Unix s since when, reason)."""

    role: str
    number: int
    issued_unix_s: int
    next_unix_s: int
    entries: dict[bytes, tuple[int, int]]


@dataclass(frozen=True)
class Credential:
    """A credential whose signature holds; whether it did at some time, `Trust.check` says."""

    typ: str
    key_id: bytes
    key: bytes
    claims: dict[int, Any]

    @property
    def name(self) -> str:
        """What it is of, for refusals: element or party, and the id."""
        return f"{'party' if self.typ == 'cw/party' else 'element'} {self.key_id.hex()}"

    def covers(self, start_unix_s: int, end_unix_s: int) -> bool:
        """Return True when all of that time is in its validity, SKEW_S allowed."""
        return (self.claims[5] - SKEW_S <= start_unix_s
                and end_unix_s <= self.claims[4] + SKEW_S)


@dataclass(frozen=True)
class Trust:
    """What a counterparty believes: bare keys by key id, or roots by role; and revocations."""

    issuers: dict[bytes, bytes] = field(default_factory=dict)
    aggregators: dict[bytes, bytes] = field(default_factory=dict)
    roots: dict[str, list[RootKey]] = field(default_factory=dict)
    lists: tuple[Listed, ...] = ()

    @classmethod
    def load(cls, path: Path) -> "Trust":
        """Read a site's public folder, its roots/, a trust.json, or a folder of such files.

        Lists are in revocations/, in or beside the folder of roots: `<role>.cborseq`, and older
        ones under any name that begins so. Raises Refused for what is none or does not hold.
        """
        inner = path / "roots" if (path / "roots").is_dir() else path
        found = {role: inner / f"{role}.json" for role in ROLES
                 if (inner / f"{role}.json").is_file()}
        if not found:
            return cls._bare(path)
        roots = {role: open_root(role, _json(file)) for role, file in found.items()}
        trust = cls(roots=roots)
        lists = next((one for one in (path / "revocations", inner / "revocations",
                                      inner.parent / "revocations") if one.is_dir()), None)
        for role in ROLES:
            for file in sorted(lists.glob(f"{role}*.cborseq")) if lists else ():
                trust = trust.with_list(parts_of_file(file.read_bytes(), str(file)))
        return trust

    @classmethod
    def _bare(cls, path: Path) -> "Trust":
        """Read the keys of a trust.json, or of every *.json of a folder."""
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        need(0 < len(files) <= TRUST_FILES_MAX, "trust root", str(path))
        out = cls()
        for file in files:
            said = _json(file)
            for name, known in (("issuer", out.issuers), ("aggregator", out.aggregators)):
                try:
                    key = bytes.fromhex(said[name])
                except (ValueError, KeyError, TypeError) as error:
                    raise Refused("trust root", str(file)) from error
                need(len(key) == 64, "trust root", str(file))
                known[key_id(key)] = key
        return out

    def root_key(self, role: str, kid: bytes, at_unix_s: int) -> bytes:
        """Return the root's key of this id when it spoke for the role then. Raises Refused."""
        if not self.roots:
            need(role == "issuer" and kid in self.issuers,
                 f"signed by no {role} that is trusted", kid)
            return self.issuers[kid]
        need(role in self.roots, f"the {role}'s root is unknown", kid)
        for one in self.roots[role]:
            if key_id(one.key) == kid:
                said = (f"{kid.hex()}, from {utc(one.from_unix_s)} to {utc(one.until_unix_s)}; "
                        f"signed at {utc(at_unix_s)}")
                need(one.from_unix_s <= at_unix_s,
                     f"signed by a key of the {role}'s root before it was in force", said)
                need(at_unix_s < one.until_unix_s,
                     f"signed by a key of the {role}'s root after it was revoked", said)
                return one.key
        for other, keys in self.roots.items():
            need(all(key_id(one.key) != kid for one in keys),
                 f"signed by the {other}'s root and not the {role}'s", kid)
        raise Refused(f"signed by no key of the {role}'s root", kid)

    def credential(self, statement: Any, typ: str) -> Credential:
        """Return a credential, signed by the key that spoke for its root when it was issued.

        Raises Refused. As of which time it holds is not asked here.
        """
        role = ROLE_OF_TYP[typ]
        need(self.roots or typ != "cw/party", "party credential unchecked",
             "bare keys can not say whether it holds; trust the roots/ of its building")
        kid, claims = peek(statement, typ, _SHAPES[typ])
        key = self.root_key(role, kid, claims[6])
        open_signed(statement, typ, {kid: key}, _SHAPES[typ], False)
        raw = raw_key(shaped(claims[8], {1: "m"}, True, "cnf")[1])
        need(claims[2] == key_id(raw).hex(), "subject", claims[2])
        if typ == "cw/credential":
            shaped(claims[PROFILE], {2: "i", 3: "i", 20: "s", 21: "s"}, False, "profile")
        return Credential(typ, key_id(raw), raw, claims)

    def check(self, known: Sequence[Credential], start_unix_s: int, end_unix_s: int
              ) -> Credential:
        """Return which of one subject's credentials held all of that time. Raises Refused.

        SKEW_S makes a validity longer and a revocation earlier.
        """
        need(known, "no credential")
        for one in known:
            if one.covers(start_unix_s, end_unix_s):
                since = self.revoked(ROLE_OF_TYP[one.typ], one.key_id)
                need(since is None or end_unix_s < since[0] - SKEW_S, "credential revoked",
                     since and f"{one.name}, since {utc(since[0])}: {since[1]}; "
                     f"asked for {utc(end_unix_s)}")
                return one
        early = [one for one in known if start_unix_s < one.claims[5] - SKEW_S]
        need(len(early) < len(known), "credential not yet valid", f"{known[0].name}, from "
             f"{utc(min(one.claims[5] for one in known))}; asked for {utc(start_unix_s)}")
        raise Refused("credential expired", f"{known[0].name}, at "
                      f"{utc(max(one.claims[4] for one in known))}; asked for {utc(end_unix_s)}")

    # revocations

    def with_list(self, parts: Any) -> "Trust":
        """Return this trust with one list more, given as its signed parts. Raises Refused.

        An entry of any list stays: a newer one leaves out what has expired, and an older
        one that somebody shows takes nothing back.
        """
        one = self._open_list(parts)
        need(len(self.lists) < LISTS_MAX, "revocation lists", len(self.lists))
        for other in self.lists:
            need((one.role, one.number) != (other.role, other.number) or one == other,
                 "two revocation lists of one number", f"{one.role}, {one.number}")
        return self if one in self.lists else replace(self, lists=(*self.lists, one))

    def _open_list(self, parts: Any) -> Listed:
        need(type(parts) is list and 0 < len(parts) <= PARTS_MAX, "revocation list")
        kid, first = peek(parts[0], "cw/revocations", _LIST)
        ours = [role for role in ROLE_OF_TYP.values()
                if any(key_id(one.key) == kid for one in self.roots.get(role, ()))]
        role = ours[0] if ours else "issuer"
        keys, packed = {kid: self.root_key(role, kid, first[2])}, b""
        for index, part in enumerate(parts, 1):
            _, fields = open_signed(part, "cw/revocations", keys, _LIST)
            need(fields[4] == index, "part of a revocation list out of order", index)
            need({**fields, 4: 1, 6: b""} == {**first, 4: 1, 6: b""},
                 "parts of several revocation lists", index)
            packed += fields[6]
        need(first[5] == len(parts), "part of a revocation list missing",
             f"{len(parts)} of {first[5]}")
        need(first[1] > 0 and first[2] <= first[3], "dates of a revocation list", first[3])
        need(len(packed) % _ENTRY_SIZE == 0, "entries of a revocation list", len(packed))
        rows = [packed[at:at + _ENTRY_SIZE] for at in range(0, len(packed), _ENTRY_SIZE)]
        need(all(low[:8] < high[:8] for low, high in pairwise(rows)),
             "entries of a revocation list out of order")
        return Listed(role, first[1], first[2], first[3], {
            row[:8]: (int.from_bytes(row[8:12], "big"), row[12]) for row in rows})

    def revoked(self, role: str, subject: bytes) -> tuple[int, str] | None:
        """Return since when (Unix s) and why a key is revoked, or None. The earliest entry."""
        found = min((one.entries[subject] for one in self.lists
                     if one.role == role and subject in one.entries), default=None)
        return found and (found[0], REASONS[found[1]] if found[1] < len(REASONS)
                          else f"reason {found[1]}")

    def newest(self, role: str) -> Listed | None:
        """Return the newest list of a root, or None without any."""
        return max((one for one in self.lists if one.role == role),
                   key=lambda one: one.number, default=None)


def parts_of_file(data: bytes, name: str = "") -> list[bytes]:
    """Return the signed parts of a list's file, a CBOR sequence (RFC 8742). Raises Refused."""
    need(0 < len(data) <= FILE_SIZE_MAX * 2, "revocation list", name or len(data))
    parts, file, at = [], BytesIO(data), 0
    try:
        while at < len(data):
            cbor2.load(file)
            parts.append(data[at:file.tell()])
            at = file.tell()
    except (cbor2.CBORError, ValueError, TypeError) as error:
        raise Refused("revocation list", name or type(error).__name__) from error
    return parts


def _json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file. Raises Refused for anything else."""
    try:
        need(path.stat().st_size <= FILE_SIZE_MAX, "trust root", str(path))
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise Refused("trust root", str(path)) from error
    need(type(said) is dict, "trust root", str(path))
    return dict(said)
