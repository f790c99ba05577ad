"""Results and a trace of a run that never was, for the tests of the reports."""

from pathlib import Path
from typing import Any


def tracking(e1: float | None) -> dict[str, Any]:
    """Return the three tracking figures."""
    return {"e1_pct": e1, "e2_pct": None if e1 is None else 1.5 * e1,
            "rmse_pct": None if e1 is None else 2 * e1}


def element(name: str, number_: int) -> dict[str, Any]:
    """Return one element's results."""
    return {
        "id": f"{number_:016x}", "name": name, "kind": "converter", "chemistry": "LFP",
        "zone": 1, "segments": [{"name": "ramp", **tracking(0.51)},
                                {"name": "regulation", **tracking(None)}],
        "realized_mwh": 1_234_500, "metered_mwh": -1_250_000, "records": 7,
        "soc_start_pct": 50.0, "soc_end_pct": 48.21, "setpoints_accepted": 300,
        "setpoints_refused": {"soc low": 2, "tripped": 1}, "restarts": 0, "cycles": 0.1234,
        "capacity_end_pct": 100.0,
    }


def event(name: str, at_s: float, **changes: Any) -> dict[str, Any]:
    """Return one event's results."""
    return {
        "name": name, "kind": "bms_silent", "element": "wall-1", "zone": None, "at_s": at_s,
        "detected_after_ms": 1210, "safe_after_ms": 1230, "safe_within_ms": 2000,
        "power_after_w": 0.0, "elements": ["wall-1"], "orders": None, **changes,
    }


def rig(*names: str) -> dict[str, Any]:
    """Return a virtual bench with a board for each of these elements."""
    version = "3.4.0; MicroPython v1.25.0 on 2025-05-04"
    return {
        "kind": "virtual bench",
        "boards": [{"element": name, "board": "virtual", "interpreter": version,
                    "place": None} for name in names],
        "instruments": [], "losses": [],
        "host": {"model": "Some machine", "machine": "x86_64", "python": "3.11.2",
                 "scheduling": "normal"},
    }


def example() -> dict[str, Any]:
    """Return complete results: two elements, two events, one limit missed."""
    figures = {"composite": 0.95, "accuracy": 0.99, "delay": 0.98, "precision": 0.88,
               "composite_window": 0.94, "precision_window": 0.85}
    score = {**figures, "normaliser": "window_floor", "windows": 23, "composite_p5": 0.942,
             "hours": [{"from_s": 180, **figures, "windows": 12},
                       {"from_s": 3780, **figures, "composite": 0.941, "windows": 11}]}
    phase = {"from_s": 60, "to_s": 180, "seconds": 120}
    return {
        "schema": 2, "scenario": "small", "description": "Two walls.", "seed": 7,
        "commit": "0123456789abcdef0123456789abcdef01234567-dirty", "firmware_sha256": "ab" * 32,
        "rig": rig("wall-1", "wall-2"),
        "calibration": [{
            "instrument": "meter at the PCC", "what": "active power, class 0.5 % of 20 kW",
            "date": None, "note": "modelled: nothing was calibrated"}],
        "clock": "virtual", "clock_error_ms": 0, "clock_error_source": "one simulated clock",
        "signal": "regulation seed 7", "simulation": True, "passed": False, "aborted": False,
        "simulated_s": 240, "wall_s": 3.21, "baseline_w": 3001.5,
        "segments": [
            {"name": "ramp", **phase, **tracking(0.5), "pjm": None},
            {"name": "regulation", "from_s": 180, "to_s": 230, "seconds": 50, **tracking(3.25),
             "pjm": score},
        ],
        "elements": [element("wall-1", 1), element("wall-2", 2)],
        "events": [
            event("silent_bms", 90.0),
            event("release", 232.5, kind="release", element=None, elements=[], orders=1,
                  detected_after_ms=0, safe_after_ms=None, safe_within_ms=None),
        ],
        "fault_windows": [{"from_s": 90.0, "to_s": 130.0, "name": "silent_bms"}],
        "energy": {"realized_mwh": 2_469_000, "metered_mwh": -2_500_000,
                   "throughput_mwh": 2_500_000, "difference_pct": 1.24},
        "statements": {"verified": 21, "failed": 0, "by_kind": {"record": 14, "interval": 7},
                       "failures": []},
        "shortfall_s": 3,
        "limits": [
            {"name": "ramp.e1_pct", "value": 0.5, "limit": 2.0, "kind": "max", "margin": 1.5,
             "met": True},
            {"name": "regulation.e1_pct", "value": 3.25, "limit": 3.0, "kind": "max",
             "margin": -0.25, "met": False},
            {"name": "silent_bms.safe_after_ms", "value": 1230, "limit": 2000, "kind": "max",
             "margin": 770, "met": True},
        ],
    }


def write_trace(folder: Path, rows: int, names: tuple[str, ...] = ("wall-1", "wall-2")) -> None:
    """Write a trace of rows seconds: 60 s discovery, then ramp, regulation and release."""
    lines = ["t_s,phase,target_w,response_w,load_w,shortfall_w" + "".join(
        f",{name}_asked_w,{name}_power_w,{name}_soc_pct" for name in names)]
    for row in range(rows):
        phase = "discovery" if row < 60 else "ramp" if row < 180 else "regulation" if (
            row < 230) else "release"
        target = 0 if phase in ("discovery", "release") else 20.0 * (row - 60)
        response = -3000.0 if phase == "discovery" else target - 1.5
        lines.append(f"{row},{phase},{target:.1f},{response:.1f},3000.0,0.0" + f",{target / 2:.1f}"
                     f",{target / 2:.1f},50.00" * len(names))
    (folder / "trace.csv").write_text("\n".join(lines) + "\n")
