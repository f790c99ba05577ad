"""Feed a target valid inputs, mutated inputs and random bytes; one seed gives one run.

The mutator is plain on purpose: a million inputs a target in a minute or two on one core. It
starts from valid messages, because random bytes rarely get past the first head.
"""

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

from element.protocol import cbor, cose, framing, rare, schema
from element.protocol.errors import Error
from hil.devices import BMS_FAMILIES

from . import bms_targets, bundle_targets, element_targets, handshake_targets
from .defect import DefectError
from .targets import TARGETS

DEFECTS_KEPT_MAX = 10
INPUT_SIZE_MAX = 600
MUTATION_COUNT_MAX = 4
# Bytes at the edges of CBOR heads, COBS codes and integers.
_EDGES = bytes.fromhex(
    "00010217181920373839405758595b5f60788081989b9fa0a1b8bbbfc0d1d2d8f4f5f6f7f9fbff"
)
# A decoder may raise DecodeError, which the target takes; anything here is a defect.
_CRASHES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    DefectError,
    Error,
    LookupError,
    MemoryError,
    NameError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def _example(field_type: int, low: Any, high: int) -> Any:
    if field_type == schema.BYTES:
        return bytes(index & 0xFF for index in range(min(high, low + 20)))
    if field_type == schema.TEXT:
        return "t" * max(low, min(high, 5))
    if field_type == schema.BOOL:
        return True
    if field_type == schema.INTS:
        return [low, high]
    return (low + high) // 2


def messages() -> list[bytes]:
    """Return one valid encoding of every session and link message."""
    out = []
    for kind in rare.MESSAGE_KINDS:
        fields = {row[0]: _example(*row[1:]) for row in schema.table_of(kind)}
        out.append(cbor.encode(schema.message_to_wire(kind, fields)))
    return out


def corpus(target_name: str) -> list[bytes]:
    """Return valid inputs for a target, several of different shape."""
    plain = messages()
    if target_name in ("cbor", "host_loads"):
        nested: Any = {1: {-1: b"x", "key": [None, True, [1, {24: -70001}]]}, -70001: 2**63}
        plain.append(cbor.encode(nested))
        if target_name == "cbor":
            plain.append(cbor.encode(cbor.Tagged(18, [b"", cbor.Tagged(61, nested)])))
        return plain
    if target_name == "message":
        return plain
    if target_name == "cose_sign1":
        header = cose.protected_header(cose.ALG_ES256, b"12345678", "cw/record")
        bare = cose.protected_header(cose.ALG_ES256)
        return [
            cose.sign1_assemble(top, data, bytes(64)) for data in plain for top in (header, bare)
        ]
    if target_name == "frames":
        wires = [framing.encode_frame(data) for data in plain]
        long_run = framing.encode_frame(b"\x07" * 360) + framing.encode_frame(bytes(100))
        return [*wires, b"".join(wires[:4]), long_run]
    if target_name == "bundle":
        return bundle_targets.bundle_corpus()
    if target_name == "receipt":
        return bundle_targets.receipt_corpus()
    if target_name in BMS_FAMILIES:
        return bms_targets.bms_corpus(target_name)
    if target_name == "host_port":
        return element_targets.host_port_corpus()
    if target_name == "trust_desk":
        return element_targets.trust_desk_corpus()
    if target_name in handshake_targets.CORPORA:
        return handshake_targets.CORPORA[target_name]()
    raise KeyError(target_name)


def mutate(source: random.Random, data: bytes, other: bytes) -> bytes:
    """Return data after 1..MUTATION_COUNT_MAX small damages; other is material to splice in."""
    out = bytearray(data)
    for _ in range(1 + source.getrandbits(8) % MUTATION_COUNT_MAX):
        size = len(out)
        position = source.getrandbits(16) % (size + 1)
        choice = source.getrandbits(3)
        if choice == 0 and position < size:
            out[position] ^= 1 << source.getrandbits(3)
        elif choice == 1 and position < size:
            out[position] = _EDGES[source.getrandbits(16) % len(_EDGES)]
        elif choice == 2 and position < size:
            out[position] = source.getrandbits(8)
        elif choice == 3:
            out[position:position] = source.randbytes(1 + source.getrandbits(2))
        elif choice == 4:
            del out[position : position + 1 + source.getrandbits(3)]
        elif choice == 5:
            out[position:position] = out[position : position + 1 + source.getrandbits(5)]
        elif choice == 6:
            start = source.getrandbits(16) % (len(other) + 1)
            out[position:] = other[start:]
        else:
            del out[position:]
    return bytes(out[:max(INPUT_SIZE_MAX, len(data))])


def inputs(target_name: str, count: int, seed: int) -> Iterator[bytes]:
    """Yield count inputs: of every 16 one valid, two random, the others mutated."""
    source = random.Random(f"{target_name} {seed}")
    seeds = corpus(target_name)
    for index in range(count):
        data = seeds[source.getrandbits(16) % len(seeds)]
        turn = index & 15
        if turn == 0:
            yield data
        elif turn <= 2:
            yield source.randbytes(source.getrandbits(6))
        else:
            yield mutate(source, data, seeds[source.getrandbits(16) % len(seeds)])


def run_fuzz(
    target: str | Callable[[bytes], bool], count: int, seed: int, name: str = ""
) -> dict[str, Any]:
    """Feed count inputs to a target (a name of TARGETS, or a function with name as its corpus).

    Returns count, seconds, accepted (inputs that decoded), defect_count and defects, the first
    DEFECTS_KEPT_MAX as {"input": hex, "error": text}. Never stops early: a run is comparable.
    """
    if isinstance(target, str):
        name = target
        target = TARGETS[target]
    accepted = 0
    defect_count = 0
    defects: list[dict[str, str]] = []
    started_s = time.perf_counter()
    for data in inputs(name, count, seed):
        try:
            accepted += target(data)
        except _CRASHES as error:
            defect_count += 1
            if len(defects) < DEFECTS_KEPT_MAX:
                defects.append({"input": data.hex(), "error": repr(error)})
    return {
        "target": name,
        "count": count,
        "seed": seed,
        "seconds": time.perf_counter() - started_s,
        "accepted": accepted,
        "defect_count": defect_count,
        "defects": defects,
    }
