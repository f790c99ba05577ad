"""The issuer of one site: turns an element's signed request into a credential and a grant.

A trust root is the set of public keys that a verifier of a bench run needs.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from element.protocol import schema
from element.protocol.errors import DecodeError, SignatureError
from host_tools import codec
from host_tools.identity.credentials import (
    EARLY_S,
    ELEMENT_VALID_S,
    common_claims,
    party_credential,
    sign_credential,
)
from host_tools.identity.keyring import Enrolled, Party
from host_tools.identity.keys import KeyPair, key_id, make_key_pair
from host_tools.identity.roots import ROLES, Root, Roots, key_hash


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
    """The private side of a site, all in one place. roots: the public keys that elements pin.

    credential: of the aggregator, by the operator's root.
    """

    issuer: KeyPair
    aggregator: KeyPair
    aggregator_agree: KeyPair
    life_safety: KeyPair
    roots: Roots
    credential: bytes

    @classmethod
    def make(cls, random_bytes: Callable[[int], bytes]) -> "Authorities":
        """Make a test site: keys, roots with their successors, a credential for all time."""
        aggregator, agree = make_key_pair(random_bytes), make_key_pair(random_bytes)
        pairs = {role: make_key_pair(random_bytes) for role in ROLES}
        roots = Roots({
            role: Root(role, pair.public, key_hash(make_key_pair(random_bytes).public), 0)
            for role, pair in pairs.items()})
        credential = party_credential(
            "aggregator", "aggregator", aggregator.public, agree.public, pairs["operator"],
            "local test operator", EARLY_S, 0xFFFFFFFF - EARLY_S)
        return cls(pairs["issuer"], aggregator, agree, pairs["life_safety"], roots, credential)

    @property
    def trust_root(self) -> TrustRoot:
        """The public keys."""
        return TrustRoot(self.issuer.public, self.aggregator.public, self.life_safety.public)

    @property
    def party(self) -> Party:
        """The aggregator as elements meet it."""
        return Party(self.aggregator_agree, self.credential)


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
        credential = sign_credential(schema.CREDENTIAL, claims, self._authorities.issuer)
        roots = self._authorities.roots
        grant = {"credential": credential,
                 **{role: roots[role].pin() for role in ("issuer", "operator", "life_safety")}}
        return Enrolled(fields["element_id"], sign_key, credential, claims), grant
