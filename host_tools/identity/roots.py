"""The four roots of a building and their history: which key spoke for a role at a given time.

A root's key comes with the hash of its successor (element.protocol.trust), so a folder of roots is
one anchor a role, got out of band, and the rotations since then, which anybody may carry.
A verifier needs the folder `roots/` alone: `<role>.json`, public keys and signed rotations.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from element.protocol import schema, trust
from element.protocol.errors import BusError, DecodeError, SignatureError
from host_tools import codec
from host_tools.identity.keys import KeyPair, key_id

ROLES = {
    "issuer": trust.ROLE_ISSUER,
    "operator": trust.ROLE_OPERATOR,
    "life_safety": trust.ROLE_LIFE_SAFETY,
    "meter": trust.ROLE_METER,
}
ROTATIONS_MAX = 1000
FILE_SIZE_MAX = 1 << 20
NEVER = 0xFFFFFFFF


def key_hash(raw: bytes) -> bytes:
    """Return the SHA-256 of a raw public key, as a root promises its successor by."""
    return hashlib.sha256(raw).digest()


@dataclass(frozen=True)
class RootKey:
    """One key of a root. It speaks in from_unix_s <= t < until_unix_s."""

    number: int
    key: bytes
    next_hash: bytes
    from_unix_s: int
    until_unix_s: int = NEVER


class Root:
    """One role's keys in order, the last in force."""

    def __init__(self, role: str, key: bytes, next_hash: bytes, from_unix_s: int,
                 rotations: Sequence[bytes] = ()) -> None:
        """key: the anchor, raw. Raises SignatureError for a rotation that does not hold."""
        if role not in ROLES:
            raise DecodeError("role", role)
        self.role = role
        self.rotations: list[bytes] = []
        self.keys = [RootKey(1, key, next_hash, from_unix_s)]
        for statement in rotations:
            self.apply(statement)

    @property
    def current(self) -> RootKey:
        """The key in force."""
        return self.keys[-1]

    def apply(self, statement: bytes) -> RootKey:
        """Take a rotation; one that is known already changes nothing.

        Raises DecodeError or SignatureError for one that is malformed, of another role, out of
        order, not by the promised key, or that begins before the key it follows.
        """
        if statement in self.rotations:
            return self.keys[self.rotations.index(statement) + 1]
        if len(self.rotations) >= ROTATIONS_MAX:
            raise DecodeError("rotations", len(self.rotations))
        fields = codec.decode_statement(trust.ROOT_ROTATION, codec.peek(statement)[2])
        raw = schema.raw_key(fields["key"])
        last = self.current
        if fields["role"] != ROLES[self.role]:
            raise SignatureError("rotation of another root", fields["role"])
        if fields["number"] != last.number + 1:
            raise SignatureError("rotation out of order", fields["number"])
        if key_hash(raw) != last.next_hash:
            raise SignatureError("not the promised key", key_id(raw).hex())
        codec.verify1(statement, raw, trust.TYP[trust.ROOT_ROTATION])
        if not last.from_unix_s <= fields["revoked_unix_s"] <= fields["not_before_unix_s"]:
            raise SignatureError("times of a rotation", fields["not_before_unix_s"])
        self.keys[-1] = RootKey(last.number, last.key, last.next_hash, last.from_unix_s,
                                fields["revoked_unix_s"])
        self.keys.append(RootKey(last.number + 1, raw, fields["next_hash"],
                                 fields["not_before_unix_s"]))
        self.rotations.append(statement)
        return self.current

    def key_at(self, unix_s: int) -> bytes:
        """Return the raw key that spoke for the role then. Raises SignatureError without one."""
        for one in self.keys:
            if one.from_unix_s <= unix_s < one.until_unix_s:
                return one.key
        raise SignatureError(f"no {self.role} key was in force", unix_s)

    def pin(self) -> bytes:
        """Return what an element keeps of this root: schema.PIN_SIZE bytes."""
        last = self.current
        return last.number.to_bytes(4, "big") + last.key + last.next_hash

    def as_dict(self) -> dict[str, Any]:
        """Return the file's content."""
        first = self.keys[0]
        return {"role": self.role, "key": first.key.hex(), "next_hash": first.next_hash.hex(),
                "from_unix_s": first.from_unix_s,
                "rotations": [one.hex() for one in self.rotations]}


def rotation(role: str, number: int, pair: KeyPair, next_hash: bytes, not_before_unix_s: int,
             revoked_unix_s: int) -> bytes:
    """Return the statement by which a promised key takes over as a root's key of this number."""
    return codec.sign1(pair.private, trust.TYP[trust.ROOT_ROTATION], pair.key_id,
                       codec.encode_statement(trust.ROOT_ROTATION, {
                           "role": ROLES[role], "number": number,
                           "key": schema.cose_key(pair.public), "next_hash": next_hash,
                           "not_before_unix_s": not_before_unix_s,
                           "revoked_unix_s": revoked_unix_s}))


class Roots:
    """The roots of a building by role."""

    def __init__(self, roots: dict[str, Root]) -> None:
        self.by_role = roots

    def __getitem__(self, role: str) -> Root:
        try:
            return self.by_role[role]
        except KeyError as error:
            raise BusError("no such root here", f"{role}; there are "
                                                f"{', '.join(self.by_role) or 'none'}") from error

    @classmethod
    def load(cls, folder: Path) -> "Roots":
        """Read a folder of roots. Raises BusError for none, DecodeError for a damaged file."""
        roots = {}
        for role in ROLES:
            path = folder / f"{role}.json"
            if not path.exists():
                continue
            if path.stat().st_size > FILE_SIZE_MAX:
                raise DecodeError("size of a root's file", str(path))
            try:
                fields = json.loads(path.read_text(encoding="utf-8"))
                roots[role] = Root(
                    fields["role"], bytes.fromhex(fields["key"]),
                    bytes.fromhex(fields["next_hash"]), int(fields["from_unix_s"]),
                    [bytes.fromhex(one) for one in fields["rotations"]])
            except (ValueError, KeyError, TypeError) as error:
                raise DecodeError("root", f"{path}: {error}") from error
            if roots[role].role != role:
                raise DecodeError("role of a root's file", str(path))
        if not roots:
            raise BusError("no roots", f"{folder}\n  next: cellwall pki init, or copy the roots/ "
                                       "folder of the building here")
        return cls(roots)

    def save(self, folder: Path) -> None:
        """Write a file a role; each is replaced whole."""
        folder.mkdir(parents=True, exist_ok=True)
        for role, root in self.by_role.items():
            path = folder / f"{role}.json"
            new = path.with_suffix(".new")
            new.write_text(json.dumps(root.as_dict(), indent=1) + "\n", encoding="utf-8")
            new.replace(path)
