"""The tables of the contract: every statement and message, its fields, their ranges.

One table serves the board, the host and the tests; `messages.cddl` says the same in RFC 8610.
Those of statements that an element meets once in a while are in rare.py.
A statement payload is a CBOR map with integer keys; a session or link message is a CBOR array
whose first item is its kind and whose other items are the fields in table order. Fields in
Python are a dict by name. Times named `unix_ms` are milliseconds since 1970-01-01T00:00Z.
"""

from .errors import DecodeError, RangeError

# Field types.
INT = 0  # low..high is the value
BYTES = 1  # low..high is the size in bytes
TEXT = 2  # low..high is the size in UTF-8 bytes
BOOL = 3
MAP = 4  # low is the table of the inner map
INT_OR_NONE = 5
INTS = 6  # at most INTS_MAX integers, each low..high
INTS_MAX = 16

U32 = 0xFFFFFFFF
# In mW and mWh: 1 GW, 1 TWh. A floor or a building is an element to what stands above it; what a
# single element may do, its credential and its board's ratings say.
POWER = 1_000_000_000_000
ENERGY = 1_000_000_000_000_000
TIME = 4_102_444_800_000  # 2100-01-01 in Unix ms
INT32 = 0x7FFFFFFF

# Statements: signed COSE_Sign1, told apart by `typ` in the protected header.
CREDENTIAL = 1
ANNOUNCEMENT = 2
EXECUTION_RECORD = 3
SAFETY_EVENT = 4
INTERVAL_COMMITMENT = 5
RELEASE_ORDER = 6
ENROL_REQUEST = 7
FIRMWARE_MANIFEST = 8

STATEMENT_TYP = {
    CREDENTIAL: "cw/credential",
    ANNOUNCEMENT: "cw/announcement",
    EXECUTION_RECORD: "cw/record",
    SAFETY_EVENT: "cw/safety-event",
    INTERVAL_COMMITMENT: "cw/interval",
    RELEASE_ORDER: "cw/release",
    ENROL_REQUEST: "cw/enrol-request",
    FIRMWARE_MANIFEST: "cw/firmware",
}

# Session messages: encrypted and authenticated by the session, not signed.
INTERROGATE = 16
SETPOINT = 17
ACK = 18
TELEMETRY = 19
TIME_SYNC = 20
TRIP = 21
RELEASE = 22
STATEMENT = 23
STATEMENT_ACK = 24
OWNER_LIMIT = 25
UPDATE = 26
UPDATE_ANSWER = 27
REKEY = 28

# Link messages: in the clear, before a session; they never move energy and never change limits.
# Trust carries what its own signature vouches for, whoever brings it.
WHO = 32
HERE = 33
ENROL_OFFER = 34
ENROL_REPLY = 35
ENROL_GRANT = 36
ENROL_RESULT = 37
EDHOC_1 = 38
EDHOC_2 = 39
EDHOC_3 = 40
EDHOC_ERROR = 41
TRUST = 42
TRUST_RESULT = 43

# Update.operation.
UPDATE_BEGIN = 0
UPDATE_DATA = 1
UPDATE_COMMIT = 2
UPDATE_DATA_SIZE_MAX = 1024

# A root as an element knows it: number (4, big-endian), public key x||y (64), SHA-256 of the next
# public key (32).
PIN_SIZE = 100

# Negatives of large numbers, and fields that are alike, are one object each: every other one would
# take 32 bytes of a board's heap.
_POWER_LOW = -POWER
_INT32_LOW = -INT32


class _Same:
    """Fields of several tables, by their names."""

    element_id = (1, "element_id", BYTES, 8, 8)
    counter = (2, "counter", INT, 1, U32)
    previous_hash = (3, "previous_hash", BYTES, 32, 32)
    challenge = (("challenge", BYTES, 8, 32),)
    message = (("message", BYTES, 1, 256),)
    statement = (("statement", BYTES, 1, 2048),)
    power_mw = ("power_mw", INT, _POWER_LOW, POWER)
    sequence = ("sequence", INT, 1, U32)
    offset = ("offset", INT, 0, INT32)
    index = ("index", INT, 0, 255)
    accepted = ("accepted", BOOL, 0, 1)
    code = ("code", TEXT, 0, 48)  # "" is yes
    host_nonce = ("host_nonce", BYTES, 16, 16)


_STATEMENTS = {
    ANNOUNCEMENT: (
        _Same.element_id,
        (2, "challenge", BYTES, 8, 32),
        (3, "credential", BYTES, 1, 1024),
        (4, "board", TEXT, 1, 32),
        (5, "firmware", TEXT, 1, 32),
        (6, "at_unix_ms", INT, 0, TIME),
        (7, "state", INT, 0, 5),
        (8, "soc_bp", INT_OR_NONE, 0, 10000),
        (9, "soh_bp", INT_OR_NONE, 0, 10000),
        (10, "counter", INT, 0, U32),
    ),
    EXECUTION_RECORD: (
        _Same.element_id,
        _Same.counter,
        _Same.previous_hash,
        (4, "dispatch_id", INT, 0, U32),
        (5, "start_unix_ms", INT, 0, TIME),
        (6, "end_unix_ms", INT, 0, TIME),
        (7, "instructed_mw_mean", INT, _POWER_LOW, POWER),
        (8, "realized_mw_mean", INT, _POWER_LOW, POWER),
        (9, "realized_mw_min", INT, _POWER_LOW, POWER),
        (10, "realized_mw_max", INT, _POWER_LOW, POWER),
        (11, "energy_mwh", INT, -ENERGY, ENERGY),
        (12, "soc_bp_start", INT_OR_NONE, 0, 10000),
        (13, "soc_bp_end", INT_OR_NONE, 0, 10000),
        (14, "quality", INT, 0, 0xFFFF),
    ),
    SAFETY_EVENT: (
        _Same.element_id,
        _Same.counter,
        _Same.previous_hash,
        (4, "cause", INT, 0, 255),
        (5, "at_unix_ms", INT, 0, TIME),
        (6, "value", INT, _INT32_LOW, INT32),
        (7, "limit", INT, _INT32_LOW, INT32),
        (8, "released", BOOL, 0, 1),
        (9, "index", INT_OR_NONE, 0, 255),  # of the cell or thermometer, from 0
    ),
    RELEASE_ORDER: (
        _Same.element_id,
        (2, "order_number", INT, 1, U32),
        (3, "issued_unix_ms", INT, 0, TIME),
        (4, "cause", INT, 1, 255),
    ),
}

_MESSAGES = {
    INTERROGATE: _Same.challenge,
    SETPOINT: (
        ("dispatch_id", INT, 1, U32),
        _Same.sequence,
        _Same.power_mw,
        ("service", INT, 0, 0xFFFF),
        ("start_unix_ms", INT, 0, TIME),
        ("lease_ms", INT, 0, 0xFFFF),
    ),
    ACK: (
        ("sequence", INT, 0, U32),
        _Same.accepted,
        ("reason", INT, 0, 255),
        ("limit", INT_OR_NONE, _POWER_LOW, POWER),
    ),
    TELEMETRY: (
        ("at_unix_ms", INT, 0, TIME),
        ("state", INT, 0, 5),
        ("inhibits", INT, 0, 0xFFFF),
        ("trip_cause", INT, 0, 255),
        _Same.power_mw,
        ("instructed_mw", INT, _POWER_LOW, POWER),
        ("power_mw_discharge_ready", INT, 0, POWER),
        ("power_mw_charge_ready", INT, 0, POWER),
        # what every envelope still has room for
        ("room_mwh_discharge", INT, 0, ENERGY),
        ("room_mwh_charge", INT, 0, ENERGY),
        ("pack_mv", INT_OR_NONE, 0, 1_000_000),
        ("current_ma", INT, -1_000_000, 1_000_000),
        ("current_age_ms", INT, 0, 0xFFFF),
        ("soc_bp", INT_OR_NONE, 0, 10000),
        ("cell_mv_min", INT_OR_NONE, 0, 10000),
        ("cell_mv_max", INT_OR_NONE, 0, 10000),
        ("temperature_mdegc_max", INT_OR_NONE, -100000, 200000),
        ("bms_age_ms", INT_OR_NONE, 0, U32),
        ("cells_age_ms", INT_OR_NONE, 0, U32),
        ("fets", INT_OR_NONE, 0, 3),
        ("refused_count", INT, 0, U32),
        ("dropped_count", INT, 0, U32),
        ("late_ms_max", INT, 0, 0xFFFF),
        ("flags", INT, 0, 0xFFFF),
        ("soc_bp_low", INT_OR_NONE, 0, 10000),
        ("soc_bp_high", INT_OR_NONE, 0, 10000),
        ("soc_bp_doubt", INT_OR_NONE, 0, 10000),
        ("cell_index_min", INT_OR_NONE, 0, 255),
        ("cell_index_max", INT_OR_NONE, 0, 255),
        ("bms_errors", INT_OR_NONE, 0, U32),
        ("bms_lost_count", INT, 0, U32),
        ("bms_note", TEXT, 0, 96),
    ),
    TIME_SYNC: (
        ("unix_ms", INT, 0, TIME),
        ("record_interval_ms", INT, 10000, 900000),
    ),
    TRIP: (
        ("cause", INT, 1, 255),
        ("zone", INT, 0, 0xFFFF),
    ),
    RELEASE: (("order", BYTES, 1, 512),),
    STATEMENT: _Same.statement,
    STATEMENT_ACK: (("counter", INT, 0, U32),),
    OWNER_LIMIT: (
        ("owner", TEXT, 1, 16),
        _Same.sequence,
        ("power_mw_discharge_max", INT, 0, POWER),
        ("power_mw_charge_max", INT, 0, POWER),
        ("lease_ms", INT, 0, 86_400_000),
    ),
    UPDATE: (
        ("operation", INT, 0, 2),
        _Same.index,  # 0: the list of files; 1 and on: its files
        _Same.offset,
        ("data", BYTES, 0, UPDATE_DATA_SIZE_MAX),
    ),
    UPDATE_ANSWER: (
        _Same.index,  # where to go on
        _Same.offset,
        _Same.code,
    ),
    REKEY: (("context", BYTES, 16, 16),),
    WHO: (_Same.host_nonce,),
    HERE: (
        ("element_id", BYTES, 8, 8),
        _Same.host_nonce,
        ("enrolled", BOOL, 0, 1),
        # the newest of each that it has: what is newer may be brought to it (Trust)
        ("credential_unix_s", INT, 0, U32),
        ("issuer_number", INT, 0, U32),
        ("operator_number", INT, 0, U32),
        ("life_safety_number", INT, 0, U32),
        ("revocation_number", INT, 0, U32),
    ),
    ENROL_OFFER: _Same.challenge,
    ENROL_REPLY: (("request", BYTES, 1, 1024),),
    ENROL_GRANT: (
        ("credential", BYTES, 1, 1024),
        ("issuer", BYTES, PIN_SIZE, PIN_SIZE),
        ("operator", BYTES, PIN_SIZE, PIN_SIZE),
        ("life_safety", BYTES, PIN_SIZE, PIN_SIZE),
    ),
    ENROL_RESULT: (
        _Same.accepted,
        ("code", TEXT, 0, 32),
    ),
    EDHOC_1: _Same.message,
    EDHOC_2: _Same.message,
    EDHOC_3: (("message", BYTES, 1, 1024),),
    EDHOC_ERROR: (("message", BYTES, 1, 128),),
    TRUST: _Same.statement,
    TRUST_RESULT: (
        ("digest", BYTES, 8, 8),  # the first bytes of the statement's SHA-256
        _Same.code,
    ),
}

del _Same  # a board needs the place

SESSION_KINDS = tuple([kind for kind in sorted(_MESSAGES) if kind < WHO])
LINK_KINDS = tuple([kind for kind in sorted(_MESSAGES) if kind >= WHO])


def table_of(kind: int) -> tuple:
    """Return the fields of a statement (5-tuples with a key) or message (4-tuples) kind.

    Raises DecodeError for a kind that this version does not know.
    """
    table = _STATEMENTS.get(kind) or _MESSAGES.get(kind)
    if table is None:
        from . import rare  # an element has its memory for other things, most of the time

        table = rare.TABLES.get(kind)
    if table is None:
        raise DecodeError("kind", kind)
    return table


def _utf8_size(text: str) -> int:
    """Return the size of text in UTF-8, or -1 for a text that has none (a lone surrogate)."""
    try:
        return len(text.encode())
    except UnicodeError:
        return -1


def _check(name: str, field_type: int, low, high: int, value):
    """Return value when it fits its field; raise RangeError naming the field otherwise."""
    if field_type == INT or field_type == INT_OR_NONE:
        if value is None and field_type == INT_OR_NONE:
            return value
        # bool is an int in Python and a different type in CBOR
        if isinstance(value, int) and value is not True and value is not False:
            if low <= value <= high:
                return value
    elif field_type == BYTES:
        if isinstance(value, (bytes, bytearray)) and low <= len(value) <= high:
            return value
    elif field_type == TEXT:
        if isinstance(value, str) and low <= _utf8_size(value) <= high:
            return value
    elif field_type == BOOL:
        if value is True or value is False:
            return value
    elif isinstance(value, (list, tuple)) and len(value) <= INTS_MAX:
        return [_check(name, INT, low, high, item) for item in value]
    raise RangeError(name, value)


def statement_to_wire(table: tuple, fields: dict) -> dict:
    """Return the CBOR map of a statement from fields by name.

    Raises RangeError naming the first field that is missing, unknown or out of range.
    """
    if len(fields) != len(table):
        raise RangeError("fields", len(fields))
    wire = {}
    for key, name, field_type, low, high in table:
        if name not in fields:
            raise RangeError(name, None)
        value = fields[name]
        if field_type == MAP:
            wire[key] = statement_to_wire(low, value)
        else:
            wire[key] = _check(name, field_type, low, high, value)
    return wire


def statement_from_wire(table: tuple, wire) -> dict:
    """Return fields by name from a decoded CBOR map.

    Raises DecodeError for anything that is not exactly the table's shape and ranges.
    """
    if not isinstance(wire, dict) or len(wire) != len(table):
        raise DecodeError("map", None)
    fields = {}
    for key, name, field_type, low, high in table:
        if key not in wire:
            raise DecodeError(name, None)
        value = wire[key]
        if field_type == MAP:
            fields[name] = statement_from_wire(low, value)
            continue
        try:
            fields[name] = _check(name, field_type, low, high, value)
        except RangeError as error:
            raise DecodeError(error.code, error.value)
    return fields


def message_to_wire(kind: int, fields: dict) -> list:
    """Return the CBOR array of a session or link message from fields by name.

    Raises RangeError naming the first field that is missing, unknown or out of range.
    """
    table = _MESSAGES.get(kind)
    if table is None:
        raise RangeError("kind", kind)
    if len(fields) != len(table):
        raise RangeError("fields", len(fields))
    wire = [kind]
    for name, field_type, low, high in table:
        if name not in fields:
            raise RangeError(name, None)
        wire.append(_check(name, field_type, low, high, fields[name]))
    return wire


def message_from_wire(wire) -> tuple:
    """Return (kind, fields by name) from a decoded CBOR array.

    Raises DecodeError for anything that is not exactly a known message.
    """
    if not isinstance(wire, list) or not wire:
        raise DecodeError("array", None)
    kind = wire[0]
    table = _MESSAGES.get(kind) if isinstance(kind, int) else None
    if table is None or len(wire) != len(table) + 1:
        raise DecodeError("kind", kind)
    fields = {}
    index = 1
    for name, field_type, low, high in table:
        try:
            fields[name] = _check(name, field_type, low, high, wire[index])
        except RangeError as error:
            raise DecodeError(error.code, error.value)
        index += 1
    return kind, fields


def cose_key(public_key: bytes) -> dict:
    """Return the COSE_Key fields of a raw 64-byte x||y P-256 public key."""
    return {"kty": 2, "crv": 1, "x": bytes(public_key[:32]), "y": bytes(public_key[32:])}


def raw_key(fields: dict) -> bytes:
    """Return the raw 64-byte x||y of COSE_Key fields."""
    return bytes(fields["x"]) + bytes(fields["y"])
