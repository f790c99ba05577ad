"""Who this element is and what it may do: keys, credential, trust, kept on flash.

The key pairs are made on the element and the private parts never leave it. An element that is
not enrolled conducts nothing. It can be enrolled once; nothing that a message says can change
the stored limits.
"""

from .crypto import p256
from .lazy import forget
from .protocol import schema

# What reads and writes it, and its tables: a small board needs them for a moment.
_ENROLLING = ("protocol.rare", "enrolling")

# The roots that an element knows: schema.PIN_SIZE bytes each.
ISSUER = 0
OPERATOR = 1
LIFE_SAFETY = 2


def key_of(pin: bytes) -> bytes:
    """Return the root's public key, x||y."""
    return pin[4:68]


class Enrolment:
    """The element's identity. `enrolled` is True only with a credential that verified.

    A stored credential has verified once and is under our own seal; its signature is verified
    again after every boot, in the background. Until then `proven` is False: no power.
    """

    def __init__(self, hal, worker, stage_kind: int, step_mw: int, current_ma_max: int, log):
        self.hal = hal
        self._worker = worker
        self.stage_kind = stage_kind
        self.step_mw = step_mw
        self.current_ma_max = current_ma_max
        self.log = log
        self.enrolled = False
        self.proven = False
        self.unproven = None  # (key that issued it, digest, signature) of the stored credential
        self.has_grant = False  # flash holds one, accepted or not
        self._granting = False
        self.valid_s = (0, 0)
        self.profile = None
        self.zone = 0
        self.credential = b""
        self.issued_unix_s = 0
        self.credential_key = b""  # the key that issued it; its root may have gone on
        self.pins = [bytes(schema.PIN_SIZE)] * 3
        self.revocation_number = 0
        self.revoked = b""  # entries of the operator's list
        self.floor_unix_s = 0
        self.sign_private = b""
        self.agree_private = b""
        self.sign_public = b""
        self.agree_public = b""
        self.element_id = bytes(8)

    def load(self) -> None:
        """Read the flash at boot: make the keys at the first, check the grant at every other."""
        _enrolling().load(self)
        forget(self.hal, _ENROLLING)

    @property
    def issuer_key(self) -> bytes:
        """The issuer root's public key, x||y: it signs credentials and firmware."""
        return key_of(self.pins[ISSUER])

    @property
    def operator_key(self) -> bytes:
        """The operator root's public key, x||y: it signs whoever may speak to this element."""
        return key_of(self.pins[OPERATOR])

    @property
    def life_safety_key(self) -> bytes:
        """The life-safety root's public key, x||y: it signs releases."""
        return key_of(self.pins[LIFE_SAFETY])

    def refused(self, code: str) -> None:
        """Say that the stored credential does not hold."""
        self.log("stored credential refused: %s; the element stays unenrolled" % code)

    def prove(self) -> None:
        """Verify the stored credential's signature in the background."""
        if self.unproven is not None:
            self._worker.submit(p256.VerifyJob(*self.unproven), self._proved)
            self.unproven = None

    def _proved(self, job) -> None:
        self.proven = job.valid
        if not job.valid:
            self.enrolled = False
            self.refused("credential")

    def request_fields(self, challenge: bytes, board: str, firmware: str) -> dict:
        """Return the fields of the signed EnrolRequest that answers an offer."""
        return _enrolling().request_fields(self, challenge, board, firmware)

    def grant(self, fields: dict, answer) -> None:
        """Check an EnrolGrant in the background; `answer(accepted, code)` gets the outcome.

        One at a time: the first that begins is the only one that can become the element's.
        """
        if self.enrolled:
            answer(False, "already enrolled")
            return
        if self._granting:
            answer(False, "busy")
            return
        def ended(accepted: bool, code: str) -> None:
            self._granting = False
            forget(self.hal, _ENROLLING)
            answer(accepted, code)

        self._granting = True
        _enrolling().grant(self, self._worker, fields, ended)

    def checked(self, payload: bytes) -> dict:
        """Return the claims of a credential that is for this element and this hardware.

        Raises DecodeError or SignatureError otherwise.
        """
        return _enrolling().checked(self, payload)

    def valid_at(self, unix_ms: int) -> bool:
        """Return True while the credential is in force: not before its time, not expired."""
        return self.enrolled and self.valid_s[0] <= unix_ms // 1000 < self.valid_s[1]


def _enrolling():
    """Return the module that reads and writes what is kept on flash."""
    from . import enrolling

    return enrolling
