"""The table of single faults: what breaks, how it is broken on the bench, what must follow.

`detected` is in words for the document; `expect` names what the element must report: a trip's
name, an inhibit's, or nothing for a fault that it rides through unharmed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from hil.fmea.trial import WATCH_MS, Trial

SAFE_MS_MAX = 2000
INTERLOCK_MS_MAX = 300
TICK_MS = 100
# What does not move is wrong only when the truth moves: the next dispatch, up to a second later.
MOVED_MS_MAX = SAFE_MS_MAX + 1000
# A tick, its 10 ms of looking, and the 50 us to 2 ms in which a stage's current dies.
ONE_TICK_MS = TICK_MS + 20


@dataclass(frozen=True)
class Fault:
    """One row. rides: the fault is no reason to stop, and power must go on as asked."""

    name: str
    part: str
    what: str
    detected: str
    state: str
    inject: Callable[[Trial], None]
    expect: tuple[str, ...] = ()
    limit_ms: int = SAFE_MS_MAX
    rides: bool = False
    kind: Literal["converter", "bms_fets", "relay", "sunspec"] = "converter"
    bms: Literal["jbd", "daly", "jk", "pylontech"] = "jbd"
    pattern: tuple[float, ...] | None = None
    watch_ms: int = WATCH_MS  # a board that restarts reports when it has a session again


def _mode(mode: str) -> Callable[[Trial], None]:
    def inject(trial: Trial) -> None:
        trial.rig.bms.fault_mode = mode
        trial.rig.bms.fault_probability = 1.0

    return inject


def _silent(trial: Trial) -> None:
    trial.rig.bms.silent = True


def _link(trial: Trial) -> None:
    """Cut the link, and join it again when everything must be over, to hear what happened."""
    trial.rig.set_link_cut(True)
    trial.clock.call_at(trial.clock.now_ms + 6000, lambda: trial.rig.set_link_cut(False))


def _host(trial: Trial) -> None:
    """Let the panel do nothing any more."""
    trial.aggregator.receive = lambda *_: None  # type: ignore[method-assign]
    trial.aggregator.step = lambda *_: None  # type: ignore[method-assign]


def _noise(trial: Trial) -> None:
    """Fill the link with bytes that mean nothing, for as long as the trial lasts."""
    generator = 1

    def burst() -> None:
        nonlocal generator
        data = bytearray()
        for _ in range(40):
            generator = (generator * 1103515245 + 12345) & 0x7FFFFFFF
            data.append(generator >> 16 & 0xFF)
        trial.rig.to_board.put(bytes(data), trial.clock.now_ms)
        trial.clock.call_at(trial.clock.now_ms + 50, burst)

    burst()


def _fire(trial: Trial) -> None:
    trial.aggregator.fire_alarm(trial.rig.zone, trial.clock.unix_ms)


def _input(trial: Trial) -> None:
    trial.rig.interlock_ok = False


def _kill(trial: Trial) -> None:
    process = trial.rig.board._process
    if process is not None:
        process.kill()
        process.wait()


def _hang(trial: Trial) -> None:
    trial.rig.hung = True


def _stuck(trial: Trial) -> None:
    """Freeze the BMS's values, and ask for another power: only then are they wrong."""
    _mode("stuck")(trial)
    trial.pattern = (-0.5,) if trial.rig.plant.pcc_w > 0 else (0.5,)


def _sensor_frozen(trial: Trial) -> None:
    """Freeze the sensor, and ask for another power: only then is it wrong."""
    trial.rig.plant.sense_frozen = True
    trial.pattern = (-0.5,) if trial.rig.plant.pcc_w > 0 else (0.5,)


def _sensor_full_scale(trial: Trial) -> None:
    trial.rig.plant.sense_override_ma = 102_400


def _sensor_zero(trial: Trial) -> None:
    trial.rig.plant.sense_override_ma = 0


def _fets_open(trial: Trial) -> None:
    trial.rig.bms.fets_forced_open = True


def _fets_stuck_then_link(trial: Trial) -> None:
    trial.rig.bms.fets_stuck = True
    _link(trial)


def _hot(trial: Trial) -> None:
    trial.rig.plant.pack.temperature_c = 62.0
    trial.rig.plant.pack.ambient_c = 62.0


def _overfull(trial: Trial) -> None:
    _shift_cells(trial, 1.03)


def _empty(trial: Trial) -> None:
    _shift_cells(trial, 0.0)


def _shift_cells(trial: Trial, soc: float) -> None:
    """Move every cell's true SoC, beyond its ends too, which the BMS's own count does not see."""
    pack = trial.rig.plant.pack
    shift = soc - pack.soc
    pack._soc_start = [start + shift for start in pack._soc_start]


def _dead(trial: Trial) -> None:
    trial.rig.plant.dead = True


def _runaway(trial: Trial) -> None:
    """The stage ignores its enable line, and the link is cut so that zero is wanted."""
    trial.rig.plant.ignores_enable = True
    _link(trial)


_OTHER_FAMILIES: tuple[Literal["daly", "jk", "pylontech"], ...] = ("daly", "jk", "pylontech")
_SAFE_INHIBIT = "enable line off, FETs asked open; heals, power must be asked for anew"
_SAFE_TRIP = "enable line off, FETs asked open; latched until a signed release"

FAULTS: tuple[Fault, ...] = (
    Fault("bms-silent", "BMS line", "cable cut: no answer to any request",
          "age of both groups of the reading", _SAFE_INHIBIT, _silent, ("stale reading",)),
    *(Fault(f"bms-{mode.replace('_', '-')}", "BMS line", what, how, _SAFE_INHIBIT, _mode(mode),
            ("stale reading",))
      for mode, what, how in (
          ("drop", "every answer loses a byte", "size and checksum, then age"),
          ("flip", "a bit of every answer is flipped", "checksum, then age"),
          ("wrong_length", "every answer's length lies, its checksum fits",
           "size against content, then age"))),
    *(Fault(f"bms-{mode}", "BMS line", what, how, "power goes on as asked", _mode(mode),
            rides=True)
      for mode, what, how in (
          ("split", "every answer comes in two pieces", "put together within its time"),
          ("echo", "every request comes back before its answer", "the echo is skipped"),
          ("late", "every answer comes 0.3 to 1.5 s late",
           "an answer is as old as the oldest request it may belong to"),
          ("noise", "random bytes between the answers", "resynchronises at the next frame"))),
    Fault("bms-stuck", "BMS", "its values freeze, checksums stay right",
          "its current against the element's own sensor", _SAFE_TRIP, _stuck,
          ("current measurements disagree",), limit_ms=MOVED_MS_MAX),
    Fault("bms-fets-open", "BMS", "a protection opens the FETs",
          "protection bits; no current can flow", _SAFE_INHIBIT, _fets_open,
          ("bms protection", "power stage")),
    Fault("fets-stuck", "BMS FETs", "they do not open, and zero is wanted (link cut)",
          "the enable line needs no BMS; FET bits are not as wanted", _SAFE_TRIP,
          _fets_stuck_then_link, ("not actuated",)),
    Fault("link-cut", "link", "line to the panel cut", "the setpoint's lease",
          "ramp to zero in 200 ms; heals with the next setpoint", _link),
    Fault("host-dead", "panel", "the panel stops", "the setpoint's lease",
          "ramp to zero in 200 ms; heals with the next setpoint", _host),
    Fault("link-noise", "link", "garbage on the link", "framing, CRC and session, counted",
          "power goes on as asked, or ends with its lease", _noise, rides=True),
    Fault("fire", "building", "fire alarm in the zone", "Trip message from the panel", _SAFE_TRIP,
          _fire, ("fire alarm",), limit_ms=INTERLOCK_MS_MAX),
    Fault("input-open", "interlock input", "the hardware input opens", "read in every tick",
          _SAFE_TRIP, _input, ("interlock input",), limit_ms=INTERLOCK_MS_MAX),
    Fault("board-power", "board", "power of the board cut for a moment",
          "pins fall to off by themselves", "off during the boot of 1.5 s; then as asked",
          _kill, limit_ms=INTERLOCK_MS_MAX),
    Fault("board-hang", "board", "the program hangs with its outputs on",
          "hardware watchdog, starved", _SAFE_TRIP, _hang, ("watchdog",),
          watch_ms=15_000),
    Fault("sensor-frozen", "current sensor", "stuck at its last reading",
          "the BMS's current, or power that does not follow", _SAFE_TRIP, _sensor_frozen,
          ("current measurements disagree", "not actuated", "over-current"),
          limit_ms=MOVED_MS_MAX),
    Fault("sensor-full-scale", "current sensor", "stuck at full scale",
          "over-current", _SAFE_TRIP, _sensor_full_scale, ("over-current",),
          limit_ms=ONE_TICK_MS),
    Fault("sensor-zero", "current sensor", "stuck at zero",
          "power that does not come, or the BMS's current", _SAFE_TRIP, _sensor_zero,
          ("not actuated", "current measurements disagree", "over-current")),
    Fault("stage-dead", "power stage", "no power although enabled",
          "measured power against commanded", _SAFE_TRIP, _dead, ("not actuated",)),
    Fault("stage-runaway", "power stage", "ignores its enable line",
          "current at rest; the FETs open", _SAFE_TRIP, _runaway, ("not actuated", "power stage")),
    Fault("pack-hot", "pack", "62 degC", "temperature against limit and margin", _SAFE_TRIP,
          _hot, ("temperature", "stale reading")),
    Fault("cell-high", "pack", "cells at their upper end", "cell voltage against limit and margin",
          _SAFE_TRIP, _overfull, ("cell over-voltage", "stale reading", "bms protection",
                                  "at a limit")),
    Fault("cell-low", "pack", "cells at their lower end", "cell voltage against limit and margin",
          _SAFE_TRIP, _empty, ("cell under-voltage", "stale reading", "bms protection",
                               "at a limit")),
    *(Fault(f"{family}-{mode}", "BMS line", what, "checksum or time-out, then age",
            _SAFE_INHIBIT, inject, ("stale reading",), bms=family)
      for family in _OTHER_FAMILIES
      for mode, what, inject in (
          ("silent", f"{family}: no answer to any request", _silent),
          ("flip", f"{family}: a bit of every answer is flipped", _mode("flip")))),
    *(Fault(f"fets-{name}", part, what, detected, state, inject, expect, limit_ms=limit,
            kind="bms_fets", pattern=(1.0,))
      for name, part, what, detected, state, inject, expect, limit in (
          ("bms-silent", "BMS line", "on/off stage: no answer to any request", "age",
           _SAFE_INHIBIT, _silent, ("stale reading",), SAFE_MS_MAX),
          ("link-cut", "link", "on/off stage: line to the panel cut", "lease",
           "off; heals with the next setpoint", _link, (), SAFE_MS_MAX),
          ("fire", "building", "on/off stage: fire alarm in the zone", "Trip message",
           _SAFE_TRIP, _fire, ("fire alarm",), INTERLOCK_MS_MAX),
          ("runaway", "power stage", "on/off stage: ignores its enable line",
           "current at rest; the FETs open", _SAFE_TRIP, _runaway, (), SAFE_MS_MAX))),
)
