"""The sealed session: encrypted, replay-protected payloads under keys that EDHOC agreed.

Each payload travels in a COSE_Encrypt0 whose Partial IV is the sequence number 1, 2, 3 .. of its
direction and whose kid is the session's name followed by one byte, the generation of the keys.
Keys and IV come from the exporter of a handshake (Exporter of edhoc.py) under three labels of the
private-use range, so a message of another session or sent back to its sender fails its tag.
Nothing here is ever stored: a reboot ends a session, and the next handshake makes new keys.

A nonce is the common IV XOR (1, six zeros, direction, five bytes of Partial IV), the form of
RFC 8613 with a sender ID of one byte: 0 for what the initiator of the handshake sends, else 1.

Messages may overtake each other on a link: the last 64 numbers are remembered, each is taken
once, older ones are refused.

New keys without a handshake: the end that wants them says so (what, and a context of its choice)
in a message of its application and calls update(context); the end that reads it calls
update(context, True) and answers. The first still sends with the old keys until it has heard a
message under the new ones; both take messages of both generations until 64 of the new one have
come, so nothing in flight is lost. Only one of the two ends may propose.
Ref: RFC 9052, 5.2 and 5.3 (Encrypt0); RFC 8613, 5.2 (nonce) and 7.4 (replay); RFC 9528, 4.2.1
(exporter) and appendix H (key update).
"""

from . import cose, encrypt0
from .errors import DecodeError, RangeError, SignatureError

KEY_SIZE = 16
IV_SIZE = 13
NAME_SIZE_MAX = cose.KID_SIZE_MAX - 1
GENERATION_MAX = 255
WINDOW = 64
# Exporter labels, RFC 9528, section 10.1: 32768..65535 are for private use.
LABEL_KEY_INITIATOR = 32768
LABEL_KEY_RESPONDER = 32769
LABEL_IV = 32770

_WINDOW_MASK = (1 << WINDOW) - 1


class _Keys:
    """One generation: keys, numbers sent, and the window of numbers received."""

    def __init__(self, exporter, name: bytes, generation: int, initiator: bool):
        self.generation = generation
        self.kid = name + bytes([generation])
        # what stands in front of the sequence number in every header of these keys
        self._head = cose.protected_header(
            encrypt0.ALG_AES_CCM_16_64_128, self.kid, None, 1)[:-2]
        ours, theirs = LABEL_KEY_INITIATOR, LABEL_KEY_RESPONDER
        if not initiator:
            ours, theirs = theirs, ours
        self.key_tx = exporter.export(ours, name, KEY_SIZE)
        self.key_rx = exporter.export(theirs, name, KEY_SIZE)
        self.iv = int.from_bytes(exporter.export(LABEL_IV, name, IV_SIZE), "big")
        self.sequence_sent = 0
        self.accepted = 0
        self._top = 0
        self._seen = 0  # bit n stands for the number n below the top

    def header(self, sequence: int) -> bytes:
        """Return the protected header of a message. Raises RangeError past the last number."""
        if sequence > cose.SEQUENCE_MAX:
            raise RangeError("sequence", sequence)
        size = 1 if sequence < 256 else 2 if sequence < 65536 else 3 if sequence < 1 << 24 else 4
        return self._head + bytes((0x40 | size,)) + sequence.to_bytes(size, "big")

    def sequence_of(self, protected: bytes) -> int:
        """Return the sequence number in a header of these keys, 0 for any other header."""
        at = len(self._head)
        size = len(protected) - at - 1
        if 1 <= size <= 4 and protected.startswith(self._head) and protected[at] == 0x40 | size \
                and protected[at + 1]:
            return int.from_bytes(protected[at + 1:], "big")
        return 0

    def nonce(self, from_initiator: bool, sequence: int) -> bytes:
        """Return the 13-byte nonce of a message."""
        direction = 0 if from_initiator else 1
        return (self.iv ^ (1 << 96 | direction << 40 | sequence)).to_bytes(IV_SIZE, "big")

    def is_fresh(self, sequence: int) -> bool:
        """Return True for a number that was not taken yet and is not too old to know."""
        behind = self._top - sequence
        return behind < 0 or (behind < WINDOW and not self._seen >> behind & 1)

    def is_ahead(self, sequence: int) -> bool:
        """Return True for a number above all that were taken."""
        return sequence > self._top

    def take(self, sequence: int):
        """Remember a fresh number whose message was authentic."""
        ahead = sequence - self._top
        if ahead > 0:
            # a jump is at most four bytes of Partial IV: never shift by that much
            self._seen = (self._seen << ahead | 1) & _WINDOW_MASK if ahead < WINDOW else 1
            self._top = sequence
        else:
            self._seen |= 1 << -ahead
        self.accepted += 1


class SealedSession:
    """Protect what one end sends and check what it receives.

    seal, unseal: AES-CCM-16-64-128 as edhoc.Crypto has it. exporter: of the handshake; it belongs
    to the session from now on. name: 1..63 bytes, the same at both ends. initiator: True for the
    end that was the initiator.
    Counters: sent, accepted, malformed, forged (wrong tag or kid), replayed (or too old).
    in_order: nothing newer was taken before the last message; somebody may have kept it back.
    """

    def __init__(self, seal, unseal, exporter, name: bytes, initiator: bool):
        if not 1 <= len(name) <= NAME_SIZE_MAX:
            raise RangeError("session_name", name)
        self._seal = seal
        self._unseal = unseal
        self._exporter = exporter
        self._name = bytes(name)
        self._initiator = initiator
        self._tx = _Keys(exporter, self._name, 0, initiator)
        self._rx = [self._tx]
        self.in_order = False
        self.sent = 0
        self.accepted = 0
        self.malformed = 0
        self.forged = 0
        self.replayed = 0

    @property
    def generation(self) -> int:
        """The generation of the keys it sends with, 0..255."""
        return self._tx.generation

    @property
    def update_pending(self) -> bool:
        """True while the peer has not been heard under the newest keys."""
        return self._rx[0].accepted == 0 and self._rx[0].generation > 0

    def protect(self, payload: bytes) -> bytes:
        """Return payload in an Encrypt0 with the next sequence number.

        Raises RangeError when the 2**32 - 1 numbers of a generation are used up (an update is
        due long before) or the payload does not fit; a number is spent only on success.
        """
        keys = self._tx
        sequence = keys.sequence_sent + 1
        protected = keys.header(sequence)
        nonce = keys.nonce(self._initiator, sequence)
        sealed = self._seal(keys.key_tx, nonce, encrypt0.enc_structure(protected), payload)
        data = encrypt0.assemble(protected, sealed)
        keys.sequence_sent = sequence
        self.sent += 1
        return data

    def unprotect(self, data: bytes) -> bytes:
        """Return the payload of a message from the peer.

        Raises DecodeError for malformed bytes; SignatureError with code "session_kid" for another
        session or generation, the code of unseal for a forged message, and "session_replay" for
        a true one that was taken before or is more than 63 numbers old. Nothing but the counters
        changes unless the message is accepted.
        """
        try:
            protected, sealed = encrypt0.split(data)
            keys, sequence = self._keys_of(protected)
            nonce = keys.nonce(not self._initiator, sequence)
            payload = self._unseal(keys.key_rx, nonce, encrypt0.enc_structure(protected), sealed)
        except DecodeError:
            self.malformed += 1
            raise
        except SignatureError:
            self.forged += 1
            raise
        if not keys.is_fresh(sequence):
            self.replayed += 1
            raise SignatureError("session_replay", sequence)
        ahead = keys is self._rx[0] and keys.is_ahead(sequence)
        keys.take(sequence)
        self.accepted += 1
        self.in_order = ahead
        if keys is self._rx[0]:
            # the peer has these keys, so we may send with them
            self._tx = keys
            if keys.accepted >= WINDOW:
                self.retire()
        return payload

    def update(self, context: bytes, asked: bool = False):
        """Move on to the next generation of keys; both ends give the same context.

        asked: False for the end that proposes, which sends with the new keys once it has heard
        them; True for the end that was asked, which does at once. Raises RangeError for a
        context above 256 bytes, while an update is pending, and after 255 generations, when only
        a handshake helps.
        """
        newest = self._rx[0]
        if self.update_pending:
            raise RangeError("session_update_pending")
        if newest.generation >= GENERATION_MAX:
            raise RangeError("session_generation", newest.generation)
        self._exporter.update(context)
        keys = _Keys(self._exporter, self._name, newest.generation + 1, self._initiator)
        self._rx = [keys, newest]
        if asked:
            self._tx = keys

    def retire(self):
        """Forget the former generation now, unless an update is pending."""
        if not self.update_pending:
            self._rx = self._rx[:1]

    def _keys_of(self, protected: bytes) -> tuple:
        """Return (keys, sequence number) of a header. Raises DecodeError or SignatureError."""
        for keys in self._rx:
            sequence = keys.sequence_of(protected)
            if sequence:
                return keys, sequence
        header = cose.header_of(protected, encrypt0.ALG_AES_CCM_16_64_128, cose.SESSION_LABELS)
        if cose.KID not in header or cose.PIV not in header:
            raise DecodeError("session_header")
        raise SignatureError("session_kid", header[cose.KID])
