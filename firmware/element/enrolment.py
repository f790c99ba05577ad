"""Who this element is and what it may do: keys, credential, trust, kept on flash.

The key pairs are made on the element and the private parts never leave it. An element that is
not enrolled conducts nothing. It can be enrolled once; nothing that a message says can change
the stored limits.
"""

import hashlib

from .crypto import p256
from .crypto.hmac import ct_equal, hkdf_sha256, hmac_sha256
from .keeper import array_of, read_file, write_file
from .limits import Profile, profile_error
from .protocol import cbor, schema
from .protocol.errors import DecodeError, RangeError, SignatureError
from .protocol.statements import statement_digest

_KEYS_FILE = "keys.cbor"
_GRANT_FILE = "grant.cbor"
_GRANT_LABEL = b"cellwall grant 1"


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
        self._unproven = None  # (issuer's key, digest, signature) of the stored credential
        self.has_grant = False  # flash holds one, accepted or not
        self._granting = False
        self._valid_s = (0, 0)
        self.profile = None
        self.zone = 0
        self.credential = b""
        self.issuer_key = b""
        self.life_safety_key = b""
        self.session_key = b""
        self.sign_private = b""
        self._agree_private = b""
        self.sign_public = b""
        self.agree_public = b""
        self.element_id = bytes(8)

    def load(self) -> None:
        """Read the flash at boot: make the keys at the first, check the grant at every other."""
        keys = read_file(_KEYS_FILE)
        if keys is None or not self._take_keys(keys):
            self._make_keys()
        self.element_id = hashlib.sha256(self.sign_public).digest()[:8]
        grant = read_file(_GRANT_FILE)
        self.has_grant = grant is not None
        if grant is None:
            return
        try:
            credential, issuer, safety, session_key = self._opened(grant)
            digest, payload, signature, _ = statement_digest("cw/credential", credential)
            claims = self._checked(payload)
        except (DecodeError, SignatureError) as error:
            self._refused(error.code)
            return
        self._unproven = (issuer, digest, signature)
        self._apply(claims, credential, issuer, safety, session_key)

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
        self.sign_private, self._agree_private, self.sign_public, self.agree_public = pairs[:4]
        return True

    def _sealed(self, parts: list) -> bytes:
        """Return the grant file: the parts and a tag under our own key over them."""
        tag = hmac_sha256(self.sign_private, _GRANT_LABEL + cbor.encode(parts))
        return cbor.encode(parts + [tag])

    def _opened(self, grant: bytes) -> list:
        """Return the parts of a grant file.

        Raises DecodeError or SignatureError for one that this element did not write: the session
        key and the life-safety key are covered by no signature of the issuer's.
        """
        parts = array_of(grant, 5, bytes)
        tag = parts.pop()
        expected = hmac_sha256(self.sign_private, _GRANT_LABEL + cbor.encode(parts))
        if not ct_equal(tag, expected):
            raise SignatureError("grant tag")
        return parts

    def _make_keys(self) -> None:
        """Make both key pairs from the board's generator; a stuck generator makes none."""
        draws = [self._hal.entropy(32) for _ in range(4)]
        for index, draw in enumerate(draws):
            if draw in draws[:index] or len(set(draw)) < 8:
                raise SignatureError("entropy", None)
        self.sign_private = _private_key(draws[0], draws[1])
        self._agree_private = _private_key(draws[2], draws[3])
        self.sign_public = p256.public_key(self.sign_private)
        self.agree_public = p256.public_key(self._agree_private)
        # the public keys are kept too: making them again would take half of a board's boot
        pairs = [self.sign_private, self._agree_private, self.sign_public, self.agree_public]
        write_file(_KEYS_FILE, cbor.encode(pairs + [hashlib.sha256(b"".join(pairs)).digest()]))

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
        try:
            digest, payload, signature, _ = statement_digest(
                "cw/credential", fields["credential"])
            claims = self._checked(payload)
            if not p256.is_public_key(fields["life_safety_key"]):
                raise SignatureError("life-safety key")
            verify = p256.VerifyJob(fields["issuer_key"], digest, signature)
            agree = p256.EcdhJob(self._agree_private, fields["aggregator_agree_key"])
        except (DecodeError, SignatureError) as error:
            answer(False, str(error.code))
            return

        def ended(accepted: bool, code: str) -> None:
            self._granting = False
            answer(accepted, code)

        def verified(job) -> None:
            if not job.valid:
                ended(False, "credential signature")
            elif not self._worker.submit(agree, agreed):
                ended(False, "busy")

        def agreed(job) -> None:
            key = hkdf_sha256(job.secret, self.element_id, b"cellwall enrolment 1", 32)
            parts = [fields["credential"], fields["issuer_key"], fields["life_safety_key"], key]
            try:
                write_file(_GRANT_FILE, self._sealed(parts))
            except OSError as error:
                ended(False, "flash %s" % error.errno)
                return
            self._apply(claims, fields["credential"], fields["issuer_key"],
                        fields["life_safety_key"], key)
            ended(True, "")

        self._granting = self._worker.submit(verify, verified)
        if not self._granting:
            answer(False, "busy")

    def _checked(self, payload: bytes) -> dict:
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

    def _apply(self, claims: dict, credential: bytes, issuer: bytes, safety: bytes,
               session_key: bytes) -> None:
        self.profile = Profile(claims["profile"])
        self.zone = claims["zone"]
        self.credential = bytes(credential)
        self.issuer_key = bytes(issuer)
        self.life_safety_key = bytes(safety)
        self.proven = self._unproven is None
        self.session_key = bytes(session_key)
        self._valid_s = (claims["not_before_unix_s"], claims["expires_unix_s"])
        self.enrolled = True

    def valid_at(self, unix_ms: int) -> bool:
        """Return True while the credential is in force: not before its time, not expired."""
        return self.enrolled and self._valid_s[0] <= unix_ms // 1000 < self._valid_s[1]


def _private_key(first: bytes, second: bytes) -> bytes:
    """Return a private key from 64 bytes of entropy: hashed until it is in 1..n-1.

    A hash is outside the range once in 2**32; eight in a row do not happen with a sound hash.
    """
    seed = first + second
    for _ in range(8):
        seed = hashlib.sha256(seed).digest()
        try:
            p256.public_key(seed)
        except RangeError:
            continue
        return seed
    raise SignatureError("entropy", None)
