"""Check the element's end of the line: WHO, sessions, replays, garbage, and who may say what."""

from fakes import WRAP, FakeHAL
from panel import Host

from element.link.host_port import WHO_PERIOD_MS_MIN, HostPort
from element.protocol import cbor, schema
from element.protocol.framing import encode_frame

KEY = b"k" * 32
SETPOINT = {"dispatch_id": 1, "sequence": 1, "power_mw": 1000, "service": 1,
            "start_unix_ms": 0, "lease_ms": 1000}


class Identity:
    """What the port asks of enrolment."""

    def __init__(self, enrolled=True):
        self.enrolled = enrolled
        self.element_id = b"element1"
        self.session_key = KEY


class Bench:
    """A port with a handler for every session and link kind that notes what reaches it."""

    def __init__(self, enrolled=True, now_ms=1000):
        self.hal = FakeHAL(now_ms)
        self.port = HostPort(self.hal, self.hal.link_uart, Identity(enrolled))
        self.host = Host(self.hal.link_uart)
        self.taken = []
        for kind in schema.MESSAGE_KINDS:
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

    def session(self):
        self.host.open_session(self.here(), KEY)
        self.host.send(schema.STATEMENT_ACK, {"counter": 0})
        self.receive()
        assert self.port.has_session
        self.taken = []
        return self


def test_who_is_answered_with_a_fresh_nonce():
    bench = Bench()
    first, second = bench.here(), bench.here()
    assert first["element_id"] == b"element1" and first["enrolled"] is True
    assert first["host_nonce"] == bench.host.nonce
    assert first["element_nonce"] != second["element_nonce"]
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


def test_an_authenticated_message_opens_the_session():
    bench = Bench()
    bench.host.open_session(bench.here(), KEY)
    assert not bench.port.has_session
    bench.host.send(schema.SETPOINT, SETPOINT)
    bench.receive()
    assert bench.port.has_session and bench.port.session_count == 1
    assert bench.taken == [(schema.SETPOINT, SETPOINT)]
    assert bench.port.send(schema.STATEMENT_ACK, {"counter": 1})
    assert bench.host.received() == [(schema.STATEMENT_ACK, {"counter": 1})]


def test_a_wrong_key_opens_nothing():
    bench = Bench()
    bench.host.open_session(bench.here(), b"x" * 32)
    bench.host.send(schema.SETPOINT, SETPOINT)
    bench.receive()
    assert not bench.port.has_session and bench.taken == []
    assert bench.port.dropped_count == 1


def test_an_unenrolled_element_has_no_sessions():
    bench = Bench(False)
    bench.host.open_session(bench.here(), KEY)
    bench.host.send(schema.SETPOINT, SETPOINT)
    bench.receive()
    assert not bench.port.has_session and bench.taken == []


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
    bench.host.open_session(bench.here(b"m" * 16), KEY)
    bench.host.send(schema.SETPOINT, SETPOINT)
    bench.receive()
    assert bench.port.session_count == 2 and len(bench.taken) == 1
    bench.host.session = old
    bench.host.send(schema.SETPOINT, SETPOINT)
    bench.receive()
    assert len(bench.taken) == 1 and bench.port.dropped_count == 1


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


def test_messages_out_of_order_are_dropped():
    bench = Bench().session()
    first = bench.host.frame(schema.SETPOINT, SETPOINT)
    second = bench.host.frame(schema.TRIP, {"cause": 1, "zone": 0})
    bench.hal.link_uart.put(second + first)
    bench.port.receive()
    assert [kind for kind, _ in bench.taken] == [schema.TRIP]


def test_what_moves_energy_never_comes_in_the_clear():
    for session in (False, True):
        bench = Bench().session() if session else Bench()
        for kind in schema.SESSION_KINDS:
            fields = {}
            for name, field_type, low, high in schema.table_of(kind):
                fields[name] = {schema.BYTES: bytes(max(low, 1)), schema.BOOL: True,
                                schema.TEXT: "t", schema.INTS: []}.get(field_type, high)
            bench.host.plain(kind, fields)
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
    wrong = (b"\xd1", b"\xd1\x84", b"\x80", b"\x82\x18\x11", b"\xff", b"\x00", b"\xa0", b"\x9f",
             b"\x81\x11", cbor.encode([schema.SETPOINT, 1]), cbor.encode([True]),
             cbor.encode([9999]), cbor.encode([[1]]), cbor.encode({}), bytes(2400),
             cbor.encode(cbor.Tagged(17, [b"", {}, b"", bytes(32)])),
             cbor.encode(cbor.Tagged(18, [b"", {}, b"", bytes(64)])),
             cbor.encode(cbor.Tagged(17, 5)))
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
