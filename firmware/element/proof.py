"""Proof that the hardware does what it was told: measured against commanded, in bounded times.

Four proofs: no current at rest; FETs as wanted; the commanded power, neither much less nor much
more nor the other way round; two current measurements that agree. Pure but for its own state;
a proof that fails for longer than its time is a trip.
"""

from .protocol import codes
from .protocol.units import power_mw

# How long outputs and measurement may disagree.
ZERO_PROOF_MS = 500
POWER_PROOF_MS = 1500
FETS_PROOF_MS = 1500
# The BMS's current must lie within what the sensor saw in this time before it, twice as much at
# most; two of its readings in a row that do not are a broken sensor or a frozen BMS.
SENSE_SPAN_MS = 400
SENSE_MISSES_MAX = 2


class Proof:
    """The four proofs of one element. `step` is called once a tick, after the outputs are set."""

    def __init__(self, driver, stage, interlock):
        self._driver = driver
        self._stage = stage
        self._interlock = interlock
        self._zero_bad_ms = 0
        self._power_bad_ms = 0
        self._fets_bad_ms = 0
        self._misses = 0
        self._read_at = None
        self._span_ms = 0
        self._low_ma = self._high_ma = 0
        self._last_low_ma = self._last_high_ma = 0

    @property
    def failing(self) -> bool:
        """True while current flows at rest, FETs are not as wanted, or measurements disagree."""
        return self._zero_bad_ms > 0 or self._fets_bad_ms > 0 or self._misses > 0

    def step(self, profile, reading, is_fresh: bool, sense_ma: int, enabled_mw: int,
             dt_ms: int) -> None:
        """Judge one tick; trips the interlock when a proof has failed for its time.

        enabled_mw: the power the enabled stage was told, 0 when the enable line is off.
        """
        full_ma = max(profile.current_ma_discharge_max, profile.current_ma_charge_max)
        at_rest = enabled_mw == 0
        self._zero_bad_ms = _bad_ms(
            self._zero_bad_ms, at_rest and abs(sense_ma) > full_ma // 50 + 300, dt_ms)
        self._power_bad_ms = _bad_ms(
            self._power_bad_ms,
            not at_rest and self._power_is_wrong(profile, reading, sense_ma, enabled_mw), dt_ms)
        driver = self._driver
        self._fets_bad_ms = _bad_ms(
            self._fets_bad_ms,
            driver.can_switch and is_fresh and reading.fets != driver.fets_wanted, dt_ms)
        self._compare(reading, is_fresh, sense_ma, full_ma // 10 + 1000, dt_ms)
        interlock = self._interlock
        if self._zero_bad_ms > ZERO_PROOF_MS:
            interlock.trip(codes.TRIP_NOT_ACTUATED, sense_ma, 0)
        elif self._power_bad_ms > POWER_PROOF_MS + self._stage.settle_ms:
            interlock.trip(codes.TRIP_NOT_ACTUATED, sense_ma, enabled_mw)
        elif self._fets_bad_ms > FETS_PROOF_MS:
            interlock.trip(codes.TRIP_NOT_ACTUATED, reading.fets, driver.fets_wanted)
        elif self._misses >= SENSE_MISSES_MAX:
            interlock.trip(codes.TRIP_SENSE, sense_ma, reading.current_ma)

    def _power_is_wrong(self, profile, reading, sense_ma: int, enabled_mw: int) -> bool:
        """Return True while an enabled stage does something else than it was told."""
        full_mw = max(profile.power_mw_discharge_max, profile.power_mw_charge_max)
        realized_mw = self._stage.realized_mw(reading.pack_mv, sense_ma)
        margin_mw = full_mw // 4 + power_mw(reading.pack_mv, 1000)
        if abs(realized_mw - enabled_mw) > margin_mw:
            return True
        if enabled_mw < 0:
            realized_mw = -realized_mw
            enabled_mw = -enabled_mw
        return enabled_mw > full_mw // 5 and realized_mw < enabled_mw // 4

    def _compare(self, reading, is_fresh: bool, sense_ma: int, margin_ma: int,
                 dt_ms: int) -> None:
        """Hold each new reading of the BMS's current against what the sensor has seen lately."""
        self._span_ms += dt_ms
        if self._span_ms >= SENSE_SPAN_MS:
            self._span_ms = 0
            self._last_low_ma = self._low_ma
            self._last_high_ma = self._high_ma
            self._low_ma = self._high_ma = sense_ma
        elif sense_ma < self._low_ma:
            self._low_ma = sense_ma
        elif sense_ma > self._high_ma:
            self._high_ma = sense_ma
        if not is_fresh:
            self._misses = 0
            return
        if reading.at_ms == self._read_at:
            return
        self._read_at = reading.at_ms
        low_ma = min(self._low_ma, self._last_low_ma) - margin_ma
        high_ma = max(self._high_ma, self._last_high_ma) + margin_ma
        if low_ma <= reading.current_ma <= high_ma:
            self._misses = 0
        else:
            self._misses += 1


def _bad_ms(so_far_ms: int, bad: bool, dt_ms: int) -> int:
    return so_far_ms + dt_ms if bad else 0
