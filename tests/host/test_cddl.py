"""Hold messages.cddl and schema.py together; zcbor judges, pycddl gives a second opinion.

Every example is encoded by element.protocol, never by the judge. zcbor checks types, sizes and
ranges exactly, so it decides what is valid. pycddl 0.6 is asked about good examples only: it
takes no range that begins below zero, lets bytes pass for a range, and inside an array it applies
`.cbor` to every item.
"""

import collections
import functools
import pathlib
import re

import cbor2
import pycddl
import pytest

from element.protocol import cbor, cose, encrypt0, rare, schema, trust
from element.protocol.errors import DecodeError
from host_tools import codec

if not hasattr(cbor2, "CBORDecodeValueError"):
    # zcbor 0.9 imports a name that cbor2 6 folded into its base class
    cbor2.CBORDecodeValueError = cbor2.CBORDecodeError

from zcbor.zcbor import zcbor

# zcbor names the fields of its result after their types; two of one type are no reason to fail
zcbor.namedtuple = functools.partial(collections.namedtuple, rename=True)

CDDL = pathlib.Path(__file__).parents[2] / "firmware/element/protocol/messages.cddl"
KID = b"12345678"

STATEMENT_KINDS = rare.STATEMENT_KINDS + tuple(trust.TYP)

# The rule of every kind; the payloads of statements, the arrays of messages.
RULES = {
    schema.CREDENTIAL: "credential-claims",
    schema.ANNOUNCEMENT: "announcement",
    schema.EXECUTION_RECORD: "execution-record",
    schema.SAFETY_EVENT: "safety-event",
    schema.INTERVAL_COMMITMENT: "interval-commitment",
    schema.RELEASE_ORDER: "release-order",
    schema.ENROL_REQUEST: "enrol-request",
    schema.FIRMWARE_MANIFEST: "firmware-manifest",
    trust.PARTY_CREDENTIAL: "party-credential",
    trust.REVOCATION_LIST: "revocation-list",
    trust.ROOT_ROTATION: "root-rotation",
    schema.INTERROGATE: "interrogate",
    schema.SETPOINT: "setpoint",
    schema.ACK: "ack",
    schema.TELEMETRY: "telemetry",
    schema.TIME_SYNC: "time-sync",
    schema.TRIP: "trip",
    schema.RELEASE: "release",
    schema.STATEMENT: "statement-message",
    schema.STATEMENT_ACK: "statement-ack",
    schema.OWNER_LIMIT: "owner-limit",
    schema.UPDATE: "update",
    schema.UPDATE_ANSWER: "update-answer",
    schema.REKEY: "rekey",
    schema.WHO: "who",
    schema.HERE: "here",
    schema.ENROL_OFFER: "enrol-offer",
    schema.ENROL_REPLY: "enrol-reply",
    schema.ENROL_GRANT: "enrol-grant",
    schema.ENROL_RESULT: "enrol-result",
    schema.EDHOC_1: "edhoc-1",
    schema.EDHOC_2: "edhoc-2",
    schema.EDHOC_3: "edhoc-3",
    schema.EDHOC_ERROR: "edhoc-error",
    schema.TRUST: "trust",
    schema.TRUST_RESULT: "trust-result",
}


@functools.cache
def rules() -> dict:
    """Return zcbor's validators by rule name, the standard prelude included."""
    prelude = pathlib.Path(zcbor.PRELUDE_PATH).read_text(encoding="ascii")
    text = CDDL.read_text(encoding="ascii") + prelude
    return zcbor.DataTranslator.from_cddl(text, 3).my_types


def thawed(value):
    """Return value with plain dicts and lists: cbor2 6 freezes what a tag holds."""
    if isinstance(value, cbor2.CBORTag):
        return cbor2.CBORTag(value.tag, thawed(value.value))
    if isinstance(value, (list, tuple)):
        return [thawed(item) for item in value]
    if hasattr(value, "items"):
        return {key: thawed(item) for key, item in value.items()}
    return value


def valid(rule: str, data: bytes) -> bool:
    """Return what zcbor says of data under rule."""
    try:
        return rules()[rule].validate_obj(thawed(cbor2.loads(data)))
    except (zcbor.CddlValidationError, cbor2.CBORDecodeError):
        return False


@functools.cache
def second_judge(rule: str) -> pycddl.Schema:
    """Return pycddl's validator, the contract put in words that it understands."""
    text = CDDL.read_text(encoding="ascii")
    text = re.sub(r"bstr \.cbor [a-z0-9-]+", "bstr", text)
    text, range_count = re.subn(r"-\d+\.\.\d+", "int", text)
    assert range_count >= 5
    return pycddl.Schema(f"judged = {rule}\n{text}")


def columns(kind: int):
    """Return (key or index, name, type, low, high) of each field of a kind."""
    table = codec.table_of(kind)
    if kind in STATEMENT_KINDS:
        return table
    return [(index + 1, *field) for index, field in enumerate(table)]


def at(field_type: int, low, high: int, number: int):
    """Return a value of a type whose number or size is given."""
    if field_type == schema.BYTES:
        return bytes(number)
    if field_type == schema.TEXT:
        return "t" * number
    if field_type == schema.BOOL:
        return bool(number)
    if field_type == schema.INTS:
        return [number, low, high]
    return number


def example_table(table) -> dict:
    """Return fields by name, every one at its lower end."""
    fields = {}
    for _, name, field_type, low, high in table:
        if field_type == schema.MAP:
            fields[name] = example_table(low)
        else:
            fields[name] = at(field_type, low, high, low)
    return fields


def example(kind: int):
    """Return the wire form (map or array) of a kind's example, made through schema."""
    fields = example_table(columns(kind))
    if kind in STATEMENT_KINDS:
        return schema.statement_to_wire(codec.table_of(kind), fields)
    return schema.message_to_wire(kind, fields)


def leaves(table, path=()):
    """Yield (path, type, low, high) of every field that is not a map, nested ones included."""
    for key, _, field_type, low, high in table:
        if field_type == schema.MAP:
            yield from leaves(low, (*path, key))
        else:
            yield (*path, key), field_type, low, high


def changed(wire, path, value):
    """Return a copy of wire whose item at path is value."""
    copy = dict(wire) if isinstance(wire, dict) else list(wire)
    copy[path[0]] = changed(wire[path[0]], path[1:], value) if len(path) > 1 else value
    return copy


def our_verdict(kind: int, data: bytes) -> bool:
    """Return what schema says of the same bytes."""
    try:
        wire = cbor.decode(data)
        if kind in STATEMENT_KINDS:
            schema.statement_from_wire(codec.table_of(kind), wire)
        else:
            return schema.message_from_wire(wire)[0] == kind
    except DecodeError:
        return False
    return True


def test_every_kind_has_a_rule():
    assert set(RULES) == set(STATEMENT_KINDS) | set(rare.MESSAGE_KINDS)


@pytest.mark.parametrize("kind", RULES, ids=RULES.get)
def test_an_example_of_every_kind_is_valid(kind):
    wire = example(kind)
    data = cbor.encode(wire)
    assert valid(RULES[kind], data)
    assert our_verdict(kind, data)
    # pycddl refuses the number of a `range / null` in an array, so it sees the null
    for path, field_type, _, _ in leaves(columns(kind)):
        if field_type == schema.INT_OR_NONE:
            wire = changed(wire, path, None)
    second_judge(RULES[kind]).validate_cbor(cbor.encode(wire))


@pytest.mark.parametrize("kind", RULES, ids=RULES.get)
def test_every_range_ends_where_the_schema_says(kind):
    wire = example(kind)
    for path, field_type, low, high in leaves(columns(kind)):
        cases = [(at(field_type, low, high, low), True), (at(field_type, low, high, high), True)]
        if field_type != schema.BOOL:
            cases.append((at(field_type, low, high, high + 1), False))
            if field_type in (schema.INT, schema.INT_OR_NONE) or low > 0:
                cases.append((at(field_type, low, high, low - 1), False))
        # a value of each other type
        cases.append((None, field_type == schema.INT_OR_NONE))
        for other in (low, b"\x01" * 8, "t" * 8, True, [], {}):
            if type(other) is not type(cases[0][0]):
                cases.append((other, False))
        for value, expected in cases:
            data = cbor.encode(changed(wire, path, value))
            assert valid(RULES[kind], data) is expected, (path, value)
            assert our_verdict(kind, data) is expected, (path, value)


@pytest.mark.parametrize("kind", RULES, ids=RULES.get)
def test_missing_and_extra_fields_are_invalid(kind):
    wire = example(kind)
    broken = []
    if isinstance(wire, dict):
        broken += [{k: v for k, v in wire.items() if k != left_out} for left_out in wire]
        broken += [{**wire, 99: 0}, {**wire, "x": 0}, {}, list(wire.values())]
    else:
        broken += [wire[:-1], [*wire, 0], wire[1:], [], [99, *wire[1:]]]
    for value in broken:
        data = cbor.encode(value)
        assert not valid(RULES[kind], data)
        assert not our_verdict(kind, data)


@pytest.mark.parametrize("kind", STATEMENT_KINDS, ids=RULES.get)
def test_signed_statements(kind):
    rule = "signed-" + RULES[kind].replace("-claims", "")
    typ = codec.typ_of(kind)
    protected = cose.protected_header(cose.ALG_ES256, KID, typ)
    payload = cbor.encode(example(kind))
    data = cose.sign1_assemble(protected, payload, bytes(64))
    assert valid(rule, data)
    assert valid("signed-statement", data) and valid("contract", data)
    # kid is optional, everything else is not
    no_kid = cose.protected_header(cose.ALG_ES256, None, typ)
    assert valid(rule, cose.sign1_assemble(no_kid, payload, bytes(64)))
    every = (*schema.STATEMENT_TYP.values(), *trust.TYP.values())
    others = [other for other in every if other != typ]
    for header in (
        *(cose.protected_header(cose.ALG_ES256, KID, other) for other in others),
        cose.protected_header(cose.ALG_ES256, KID),
        cose.protected_header(-35, KID, typ),
        cose.protected_header(cose.ALG_ES256, KID, typ, 5),
        cbor.encode({1: -7, 4: b"", 16: typ}),
    ):
        assert not valid(rule, cose.sign1_assemble(header, payload, bytes(64)))
    assert not valid(rule, cose.sign1_assemble(protected, b"\xa0", bytes(64)))


@pytest.mark.parametrize("kind", schema.SESSION_KINDS, ids=RULES.get)
def test_protected_messages(kind):
    payload = cbor.encode(example(kind))
    sealed = payload + bytes(encrypt0.AEAD_TAG_SIZE)
    protected = cose.protected_header(encrypt0.ALG_AES_CCM_16_64_128, KID, piv=1)
    data = encrypt0.assemble(protected, sealed)
    assert valid("protected-message", data) and valid("contract", data)
    assert valid("session-message", payload) and not valid("link-message", payload)
    for header in (
        cose.protected_header(encrypt0.ALG_AES_CCM_16_64_128, KID),
        cose.protected_header(encrypt0.ALG_AES_CCM_16_64_128, None, piv=1),
        cose.protected_header(cose.ALG_ES256, KID, piv=1),
        cose.protected_header(encrypt0.ALG_AES_CCM_16_64_128, KID, "t", 1),
    ):
        assert not valid("protected-message", encrypt0.assemble(header, sealed))


@pytest.mark.parametrize("kind", schema.LINK_KINDS, ids=RULES.get)
def test_link_messages(kind):
    data = cbor.encode(example(kind))
    assert valid("link-message", data) and valid("contract", data)
    assert not valid("session-message", data)


@pytest.mark.parametrize(("rule", "tag"), [("signed-credential", cose.TAG_SIGN1),
                                           ("protected-message", encrypt0.TAG_ENCRYPT0)])
def test_broken_envelopes(rule, tag):
    if tag == cose.TAG_SIGN1:
        header = cose.protected_header(cose.ALG_ES256, KID, "cw/credential")
        good = [header, {}, cbor.encode(example(schema.CREDENTIAL)), bytes(64)]
        sizes = (63, 65)
    else:
        header = cose.protected_header(encrypt0.ALG_AES_CCM_16_64_128, KID, piv=1)
        good = [header, {}, bytes(9)]
        sizes = (8, 2301)
    last = len(good) - 1
    second_judge(rule).validate_cbor(cbor.encode(cbor.Tagged(tag, good)))
    assert valid(rule, cbor.encode(cbor.Tagged(tag, good)))
    assert not valid(rule, cbor.encode(good))
    assert not valid(rule, cbor.encode(cbor.Tagged(34 - tag, good)))
    for index, value in (
        (0, {}),
        (1, {4: KID}),
        (1, None),
        (2, None),
        (2, "text"),
        *((last, bytes(size)) for size in sizes),
    ):
        parts = changed(good, (index,), value)
        assert not valid(rule, cbor.encode(cbor.Tagged(tag, parts))), (index, value)
    for parts in (good[:last], [*good, 0], []):
        assert not valid(rule, cbor.encode(cbor.Tagged(tag, parts)))
