"""Model a refrigerator: heat, a compressor with its lock-out, and a guard that food comes first.

Heat flows in through the walls in proportion to the difference of temperature; the compressor
takes COP times its power out. Typical of a 300 l household appliance: 2.2 W/K of walls and
doors, 60 kJ/K of food, air and liner, 130 W of running power, COP 1.4, a duty of a fifth.
"""

from math import exp

from .fleet import REFRIGERATOR_W
from .loads import Load


class Refrigerator(Load):
    """A refrigerator behind a contact that can only withhold its supply.

    Its thermostat stands at its coldest: below COLD_C it stops, at RESUME_C it would run again.
    Between that and WARM_C the contact decides. At WARM_C the guard closes the contact whatever
    it was told, until it is at EASED_C. The compressor stays off for OFF_MS_MIN after it has
    stopped, so that pressures are equal when it starts, and is not stopped before ON_MS_MIN.
    Starting takes up to six times the running current, as repair manuals say, for 0.3 s.
    """

    name = "refrigerator"
    WALL_W_PER_K = 2.2
    HEAT_J_PER_K = 60_000.0
    COP = 1.4
    COLD_C, RESUME_C = 2.0, 2.5
    WARM_C, EASED_C = 6.0, 5.5
    ON_MS_MIN = 180_000
    OFF_MS_MIN = 180_000
    START_FACTOR, START_TAU_MS = 6.0, 120.0
    PULL_DOWN_SHARE, PULL_DOWN_TAU_MS = 0.15, 90_000.0

    def __init__(self, running_w: float = REFRIGERATOR_W, room_c: float = 21.0,
                 inside_c: float = 4.0, start_ms: int = 0) -> None:
        super().__init__(start_ms)
        self.running_w = running_w
        self.room_c = room_c
        self.inside_c = inside_c
        self.running = False
        self.heat_in_j = self.heat_out_j = 0.0
        self.forced = False
        self._satisfied = inside_c <= self.RESUME_C
        self._state_ms = self.ON_MS_MIN  # the lock-out of before the simulation is over

    @property
    def baseline_w(self) -> float:
        """The mean power that keeps the middle of the band."""
        middle_c = 0.5 * (self.COLD_C + self.WARM_C)
        return self.WALL_W_PER_K * (self.room_c - middle_c) / self.COP

    @property
    def store_wh(self) -> float:
        """The electrical energy from one end of the band to the other."""
        return self.HEAT_J_PER_K * (self.WARM_C - self.COLD_C) / self.COP / 3600.0

    @property
    def store(self) -> float:
        """Where the temperature is in its band: 0 at WARM_C, 1 at COLD_C."""
        return (self.WARM_C - self.inside_c) / (self.WARM_C - self.COLD_C)

    @property
    def may_run(self) -> bool:
        """Whether a closed contact would mean running."""
        return self.running or (self._state_ms >= self.OFF_MS_MIN and not self._satisfied)

    @property
    def may_rest(self) -> bool:
        """Whether an open contact would mean rest."""
        return not self.running or (self._state_ms >= self.ON_MS_MIN and not self.forced)

    def _power_w(self, part_ms: int) -> float:
        self._judge()
        supplied = self.contact or self.forced
        self._state_ms += part_ms
        wanted = supplied and not self._satisfied
        least_ms = self.ON_MS_MIN if self.running else self.OFF_MS_MIN
        if wanted != self.running and self._state_ms >= least_ms:
            self.running, self._state_ms = wanted, part_ms
        power_w = self._motor_w(part_ms) if self.running else 0.0
        self._move_heat(part_ms, power_w)
        return power_w

    def _judge(self) -> None:
        """Let thermostat and guard look at the temperature."""
        if self.inside_c <= self.COLD_C:
            self._satisfied = True
        elif self.inside_c >= self.RESUME_C:
            self._satisfied = False
        if self.inside_c >= self.WARM_C:
            self.forced = True
        elif self.inside_c <= self.EASED_C:
            self.forced = False

    def _motor_w(self, part_ms: int) -> float:
        """Return the power of a motor that has run for _state_ms."""
        inrush = (self.START_FACTOR - 1.0) * exp(-(self._state_ms - part_ms) / self.START_TAU_MS)
        pull_down = self.PULL_DOWN_SHARE * exp(-self._state_ms / self.PULL_DOWN_TAU_MS)
        return self.running_w * (1.0 + inrush + pull_down)

    def _move_heat(self, part_ms: int, power_w: float) -> None:
        """Let heat flow; a starting motor cools no more than a running one."""
        part_s = part_ms * 0.001
        in_j = self.WALL_W_PER_K * (self.room_c - self.inside_c) * part_s
        out_j = self.COP * min(power_w, self.running_w) * part_s
        self.heat_in_j += in_j
        self.heat_out_j += out_j
        self.inside_c += (in_j - out_j) / self.HEAT_J_PER_K
