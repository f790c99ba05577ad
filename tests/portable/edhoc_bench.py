"""Two ends of a handshake over a toy group: what the tests of EDHOC and of sealed sessions share.

The roles know no curve, so any Diffie-Hellman with 32-byte results serves, and a small one makes
a thousand handshakes cheap. tests/host/test_edhoc_lakers.py has them with P-256.
"""

from hashlib import sha256

from element.crypto.ccm import ccm_open, ccm_seal
from element.crypto.hmac import hmac_sha256
from element.protocol import cbor, edhoc
from element.protocol.edhoc_initiator import Initiator
from element.protocol.edhoc_responder import Responder

_PRIME = (1 << 255) - 19
ID_I = {4: b"\x2b"}
ID_R = {4: b"panel 1"}
# secrets of the four keys: ephemeral X and Y, static
X, Y, OWN_I, OWN_R = 0x1234567, 0x89ABCDE, 0x3141592, 0x2718281


def hash_(data):
    return sha256(data).digest()


CRYPTO = edhoc.Crypto(hash_, hmac_sha256, ccm_seal, ccm_open)


def public(secret):
    return pow(3, secret, _PRIME).to_bytes(32, "big")


def shared(secret, key):
    return pow(int.from_bytes(key, "big"), secret, _PRIME).to_bytes(32, "big")


def credential(name, secret):
    """Return a CWT claims set, as in RFC 9529 but for the curve."""
    return cbor.encode({2: name, 8: {1: {1: 2, -1: 1, -2: public(secret)}}})


CRED_I = credential("element", OWN_I)
CRED_R = credential("panel", OWN_R)
PEERS = [(ID_I, CRED_I, public(OWN_I)), (ID_R, CRED_R, public(OWN_R))]


def peer(id_cred):
    for name, cred, key in PEERS:
        if name == id_cred:
            return cred, key
    return None


def initiator(x=X, c_i=b"\x37", known=(), suites=(2,)):
    return Initiator(CRYPTO, c_i, CRED_I, ID_I, peer, known, suites)


def responder(known=()):
    return Responder(CRYPTO, CRED_R, ID_R, peer, known)


class Handshake:
    """One handshake; `wire(number, message)` may change or replace what travels.

    run() returns both exporters or raises what an end raised; messages as sent are kept.
    """

    def __init__(self, wire=None, x=X, y=Y, c_r=b"\x27", with_4=True, eads=((), (), (), ()),
                 known=()):
        self._wire = wire
        self._x = x
        self._y = y
        self._c_r = c_r
        self._with_4 = with_4
        self._eads = eads
        self.initiator = initiator(x, known=known)
        self.responder = responder(known)
        self.messages = []

    def _send(self, message):
        self.messages.append(message)
        return self._wire(len(self.messages), message) if self._wire else message

    def run(self):
        """Return (exporter of the initiator, exporter of the responder)."""
        one, two, x, y = self.initiator, self.responder, self._x, self._y
        g_x = two.receive_1(self._send(one.make_1(public(x), self._eads[0])))
        message_2 = two.make_2(self._c_r, public(y), shared(y, g_x), shared(OWN_R, g_x),
                               self._eads[1])
        g_y = one.receive_2(self._send(message_2))
        g_r = one.open_2(shared(x, g_y))
        one.verify_2(shared(x, g_r))
        g_i = two.receive_3(self._send(one.make_3(shared(OWN_I, g_y), self._eads[2])))
        exporter = two.finish_3(shared(y, g_i))
        if self._with_4:
            one.receive_4(self._send(two.make_4(self._eads[3])))
        return one.finish(), exporter
