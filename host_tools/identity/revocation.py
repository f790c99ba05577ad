"""Signed, dated lists of keys that no longer speak: made, read, asked.

A list is complete: it has every key that its root has revoked and that has not expired, in as many
parts as it needs. What a key signed before it was revoked stays good; see `Revocations.check`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from element.protocol import trust
from element.protocol.errors import DecodeError, SignatureError
from host_tools import codec
from host_tools.identity.keys import KeyPair

REASONS = {
    "unspecified": trust.REASON_UNSPECIFIED,
    "key-compromised": trust.REASON_KEY_COMPROMISED,
    "replaced": trust.REASON_REPLACED,
    "removed": trust.REASON_REMOVED,
}
REASON_NAMES = {code: name for name, code in REASONS.items()}
# How far the clocks of element, panel and issuer may be apart.
SKEW_S = 120
NEXT_S = 30 * 86400
PARTS_MAX = 255


@dataclass(frozen=True)
class Revocation:
    """One revoked key: from when on, and why."""

    key_id: bytes
    at_unix_s: int
    reason: int

    def packed(self) -> bytes:
        """Return the entry's 13 bytes."""
        return self.key_id + self.at_unix_s.to_bytes(4, "big") + bytes([self.reason])


@dataclass(frozen=True)
class Revocations:
    """A list that has been verified, or an empty one of number 0."""

    number: int = 0
    issued_unix_s: int = 0
    next_unix_s: int = 0
    entries: tuple[Revocation, ...] = ()

    def find(self, key_id: bytes) -> Revocation | None:
        """Return the entry of a key, None for one that is not revoked."""
        return next((one for one in self.entries if one.key_id == key_id), None)

    def check(self, key_id: bytes, at_unix_s: int) -> None:
        """Check that a key was not revoked at a time, with SKEW_S in favour of the revocation.

        Raises SignatureError, naming reason and time.
        """
        found = self.find(key_id)
        if found is not None and at_unix_s >= found.at_unix_s - SKEW_S:
            raise SignatureError("revoked", f"{key_id.hex()}, from {found.at_unix_s}: "
                                            f"{REASON_NAMES.get(found.reason, found.reason)}")

    def is_stale(self, now_unix_s: int) -> bool:
        """Return True when a newer list should be here."""
        return now_unix_s > self.next_unix_s + SKEW_S


def sign_list(root: KeyPair, number: int, entries: tuple[Revocation, ...], now_unix_s: int,
              next_s: int = NEXT_S) -> list[bytes]:
    """Return a list's signed parts, the entries in the order of their key ids.

    Raises DecodeError for more entries than a list can have.
    """
    packed = b"".join(one.packed() for one in sorted(entries, key=lambda one: one.key_id))
    pieces = [packed[at:at + trust.ENTRIES_SIZE_MAX]
              for at in range(0, len(packed), trust.ENTRIES_SIZE_MAX)] or [b""]
    if len(pieces) > PARTS_MAX:
        raise DecodeError("too many revocations", len(entries))
    return [codec.sign1(root.private, trust.TYP[trust.REVOCATION_LIST], root.key_id,
                        codec.encode_statement(trust.REVOCATION_LIST, {
                            "number": number, "issued_unix_s": now_unix_s,
                            "next_unix_s": now_unix_s + next_s, "part": part,
                            "part_count": len(pieces), "entries": piece}))
            for part, piece in enumerate(pieces, 1)]


def open_list(parts: Sequence[bytes], root_key: bytes) -> Revocations:
    """Return a list whose every part is there and whose signatures hold.

    Raises DecodeError for parts that are missing or of several lists, and for entries that are
    cut, unsorted or double; SignatureError for another key.
    """
    packed = b""
    first: dict[str, Any] = {}
    for index, statement in enumerate(parts, 1):
        payload = codec.verify1(statement, root_key, trust.TYP[trust.REVOCATION_LIST])
        fields = codec.decode_statement(trust.REVOCATION_LIST, payload)
        packed += fields.pop("entries")
        if fields.pop("part") != index:
            raise DecodeError("part of a revocation list", index)
        first = first or fields
        if fields != first:
            raise DecodeError("parts of several revocation lists", fields["number"])
    if not first or first["part_count"] != len(parts):
        raise DecodeError("parts of a revocation list", len(parts))
    if len(packed) % trust.ENTRY_SIZE:
        raise DecodeError("entries", len(packed))
    entries = tuple(
        Revocation(packed[at:at + 8], int.from_bytes(packed[at + 8:at + 12], "big"),
                   packed[at + 12])
        for at in range(0, len(packed), trust.ENTRY_SIZE))
    ids = [one.key_id for one in entries]
    if ids != sorted(set(ids)):
        raise DecodeError("order of entries", None)
    if first["next_unix_s"] < first["issued_unix_s"]:
        raise DecodeError("dates of a revocation list", first["next_unix_s"])
    return Revocations(first["number"], first["issued_unix_s"], first["next_unix_s"], entries)
