"""Define what every power-stage plant offers the bench, and the current sensor they share.

Order within one bench step: `advance(now)`, then `bms.update(now)`, `sense_ma()` and
`set_outputs(...)`. A FET or pin that changes at one instant acts on the interval after it.
"""

from random import Random
from typing import Protocol

from .pack import Pack

SENSE_FULL_SCALE_MA = 102_400
SENSE_LSB_MA = 50  # 12 bit over +-102.4 A, a common Hall sensor and ADC pairing.
SENSE_GAIN_ERROR_MAX = 0.003
SENSE_OFFSET_MA_MAX = 30
SENSE_NOISE_MA = 25.0
STEP_MS_MAX = 200
DUTY_PERMILLE_MAX = 1000


class FETSwitches(Protocol):
    """Say which directions the BMS lets current flow; True is conducting.

    With one FET on, the body diode of the other still blocks its own direction: charge FET
    alone means charge only, discharge FET alone means discharge only.
    """

    @property
    def fet_charge(self) -> bool:
        """Return True while the charge FET conducts."""
        ...

    @property
    def fet_discharge(self) -> bool:
        """Return True while the discharge FET conducts."""
        ...


class CurrentSensor:
    """Read a current with one unit's own gain, offset, noise and ADC steps.

    The gain and offset are drawn once. Readings saturate at full scale, as an ADC does.
    """

    def __init__(self, rng: Random) -> None:
        """Draw this unit's errors from rng and keep it for the noise."""
        self.gain = 1.0 + rng.uniform(-SENSE_GAIN_ERROR_MAX, SENSE_GAIN_ERROR_MAX)
        self.offset_ma = rng.uniform(-SENSE_OFFSET_MA_MAX, SENSE_OFFSET_MA_MAX)
        self._rng = rng

    def read_ma(self, current_a: float) -> int:
        """Return the reading in mA for the true current; each call draws new noise."""
        exact_ma = current_a * 1000.0 * self.gain + self.offset_ma
        noisy_ma = exact_ma + self._rng.gauss(0.0, SENSE_NOISE_MA)
        step_count = round(noisy_ma / SENSE_LSB_MA)
        return max(-SENSE_FULL_SCALE_MA, min(SENSE_FULL_SCALE_MA, step_count * SENSE_LSB_MA))


class ElementPlant:
    """Be one element's power side: a pack behind BMS FETs and a power stage at the PCC.

    Attributes: `pack`, `bms`, `pcc_w` (true power now, positive = to the PCC), `energy_pcc_j`
    (its integral, signed). Faults to set: `sense_frozen` (the sensor repeats its last reading),
    `sense_override_ma` (it says this), `sense_shift_ma` (it is off by this),
    `dead` (no power though enabled), `ignores_enable` (the stage runs on when it is switched
    off: a welded contactor, a stuck gate). Subclasses supply `_step` and `_take_outputs`.
    """

    def __init__(self, pack: Pack, bms: FETSwitches, rng: Random, start_ms: int = 0) -> None:
        """Start de-energised at start_ms; rng serves this element alone."""
        self.pack = pack
        self.bms = bms
        self.pcc_w = 0.0
        self.energy_pcc_j = 0.0
        self.sense_frozen = False
        self.sense_override_ma: int | None = None
        self.sense_shift_ma = 0
        self.dead = False
        self.ignores_enable = False
        self._enable = False
        self._sensor = CurrentSensor(rng)
        self._sense_ma = 0
        self._now_ms = start_ms

    def advance(self, now_ms: int) -> None:
        """Simulate up to the absolute time now_ms.

        Raises ValueError when time runs backwards. Advancing to the same time does nothing.
        """
        dt_ms = now_ms - self._now_ms
        if dt_ms <= 0:
            if dt_ms < 0:
                raise ValueError(f"plant time ran backwards by {-dt_ms} ms")
            return
        while dt_ms > STEP_MS_MAX:
            self._now_ms += STEP_MS_MAX
            self._step(STEP_MS_MAX)
            dt_ms -= STEP_MS_MAX
        self._now_ms = now_ms
        self._step(dt_ms)

    def set_outputs(self, enable: bool, duty_permille: int, precharge: bool = False) -> None:
        """Take the board's pins: enable, signed duty -1000..1000 (positive = discharge), relay.

        precharge: the path past the FETs to the DC link is closed. Raises ValueError outside the
        range.
        """
        duty = checked_duty(duty_permille)
        if self.ignores_enable and self._enable and not enable:
            return
        self._enable = enable
        self._take_outputs(duty, precharge)

    def _take_outputs(self, duty_permille: int, precharge: bool) -> None:
        """Act on pins that were checked; `_enable` is set already."""
        raise NotImplementedError

    def sense_ma(self) -> int:
        """Return what the board's ADC reads for the pack current, mA, positive = discharge."""
        if self.sense_override_ma is not None:
            return self.sense_override_ma
        if not self.sense_frozen:
            self._sense_ma = self._sensor.read_ma(self.pack.current_a)
        shifted_ma = self._sense_ma + self.sense_shift_ma
        return max(-SENSE_FULL_SCALE_MA, min(SENSE_FULL_SCALE_MA, shifted_ma))

    def dc_link_mv(self) -> int:
        """Return the voltage of the stage's DC link in mV, -1 for a stage without a sensor."""
        return -1

    @property
    def energy_pcc_mj(self) -> int:
        """Return energy_pcc_j in whole millijoule."""
        return round(self.energy_pcc_j * 1000.0)

    def _step(self, dt_ms: int) -> None:
        """Simulate the dt_ms (1..STEP_MS_MAX) that end at _now_ms."""
        raise NotImplementedError


def checked_duty(duty_permille: int) -> int:
    """Return duty_permille or raise ValueError outside -1000..1000."""
    if not -DUTY_PERMILLE_MAX <= duty_permille <= DUTY_PERMILLE_MAX:
        raise ValueError(f"duty_permille {duty_permille} outside +-{DUTY_PERMILLE_MAX}")
    return duty_permille
