"""The compiled path of the host's codec says what the contract's own tables say, in every case."""

import random
from typing import Any

import cbor2
import pytest

from element.protocol import cbor, rare, schema
from element.protocol.errors import DecodeError, Error, RangeError
from host_tools import codec


def edges(field_type: int, low: int, high: int) -> list[Any]:
    """Return values in, at and beyond a field's range, and of other types."""
    common: list[Any] = [None, True, False, 0, -1, 1.0, "", b"", [], {}, "é" * 3, "x" * 400]
    if field_type in (schema.INT, schema.INT_OR_NONE):
        return [*common, low, high, low - 1, high + 1, 2**64, -(2**63) - 1]
    size = max(low, 1)
    return [*common, b"x" * low, b"x" * size, b"x" * (high + 1), bytearray(b"x" * size),
            "x" * low, "x" * size, "x" * (high + 1), "é" * (high // 2), "é" * high, "\ud800"]


def outcome(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except Error as error:
        return type(error), error.code, repr(error.value)[:80]


def good(kind: int) -> dict[str, Any]:
    values: dict[int, Any] = {schema.TEXT: "x", schema.BOOL: True, schema.INT_OR_NONE: None}
    return {name: b"x" * max(low, 1) if field_type == schema.BYTES
            else values.get(field_type, low)
            for name, field_type, low, _ in schema.table_of(kind)}


def slow_encode(kind: int, fields: dict[str, Any]) -> bytes:
    return codec.dumps(schema.message_to_wire(kind, fields))


def slow_decode(payload: bytes) -> Any:
    return schema.message_from_wire(codec.loads(payload))


@pytest.mark.parametrize("kind", rare.MESSAGE_KINDS)
def test_every_field_at_its_edges_is_taken_or_refused_alike(kind: int) -> None:
    for name, field_type, low, high in schema.table_of(kind):
        for value in edges(field_type, low, high):
            fields = good(kind) | {name: value}
            expected = outcome(slow_encode, kind, fields)
            assert outcome(codec.encode_message, kind, fields) == expected, (name, value)
            wire = [kind, *fields.values()]
            try:
                payload = cbor2.dumps(wire)
            except (cbor2.CBORError, ValueError, OverflowError, UnicodeError):
                continue
            assert outcome(codec.decode_message, payload) == outcome(slow_decode, payload)


def test_missing_and_strange_fields_are_refused() -> None:
    fields = good(schema.SETPOINT)
    for wrong in ({}, fields | {"x": 1}, {**fields, "power": fields["power_mw"]}):
        with pytest.raises(RangeError):
            codec.encode_message(schema.SETPOINT, wrong)
    renamed = {("x" if name == "power_mw" else name): value for name, value in fields.items()}
    with pytest.raises(RangeError):
        codec.encode_message(schema.SETPOINT, renamed)
    with pytest.raises(RangeError):
        codec.encode_message(99, {})


@pytest.mark.parametrize("payload", [
    bytes.fromhex("9818" + "00" * 24),  # a kind that is none
    bytes.fromhex("8218181805"),  # a byte for a small number
    bytes.fromhex("8218180500"),  # something behind it
    bytes.fromhex("821818190005"),  # two bytes for a small number
    bytes.fromhex("82190018" + "05"),  # the kind in a longer form
    bytes.fromhex("9f181805ff"),  # indefinite length
    bytes.fromhex("821818c24105"),  # a bignum of a small number
    bytes.fromhex("821818f94500"),  # 5.0
    bytes.fromhex("821818d81c05"),  # shareable
    bytes.fromhex("8118"), b"", b"\x80", b"\x05", b"\xa0", bytes(cbor.SIZE_MAX + 1),
    b"\x82\x18\x18" + b"\xc1" * 200,
])
def test_what_is_not_the_one_form_is_refused(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        codec.decode_message(payload)
    assert outcome(codec.decode_message, payload) == outcome(slow_decode, payload)


def test_damaged_messages_are_taken_and_refused_alike() -> None:
    rng = random.Random(1)
    kinds = [schema.TELEMETRY, schema.SETPOINT, schema.HERE, schema.OWNER_LIMIT]
    taken = 0
    for _ in range(4000):
        payload = bytearray(slow_encode(kind := rng.choice(kinds), good(kind)))
        for _ in range(rng.randrange(3)):
            payload[rng.randrange(len(payload))] = rng.randrange(256)
        found = outcome(codec.decode_message, bytes(payload))
        assert found == outcome(slow_decode, bytes(payload)), payload.hex()
        taken += isinstance(found[0], int)
    assert 1000 < taken < 4000
