"""A local test issuer: turns an element's signed request into a credential and a grant.

It stands in for the manufacturer's or owner's authority, whose tools come later; what it issues
is the final format. A trust root is the set of public keys that a verifier needs.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from element.protocol import schema
from element.protocol.errors import DecodeError, SignatureError
from host_tools import codec
from host_tools.identity.credentials import ELEMENT_VALID_S, common_claims, sign_credential
from host_tools.identity.keys import KeyPair, hkdf_sha256, key_id, make_key_pair

ENROLMENT_INFO = b"cellwall enrolment 1"


@dataclass(frozen=True)
class TrustRoot:
    """The public keys from which everything a building signs can be checked."""

    issuer: bytes
    aggregator: bytes
    life_safety: bytes

    def save(self, path: Path) -> None:
        """Write the keys as JSON with hexadecimal values."""
        fields = {"issuer": self.issuer, "aggregator": self.aggregator,
                  "life_safety": self.life_safety}
        text = json.dumps({name: key.hex() for name, key in fields.items()}, indent=1)
        path.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "TrustRoot":
        """Read a file that `save` wrote. Raises DecodeError when it is not one."""
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            keys = {name: bytes.fromhex(fields[name])
                    for name in ("issuer", "aggregator", "life_safety")}
        except (ValueError, KeyError, TypeError) as error:
            raise DecodeError("trust_root", str(path)) from error
        return cls(**keys)


@dataclass(frozen=True)
class Authorities:
    """The private side of a trust root, as a test site has it: all in one place."""

    issuer: KeyPair
    aggregator: KeyPair
    aggregator_agree: KeyPair
    life_safety: KeyPair

    @classmethod
    def make(cls, random_bytes: Callable[[int], bytes]) -> "Authorities":
        """Make four key pairs."""
        return cls(*(make_key_pair(random_bytes) for _ in range(4)))

    @property
    def trust_root(self) -> TrustRoot:
        """The public keys."""
        return TrustRoot(self.issuer.public, self.aggregator.public, self.life_safety.public)


@dataclass(frozen=True)
class Enrolled:
    """What the host knows of an enrolled element: its id, keys, credential and session secret."""

    element_id: bytes
    sign_key: bytes
    credential: bytes
    claims: dict[str, Any]
    session_key: bytes


class Issuer:
    """Issue credentials for one site."""

    def __init__(self, authorities: Authorities, name: str = "local test issuer") -> None:
        self._authorities = authorities
        self._name = name

    def enrol(
        self, request: bytes, challenge: bytes, profile: dict[str, Any], zone: int, tenant: str,
        now_unix_s: int, manufacturer: str = "",
    ) -> tuple[Enrolled, dict[str, Any]]:
        """Return what to remember and the fields of the EnrolGrant for a signed EnrolRequest.

        The request must be signed by the key it names and repeat our challenge. Raises
        DecodeError or SignatureError otherwise.
        """
        fields = codec.decode_statement(schema.ENROL_REQUEST, codec.peek(request)[2])
        sign_key = schema.raw_key(fields["sign_key"])
        codec.verify1(request, sign_key, schema.STATEMENT_TYP[schema.ENROL_REQUEST])
        if fields["challenge"] != challenge:
            raise SignatureError("challenge")
        if fields["element_id"] != key_id(sign_key):
            raise SignatureError("element_id")
        claims = {
            **common_claims(self._name, sign_key, schema.raw_key(fields["agree_key"]),
                            now_unix_s, ELEMENT_VALID_S),
            "profile": profile, "zone": zone, "tenant": tenant, "manufacturer": manufacturer,
        }
        issuer = self._authorities.issuer
        credential = sign_credential(schema.CREDENTIAL, claims, issuer)
        secret = self._authorities.aggregator_agree.agree(schema.raw_key(fields["agree_key"]))
        session_key = hkdf_sha256(secret, fields["element_id"], ENROLMENT_INFO, 32)
        grant = {
            "credential": credential,
            "issuer_key": issuer.public,
            "life_safety_key": self._authorities.life_safety.public,
            "aggregator_agree_key": self._authorities.aggregator_agree.public,
        }
        return Enrolled(fields["element_id"], sign_key, credential, claims, session_key), grant
