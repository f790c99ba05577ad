"""Benchmarks that run whole scenarios: speed, repeatability, tracking, real-time ticks."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from element.protocol import schema
from hil.bench.run import RunResult
from hil.bench.scheduling import RealTimeClass
from hil.bench.session import Options, Session
from hil.benchmarks.element import Ticker
from hil.benchmarks.registry import Context, Measure, benchmark
from hil.metrics.pjm import WINDOWS_COUNT_MAX
from hil.scenarios.load import find_scenario, load_scenario
from hil.scenarios.model import EventModel
from hil.signals.csv_source import csv_columns, load_csv
from hil.signals.signal import Signal
from host_tools import codec
from host_tools.identity.keys import make_key_pair

# Fields of results.json that tell about the machine's clock and not about the run.
WALL_CLOCK_FIELDS = ("wall_s",)
DAYS_COUNT = 5
AGC_DAYS = 20
# Five minutes more than four hours: the last one needs room for its lag, where there is signal.
AGC_HOURS = 4 + 5 / 60
PHASES_COUNT = 12
NEVER_MS = 10**9
TICKS_PER_S = 10
TICK_HOURS = 10 / 60
REAL_TIME_HOURS = 0.04
TICK_LATE_MS_MAX = 5
BOARDS = 16


def _nothing(done_s: int, total_s: int, phase: str) -> None:
    """Benchmarks show no progress bar of their own."""


def run(scenario: str, out: Path, seed: int | None = None, clock: str = "virtual",
        signal: Signal | None = None, hours: float | None = None) -> dict[str, Any]:
    """Run a scenario that comes with the project and return its results."""
    loaded = load_scenario(find_scenario(scenario))
    options = Options(loaded, loaded.seed if seed is None else seed, clock, out, signal, hours)
    return Session(options, _nothing).execute()[1]


def comparable(results: dict[str, Any]) -> str:
    """Return results as text without the wall-clock fields."""
    kept = {key: value for key, value in results.items() if key not in WALL_CLOCK_FIELDS}
    return json.dumps(kept, sort_keys=True)


@benchmark("default")
def default_scenario(context: Context) -> Iterator[Measure]:
    """Run the default scenario twice: its figures, its speed, and that the runs are equal."""
    first = run("default", context.folder / "default-a")
    segments = {one["name"]: one for one in first["segments"]}
    events = {one["name"]: one for one in first["events"]}
    yield Measure("default.wall_s", first["wall_s"], "s", "<= 90")
    yield Measure("default.simulated_s", first["simulated_s"], "s", "")
    yield Measure("default.ramp.e1_pct", segments["ramp"]["e1_pct"], "%", "<= 2")
    outside = segments["regulation_outside_faults"]["e1_pct"]
    yield Measure("default.regulation_outside_faults.e1_pct", outside, "%", "<= 3")
    composite = segments["regulation"]["pjm"]["composite"]
    yield Measure("default.regulation.composite", composite, "", "")
    for name in ("silent_bms", "lost_link"):
        yield Measure(f"default.{name}.safe_after_ms", events[name]["safe_after_ms"], "ms",
                      "<= 2000")
    yield Measure("default.fire_alarm.safe_after_ms", events["fire_alarm"]["safe_after_ms"],
                  "ms", "<= 300")
    yield Measure("default.statements.failed", first["statements"]["failed"], "", "== 0")
    second = run("default", context.folder / "default-b")
    yield Measure("default.repeats", int(comparable(first) == comparable(second)), "", "== 1")


@benchmark("regulated_days")
def regulated_days(context: Context) -> Iterator[Measure]:
    """Score regulated elements on five days: of a CSV when one is given, else generated."""
    days: list[tuple[str, int | None, Signal | None]] = []
    if context.agc_csv is None:
        days = [(f"generated-{seed}", seed, None) for seed in range(1, DAYS_COUNT + 1)]
    else:
        columns = csv_columns(context.agc_csv)
        step = max(1, len(columns) // DAYS_COUNT)
        for column in columns[::step][:DAYS_COUNT]:
            days.append((column, None, load_csv(context.agc_csv, column)))
    for name, seed, signal in days:
        results = run("regulated", context.folder / f"day-{name}", seed, signal=signal)
        segment = next(one for one in results["segments"] if one["name"] == "regulation")
        yield Measure(f"regulated_days.{name}.e1_pct", segment["e1_pct"], "%", "<= 1")
        yield Measure(f"regulated_days.{name}.composite", segment["pjm"]["composite"], "",
                      ">= 0.985")


def _day(scenario: str, out: Path, seed: int, column: str | None, agc_csv: Path | None,
         hours: float) -> list[dict[str, Any]]:
    """Run a whole day and return its hours; for a process of its own."""
    signal = None if agc_csv is None or column is None else load_csv(agc_csv, column)
    results = run(scenario, out, seed, signal=signal, hours=hours)
    segment = next(one for one in results["segments"] if one["name"] == "regulation")
    hours_of: list[dict[str, Any]] = segment["pjm"]["hours"]
    return hours_of


@benchmark("agc_days")
def agc_days(context: Context) -> Iterator[Measure]:
    """Score a mixed building on twenty days of four hours, of a CSV or generated: every hour."""
    columns: list[str | None] = [None] * AGC_DAYS
    if context.agc_csv is not None:
        known = csv_columns(context.agc_csv)
        columns = list(known[:: max(1, len(known) // AGC_DAYS)][:AGC_DAYS])
    hours: list[dict[str, Any]] = []
    jobs = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        days = [pool.submit(_day, "mixed", context.folder / f"agc-day-{index}", index + 1, column,
                            context.agc_csv, AGC_HOURS) for index, column in enumerate(columns)]
        for day in days:
            hours += day.result()
    whole = [hour for hour in hours if hour["windows"] == WINDOWS_COUNT_MAX]
    composites = np.array([hour["composite"] for hour in whole])
    yield Measure("agc_days.composite_mean", round(float(composites.mean()), 4), "", ">= 0.985")
    yield Measure("agc_days.composite_p5", round(float(np.percentile(composites, 5)), 4), "",
                  ">= 0.96")
    yield Measure("agc_days.composite_min", float(composites.min()), "", "")
    for key in ("composite_window", "delay", "precision", "precision_window"):
        mean = float(np.mean([hour[key] for hour in whole]))
        yield Measure(f"agc_days.{key}_mean", round(mean, 4), "", "")
    yield Measure("agc_days.hours", len(whole), "", "")


def _worst_of(context: Context, name: str, events: list[EventModel],
              reach_ms: int) -> Iterator[Measure]:
    """Run regulated elements through events; the slowest to be safe of those that can be."""
    loaded = load_scenario(find_scenario("regulated")).model_copy(update={"events": events})
    hours = (events[-1].at_s + 30) / 3600
    options = Options(loaded, loaded.seed, "virtual", context.folder / name, None, hours)
    results = Session(options, _nothing).execute()[1]
    times = [one["safe_after_ms"] for one in results["events"] if one["elements"]]
    worst = max(NEVER_MS if time is None else time for time in times)
    yield Measure(f"{name}.safe_after_ms_max", worst, "ms", f"<= {reach_ms}")
    yield Measure(f"{name}.events", len(times), "", f"== {PHASES_COUNT}")


def _spread(**event: Any) -> list[EventModel]:
    """Return an event at many phases of the panel's and the element's cycles."""
    return [EventModel(name=f"event_{number}", phase="regulation",
                       at_s=30.0 + 30 * number + number * 0.0917, **event)
            for number in range(PHASES_COUNT)]


@benchmark("expired_lease")
def expired_lease(context: Context) -> Iterator[Measure]:
    """Lose the panel; how soon is every element at zero?"""
    yield from _worst_of(context, "expired_lease", _spread(kind="host_lost", duration_s=6.0), 2000)


@benchmark("silent_bms")
def silent_bms(context: Context) -> Iterator[Measure]:
    """Silence a BMS; how soon is its element at zero?"""
    events = _spread(kind="bms_silent", element="wall-1", duration_s=6.0)
    yield from _worst_of(context, "silent_bms", events, 2000)


@benchmark("fire_alarm")
def fire_alarm(context: Context) -> Iterator[Measure]:
    """Raise a fire alarm, release, and again; how soon is its zone at zero?"""
    events = []
    for alarm in _spread(kind="fire_alarm", zone=1):
        events += [alarm, alarm.model_copy(update={
            "name": f"release_{alarm.name}", "kind": "release", "zone": None,
            "at_s": alarm.at_s + 12})]
    yield from _worst_of(context, "fire_alarm", events, 300)


def _late_ms_counts(run_result: RunResult) -> dict[int, int]:
    """Return the board-seconds of a run by the worst lateness of their ticks."""
    counts: Counter[int] = Counter()
    for view in run_result.aggregator.inventory.views():
        counts.update(view.late_ms_counts)
    return counts


def _beside_a_ticker(context: Context, session: Session, hours: float
                     ) -> tuple[RunResult, dict[str, Any], float, float]:
    """Run a session in real time beside a process that only ticks, scheduled as its boards are.

    Returns the run, its results, and by how many ms those ticks were late: at p99.9, and at worst.
    """
    scheduling = RealTimeClass()
    scheduling.take()
    try:
        machine = Ticker(context, round(hours * 3600) + 90, "idle")
    finally:
        scheduling.give_back()
    run_result, results = session.execute()
    most_ms, worst_ms, _ = machine.result()
    return run_result, results, most_ms, worst_ms


@benchmark("real_time_16")
def real_time_16(context: Context) -> Iterator[Measure]:
    """Run sixteen boards in real time; the share of their ticks that were within 5 ms.

    Every second each board reports the worst of its ten ticks: a second that reports more than
    5 ms counts as one late tick and nine in time.
    """
    loaded = load_scenario(find_scenario("regulated"))
    loaded = loaded.model_copy(update={"elements": [loaded.elements[0].model_copy(
        update={"count": BOARDS, "zone": 1})]})
    building = loaded.building.model_copy(update={"meter_rating_kw": 60})
    loaded = loaded.model_copy(update={"building": building})
    options = Options(loaded, 1, "real", context.folder / "real-16", None, REAL_TIME_HOURS)
    run_result, results, machine_most_ms, machine_worst_ms = _beside_a_ticker(
        context, Session(options, _nothing), REAL_TIME_HOURS)
    counts = _late_ms_counts(run_result)
    late = sum(count for late_ms, count in counts.items() if late_ms > TICK_LATE_MS_MAX)
    ticks = sum(counts.values()) * TICKS_PER_S
    yield Measure("real_time_16.ticks_in_time_pct", round(100 * (1 - late / ticks), 4), "%",
                  ">= 99.9")
    yield Measure("real_time_16.tick_late_ms_max", max(counts), "ms", "")
    yield Measure("real_time_16.ticks", ticks, "", "")
    yield Measure("real_time_16.machine_late_ms_p99_9", machine_most_ms, "ms", "")
    yield Measure("real_time_16.machine_late_ms_max", machine_worst_ms, "ms", "")
    segment = next(one for one in results["segments"] if one["name"] == "regulation")
    yield Measure("real_time_16.regulation.e1_pct", segment["e1_pct"], "%", "")


@benchmark("real_time")
def real_time(context: Context) -> Iterator[Measure]:
    """Run boards in real time with a record to sign every ten seconds; how late were ticks?

    Every second each board reports the worst of its ticks. What else the machine does counts as
    well, so a process that only ticks runs beside the boards and is stated with them.
    """
    loaded = load_scenario(find_scenario("regulated"))
    loaded = loaded.model_copy(update={"record_interval_s": 10})
    options = Options(loaded, 1, "real", context.folder / "real", None, REAL_TIME_HOURS)
    run_result, results, machine_most_ms, machine_worst_ms = _beside_a_ticker(
        context, Session(options, _nothing), REAL_TIME_HOURS)
    counts = _late_ms_counts(run_result)
    over = sum(count for late_ms, count in counts.items() if late_ms > TICK_LATE_MS_MAX)
    signed = sum(view.last_counter for view in run_result.aggregator.inventory.views())
    yield Measure("real_time.tick_late_ms_max", max(counts), "ms", f"<= {TICK_LATE_MS_MAX}")
    yield Measure("real_time.seconds_over_pct", round(100 * over / sum(counts.values()), 3),
                  "%", "")
    yield Measure("real_time.machine_late_ms_max", machine_worst_ms, "ms", "")
    yield Measure("real_time.machine_late_ms_p99_9", machine_most_ms, "ms", "")
    yield Measure("real_time.board_seconds", sum(counts.values()), "s", "")
    yield Measure("real_time.records_signed", signed, "", "")
    segment = next(one for one in results["segments"] if one["name"] == "regulation")
    yield Measure("real_time.regulation.e1_pct", segment["e1_pct"], "%", "")


def late_ms_p99_9(counts: dict[int, int]) -> int:
    """Return the lateness that one tick in a thousand exceeds at most.

    counts: of board-seconds by the worst of their ten ticks. Each second counts as one tick of
    that lateness and nine on time, which is never too kind by more than the other nine.
    """
    allowed = sum(counts.values()) * TICKS_PER_S // 1000
    over = 0
    for late_ms in sorted(counts, reverse=True):
        over += counts[late_ms]
        if over > allowed:
            return late_ms
    return 0


@benchmark("tick")
def tick(context: Context) -> Iterator[Measure]:
    """Ten minutes of a board in real time that signs, verifies, writes flash and talks.

    Twice a second the panel asks for a signed announcement and sends a release order of a
    stranger, which is verified, refused and logged on the console; records are signed and
    written every ten seconds. A process that only ticks runs beside it.
    """
    loaded = load_scenario(find_scenario("regulated"))
    loaded = loaded.model_copy(update={
        "record_interval_s": 10, "elements": [loaded.elements[0].model_copy(update={"count": 1})]})
    options = Options(loaded, 1, "real", context.folder / "tick", None, TICK_HOURS)
    session = Session(options, _nothing)
    run = session._run
    stranger = make_key_pair(Random(1).randbytes)

    def disturb() -> None:
        for port in run.result.aggregator.ports.values():
            if port.element_id is not None and port.has_session:
                order = codec.sign1(stranger.private, "cw/release", stranger.key_id,
                                    codec.encode_statement(schema.RELEASE_ORDER, {
                                        "element_id": port.element_id, "order_number": 1,
                                        "issued_unix_ms": 0, "cause": 1}))
                port.send(schema.INTERROGATE, {"challenge": bytes(16)})
                port.send(schema.RELEASE, {"order": order})
        run._clock.call_at(run._clock.now_ms + 500, disturb)

    run._clock.call_at(10_000, disturb)
    run_result, _, machine_most_ms, machine_worst_ms = _beside_a_ticker(
        context, session, TICK_HOURS)
    view = run_result.aggregator.inventory.views()[0]
    counts = view.late_ms_counts
    yield Measure("tick.late_ms_p99_9", late_ms_p99_9(counts), "ms", f"<= {TICK_LATE_MS_MAX}")
    yield Measure("tick.late_ms_max", max(counts), "ms", "")
    yield Measure("tick.board_seconds", sum(counts.values()), "s", ">= 600")
    yield Measure("tick.machine_late_ms_p99_9", machine_most_ms, "ms", "")
    yield Measure("tick.machine_late_ms_max", machine_worst_ms, "ms", "")
    lines = (context.folder / "tick" / "boards").glob("*/console.log")
    said = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in lines)
    yield Measure("tick.console_lines", said, "", ">= 1000")
    yield Measure("tick.verified_statements", run_result.aggregator.counters.verified, "",
                  ">= 1000")
