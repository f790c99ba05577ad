"""The master of a bus against the firmware's own line, on a pair where collisions are real."""

import random
from itertools import pairwise

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from element.protocol import bus
from element.protocol.errors import BusError
from host_tools.links import bus_watch
from host_tools.links.base import Link
from host_tools.links.bus import POLL_PERIOD_MS, BusMaster
from host_tools.links.bus_element import AGE_MS_MAX, BusElement
from host_tools.links.bus_link import BusLink, port_and_baud

from .bus_bench import MASTER, BusBench

# A minute of a bus is much to shrink: the seed that fails is shown, and is enough.
QUICK = (Phase.explicit, Phase.reuse, Phase.generate)


def building(count: int, seed: int = 1, baud: int = 115200) -> BusBench:
    """Return a bus on which count elements have been found."""
    bench = BusBench(seed, baud)
    for _ in range(count):
        bench.add()
    bench.run_until_found(10_000)
    return bench


def frames_of(node_id: bytes, count: int) -> list[bytes]:
    return [node_id.hex().encode() + b"/%d" % number + b"\x00" for number in range(count)]


@settings(max_examples=15, deadline=None, phases=QUICK)
@given(count=st.integers(1, 64), seed=st.integers(0, 2**32))
def test_all_are_found_from_nothing_whatever_collides(count: int, seed: int) -> None:
    bench = BusBench(seed)
    for _ in range(count):
        bench.add()
    taken_ms = bench.run_until_found(5000)
    assert taken_ms <= 1000 + 60 * count
    assert sorted(one for _, one in bench.found) == sorted(
        node.element_id for node in bench.nodes.values())
    assert bench.lost == [] and not bench.master.watch.findings


@settings(max_examples=10, deadline=None, phases=QUICK)
@given(baud=st.sampled_from([9600, 19200, 38400, 57600, 230400, 460800]),
       count=st.integers(1, 12), seed=st.integers(0, 2**32), echo=st.booleans())
def test_every_rate_finds_all_and_carries_bytes_both_ways(baud: int, count: int, seed: int,
                                                           echo: bool) -> None:
    bench = BusBench(seed, baud, echo)
    nodes = [bench.add() for _ in range(count)]
    bench.run_until_found(20_000)
    down = {node.element_id: b"d" * bench.rng.randint(1, 300) + b"\x00" for node in nodes}
    for node in nodes:
        bench.master.sender(node.element_id)(down[node.element_id])
        node.line.write(node.element_id * 20 + b"\x00")
    bench.run(600_000 // baud * 300 + 2000)
    for node in nodes:
        assert bytes(node.got).strip(b"\x00") == down[node.element_id].strip(b"\x00")
        heard = bytes(bench.upward[node.element_id]).strip(b"\x00")
        assert heard == (node.element_id * 20).strip(b"\x00")
    assert bench.master.watch.noise_count == 0 and (bench.master.echo_count > 0) is echo


def test_one_more_than_there_are_addresses_is_counted_and_disturbs_nobody() -> None:
    bench = building(64)
    bench.add()
    bench.run(5000)
    assert bench.master.full_count >= 3 and len(bench.master.elements) == 64
    assert bench.lost == []


def test_one_added_to_a_live_bus_is_found_and_no_turn_is_lost() -> None:
    bench = building(16)
    nodes = list(bench.nodes.values())
    bench.run(2000)
    before = {one.element_id: one.quality.silent + one.quality.bad
              for one in bench.master.elements.values()}
    turns = []
    new = [bench.add() for _ in range(3)]
    began_ms = bench.now_ms
    while not all(bench.master.elements.get(one.element_id) is not None
                  and bench.master.elements[one.element_id].confirmed for one in new):
        bench.run(1)
        turns += [(one.element_id, one.polled_ms) for one in bench.master.elements.values()
                  if one.polled_ms == bench.now_ms]
        assert bench.now_ms - began_ms < 3000
    for node in nodes:
        quality = bench.master.elements[node.element_id].quality
        assert quality.silent + quality.bad == before[node.element_id] == 0
        polled = [at for one, at in turns if one == node.element_id]
        assert all(two - one <= POLL_PERIOD_MS + 200 for one, two in pairwise(polled))
    assert bench.lost == []


def test_an_element_that_restarts_is_found_again_and_keeps_its_receiver() -> None:
    bench = building(4)
    name, node = next(iter(bench.nodes.items()))
    address = node.line.address
    del bench.nodes[name]
    again = bench.add(node.element_id, name.decode())
    bench.run(2500)
    assert again.line.address == address
    assert [one for _, one in bench.found].count(node.element_id) == 2
    again.line.write(b"back\x00")
    bench.run(600)
    assert bytes(bench.upward[node.element_id]).endswith(b"back\x00")


def test_one_that_is_gone_is_asked_less_and_less_then_lost() -> None:
    bench = building(8)
    node = next(iter(bench.nodes.values()))
    bench.pair.cut(node.element_id.hex(), True)
    asked = []
    while not bench.lost:
        bench.run(1)
        one = bench.master.elements.get(node.element_id)
        if one is not None and one.polled_ms == bench.now_ms:
            asked.append(bench.now_ms)
        assert bench.now_ms < 12_000
    gaps = [two - one for one, two in pairwise(asked)]
    assert bench.lost == [node.element_id] and gaps[-1] >= 1000 and len(asked) < 14
    bench.pair.cut(node.element_id.hex(), False)
    bench.run(6000)
    assert bench.all_found()


def test_a_master_that_restarts_finds_all_again() -> None:
    bench = building(16)
    again = BusMaster(bench.baud, random.Random(99).randbytes, lambda _: bytearray().extend)
    assert again.generation != bench.master.generation
    bench.master = again
    bench.run_until_found(4000)


@settings(max_examples=8, deadline=None, phases=QUICK)
@given(seed=st.integers(0, 2**32), flip=st.sampled_from([0.0, 0.0005, 0.002]),
       drop=st.sampled_from([0.0, 0.0005, 0.002]), noise=st.sampled_from([0, 2, 8]))
def test_frames_on_a_bad_line_come_whole_once_and_in_order(seed: int, flip: float, drop: float,
                                                           noise: int) -> None:
    bench = building(5, seed)
    nodes = list(bench.nodes.values())
    bench.pair.flip, bench.pair.drop = flip, drop
    bench.pair.noise(noise, bench.now_ms)
    for number in range(12):
        for node in nodes:
            node.line.write(frames_of(node.element_id, 12)[number])
            bench.master.send(node.element_id, frames_of(node.element_id, 12)[number])
        bench.run(500)
    bench.run(3000)
    for node in nodes:
        for stream in (node.got, bench.upward[node.element_id]):
            frames = bytes(stream).split(b"\x00")
            wanted = [frame[:-1] for frame in frames_of(node.element_id, 12)]
            came = [frame for frame in frames if frame in wanted]
            # one that lost its address for a while may miss some, and never gets one twice
            assert came == sorted(set(came), key=wanted.index)
            assert len(came) == 12 or node.element_id in bench.lost or any(
                one == node.element_id for _, one in bench.found[5:])
    for found in bench.master.watch.findings.values():
        raise AssertionError(f"an innocent was named: {found}")


def test_two_with_one_address_part() -> None:
    bench = building(6)
    one, two = list(bench.nodes.values())[:2]
    two.line._generation, two.line._address = one.line._generation, one.line.address
    two.line.write(b"both")
    bench.run(9000)
    assert one.line.address != two.line.address and bench.all_found()


def test_two_with_one_id_are_heard_as_collisions_and_disturb_nobody_else() -> None:
    bench = building(6)
    node = next(iter(bench.nodes.values()))
    twin = bench.add(node.element_id, "twin")
    bench.run(4000)
    assert twin.line.address in (0, node.line.address)
    others = [one for one in bench.master.elements.values() if one.element_id != node.element_id]
    assert len(others) == 5 and all(one.quality.bad == 0 for one in others)


def test_an_alarm_goes_to_everybody_before_all_else() -> None:
    bench = building(32)
    nodes = list(bench.nodes.values())
    for node in nodes:
        bench.master.send(node.element_id, b"long" * 100 + b"\x00")
        node.line.write(b"telemetry" * 14 + b"\x00")
    bench.run(60)
    began_ms = bench.now_ms
    bench.master.hurry(bench.now_ms)
    for node in nodes:
        bench.master.send(node.element_id, b"T" * 60 + b"\x00")
    while not all(b"T" * 60 in node.got for node in nodes):
        bench.run(1)
        assert bench.now_ms - began_ms < 1000
    # 32 pushes of 73 bytes, and the turn that was under way
    assert bench.now_ms - began_ms <= 32 * 9 + 100


def test_no_element_is_passed_over_by_a_greedy_one() -> None:
    bench = building(8)
    greedy, *others = bench.nodes.values()
    for _ in range(300):
        greedy.line.write(b"g" * 400 + b"\x00")
        bench.run(10)
    for node in others:
        polled_ms = bench.master.elements[node.element_id].polled_ms
        assert polled_ms is not None and bench.now_ms - polled_ms <= POLL_PERIOD_MS + 150


def test_one_that_speaks_out_of_turn_is_named_by_its_frames_and_silenced() -> None:
    bench = building(10)
    node = list(bench.nodes.values())[3]
    address = node.line.address
    bench.pair.babble(node.element_id.hex(), lambda: bus.frame(bus.answer(
        bench.master.generation, address, 0, 0, b"me, me")), 37, bench.now_ms)
    bench.run(8000)
    found = bench.master.watch.findings
    assert list(found) == [node.element_id]
    assert found[node.element_id].why == bus_watch.OUT_OF_TURN and found[node.element_id].certain
    assert node.line.address == 0  # its firmware was told to be quiet, and is


def test_one_that_answers_too_much_is_named() -> None:
    bench = building(5, baud=19200)
    node = list(bench.nodes.values())[2]
    node.line._on_poll = lambda message: bench.pair.send(
        node.element_id.hex(), bus.frame(bus.answer(
            bench.master.generation, node.line.address, 0, 0, bytes(range(1, 200)))),
        bench.now_ms + 3)
    bench.run(8000)
    found = bench.master.watch.findings
    assert [one.why for one in found.values()] == [bus_watch.TOO_LONG]
    assert list(found) == [node.element_id]


def test_noise_that_carries_no_name_is_traced_to_the_silent_one() -> None:
    bench = building(10)
    node = list(bench.nodes.values())[6]
    rng = random.Random(5)
    node.line.look = lambda: False  # its processor has gone mad: it hears nothing any more
    bench.pair.babble(node.element_id.hex(), lambda: rng.randbytes(20), 90, bench.now_ms)
    bench.run(9000)
    found = bench.master.watch.findings
    assert list(found) == [node.element_id]
    assert found[node.element_id].why == bus_watch.ALONE_SILENT
    assert not found[node.element_id].certain


def test_noise_of_one_that_answers_is_traced_by_telling_each_to_be_quiet() -> None:
    bench = building(4)
    node = list(bench.nodes.values())[1]
    rng = random.Random(5)

    def noise() -> bytes:
        return b"" if node.line._quiet_at is not None else rng.randbytes(12)

    bench.pair.babble(node.element_id.hex(), noise, 110, bench.now_ms)
    bench.run(30_000)
    found = bench.master.watch.findings
    assert list(found) == [node.element_id]
    assert found[node.element_id].why == bus_watch.NOISE_ENDS


def test_a_driver_that_is_stuck_names_nobody_and_all_come_back_when_it_lets_go() -> None:
    bench = building(6)
    bench.pair.stick(next(iter(bench.nodes.values())).element_id.hex(), True)
    bench.run(15_000)
    assert len(bench.lost) == 6 and not bench.master.watch.findings
    bench.pair.stick(next(iter(bench.nodes.values())).element_id.hex(), False)
    bench.run_until_found(10_000)


def test_slow_boards_are_waited_for() -> None:
    bench = BusBench(3)
    for _ in range(6):
        bench.add()
    bench.run_until_found(10_000)
    for node in bench.nodes.values():
        node.late_ms = 12  # a control tick is under way, always
    bench.run(5000)
    for one in bench.master.elements.values():
        assert one.quality.good > 15 and one.quality.stray == 0
        assert one.quality.silent <= one.quality.good // 5
        p99 = one.quality.percentile_ms(0.99)
        assert p99 is not None and 2 <= p99 <= 60
    assert not bench.master.watch.findings


def test_queues_of_the_master_are_bounded_and_old_words_are_dropped() -> None:
    one = BusElement(b"element1", 3, 0)
    for _ in range(100):
        one.put(bytes(100), 0)
    assert one.lost == 100 * 100 - 8100
    assert len(bus.decode(one.poll(1, 460, False, AGE_MS_MAX + 1))[5]) == 0
    assert one.lost == 100 * 100
    assert one.quality.percentile_ms(0.5) is None


def test_names_of_a_bus() -> None:
    assert port_and_baud("bus:/dev/ttyUSB0") == ("/dev/ttyUSB0", 115200)
    assert port_and_baud("bus:COM3?baud=9600") == ("COM3", 9600)
    for name in ("bus:", "/dev/ttyUSB0", "bus:x?baud=1", "bus:x?rate=9600", "bus:x?baud="):
        with pytest.raises(BusError):
            port_and_baud(name)


class _Pair(Link):
    """A serial port whose other end is the pair of a bench."""

    def __init__(self, bench: BusBench) -> None:
        self._bench = bench

    def send(self, data: bytes) -> None:
        self._bench.pair.send(MASTER, data, self._bench.now_ms)

    def receive(self) -> bytes:
        return self._bench.pair.take(MASTER, self._bench.now_ms)


class _Port:
    def __init__(self) -> None:
        self.ticks: list[int] = []

    def tick(self, now_ms: int) -> None:
        self.ticks.append(now_ms)


class _Panel:
    """What an aggregator is to a bus."""

    def __init__(self) -> None:
        self.ports: dict[str, _Port] = {}
        self.heard: dict[str, bytes] = {}
        self.send: dict[str, object] = {}

    def add_port(self, name: str, send: object) -> _Port:
        self.ports[name] = _Port()
        self.send[name] = send
        return self.ports[name]

    def receive(self, name: str, data: bytes, now_ms: int) -> None:
        self.heard[name] = self.heard.get(name, b"") + data


def test_a_bus_behind_a_serial_port_gives_each_element_a_port_of_its_own() -> None:
    bench, panel = BusBench(4), _Panel()
    node = bench.add()
    link = BusLink("bus:x", panel, _Pair(bench), bench.rng.randbytes)  # type: ignore[arg-type]
    bench.master.step = lambda now_ms: b""  # type: ignore[method-assign]
    for _ in range(1500):
        bench.now_ms += 1
        assert link.turn(bench.now_ms) >= 0
        node.line.look()
        node.got += node.line.read()
        if bench.now_ms == 700:
            name = node.element_id.hex()
            panel.send[name](b"down\x00")  # type: ignore[operator]
            node.line.write(b"up\x00")
    assert list(panel.ports) == [node.element_id.hex()] and panel.ports[name].ticks
    assert panel.heard[name] == b"\x00up\x00" and bytes(node.got) == b"\x00down\x00"
