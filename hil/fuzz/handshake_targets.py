"""Fuzz the parsers of a handshake and of the messages of a sealed session.

As in `targets`, each function takes any bytes and returns True if they were accepted. What
travels encrypted is tried twice: as the message, and as the plaintext in one, because damage to
a ciphertext rarely gets past its tag. The Diffie-Hellman secrets are constants.
"""

import hashlib
from collections.abc import Callable
from typing import Any

from element.protocol import cbor, cose, edhoc, encrypt0
from element.protocol.edhoc_initiator import Initiator
from element.protocol.edhoc_responder import Responder
from element.protocol.errors import DecodeError, SignatureError
from element.protocol.exporter import Exporter, kdf
from element.protocol.sealed import SealedSession
from host_tools.identity.exchange import CRYPTO

from .defect import DefectError

_G_X, _G_Y = b"x" * 32, b"y" * 32
_G_XY, _G_RX, _G_IY = b"1" * 32, b"2" * 32, b"3" * 32
_KNOWN = (1, 2)
_CRED_I, _CRED_R = cbor.encode({2: "i"}), cbor.encode({2: "r"})
_ID_CREDS: tuple[dict[int, Any], ...] = (
    {4: b"\x05"}, {4: b"kid"}, {4: bytes(64)}, {14: {2: "name", 8: {1: {-2: bytes(32)}}}},
    {13: cbor.Tagged(18, [b"", {}, b"claims", bytes(64)])}, {4: b"a", 33: [b"x5c"]})
_EADS: tuple[list[tuple[int, bytes | None]], ...] = (
    [], [(0, bytes(20))], [(-1, b"critical"), (7, None), (300, b"")])
_CS = (b"\x00", b"\x37", b"\x18", b"seven b")
# messages sealed by nothing: what is handed over is the plaintext
_CLEAR = edhoc.Crypto(CRYPTO.sha256, CRYPTO.hmac, lambda key, nonce, aad, data: data,
                      lambda key, nonce, aad, data: data)


def _peers(cred: bytes) -> Callable[[dict[int, Any]], tuple[bytes, bytes]]:
    """Know everybody, so that parsing goes on."""
    return lambda id_cred: (cred, b"")


def _initiator(c_i: bytes = b"\x01", suites: tuple[int, ...] = (2,),
               id_cred: dict[int, Any] | None = None,
               crypto: edhoc.Crypto = CRYPTO) -> Initiator:
    return Initiator(crypto, c_i, _CRED_I, id_cred or {4: b"i"}, _peers(_CRED_R), _KNOWN, suites)


def _responder(id_cred: dict[int, Any] | None = None,
               crypto: edhoc.Crypto = CRYPTO) -> Responder:
    return Responder(crypto, _CRED_R, id_cred or {4: b"r"}, _peers(_CRED_I), _KNOWN)


_MESSAGE_1 = _initiator().make_1(_G_X)


def _message_2(id_cred: dict[int, Any], c_r: bytes, ead: Any) -> bytes:
    responder = _responder(id_cred)
    responder.receive_1(_MESSAGE_1)
    message: bytes = responder.make_2(c_r, _G_Y, _G_XY, _G_RX, ead)
    return message


_MESSAGE_2 = _message_2({4: b"r"}, b"\x02", [])
_TH_2 = hashlib.sha256(
    cbor.encode(_G_Y) + cbor.encode(hashlib.sha256(_MESSAGE_1).digest())).digest()
_PRK_2E = CRYPTO.hmac(_TH_2, _G_XY)


def _xor_2(data: bytes) -> bytes:
    """Return the plaintext of a CIPHERTEXT_2 and back (RFC 9528, 5.3.2)."""
    stream = kdf(CRYPTO.hmac, _PRK_2E, 0, _TH_2, len(data))
    return bytes(one ^ other for one, other in zip(data, stream, strict=True))


def _message_3(id_cred: dict[int, Any], ead: Any, crypto: edhoc.Crypto) -> bytes:
    initiator = _initiator(id_cred=id_cred, crypto=crypto)
    initiator.make_1(_G_X)
    initiator.receive_2(_MESSAGE_2)
    initiator.open_2(_G_XY)
    initiator.verify_2(_G_RX)
    message: bytes = initiator.make_3(_G_IY, ead)
    return message


_AUTHENTIC_2 = {_message_2(id_cred, c_r, ead)
                for id_cred in _ID_CREDS for c_r in _CS for ead in _EADS}
_AUTHENTIC_3 = {_message_3(id_cred, ead, CRYPTO) for id_cred in _ID_CREDS for ead in _EADS}
_CLEAR_3 = {_message_3(id_cred, ead, _CLEAR) for id_cred in _ID_CREDS for ead in _EADS}


def message_1(data: bytes) -> bool:
    """Fuzz Responder.receive_1: an initiator with the same fields makes the same bytes."""
    responder = _responder()
    try:
        g_x = responder.receive_1(data)
    except DecodeError:
        return False
    suites = cbor.decode_sequence(data)[1]
    suites = tuple(suites) if isinstance(suites, list) else (suites,)
    if _initiator(responder.c_i, suites).make_1(g_x, responder.ead_1) != data:
        raise DefectError("message_1: accepted a second encoding")
    return True


def message_2(data: bytes) -> bool:
    """Fuzz Initiator: receive_2 and open_2 on the message, and with data as the plaintext."""
    accepted = _opened_2(data)
    if 1 <= len(data) <= 900:
        accepted |= _opened_2(cbor.encode(_G_Y + _xor_2(data)))
    return accepted


def _opened_2(message: bytes) -> bool:
    initiator = _initiator()
    initiator.make_1(_G_X)
    try:
        initiator.receive_2(message)
        initiator.open_2(_G_XY)
    except DecodeError:
        return False
    except SignatureError as error:
        if error.code == "edhoc_reflected":
            return False
        raise
    if cbor.decode(message)[:32] == _G_Y:
        plaintext = _xor_2(cbor.decode(message)[32:])
        items = cbor.decode_sequence(plaintext)
        again = edhoc.identifier_to_wire(initiator.c_r) \
            + edhoc.id_cred_to_wire(initiator.id_cred_peer or {}) + cbor.encode(items[2]) \
            + edhoc.ead_to_wire(edhoc.ead_from_items(items[3:], _KNOWN))
        if again != plaintext:
            raise DefectError("message_2: accepted a second encoding")
    _must_fail(lambda: initiator.verify_2(_G_RX), message in _AUTHENTIC_2, "message_2")
    return True


def message_3(data: bytes) -> bool:
    """Fuzz Responder.receive_3 on the message, and with data as the plaintext."""
    accepted = _opened_3(data, CRYPTO, _AUTHENTIC_3)
    if len(data) <= 900:
        accepted |= _opened_3(cbor.encode(data), _CLEAR, _CLEAR_3)
    return accepted


def _opened_3(message: bytes, crypto: edhoc.Crypto, authentic: set[bytes]) -> bool:
    responder = _responder(crypto=crypto)
    responder.receive_1(_MESSAGE_1)
    responder.make_2(b"\x02", _G_Y, _G_XY, _G_RX)
    try:
        responder.receive_3(message)
    except DecodeError:
        return False
    except SignatureError as error:
        if error.code == "ccm_tag" and message not in authentic:
            return False
        raise
    if crypto is _CLEAR:
        items = cbor.decode_sequence(cbor.decode(message))
        again = edhoc.id_cred_to_wire(responder.id_cred_peer or {}) + cbor.encode(items[1]) \
            + edhoc.ead_to_wire(edhoc.ead_from_items(items[2:], _KNOWN))
        if cbor.encode(again) != message:
            raise DefectError("message_3: accepted a second encoding")
    _must_fail(lambda: responder.finish_3(_G_IY), message in authentic, "message_3")
    return True


def _must_fail(check: Callable[[], Any], authentic: bool, what: str) -> None:
    """Check that a MAC holds for what somebody with the keys made, and for nothing else."""
    try:
        check()
    except SignatureError as error:
        if authentic or error.code != "edhoc_mac":
            raise
        return
    if not authentic:
        raise DefectError(f"{what}: a MAC that nobody made")


def _sessions() -> tuple[SealedSession, SealedSession]:
    ends = [SealedSession(CRYPTO.seal, CRYPTO.unseal, Exporter(CRYPTO.hmac, b"p" * 32),
                          b"element1", initiator) for initiator in (True, False)]
    return ends[0], ends[1]


def _sealed_corpus() -> list[bytes]:
    sender, _ = _sessions()
    return [sender.protect(bytes(size)) for size in (0, 1, 5, 10, 20, 40, 60, 100, 200, 300, 400,
                                                     500)]


_SEALED = _sealed_corpus()


def encrypt0_message(data: bytes) -> bool:
    """Fuzz encrypt0.parse and SealedSession: one encoding, and only what the peer sealed."""
    _, receiver = _sessions()
    try:
        payload = receiver.unprotect(data)
        if data not in _SEALED or payload != bytes(len(payload)):
            raise DefectError("encrypt0: a message that nobody sealed")
        receiver.unprotect(data)
        raise DefectError("encrypt0: a replay was taken")
    except (DecodeError, SignatureError):
        pass
    if receiver.accepted + receiver.malformed + receiver.forged + receiver.replayed == 0:
        raise DefectError("encrypt0: a message that no counter counted")
    try:
        protected, header, ciphertext = encrypt0.parse(data)
    except DecodeError:
        return False
    again = cose.protected_header(header[cose.ALG], header.get(cose.KID), None,
                                  header.get(cose.PIV))
    if again != protected or encrypt0.assemble(protected, ciphertext) != data:
        raise DefectError("encrypt0: accepted a second encoding")
    return True


CORPORA: dict[str, Callable[[], list[bytes]]] = {
    "edhoc_message_1": lambda: [
        _initiator(c_i, suites).make_1(_G_X, ead)
        for c_i in _CS for suites in ((2,), (6, 2), (-24, 300, 2)) for ead in _EADS],
    "edhoc_message_2": lambda: sorted(_AUTHENTIC_2) + [
        _xor_2(cbor.decode(one)[32:]) for one in sorted(_AUTHENTIC_2)],
    "edhoc_message_3": lambda: sorted(_AUTHENTIC_3) + [
        cbor.decode(one) for one in sorted(_CLEAR_3)],
    "encrypt0": lambda: list(_SEALED),
}
TARGETS: dict[str, Callable[[bytes], bool]] = {
    "edhoc_message_1": message_1,
    "edhoc_message_2": message_2,
    "edhoc_message_3": message_3,
    "encrypt0": encrypt0_message,
}
