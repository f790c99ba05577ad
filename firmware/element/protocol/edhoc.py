"""EDHOC, what both roles share: key schedule, message coding, limits, exporter.

One profile: method 3 (both ends authenticate by static Diffie-Hellman), cipher suite 2
(AES-CCM-16-64-128, SHA-256, MACs of 8 bytes, P-256). The roles are state machines in
edhoc_initiator.py and edhoc_responder.py. They have no I/O, no randomness and no curve: methods
take received bytes and shared secrets (the 32-byte x of a product) and return bytes.

Identifiers (connection identifiers, kid) are byte strings; those of one byte that read as a CBOR
integer travel as that integer. ID_CRED is the COSE header map as a dict, {4: kid} for a
credential both ends have, or the credential itself under 13 (kcwt) or 14 (kccs). CRED is its
CBOR as bytes. EAD is a list of (label, value or None); a negative label is critical.

Every error leaves a handshake unusable, as section 5.1 wants it; a new one starts from nothing.
Errors: DecodeError for bytes that are no such message, SignatureError for what is refused (codes
"edhoc_mac", "edhoc_credential", "edhoc_reflected", "ccm_tag", and "edhoc_state" for a step out
of order), RangeError for an argument of ours that is wrong.
Ref: RFC 9528, sections 3.3, 3.5, 3.8, 4, 5 and 6, and appendix H (key update).
"""

from . import cbor
from .cose import KID, KID_SIZE_MAX
from .errors import DecodeError, RangeError, SignatureError
from .exporter import HASH_SIZE, Exporter, kdf

METHOD = 3
SUITE = 2
SHARED_SIZE = 32
MAC_SIZE = 8
KEY_SIZE = 16
IV_SIZE = 13

MESSAGE_SIZE_MAX = 1024
CRED_SIZE_MAX = 1024
# What fits an OSCORE nonce of 13 bytes (RFC 8613, section 3.3); none at all could name nothing.
C_SIZE_MAX = 7
SUITE_COUNT_MAX = 16
EAD_COUNT_MAX = 8

ERROR_UNSPECIFIED = 1
ERROR_SUITE = 2
ERROR_CREDENTIAL = 3
_FAILED = 0


class Crypto:
    """The primitives that a role is handed.

    sha256(data) -> 32 bytes. hmac(key, message) -> 32 bytes, HMAC-SHA256. seal(key, nonce, aad,
    plaintext) -> ciphertext and 8-byte tag, AES-CCM-16-64-128. unseal(key, nonce, aad, sealed)
    -> plaintext, or raises SignatureError or DecodeError.
    """

    def __init__(self, sha256, hmac, seal, unseal):
        self.sha256 = sha256
        self.hmac = hmac
        self.seal = seal
        self.unseal = unseal


class Role:
    """What both state machines are made of.

    cred: our CRED, CBOR bytes. id_cred: our ID_CRED, dict. peer(id_cred) -> (CRED of the peer as
    CBOR bytes, its static public key in whatever form the caller computes with), or None to
    refuse. known: absolute EAD labels that the application handles when they come as critical.
    """

    def __init__(self, crypto: Crypto, cred: bytes, id_cred: dict, peer, known=()):
        if not 1 <= len(cred) <= CRED_SIZE_MAX:
            raise RangeError("edhoc_cred_size", len(cred))
        self._crypto = crypto
        self._cred = bytes(cred)
        self._id_cred = id_cred
        self._peer = peer
        self._known = known
        self._state = 1
        self._th = b""
        self._prk = b""
        self._peer_cred = b""
        self._peer_fields = None
        self._exporter = None
        self.c_i = b""
        self.c_r = b""
        self.id_cred_peer = None

    def _enter(self, state: int):
        """Begin a step that needs this state; until it ends well the handshake has failed."""
        if self._state != state:
            self._state = _FAILED
            self._exporter = None
            raise SignatureError("edhoc_state")
        self._state = _FAILED

    def _kdf(self, label: int, context: bytes, size: int) -> bytes:
        return kdf(self._crypto.hmac, self._prk, label, context, size)

    def _hash(self, first: bytes, rest: bytes) -> bytes:
        """Return the hash of a transcript: first as a byte string, then rest as it is."""
        return self._crypto.sha256(cbor.encode(first) + rest)

    def _start(self, g_y: bytes, hash_1: bytes, g_xy: bytes):
        """Make TH_2 and PRK_2e (4.1.1.1, 5.3.2)."""
        self._th = self._hash(g_y, cbor.encode(hash_1))
        self._prk = self._crypto.hmac(self._th, checked_secret(g_xy))

    def _next_prk(self, label: int, shared: bytes):
        """Make PRK_3e2m (label 1, from G_RX) or PRK_4e3m (label 5, from G_IY)."""
        salt = self._kdf(label, self._th, HASH_SIZE)
        self._prk = self._crypto.hmac(salt, checked_secret(shared))

    def _mac(self, label: int, before: bytes, id_cred: dict, cred: bytes, ead) -> bytes:
        """Return MAC_2 (label 2, before: C_R) or MAC_3 (label 6), 8 bytes."""
        context = before + cbor.encode(id_cred) + cbor.encode(self._th) + cred + ead_to_wire(ead)
        return self._kdf(label, context, MAC_SIZE)

    def _keystream_xor(self, data: bytes) -> bytes:
        """Return CIPHERTEXT_2 for PLAINTEXT_2 and back."""
        stream = self._kdf(0, self._th, len(data))
        mixed = int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")
        return mixed.to_bytes(len(data), "big")

    def _seal(self, label: int, plaintext: bytes) -> bytes:
        """Return message_3 (label 3) or message_4 (label 8)."""
        key, iv, aad = self._sealing(label)
        return checked_message(cbor.encode(self._crypto.seal(key, iv, aad, plaintext)))

    def _unseal(self, label: int, message: bytes) -> bytes:
        """Return the plaintext of message_3 (label 3) or message_4 (label 8)."""
        key, iv, aad = self._sealing(label)
        return self._crypto.unseal(key, iv, aad, one_bstr(message))

    def _sealing(self, label: int) -> tuple:
        key = self._kdf(label, self._th, KEY_SIZE)
        iv = self._kdf(label + 1, self._th, IV_SIZE)
        return key, iv, cbor.encode(["Encrypt0", b"", self._th])

    def _meet(self, item, mac, ead):
        """Look the peer up; return its static public key. Its MAC is checked later."""
        id_cred = id_cred_from_item(item)
        if not isinstance(mac, bytes) or len(mac) != MAC_SIZE:
            raise DecodeError("edhoc_mac_size")
        found = self._peer(id_cred)
        if found is None:
            raise SignatureError("edhoc_credential")
        cred, public_key = found
        if not 1 <= len(cred) <= CRED_SIZE_MAX:
            raise RangeError("edhoc_cred_size", len(cred))
        if cred == self._cred:
            # somebody shows us our own credential: a reflection, or one key given to two
            raise SignatureError("edhoc_reflected")
        self.id_cred_peer = id_cred
        self._peer_cred = cred
        self._peer_fields = (mac, ead)
        return public_key

    def _finish(self, plaintext_3: bytes, cred_i: bytes) -> Exporter:
        """Make TH_4 and PRK_out (5.4.2, 4.1.3)."""
        self._th = self._hash(self._th, plaintext_3 + cred_i)
        self._exporter = Exporter(self._crypto.hmac, self._kdf(7, self._th, HASH_SIZE))
        return self._exporter


def is_int(item) -> bool:
    """Return True for an integer; True and False are none here."""
    return isinstance(item, int) and item is not True and item is not False


def checked_secret(shared: bytes) -> bytes:
    """Return a shared secret if it is one: 32 bytes, not all zero. Raises RangeError."""
    if len(shared) != SHARED_SIZE or not any(shared):
        raise RangeError("edhoc_secret")
    return shared


def checked_key(item) -> bytes:
    """Return the x of an ephemeral key. Raises DecodeError unless 32 bytes, not all zero."""
    if not isinstance(item, bytes) or len(item) != SHARED_SIZE or not any(item):
        raise DecodeError("edhoc_key")
    return item


def checked_message(message: bytes) -> bytes:
    """Return a message we made. Raises RangeError when it is longer than a peer must take."""
    if len(message) > MESSAGE_SIZE_MAX:
        raise RangeError("edhoc_message_size", len(message))
    return message


def items_of(message: bytes) -> list:
    """Return the items of a received message. Raises DecodeError for its size or its CBOR."""
    if not 1 <= len(message) <= MESSAGE_SIZE_MAX:
        raise DecodeError("edhoc_message_size", len(message))
    return cbor.decode_sequence(message)


def one_bstr(message: bytes) -> bytes:
    """Return what a message of one byte string holds. Raises DecodeError for any other."""
    items = items_of(message)
    if len(items) != 1 or not isinstance(items[0], bytes):
        raise DecodeError("edhoc_message")
    return items[0]


def checked_c(c: bytes) -> bytes:
    """Return a connection identifier of ours. Raises RangeError unless 1..7 bytes."""
    if not 1 <= len(c) <= C_SIZE_MAX:
        raise RangeError("edhoc_c", c)
    return bytes(c)


def c_from_item(item) -> bytes:
    """Return a received connection identifier. Raises DecodeError."""
    c = identifier_from_item(item)
    if not 1 <= len(c) <= C_SIZE_MAX:
        raise DecodeError("edhoc_c", c)
    return c


def _reads_as_int(data: bytes) -> bool:
    return len(data) == 1 and (data[0] <= 0x17 or 0x20 <= data[0] <= 0x37)


def identifier_to_wire(data: bytes) -> bytes:
    """Return the one encoding of a byte string identifier (RFC 9528, 3.3.2)."""
    return bytes(data) if _reads_as_int(data) else cbor.encode(data)


def identifier_from_item(item) -> bytes:
    """Return the identifier that a decoded item stands for. Raises DecodeError."""
    if is_int(item) and -24 <= item <= 23:
        return cbor.encode(item)
    if not isinstance(item, bytes) or _reads_as_int(item):
        raise DecodeError("edhoc_identifier", item)
    return item


def id_cred_to_wire(id_cred: dict) -> bytes:
    """Return ID_CRED as a plaintext carries it: a lone kid without its map (3.5.3.2)."""
    if len(id_cred) == 1 and KID in id_cred:
        return identifier_to_wire(id_cred[KID])
    return cbor.encode(id_cred)


def id_cred_from_item(item) -> dict:
    """Return the header map that a decoded item stands for. Raises DecodeError."""
    if not isinstance(item, dict):
        kid = identifier_from_item(item)
        if not 1 <= len(kid) <= KID_SIZE_MAX:
            raise DecodeError("edhoc_kid", kid)
        return {KID: kid}
    if not item or (len(item) == 1 and KID in item):
        # empty, or a kid in the map that it must come without
        raise DecodeError("edhoc_id_cred")
    return item


def ead_to_wire(ead) -> bytes:
    """Return the encoding of EAD items, nothing for none. Raises RangeError."""
    out = b""
    for label, value in ead:
        out += cbor.encode(label)
        if value is not None:
            out += cbor.encode(value)
    return out


def ead_from_items(items: list, known) -> list:
    """Return all EAD items, padding included. Raises DecodeError for a critical one not known."""
    out = []
    index = 0
    while index < len(items):
        label = items[index]
        if not is_int(label):
            raise DecodeError("edhoc_ead")
        if label < 0 and -label not in known:
            raise DecodeError("edhoc_ead_critical", label)
        index += 1
        value = None
        if index < len(items) and isinstance(items[index], bytes):
            value = items[index]
            index += 1
        out.append((label, value))
    if len(out) > EAD_COUNT_MAX:
        raise DecodeError("edhoc_ead_count", len(out))
    return out


def error_message(error) -> bytes:
    """Return the EDHOC error message for an exception of a role (RFC 9528, section 6).

    It tells a peer what it can act on, the suite and the credential, and nothing else: why a
    plaintext was refused would help whoever guesses at it.
    """
    if error.code == "edhoc_suite":
        return cbor.encode(ERROR_SUITE) + cbor.encode(SUITE)
    if error.code == "edhoc_credential":
        return cbor.encode(ERROR_CREDENTIAL) + cbor.encode(True)
    return cbor.encode(ERROR_UNSPECIFIED) + cbor.encode("refused")


def error_of(message: bytes):
    """Return (code, information) if message is an EDHOC error message, else None.

    Code 1 comes with a text, 2 with a list of suites, 3 with True, others with anything. Nobody
    vouches for it: it may end the waiting for an answer, never a session.
    """
    try:
        items = items_of(message)
    except DecodeError:
        return None
    if len(items) != 2 or not is_int(items[0]) or items[0] == 0:
        return None
    code, information = items
    if code == ERROR_SUITE:
        if is_int(information):
            information = [information]
        elif not isinstance(information, list) or len(information) < 2:
            return None
        for suite in information:
            if not is_int(suite):
                return None
    elif (code == ERROR_UNSPECIFIED and not isinstance(information, str)) \
            or (code == ERROR_CREDENTIAL and information is not True):
        return None
    return code, information
