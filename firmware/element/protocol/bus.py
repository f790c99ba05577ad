"""Frames of the building bus: up to 64 elements that share one half-duplex RS-485 pair.

What travels is a zero byte and then a frame of framing.py; the zero ends whatever noise came
before. A frame's payload begins with one of the kinds below, then in this order (big-endian):

    DISCOVER  generation 1, nonce 2, slot count 1, slot length in ms 1
    HELLO     nonce 2, element id 8
    ASSIGN    generation 1, then 1..PAIRS_MAX times: address 1, element id 8
    POLL      generation 1, address 1, bits 1, budget 1, then bytes for the element
    ANSWER    generation 1, address 1, bits 1, waiting 1, then bytes for the panel
    FORGET    generation 1, address 1
    QUIET     element id 8, seconds 1

Budget and waiting count in UNIT bytes. The bytes of POLL and ANSWER are pieces of a stream, the
one that a cable would carry: frames of the session in it are whole again when it is put together.
All of it is in the clear and only moves bytes; what they may do, the session says.
"""

from .errors import DecodeError, RangeError
from .framing import encode_frame

DISCOVER = 0xE0
HELLO = 0xE1
ASSIGN = 0xE2
POLL = 0xE3
ANSWER = 0xE4
FORGET = 0xE5
QUIET = 0xE6

ADDRESS_MAX = 64
ID_SIZE = 8
PAIRS_MAX = 16
UNIT = 4
STREAM_SIZE_MAX = 512
PAYLOAD_SIZE_MAX = STREAM_SIZE_MAX + 5
SLOTS_MAX = 128
# Bits of POLL and ANSWER. What one end sends carries its SEQUENCE, flipped with every new piece,
# and ACK, the SEQUENCE of the last piece it has taken.
SEQUENCE = 1
ACK = 2
PUSH = 4  # POLL: nobody answers

# What a frame adds to the bytes in it: the zero before, code byte, head, CRC, the zero behind. A
# piece of more than 241 bytes has a code byte more every 254.
OVERHEAD = 12
HELLO_SIZE = 18
BITS_PER_BYTE = 10
# Between the end of one frame and the next one's begin: drivers are switched, receivers rest.
TURN_BYTES = 4

_SIZES = {DISCOVER: 6, HELLO: 3 + ID_SIZE, FORGET: 3, QUIET: 2 + ID_SIZE}


def send_ms(size: int, baud: int) -> int:
    """Return how long size bytes take on the pair, rounded up to a whole ms."""
    return (size * BITS_PER_BYTE * 1000 + baud - 1) // baud


def turn_ms(baud: int) -> int:
    """Return the pause that everybody keeps before sending."""
    return send_ms(TURN_BYTES, baud)


def stream_size(baud: int) -> int:
    """Return how many bytes one turn carries each way at most: 40 ms, at least 64 bytes."""
    return min(STREAM_SIZE_MAX, max(64, baud // 250 // UNIT * UNIT))


def frame(payload: bytes) -> bytes:
    """Return what is sent for a payload."""
    return b"\x00" + encode_frame(payload)


def _check(code: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise RangeError(code, value)


def _check_id(element_id: bytes) -> None:
    if len(element_id) != ID_SIZE:
        raise RangeError("bus_id", element_id)


def discover(generation: int, nonce: int, slot_count: int, slot_ms: int) -> bytes:
    """Return the payload that asks all elements without an address to answer in a slot.

    generation: 0..255 names this master's addresses; those of another one are lost by it.
    Raises RangeError, as all of these do.
    """
    _check("bus_generation", generation, 0, 255)
    _check("bus_nonce", nonce, 0, 65535)
    _check("bus_slots", slot_count, 1, SLOTS_MAX)
    _check("bus_slot_ms", slot_ms, 1, 255)
    return bytes((DISCOVER, generation, nonce >> 8, nonce & 255, slot_count, slot_ms))


def hello(nonce: int, element_id: bytes) -> bytes:
    """Return the payload by which an element says that it is there."""
    _check("bus_nonce", nonce, 0, 65535)
    _check_id(element_id)
    return bytes((HELLO, nonce >> 8, nonce & 255)) + element_id


def assign(generation: int, pairs) -> bytes:
    """Return the payload that gives addresses. pairs: (address, element id), PAIRS_MAX at most."""
    _check("bus_generation", generation, 0, 255)
    _check("bus_pairs", len(pairs), 1, PAIRS_MAX)
    out = bytearray((ASSIGN, generation))
    for address, element_id in pairs:
        _check("bus_address", address, 1, ADDRESS_MAX)
        _check_id(element_id)
        out.append(address)
        out += element_id
    return bytes(out)


def _turn(kind: int, generation: int, address: int, bits: int, size: int, stream) -> bytes:
    _check("bus_generation", generation, 0, 255)
    _check("bus_address", address, 1, ADDRESS_MAX)
    _check("bus_bits", bits, 0, 7)
    _check("bus_stream", len(stream), 0, STREAM_SIZE_MAX)
    units = min(255, (size + UNIT - 1) // UNIT)
    return bytes((kind, generation, address, bits, units)) + bytes(stream)


def poll(generation: int, address: int, bits: int, budget: int, stream=b"") -> bytes:
    """Return the payload that gives an element a turn of `budget` bytes, a multiple of UNIT."""
    return _turn(POLL, generation, address, bits, budget, stream)


def answer(generation: int, address: int, bits: int, waiting: int, stream=b"") -> bytes:
    """Return an element's payload; waiting: bytes that are still queued, told up to 1020."""
    return _turn(ANSWER, generation, address, bits, waiting, stream)


def forget(generation: int, address: int) -> bytes:
    """Return the payload by which whoever has this address loses it."""
    _check("bus_generation", generation, 0, 255)
    _check("bus_address", address, 1, ADDRESS_MAX)
    return bytes((FORGET, generation, address))


def quiet(element_id: bytes, seconds: int) -> bytes:
    """Return the payload that silences an element for a while."""
    _check_id(element_id)
    _check("bus_seconds", seconds, 1, 255)
    return bytes((QUIET,)) + element_id + bytes((seconds,))


def decode(payload: bytes) -> tuple:
    """Return (kind, fields ..) as the functions above take them. Raises DecodeError."""
    kind = payload[0] if payload else 0
    size = len(payload)
    if kind in (POLL, ANSWER):
        if not 5 <= size <= PAYLOAD_SIZE_MAX:
            raise DecodeError("bus_size", size)
        if not 1 <= payload[2] <= ADDRESS_MAX:
            raise DecodeError("bus_address", payload[2])
        if payload[3] > 7:
            raise DecodeError("bus_bits", payload[3])
        return (kind, payload[1], payload[2], payload[3], payload[4] * UNIT, payload[5:])
    if kind == ASSIGN:
        count, rest = divmod(size - 2, 1 + ID_SIZE)
        if rest or not 1 <= count <= PAIRS_MAX:
            raise DecodeError("bus_size", size)
        pairs = []
        for at in range(2, size, 1 + ID_SIZE):
            if not 1 <= payload[at] <= ADDRESS_MAX:
                raise DecodeError("bus_address", payload[at])
            pairs.append((payload[at], payload[at + 1:at + 1 + ID_SIZE]))
        return (kind, payload[1], pairs)
    if kind not in _SIZES:
        raise DecodeError("bus_kind", kind)
    if size != _SIZES[kind]:
        raise DecodeError("bus_size", size)
    if kind == DISCOVER:
        if not 1 <= payload[4] <= SLOTS_MAX or not payload[5]:
            raise DecodeError("bus_slots", payload[4])
        return (kind, payload[1], payload[2] << 8 | payload[3], payload[4], payload[5])
    if kind == HELLO:
        return (kind, payload[1] << 8 | payload[2], payload[3:])
    if kind == FORGET:
        if not 1 <= payload[2] <= ADDRESS_MAX:
            raise DecodeError("bus_address", payload[2])
        return (kind, payload[1], payload[2])
    if not payload[9]:
        raise DecodeError("bus_seconds", 0)
    return (kind, payload[1:9], payload[9])
