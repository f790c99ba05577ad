"""Credentials: CWTs (RFC 8392) of elements and parties, made, and checked as of a time.

An element's credential is signed by the issuer's root, a party's by the operator's. Both confirm
two keys (RFC 8747): one signs, one agrees on session keys.
"""

from dataclasses import dataclass, field
from typing import Any

from element.protocol import codes, schema, trust
from element.protocol.errors import SignatureError
from host_tools import codec
from host_tools.identity.keys import KeyPair, key_id
from host_tools.identity.revocation import SKEW_S, Revocations
from host_tools.identity.roots import Roots

ELEMENT_VALID_S = 10 * 365 * 86400
PARTY_VALID_S = 365 * 86400
# A credential holds from a little before it is made: the element's clock may be behind.
EARLY_S = 3600
PARTIES = {
    "aggregator": codes.PARTY_AGGREGATOR,
    "alarm": codes.PARTY_ALARM,
    "meter": codes.PARTY_METER,
}
# which root signs which kind of credential
ROLE_OF_KIND = {schema.CREDENTIAL: "issuer", trust.PARTY_CREDENTIAL: "operator"}


def common_claims(issuer: str, sign_key: bytes, agree_key: bytes, now_unix_s: int,
                  valid_s: int) -> dict[str, Any]:
    """Return the claims that every credential has. Keys are raw, x||y."""
    return {
        "issuer": issuer,
        "subject": key_id(sign_key).hex(),
        "expires_unix_s": now_unix_s + valid_s,
        "not_before_unix_s": now_unix_s - EARLY_S,
        "issued_unix_s": now_unix_s,
        "cnf": {"cose_key": schema.cose_key(sign_key)},
        "agree_key": schema.cose_key(agree_key),
    }


def sign_credential(kind: int, claims: dict[str, Any], root: KeyPair) -> bytes:
    """Return a credential: kind is schema.CREDENTIAL or trust.PARTY_CREDENTIAL."""
    return codec.sign1(root.private, codec.typ_of(kind), root.key_id,
                       codec.encode_statement(kind, claims))


def party_credential(name: str, party: str, sign_key: bytes, agree_key: bytes, operator: KeyPair,
                     issuer: str, now_unix_s: int, valid_s: int = PARTY_VALID_S) -> bytes:
    """Return the credential of an aggregator, an alarm or a meter. Keys are raw, x||y."""
    claims = common_claims(issuer, sign_key, agree_key, now_unix_s, valid_s)
    return sign_credential(trust.PARTY_CREDENTIAL,
                           {**claims, "party": PARTIES[party], "name": name}, operator)


def renewed(kind: int, credential: bytes, root: KeyPair, now_unix_s: int, valid_s: int) -> bytes:
    """Return a credential of the same subject and rights with a new time, signed anew.

    It is dated later than the one before, for elements tell them apart by that date. The old one
    is not checked here. Raises DecodeError for one that is malformed.
    """
    claims = codec.decode_statement(kind, codec.peek(credential)[2])
    claims.update(expires_unix_s=now_unix_s + valid_s, not_before_unix_s=now_unix_s - EARLY_S,
                  issued_unix_s=max(now_unix_s, claims["issued_unix_s"] + 1))
    return sign_credential(kind, claims, root)


@dataclass(frozen=True)
class Trust:
    """What a verifier believes: the roots, and who has been revoked, by the root that says so."""

    roots: Roots
    revocations: dict[str, Revocations] = field(default_factory=dict)

    def claims(self, kind: int, credential: bytes, at_unix_s: int) -> dict[str, Any]:
        """Return the claims of a credential that was good at a time.

        Its signature is by the key that spoke for its root when it was issued; it was in force,
        and not revoked, at at_unix_s, give or take SKEW_S. Raises DecodeError when it is
        malformed, SignatureError saying what does not hold.
        """
        role = ROLE_OF_KIND[kind]
        peeked = codec.decode_statement(kind, codec.peek(credential)[2])
        root_key = self.roots[role].key_at(peeked["issued_unix_s"])
        claims = codec.decode_statement(
            kind, codec.verify1(credential, root_key, codec.typ_of(kind)))
        sign_key = schema.raw_key(claims["cnf"]["cose_key"])
        if claims["subject"] != key_id(sign_key).hex():
            raise SignatureError("subject", claims["subject"])
        if at_unix_s < claims["not_before_unix_s"] - SKEW_S:
            raise SignatureError("not yet valid", claims["not_before_unix_s"])
        if at_unix_s > claims["expires_unix_s"] + SKEW_S:
            raise SignatureError("expired", claims["expires_unix_s"])
        self.revocations.get(role, Revocations()).check(key_id(sign_key), at_unix_s)
        return claims

    def sign_key(self, kind: int, credential: bytes, at_unix_s: int) -> bytes:
        """Return the raw key that a good credential signs with. Raises as `claims` does."""
        return schema.raw_key(self.claims(kind, credential, at_unix_s)["cnf"]["cose_key"])
