"""Benchmarks of the building bus: 32 real firmware boards on one pair, and what each rate carries.

Virtual clock: bytes take their time on the pair, computing takes none, but for `sign_slice_ms`
between two slices of a handshake. 1 ms stands for an ESP32 or a Linux board, 10 ms for an RP2040.
The elements were enrolled before, over cables; the master knows none of them.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from element.protocol import bus, codes, schema
from hil.bench.bus_clock import BusBench
from hil.bench.run import START_UNIX_MS
from hil.bench.site import Paths, Seeds, build_site
from hil.benchmarks.registry import Context, Measure, benchmark
from hil.scenarios.load import load_scenario
from host_tools.aggregator import Aggregator
from host_tools.identity.issuer import Authorities
from host_tools.ledger.store import Ledger
from host_tools.links.bus_link import BAUDS

ELEMENTS_COUNT = 32
BAUD = 115200
# Frames of a session as they are today: a setpoint down; its acknowledgement and telemetry up.
SETPOINT_SIZE = 61
ANSWER_SIZES = (44, 127)
# A board looks at its line once a ms, and so does the panel.
LOOK_MS = 1
SETTLED_MS = 15_000

_SCENARIO = """\
scenario: bus
description: Elements on one pair.
sign_slice_ms: {slice_ms}
record_interval_s: 60
elements:
  - {{name: wall, count: {count}, kind: converter, chemistry: LFP, series_count: 16,
     capacity_ah: 100, rating_w: 2500, zone: 1, current_a_max: 60, cell_mv_min: 2800,
     cell_mv_max: 3600}}
phases:
  - {{name: discovery, signal: idle, duration_s: 30}}
  - {{name: release, signal: idle, duration_s: 20}}
"""


def cycle_ms(baud: int, count: int = 1, down: int = SETPOINT_SIZE,
             up: tuple[int, ...] = ANSWER_SIZES) -> int:
    """Return how long a full poll of count elements takes: a setpoint down, answers up.

    What is larger than a turn goes in several; each ends with a turn-around at both ends.
    """
    size, total, left_up = bus.stream_size(baud), 0, sum(up)
    while down or left_up or not total:
        part_down = min(size, down)
        part_up = min(max(size // 4, size - part_down) // bus.UNIT * bus.UNIT, left_up)
        down, left_up = down - part_down, left_up - part_up
        total += bus.send_ms(part_down + bus.OVERHEAD, baud) + bus.send_ms(
            part_up + bus.OVERHEAD, baud) + 2 * (bus.turn_ms(baud) + LOOK_MS)
    return count * total


def capacity(baud: int) -> int:
    """Return how many elements can have a setpoint and answer with telemetry in every second."""
    return min(bus.ADDRESS_MAX, 1000 // cycle_ms(baud))


def make_bench(context: Context, folder: Path, slice_ms: int, count: int) -> BusBench:
    """Return count elements, enrolled over cables and switched off."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = folder / "bus.yaml"
    path.write_text(_SCENARIO.format(slice_ms=slice_ms, count=count), encoding="utf-8")
    site = build_site(load_scenario(path), 1, "lockstep", Paths.of_checkout(context.micropython),
                      folder / "boards")
    draw = Seeds(1).stream("panel").randbytes
    aggregator = Aggregator(
        Authorities.make(Random(1).randbytes), Ledger(), draw,
        lambda name, _: (site.profiles[name], site.rig(name).zone, ""))
    bench = BusBench(site, aggregator, START_UNIX_MS, BAUD, folder, 1)
    bench.enrol()
    return bench


def _found(bench: BusBench) -> bool:
    elements = bench.master.elements
    return all(one in elements and elements[one].confirmed for one in bench.ids.values())


def _wait(bench: BusBench, holds: Callable[[], bool], limit_ms: int, look_ms: int = 10) -> float:
    """Return after how many s something held, a very long time when it never did."""
    taken_ms = bench.until(holds, limit_ms, look_ms)
    return 1e9 if taken_ms is None else taken_ms / 1000


def _full_poll(bench: BusBench) -> list[float]:
    """Return the times from ten rounds of setpoints to the last acknowledgement, in order.

    One of them meets the time that the panel tells every element once in 10 s.
    """
    views = [bench.aggregator.inventory.get(one) for one in bench.ids.values()]
    bench.aggregator.target = lambda now_ms: ELEMENTS_COUNT * 1_000_000
    bench.clock.run_until(bench.clock.now_ms + 3000)
    counts: list[int] = []

    def answered() -> bool:
        return all(view is not None and view.accepted_count > count
                   for view, count in zip(views, counts, strict=True))

    taken: list[float] = []
    for _ in range(10):
        # setpoints go out with the turn of a second of Unix time
        bench.clock.run_until(bench.clock.now_ms + 1000 - bench.clock.unix_ms % 1000)
        counts[:] = [0 if view is None else view.accepted_count for view in views]
        taken.append(_wait(bench, answered, 5000, 1))
    return sorted(taken)


@benchmark("bus")
def building_bus(context: Context) -> Iterator[Measure]:
    """Discover 32 boards from nothing, open sessions, dispatch; state every rate's capacity."""
    bench = make_bench(context, (context.folder / "bus").resolve(), 1, ELEMENTS_COUNT)
    try:
        for name in bench.ids:
            bench.connect(name)
        bench.begin()
        found_s = _wait(bench, lambda: _found(bench), 30_000)
        yield Measure("bus.found_addressed_s", found_s, "s", "<= 5")
        sessions_s = found_s + _wait(
            bench, lambda: all(map(bench.has_session, bench.ids)), 60_000)
        yield Measure("bus.sessions_s", sessions_s, "s", "<= 5")
        # every element has a boot to tell and announces itself: 32 times 1.5 KB of statements
        bench.clock.run_until(bench.clock.now_ms + SETTLED_MS)
        taken = _full_poll(bench)
        yield Measure("bus.full_poll_setpoints_s", taken[len(taken) // 2], "s", "<= 1")
        yield Measure("bus.full_poll_setpoints_max_s", taken[-1], "s", "<= 1")
        p99 = [one.quality.percentile_ms(0.99) for one in bench.master.elements.values()]
        yield Measure("bus.answer_ms_p99", max(one or 0 for one in p99), "ms", "")
        missed = sum(one.quality.bad + one.quality.silent
                     for one in bench.master.elements.values())
        yield Measure("bus.turns_missed", missed, "", "== 0")
        yield Measure("bus.trip_all_s", _trip(bench), "s", "<= 1")
    finally:
        bench.stop()
    bench = make_bench(context, (context.folder / "bus").resolve(), 10, ELEMENTS_COUNT)
    try:
        for name in bench.ids:
            bench.connect(name)
        bench.begin()
        taken_s = _wait(bench, lambda: all(map(bench.has_session, bench.ids)), 60_000)
        yield Measure("bus.sessions_rp2040_slices_s", taken_s, "s", "")
    finally:
        bench.stop()
    for baud in BAUDS:
        yield Measure(f"bus.cycle_32_ms_{baud}", cycle_ms(baud, ELEMENTS_COUNT), "ms", "")
        yield Measure(f"bus.elements_per_s_{baud}", capacity(baud), "", "")


def _trip(bench: BusBench) -> float:
    """Return the time from a building's alarm to the last output that is off."""
    bench.master.hurry(bench.clock.unix_ms)
    for element_id in bench.ids.values():
        bench.aggregator.ports[element_id.hex()].send(
            schema.TRIP, {"cause": codes.TRIP_FIRE, "zone": 0})
    return _wait(bench, lambda: not any(rig.outputs.enable for rig in bench.rigs), 5000, 1)
