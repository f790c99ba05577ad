"""Generate regulation signals that look like real dispatch of a large battery in CAISO.

The model is ours; docs/signal-model.md has its reasoning and the comparison with the data.
In short: a dispatcher that is most of the time pinned at one of a few levels (often a limit),
now and then restless between two of them with a limited ramp, and now and then trimming in
small steps. Everything is on a grid of 0.25 %.
"""

from collections.abc import Sequence
from random import Random

from .signal import Signal

MODEL_STEP_MS = 4000
DURATION_MS_MAX = 366 * 24 * 3_600_000
GRID_PER_PCT = 4

# (level in percent, weight). 60 and -99 are the limits this battery's schedule set mostly.
LEVELS_UP = ((60.0, 46), (100.0, 36), (70.0, 6), (40.0, 4), (10.0, 6), (23.0, 2))
LEVELS_DOWN = ((-99.0, 41), (-100.0, 34), (-9.0, 13), (-10.0, 6), (-32.0, 3), (-22.0, 3))
LEVEL_NEUTRAL = 0.0
SIDE_WEIGHTS = ((1, 49), (-1, 49), (0, 2))
SIDE_STEPS_MEAN = 390.0  # After this many steps (26 min) the sign of the need is drawn anew.

# Mode: (weight, mean length in steps).
MODES = (("pinned", 54, 120.0), ("restless", 38, 55.0), ("trim", 8, 165.0))
HOUR_STEPS = 900
HOUR_PINNED_SHARE = 0.13  # Some market hours are sold at one level from end to end.

HOME_STEPS_MEAN = 3.5
AWAY_STEPS_MEAN = 2.8
AWAY_OPPOSITE_SHARE = 0.55
RAMP_FIRST_PCT = (24.5, 34.0)
RAMP_PCT = 35.5
RAMP_SIGMA_PCT = 9.0
LANDING_PCT = 10.0
LANDING_SOFT_SHARE = 0.5
LANDING_REST = 0.35
RAMP_MIN_PCT, RAMP_MAX_PCT = 24.0, 62.0

TRIM_MOVE_SHARE = 0.38
TRIM_MOVE_PCT_MEAN = 1.1
TRIM_SPAN_PCT = 18.0
TRIM_KICK_SHARE = 0.06
TRIM_KICK_PCT = (4.0, 13.0)


def regulation_signal(seed: int, duration_ms: int, step_ms: int = 4000) -> Signal:
    """Return a signal of duration_ms (cut to whole steps) that depends on seed only.

    The model runs at 4 s; another step_ms samples and holds it. Raises ValueError for less
    than one step or more than a year.
    """
    if step_ms < 1 or not step_ms <= duration_ms <= DURATION_MS_MAX:
        raise ValueError(f"duration_ms {duration_ms}, step_ms {step_ms}")
    dispatcher = _Dispatcher(Random(seed))
    model_count = (duration_ms - 1) // MODEL_STEP_MS + 1
    model = [dispatcher.step() / 100.0 for _ in range(model_count)]
    count = duration_ms // step_ms
    values = [model[index * step_ms // MODEL_STEP_MS] for index in range(count)]
    return Signal(step_ms, values, f"regulation seed {seed}")


class _Dispatcher:
    """Produce one level in percent for each 4 s step."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._index = 0
        self._side_left = 0
        self._mode_left = 0
        self._dwell_left = 0
        self._pinned_hour = False
        self._is_home = True
        self._mode = "pinned"
        self._side = 0
        self._home_pct = self._away_pct = LEVEL_NEUTRAL
        self._ramping = False
        self._draw_side()
        self._level_pct = self._target_pct = self._draw_level(self._side)

    def step(self) -> float:
        """Return the level of this step and move on to the next."""
        level_pct = self._level_pct
        if self._index % HOUR_STEPS == 0:
            self._start_hour()
        self._index += 1
        self._side_left -= 1
        self._mode_left -= 1
        if not self._pinned_hour:
            if self._side_left <= 0:
                self._draw_side()
                self._mode_left = 0
            if self._mode_left <= 0:
                self._draw_mode()
        if self._mode == "restless":
            self._choose_restless()
        if self._mode == "trim" and abs(self._target_pct - level_pct) <= TRIM_SPAN_PCT:
            self._trim()
        else:
            self._ramp()
        return level_pct

    def _start_hour(self) -> None:
        self._pinned_hour = self._rng.random() < HOUR_PINNED_SHARE
        if self._pinned_hour:
            self._mode = "pinned"
            self._side_left = self._mode_left = 0
            self._target_pct = self._draw_level(self._rng.choice((1, -1)))

    def _draw_side(self) -> None:
        self._side = int(_weighted(self._rng, SIDE_WEIGHTS))
        self._side_left = _steps(self._rng, SIDE_STEPS_MEAN)
        self._home_pct = self._draw_level(self._side)

    def _draw_level(self, side: int) -> float:
        if side == 0:
            return LEVEL_NEUTRAL
        return _weighted(self._rng, LEVELS_UP if side > 0 else LEVELS_DOWN)

    def _draw_mode(self) -> None:
        rng = self._rng
        self._mode = rng.choices([mode[0] for mode in MODES], [mode[1] for mode in MODES])[0]
        mean = next(mode[2] for mode in MODES if mode[0] == self._mode)
        self._mode_left = _steps(rng, mean)
        self._dwell_left = 0
        self._is_home = False
        self._target_pct = self._home_pct
        if self._mode == "restless":
            opposite = rng.random() < AWAY_OPPOSITE_SHARE
            self._away_pct = self._draw_level(-self._side or rng.choice((1, -1)))
            if not opposite:
                self._away_pct = float(round(rng.uniform(-0.5, 0.8) * self._home_pct))
        elif self._mode == "trim":
            self._target_pct = float(rng.randint(-12, 12))

    def _choose_restless(self) -> None:
        """Swap between home and away when the dwell is over; a ramp may be cut short."""
        self._dwell_left -= 1
        if self._dwell_left > 0:
            return
        self._is_home = not self._is_home
        mean = HOME_STEPS_MEAN if self._is_home else AWAY_STEPS_MEAN
        self._dwell_left = 2 + _steps(self._rng, mean)
        self._target_pct = self._home_pct if self._is_home else self._away_pct
        self._ramping = False

    def _ramp(self) -> None:
        gap_pct = self._target_pct - self._level_pct
        if gap_pct == 0.0:
            self._ramping = False
            return
        rng = self._rng
        if self._ramping:
            rate_pct = rng.gauss(RAMP_PCT, RAMP_SIGMA_PCT)
            rate_pct = min(RAMP_MAX_PCT, max(RAMP_MIN_PCT, rate_pct))
        else:
            rate_pct = rng.uniform(*RAMP_FIRST_PCT)
        self._ramping = True
        if abs(gap_pct) <= rate_pct:
            soft = abs(gap_pct) > LANDING_PCT and rng.random() < LANDING_SOFT_SHARE
            landing_pct = self._target_pct - (LANDING_REST * gap_pct if soft else 0.0)
            self._level_pct = _grid(landing_pct)
        else:
            self._level_pct = _grid(self._level_pct + (rate_pct if gap_pct > 0 else -rate_pct))

    def _trim(self) -> None:
        rng = self._rng
        if rng.random() >= TRIM_MOVE_SHARE:
            # Between moves the real signal settles on whole percents.
            self._level_pct = float(round(self._level_pct))
            return
        if rng.random() < TRIM_KICK_SHARE:
            move_pct = rng.uniform(*TRIM_KICK_PCT)
        else:
            move_pct = max(1.0 / GRID_PER_PCT, rng.expovariate(1.0 / TRIM_MOVE_PCT_MEAN))
        away_pct = self._level_pct - self._target_pct
        back = rng.random() < 0.5 + 0.5 * min(1.0, abs(away_pct) / TRIM_SPAN_PCT)
        if (away_pct > 0.0) == back:
            move_pct = -move_pct
        self._level_pct = max(-100.0, min(100.0, _grid(self._level_pct + move_pct)))


def _grid(level_pct: float) -> float:
    return round(level_pct * GRID_PER_PCT) / GRID_PER_PCT


def _steps(rng: Random, mean: float) -> int:
    return 1 + int(rng.expovariate(1.0 / mean))


def _weighted(rng: Random, table: Sequence[tuple[float, int]]) -> float:
    return rng.choices([row[0] for row in table], [row[1] for row in table])[0]
