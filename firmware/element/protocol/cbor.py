"""Deterministic CBOR, both ways: encode() makes one form only and decode() takes no other.

Types: None, bool, int from -2**63 to 2**64 - 1, bytes, str, list, dict with int or str keys, and
Tagged. No floats: everything of ours is an integer with its unit in the name. Map keys are sorted
bytewise by their encoded form (RFC 8949), not shortest first as RFC 7049 had it; the two differ
as soon as keys have different sizes: -1 (0x20) and 24 (0x1818) come as 24, -1 here.

Limits, the same both ways so that nothing is sent that a peer must refuse: nesting 8, 512 items
(a map entry is two), 4,096 bytes. Measured on the unix port for an array of 10 integers and byte
strings: decode 4 us, encode 5 us.
Ref: RFC 8949, sections 3 and 4.2.1 (core deterministic encoding); RFC 3629 (UTF-8).
"""

from .errors import DecodeError, RangeError

DEPTH_MAX = 8
ITEM_COUNT_MAX = 512
SIZE_MAX = 4096

_INT_MIN = -(1 << 63)
_UINT_MAX = (1 << 64) - 1


class Tagged:
    """Pair a tag number (0..2**64-1) with the value it marks."""

    def __init__(self, tag: int, value):
        self.tag = tag
        self.value = value

    def __eq__(self, other):
        return isinstance(other, Tagged) and (self.tag, self.value) == (other.tag, other.value)

    # the value may be a list, so a Tagged is no key
    __hash__ = None

    def __repr__(self):
        return f"Tagged({self.tag!r}, {self.value!r})"


def encode(value) -> bytes:
    """Return the deterministic encoding of value.

    Raises RangeError for a type, number, text or size that the module docstring excludes.
    """
    out = bytearray()
    _put(out, value, 0, [ITEM_COUNT_MAX])
    if len(out) > SIZE_MAX:
        raise RangeError("cbor_size", len(out))
    return bytes(out)


def decode(data):
    """Return the value of data (bytes, bytearray or memoryview); arrays come as lists.

    Raises DecodeError for anything but one item in exactly the form encode() gives it.
    """
    if len(data) > SIZE_MAX:
        raise DecodeError("cbor_size", len(data))
    data = bytes(data)
    # the outermost item is one, containers spend the rest
    value, position = _take(data, 0, 0, [ITEM_COUNT_MAX - 1])
    if position != len(data):
        raise DecodeError("cbor_trailing", len(data) - position)
    return value


def decode_sequence(data) -> list:
    """Return the values of items that follow each other; no bytes are an empty list (RFC 8742).

    Raises DecodeError as decode() does; together the items stay within the limits of one.
    """
    if len(data) > SIZE_MAX:
        raise DecodeError("cbor_size", len(data))
    data = bytes(data)
    budget = [ITEM_COUNT_MAX]
    items = []
    position = 0
    while position < len(data):
        _spend(budget, 1)
        value, position = _take(data, position, 0, budget)
        items.append(value)
    return items


def utf8_error_index(data: bytes) -> int:
    """Return the index of the first byte that breaks UTF-8, or -1.

    Written out because MicroPython's own check lets overlong forms and surrogates through.
    """
    size = len(data)
    index = 0
    while index < size:
        lead = data[index]
        if lead < 0x80:
            index += 1
            continue
        if 0xC2 <= lead < 0xE0:
            follow_count, low, high = 1, 0x80, 0xBF
        elif 0xE0 <= lead < 0xF0:
            # E0 would be overlong below A0; ED reaches the surrogates above 9F
            follow_count = 2
            low = 0xA0 if lead == 0xE0 else 0x80
            high = 0x9F if lead == 0xED else 0xBF
        elif 0xF0 <= lead < 0xF5:
            # F0 would be overlong below 90; F4 leaves Unicode above 8F
            follow_count = 3
            low = 0x90 if lead == 0xF0 else 0x80
            high = 0x8F if lead == 0xF4 else 0xBF
        else:
            return index
        for offset in range(1, follow_count + 1):
            if index + offset >= size or not low <= data[index + offset] <= high:
                return index
            low, high = 0x80, 0xBF
        index += follow_count + 1
    return -1


def _head(out: bytearray, major: int, argument: int):
    """Append the shortest head; major is already shifted into the top three bits."""
    if argument < 24:
        out.append(major | argument)
    elif argument < 0x100:
        out.append(major | 24)
        out.append(argument)
    elif argument < 0x10000:
        out.append(major | 25)
        out.append(argument >> 8)
        out.append(argument & 0xFF)
    elif argument < 0x100000000:
        out.append(major | 26)
        out.extend(argument.to_bytes(4, "big"))
    else:
        out.append(major | 27)
        out.extend(argument.to_bytes(8, "big"))


def _put(out: bytearray, value, depth: int, budget: list):
    budget[0] -= 1
    if budget[0] < 0:
        raise RangeError("cbor_items")
    if value is None:
        out.append(0xF6)
    elif value is True:
        out.append(0xF5)
    elif value is False:
        out.append(0xF4)
    elif isinstance(value, int):
        if value >= 0:
            if value > _UINT_MAX:
                raise RangeError("cbor_int", value)
            _head(out, 0x00, value)
        else:
            if value < _INT_MIN:
                raise RangeError("cbor_int", value)
            _head(out, 0x20, -1 - value)
    elif isinstance(value, (bytes, bytearray, memoryview)):
        _head(out, 0x40, len(value))
        out.extend(value)
    elif isinstance(value, str):
        _put_text(out, value)
    else:
        if depth >= DEPTH_MAX:
            raise RangeError("cbor_depth", depth)
        if isinstance(value, (list, tuple)):
            _head(out, 0x80, len(value))
            for item in value:
                _put(out, item, depth + 1, budget)
        elif isinstance(value, dict):
            _put_map(out, value, depth, budget)
        elif isinstance(value, Tagged):
            if not 0 <= value.tag <= _UINT_MAX:
                raise RangeError("cbor_tag", value.tag)
            _head(out, 0xC0, value.tag)
            _put(out, value.value, depth + 1, budget)
        else:
            raise RangeError("cbor_type", value)


def _put_text(out: bytearray, value: str):
    try:
        data = value.encode()
    except UnicodeError:
        # CPython refuses a lone surrogate here, MicroPython lets it through to the check below
        raise RangeError("cbor_text", value)
    if utf8_error_index(data) >= 0:
        raise RangeError("cbor_text", value)
    _head(out, 0x60, len(data))
    out.extend(data)


def _put_map(out: bytearray, value: dict, depth: int, budget: list):
    entries = []
    for key in value:
        if key is True or key is False or not isinstance(key, (int, str)):
            raise RangeError("cbor_key", key)
        encoded = bytearray()
        _put(encoded, key, depth + 1, budget)
        entries.append((bytes(encoded), key))
    entries.sort(key=lambda entry: entry[0])
    _head(out, 0xA0, len(entries))
    for encoded, key in entries:
        out.extend(encoded)
        _put(out, value[key], depth + 1, budget)


def _argument(data: bytes, position: int, info: int):
    """Return (argument, next position) of a head whose low bits are info, 24 or more."""
    if info > 27:
        # 28..30 are reserved, 31 is an indefinite length: neither is deterministic
        raise DecodeError("cbor_head", info)
    size = 1 << (info - 24)
    end = position + 1 + size
    if end > len(data):
        raise DecodeError("cbor_truncated", position)
    argument = int.from_bytes(data[position + 1 : end], "big")
    # the shortest head that holds the number is the only one allowed
    if argument < 24 or (size > 1 and argument >> (size * 4) == 0):
        raise DecodeError("cbor_not_minimal", position)
    return argument, end


def _take(data: bytes, position: int, depth: int, budget: list):
    """Return (value, next position) of the item at position."""
    if position >= len(data):
        raise DecodeError("cbor_truncated", position)
    head = data[position]
    major = head >> 5
    if major == 7:
        if 0xF4 <= head <= 0xF6:
            return (False, True, None)[head - 0xF4], position + 1
        # floats, undefined and every other simple value
        raise DecodeError("cbor_simple", head)
    argument = head & 31
    if argument < 24:
        position += 1
    else:
        argument, position = _argument(data, position, argument)
    if major == 0:
        return argument, position
    if major == 1:
        if argument >> 63:
            raise DecodeError("cbor_int", argument)
        return -1 - argument, position
    if major < 4:
        end = position + argument
        if end > len(data):
            raise DecodeError("cbor_truncated", position)
        chunk = data[position:end]
        if major == 2:
            return chunk, end
        if utf8_error_index(chunk) >= 0:
            raise DecodeError("cbor_utf8", position)
        return str(chunk, "utf-8"), end
    if depth >= DEPTH_MAX:
        raise DecodeError("cbor_depth", position)
    if major == 6:
        _spend(budget, 1)
        value, position = _take(data, position, depth + 1, budget)
        return Tagged(argument, value), position
    if major == 4:
        _spend(budget, argument)
        items = []
        for _ in range(argument):
            value, position = _take(data, position, depth + 1, budget)
            items.append(value)
        return items, position
    return _take_map(data, position, argument, depth, budget)


def _spend(budget: list, count: int):
    """Take count items off the budget before they are read, so a lying head costs nothing."""
    budget[0] -= count
    if budget[0] < 0:
        raise DecodeError("cbor_items", count)


def _take_map(data: bytes, position: int, count: int, depth: int, budget: list):
    _spend(budget, count + count)
    out = {}
    previous = b""
    for _ in range(count):
        start = position
        key, position = _take(data, start, depth + 1, budget)
        if key is True or key is False or not isinstance(key, (int, str)):
            raise DecodeError("cbor_key", start)
        encoded = data[start:position]
        # strictly rising order also rules out a key given twice
        if encoded <= previous:
            raise DecodeError("cbor_key_order", start)
        previous = encoded
        out[key], position = _take(data, position, depth + 1, budget)
    return out, position
