"""Who an element is, at host speed: keys, credential, roots, and what the roots say later. No I/O.

The twin of element.enrolment, enrolling and trust_desk: the same checks, the same refusals.
"""

import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from element.protocol import cbor, schema, trust
from element.protocol.errors import DecodeError, RangeError, SignatureError
from host_tools import codec
from host_tools.identity.keys import KeyPair, public_from_raw
from host_tools.identity.revocation import SKEW_S

# Pins in the order of a grant's fields.
ROLES = ("issuer", "operator", "life_safety")
ISSUER, OPERATOR, LIFE_SAFETY = range(3)
_PINS = {trust.ROLE_ISSUER: ISSUER, trust.ROLE_OPERATOR: OPERATOR,
         trust.ROLE_LIFE_SAFETY: LIFE_SAFETY}
# An element holds what a building's operator needs to revoke a hundred parties.
ENTRIES_SIZE_MAX = 100 * trust.ENTRY_SIZE
# A renewal changes none of these.
_FIXED = ("subject", "profile", "zone", "tenant")
_KNOWN = "known"
_KCWT = 13


def key_of(pin: bytes) -> bytes:
    """Return the key x||y of a pinned root."""
    return pin[4:68]


def number_of(pin: bytes) -> int:
    """Return which of a root's keys a pin is, from 1."""
    return int.from_bytes(pin[:4], "big")


@lru_cache(maxsize=256)
def _vouched(credential: bytes, operator_key: bytes) -> None:
    """Verify the operator's signature on a party's credential. Raises as codec.verify1."""
    codec.verify1(credential, operator_key, trust.TYP[trust.PARTY_CREDENTIAL])


@lru_cache(maxsize=256)
def party_claims(credential: bytes) -> dict[str, Any]:
    """Return the claims of a party's credential, its signature not verified; to be read only."""
    typ, _, payload = codec.peek(credential)
    if typ != trust.TYP[trust.PARTY_CREDENTIAL]:
        raise SignatureError("typ", typ)
    return codec.decode_statement(trust.PARTY_CREDENTIAL, payload)


class ElementIdentity:
    """One element's keys, and the grant that made it an element of a building.

    sign, agree: its key pairs, kept by the caller. rated(profile) -> "" or why this profile is
    beyond what stands behind this element; it is asked for every grant and every restored state.
    keep: called with every change that has to outlive a restart, before anything is answered.
    floor_unix_s: it is known to be later.
    """

    __slots__ = ("_rated", "_revocations", "agree", "credential", "element_id", "floor_unix_s",
                 "issued_unix_s", "keep", "pins", "revocation_number", "revoked", "sign",
                 "valid_s", "zone")

    def __init__(self, sign: KeyPair, agree: KeyPair,
                 rated: Callable[[dict[str, Any]], str] | None = None,
                 keep: Callable[[], None] | None = None) -> None:
        self.sign = sign
        self.agree = agree
        self.element_id = sign.key_id
        self._rated = rated
        self.keep = keep
        self.credential = b""
        self.pins = [bytes(schema.PIN_SIZE)] * 3
        self.revocation_number = 0
        self.revoked = b""
        self.floor_unix_s = 0
        self.zone = 0
        self.valid_s = (0, 0)
        self.issued_unix_s = 0
        self._revocations = b""  # the operator's list as signed

    @property
    def enrolled(self) -> bool:
        """True once a grant was accepted."""
        return bool(self.credential)

    @property
    def claims(self) -> dict[str, Any]:
        """The claims of our credential, decoded anew. Raises DecodeError before enrolment."""
        return codec.decode_statement(schema.CREDENTIAL, codec.peek(self.credential)[2])

    def valid_at(self, unix_ms: int) -> bool:
        """Return True while the credential is in force."""
        return self.enrolled and self.valid_s[0] <= unix_ms // 1000 < self.valid_s[1]

    # enrolment

    def request(self, challenge: bytes, hardware_id: bytes, board: str, firmware: str) -> bytes:
        """Return the signed EnrolRequest that answers an offer."""
        return self.signed(schema.ENROL_REQUEST, {
            "element_id": self.element_id, "challenge": challenge,
            "sign_key": schema.cose_key(self.sign.public),
            "agree_key": schema.cose_key(self.agree.public), "hardware_id": hardware_id,
            "board": board, "firmware": firmware})

    def signed(self, kind: int, fields: dict[str, Any]) -> bytes:
        """Return a statement of a kind with our signature. Raises RangeError for a bad field."""
        return codec.sign1(self.sign.private, schema.STATEMENT_TYP[kind], self.element_id,
                           codec.encode_statement(kind, fields))

    def grant(self, fields: dict[str, Any]) -> str:
        """Take an EnrolGrant; returns "" or why not. An element is enrolled once."""
        if self.enrolled:
            return "already enrolled"
        pins = [bytes(fields[role]) for role in ROLES]
        try:
            claims = self._checked(fields["credential"], key_of(pins[ISSUER]))
            for pin in pins:
                public_from_raw(key_of(pin))
        except (DecodeError, SignatureError) as error:
            return "root key" if error.code == "public_key" else str(error.code)
        self._use(fields["credential"], claims, pins)
        self._changed()
        return ""

    def _checked(self, credential: bytes, issuer_key: bytes) -> dict[str, Any]:
        """Return the claims of a credential that is ours and good. Raises what does not hold."""
        typ = schema.STATEMENT_TYP[schema.CREDENTIAL]
        claims = codec.decode_statement(schema.CREDENTIAL, codec.peek(credential)[2])
        if schema.raw_key(claims["cnf"]["cose_key"]) != self.sign.public:
            raise SignatureError("credential key")
        if schema.raw_key(claims["agree_key"]) != self.agree.public:
            raise SignatureError("agreement key")
        wrong = profile_error(claims["profile"])
        if not wrong and self._rated is not None:
            wrong = self._rated(claims["profile"])
        if wrong:
            raise SignatureError("profile " + wrong)
        try:
            codec.verify1(credential, issuer_key, typ)
        except SignatureError as error:
            raise SignatureError(
                "credential signature" if error.code == "signature" else error.code) from error
        return claims

    def _use(self, credential: bytes, claims: dict[str, Any], pins: list[bytes]) -> None:
        self.credential = bytes(credential)
        self.pins = pins
        self.zone = claims["zone"]
        self.issued_unix_s = claims["issued_unix_s"]
        self.valid_s = (claims["not_before_unix_s"], claims["expires_unix_s"])
        self.floor_unix_s = max(self.floor_unix_s, self.issued_unix_s)

    def _changed(self) -> None:
        if self.keep is not None:
            self.keep()

    # parties

    def vouch(self, credential: bytes) -> None:
        """Verify that the operator signed a party's credential. Raises SignatureError."""
        _vouched(credential, key_of(self.pins[OPERATOR]))

    def refusal(self, subject: bytes, valid_s: tuple[int, int], unix_s: int) -> str:
        """Return why a party may not speak now, "" when it may. unix_s: 0 while not known."""
        if unix_s and unix_s < valid_s[0] - SKEW_S:
            return "party credential not yet valid"
        if unix_s and unix_s > valid_s[1] + SKEW_S:
            return "party credential expired"
        entries = self.revoked
        for at in range(0, len(entries), trust.ENTRY_SIZE):
            if entries[at:at + 8] == subject:
                from_s = int.from_bytes(entries[at + 8:at + 12], "big")
                if max(unix_s, self.floor_unix_s) >= from_s - SKEW_S:
                    return "party credential revoked"
        return ""

    def release_order(self, statement: bytes) -> dict[str, Any]:
        """Return the fields of an order that the life-safety root signed for this element.

        Raises DecodeError or SignatureError otherwise.
        """
        order = codec.decode_statement(schema.RELEASE_ORDER, codec.verify1(
            statement, key_of(self.pins[LIFE_SAFETY]),
            schema.STATEMENT_TYP[schema.RELEASE_ORDER]))
        if order["element_id"] != self.element_id:
            raise SignatureError("element_id", order["element_id"])
        return order

    # what the roots say later

    def follow(self, statement: bytes, unix_s: int) -> tuple[str, bool]:
        """Examine what a root says: ("" or why not, whether every session ends with it).

        unix_s: 0 while not known. Its signature vouches for it, whoever brought it.
        """
        examine = {trust.TYP[trust.ROOT_ROTATION]: self._rotation,
                   trust.TYP[trust.REVOCATION_LIST]: self._revocation_list,
                   schema.STATEMENT_TYP[schema.CREDENTIAL]: self._renewal}
        try:
            typ = codec.peek(statement)[0]
            if typ not in examine:
                raise SignatureError("typ", typ)
            ends = examine[typ](statement, unix_s)
        except (DecodeError, RangeError, SignatureError) as error:
            return ("" if error.code == _KNOWN else error.code[:48]), False
        self._changed()
        return "", ends

    def _rotation(self, statement: bytes, unix_s: int) -> bool:
        fields = codec.decode_statement(trust.ROOT_ROTATION, codec.peek(statement)[2])
        index = _PINS.get(fields["role"])
        if index is None:
            raise SignatureError("not a root of an element")
        pin = self.pins[index]
        if fields["number"] <= number_of(pin):
            raise SignatureError(_KNOWN)
        if fields["number"] != number_of(pin) + 1:
            raise SignatureError("a rotation before it is missing")
        key = schema.raw_key(fields["key"])
        if hashlib.sha256(key).digest() != pin[68:]:
            raise SignatureError("not the promised key")
        if unix_s and unix_s < fields["not_before_unix_s"] - SKEW_S:
            raise SignatureError("not yet in force")
        codec.verify1(statement, key, trust.TYP[trust.ROOT_ROTATION])
        self.pins[index] = fields["number"].to_bytes(4, "big") + key + fields["next_hash"]
        self.floor_unix_s = max(self.floor_unix_s, fields["not_before_unix_s"])
        if index == OPERATOR:
            # with the operator's key goes its list: a thief's must not stand in the next one's way
            self.revocation_number, self.revoked, self._revocations = 0, b"", b""
        return index == OPERATOR

    def _revocation_list(self, statement: bytes, unix_s: int) -> bool:
        fields = codec.decode_statement(trust.REVOCATION_LIST, codec.peek(statement)[2])
        if fields["number"] <= self.revocation_number:
            raise SignatureError(_KNOWN)
        entries = fields["entries"]
        if fields["part_count"] != 1 or len(entries) > ENTRIES_SIZE_MAX:
            raise DecodeError("list too long for an element")
        if len(entries) % trust.ENTRY_SIZE:
            raise DecodeError("entries", len(entries))
        _dated(fields["issued_unix_s"], unix_s)
        codec.verify1(statement, key_of(self.pins[OPERATOR]), trust.TYP[trust.REVOCATION_LIST])
        self.revocation_number, self.revoked = fields["number"], bytes(entries)
        self._revocations = bytes(statement)
        if unix_s:
            self.floor_unix_s = max(self.floor_unix_s, fields["issued_unix_s"])
        return False

    def _renewal(self, statement: bytes, unix_s: int) -> bool:
        """Take our credential renewed: another time, never another limit."""
        if not self.enrolled:
            raise SignatureError("not enrolled")
        if statement == self.credential:
            raise SignatureError(_KNOWN)
        claims = codec.decode_statement(schema.CREDENTIAL, codec.peek(statement)[2])
        if claims["issued_unix_s"] <= self.issued_unix_s:
            raise SignatureError("older than the present one")
        _dated(claims["issued_unix_s"], unix_s)
        present = self.claims
        for name in _FIXED:
            if claims[name] != present[name]:
                raise SignatureError("another " + name)
        try:
            claims = self._checked(statement, key_of(self.pins[ISSUER]))
        except SignatureError as error:
            raise SignatureError("signature" if error.code == "credential signature"
                                 else error.code) from error
        self._use(statement, claims, self.pins)
        return False

    # over a restart

    def state(self) -> dict[str, Any]:
        """Return what a restart must know, without the keys; to be kept as safely as they are."""
        return {"credential": self.credential, "pins": list(self.pins),
                "revocations": self._revocations, "floor_unix_s": self.floor_unix_s}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state. Raises DecodeError or SignatureError for one that is not ours.

        The credential's signature was verified when it came; its issuer's root may have gone on
        to another key since, so here it must be ours, within our ratings, and by our pins' list.
        """
        if not state["credential"]:
            return
        claims = codec.decode_statement(schema.CREDENTIAL, codec.peek(state["credential"])[2])
        if schema.raw_key(claims["cnf"]["cose_key"]) != self.sign.public \
                or schema.raw_key(claims["agree_key"]) != self.agree.public:
            raise SignatureError("credential key")
        wrong = profile_error(claims["profile"])
        if wrong or (self._rated is not None and self._rated(claims["profile"])):
            raise SignatureError("profile " + wrong)
        pins = [bytes(pin) for pin in state["pins"]]
        if [len(pin) for pin in pins] != [schema.PIN_SIZE] * 3:
            raise DecodeError("pins", len(pins))
        self._use(state["credential"], claims, pins)
        if state["revocations"]:
            self._revocation_list(state["revocations"], 0)
        self.floor_unix_s = max(self.floor_unix_s, state["floor_unix_s"])


def _dated(signed_unix_s: int, unix_s: int) -> None:
    """Refuse a date in the future: of a stolen key, it would stop our clock."""
    if unix_s and signed_unix_s > unix_s + SKEW_S:
        raise SignatureError("dated in the future")


def profile_error(profile: dict[str, Any]) -> str:
    """Return the field of a profile that contradicts the others, "" for none."""
    for low, high in (("soc_bp_min", "soc_bp_max"), ("cell_mv_min", "cell_mv_max"),
                      ("temperature_mdegc_discharge_min", "temperature_mdegc_discharge_max"),
                      ("temperature_mdegc_charge_min", "temperature_mdegc_charge_max")):
        if profile[low] >= profile[high]:
            return low
    for name in ("discharge_bp_at_soc", "charge_bp_at_soc"):
        points = profile[name][::2]
        if len(profile[name]) & 1 or sorted(set(points)) != points:
            return name
    return ""


def kcwt_credential(id_cred: dict[int, Any]) -> bytes | None:
    """Return the credential that a party shows by value in EDHOC, None for any other form."""
    if len(id_cred) != 1 or _KCWT not in id_cred:
        return None
    return bytes(cbor.encode(id_cred[_KCWT]))
