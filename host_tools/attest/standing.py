"""The verifier's hook for revocations: opens the issuer's signed list, as `cellwall pki` makes it.

The standalone verifier takes any function of this form; this one is for the command line.
"""

from collections.abc import Mapping
from io import BytesIO

import cbor2

from element.protocol.errors import DecodeError, SignatureError
from host_tools.attest.verifier import Refused, RevokedAt, need
from host_tools.identity.revocation import PARTS_MAX, Revocations, open_list

LIST_SIZE_MAX = PARTS_MAX * 4200


def parts_of_file(data: bytes) -> list[bytes]:
    """Return the signed parts of a list's file, a sequence of COSE_Sign1 (RFC 8742).

    Raises DecodeError for anything else.
    """
    if len(data) > LIST_SIZE_MAX:
        raise DecodeError("size of a revocation list", len(data))
    parts, file, at = [], BytesIO(data), 0
    try:
        while at < len(data):
            cbor2.load(file)
            parts.append(data[at:file.tell()])
            at = file.tell()
    except (cbor2.CBORError, ValueError, TypeError) as error:
        raise DecodeError("revocation list", type(error).__name__) from error
    return parts


class OpenList:
    """Open a list with whichever of the trusted issuers' keys signed it."""

    def __init__(self, issuers: Mapping[bytes, bytes]) -> None:
        """issuers: raw keys by key id."""
        self._keys = list(issuers.values())

    def __call__(self, parts: list[bytes]) -> RevokedAt:
        """Return the question that a verifier asks of every record. Raises Refused."""
        need(isinstance(parts, list) and 0 < len(parts) <= PARTS_MAX
             and all(isinstance(one, bytes) for one in parts), "revocation list")
        found: Revocations | None = None
        why = "no issuer"
        for key in self._keys:
            try:
                found = open_list(parts, key)
                break
            except (DecodeError, SignatureError) as error:
                why = error.code
        if found is None:
            raise Refused("revocation list", why)
        opened = found

        def revoked_at(key_id: bytes, at_unix_s: int) -> str | None:
            try:
                opened.check(key_id, at_unix_s)
            except SignatureError as error:
                return str(error.value)
            return None

        return revoked_at
