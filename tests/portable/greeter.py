"""A party that greets an element: EDHOC's initiator with the curve's work done at once."""

import hashlib

from panel import AGREE, party_credential

from element.crypto import p256
from element.crypto.handshake import CRYPTO, LiftJob
from element.protocol import cbor
from element.protocol.edhoc_initiator import Initiator


def lifted(x):
    """Return a public key that has this x."""
    job = LiftJob(x)
    while not job.step():
        pass
    assert job.error is None
    return job.public_key


class Greeter:
    """One handshake with an element. own: the party's key for agreement."""

    def __init__(self, enrolment, credential=None, own=AGREE, seed=b"x", id_cred=None):
        self._own = own
        self._x = hashlib.sha256(b"ephemeral " + seed).digest()
        credential = credential or party_credential()
        element_id = enrolment.element_id

        def peer(id_cred):
            assert id_cred == {4: element_id}
            return enrolment.credential, enrolment.agree_public

        self.state = Initiator(CRYPTO, b"\x01", credential,
                               id_cred or {13: cbor.decode(credential)}, peer)
        self.message_1 = self.state.make_1(p256.public_key(self._x)[:32])

    def answer(self, message_2):
        """Return (message_3, exporter)."""
        g_y = lifted(self.state.receive_2(message_2))
        g_r = self.state.open_2(p256.ecdh(self._x, g_y))
        self.state.verify_2(p256.ecdh(self._x, g_r))
        message_3 = self.state.make_3(p256.ecdh(self._own.private, g_y))
        return message_3, self.state.finish()
