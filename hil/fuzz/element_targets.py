"""Fuzz what an element hears from its panel.

As in `targets`, each function takes any bytes and returns True if something in them was
accepted; each also makes the valid inputs to start from.
"""

import hashlib
from collections.abc import Callable
from typing import Any

from element.crypto import p256
from element.crypto.hmac import hmac_sha256
from element.link.host_port import HostPort, Peer
from element.protocol import cbor, codes, cose, rare, schema, trust
from element.protocol.exporter import Exporter
from element.protocol.framing import encode_frame
from element.protocol.sealed import SealedSession
from element.trust_desk import TrustDesk
from host_tools.identity.aead import ccm_open, ccm_seal

from .defect import DefectError

_ELEMENT_ID = b"element1"
_PRK_OUT = b"k" * 32
_NONCE = b"n" * 16
_SUBJECT = b"subject1"


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
    """What the port asks of a board."""

    tight_heap = False
    paced = True

    def ticks_ms(self) -> int:
        return 1000

    def ticks_diff(self, later: int, earlier: int) -> int:
        return later - earlier


class _Clock:
    """A clock that was never set."""

    def unix_ms(self, ticks: int) -> int:
        return 0


class _Worker:
    """It has no room, and keeps count of who asks."""

    def __init__(self) -> None:
        self.asked = 0

    def submit(self, job: object, done: object, spare: int = 0) -> bool:
        self.asked += 1
        return False


_ROOT = p256.public_key(b"r" * 32)


class _Identity:
    """An enrolled element."""

    enrolled = True
    element_id = _ELEMENT_ID
    pins = (b"\x00\x00\x00\x01" + _ROOT + hashlib.sha256(_ROOT).digest(),) * 3
    issuer_key = operator_key = _ROOT
    issued_unix_s = floor_unix_s = 1_767_225_600
    revocation_number = 0
    revoked = b""
    credential = b""

    def checked(self, payload: bytes) -> dict[str, Any]:
        """Return an element's claims, as Enrolment does."""
        return schema.statement_from_wire(
            schema.table_of(schema.CREDENTIAL), cbor.decode(payload))


def _session(initiator: bool) -> SealedSession:
    return SealedSession(ccm_seal, ccm_open, Exporter(hmac_sha256, _PRK_OUT), _ELEMENT_ID,
                         initiator)


def _port(uart: _UART) -> HostPort:
    return HostPort(_HAL(), uart, _Identity(), _Worker(), _Clock(), lambda line: None)


def _example(field_type: int, low: Any, high: int) -> Any:
    return {schema.BYTES: bytes(min(high, max(low, 9)) if field_type == schema.BYTES else 0),
            schema.TEXT: "t" * (max(low, 1) if field_type == schema.TEXT else 0),
            schema.BOOL: True, schema.INTS: []}.get(field_type, high)


def _message(kind: int) -> bytes:
    fields = {name: _example(*rest) for name, *rest in schema.table_of(kind)}
    return cbor.encode(schema.message_to_wire(kind, fields))


# Every session message as the host would send it first: all have the sequence number 1.
_AUTHENTIC = {kind: _message(kind) for kind in schema.SESSION_KINDS}


def host_port_corpus() -> list[bytes]:
    """Return valid inputs: link messages and each session message, framed and bare."""
    out = [_message(kind) for kind in schema.LINK_KINDS if kind != schema.WHO]
    out += [_session(True).protect(data) for data in _AUTHENTIC.values()]
    return out + [encode_frame(payload) for payload in out]


def host_port(data: bytes) -> bool:
    """Fuzz the element's end of its line: only what the session authenticated moves anything.

    data is heard as it is and, as damage rarely passes a CRC, once more in a frame of its own.
    True if a handler was called. All authentic messages have one sequence number, so a second
    one that is taken is a replay.
    """
    uart = _UART()
    port = _port(uart)
    port.opened(Peer(_session(False), codes.PARTY_AGGREGATOR, _SUBJECT, (0, 0xFFFFFFFF)))
    taken: list[bytes] = []

    def handler(kind: int) -> Callable[[dict[str, Any]], None]:
        return lambda fields: taken.append(cbor.encode(schema.message_to_wire(kind, fields)))

    handlers: dict[int, Any] = port.handlers
    for kind in rare.MESSAGE_KINDS:
        if kind != schema.WHO:
            handlers[kind] = handler(kind)
    uart.rx = data + b"\x00" + (encode_frame(data) if data else b"")
    port.receive()
    moving = [one for one in taken if cbor.decode(one)[0] in schema.SESSION_KINDS]
    if any(one not in _AUTHENTIC.values() for one in moving):
        raise DefectError("host_port: a message that nobody authenticated")
    if len(moving) > 1:
        raise DefectError("host_port: a replay was taken")
    if port.session_count != 1:
        raise DefectError("host_port: a session without a handshake")
    accepted = bool(taken) or port.peers[0].session.generation > 0
    host = _session(True)
    host.protect(b"")
    probe = _AUTHENTIC[schema.TRIP]
    # a byte of zero ends whatever frame was begun
    uart.rx = b"\x00" + encode_frame(host.protect(probe))
    port.receive()
    if taken[-1:] != [probe]:
        raise DefectError("host_port: deaf after what came before")
    return accepted


_TYPS = {**{kind: trust.TYP[kind] for kind in trust.TYP},
         schema.CREDENTIAL: schema.STATEMENT_TYP[schema.CREDENTIAL]}


def _statement(kind: int, **changes: Any) -> bytes:
    table = trust.table_of(kind) if kind in trust.TYP else schema.table_of(kind)
    payload = cbor.encode(schema.statement_to_wire(table, {**_fields(table), **changes}))
    return bytes(cose.sign1_assemble(
        cose.protected_header(cose.ALG_ES256, _SUBJECT, _TYPS[kind]), payload, b"\x11" * 64))


def _fields(table: Any) -> dict[str, Any]:
    return {name: _fields(rest[1]) if rest[0] == schema.MAP else _example(*rest)
            for _, name, *rest in table}


def trust_desk_corpus() -> list[bytes]:
    """Return a statement of every kind, such that only its signature is left to look at."""
    key = schema.cose_key(_ROOT)
    return [_statement(trust.ROOT_ROTATION, role=role, number=2, key=key, not_before_unix_s=when)
            for role in (trust.ROLE_ISSUER, trust.ROLE_OPERATOR, trust.ROLE_LIFE_SAFETY)
            for when in (0, 1_767_225_600)] + [
        _statement(trust.REVOCATION_LIST, part=1, part_count=1, entries=bytes(13 * count))
        for count in range(5)] + [_statement(schema.CREDENTIAL)]


_Identity.credential = _statement(schema.CREDENTIAL, issued_unix_s=5)


def trust_desk(data: bytes) -> bool:
    """Fuzz what an element is told of its roots: one answer, and nothing kept unverified.

    True if a statement came as far as its signature; the worker has no room to look at it.
    """
    worker = _Worker()
    answers: list[tuple[bytes, str]] = []
    TrustDesk(_port(_UART()), _Identity(), worker).examine(
        data, lambda digest, code: answers.append((digest, code)))
    if len(answers) != 1 or answers[0][0] != hashlib.sha256(data).digest()[:8]:
        raise DefectError("trust_desk: not one answer to one statement")
    if (answers[0][1] == "busy") != (worker.asked == 1):
        raise DefectError("trust_desk: an answer without a look at the signature")
    return worker.asked == 1
