"""Check every table of the contract: both ends of each range through CBOR, one past refused."""

from element.protocol import cbor, rare, schema
from element.protocol.errors import DecodeError, RangeError

KINDS = rare.STATEMENT_KINDS + rare.MESSAGE_KINDS


def row_of(row):
    """Return (name, type, low, high) of a row of either kind of table."""
    return row[-4:]


def value_at(field_type, low, high, end):
    """Return the field's value at one end of its range: end 0 is low, 1 is high."""
    bound = high if end else low
    if field_type in (schema.INT, schema.INT_OR_NONE):
        return bound
    if field_type == schema.BYTES:
        return bytes(bound)
    if field_type == schema.TEXT:
        return "t" * bound
    if field_type == schema.BOOL:
        return bool(end)
    if field_type == schema.INTS:
        return [bound] * (schema.INTS_MAX if end else 0)
    return {row_of(row)[0]: value_at(*row_of(row)[1:], end) for row in low}


def outside(field_type, low, high):
    """Return values that the field must refuse: one past each end, and other types."""
    if field_type == schema.MAP:
        return [None, {}, 1, b""]
    if field_type == schema.BOOL:
        return [0, 1, None, "true"]
    if field_type == schema.INTS:
        return [None, 1, b"", {}, [low - 1], [low, high + 1], [True], [None],
                [low] * (schema.INTS_MAX + 1)]
    if field_type in (schema.INT, schema.INT_OR_NONE):
        wrong = [low - 1, high + 1, True, False, b"\x01", "1", [1]]
        return wrong + ([None] if field_type == schema.INT else [])
    make = bytes if field_type == schema.BYTES else lambda size: "t" * size
    wrong = [make(high + 1), None, 5, [], "t" * low if make is bytes else b"t" * low]
    if low > 0:
        wrong.append(make(low - 1))
    return wrong


def fields_of(kind, end):
    return {row_of(row)[0]: value_at(*row_of(row)[1:], end) for row in schema.table_of(kind)}


def to_wire(kind, fields):
    if kind in rare.STATEMENT_KINDS:
        return schema.statement_to_wire(schema.table_of(kind), fields)
    return schema.message_to_wire(kind, fields)


def from_wire(kind, wire):
    if kind in rare.STATEMENT_KINDS:
        return schema.statement_from_wire(schema.table_of(kind), wire)
    got, fields = schema.message_from_wire(wire)
    assert got == kind
    return fields


def refused(error, function, *args):
    try:
        function(*args)
    except error:
        return True
    return False


def test_the_kinds_are_those_of_the_design():
    assert len(rare.STATEMENT_KINDS) == 8 and len(rare.MESSAGE_KINDS) == 25
    assert set(schema.STATEMENT_TYP) == set(rare.STATEMENT_KINDS)
    assert len(set(schema.STATEMENT_TYP.values())) == 8
    assert set(schema.SESSION_KINDS) | set(schema.LINK_KINDS) == set(rare.MESSAGE_KINDS)
    assert not set(schema.SESSION_KINDS) & set(schema.LINK_KINDS)
    # what moves energy or trips is never a link message
    for kind in (schema.SETPOINT, schema.TRIP, schema.RELEASE, schema.TIME_SYNC):
        assert kind in schema.SESSION_KINDS


def test_every_kind_round_trips_at_both_ends_of_every_range():
    for kind in KINDS:
        for end in (0, 1):
            fields = fields_of(kind, end)
            data = cbor.encode(to_wire(kind, fields))
            assert from_wire(kind, cbor.decode(data)) == fields, (kind, end)


def test_every_field_refuses_one_past_its_range_both_ways():
    count = 0
    for kind in KINDS:
        good = fields_of(kind, 1)
        for index, row in enumerate(schema.table_of(kind)):
            name, field_type, low, high = row_of(row)
            for wrong in outside(field_type, low, high):
                fields = dict(good)
                fields[name] = wrong
                assert refused((RangeError, DecodeError, TypeError), to_wire, kind, fields) \
                    or field_type == schema.MAP, (kind, name, wrong)
                wire = to_wire(kind, good)
                wire[row[0] if kind in rare.STATEMENT_KINDS else index + 1] = wrong
                assert refused(DecodeError, from_wire, kind, wire), (kind, name, wrong)
                count += 1
    assert count > 500


def test_none_is_a_value_where_the_table_says_so_and_nowhere_else():
    for kind in KINDS:
        for row in schema.table_of(kind):
            name, field_type, _, _ = row_of(row)
            fields = fields_of(kind, 1)
            fields[name] = None
            if field_type == schema.INT_OR_NONE:
                data = cbor.encode(to_wire(kind, fields))
                assert from_wire(kind, cbor.decode(data)) == fields
            elif field_type != schema.MAP:
                assert refused(RangeError, to_wire, kind, fields), (kind, name)


def test_a_missing_an_unknown_and_a_doubled_field_are_refused():
    for kind in KINDS:
        for row in schema.table_of(kind):
            fields = fields_of(kind, 0)
            del fields[row_of(row)[0]]
            assert refused(RangeError, to_wire, kind, fields)
            fields["unknown"] = 1
            assert refused(RangeError, to_wire, kind, fields)
        wire = to_wire(kind, fields_of(kind, 0))
        if isinstance(wire, dict):
            for key in list(wire):
                less = dict(wire)
                del less[key]
                assert refused(DecodeError, from_wire, kind, less)
                less[99] = 0
                assert refused(DecodeError, from_wire, kind, less)
        else:
            assert refused(DecodeError, from_wire, kind, wire[:-1])
            assert refused(DecodeError, from_wire, kind, wire + [0])


def test_what_is_no_message_is_refused():
    for wire in (None, 1, "x", b"", {}, {16: 1}, [], [0], [1], [None], [True], ["17"], [[17]],
                 [b"\x11"], [9999, 1], [-1], [schema.WHO], [schema.CREDENTIAL]):
        assert refused(DecodeError, schema.message_from_wire, wire), wire
    for kind in (0, 9, 15, 29, 44, -1):
        assert refused(DecodeError, schema.table_of, kind)
        assert refused(RangeError, schema.message_to_wire, kind, {})


def test_text_counts_bytes_and_refuses_what_utf8_cannot_say():
    fields = fields_of(schema.ENROL_RESULT, 0)
    fields["code"] = "\u00e9" * 16
    assert to_wire(schema.ENROL_RESULT, fields)[2] == "\u00e9" * 16
    fields["code"] = "\u00e9" * 17
    assert refused(RangeError, to_wire, schema.ENROL_RESULT, fields)


def test_keys_go_in_and_out_of_their_cose_form():
    raw = bytes(range(64))
    fields = schema.cose_key(raw)
    wire = schema.statement_to_wire(rare.COSE_KEY, fields)
    assert wire == {1: 2, -1: 1, -2: raw[:32], -3: raw[32:]}
    assert schema.raw_key(schema.statement_from_wire(rare.COSE_KEY, wire)) == raw
