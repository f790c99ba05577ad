"""Who this element is and what it may do: keys, credential, trust, kept on flash.

The key pairs are made on the element and the private parts never leave it. An element that is
not enrolled conducts nothing. It can be enrolled once; nothing that a message says can change
the stored limits.
"""

import hashlib

from .crypto import p256
from .crypto.hmac import ct_equal, hmac_sha256
from .keeper import array_of, read_file, write_file
from .lazy import forget
from .limits import Profile, profile_error
from .protocol import cbor, schema
from .protocol.errors import DecodeError, SignatureError
from .protocol.statements import statement_digest

_KEYS_FILE = "keys.cbor"
_GRANT_FILE = "grant.cbor"
_REVOKED_FILE = "revoked.cbor"
_GRANT_LABEL = b"cellwall grant 2"
_REVOKED_LABEL = b"cellwall revoked 1"
# What a small board needs for a moment, and its memory elsewhere.
_TABLES = ("protocol.rare",)
_ENROLLING = ("protocol.rare", "enrolling")

# The roots that an element knows: schema.PIN_SIZE bytes each.
ISSUER = 0
OPERATOR = 1
LIFE_SAFETY = 2


def number_of(pin: bytes) -> int:
    """Return which of a root's keys this is, from 1."""
    return int.from_bytes(pin[:4], "big")


def key_of(pin: bytes) -> bytes:
    """Return the root's public key, x||y."""
    return pin[4:68]


class Enrolment:
    """The element's identity. `enrolled` is True only with a credential that verified.

    A stored credential has verified once and is under our own seal; its signature is verified
    again after every boot, in the background. Until then `proven` is False: no power.
    """

    def __init__(self, hal, worker, stage_kind: int, step_mw: int, current_ma_max: int, log):
        self._hal = hal
        self._worker = worker
        self._stage_kind = stage_kind
        self._step_mw = step_mw
        self._current_ma_max = current_ma_max
        self._log = log
        self.enrolled = False
        self.proven = False
        self._unproven = None  # (key that issued it, digest, signature) of the stored credential
        self.has_grant = False  # flash holds one, accepted or not
        self._granting = False
        self._valid_s = (0, 0)
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
        keys = read_file(_KEYS_FILE)
        if keys is None or not self._take_keys(keys):
            from . import enrolling

            enrolling.make_keys(self, self._hal)
            forget(self._hal, _ENROLLING)
        self.element_id = hashlib.sha256(self.sign_public).digest()[:8]
        grant = read_file(_GRANT_FILE)
        self.has_grant = grant is not None
        if grant is None:
            return
        try:
            credential, issuer_key, *pins = self._opened(grant, _GRANT_LABEL, 6)
            digest, payload, signature, _ = statement_digest("cw/credential", credential)
            claims = self.checked(payload)
        except (DecodeError, SignatureError) as error:
            self._refused(error.code)
            return
        self._unproven = (issuer_key, digest, signature)
        self._apply(claims, credential, issuer_key, pins)
        self._load_revoked()
        forget(self._hal, _TABLES)

    def _load_revoked(self) -> None:
        """Take up the operator's revocation list; without it, wait for the next."""
        data = read_file(_REVOKED_FILE)
        if data is None:
            return
        try:
            numbers, entries = self._opened(data, _REVOKED_LABEL, 3)
        except (DecodeError, SignatureError) as error:
            self._log("stored revocations refused: %s" % error.code)
            return
        self._use_revoked(numbers, entries)

    def _use_revoked(self, numbers: bytes, entries: bytes) -> None:
        if numbers[8:] != self.pins[OPERATOR][:4]:
            return  # of an operator's key that has gone since: the new one signs its own
        self.revocation_number = int.from_bytes(numbers[:4], "big")
        self._raise_floor(int.from_bytes(numbers[4:8], "big"))
        self.revoked = bytes(entries)

    def _raise_floor(self, unix_s: int) -> None:
        """Remember a time that a root has signed: it is later than that now."""
        self.floor_unix_s = max(self.floor_unix_s, unix_s)

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

    def _refused(self, code: str) -> None:
        self._log("stored credential refused: %s; the element stays unenrolled" % code)

    def prove(self) -> None:
        """Verify the stored credential's signature in the background."""
        if self._unproven is not None:
            self._worker.submit(p256.VerifyJob(*self._unproven), self._proved)
            self._unproven = None

    def _proved(self, job) -> None:
        self.proven = job.valid
        if not job.valid:
            self.enrolled = False
            self._refused("credential")

    def _take_keys(self, keys: bytes) -> bool:
        """Use the stored keys; False when the file does not hold two pairs and their hash.

        New keys are then a new identity: the stored credential no longer fits, and an element
        without a credential conducts nothing.
        """
        try:
            pairs = array_of(keys, 5, bytes)
            if hashlib.sha256(b"".join(pairs[:4])).digest() != pairs[4]:
                raise DecodeError("keys", None)
        except DecodeError as error:
            self._log("stored keys refused: %s; the element gets new ones" % error.code)
            return False
        self.sign_private, self.agree_private, self.sign_public, self.agree_public = pairs[:4]
        return True

    def _sealed(self, label: bytes, parts: list) -> bytes:
        """Return a file's content: the parts and a tag under our own key over them."""
        tag = hmac_sha256(self.sign_private, label + cbor.encode(parts))
        return cbor.encode(parts + [tag])

    def _opened(self, data: bytes, label: bytes, count: int) -> list:
        """Return the parts of such a file, of which with the tag there are count.

        Raises DecodeError or SignatureError for one that this element did not write: no
        signature of the issuer's covers what stands beside the credential.
        """
        parts = array_of(data, count, bytes)
        tag = parts.pop()
        expected = hmac_sha256(self.sign_private, label + cbor.encode(parts))
        if not ct_equal(tag, expected):
            raise SignatureError("grant tag")
        return parts

    def keep_revoked(self, number: int, seen_unix_s: int, entries: bytes) -> None:
        """Store the operator's list in place of the one before, and use it. Raises OSError.

        seen_unix_s: its date, 0 when no clock has said that this is not in the future.
        """
        numbers = number.to_bytes(4, "big") + seen_unix_s.to_bytes(4, "big") \
            + self.pins[OPERATOR][:4]
        write_file(_REVOKED_FILE, self._sealed(_REVOKED_LABEL, [numbers, entries]))
        self._use_revoked(numbers, entries)

    def keep_pin(self, index: int, pin: bytes, not_before_unix_s: int) -> None:
        """Store a root's next key in place of the one before, and use it. Raises OSError.

        With the operator's key goes its list: a thief's must not stand in the way of the next.
        """
        pins = list(self.pins)
        pins[index] = pin
        self._keep(self.credential, self.credential_key, pins)
        self.pins = pins
        self._raise_floor(not_before_unix_s)
        if index == OPERATOR:
            self.revocation_number = 0
            self.revoked = b""

    def keep_credential(self, credential: bytes, claims: dict) -> None:
        """Store our credential renewed: verified with the issuer's key, `checked`, our limits.

        Raises OSError.
        """
        self._keep(credential, self.issuer_key, self.pins)
        self._apply(claims, credential, self.issuer_key, self.pins)

    def _keep(self, credential: bytes, issuer_key: bytes, pins: list) -> None:
        write_file(_GRANT_FILE, self._sealed(_GRANT_LABEL, [credential, issuer_key] + pins))

    def keep_keys(self, pairs: list) -> None:
        """Store our key pairs: two private keys, then their public ones. Raises OSError."""
        self.sign_private, self.agree_private, self.sign_public, self.agree_public = pairs
        # the public keys are kept too: making them again would take half of a board's boot
        write_file(_KEYS_FILE, cbor.encode(pairs + [hashlib.sha256(b"".join(pairs)).digest()]))

    def keep_grant(self, claims: dict, credential: bytes, issuer_key: bytes, pins: list) -> None:
        """Store what has been granted and verified, and use it. Raises OSError."""
        self._keep(credential, issuer_key, pins)
        self._apply(claims, credential, issuer_key, pins)

    def request_fields(self, challenge: bytes, board: str, firmware: str) -> dict:
        """Return the fields of the signed EnrolRequest that answers an offer."""
        return {
            "element_id": self.element_id,
            "challenge": challenge,
            "sign_key": schema.cose_key(self.sign_public),
            "agree_key": schema.cose_key(self.agree_public),
            "hardware_id": self._hal.unique_id(),
            "board": board,
            "firmware": firmware,
        }

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
        from . import enrolling  # once in an element's life

        def ended(accepted: bool, code: str) -> None:
            self._granting = False
            forget(self._hal, _ENROLLING)
            answer(accepted, code)

        self._granting = True
        enrolling.grant(self, self._worker, fields, ended)

    def checked(self, payload: bytes) -> dict:
        """Return the claims of a credential that is for this element and this hardware.

        Raises DecodeError or SignatureError otherwise.
        """
        claims = schema.statement_from_wire(
            schema.table_of(schema.CREDENTIAL), cbor.decode(payload))
        if schema.raw_key(claims["cnf"]["cose_key"]) != self.sign_public:
            raise SignatureError("credential key")
        if schema.raw_key(claims["agree_key"]) != self.agree_public:
            raise SignatureError("agreement key")
        profile = claims["profile"]
        if profile["kind"] != self._stage_kind or profile["step_mw"] != self._step_mw:
            raise SignatureError("profile kind")
        wrong = profile_error(profile)
        if wrong is not None:
            raise SignatureError("profile " + wrong)
        # beyond what the board's sensor can see, no over-current would ever be noticed
        for name in ("current_ma_discharge_max", "current_ma_charge_max"):
            if profile[name] > self._current_ma_max:
                raise SignatureError("profile current", profile[name])
        return claims

    def _apply(self, claims: dict, credential: bytes, issuer_key: bytes, pins: list) -> None:
        self.profile = Profile(claims["profile"])
        self.zone = claims["zone"]
        self.credential = bytes(credential)
        self.credential_key = bytes(issuer_key)
        self.pins = [bytes(pin) for pin in pins]
        self.proven = self._unproven is None
        self.issued_unix_s = claims["issued_unix_s"]
        self._raise_floor(self.issued_unix_s)
        self._valid_s = (claims["not_before_unix_s"], claims["expires_unix_s"])
        self.enrolled = True

    def valid_at(self, unix_ms: int) -> bool:
        """Return True while the credential is in force: not before its time, not expired."""
        return self.enrolled and self._valid_s[0] <= unix_ms // 1000 < self._valid_s[1]
