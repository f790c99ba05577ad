"""What may leave a building: the constrained-credential mode, and the record of every refusal.

A policy names the most that may be disclosed: `aggregates` (commitments, checkpoints, declared
totals), `audited` (also the sampled leaves of an audit) or `records`. Policies only narrow each
other, and one that cannot be read allows nothing: a damaged file is not a permission.

A refusal is a COSE_Sign1, typ cw/refusal, over {1: signer id, 2: number, 3: SHA-256 of the one
before, 4: Unix ms, 5: level asked, 6: level allowed, 7: what was asked}. They stand in a file of
their own, a CBOR sequence beside the policy, and not in the ledger: a refusal has to be recorded
where the ledger is a copy or read-only, and the ledger's own rule is that a statement comes from
an element or a commitment. The chain shows a removed entry, except at the end; the file is
synced before the refusal is told.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from element.protocol.errors import DecodeError, SignatureError
from host_tools import codec
from host_tools.attest.primitives import Refused, open_signed
from host_tools.identity.keys import KeyPair

NOTHING, AGGREGATES, AUDITED, RECORDS = range(4)
LEVEL_NAMES = ("nothing", "aggregates", "audited", "records")
POLICY_FILE = "policy.json"
REFUSALS_FILE = "refusals.cborseq"
REFUSAL_TYP = "cw/refusal"
REFUSAL_SIZE_MAX = 4096
FILE_SIZE_MAX = 1 << 26
ASKED_SIZE_MAX = 512
_SHAPE = {1: "b8", 2: "i", 3: "b32", 4: "i", 5: "i", 6: "i", 7: "s"}


@dataclass(frozen=True)
class Policy:
    """The most that may be disclosed, and why: which file said so."""

    level: int = RECORDS
    source: str = "no policy"

    def allows(self, level: int) -> bool:
        """Return True when a bundle of this level may leave."""
        return level <= self.level

    @classmethod
    def load(cls, path: Path) -> "Policy":
        """Read {"disclose": level name}. A file that says anything else allows nothing."""
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            level = LEVEL_NAMES.index(said["disclose"])
            if set(said) != {"disclose"}:
                level = NOTHING
        except (OSError, ValueError, KeyError, TypeError):
            level = NOTHING
        return cls(level, str(path))


def strictest(policies: Iterable[Policy]) -> Policy:
    """Return the narrowest of policies; without any, everything is allowed."""
    return min(policies, key=lambda one: one.level, default=Policy())


class Refusals:
    """The file of refusals."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[bytes]:
        """Return every entry, unchecked. Raises DecodeError for a file that is cut or too large.

        An entry is a byte string, its size in two bytes before it (RFC 8949 3, head 59).
        """
        if not self.path.exists():
            return []
        if self.path.stat().st_size > FILE_SIZE_MAX:
            raise DecodeError("size of the refusals", str(self.path))
        data, out, at = self.path.read_bytes(), [], 0
        while at < len(data):
            size = int.from_bytes(data[at + 1:at + 3], "big")
            if data[at] != 0x59 or size > REFUSAL_SIZE_MAX or at + 3 + size > len(data):
                raise DecodeError("refusals are cut", f"{self.path} at {at}")
            out.append(data[at + 3:at + 3 + size])
            at += 3 + size
        return out

    def add(self, key: KeyPair, at_unix_ms: int, asked: int, allowed: int, what: str) -> bytes:
        """Sign and keep a refusal; it is on the medium when this returns. Raises DecodeError."""
        before = self.read()
        said = what.encode()[:ASKED_SIZE_MAX].decode(errors="ignore")
        previous = hashlib.sha256(before[-1]).digest() if before else bytes(32)
        statement = codec.sign1(key.private, REFUSAL_TYP, key.key_id, codec.dumps({
            1: key.key_id, 2: len(before) + 1, 3: previous, 4: at_unix_ms, 5: asked, 6: allowed,
            7: said}))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(b"\x59" + len(statement).to_bytes(2, "big") + statement)
            file.flush()
            os.fsync(file.fileno())
        return statement

    def check(self, keys: dict[bytes, bytes]) -> list[dict[int, Any]]:
        """Return every refusal after checking signatures, numbers and chain.

        keys: trusted signers by key id. Raises SignatureError for a chain that does not hold.
        """
        previous, out = bytes(32), []
        for number, statement in enumerate(self.read(), 1):
            try:
                _, fields = open_signed(statement, REFUSAL_TYP, keys, _SHAPE)
            except Refused as error:
                raise SignatureError(f"refusal: {error.code}", number) from error
            if fields[2] != number or fields[3] != previous:
                raise SignatureError("refusals do not follow each other", number)
            previous = hashlib.sha256(statement).digest()
            out.append(fields)
        return out
