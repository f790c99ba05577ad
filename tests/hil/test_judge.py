"""The judgement of a run: fault windows, segments without them, limits that cannot be cheated."""

from types import SimpleNamespace

import numpy as np
import pytest

from hil.bench.faults import EventResult, RigWatch
from hil.metrics import judge
from hil.scenarios.model import EventModel, LimitModel


def _event(kind: str = "bms_silent", at_ms: int = 100_500, **changes) -> EventResult:
    fields = {"name": "e", "kind": kind, "phase": "p", "at_s": 0.0, "element": "wall",
              "duration_s": 60.0, "settle_s": 10.0}
    if kind == "fire_alarm":
        fields |= {"element": None, "zone": 1, "duration_s": None}
    if kind == "release":
        fields |= {"element": None, "duration_s": None}
    return EventResult(EventModel(**(fields | changes)), at_ms)


def _run(limits: list[LimitModel], events: list, planned: int | None = None,
         restarts: int = 0) -> SimpleNamespace:
    rig = SimpleNamespace(board=SimpleNamespace(restart_count=restarts))
    count = len(events) if planned is None else planned
    return SimpleNamespace(
        scenario=SimpleNamespace(limits=limits, events=[None] * count), events=events,
        aborted=False, site=SimpleNamespace(rigs=[rig]))


def test_fault_windows_cover_the_fault_and_its_settling() -> None:
    events = [_event(), _event("fire_alarm", 300_000), _event("release", 400_000)]
    assert judge.fault_windows(events) == [(100.5, 170.5, "e"), (300.0, 310.0, "e")]


def test_rows_outside_leave_out_every_second_that_a_window_touches() -> None:
    kept = judge._outside(np.arange(95, 180), [(100.5, 170.5, "e")])
    assert kept.tolist() == [*range(95, 100), *range(171, 180)]


def test_tracking_without_a_target_is_none_and_not_zero() -> None:
    nothing = {"e1_pct": None, "e2_pct": None, "rmse_pct": None}
    assert judge.tracking(np.ones(5), np.zeros(5)) == nothing
    assert judge.tracking(np.array([]), np.array([])) == nothing
    assert judge.tracking(np.array([9.0, 11.0]), np.array([10.0, 10.0]))["e1_pct"] == 10.0


def _limits(limit: LimitModel, segment: dict) -> dict:
    results = {"segments": [segment], "events": [], "statements": {"failed": 3}}
    return judge.limits_of(_run([limit], []), results)[0]


def test_limits_on_both_sides_and_on_nested_figures() -> None:
    segment = {"name": "ramp", "e1_pct": 2.0, "pjm": {"composite": 0.98}}
    assert _limits(LimitModel(value="ramp.e1_pct", max=2.0), segment)["met"]
    assert not _limits(LimitModel(value="ramp.e1_pct", max=1.99), segment)["met"]
    assert _limits(LimitModel(value="ramp.pjm.composite", min=0.98), segment)["met"]
    assert not _limits(LimitModel(value="ramp.pjm.composite", min=0.981), segment)["met"]
    assert not _limits(LimitModel(value="statements.failed", max=0), segment)["met"]


def test_a_figure_that_is_missing_misses_its_limit() -> None:
    segment = {"name": "ramp", "e1_pct": None, "pjm": None}
    for value in ("ramp.e1_pct", "ramp.pjm.composite", "ramp.typo", "other.e1_pct"):
        assert not _limits(LimitModel(value=value, max=100.0), segment)["met"], value


def test_a_limit_has_its_margin_on_its_good_side() -> None:
    segment = {"name": "ramp", "e1_pct": 2.5, "pjm": {"composite": 0.97}}
    at_most = _limits(LimitModel(value="ramp.e1_pct", max=2.0), segment)
    at_least = _limits(LimitModel(value="ramp.pjm.composite", min=0.9), segment)
    none = _limits(LimitModel(value="ramp.typo", max=1.0), segment)
    assert (at_most["margin"], at_least["margin"], none["margin"]) == (-0.5, 0.07, None)


def test_a_limit_missed_by_less_than_is_shown_is_missed() -> None:
    for kind, value in (("max", 2.000001), ("min", 1.999999)):
        one = judge.limit_of("ramp.e1_pct", value, 2.0, kind)
        assert not one["met"] and abs(one["margin"]) < 1e-9
    assert judge.limit_of("ramp.e1_pct", 2.0, 2.0, "max")["met"]


def _clocked(clock: str, late_ms: int, rows: int = 3) -> tuple[int | None, str]:
    return judge.clock_error_of(SimpleNamespace(clock_name=clock, recording=SimpleNamespace(
        phase=["p"] * rows, late_ms_max=late_ms)))


def test_the_error_of_the_clock_is_what_was_measured() -> None:
    assert _clocked("virtual", 0)[0] == 0
    assert _clocked("virtual", 7)[0] == 7
    assert _clocked("real", 7)[0] == 8  # and the clock's own millisecond
    assert _clocked("real", 0, rows=0)[0] is None
    assert "monotonic" in _clocked("real", 1)[1] and "simulated" in _clocked("virtual", 0)[1]


def test_events_that_did_not_happen_and_boards_that_restarted_fail_a_run() -> None:
    results = {"segments": [], "events": []}
    met = {one["name"]: one["met"]
           for one in judge.limits_of(_run([], [], planned=2, restarts=1), results)}
    assert met == {"boards.restarts": False, "events.happened": False}


def test_an_event_is_safe_only_when_every_element_stays_below() -> None:
    event = _event(at_ms=1000)
    event.end_ms, event.finished = 11_000, True
    calm = RigWatch(rig=None, was_active=True, detected_ms=1100, last_above_ms=1150)
    event.watches = [calm, RigWatch(rig=None)]
    assert event.safe_after_ms() == 160 and event.detected_after_ms() == 100
    event.watches.append(RigWatch(rig=None, was_active=True, last_above_ms=11_000))
    assert event.safe_after_ms() is None and event.detected_after_ms() is None
    event.finished = False
    assert event.safe_after_ms() is None


def test_every_hour_is_scored_by_both_normalisers():
    """Three hours of a known response: each by itself, the mean and the fifth percentile."""
    seconds = np.arange(3 * 3600 + 300)
    target = 4000 * np.sin(seconds / 200) + 500 * np.sin(seconds / 31)
    power = target.copy()
    power[3600:7200] *= 0.9  # the second hour falls short by a tenth
    score = judge.pjm(power, target, 6000.0, 60)
    assert score is not None
    assert [hour["from_s"] for hour in score["hours"]] == [60, 3660, 7260]
    first, second, third = score["hours"]
    assert first["composite"] == third["composite"] == 1 and third["windows"] == 12
    assert second["precision"] == pytest.approx(0.9, abs=0.002)
    assert second["accuracy"] == pytest.approx(1, abs=0.01) and second["delay"] == 1
    assert score["composite"] == pytest.approx((2 + second["composite"]) / 3, abs=1e-4)
    assert score["composite_p5"] < score["composite"] and score["windows"] == 36
    assert second["precision_window"] == pytest.approx(0.9, abs=0.002)
    # half an hour more, without room for its own lag: its complete windows alone
    longer = judge.pjm(np.append(power, target[:1800]), np.append(target, target[:1800]), 6000.0)
    assert longer is not None and [hour["windows"] for hour in longer["hours"]] == [12, 12, 12, 6]
    assert judge.pjm(power[:590], target[:590], 6000.0) is None
