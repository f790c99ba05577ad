"""What an alarm takes away from a building, and when it is given back: signed, in one chain.

A COSE_Sign1 of the aggregator, typ cw/curtailment, over {1: aggregator id, 2: number, 3: SHA-256
of the one before, 4: Unix ms, 5: zone (0: the building), 6: cause, 7: whose alarm, 8: 1 begun or
0 released, 9, 10: discharge in mW before and after, 11, 12: charge in mW before and after}. They
stand in the ledger; the elements' own signed events say what each of them did.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from host_tools import codec
from host_tools.attest.primitives import Refused, open_signed, peek
from host_tools.identity.keys import KeyPair
from host_tools.ledger.store import Ledger

# The kind of one in an archive or ledger; the contract's kinds end below.
CURTAILMENT_KIND = 66
CURTAILMENT_TYP = "cw/curtailment"
SHAPE = {1: "b8", 2: "i", 3: "b32", 4: "i", 5: "i", 6: "i", 7: "s", 8: "i", 9: "i", 10: "i",
         11: "i", 12: "i"}
SOURCE_SIZE_MAX = 96


@dataclass(frozen=True)
class Able:
    """What the building could do, in mW, each way."""

    discharge_mw: int
    charge_mw: int


class Curtailments:
    """The chain of one aggregator; it goes on after a restart where the ledger stands."""

    def __init__(self, key: KeyPair, ledger: Ledger) -> None:
        """Raises Refused for a ledger whose last one is not this aggregator's."""
        self._key, self._ledger = key, ledger
        self._number, self._previous = 0, bytes(32)
        last = ledger.last_of_kind(CURTAILMENT_KIND)
        if last is not None:
            _, fields = open_signed(last, CURTAILMENT_TYP, {key.key_id: key.public}, SHAPE)
            self._number, self._previous = fields[2], hashlib.sha256(last).digest()

    def file(self, now_ms: int, zone: int, cause: int, source: str, begun: bool, before: Able,
             after: Able) -> bytes:
        """Sign what has changed and put it into the ledger; durable with its next flush."""
        self._number += 1
        statement = codec.sign1(
            self._key.private, CURTAILMENT_TYP, self._key.key_id, codec.dumps({
                1: self._key.key_id, 2: self._number, 3: self._previous, 4: now_ms, 5: zone,
                6: cause, 7: source.encode()[:SOURCE_SIZE_MAX].decode("utf-8", "ignore"),
                8: int(begun), 9: before.discharge_mw, 10: after.discharge_mw,
                11: before.charge_mw, 12: after.charge_mw}))
        self._previous = hashlib.sha256(statement).digest()
        self._ledger.put(CURTAILMENT_KIND, self._key.key_id, self._number, now_ms, statement)
        return statement


def order_of(statement: bytes) -> tuple[bytes, int, int]:
    """Return (signer, number, Unix ms), unchecked. Raises Refused for one that is malformed."""
    kid, fields = peek(statement, CURTAILMENT_TYP, SHAPE)
    return kid, int(fields[2]), int(fields[4])


def check_next(statement: bytes, key: bytes, before: Sequence[bytes]) -> None:
    """Check a signature, and that it continues those before it. Raises Refused."""
    kid, _, _ = order_of(statement)
    _, fields = open_signed(statement, CURTAILMENT_TYP, {kid: key}, SHAPE)
    previous = hashlib.sha256(before[-1]).digest() if before else bytes(32)
    if fields[1] != kid or fields[2] != len(before) + 1 or fields[3] != previous:
        raise Refused("does not continue the curtailment before", fields[2])
