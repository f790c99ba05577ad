"""Reading and writing who an element is: its keys, its grant, who is revoked; becoming one.

The functions of Enrolment that a boot, an enrolment and news from a root need, and nothing else:
loaded for that and forgotten. The private keys are made here and never leave the element.
"""

import hashlib

from .crypto import p256
from .crypto.hmac import ct_equal, hmac_sha256
from .enrolment import ISSUER, OPERATOR, key_of
from .keeper import array_of, read_file, write_file
from .limits import Profile
from .protocol import cbor, schema
from .protocol.errors import DecodeError, RangeError, SignatureError
from .protocol.statements import statement_digest

_KEYS_FILE = "keys.cbor"
_GRANT_FILE = "grant.cbor"
_REVOKED_FILE = "revoked.cbor"
_GRANT_LABEL = b"cellwall grant 2"
_REVOKED_LABEL = b"cellwall revoked 1"


def load(one) -> None:
    """Read the flash at boot: make the keys at the first, check the grant at every other."""
    keys = read_file(_KEYS_FILE)
    if keys is None or not _take_keys(one, keys):
        make_keys(one)
    one.element_id = hashlib.sha256(one.sign_public).digest()[:8]
    grant = read_file(_GRANT_FILE)
    one.has_grant = grant is not None
    if grant is None:
        return
    try:
        credential, issuer_key, *pins = _opened(one, grant, _GRANT_LABEL, 6)
        digest, payload, signature, _ = statement_digest("cw/credential", credential)
        claims = checked(one, payload)
    except (DecodeError, SignatureError) as error:
        one.refused(error.code)
        return
    one.unproven = (issuer_key, digest, signature)
    _apply(one, claims, credential, issuer_key, pins)
    _load_revoked(one)


def _load_revoked(one) -> None:
    """Take up the operator's revocation list; without it, wait for the next."""
    data = read_file(_REVOKED_FILE)
    if data is None:
        return
    try:
        numbers, entries = _opened(one, data, _REVOKED_LABEL, 3)
    except (DecodeError, SignatureError) as error:
        one.log("stored revocations refused: %s" % error.code)
        return
    _use_revoked(one, numbers, entries)


def _use_revoked(one, numbers: bytes, entries: bytes) -> None:
    if numbers[8:] != one.pins[OPERATOR][:4]:
        return  # of an operator's key that has gone since: the new one signs its own
    one.revocation_number = int.from_bytes(numbers[:4], "big")
    _raise_floor(one, int.from_bytes(numbers[4:8], "big"))
    one.revoked = bytes(entries)


def _raise_floor(one, unix_s: int) -> None:
    """Remember a time that a root has signed: it is later than that now."""
    one.floor_unix_s = max(one.floor_unix_s, unix_s)


def _take_keys(one, keys: bytes) -> bool:
    """Use the stored keys; False when the file does not hold two pairs and their hash.

    New keys are then a new identity: the stored credential no longer fits, and an element
    without a credential conducts nothing.
    """
    try:
        pairs = array_of(keys, 5, bytes)
        if hashlib.sha256(b"".join(pairs[:4])).digest() != pairs[4]:
            raise DecodeError("keys", None)
    except DecodeError as error:
        one.log("stored keys refused: %s; the element gets new ones" % error.code)
        return False
    one.sign_private, one.agree_private, one.sign_public, one.agree_public = pairs[:4]
    return True


def sealed(one, label: bytes, parts: list) -> bytes:
    """Return a file's content: the parts and a tag under our own key over them."""
    tag = hmac_sha256(one.sign_private, label + cbor.encode(parts))
    return cbor.encode(parts + [tag])


def _opened(one, data: bytes, label: bytes, count: int) -> list:
    """Return the parts of such a file, of which with the tag there are count.

    Raises DecodeError or SignatureError for one that this element did not write: no
    signature of the issuer's covers what stands beside the credential.
    """
    parts = array_of(data, count, bytes)
    tag = parts.pop()
    expected = hmac_sha256(one.sign_private, label + cbor.encode(parts))
    if not ct_equal(tag, expected):
        raise SignatureError("grant tag")
    return parts


# The contract has room for a building; an element's windows count in 32 bits. 100 kW, 1 MWh.
_ELEMENT_MAX = (
    ("power_mw_discharge_max", 100_000_000), ("power_mw_charge_max", 100_000_000),
    ("step_mw", 100_000_000), ("ramp_mw_per_s", 1_000_000_000),
    ("energy_mwh_rated", 1_000_000_000))


def checked(one, payload: bytes) -> dict:
    """Return the claims of a credential that is for this element and this hardware.

    Raises DecodeError or SignatureError otherwise.
    """
    claims = schema.statement_from_wire(
        schema.table_of(schema.CREDENTIAL), cbor.decode(payload))
    if schema.raw_key(claims["cnf"]["cose_key"]) != one.sign_public:
        raise SignatureError("credential key")
    if schema.raw_key(claims["agree_key"]) != one.agree_public:
        raise SignatureError("agreement key")
    profile = claims["profile"]
    if profile["kind"] != one.stage_kind or profile["step_mw"] != one.step_mw:
        raise SignatureError("profile kind")
    wrong = profile_error(profile)
    if wrong is not None:
        raise SignatureError("profile " + wrong)
    # beyond what the board's sensor can see, no over-current would ever be noticed
    for name in ("current_ma_discharge_max", "current_ma_charge_max"):
        if profile[name] > one.current_ma_max:
            raise SignatureError("profile current", profile[name])
    return claims


def profile_error(fields: dict):
    """Return the name of a field of a profile that is beyond any element or contradicts the
    others, or None."""
    for name, most in _ELEMENT_MAX:
        if fields[name] > most:
            return name
    for low, high in (("soc_bp_min", "soc_bp_max"), ("cell_mv_min", "cell_mv_max"),
                      ("temperature_mdegc_discharge_min", "temperature_mdegc_discharge_max"),
                      ("temperature_mdegc_charge_min", "temperature_mdegc_charge_max")):
        if fields[low] >= fields[high]:
            return low
    for name in ("discharge_bp_at_soc", "charge_bp_at_soc"):
        curve = fields[name]
        if len(curve) & 1:
            return name
        for index in range(2, len(curve), 2):
            if curve[index] <= curve[index - 2]:
                return name
    return None


def keep_revoked(one, number: int, seen_unix_s: int, entries: bytes) -> None:
    """Store the operator's list in place of the one before, and use it. Raises OSError.

    seen_unix_s: its date, 0 when no clock has said that this is not in the future.
    """
    numbers = number.to_bytes(4, "big") + seen_unix_s.to_bytes(4, "big") \
        + one.pins[OPERATOR][:4]
    write_file(_REVOKED_FILE, sealed(one, _REVOKED_LABEL, [numbers, entries]))
    _use_revoked(one, numbers, entries)


def keep_pin(one, index: int, pin: bytes, not_before_unix_s: int) -> None:
    """Store a root's next key in place of the one before, and use it. Raises OSError.

    With the operator's key goes its list: a thief's must not stand in the way of the next.
    """
    pins = list(one.pins)
    pins[index] = pin
    _keep(one, one.credential, one.credential_key, pins)
    one.pins = pins
    _raise_floor(one, not_before_unix_s)
    if index == OPERATOR:
        one.revocation_number = 0
        one.revoked = b""


def _keep(one, credential: bytes, issuer_key: bytes, pins: list) -> None:
    write_file(_GRANT_FILE, sealed(one, _GRANT_LABEL, [credential, issuer_key] + pins))


def keep_grant(one, claims: dict, credential: bytes, issuer_key: bytes, pins: list) -> None:
    """Store what has been granted and verified, and use it. Raises OSError."""
    _keep(one, credential, issuer_key, pins)
    _apply(one, claims, credential, issuer_key, pins)


def _apply(one, claims: dict, credential: bytes, issuer_key: bytes, pins: list) -> None:
    one.profile = Profile(claims["profile"])
    one.zone = claims["zone"]
    one.credential = bytes(credential)
    one.credential_key = bytes(issuer_key)
    one.pins = [bytes(pin) for pin in pins]
    one.proven = one.unproven is None
    one.issued_unix_s = claims["issued_unix_s"]
    _raise_floor(one, one.issued_unix_s)
    one.valid_s = (claims["not_before_unix_s"], claims["expires_unix_s"])
    one.enrolled = True


def keep_keys(one, pairs: list) -> None:
    """Store our key pairs: two private keys, then their public ones. Raises OSError."""
    one.sign_private, one.agree_private, one.sign_public, one.agree_public = pairs
    # the public keys are kept too: making them again would take half of a board's boot
    write_file(_KEYS_FILE, cbor.encode(pairs + [hashlib.sha256(b"".join(pairs)).digest()]))


def make_keys(one) -> None:
    """Make both key pairs from the board's generator; a stuck generator makes none.

    Raises SignatureError "entropy", and OSError of the flash.
    """
    draws = [one.hal.entropy(32) for _ in range(4)]
    for index, draw in enumerate(draws):
        if draw in draws[:index] or len(set(draw)) < 8:
            raise SignatureError("entropy", None)
    sign = _private_key(draws[0], draws[1])
    agree = _private_key(draws[2], draws[3])
    keep_keys(one, [sign, agree, p256.public_key(sign), p256.public_key(agree)])


def request_fields(one, challenge: bytes, board: str, firmware: str) -> dict:
    """Return the fields of the signed EnrolRequest that answers an offer."""
    return {
        "element_id": one.element_id,
        "challenge": challenge,
        "sign_key": schema.cose_key(one.sign_public),
        "agree_key": schema.cose_key(one.agree_public),
        "hardware_id": one.hal.unique_id(),
        "board": board,
        "firmware": firmware,
    }


def grant(one, worker, fields: dict, answer) -> None:
    """Check the fields of an EnrolGrant; `answer(accepted, code)` gets the outcome."""
    try:
        digest, payload, signature, _ = statement_digest("cw/credential", fields["credential"])
        claims = checked(one, payload)
        pins = [fields["issuer"], fields["operator"], fields["life_safety"]]
        for pin in pins:
            if not p256.is_public_key(key_of(pin)):
                raise SignatureError("root key")
        issuer_key = key_of(pins[ISSUER])
        verify = p256.VerifyJob(issuer_key, digest, signature)
    except (DecodeError, SignatureError) as error:
        answer(False, str(error.code))
        return

    def verified(job) -> None:
        if not job.valid:
            answer(False, "credential signature")
            return
        try:
            keep_grant(one, claims, fields["credential"], issuer_key, pins)
        except OSError as error:
            answer(False, "flash %s" % error.errno)
            return
        answer(True, "")

    if not worker.submit(verify, verified):
        answer(False, "busy")


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
