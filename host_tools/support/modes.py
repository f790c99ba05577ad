"""Standby, grid support, emergency: which mode a measurement puts the building in. Pure.

Towards more support a mode changes at once, back only after it has been quiet for a while. A
measurement that is missing or old is standby, with its reason: nobody supports a grid unseen.
"""

from dataclasses import dataclass

STANDBY = "standby"
SUPPORT = "grid support"
EMERGENCY = "emergency"
ISLANDED = "no grid"
RANK = {STANDBY: 0, SUPPORT: 1, EMERGENCY: 2, ISLANDED: 3}

MEASUREMENT_AGE_MS_MAX = 2000
# Back to less support after so long without a reason for more.
QUIET_MS = 30_000
# Beyond these the grid is in trouble: 0.8 Hz off, a fifth of the voltage missing.
EMERGENCY_MHZ = 800
EMERGENCY_VOLTAGE_BP = 2000
# Below this there is no grid: half the voltage.
NO_GRID_VOLTAGE_BP = 5000
NO_GRID_MS = 200


@dataclass(frozen=True)
class Measurement:
    """What a meter says. voltage_mv: to neutral, the lowest phase. demand_mw: of the building,
    without the elements. place: in the grid (share.py), "" for the building's own PCC."""

    at_ms: int
    frequency_mhz: int
    voltage_mv: int
    demand_mw: int = 0
    place: str = ""


@dataclass(frozen=True)
class Nominal:
    """What should be."""

    frequency_mhz: int = 50_000
    voltage_mv: int = 230_000

    def deviation_mhz(self, measured: Measurement) -> int:
        """How far the frequency is off, negative when too low."""
        return measured.frequency_mhz - self.frequency_mhz

    def deviation_bp(self, measured: Measurement) -> int:
        """How far the voltage is off, in basis points, negative when too low."""
        return (measured.voltage_mv - self.voltage_mv) * 10000 // self.voltage_mv


@dataclass(frozen=True)
class Mode:
    """The mode, since when, why, and since when less would do (None: it would not)."""

    name: str = STANDBY
    since_ms: int = 0
    why: str = "nothing measured"
    quiet_since_ms: int | None = None
    dark_since_ms: int | None = None


def wanted(measured: Measurement, nominal: Nominal, dead_band_mhz: int, dead_band_bp: int,
           limit_mw: int | None) -> tuple[str, str]:
    """Return (mode, why) that a measurement alone asks for. A dark bus is judged by `step`."""
    mhz, bp = nominal.deviation_mhz(measured), nominal.deviation_bp(measured)
    if abs(mhz) >= EMERGENCY_MHZ or bp <= -EMERGENCY_VOLTAGE_BP:
        return EMERGENCY, f"{measured.frequency_mhz} mHz, {measured.voltage_mv} mV"
    if abs(mhz) > dead_band_mhz:
        return SUPPORT, f"frequency {measured.frequency_mhz} mHz"
    if abs(bp) > dead_band_bp:
        return SUPPORT, f"voltage {measured.voltage_mv} mV"
    if limit_mw is not None and measured.demand_mw > limit_mw:
        return SUPPORT, f"demand {measured.demand_mw} mW"
    return STANDBY, "within the dead-bands"


def step(mode: Mode, measured: Measurement | None, nominal: Nominal, dead_band_mhz: int,
         dead_band_bp: int, limit_mw: int | None, now_ms: int) -> Mode:
    """Return the mode at now_ms. measured: the newest measurement, None before the first."""
    if measured is None or now_ms - measured.at_ms > MEASUREMENT_AGE_MS_MAX:
        why = "nothing measured" if measured is None else "the measurement is too old"
        return mode if (mode.name, mode.why) == (STANDBY, why) else Mode(STANDBY, now_ms, why)
    dark = nominal.deviation_bp(measured) <= -NO_GRID_VOLTAGE_BP
    dark_since_ms = (mode.dark_since_ms if mode.dark_since_ms is not None else now_ms) \
        if dark else None
    name, why = wanted(measured, nominal, dead_band_mhz, dead_band_bp, limit_mw)
    if dark_since_ms is not None and now_ms - dark_since_ms >= NO_GRID_MS:
        name, why = ISLANDED, "no voltage at the PCC"
    if RANK[name] > RANK[mode.name]:
        return Mode(name, now_ms, why, None, dark_since_ms)
    if name == mode.name:
        return Mode(name, mode.since_ms, why, None, dark_since_ms)
    quiet_since_ms = now_ms if mode.quiet_since_ms is None else mode.quiet_since_ms
    if now_ms - quiet_since_ms >= QUIET_MS:
        return Mode(name, now_ms, why, None, dark_since_ms)
    return Mode(mode.name, mode.since_ms, mode.why, quiet_since_ms, dark_since_ms)
