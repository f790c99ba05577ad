"""The host's side of the contract: the shared tables, with cbor2 and cryptography for speed.

Byte for byte the same as `element.protocol`; tests prove it for every kind. Decoding accepts
deterministic CBOR alone (RFC 8949 4.2.1): what decodes is encoded again and compared.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from element.protocol import cbor, cose, rare, schema, trust
from element.protocol.errors import DecodeError, RangeError, SignatureError
from host_tools.identity.keys import PrivateKey, public_from_raw

_LEAVES = frozenset((bytes, bytearray, str, bool, type(None)))
_SIGN = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
_VERIFY = ec.ECDSA(hashes.SHA256())


def _ordered(value: Any, depth: int = 0) -> Any:
    """Return value with every map in the bytewise key order of RFC 8949 4.2.1.

    cbor2's canonical=True is the length-first order of RFC 7049. The walk also refuses what
    cbor2 would carry and a board refuses: floats, other keys (True and 1.0 equal the key 1 in
    Python), integers beyond 64 bits, deep nesting. Raises RangeError.
    """
    kind = type(value)
    if kind is int:
        if not -(2**63) <= value < 2**64:
            raise RangeError("cbor_int", value)
        return value
    if kind in _LEAVES:
        return value
    if depth >= cbor.DEPTH_MAX:
        raise RangeError("cbor_depth", depth)
    if kind is list or kind is tuple:
        return [_ordered(item, depth + 1) for item in value]
    if kind is dict:
        for key in value:
            if type(key) is not int and type(key) is not str:
                raise RangeError("cbor_key", key)
        keys = sorted(value, key=cbor2.dumps) if len(value) > 1 else value
        return {_ordered(key): _ordered(value[key], depth + 1) for key in keys}
    raise RangeError("cbor_type", kind.__name__)


def dumps(value: Any) -> bytes:
    """Return deterministic CBOR of a value made of int, bytes, str, bool, None, list and dict.

    Raises RangeError for anything else and for more than a board would decode.
    """
    try:
        data = cbor2.dumps(_ordered(value))
    except (cbor2.CBOREncodeError, UnicodeError) as error:
        raise RangeError("cbor_text", type(error).__name__) from error
    if len(data) > cbor.SIZE_MAX:
        raise RangeError("cbor_size", len(data))
    return data


def loads(data: bytes) -> Any:
    """Return the value of deterministic CBOR. Raises DecodeError for anything else."""
    if len(data) > cbor.SIZE_MAX:
        raise DecodeError("cbor_size", len(data))
    try:
        value = cbor2.loads(data)
        again = dumps(value)
    except RangeError as error:
        raise DecodeError(error.code, error.value) from error
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DecodeError("cbor", type(error).__name__) from error
    if again != data:
        raise DecodeError("cbor_not_deterministic")
    return value


def _term(name: str, field_type: int, low: int, high: int) -> str:
    """Return the expression that is true for a plain value of a field, which is called name."""
    integer = f"type({name}) is int and {low} <= {name} <= {high}"
    size = f"{low} <= len({name}) <= {high}"
    return {
        schema.INT: integer,
        schema.INT_OR_NONE: f"({name} is None or {integer})",
        schema.BYTES: f"type({name}) is bytes and {size}",
        # in ASCII the size in UTF-8 is the length; other texts are left to `schema`
        schema.TEXT: f"type({name}) is str and {name}.isascii() and {size}",
        schema.BOOL: f"type({name}) is bool",
    }[field_type]


class _Plan:
    """One kind of message, its table compiled: 0.1 us a field instead of half of one.

    fields_of(array with the kind) -> fields by name, array_of(fields) -> array with the kind. Both
    return None for what is not plainly good, which is no verdict: `schema` has the last word, and
    names what is wrong.
    """

    __slots__ = ("array_of", "fields_of", "size")

    def __init__(self, kind: int) -> None:
        table = schema.table_of(kind)
        self.size = len(table) + 1
        names = [f"f{index}" for index in range(len(table))]
        good = " and ".join(_term(name, *column[1:])
                            for name, column in zip(names, table, strict=True))
        items = ", ".join(f"{column[0]!r}: {name}"
                          for name, column in zip(names, table, strict=True))
        takes = "; ".join(f"{name} = fields[{column[0]!r}]"
                          for name, column in zip(names, table, strict=True))
        listed = ", ".join(names)
        space: dict[str, Any] = {}
        # nothing but the contract's own table goes in here
        exec(f"def fields_of(array):\n"
             f"    _, {listed} = array\n"
             f"    return {{{items}}} if {good} else None\n"
             f"def array_of(fields):\n"
             f"    {takes}\n"
             f"    return [{kind}, {listed}] if {good} else None\n", space)
        self.fields_of: Callable[[list[Any]], dict[str, Any] | None] = space["fields_of"]
        self.array_of: Callable[[dict[str, Any]], list[Any] | None] = space["array_of"]


# Messages are flat arrays of scalars; one with a list in it would have no plan.
_PLANS = {kind: _Plan(kind) for kind in rare.MESSAGE_KINDS
          if all(column[1] not in (schema.MAP, schema.INTS) for column in schema.table_of(kind))}


def encode_message(kind: int, fields: dict[str, Any]) -> bytes:
    """Return the payload of a session or link message. Raises RangeError for a bad field."""
    plan = _PLANS.get(kind)
    if plan is not None and len(fields) + 1 == plan.size:
        try:
            array = plan.array_of(fields)
        except KeyError:
            array = None
        if array is not None:
            # plain scalars have one shortest form, and cbor2 writes that
            data = cbor2.dumps(array)
            if len(data) <= cbor.SIZE_MAX:
                return data
    return dumps(schema.message_to_wire(kind, fields))


def decode_message(payload: bytes) -> tuple[int, dict[str, Any]]:
    """Return (kind, fields) of a session or link message. Raises DecodeError."""
    try:
        array = cbor2.loads(payload) if len(payload) <= cbor.SIZE_MAX else None
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError):
        array = None  # `loads` says what is wrong
    if type(array) is list and array and type(array[0]) is int:
        plan = _PLANS.get(array[0])
        if plan is not None and len(array) == plan.size:
            fields = plan.fields_of(array)
            # what was not in its shortest form, or had something behind it, differs from this
            if fields is not None and cbor2.dumps(array) == payload:
                return array[0], fields
    return schema.message_from_wire(loads(payload))


def table_of(kind: int) -> tuple[Any, ...]:
    """Return the fields of a statement or message kind. Raises DecodeError for an unknown one."""
    return trust.table_of(kind) if kind in trust.TYP else schema.table_of(kind)


def typ_of(kind: int) -> str:
    """Return the `typ` header of a statement kind."""
    return trust.TYP[kind] if kind in trust.TYP else schema.STATEMENT_TYP[kind]


def encode_statement(kind: int, fields: dict[str, Any]) -> bytes:
    """Return the payload of a statement. Raises RangeError for a bad field."""
    return dumps(schema.statement_to_wire(table_of(kind), fields))


def decode_statement(kind: int, payload: bytes) -> dict[str, Any]:
    """Return the fields of a statement's payload. Raises DecodeError."""
    return schema.statement_from_wire(table_of(kind), loads(payload))


def sign1(private_key: PrivateKey, typ: str, kid: bytes, payload: bytes) -> bytes:
    """Return a COSE_Sign1 with ES256 and an RFC 6979 nonce over payload."""
    protected = cose.protected_header(-7, kid=kid, typ=typ)
    der = private_key.sign(cose.sig_structure(protected, payload), _SIGN)
    r, s = utils.decode_dss_signature(der)
    return cose.sign1_assemble(protected, payload, r.to_bytes(32, "big") + s.to_bytes(32, "big"))


_public = lru_cache(maxsize=4096)(public_from_raw)


def verify1(data: bytes, public_key: bytes, typ: str) -> bytes:
    """Return the payload of a COSE_Sign1 of this typ signed by this raw key.

    Raises DecodeError for malformed bytes, SignatureError for another typ or a wrong signature.
    """
    protected, header, payload, signature = cose.sign1_parse(data)
    if header.get(cose.TYP) != typ:
        raise SignatureError("typ", header.get(cose.TYP))
    r = int.from_bytes(signature[:32], "big")
    s = int.from_bytes(signature[32:], "big")
    try:
        _public(bytes(public_key)).verify(
            utils.encode_dss_signature(r, s), cose.sig_structure(protected, payload), _VERIFY
        )
    except InvalidSignature as error:
        raise SignatureError("signature") from error
    return payload


def peek(data: bytes) -> tuple[str, bytes, bytes]:
    """Return (typ, kid, payload) of a COSE_Sign1 without checking its signature.

    For routing alone: nothing in it may be believed before `verify1`. Raises DecodeError.
    """
    _, header, payload, _ = cose.sign1_parse(data)
    return header.get(cose.TYP, ""), header.get(cose.KID, b""), payload
