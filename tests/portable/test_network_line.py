"""Check what the lines through a network share: bounds, back-off, MQTT's packets, one TCP peer."""

from fakes import FakeHAL

from element.link import mqtt_line, network_line, tcp_line
from element.link.mqtt_line import PacketSplitter, parts_of
from element.link.network_line import Backoff, NetworkLine
from element.link.tcp_line import SILENT_MS_MAX, TCPLine
from element.protocol.errors import DecodeError


class HAL(FakeHAL):
    """A board that says nothing."""

    def log(self, line):
        pass


class FakeSocket:
    """A socket whose other end is the test. room: how much it takes at once, None: it is dead."""

    def __init__(self):
        self.arriving = []
        self.sent = b""
        self.room = 100_000
        self.closed = False
        self.ended = False

    def setblocking(self, on):
        assert not on

    def setsockopt(self, level, option, value):
        pass

    def bind(self, address):
        pass

    def listen(self, backlog):
        pass

    def accept(self):
        if not self.arriving:
            raise OSError(11, "again")
        return self.arriving.pop(0), None

    def send(self, data):
        if self.room is None:
            raise OSError(104, "reset")
        if not self.room:
            raise OSError(11, "again")
        data = data[:self.room]
        self.room -= len(data)
        self.sent += data
        return len(data)

    def recv(self, size):
        if self.arriving:
            data = self.arriving.pop(0)
            if len(data) > size:
                self.arriving.insert(0, data[size:])
            return data[:size]
        if self.ended:
            return b""
        raise OSError(11, "again")

    def close(self):
        self.closed = True


class Sockets:
    """The socket module."""

    SOL_SOCKET = SO_REUSEADDR = 1

    def __init__(self):
        self.server = FakeSocket()

    def socket(self):
        return self.server

    def getaddrinfo(self, host, port):
        return [(None, None, None, None, (host, port))]


def listening(settings=None):
    """Return (hal, server, line) of a TCP line that listens."""
    hal = HAL()
    sockets = Sockets()
    line = TCPLine(hal, settings or {}, None, sockets)
    assert not line.look() and not line.is_up  # not before it has begun
    line.begin(bytes(8))
    line.look()
    return hal, sockets.server, line


def joined(server, line):
    """Return a new panel's connection, which waits or is served."""
    peer = FakeSocket()
    server.arriving.append(peer)
    line.look()
    return peer


def test_a_line_that_is_away_loses_what_is_written_and_counts_it():
    line = NetworkLine(HAL())
    line.write(b"nobody")
    assert line.lost_count == 6 and not line.tx and not line.busy
    line._is_up_now()
    line.write(bytes(network_line.TX_BYTES_MAX - 10))
    line.write(bytes(11))
    assert line.lost_count == 17 and len(line.tx) == network_line.TX_BYTES_MAX - 10 and line.busy
    line._is_gone("test")
    assert line.lost_count == 17 + network_line.TX_BYTES_MAX - 10 and not line.tx


def test_what_comes_is_bounded_and_given_in_portions():
    line = NetworkLine(HAL())
    line._is_up_now()
    for _ in range(20):
        line._received(bytes(1000))
    assert len(line.rx) == 4000 and line.lost_count == 16_000
    sizes = []
    while line.rx:
        sizes.append(len(line.read()))
    assert sum(sizes) == 4000 and max(sizes) <= network_line.READ_SIZE_MAX
    assert line.read() == b""


def test_pauses_grow_to_their_limit_and_a_steady_connection_begins_anew():
    hal = HAL()
    backoff = Backoff(hal, 255)
    assert backoff.due()
    waits = []
    for _ in range(8):
        backoff.failed()
        waits.append(backoff.wait_ms)
        assert not backoff.due()
        hal.now_ms += backoff.wait_ms
        assert backoff.due()
    assert waits[:5] == [500, 1000, 2000, 4000, 8000]
    assert waits[-1] <= network_line.BACKOFF_MS_MAX * 5 // 4 and waits[-1] == waits[-2]
    backoff.lost(network_line.STEADY_MS - 1)
    assert backoff.wait_ms == waits[-1]
    backoff.lost(network_line.STEADY_MS)
    assert backoff.wait_ms == network_line.BACKOFF_MS_MIN


def test_pauses_outlast_a_wrap_of_the_counter():
    hal = HAL(2**28 - 100)
    backoff = Backoff(hal, 0)
    backoff.failed()
    hal.now_ms += 499
    assert not backoff.due()
    hal.now_ms += 1
    assert backoff.due()


def test_tcp_serves_one_panel_and_the_newest_of_those_that_wait():
    hal, server, line = listening()
    first = joined(server, line)
    first.arriving.append(b"one")
    assert line.look() and line.read() == b"one" and line.made_count == 1
    second, third = joined(server, line), joined(server, line)
    assert second.closed and not third.closed and not first.closed
    third.arriving.append(b"three")
    hal.now_ms += SILENT_MS_MAX
    assert not line.look() and line.made_count == 1
    hal.now_ms += 1
    line.look()
    assert first.closed and line.made_count == 2
    line.look()
    assert line.read() == b"three"


def test_tcp_a_panel_that_speaks_is_not_replaced():
    hal, server, line = listening()
    first = joined(server, line)
    joined(server, line)
    for _ in range(10):
        hal.now_ms += SILENT_MS_MAX - 1
        first.arriving.append(b".")
        line.look()
    assert line.made_count == 1 and line.read() == b"." * 10


def test_tcp_a_partial_send_goes_on_and_a_stalled_one_ends_the_connection():
    hal, server, line = listening()
    peer = joined(server, line)
    peer.room = 700
    line.write(bytes(range(250)) * 8)
    for _ in range(3):
        line.look()
    assert len(peer.sent) == 700 and len(line.tx) == 1300 and line.busy
    peer.room = 10_000
    line.look()
    assert peer.sent == bytes(range(250)) * 8 and not line.busy
    peer.room = 0
    line.write(b"stuck")
    hal.now_ms += network_line.STALL_MS_MAX
    line.look()
    assert line.is_up
    hal.now_ms += 1
    line.look()
    assert not line.is_up and peer.closed and line.lost_count == 5


def test_tcp_leaves_in_the_stack_what_it_has_no_room_for():
    _, server, line = listening()
    peer = joined(server, line)
    peer.arriving.append(bytes(100_000))
    for _ in range(50):
        line.look()
    assert len(line.rx) <= network_line.RX_BYTES_MAX and line.lost_count == 0
    taken = 0
    while taken < 100_000:
        taken += len(line.read())
        line.look()
    assert line.lost_count == 0


def test_tcp_an_end_an_error_and_a_dead_peer_are_all_a_lost_connection():
    for fault in ("ended", "dead"):
        _, server, line = listening()
        peer = joined(server, line)
        line.write(b"x")
        if fault == "dead":
            peer.room = None
        else:
            peer.ended = True
        line.look()
        assert not line.is_up and peer.closed
        again = joined(server, line)
        assert line.is_up and not again.closed and line.made_count == 2


def test_only_the_loopback_is_as_good_as_a_cable():
    assert listening({"address": "127.0.0.1"})[2].is_cable
    assert not listening()[2].is_cable
    assert not mqtt_line.MQTTLine(HAL(), {"broker": "127.0.0.1", "site": "s"}).is_cable
    assert tcp_line.PORT == 7653


def packet(kind, body):
    """Return an MQTT packet."""
    size = len(body)
    head = bytearray([kind])
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + body


def test_packets_are_whole_however_the_stream_is_cut():
    wanted = [packet(0x20, b"\0\0"), packet(0x30, bytes(300)), packet(0xD0, b""),
              packet(0x30, bytes(127)), packet(0x30, bytes(128)), packet(0x90, b"\0\1\0")]
    stream = b"".join(wanted)
    for step in (1, 2, 3, 7, 100, 1000):
        splitter = PacketSplitter(4000)
        found = []
        for at in range(0, len(stream), step):
            found += splitter.feed(stream[at:at + step])
        assert found == wanted


def test_a_packet_that_is_too_long_is_skipped_and_the_next_one_comes():
    long, good = packet(0x30, bytes(50_000)), packet(0x30, b"\0\1tx")
    for step in (1, 500, 60_000):
        splitter = PacketSplitter(1000)
        found = []
        stream = long + good + packet(0x30, bytes(997)) + packet(0x30, bytes(998))
        for at in range(0, len(stream), step):
            found += splitter.feed(stream[at:at + step])
            assert len(splitter._data) <= 1000 + step
        assert found == [good, packet(0x30, bytes(997))] and splitter.skipped_count == 2


def test_a_length_that_is_none_is_no_mqtt():
    for data in (b"\x30\xff\xff\xff\xff", b"\x30\x80\x80\x80\x80\x01"):
        splitter = PacketSplitter(1000)
        try:
            splitter.feed(data)
            assert False, data
        except DecodeError:
            pass


def test_the_parts_of_a_message_and_what_is_none():
    assert parts_of(packet(0x30, b"\0\2abpayload")) == (b"ab", b"payload")
    assert parts_of(packet(0x31, b"\0\2ab")) == (b"ab", b"")
    assert parts_of(packet(0x30, b"\0\2ab" + bytes(300))) == (b"ab", bytes(300))
    for bad in (packet(0x32, b"\0\2ab\0\1x"), packet(0x30, b""), packet(0x30, b"\0"),
                packet(0x30, b"\0\5ab"), packet(0x30, b"\xff\xff")):
        assert parts_of(bad) is None, bad


def test_noise_is_no_packet_that_does_harm():
    seed = 1
    for _ in range(200):
        splitter = PacketSplitter(300)
        try:
            for _ in range(20):
                data = bytearray()
                for _ in range(50):
                    seed = seed * 1103515245 + 12345 & 0x7FFFFFFF
                    data.append(seed >> 16 & 0xFF)
                for one in splitter.feed(bytes(data)):
                    parts_of(one)
                assert len(splitter._data) <= 350
        except DecodeError:
            pass
