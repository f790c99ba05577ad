"""EDHOC's initiator: message_1 out, message_2 in, message_3 out, message_4 in if wanted.

The order of calls, with what the caller computes in between (see edhoc.py for the types):

    message_1 = make_1(g_x)             after making X, G_X
    g_y = receive_2(message_2)          lift G_Y to a point; G_XY = X * G_Y
    peer_key = open_2(g_xy)             G_RX = X * G_R; G_IY = I * G_Y
    verify_2(g_rx)
    message_3 = make_3(g_iy)
    exporter = finish()
    receive_4(message_4)                only where the profile has it

Between make_3 and the first message that the responder protects, message_4 or one of a session,
the responder has proven its key but not yet that it heard us.
"""

from . import cbor, edhoc
from .cose import ct_equal
from .errors import DecodeError, RangeError, SignatureError

_MAKE_1 = 1
_WAIT_2 = 2
_OPEN_2 = 3
_VERIFY_2 = 4
_MAKE_3 = 5
_SENT_3 = 6
_DONE_4 = 7


class Initiator(edhoc.Role):
    """One handshake as initiator. Arguments as edhoc.Role, and:

    c_i: our connection identifier, 1..7 bytes. suites: what SUITES_I says, most preferred first;
    the last is the selected one and must be 2.
    c_r, ead_2, id_cred_peer: what message_2 carried, true after verify_2. ead_4: message_4's.
    """

    def __init__(self, crypto, c_i: bytes, cred: bytes, id_cred: dict, peer, known=(),
                 suites=(edhoc.SUITE,)):
        super().__init__(crypto, cred, id_cred, peer, known)
        if not suites or suites[-1] != edhoc.SUITE or len(suites) > edhoc.SUITE_COUNT_MAX:
            raise RangeError("edhoc_suites", suites)
        self.c_i = edhoc.checked_c(c_i)
        self._suites = list(suites)
        self._g_x = b""
        self._g_y = b""
        self._ciphertext_2 = b""
        self._plaintext_2 = b""
        self.ead_2 = []
        self.ead_4 = []

    def make_1(self, g_x: bytes, ead=()) -> bytes:
        """Return message_1. g_x: the 32-byte x of our ephemeral key. Raises RangeError."""
        self._enter(_MAKE_1)
        suites = self._suites
        self._g_x = bytes(edhoc.checked_key(g_x))
        message = cbor.encode(edhoc.METHOD) \
            + cbor.encode(suites if len(suites) > 1 else suites[0]) + cbor.encode(self._g_x) \
            + edhoc.identifier_to_wire(self.c_i) + edhoc.ead_to_wire(ead)
        self._th = self._crypto.sha256(edhoc.checked_message(message))
        self._state = _WAIT_2
        return message

    def receive_2(self, message: bytes) -> bytes:
        """Return G_Y, the 32-byte x of the peer's ephemeral key, from message_2.

        The caller must refuse an x that is no point's. Raises DecodeError, or SignatureError
        "edhoc_reflected" when it is our own key.
        """
        self._enter(_WAIT_2)
        data = edhoc.one_bstr(message)
        g_y = edhoc.checked_key(data[: edhoc.SHARED_SIZE])
        if g_y == self._g_x:
            raise SignatureError("edhoc_reflected")
        self._g_y = g_y
        self._ciphertext_2 = data[edhoc.SHARED_SIZE :]
        if not self._ciphertext_2:
            raise DecodeError("edhoc_plaintext")
        self._state = _OPEN_2
        return g_y

    def open_2(self, g_xy: bytes):
        """Return the static public key of the peer that message_2 names. g_xy: shared secret.

        Raises DecodeError or SignatureError; nothing about the peer is proven yet.
        """
        self._enter(_OPEN_2)
        self._start(self._g_y, self._th, g_xy)
        self._plaintext_2 = self._keystream_xor(self._ciphertext_2)
        items = cbor.decode_sequence(self._plaintext_2)
        if len(items) < 3:
            raise DecodeError("edhoc_plaintext")
        self.c_r = edhoc.c_from_item(items[0])
        if self.c_r == self.c_i:
            raise DecodeError("edhoc_c", self.c_r)
        ead = edhoc.ead_from_items(items[3:], self._known)
        public_key = self._meet(items[1], items[2], ead)
        self._state = _VERIFY_2
        return public_key

    def verify_2(self, g_rx: bytes):
        """Check that the peer has the key it named. g_rx: shared secret.

        Raises SignatureError "edhoc_mac" when it has not.
        """
        self._enter(_VERIFY_2)
        mac, ead = self._peer_fields
        self._next_prk(1, g_rx)
        c_wire = edhoc.identifier_to_wire(self.c_r)
        if not ct_equal(self._mac(2, c_wire, self.id_cred_peer, self._peer_cred, ead), mac):
            raise SignatureError("edhoc_mac")
        self.ead_2 = ead
        self._th = self._hash(self._th, self._plaintext_2 + self._peer_cred)
        self._state = _MAKE_3

    def make_3(self, g_iy: bytes, ead=()) -> bytes:
        """Return message_3. g_iy: shared secret. Raises RangeError."""
        self._enter(_MAKE_3)
        key, iv, aad = self._sealing(3)
        self._next_prk(5, g_iy)
        mac = self._mac(6, b"", self._id_cred, self._cred, ead)
        plaintext = edhoc.id_cred_to_wire(self._id_cred) + cbor.encode(mac) \
            + edhoc.ead_to_wire(ead)
        sealed = self._crypto.seal(key, iv, aad, plaintext)
        message = edhoc.checked_message(cbor.encode(sealed))
        self._finish(plaintext, self._cred)
        self._state = _SENT_3
        return message

    def finish(self) -> edhoc.Exporter:
        """Return the exporter, after make_3 and as long as nothing failed since."""
        if self._exporter is None or self._state not in (_SENT_3, _DONE_4):
            raise SignatureError("edhoc_state")
        return self._exporter

    def receive_4(self, message: bytes):
        """Check message_4: the peer heard message_3 and has the keys. Once only.

        Raises DecodeError or SignatureError, and then finish() gives nothing any more.
        """
        self._enter(_SENT_3)
        plaintext = self._unseal(8, message)
        self.ead_4 = edhoc.ead_from_items(cbor.decode_sequence(plaintext), self._known)
        self._prk = b""
        self._state = _DONE_4
