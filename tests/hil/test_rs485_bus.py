"""Real firmware on an emulated pair, in virtual time: found, dispatched, joined, disturbed."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from element.protocol import bus, codes, schema
from hil.bench.bus_clock import PANEL, BusBench
from hil.bench.run import START_UNIX_MS
from hil.bench.site import Paths, build_site
from hil.devices.rs485_bus import RS485Bus
from hil.scenarios.load import load_scenario
from host_tools.aggregator import Aggregator
from host_tools.identity.issuer import Authorities
from host_tools.ledger.store import Ledger
from host_tools.links import bus_watch

SCENARIO = """\
scenario: bus
description: Elements on one pair.
sign_slice_ms: 1
record_interval_s: 30
elements:
  - {name: wall, count: 6, kind: converter, chemistry: LFP, series_count: 16, capacity_ah: 100,
     rating_w: 2500, zone: 1, current_a_max: 60, cell_mv_min: 2800, cell_mv_max: 3600}
phases:
  - {name: discovery, signal: idle, duration_s: 30}
  - {name: release, signal: idle, duration_s: 20}
"""


def make(tmp_path: Path, micropython: Path, baud: int = 115200) -> BusBench:
    """Return six elements, enrolled over cables and switched off."""
    path = tmp_path / "bus.yaml"
    path.write_text(SCENARIO, encoding="utf-8")
    site = build_site(load_scenario(path), 1, "lockstep", Paths.of_checkout(micropython),
                      tmp_path / "boards")
    rng = random.Random(1)
    aggregator = Aggregator(
        Authorities.make(rng.randbytes), Ledger(), rng.randbytes,
        lambda name, _: (site.profiles[name], site.rig(name).zone, ""))
    bench = BusBench(site, aggregator, START_UNIX_MS, baud, tmp_path, 1)
    bench.enrol()
    return bench


@pytest.fixture
def bench(tmp_path: Path, micropython: Path) -> Iterator[BusBench]:
    bench = make(tmp_path, micropython)
    try:
        yield bench
    finally:
        bench.stop()


def sessions(bench: BusBench, names: list[str], limit_ms: int = 20_000) -> int:
    """Connect elements and wait for their sessions; returns how long that took."""
    for name in names:
        bench.connect(name)
    if not bench.panel.is_on:
        bench.begin()
    taken_ms = bench.until(lambda: all(map(bench.has_session, names)), limit_ms)
    assert taken_ms is not None
    return taken_ms


def accepted(bench: BusBench, name: str) -> int:
    view = bench.aggregator.inventory.get(bench.ids[name])
    assert view is not None
    return view.accepted_count


def test_found_dispatched_and_one_more_joins_a_live_bus(bench: BusBench) -> None:
    *names, last = bench.ids
    assert sessions(bench, names) < 6000
    assert len({one.address for one in bench.master.elements.values()}) == 5
    # nobody is enrolled over the bus: whoever holds the pair stands before no element
    assert all(bench.aggregator.ports[bench.ids[name].hex()].enrol_error == "" for name in names)
    bench.clock.run_until(bench.clock.now_ms + 4000)
    bench.aggregator.target = lambda now_ms: 4_000_000
    before = {name: accepted(bench, name) for name in names}
    bench.clock.run_until(bench.clock.now_ms + 8000)
    for name in names:
        assert accepted(bench, name) - before[name] >= 6
    assert sum(rig.plant.pcc_w for rig in bench.rigs) == pytest.approx(4000, rel=0.05)

    missed = {one.element_id: (one.quality.silent, one.quality.bad)
              for one in bench.master.elements.values()}
    assert sessions(bench, [last]) < 6000
    for element_id, (silent, bad) in missed.items():
        quality = bench.master.elements[element_id].quality
        assert (quality.silent, quality.bad) == (silent, bad), "the newcomer has disturbed it"
    bench.clock.run_until(bench.clock.now_ms + 6000)
    assert accepted(bench, last) > 0
    assert not bench.master.watch.findings and bench.master.watch.noise_count == 0


def test_a_trip_reaches_everybody_at_once(bench: BusBench) -> None:
    names = list(bench.ids)
    sessions(bench, names)
    bench.clock.run_until(bench.clock.now_ms + 4000)
    bench.aggregator.target = lambda now_ms: 6_000_000
    bench.clock.run_until(bench.clock.now_ms + 5000)
    assert all(rig.plant.pcc_w > 500 for rig in bench.rigs)
    bench.master.hurry(bench.clock.unix_ms)
    began_ms = bench.clock.now_ms
    for name in names:
        port = bench.aggregator.ports[bench.ids[name].hex()]
        port.send(schema.TRIP, {"cause": codes.TRIP_FIRE, "zone": 0})
    taken_ms = bench.until(lambda: not any(rig.outputs.enable for rig in bench.rigs), 1000, 1)
    assert taken_ms is not None and taken_ms <= 150, (taken_ms, began_ms)


def test_one_that_jabbers_is_named_and_the_others_stay(bench: BusBench) -> None:
    names = list(bench.ids)
    sessions(bench, names)
    bench.clock.run_until(bench.clock.now_ms + 3000)
    loud, rng = names[2], random.Random(3)
    address = bench.master.elements[bench.ids[loud]].address
    generation = bench.master.generation
    bench.pair.babble(loud, lambda: bus.frame(bus.answer(
        generation, address, 0, 0, rng.randbytes(9))), 150, bench.clock.now_ms)
    bench.clock.run_until(bench.clock.now_ms + 6000)
    findings = bench.master.watch.findings
    assert list(findings) == [bench.ids[loud]]
    assert findings[bench.ids[loud]].why == bus_watch.OUT_OF_TURN
    others = [name for name in names if name != loud]
    assert all(map(bench.has_session, others))
    # its board was told to be quiet: it asks for no address while the others go on
    assert bench.ids[loud] not in bench.master.elements


def test_a_stub_that_is_cut_is_lost_alone_and_comes_back(bench: BusBench) -> None:
    names = list(bench.ids)[:3]
    sessions(bench, names)
    rig = next(one for one in bench.rigs if one.name == names[0])
    rig.set_link_cut(True)
    gone_ms = bench.until(lambda: bench.ids[names[0]] not in bench.master.elements, 12_000)
    assert gone_ms is not None
    assert all(bench.ids[name] in bench.master.elements for name in names[1:])
    rig.set_link_cut(False)
    assert bench.until(lambda: bench.ids[names[0]] in bench.master.elements, 5000) is not None
    heard_ms = bench.clock.unix_ms
    port = bench.aggregator.ports[bench.ids[names[0]].hex()]
    assert bench.until(lambda: (port.last_heard_ms or 0) > heard_ms, 8000) is not None


def test_a_run_on_the_bus_repeats_itself(tmp_path: Path, micropython: Path) -> None:
    traces = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        bench = make(folder, micropython, 57600)
        try:
            sessions(bench, list(bench.ids)[:2])
            bench.clock.run_until(bench.clock.now_ms + 1000)
            traces.append((bench.clock.now_ms, bench.pair.sent_bytes,
                           sorted(bench.master.seen_ms.items()), bench.clock.exchange_count))
        finally:
            bench.stop()
    assert traces[0] == traces[1]


def listeners(pair: RS485Bus, *names: str) -> None:
    for name in names:
        pair.attach(name)


def test_the_pair_carries_bytes_at_its_rate_and_collides() -> None:
    pair = RS485Bus(9600, random.Random(1))
    listeners(pair, PANEL, "a", "b")
    pair.send("a", b"hello", 10)
    assert pair.due_ms(PANEL) == 16 and pair.take(PANEL, 15) == b""
    assert pair.take(PANEL, 16) == b"hello" and pair.take("a", 16) == b""
    pair.send("a", b"U" * 10, 20)
    pair.send("b", b"3" * 10, 24)  # while a is at its fourth byte
    heard = pair.take(PANEL, 50)
    assert heard.startswith(b"UUU") and heard.endswith(b"333") and 13 <= len(heard) <= 15
    assert heard[3:10] != b"U" * 7 and pair.collided_bytes >= 12
    assert pair.take("b", 50) != b"U" * 10  # who sends hears nothing of what it sends over


def test_echo_cut_stuck_noise_and_damaged_bytes() -> None:
    pair = RS485Bus(115200, random.Random(1), echo=True)
    listeners(pair, PANEL, "a", "b")
    pair.send("a", b"x", 0)
    assert pair.take("a", 5) == b"x"
    pair.cut("a", True)
    pair.send("a", b"x", 10)
    pair.send("b", b"y", 12)
    assert pair.take(PANEL, 20).endswith(b"y") and pair.take("a", 20) == b""
    pair.stick("b", True)
    pair.send(PANEL, b"q" * 200, 30)
    assert pair.take("b", 60) != b"q" * 200
    pair.stick("b", False)
    pair.noise(1000, 60)
    assert len(pair.take("b", 200)) > 100
    pair.noise(0, 200)
    pair.take("b", 300)
    pair.drop = 1.0
    pair.send(PANEL, b"q" * 20, 300)
    assert pair.take("b", 310) == b""
    pair.drop, pair.flip = 0.0, 1.0
    pair.send(PANEL, b"\x00" * 20, 320)
    assert all(byte.bit_count() == 1 for byte in pair.take("b", 330))
