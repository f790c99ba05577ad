"""The secure session: authenticated, ordered, replay-protected payloads. No I/O, no cryptography.

Each payload travels in a COSE_Mac0 whose Partial IV is the sequence number: 1, 2, 3 .. for each
direction. Direction and session are bound by the keys: derive_keys gives every pair of nonces its
own two, so a message of another session or sent back to its sender fails its tag. The payload is
not encrypted: a setpoint is no secret, and anyone may check a capture.

This interface is small on purpose: how keys are agreed can change (EDHOC) without a word of it in
the code that uses a session. The MAC and HKDF are handed in, hashlib's on the host, element.crypto
on the board.
Ref: RFC 9052, section 6.2 (Mac0); RFC 5869 (HKDF); RFC 8613, section 7.4 (replay).
"""

from . import cose
from .errors import DecodeError, RangeError, SignatureError

NONCE_SIZE = 16
ELEMENT_ID_SIZE = 8
KEY_SIZE = 32
_INFO = b"cellwall session 1"


class Session:
    """Protect what one end sends and check what it receives.

    mac: mac(key, message) -> 32 bytes, HMAC-SHA256. key_tx, key_rx: 32 bytes each, the peer holds
    them the other way round. kid: names the session, the same at both ends.
    Counters: sent, accepted, malformed, forged (wrong tag or kid), replayed.
    """

    def __init__(self, mac, key_tx: bytes, key_rx: bytes, kid: bytes):
        if len(key_tx) != KEY_SIZE or len(key_rx) != KEY_SIZE:
            raise RangeError("session_key_size")
        if key_tx == key_rx:
            # with one key for both ways a message could be sent back to its sender
            raise RangeError("session_keys_equal")
        self._mac = mac
        self._key_tx = key_tx
        self._key_rx = key_rx
        self._kid = bytes(kid)
        self._sequence_sent = 0
        self._sequence_accepted = 0
        self.sent = 0
        self.accepted = 0
        self.malformed = 0
        self.forged = 0
        self.replayed = 0

    def protect(self, payload: bytes) -> bytes:
        """Return payload in a Mac0 with the next sequence number.

        Raises RangeError when the sequence is used up (a new session is due) or the payload does
        not fit; the sequence number is spent only on success.
        """
        sequence = self._sequence_sent + 1
        protected = cose.protected_header(cose.ALG_HMAC_256, self._kid, None, sequence)
        tag = self._mac(self._key_tx, cose.mac_structure(protected, payload))
        data = cose.mac0_assemble(protected, payload, tag)
        self._sequence_sent = sequence
        self.sent += 1
        return data

    def unprotect(self, data: bytes) -> bytes:
        """Return the payload of a message from the peer.

        Raises DecodeError for malformed bytes; SignatureError with code "session_kid" or
        "session_tag" for a forged message and "session_replay" for a true one whose sequence is
        not above the last accepted (gaps are allowed: a link may lose messages). Nothing but the
        counters changes unless the message is accepted.
        """
        try:
            protected, header, payload, tag = cose.mac0_parse(data)
            if cose.KID not in header or cose.PIV not in header:
                raise DecodeError("session_header")
        except DecodeError:
            self.malformed += 1
            raise
        if header[cose.KID] != self._kid:
            self.forged += 1
            raise SignatureError("session_kid", header[cose.KID])
        expected = self._mac(self._key_rx, cose.mac_structure(protected, payload))
        if not cose.ct_equal(expected, tag):
            self.forged += 1
            raise SignatureError("session_tag")
        sequence = header[cose.PIV]
        if sequence <= self._sequence_accepted:
            self.replayed += 1
            raise SignatureError("session_replay", sequence)
        self._sequence_accepted = sequence
        self.accepted += 1
        return payload


def derive_keys(
    hkdf, enrolment_key: bytes, host_nonce: bytes, element_nonce: bytes, element_id: bytes
) -> tuple:
    """Return (key host to element, key element to host), 32 bytes each.

    hkdf: hkdf(ikm, salt, info, length) -> bytes, HKDF-SHA256. enrolment_key: 32 secret bytes that
    both ends got at enrolment. Each end makes a fresh 16-byte nonce, so neither can force old
    keys on the other. element_id: 8 bytes. Raises RangeError for a wrong size.
    """
    if len(enrolment_key) != KEY_SIZE:
        raise RangeError("enrolment_key_size", len(enrolment_key))
    if len(host_nonce) != NONCE_SIZE or len(element_nonce) != NONCE_SIZE:
        raise RangeError("nonce_size")
    if len(element_id) != ELEMENT_ID_SIZE:
        raise RangeError("element_id_size", len(element_id))
    salt = bytes(host_nonce) + bytes(element_nonce)
    keys = hkdf(enrolment_key, salt, _INFO + bytes(element_id), 2 * KEY_SIZE)
    return keys[:KEY_SIZE], keys[KEY_SIZE:]
