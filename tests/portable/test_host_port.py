"""Check the element's end of the line: WHO, sessions, replays, garbage, and who may say what."""

from fakes import WRAP, FakeHAL
from panel import (
    ISSUER,
    LIFE_SAFETY,
    NOW_MS,
    NOW_S,
    OPERATOR,
    PARTY,
    Host,
    pin_of,
    sealed_pair,
)

from element.clock import Clock
from element.crypto.worker import Worker
from element.link.host_port import SKEW_S, WHO_PERIOD_MS_MIN, HostPort
from element.protocol import cbor, codes, rare, schema
from element.protocol.errors import SignatureError
from element.protocol.framing import encode_frame

SETPOINT = {"dispatch_id": 1, "sequence": 1, "power_mw": 1000, "service": 1,
            "start_unix_ms": 0, "lease_ms": 1000}


def fields_of(kind):
    """Return fields that a kind allows."""
    fields = {}
    for name, field_type, low, high in schema.table_of(kind):
        fields[name] = {schema.BYTES: bytes(max(low, 1)), schema.BOOL: True,
                        schema.TEXT: "t", schema.INTS: []}.get(field_type, high)
    return fields


class Identity:
    """What the port asks of enrolment."""

    def __init__(self, enrolled=True):
        self.enrolled = enrolled
        self.element_id = b"element1"
        self.pins = [pin_of(ISSUER, 3), pin_of(OPERATOR, 1), pin_of(LIFE_SAFETY, 2)]
        self.issued_unix_s = NOW_S
        self.floor_unix_s = NOW_S
        self.revocation_number = 7
        self.revoked = b""


class Bench:
    """A port with a handler for every session and link kind that notes what reaches it."""

    def __init__(self, enrolled=True, now_ms=1000):
        self.hal = FakeHAL(now_ms)
        self.clock = Clock(self.hal)
        self.lines = []
        self.enrolment = Identity(enrolled)
        self.port = HostPort(self.hal, self.hal.link_uart, self.enrolment, Worker(self.hal),
                             self.clock, self.lines.append)
        self.host = Host(self.hal.link_uart)
        self.taken = []
        for kind in rare.MESSAGE_KINDS:
            if kind != schema.WHO:
                self.port.handlers[kind] = self._handler(kind)

    def _handler(self, kind):
        return lambda fields: self.taken.append((kind, fields))

    def receive(self):
        self.port.receive()
        return self.host.received()

    def here(self, nonce=None):
        """Ask WHO late enough and return the answer."""
        self.hal.now_ms += WHO_PERIOD_MS_MIN
        self.host.who(nonce)
        answers = self.receive()
        assert [kind for kind, _ in answers] == [schema.HERE]
        return answers[0][1]

    def session(self, party=codes.PARTY_AGGREGATOR, **options):
        """Open a session, as a handshake would."""
        self.host.open_session(self.port, self.enrolment.element_id, party, **options)
        return self


def test_who_is_answered_with_what_is_known():
    bench = Bench()
    here = bench.here()
    assert here == {
        "element_id": b"element1", "host_nonce": bench.host.nonce, "enrolled": True,
        "credential_unix_s": NOW_S, "issuer_number": 3, "operator_number": 1,
        "life_safety_number": 2, "revocation_number": 7}
    assert Bench(False).here()["enrolled"] is False


def test_who_is_limited_in_rate():
    for begin in (1000, WRAP - 100):
        bench = Bench(now_ms=begin)
        answers = 0
        for _ in range(1000):
            bench.host.who()
            answers += len(bench.receive())
            bench.hal.now_ms += 10
        assert 45 <= answers <= 10_000 // WHO_PERIOD_MS_MIN + 1
        assert bench.port.dropped_count == 1000 - answers


def test_nothing_is_sent_before_a_session():
    bench = Bench()
    assert not bench.port.send(schema.STATEMENT_ACK, {"counter": 1})
    bench.here()
    assert not bench.port.has_session
    assert not bench.port.send(schema.STATEMENT_ACK, {"counter": 1})
    assert bench.hal.link_uart.sent == []


def test_a_session_carries_messages_both_ways():
    bench = Bench().session()
    assert bench.port.has_session and bench.port.session_count == 1
    bench.host.send(schema.SETPOINT, SETPOINT)
    bench.receive()
    assert bench.taken == [(schema.SETPOINT, SETPOINT)]
    assert bench.port.send(schema.STATEMENT_ACK, {"counter": 1})
    assert bench.host.received() == [(schema.STATEMENT_ACK, {"counter": 1})]


def test_a_wrong_key_opens_nothing():
    bench = Bench()
    bench.host.session = sealed_pair(b"element1", b"x" * 32)[0]
    for _ in range(2):
        bench.host.send(schema.SETPOINT, SETPOINT)
        bench.receive()
        assert bench.taken == []
        bench.session()
        bench.host.session = sealed_pair(b"element1", b"x" * 32, b"\x00\x01")[0]
    assert bench.port.dropped_count == 2


def test_an_unenrolled_element_begins_no_handshake():
    for kind in (schema.EDHOC_1, schema.TRUST):
        bench = Bench(False)
        del bench.port.handlers[kind]
        plain = HostPort(bench.hal, bench.hal.link_uart, bench.enrolment, Worker(bench.hal),
                         bench.clock, bench.lines.append)
        name = schema.table_of(kind)[0][0]
        bench.host.plain(kind, {name: b"\x03\x02"})
        plain.receive()
        assert plain.dropped_count == 1 and bench.host.received() == []


def test_a_strangers_who_does_not_end_a_session():
    bench = Bench().session()
    for index in range(5):
        bench.here(b"%016d" % index)
        assert bench.port.has_session
        bench.host.send(schema.SETPOINT, SETPOINT)
        bench.receive()
    assert len(bench.taken) == 5 and bench.port.session_count == 1


def test_a_new_session_ends_the_old_one():
    bench = Bench().session()
    old = bench.host.session
    bench.session()
    bench.host.send(schema.SETPOINT, SETPOINT)
    bench.receive()
    assert bench.port.session_count == 2 and len(bench.taken) == 1
    bench.host.session = old
    bench.host.send(schema.SETPOINT, SETPOINT)
    bench.receive()
    assert len(bench.taken) == 1 and bench.port.dropped_count == 1


def test_only_an_aggregator_dispatches_and_anyone_may_trip():
    for party in (codes.PARTY_ALARM, codes.PARTY_METER):
        bench = Bench().session().session(party)
        assert bench.port.has_session and bench.port.session_count == 1
        for kind in schema.SESSION_KINDS:
            if kind != schema.REKEY:
                bench.host.send(kind, fields_of(kind))
        bench.receive()
        assert [kind for kind, _ in bench.taken] == [schema.TRIP, schema.RELEASE]
    alone = Bench().session(codes.PARTY_ALARM)
    assert not alone.port.has_session and not alone.port.send(schema.STATEMENT_ACK, {"counter": 1})


def test_what_is_told_reaches_every_party():
    bench = Bench().session()
    panel = bench.host.session
    bench.session(codes.PARTY_ALARM)
    assert bench.port.tell(schema.STATEMENT_ACK, {"counter": 1})
    alarm = bench.host.session
    texts = []
    for payload in bench.host.decoder.feed(b"".join(bench.hal.link_uart.sent)):
        for session in (panel, alarm):
            try:
                texts.append(session.unprotect(payload))
            except SignatureError:
                pass
    assert len(texts) == 2 and texts[0] == texts[1]


def test_a_party_whose_time_is_over_is_shown_out():
    for valid_s, why in (((NOW_S - 100, NOW_S + 10), "expired"),
                         ((NOW_S + 1000, NOW_S + 2000), "not yet valid")):
        bench = Bench().session(valid_s=valid_s)
        bench.port.check()
        assert bench.port.has_session  # no clock, no judgement
        bench.clock.set(NOW_MS)
        bench.port.check()
        assert bench.port.has_session is (why == "expired")
        bench.clock.set(NOW_MS + 1000 * (10 + SKEW_S))
        bench.port.check()
        assert bench.port.has_session is (why == "expired")
        bench.clock.set(NOW_MS + 1000 * (11 + SKEW_S))
        bench.port.check()
        assert not bench.port.has_session and why in bench.lines[-1]


def test_a_revoked_party_is_shown_out():
    entry = PARTY.key_id + (NOW_S + 500).to_bytes(4, "big") + b"\x01"
    bench = Bench().session()
    bench.enrolment.revoked = b"\x00" * 13 + entry
    bench.clock.set(NOW_MS)
    bench.port.check()
    assert bench.port.has_session
    bench.clock.set(NOW_MS + 1000 * (500 - SKEW_S))
    bench.port.check()
    assert not bench.port.has_session and "revoked" in bench.lines[-1]
    # without a clock the newest time that a root has signed decides
    late = Bench().session()
    late.enrolment.revoked = entry
    late.port.check()
    assert late.port.has_session
    late.enrolment.floor_unix_s = NOW_S + 500
    late.port.check()
    assert not late.port.has_session


def test_keys_are_changed_in_a_session():
    bench = Bench().session()
    for index in range(3):
        context = bytes((index,)) * 16
        old = bench.host.frame(schema.SETPOINT, SETPOINT)
        for _ in range(2):  # asked twice, changed once
            bench.host.send(schema.REKEY, {"context": context})
        bench.host.session.update(context)
        bench.receive()
        assert bench.port.send(schema.STATEMENT_ACK, {"counter": 1})
        assert len(bench.host.received()) == 1 and bench.host.session.generation == index + 1
        bench.host.send(schema.SETPOINT, SETPOINT)
        bench.hal.link_uart.put(old)  # it was on its way
        bench.receive()
        assert len(bench.taken) == 2 * index + 2
    assert bench.port.dropped_count == 0


def test_keys_are_changed_as_often_as_there_are_numbers_for_it():
    bench = Bench().session()
    for index in range(260):
        context = index.to_bytes(16, "big")
        bench.host.send(schema.REKEY, {"context": context})
        if index < 255:
            bench.host.session.update(context)
        bench.receive()
        assert bench.port.send(schema.STATEMENT_ACK, {"counter": 1})
        assert len(bench.host.received()) == 1
    assert bench.port.peers[0].session.generation == 255
    bench.host.send(schema.SETPOINT, SETPOINT)
    bench.receive()
    assert len(bench.taken) == 1


def test_a_replay_is_dropped():
    bench = Bench().session()
    frame = bench.host.frame(schema.SETPOINT, SETPOINT)
    for _ in range(3):
        bench.hal.link_uart.put(frame)
        bench.port.receive()
    assert len(bench.taken) == 1 and bench.port.dropped_count == 2
    # neither does a WHO in between make it new again
    bench.here()
    bench.hal.link_uart.put(frame)
    bench.port.receive()
    assert len(bench.taken) == 1


def test_a_message_that_was_overtaken_still_counts():
    bench = Bench().session()
    first = bench.host.frame(schema.SETPOINT, SETPOINT)
    second = bench.host.frame(schema.TRIP, {"cause": 1, "zone": 0})
    bench.hal.link_uart.put(second + first)
    bench.port.receive()
    assert [kind for kind, _ in bench.taken] == [schema.TRIP, schema.SETPOINT]


def test_a_time_that_was_kept_back_is_dropped():
    bench = Bench().session()
    first = bench.host.frame(schema.TIME_SYNC, fields_of(schema.TIME_SYNC))
    second = bench.host.frame(schema.TRIP, {"cause": 1, "zone": 0})
    bench.hal.link_uart.put(second + first)
    bench.port.receive()
    assert [kind for kind, _ in bench.taken] == [schema.TRIP]


def test_what_moves_energy_never_comes_in_the_clear():
    for session in (False, True):
        bench = Bench().session() if session else Bench()
        for kind in schema.SESSION_KINDS:
            bench.host.plain(kind, fields_of(kind))
        bench.port.receive()
        assert bench.taken == []
        assert bench.port.dropped_count == len(schema.SESSION_KINDS)


def test_a_link_message_inside_a_session_is_dropped():
    bench = Bench().session()
    bench.host.send(schema.ENROL_OFFER, {"challenge": bytes(16)})
    bench.receive()
    assert bench.taken == [] and bench.port.dropped_count == 1


def test_enrolment_messages_come_in_the_clear():
    bench = Bench(False)
    bench.host.plain(schema.ENROL_OFFER, {"challenge": bytes(16)})
    bench.port.receive()
    assert [kind for kind, _ in bench.taken] == [schema.ENROL_OFFER]


def test_garbage_is_counted_and_the_line_goes_on():
    bench = Bench().session()
    seed = 1
    for size in (0, 1, 2, 5, 30, 300, 5000):
        data = bytearray(size)
        for index in range(size):
            seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
            data[index] = seed >> 16 & 255
        bench.hal.link_uart.put(bytes(data) + b"\x00")
        bench.port.receive()
    # frames whose CRC is right and whose content is not
    wrong = (b"\xd0", b"\xd0\x83", b"\xd1\x84",
             b"\x80", b"\x82\x18\x11", b"\xff", b"\x00", b"\xa0", b"\x9f",
             b"\x81\x11", cbor.encode([schema.SETPOINT, 1]), cbor.encode([True]),
             cbor.encode([9999]), cbor.encode([[1]]), cbor.encode({}), bytes(2400),
             cbor.encode(cbor.Tagged(17, [b"", {}, b"", bytes(32)])),
             cbor.encode(cbor.Tagged(18, [b"", {}, b"", bytes(64)])),
             cbor.encode(cbor.Tagged(16, 5)), cbor.encode(cbor.Tagged(16, [b"", {}, bytes(8)])))
    before = bench.port.dropped_count
    for payload in wrong:
        bench.hal.link_uart.put(encode_frame(payload))
        bench.port.receive()
    assert bench.port.dropped_count == before + len(wrong)
    assert bench.taken == []
    bench.host.send(schema.SETPOINT, SETPOINT)
    bench.port.receive()
    assert len(bench.taken) == 1


def test_a_damaged_frame_of_a_session_changes_nothing():
    bench = Bench().session()
    frame = bench.host.frame(schema.SETPOINT, SETPOINT)
    for position in range(0, len(frame) - 1, 3):
        damaged = bytearray(frame)
        damaged[position] ^= 0x41
        bench.hal.link_uart.put(bytes(damaged) + b"\x00")
        bench.port.receive()
    assert bench.taken == []
    bench.hal.link_uart.put(frame)
    bench.port.receive()
    assert len(bench.taken) == 1


def test_a_kind_without_a_handler_is_dropped():
    bench = Bench().session()
    del bench.port.handlers[schema.TELEMETRY]
    del bench.port.handlers[schema.ACK]
    bench.host.send(schema.ACK, {"sequence": 1, "accepted": True, "reason": 0, "limit": None})
    bench.receive()
    assert bench.taken == [] and bench.port.dropped_count == 1
