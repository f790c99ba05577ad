"""EDHOC's responder: message_1 in, message_2 out, message_3 in, message_4 out if wanted.

The order of calls, with what the caller computes in between (see edhoc.py for the types):

    g_x = receive_1(message_1)          lift G_X to a point; make Y, G_Y; G_XY = Y * G_X;
                                        G_RX = R * G_X; choose C_R unlike c_i
    message_2 = make_2(c_r, g_y, g_xy, g_rx)
    peer_key = receive_3(message_3)     G_IY = Y * G_I
    exporter = finish_3(g_iy)
    message_4 = make_4()                only where the profile has it
"""

from . import cbor, edhoc
from .cose import ct_equal
from .errors import DecodeError, RangeError, SignatureError

_WAIT_1 = 1
_MAKE_2 = 2
_WAIT_3 = 3
_FINISH_3 = 4
_DONE = 5
_DONE_4 = 6


class Responder(edhoc.Role):
    """One handshake as responder. Arguments as edhoc.Role.

    c_i, c_r: connection identifiers, bytes. ead_1: what message_1 carried, not authenticated
    until finish_3; ead_3: known after it. id_cred_peer: who the peer says it is, true after it.
    """

    def __init__(self, crypto, cred: bytes, id_cred: dict, peer, known=()):
        super().__init__(crypto, cred, id_cred, peer, known)
        self._g_x = b""
        self._plaintext_3 = b""
        self.ead_1 = []
        self.ead_3 = []

    def receive_1(self, message: bytes) -> bytes:
        """Return G_X, the 32-byte x of the peer's ephemeral key, from message_1.

        The caller must refuse an x that is no point's. Raises DecodeError, with "edhoc_suite"
        when the selected suite is not ours or the peer would have preferred ours.
        """
        self._enter(_WAIT_1)
        items = edhoc.items_of(message)
        if len(items) < 4:
            raise DecodeError("edhoc_message")
        if not edhoc.is_int(items[0]) or items[0] != edhoc.METHOD:
            raise DecodeError("edhoc_method", items[0])
        _check_suites(items[1])
        self._g_x = edhoc.checked_key(items[2])
        self.c_i = edhoc.c_from_item(items[3])
        self.ead_1 = edhoc.ead_from_items(items[4:], self._known)
        self._th = self._crypto.sha256(message)
        self._state = _MAKE_2
        return self._g_x

    def make_2(self, c_r: bytes, g_y: bytes, g_xy: bytes, g_rx: bytes, ead=()) -> bytes:
        """Return message_2. g_y: x of our ephemeral key; g_xy, g_rx: shared secrets, 32 bytes.

        Raises RangeError for a wrong argument, among them a c_r that is the peer's c_i, and
        SignatureError "edhoc_reflected" when the peer sent our own ephemeral key.
        """
        self._enter(_MAKE_2)
        self.c_r = edhoc.checked_c(c_r)
        if self.c_r == self.c_i:
            raise RangeError("edhoc_c", c_r)
        if edhoc.checked_key(g_y) == self._g_x:
            raise SignatureError("edhoc_reflected")
        self._start(g_y, self._th, g_xy)
        prk_2e = self._prk
        self._next_prk(1, g_rx)
        c_wire = edhoc.identifier_to_wire(self.c_r)
        mac = self._mac(2, c_wire, self._id_cred, self._cred, ead)
        plaintext = c_wire + edhoc.id_cred_to_wire(self._id_cred) + cbor.encode(mac) \
            + edhoc.ead_to_wire(ead)
        prk_3e2m, self._prk = self._prk, prk_2e
        message = edhoc.checked_message(cbor.encode(g_y + self._keystream_xor(plaintext)))
        self._prk = prk_3e2m
        self._th = self._hash(self._th, plaintext + self._cred)
        self._state = _WAIT_3
        return message

    def receive_3(self, message: bytes):
        """Return the static public key of the peer that message_3 names.

        Raises DecodeError or SignatureError; nothing about the peer is proven yet.
        """
        self._enter(_WAIT_3)
        self._plaintext_3 = self._unseal(3, message)
        items = cbor.decode_sequence(self._plaintext_3)
        if len(items) < 2:
            raise DecodeError("edhoc_plaintext")
        ead = edhoc.ead_from_items(items[2:], self._known)
        public_key = self._meet(items[0], items[1], ead)
        self._state = _FINISH_3
        return public_key

    def finish_3(self, g_iy: bytes) -> edhoc.Exporter:
        """Return the exporter once the peer has proven its key: g_iy is its shared secret.

        Raises SignatureError "edhoc_mac" when it has not.
        """
        self._enter(_FINISH_3)
        mac, ead = self._peer_fields
        self._next_prk(5, g_iy)
        if not ct_equal(self._mac(6, b"", self.id_cred_peer, self._peer_cred, ead), mac):
            raise SignatureError("edhoc_mac")
        self.ead_3 = ead
        exporter = self._finish(self._plaintext_3, self._peer_cred)
        self._state = _DONE
        return exporter

    def make_4(self, ead=()) -> bytes:
        """Return message_4, which proves to the initiator that we have the keys. Once only."""
        self._enter(_DONE)
        message = self._seal(8, edhoc.ead_to_wire(ead))
        self._prk = b""
        self._state = _DONE_4
        return message


def _check_suites(item):
    """Refuse all but lists whose last suite, the selected one, is ours and ours only there."""
    suites = [item] if edhoc.is_int(item) else item
    if not isinstance(suites, list) or len(suites) > edhoc.SUITE_COUNT_MAX \
            or (suites is item and len(suites) < 2):
        raise DecodeError("edhoc_suites")
    for suite in suites:
        if not edhoc.is_int(suite) or suites.count(suite) != 1:
            raise DecodeError("edhoc_suites", suite)
    if suites[-1] != edhoc.SUITE:
        raise DecodeError("edhoc_suite", suites[-1])
