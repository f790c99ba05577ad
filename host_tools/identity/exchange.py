"""EDHOC on the host: primitives, points from an x, and an initiator with its curve work done.

The twin of element.crypto.handshake. Here a scalar multiplication takes a tenth of a
millisecond, so nothing is sliced.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from element.protocol import edhoc
from element.protocol.edhoc_initiator import Initiator
from element.protocol.errors import SignatureError
from element.protocol.exporter import Exporter
from host_tools.identity.aead import ccm_open, ccm_seal
from host_tools.identity.keys import KeyPair, hmac_sha256, make_key_pair, raw_public

# ID_CRED -> (CRED, raw public key x||y), or None for a peer that is not known
Peers = Callable[[dict[int, Any]], tuple[bytes, bytes] | None]
EAD = Sequence[tuple[int, bytes | None]]


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


CRYPTO = edhoc.Crypto(_sha256, hmac_sha256, ccm_seal, ccm_open)


def lift(x: bytes) -> bytes:
    """Return a raw public key x||y for a 32-byte x; either y gives the same shared secrets.

    Raises SignatureError when no point of the curve has this x. Ref: RFC 9528, appendix B.
    """
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x02" + x)
    except ValueError as error:
        raise SignatureError("public_key") from error
    return raw_public(key)


class HostInitiator:
    """One handshake as initiator: send message_1, then give what answer() returns to message_2.

    own: our static key pair. cred, id_cred, peers, known: as edhoc.Role. random_bytes: the source
    of the ephemeral key. state: the protocol's end, with c_r, ead_2 and id_cred_peer.
    """

    def __init__(
        self, own: KeyPair, c_i: bytes, cred: bytes, id_cred: dict[int, Any], peers: Peers,
        random_bytes: Callable[[int], bytes], known: Sequence[int] = (), ead: EAD = (),
    ) -> None:
        self._own = own
        self._ephemeral = make_key_pair(random_bytes)
        self.state = Initiator(CRYPTO, c_i, cred, id_cred, peers, known)
        self.message_1: bytes = self.state.make_1(self._ephemeral.public[:32], ead)

    def answer(self, message_2: bytes, ead: EAD = ()) -> tuple[bytes, Exporter]:
        """Return message_3 and the exporter. Raises DecodeError or SignatureError.

        The responder has proven its key; it has heard us once it sends under the exporter's keys.
        """
        g_y = lift(self.state.receive_2(message_2))
        g_r = self.state.open_2(self._ephemeral.agree(g_y))
        self.state.verify_2(self._ephemeral.agree(g_r))
        message_3 = self.state.make_3(self._own.agree(g_y), ead)
        return message_3, self.state.finish()
