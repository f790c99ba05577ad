"""One EDHOC handshake with a party of the building, the element being the responder.

Loaded when somebody greets, forgotten when it has ended. The curve's work is the worker's, so
that no control tick waits for it. Our credential goes by its name, the element's id; the party
brings its own, which the operator's root has signed. Messages lost on the line are sent again by
the initiator, byte for byte, and answered again. Ref: RFC 9528.
"""

import hashlib

from ..crypto import p256
from ..crypto.ccm import ccm_open, ccm_seal
from ..crypto.handshake import CRYPTO, AnswerJob, FinishJob
from ..protocol import cbor, cose, edhoc, schema, trust
from ..protocol.edhoc_responder import Responder
from ..protocol.errors import Error, SignatureError
from ..protocol.sealed import SealedSession
from ..protocol.statements import statement_digest
from .host_port import Peer

# A party that was answered has so long to go on before another one may begin.
HOLD_MS = 3000
# Nothing heard for so long: the handshake has ended.
WAIT_MS_MAX = 10_000
VOUCHED_MAX = 3
# What may be asked for again leaves room in the worker's queue for records.
_SPARE = 8
C_R_SIZE = 2

_KCWT = 13

_ANSWERING = 1
_WAITING = 2
_CHECKING = 3
_OVER = 4


class Greeting:
    """A handshake, from message_1 to a session or an error."""

    def __init__(self, port, hal, enrolment, worker):
        self._port = port
        self._hal = hal
        self._enrolment = enrolment
        self._worker = worker
        self._state = _OVER
        self._at = hal.ticks_ms()
        self._responder = None
        self._answer = None
        self._message_1 = b""
        self._message_2 = b""
        self._message_3 = b""
        self._party = None  # (claims, digest of its credential's content, signature, its hash)

    def over(self, now: int) -> bool:
        """Return True when this handshake has ended, or nobody goes on with it."""
        waited_ms = self._hal.ticks_diff(now, self._at)
        return self._state == _OVER or (self._state == _WAITING and waited_ms > WAIT_MS_MAX)

    def on_message_1(self, message: bytes) -> bool:
        """Begin, or answer again what came again; False when another handshake is going on."""
        if message == self._message_1 and self._state != _OVER:
            if self._state == _WAITING:
                self._send_2()
            return True
        if self._state == _WAITING:
            if self._hal.ticks_diff(self._hal.ticks_ms(), self._at) < HOLD_MS:
                return False
        elif self._state != _OVER:
            return False
        enrolment = self._enrolment
        self._message_1 = message
        self._responder = Responder(
            CRYPTO, enrolment.credential, {cose.KID: enrolment.element_id}, self._meet)
        try:
            self._answer = AnswerJob(self._responder, message, enrolment.agree_private,
                                     self._hal.entropy(48), self._hal.entropy(C_R_SIZE))
        except Error as error:
            self._refuse(error)
            return True
        return self._begin(self._answer, self._answered, _ANSWERING)

    def _begin(self, job, done, state: int) -> bool:
        """Give the worker a job. False, and the handshake over, when it has no room."""
        self._state = state if self._worker.submit(job, done, _SPARE) else _OVER
        return self._state == state

    def _answered(self, job) -> None:
        if job.error is not None:
            self._refuse(job.error)
            return
        self._message_2 = job.message_2
        self._state = _WAITING
        self._at = self._hal.ticks_ms()
        self._send_2()

    def _send_2(self) -> None:
        self._port.send_plain(schema.EDHOC_2, {"message": self._message_2})

    def on_message_3(self, message: bytes) -> bool:
        """Check who greets; False for a message that is not expected now."""
        if self._state != _WAITING:
            return self._state == _CHECKING and message == self._message_3
        self._message_3 = message
        self._begin(FinishJob(self._responder, self._answer, message), self._finished, _CHECKING)
        return True

    def _meet(self, id_cred: dict):
        """Return the credential that a party shows and its key for agreement, None for none.

        Its signature is verified once the party has proven that it has the key.
        """
        if len(id_cred) != 1 or _KCWT not in id_cred:
            return None
        credential = cbor.encode(id_cred[_KCWT])
        digest, payload, signature, _ = statement_digest(trust.TYP[trust.PARTY_CREDENTIAL],
                                                         credential)
        claims = schema.statement_from_wire(
            trust.table_of(trust.PARTY_CREDENTIAL), cbor.decode(payload))
        self._party = (claims, digest, signature, hashlib.sha256(credential).digest())
        return credential, schema.raw_key(claims["agree_key"])

    def _finished(self, job) -> None:
        if job.error is not None:
            self._refuse(job.error)
            return
        _, digest, signature, name = self._party
        exporter = job.exporter
        if name in self._port.vouched:
            self._open(exporter)
            return
        operator_key = self._enrolment.operator_key

        def verified(job) -> None:
            # the operator may have gone on to another key since
            if not job.valid or operator_key != self._enrolment.operator_key:
                self._refuse(SignatureError("party credential not the operator's"))
                return
            self._port.vouched = self._port.vouched[1 - VOUCHED_MAX:] + [name]
            self._open(exporter)

        try:
            verify = p256.VerifyJob(operator_key, digest, signature)
        except Error as error:
            self._refuse(error)
            return
        self._begin(verify, verified, _CHECKING)

    def _subject(self) -> bytes:
        """Return the key id of the party: of its key, whatever the credential calls it."""
        sign_key = schema.raw_key(self._party[0]["cnf"]["cose_key"])
        return hashlib.sha256(sign_key).digest()[:8]

    def _valid_s(self) -> tuple:
        claims = self._party[0]
        return claims["not_before_unix_s"], claims["expires_unix_s"]

    def _open(self, exporter) -> None:
        """Hand the session to the port, if the party may speak now.

        Its name is our id and the name the handshake agreed.
        """
        why = self._port.refusal(self._subject(), self._valid_s())
        if why:
            self._refuse(SignatureError(why))
            return
        session = SealedSession(ccm_seal, ccm_open, exporter,
                                self._enrolment.element_id + self._responder.c_r, False)
        self._end()
        self._port.opened(Peer(session, self._party[0]["party"], self._subject(),
                               self._valid_s()))

    def _end(self) -> None:
        self._state = _OVER
        self._responder = self._answer = None

    def _refuse(self, error) -> None:
        """Say why there will be no session: to whoever greets, and in the log."""
        self._end()
        self._port.log("handshake refused: %s" % error.code)
        told = edhoc.error_message(error)
        if error.code.startswith("party "):
            told = cbor.encode(edhoc.ERROR_UNSPECIFIED) + cbor.encode(error.code)
        self._port.send_plain(schema.EDHOC_ERROR, {"message": told})
