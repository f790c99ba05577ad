"""Check the building bus at the element's end: frames byte by byte, turns, slots, queues."""

from fakes import FakeHAL, FakeUART

from element.link import bus_line
from element.link.bus_line import AGE_MS_MAX, LOST_MS, QUEUE_SIZE_MAX, BusLine
from element.protocol import bus
from element.protocol.errors import DecodeError, RangeError
from element.protocol.framing import FrameDecoder
from element.protocol.wire import Wire

ID = b"element1"
OTHER = b"element2"


class HAL(FakeHAL):
    """A board that says nothing."""

    def log(self, line):
        pass


class Pair:
    """An element on a pair; the test is the master and everybody else."""

    def __init__(self, baud=115200, now_ms=1000):
        self.hal = HAL(now_ms)
        self.uart = FakeUART(self.hal)
        self.line = BusLine(self.hal, self.uart, baud)
        self.line.begin(ID)

    def hear(self, payload):
        """Bring one frame to the element."""
        self.uart.put(bus.frame(payload))
        return self.line.look()

    def said(self, after_ms=1000):
        """Return the messages that it says within after_ms, and when."""
        out = []
        for _ in range(after_ms):
            self.line.look()
            for data in self.uart.sent:
                assert data[0] == 0
                for payload in FrameDecoder(bus.PAYLOAD_SIZE_MAX).feed(data):
                    out.append((self.hal.now_ms, bus.decode(payload)))
            self.uart.sent = []
            self.hal.now_ms += 1
        return out

    def assign(self, address=7, generation=5):
        self.hear(bus.assign(generation, [(1, OTHER), (address, ID)]))
        assert self.line.address == address and self.line.is_up

    def poll(self, bits=0, budget=400, stream=b"", address=7, generation=5, after_ms=8):
        """Poll and return (bits, waiting, stream) of the answer, None without one."""
        self.hear(bus.poll(generation, address, bits, budget, stream))
        said = self.said(after_ms)
        assert len(said) <= 1
        return said[0][1][3:] if said else None


def refused(call, *arguments):
    try:
        call(*arguments)
    except RangeError:
        return True
    return False


MESSAGES = (
    (bus.discover(3, 0x1234, 16, 7), (bus.DISCOVER, 3, 0x1234, 16, 7)),
    (bus.hello(0x1234, ID), (bus.HELLO, 0x1234, ID)),
    (bus.assign(3, [(1, ID), (64, OTHER)]), (bus.ASSIGN, 3, [(1, ID), (64, OTHER)])),
    (bus.poll(3, 64, 7, 1020, b"down\x00"), (bus.POLL, 3, 64, 7, 1020, b"down\x00")),
    (bus.poll(3, 1, 0, 0), (bus.POLL, 3, 1, 0, 0, b"")),
    (bus.answer(3, 1, 3, 5, b"up"), (bus.ANSWER, 3, 1, 3, 8, b"up")),
    (bus.forget(3, 9), (bus.FORGET, 3, 9)),
    (bus.quiet(ID, 30), (bus.QUIET, ID, 30)),
)


def test_every_message_is_read_as_it_was_written():
    for payload, message in MESSAGES:
        assert bus.decode(payload) == message
        assert 0xE0 <= payload[0] <= 0xEF


def test_the_bytes_of_a_poll():
    assert bus.poll(0x21, 7, bus.SEQUENCE, 400, b"hi") == b"\xe3\x21\x07\x01\x64hi"
    frame = bus.frame(b"\xe3\x21\x07\x01\x64hi")
    assert frame[0] == 0 and frame[-1] == 0 and len(frame) == bus.OVERHEAD + 2
    assert len(bus.frame(bus.hello(1, ID))) <= bus.HELLO_SIZE + 1


def test_what_is_cut_off_or_goes_on_is_refused():
    for payload, message in MESSAGES:
        for size in range(len(payload)):
            try:
                shorter = bus.decode(payload[:size])
            except DecodeError:
                continue
            # a stream of any size is one, and so are fewer pairs
            assert message[0] in (bus.POLL, bus.ANSWER, bus.ASSIGN) and shorter != message
        if message[0] not in (bus.POLL, bus.ANSWER):
            try:
                bus.decode(payload + b"\x01")
                assert False, payload
            except DecodeError:
                pass


def test_what_is_out_of_range_is_refused_by_both_ends():
    for payload in (b"", b"\xdf\x01", b"\xe7\x01\x02", b"\xe3\x01\x00\x00\x00",
                    b"\xe3\x01\x41\x00\x00", b"\xe4\x01\x01\x08\x00", b"\xe5\x01\x00",
                    b"\xe5\x01\x41", b"\xe0\x01\x00\x00\x00\x05", b"\xe0\x01\x00\x00\x81\x05",
                    b"\xe0\x01\x00\x00\x05\x00", b"\xe6" + ID + b"\x00", b"\xe2\x01",
                    b"\xe2\x01\x00" + ID, b"\xe2\x01" + (b"\x01" + ID) * 17,
                    b"\xe3\x01\x01\x00\x00" + bytes(bus.STREAM_SIZE_MAX + 1)):
        try:
            bus.decode(payload)
            assert False, payload
        except DecodeError:
            pass
    for call, arguments in (
            (bus.poll, (256, 1, 0, 0)), (bus.poll, (0, 0, 0, 0)), (bus.poll, (0, 65, 0, 0)),
            (bus.poll, (0, 1, 8, 0)), (bus.poll, (0, 1, 0, 0, bytes(513))),
            (bus.hello, (65536, ID)), (bus.hello, (0, b"short")), (bus.assign, (0, [])),
            (bus.assign, (0, [(65, ID)])), (bus.assign, (0, [(1, ID)] * 17)),
            (bus.discover, (0, 0, 0, 1)), (bus.discover, (0, 0, 129, 1)),
            (bus.discover, (0, 0, 1, 256)), (bus.forget, (0, 0)), (bus.quiet, (ID, 0)),
            (bus.quiet, (ID, 256))):
        assert refused(call, *arguments), arguments


def test_a_frame_of_the_bus_is_no_text_on_a_cable():
    for payload, _ in MESSAGES:
        wire = Wire()
        frames = wire.feed(bus.frame(payload))
        assert FrameDecoder(bus.PAYLOAD_SIZE_MAX).feed(frames) == [payload]
        assert not wire.text


def test_times_of_the_line():
    assert [bus.turn_ms(baud) for baud in (9600, 19200, 57600, 115200)] == [5, 3, 1, 1]
    assert bus.send_ms(96, 9600) == 100 and bus.send_ms(1, 460800) == 1
    assert [bus.stream_size(baud) for baud in (9600, 115200, 460800)] == [64, 460, 512]


def test_it_says_hello_once_and_in_its_slot():
    slots = set()
    for nonce in range(40):
        pair = Pair()
        began = pair.hal.now_ms
        pair.hear(bus.discover(5, nonce, 4, 10))
        said = pair.said()
        assert [message for _, message in said] == [(bus.HELLO, nonce, ID)]
        late_ms = said[0][0] - began - bus.turn_ms(115200)
        assert late_ms % 10 == 0 and 0 <= late_ms < 40
        slots.add(late_ms // 10)
    assert slots == {0, 1, 2, 3}


def test_two_that_have_met_in_a_slot_part_in_another_round():
    """A CRC would keep the difference of two ids in every round."""
    for first in range(8):
        met = 0
        for nonce in range(64):
            at = []
            for element_id in (ID, bytes((first,)) + ID[1:]):
                pair = Pair()
                pair.line.begin(element_id)
                pair.hear(bus.discover(5, nonce, 8, 2))
                at.append(pair.said(40)[0][0])
            met += at[0] == at[1]
        assert met < 30


def test_it_is_silent_until_it_is_asked():
    pair = Pair()
    pair.line.write(b"lost, for there is no address\x00")
    assert pair.said() == [] and pair.line.lost_count == 30
    pair.assign()
    pair.line.write(b"frame\x00")
    assert pair.said(2000) == []
    assert pair.poll(address=8) is None and pair.poll(bits=bus.PUSH) is None
    assert pair.poll() == (bus.SEQUENCE, 0, b"frame\x00")
    assert pair.said(2000) == []


def test_it_answers_after_the_turn_around_and_not_before():
    for baud in (9600, 115200):
        pair = Pair(baud)
        pair.assign()
        began = pair.hal.now_ms
        pair.hear(bus.poll(5, 7, 0, 100))
        assert pair.line.busy and pair.line.wait_ms(-1) == bus.turn_ms(baud)
        assert pair.line.wait_ms(1) == 1
        assert [at for at, _ in pair.said(20)] == [began + bus.turn_ms(baud)]
        assert not pair.line.busy and pair.line.wait_ms(77) == 77


def test_what_brings_something_is_answered_when_the_tasks_have_had_time():
    for write_ms, late_ms in ((None, 6), (0, 1), (2, 3), (7, 6)):
        pair = Pair()
        pair.assign()
        began = pair.hal.now_ms
        pair.hear(bus.poll(5, 7, bus.SEQUENCE, 100, b"setpoint\x00"))
        said = []
        for at in range(12):
            if at == write_ms:
                pair.line.write(b"ack\x00")
            said += pair.said(1)
        assert [one for one, _ in said] == [began + late_ms], write_ms
        assert said[0][1][5] == (b"ack\x00" if write_ms in (0, 2) else b"")


def test_a_turn_is_never_longer_than_its_budget():
    pair = Pair()
    pair.assign()
    for _ in range(40):
        pair.line.write(bytes(range(1, 101)))
    assert pair.line.lost_count == 0
    bits, waiting, stream = pair.poll(budget=40)
    assert len(stream) == 40 and waiting == 1020
    # not acknowledged: the same again, and nothing at all when the budget is smaller
    assert pair.poll(budget=20) == (bits, 1020, b"")
    assert pair.poll(budget=1000) == (bits, 1020, stream)
    for _ in range(30):
        ack = bus.ACK if bits & bus.SEQUENCE else 0
        bits, waiting, stream = pair.poll(bits=ack, budget=1020)
        assert len(stream) <= bus.STREAM_SIZE_MAX


def test_a_piece_comes_again_until_it_is_acknowledged_and_is_taken_once():
    pair = Pair()
    pair.assign()
    pair.line.write(b"one\x00")
    assert pair.poll() == (1, 0, b"one\x00")
    pair.line.write(b"two\x00")
    assert pair.poll() == (1, 4, b"one\x00")
    assert pair.poll(bits=bus.ACK) == (0, 0, b"two\x00")
    assert pair.poll(bits=0) == (0, 0, b"")
    # downwards the same: a second time the same number brings nothing
    for _ in range(3):
        assert pair.poll(bits=bus.SEQUENCE, stream=b"down\x00") == (bus.ACK, 0, b"")
    assert pair.line.read() == b"down\x00" and pair.line.read() == b""
    assert pair.poll(bits=0, stream=b"more\x00") == (0, 0, b"")
    assert pair.line.read() == b"more\x00"


def test_a_push_is_taken_and_acknowledged_with_the_next_turn():
    pair = Pair()
    pair.assign()
    assert pair.poll(bits=bus.SEQUENCE | bus.PUSH, stream=b"trip\x00") is None
    assert pair.line.read() == b"trip\x00"
    assert pair.poll(bits=bus.SEQUENCE, stream=b"trip\x00") == (bus.ACK, 0, b"")
    assert pair.line.read() == b""


def test_queues_are_bounded_and_what_is_old_is_dropped():
    pair = Pair()
    pair.assign()
    for _ in range(QUEUE_SIZE_MAX // 100 + 3):
        pair.line.write(bytes(100))
    assert pair.line.lost_count == 300
    pair = Pair()
    pair.assign()
    pair.line.write(b"a" * 50 + b"\x00")
    pair.line.write(b"b" * 50 + b"\x00")
    assert pair.poll(budget=20)[2] == b"a" * 20
    for _ in range(AGE_MS_MAX // 1000 + 1):
        pair.said(1000)
        pair.poll(budget=20)
    pair.line.write(b"new\x00")
    # the frame that had begun goes on to its end, the other one is gone
    assert pair.poll(bits=bus.ACK)[2] == b"a" * 30 + b"\x00new\x00"
    assert pair.line.lost_count == 51


def sealed(mark, size):
    """Return what looks like a frame of a session."""
    return b"\x02\xd0" + mark * (size - 3) + b"\x00"


def test_short_frames_of_a_session_go_first_and_link_messages_keep_their_order():
    pair = Pair()
    pair.assign()
    statement, telemetry, ack = sealed(b"s", 280), sealed(b"t", 130), sealed(b"a", 44)
    error = b"\x02\x82no handshake\x00"
    pair.line.write(statement)
    pair.line.write(telemetry)
    pair.line.write(error)
    pair.line.write(ack)
    stream = pair.poll(budget=500)[2]
    assert stream == telemetry + statement + error + ack
    pair.line.write(statement)
    pair.line.write(telemetry)
    pair.line.write(ack)
    assert pair.poll(bits=bus.ACK, budget=500)[2] == ack + telemetry + statement
    # what has begun is not cut in two, and what has waited long is overtaken no more
    pair.line.write(statement)
    assert pair.poll(budget=100)[2] == statement[:100]
    pair.line.write(statement)
    pair.said(1000)
    assert pair.poll(bits=bus.ACK, budget=0)[2] == b""
    pair.said(1000)
    pair.line.write(ack)
    assert pair.poll(bits=bus.ACK, budget=508)[2] == statement[100:] + statement + ack


def test_an_address_is_lost_in_four_ways():
    pair = Pair()
    pair.assign()
    pair.hear(bus.discover(5, 1, 4, 10))  # of the master that gave it: nothing to say
    assert pair.line.address == 7 and pair.said() == []
    pair.hear(bus.discover(6, 1, 4, 10))
    assert pair.line.address == 0 and [message[0] for _, message in pair.said()] == [bus.HELLO]
    pair.assign()
    assert pair.poll(generation=4) is None and pair.line.address == 0
    pair.assign()
    pair.hear(bus.forget(5, 8))
    pair.hear(bus.forget(4, 7))
    assert pair.line.address == 7
    pair.hear(bus.forget(5, 7))
    assert pair.line.address == 0 and not pair.line.is_up
    pair.assign()
    pair.hear(bus.assign(5, [(7, OTHER)]))
    assert pair.line.address == 0
    pair.assign()
    pair.line.write(b"never sent\x00")
    for _ in range(3):
        pair.said(LOST_MS - 10)
        assert pair.poll() is not None
    pair.said(LOST_MS + 10)
    assert pair.line.address == 0


def test_it_keeps_its_address_over_a_wrap_of_the_counter():
    pair = Pair(now_ms=(1 << 28) - 2000)
    pair.assign()
    for _ in range(8):
        pair.said(700)
        assert pair.poll() is not None
        pair.hal.now_ms %= 1 << 28


def test_told_to_be_quiet_it_says_nothing_and_comes_back():
    pair = Pair()
    pair.assign()
    pair.hear(bus.quiet(OTHER, 5))
    assert pair.poll() is not None
    pair.hear(bus.quiet(ID, 5))
    for _ in range(4):
        pair.hear(bus.discover(5, 1, 1, 10))
        assert pair.said() == [] and pair.poll() is None
    pair.said(1100)
    pair.hear(bus.discover(5, 1, 1, 10))
    assert [message[0] for _, message in pair.said()] == [bus.HELLO]


def test_noise_and_others_are_passed_over():
    pair = Pair()
    pair.assign()
    pair.hear(bus.answer(5, 7, 1, 0, b"of somebody else"))
    pair.hear(bus.hello(3, OTHER))
    pair.hear(b"\xd0whatever")
    pair.hear(b"\xe3")
    assert pair.line.read() == b"" and pair.said() == []
    for seed in range(200):
        noise = bytes((seed * 7 + at * at * 13) & 255 for at in range(seed))
        pair.uart.put(noise)
        pair.line.look()
    assert pair.line.heard_bad > 0 and len(pair.line.rx) == 0
    # what ends in noise does not take the next frame with it
    assert pair.poll(bits=1, stream=b"good\x00") == (bus.ACK, 0, b"")
    assert pair.line.read() == b"good\x00"


def test_it_is_no_cable():
    assert Pair().line.is_cable is False
    assert bus_line.LOST_MS < 8000  # the master gives an address away later than that
