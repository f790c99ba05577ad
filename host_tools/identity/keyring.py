"""What a host needs to open sessions: its own key and credential, the elements', what is news.

A host that brings an element a root's next key, a revocation list or a renewed credential brings
what others have signed: it needs none of their keys.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from element.protocol import schema
from element.protocol.errors import DecodeError, SignatureError
from host_tools.identity.credentials import Trust
from host_tools.identity.keys import KeyPair
from host_tools.identity.revocation import SKEW_S


@dataclass(frozen=True)
class Enrolled:
    """What the host knows of an enrolled element: its id, key, credential and its claims."""

    element_id: bytes
    sign_key: bytes
    credential: bytes
    claims: dict[str, Any]

    @property
    def agree_key(self) -> bytes:
        """The raw key with which the element agrees on sessions."""
        return schema.raw_key(self.claims["agree_key"])


@dataclass(frozen=True)
class Party:
    """A party of the building: its key for agreement and the credential that vouches for it."""

    agree: KeyPair
    credential: bytes


@dataclass
class Keyring:
    """A party and the elements it knows, by id.

    trust: gives the roots and lists by which an element's credential is judged, None to look at
    its time alone. revocations: the operator's list as signed, b"" for none, and its number.
    """

    party: Party
    known: dict[bytes, Enrolled]
    trust: Callable[[], Trust] | None = None
    revocations: Callable[[], tuple[int, bytes]] = field(default=lambda: (0, b""))

    def refusal(self, enrolled: Enrolled, unix_s: int) -> str:
        """Return why an element may not take part at a time, "" when it may."""
        if self.trust is None:
            if unix_s < enrolled.claims["not_before_unix_s"] - SKEW_S:
                return "not yet valid"
            return "expired" if unix_s > enrolled.claims["expires_unix_s"] + SKEW_S else ""
        try:
            self.trust().claims(schema.CREDENTIAL, enrolled.credential, unix_s)
        except (DecodeError, SignatureError) as error:
            return error.code if error.value is None else f"{error.code}: {error.value}"
        return ""

    def news(self, here: dict[str, Any]) -> list[bytes]:
        """Return the signed statements that an element, going by its HERE, does not have yet."""
        statements: list[bytes] = []
        if self.trust is not None:
            roots = self.trust().roots
            for role in ("issuer", "operator", "life_safety"):
                if role in roots.by_role:
                    statements += roots[role].rotations[max(here[f"{role}_number"] - 1, 0):]
        number, signed = self.revocations()
        if signed and number > here["revocation_number"]:
            statements.append(signed)
        enrolled = self.known.get(here["element_id"])
        if enrolled is not None \
                and enrolled.claims["issued_unix_s"] > here["credential_unix_s"]:
            statements.append(enrolled.credential)
        return statements
