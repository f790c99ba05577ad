"""Fuzz what an element hears from its panel.

As in `targets`, each function takes any bytes and returns True if something in them was
accepted; each also makes the valid inputs to start from.
"""

from collections.abc import Callable
from typing import Any

from element.crypto.hmac import hkdf_sha256, hmac_sha256
from element.link.host_port import HostPort
from element.protocol import cbor, schema
from element.protocol.framing import encode_frame
from element.protocol.session import Session, derive_keys

from .defect import DefectError

_ELEMENT_ID = b"element1"
_KEY = b"k" * 32
_NONCE = b"n" * 16


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
