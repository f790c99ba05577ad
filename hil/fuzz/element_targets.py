"""Fuzz what an element hears: the stream of its BMS and the line from its panel.

As in `targets`, each function takes any bytes and returns True if something in them was
accepted; each also makes the valid inputs to start from.
"""

from collections.abc import Callable
from typing import Any

from element.bms import jbd
from element.bms.base import CELLS_MAX, NTC_MAX, Reading
from element.crypto.hmac import hkdf_sha256, hmac_sha256
from element.link.host_port import HostPort
from element.protocol import cbor, schema
from element.protocol.errors import DecodeError
from element.protocol.framing import encode_frame
from element.protocol.session import Session, derive_keys
from hil.devices.jbd_frames import STATUS_ERROR, STATUS_GOOD, build_reply

from .defect import DefectError

_ELEMENT_ID = b"element1"
_KEY = b"k" * 32
_NONCE = b"n" * 16
_PACK_FIELDS = ("pack_mv", "current_ma", "soc_bp", "remaining_mah", "full_mah", "cycle_count",
                "errors", "protecting", "fets", "cell_count", "ntc_count",
                "temperature_mdegc_min", "temperature_mdegc_max")
_CELL_FIELDS = ("cell_mv_min", "cell_mv_max", "cell_mv_sum")


def _basic(cell_count: int, pack_10mv: int, soc: int, ntcs: tuple[int, ...]) -> bytes:
    words = (pack_10mv, 0xFF38, 5000, 10000, 7, 0x2A5B, 0, 0, 0)
    data = b"".join(word.to_bytes(2, "big") for word in words)
    data += bytes((0x21, soc, 3, cell_count, len(ntcs)))
    return build_reply(
        jbd.REG_BASIC, STATUS_GOOD, data + b"".join(word.to_bytes(2, "big") for word in ntcs))


def jbd_corpus() -> list[bytes]:
    """Return valid streams of a BMS: single replies, several, and one behind noise."""
    basics = [_basic(16, 5120, 50, (2981,) * count) for count in range(1, NTC_MAX + 1)]
    basics += [_basic(1, 320, 0, (2731,)), _basic(32, 10240, 100, (2281, 4031))]
    cells = [build_reply(jbd.REG_CELLS, STATUS_GOOD, (3200).to_bytes(2, "big") * count)
             for count in (1, 13, 16, 32)]
    write = build_reply(jbd.REG_FETS, STATUS_GOOD)
    return [*basics, *cells, basics[1] + cells[2], write + basics[0],
            b"\xdd\x77\x00" + basics[2], build_reply(jbd.REG_CELLS, STATUS_ERROR) + basics[3]]


_PROBE = _basic(16, 5120, 42, (2981, 2991))


def _frames_of(reader: jbd.FrameReader, pieces: list[bytes]) -> list[bytes]:
    """Return every frame that a reader cuts out of the pieces."""
    out: list[bytes] = []
    for piece in pieces:
        frame = reader.feed(piece)
        while frame is not None:
            if len(out) > 1000:
                raise DefectError("jbd: frames without an end")
            out.append(frame)
            frame = reader.feed(b"")
    return out


def jbd_stream(data: bytes) -> bool:
    """Fuzz the BMS reader and both decoders: in step again, bounded, nothing implausible."""
    reader = jbd.FrameReader()
    size = jbd.BACKLOG_SIZE_MAX
    frames = _frames_of(reader, [data[at:at + size] for at in range(0, len(data), size)])
    if len(data) <= size:
        cut = len(data) // 3
        pieces = [data[:cut], data[cut:2 * cut], data[2 * cut:]]
        if _frames_of(jbd.FrameReader(), pieces) != frames:
            raise DefectError("jbd: the cut of the stream changed what came out")
    accepted = False
    reading = Reading()
    # a damaged reply rarely passes its checksum: with a new one its values reach the decoders
    for register in (jbd.REG_BASIC, jbd.REG_CELLS):
        _decode(build_reply(register, STATUS_GOOD, data[4:-3][:jbd.FRAME_SIZE_MAX - 7]), reading)
    reading = Reading()
    for frame in frames:
        if sum(frame[2:-3]) + int.from_bytes(frame[-3:-1], "big") & 0xFFFF:
            raise DefectError("jbd: a frame with a wrong checksum")
        accepted = _decode(frame, reading) or accepted
    # a false start may swallow a few good frames, never all of them
    if _PROBE not in _frames_of(reader, [_PROBE] * 6):
        raise DefectError("jbd: out of step after good frames")
    return accepted


def _decode(frame: bytes, reading: Reading) -> bool:
    """Decode as the driver does; check that a refusal changed nothing, an acceptance is sane."""
    before = _values(reading)
    try:
        if frame[2] != STATUS_GOOD:
            return False
        if frame[1] == jbd.REG_BASIC:
            jbd.decode_basic_info(frame, reading)
            reading.valid = True
        elif frame[1] == jbd.REG_CELLS:
            jbd.decode_cells(frame, reading)
            reading.cells_valid = True
        else:
            return False
    except DecodeError:
        if _values(reading) != before:
            raise DefectError("jbd: a refused reply changed the reading") from None
        return False
    _check_plausible(reading)
    return True


def _values(reading: Reading) -> list[Any]:
    return [getattr(reading, name) for name in _PACK_FIELDS + _CELL_FIELDS] + list(reading.cell_mv)


def _check_plausible(reading: Reading) -> None:
    """Raise DefectError when an accepted value cannot be."""
    good = True
    if reading.valid:
        good = (2000 <= reading.pack_mv <= 200_000 and 0 <= reading.soc_bp <= 10_000
                and 1 <= reading.cell_count <= CELLS_MAX and 1 <= reading.ntc_count <= NTC_MAX
                and 0 <= reading.fets <= 3 and -327_680 <= reading.current_ma <= 327_680
                and -45_000 <= reading.temperature_mdegc_min
                <= reading.temperature_mdegc_max <= 130_000)
    if reading.cells_valid:
        good = good and 500 <= reading.cell_mv_min <= reading.cell_mv_max <= 5000
    if not good:
        raise DefectError("jbd: an implausible value was accepted")


class _UART:
    """The line: what was put in, what was written."""

    def __init__(self) -> None:
        self.rx = b""
        self.tx = b""

    def read(self) -> bytes:
        data, self.rx = self.rx, b""
        return data

    def write(self, data: bytes) -> None:
        self.tx += data


class _HAL:
    """What the port asks of a board; the same nonce each time, so that keys are known."""

    def ticks_ms(self) -> int:
        return 1000

    def ticks_diff(self, later: int, earlier: int) -> int:
        return later - earlier

    def entropy(self, size: int) -> bytes:
        return _NONCE[:size]


class _Identity:
    """An enrolled element."""

    enrolled = True
    element_id = _ELEMENT_ID
    session_key = _KEY


def _host_session() -> Session:
    outward, inward = derive_keys(hkdf_sha256, _KEY, _NONCE, _NONCE, _ELEMENT_ID)
    return Session(hmac_sha256, outward, inward, _ELEMENT_ID)


def _example(field_type: int, low: Any, high: int) -> Any:
    return {schema.BYTES: bytes(min(high, max(low, 9)) if field_type == schema.BYTES else 0),
            schema.TEXT: "t", schema.BOOL: True}.get(field_type, high)


def _message(kind: int) -> bytes:
    fields = {name: _example(*rest) for name, *rest in schema.table_of(kind)}
    return cbor.encode(schema.message_to_wire(kind, fields))


# Every session message as the host would send it first: all have the sequence number 1.
_AUTHENTIC = {kind: _message(kind) for kind in schema.SESSION_KINDS}
_WHO = encode_frame(cbor.encode(schema.message_to_wire(schema.WHO, {"host_nonce": _NONCE})))


def host_port_corpus() -> list[bytes]:
    """Return valid inputs: link messages and each session message, framed and bare."""
    out = [_message(kind) for kind in schema.LINK_KINDS if kind != schema.WHO]
    out += [_host_session().protect(data) for data in _AUTHENTIC.values()]
    return out + [encode_frame(payload) for payload in out]


def host_port(data: bytes) -> bool:
    """Fuzz the element's end of its line: only what the session authenticated moves anything.

    data is heard as it is and, as damage rarely passes a CRC, once more in a frame of its own.
    True if a handler was called. All authentic messages have one sequence number, so a second
    one that is taken is a replay.
    """
    uart = _UART()
    port = HostPort(_HAL(), uart, _Identity())
    uart.rx = _WHO
    port.receive()
    taken: list[bytes] = []

    def handler(kind: int) -> Callable[[dict[str, Any]], None]:
        return lambda fields: taken.append(cbor.encode(schema.message_to_wire(kind, fields)))

    handlers: dict[int, Any] = port.handlers
    for kind in schema.MESSAGE_KINDS:
        if kind != schema.WHO:
            handlers[kind] = handler(kind)
    uart.rx = data + b"\x00" + (encode_frame(data) if data else b"")
    port.receive()
    moving = [one for one in taken if cbor.decode(one)[0] in schema.SESSION_KINDS]
    if any(one not in _AUTHENTIC.values() for one in moving):
        raise DefectError("host_port: a message that nobody authenticated")
    if len(moving) > 1:
        raise DefectError("host_port: a replay was taken")
    if port.has_session != bool(moving):
        raise DefectError("host_port: a session without proof, or proof without a session")
    accepted = bool(taken)
    host = _host_session()
    host.protect(b"")
    probe = _AUTHENTIC[schema.TRIP]
    # a byte of zero ends whatever frame was begun
    uart.rx = b"\x00" + encode_frame(host.protect(probe))
    port.receive()
    if taken[-1:] != [probe]:
        raise DefectError("host_port: deaf after what came before")
    return accepted
