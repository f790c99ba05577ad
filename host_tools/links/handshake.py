"""The host's end of one EDHOC handshake with an element, up to the session. No I/O.

A message that brings no answer is sent again, byte for byte: a line may lose it, and a small
board computes for seconds. Ref: RFC 9528.
"""

from collections.abc import Callable

from element.protocol import cbor, cose, edhoc, schema
from element.protocol.errors import SignatureError
from element.protocol.sealed import SealedSession
from host_tools.identity.aead import ccm_open, ccm_seal
from host_tools.identity.exchange import HostInitiator
from host_tools.identity.keyring import Enrolled, Party

# A lost message costs that much. An RP2040 takes 7 s to answer; what comes again it passes over.
REPEAT_MS = 2500
# While power flows its ticks come first, and there may be records to sign before it.
HANDSHAKE_MS_MAX = 40_000
_KCWT = 13
# Connection identifiers differ in size, so they cannot be the same.
_C_I = b"\x00\x00\x01"


class Handshake:
    """A handshake that has begun. kind, message: what to send, now and again.

    session is None until message_2 was answered; it is proven by its first good message.
    """

    def __init__(self, party: Party, enrolled: Enrolled,
                 random_bytes: Callable[[int], bytes], now_ms: int) -> None:
        self._enrolled = enrolled
        self._initiator = HostInitiator(
            party.agree, _C_I, party.credential, {_KCWT: cbor.decode(party.credential)},
            self._meet, random_bytes)
        self.kind = schema.EDHOC_1
        self.message: bytes = self._initiator.message_1
        self.session: SealedSession | None = None
        self._began_ms = self._sent_ms = now_ms

    def _meet(self, id_cred: dict[int, object]) -> tuple[bytes, bytes] | None:
        """Return credential and key of the element we greet; nobody else may answer."""
        if id_cred != {cose.KID: self._enrolled.element_id}:
            return None
        return self._enrolled.credential, self._enrolled.agree_key

    def is_over(self, now_ms: int) -> bool:
        """Return True when no answer will come any more."""
        return now_ms - self._began_ms > HANDSHAKE_MS_MAX

    def is_due(self, now_ms: int) -> bool:
        """Return True when the message is to be sent again, and count that as sent."""
        if now_ms - self._sent_ms < REPEAT_MS:
            return False
        self._sent_ms = now_ms
        return True

    def answer(self, message_2: bytes, now_ms: int) -> None:
        """Take message_2: `message` is the third then. Raises DecodeError or SignatureError."""
        if self.session is not None:
            raise SignatureError("edhoc_state")
        message_3, exporter = self._initiator.answer(message_2)
        name = self._enrolled.element_id + self._initiator.state.c_r
        self.session = SealedSession(ccm_seal, ccm_open, exporter, name, True)
        self.kind, self.message = schema.EDHOC_3, message_3
        self._sent_ms = now_ms


def reason_of(message: bytes) -> str:
    """Return what an EDHOC error message says, for people. Nobody vouches for it."""
    error = edhoc.error_of(message)
    if error is None:
        return "refused"
    code, information = error
    if code == edhoc.ERROR_SUITE:
        return f"the element wants cipher suite {information}"
    if code == edhoc.ERROR_CREDENTIAL:
        return "the element takes no credential of this form"
    return str(information)[:80]
