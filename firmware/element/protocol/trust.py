"""The statements about who may speak in a building: parties, revocations, a root's next key.

Tables like those of `schema`, apart from them: an element loads them when such a statement comes.

A root's key is replaced by the key it promised: with every key goes the SHA-256 of its successor's
public key, and the successor signs its own appointment. Whoever steals the key in use can not
appoint another one, and a root whose key is lost goes on; no element is visited for it.
"""

from .errors import DecodeError
from .rare import CNF, COSE_KEY
from .schema import BYTES, INT, MAP, TEXT, U32

PARTY_CREDENTIAL = 9
REVOCATION_LIST = 10
ROOT_ROTATION = 11

TYP = {
    PARTY_CREDENTIAL: "cw/party",
    REVOCATION_LIST: "cw/revocations",
    ROOT_ROTATION: "cw/root",
}

# The four roots. The issuer's signs element credentials and firmware, the operator's parties, the
# life-safety key releases trips, the meter's signs meters.
ROLE_ISSUER = 1
ROLE_OPERATOR = 2
ROLE_LIFE_SAFETY = 3
ROLE_METER = 4

# An entry of a revocation list: key id (8), Unix s from when (4, big-endian), reason (1).
ENTRY_SIZE = 13
ENTRIES_SIZE_MAX = 300 * ENTRY_SIZE
REASON_UNSPECIFIED = 0
REASON_KEY_COMPROMISED = 1
REASON_REPLACED = 2
REASON_REMOVED = 3

_TABLES = {
    # a CWT, as an element's credential is
    PARTY_CREDENTIAL: (
        (1, "issuer", TEXT, 1, 64),
        (2, "subject", TEXT, 16, 16),
        (4, "expires_unix_s", INT, 0, U32),
        (5, "not_before_unix_s", INT, 0, U32),
        (6, "issued_unix_s", INT, 0, U32),
        (8, "cnf", MAP, CNF, 0),
        (-70001, "agree_key", MAP, COSE_KEY, 0),
        (-70006, "party", INT, 1, 3),
        (-70007, "name", TEXT, 0, 32),
    ),
    REVOCATION_LIST: (
        (1, "number", INT, 1, U32),  # rises with every list
        (2, "issued_unix_s", INT, 0, U32),
        (3, "next_unix_s", INT, 0, U32),  # when the next one is due
        (4, "part", INT, 1, 255),  # of part_count; only all of them are the list
        (5, "part_count", INT, 1, 255),
        (6, "entries", BYTES, 0, ENTRIES_SIZE_MAX),
    ),
    ROOT_ROTATION: (
        (1, "role", INT, 1, 4),
        (2, "number", INT, 1, U32),  # one more than the key before
        (3, "key", MAP, COSE_KEY, 0),
        (4, "next_hash", BYTES, 32, 32),  # SHA-256 of x||y of the key after this one
        (5, "not_before_unix_s", INT, 0, U32),
        (6, "revoked_unix_s", INT, 0, U32),  # what the key before signed since then is void
    ),
}


def table_of(kind: int) -> tuple:
    """Return the fields of a statement kind of this module. Raises DecodeError for others."""
    table = _TABLES.get(kind)
    if table is None:
        raise DecodeError("kind", kind)
    return table
