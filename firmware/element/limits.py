"""Admissibility: may this element do this now? Pure: values in, an answer out.

The profile comes from the element's credential, signed by the issuer; no message can widen it.
The aggregator plans with the same definition. A setpoint is admitted whole or refused with the
reason and the limit that refused it; it is never clamped. Zero is never refused here.
"""

from .protocol import codes
from .protocol.units import current_ma

# A cell or the pack this far beyond its limit is a trip and not a refusal.
CELL_MV_TRIP_MARGIN = 100
TEMPERATURE_MDEGC_TRIP_MARGIN = 5000
CURRENT_TRIP_FACTOR_PCT = 120
CURRENT_MA_TRIP_MARGIN = 1000


class Profile:
    """The limits of one element as attributes, from the fields of `schema.PROFILE`."""

    def __init__(self, fields: dict):
        self.kind = fields["kind"]
        self.power_mw_discharge_max = fields["power_mw_discharge_max"]
        self.power_mw_charge_max = fields["power_mw_charge_max"]
        self.current_ma_discharge_max = fields["current_ma_discharge_max"]
        self.current_ma_charge_max = fields["current_ma_charge_max"]
        self.soc_bp_min = fields["soc_bp_min"]
        self.soc_bp_max = fields["soc_bp_max"]
        self.cell_mv_min = fields["cell_mv_min"]
        self.cell_mv_max = fields["cell_mv_max"]
        self.temperature_mdegc_min = fields["temperature_mdegc_min"]
        self.temperature_mdegc_max = fields["temperature_mdegc_max"]
        self.ramp_mw_per_s = fields["ramp_mw_per_s"]
        self.lease_ms_max = fields["lease_ms_max"]
        self.reading_age_ms_max = fields["reading_age_ms_max"]
        self.energy_mwh_rated = fields["energy_mwh_rated"]
        self.step_mw = fields["step_mw"]
        self.on_ms_min = fields["on_ms_min"]
        self.off_ms_min = fields["off_ms_min"]
        self.services = fields["services"]
        # the cell group is polled four times less often than the pack group
        self.cells_age_ms_max = 4 * self.reading_age_ms_max


def fresh(profile: Profile, age_ms, cells_age_ms) -> bool:
    """Return True while both groups of the reading exist and are young enough."""
    if age_ms is None or cells_age_ms is None:
        return False
    # a negative age is a counter that has gone half round: older than anything
    return (0 <= age_ms <= profile.reading_age_ms_max
            and 0 <= cells_age_ms <= profile.cells_age_ms_max)


def direction(profile: Profile, reading, power_mw: int) -> tuple:
    """Return (reason, limit) for power in the sign of power_mw at the state in reading.

    (REASON_NONE, None) admits it. The reading must be fresh: `fresh` is the caller's first check.
    """
    if power_mw == 0:
        return codes.REASON_NONE, None
    if reading.temperature_mdegc_max > profile.temperature_mdegc_max:
        return codes.REASON_HOT, profile.temperature_mdegc_max
    if reading.temperature_mdegc_min < profile.temperature_mdegc_min:
        return codes.REASON_COLD, profile.temperature_mdegc_min
    if power_mw > 0:
        if reading.soc_bp <= profile.soc_bp_min:
            return codes.REASON_SOC_LOW, profile.soc_bp_min
        if reading.cell_mv_min <= profile.cell_mv_min:
            return codes.REASON_CELL_LOW, profile.cell_mv_min
    else:
        if reading.soc_bp >= profile.soc_bp_max:
            return codes.REASON_SOC_HIGH, profile.soc_bp_max
        if reading.cell_mv_max >= profile.cell_mv_max:
            return codes.REASON_CELL_HIGH, profile.cell_mv_max
    return codes.REASON_NONE, None


def admit_setpoint(profile: Profile, reading, is_fresh: bool, present_mw: int,
                   power_mw: int, lease_ms: int, service: int) -> tuple:
    """Return (reason, limit): REASON_NONE admits the setpoint, anything else refuses it.

    present_mw: the power the element is instructed to at this moment, for the ramp check.
    Order: the lease, the service, then power, current, ramp, freshness, state of the cells.
    Zero is admitted whatever else the setpoint says.
    """
    if power_mw == 0:
        return codes.REASON_NONE, None
    if not 0 < lease_ms <= profile.lease_ms_max:
        return codes.REASON_LEASE, profile.lease_ms_max
    # every class that is named must be permitted, or one permitted bit would carry the others
    if service == 0 or service & ~profile.services:
        return codes.REASON_SERVICE, profile.services
    sign = 1 if power_mw > 0 else -1
    limit_mw = _power_mw_max(profile, sign)
    if power_mw * sign > limit_mw:
        return codes.REASON_POWER, sign * limit_mw
    if not is_fresh:
        return codes.REASON_STALE, profile.reading_age_ms_max
    # an on/off stage has its one power, whatever mean of it is asked for
    pack_ma = current_ma(profile.step_mw or power_mw * sign, reading.pack_mv)
    limit_ma = _current_ma_max(profile, sign)
    if pack_ma > limit_ma:
        return codes.REASON_CURRENT, sign * limit_ma
    # a setpoint that its own lease is too short to reach was never meant for this element; one
    # between the present power and zero is only ever less, and taken
    reach_mw = profile.ramp_mw_per_s // 10 * (lease_ms // 10) // 10
    less = 0 < power_mw * sign <= present_mw * sign
    if not less and abs(power_mw - present_mw) > reach_mw:
        return codes.REASON_RAMP, profile.ramp_mw_per_s
    return direction(profile, reading, power_mw)


def _power_mw_max(profile: Profile, sign: int) -> int:
    """Return the largest power in a direction; an on/off stage has its step or nothing."""
    limit_mw = profile.power_mw_discharge_max if sign > 0 else profile.power_mw_charge_max
    if profile.step_mw:
        return profile.step_mw if profile.step_mw <= limit_mw else 0
    return limit_mw


def _current_ma_max(profile: Profile, sign: int) -> int:
    return profile.current_ma_discharge_max if sign > 0 else profile.current_ma_charge_max


def permitted_mw(profile: Profile, reading, power_mw: int, loss_mw: int) -> int:
    """Return what of power_mw the element may do at this moment; equal when all of it.

    The second check, at every tick: the state of the cells forbids a direction, and at a pack
    voltage that has sagged since admission the profile's current carries less power. loss_mw:
    what the stage takes from the pack on top of power_mw, non-negative. The reading is fresh.
    """
    if power_mw == 0 or direction(profile, reading, power_mw)[0] != codes.REASON_NONE:
        return 0
    sign = 1 if power_mw > 0 else -1
    carried_mw = reading.pack_mv // 10 * (_current_ma_max(profile, sign) // 10) // 10
    limit_mw = min(carried_mw - sign * loss_mw, _power_mw_max(profile, sign))
    if profile.step_mw:
        return power_mw if profile.step_mw <= limit_mw else 0
    return sign * max(0, min(power_mw * sign, limit_mw))


def ready_mw(profile: Profile, reading) -> tuple:
    """Return (discharge, charge) power in mW that would be admitted now, both non-negative."""
    discharge = profile.power_mw_discharge_max
    charge = profile.power_mw_charge_max
    # truncated to 10 mV * 100 mA, as units.power_mw
    volts10 = reading.pack_mv // 10
    discharge = min(discharge, volts10 * (profile.current_ma_discharge_max // 10) // 10)
    charge = min(charge, volts10 * (profile.current_ma_charge_max // 10) // 10)
    if direction(profile, reading, 1)[0] != codes.REASON_NONE:
        discharge = 0
    if direction(profile, reading, -1)[0] != codes.REASON_NONE:
        charge = 0
    if profile.step_mw:  # an on/off stage has all or nothing
        discharge = profile.step_mw if discharge >= profile.step_mw else 0
        charge = profile.step_mw if charge >= profile.step_mw else 0
    return discharge, charge


def hazard(profile: Profile, reading) -> tuple:
    """Return (trip cause, value, limit) when a cell or the pack is beyond its limit's margin.

    (TRIP_NONE, 0, 0) is the answer otherwise. The reading must be fresh.
    """
    limit = profile.cell_mv_max + CELL_MV_TRIP_MARGIN
    if reading.cell_mv_max > limit:
        return codes.TRIP_CELL_HIGH, reading.cell_mv_max, limit
    limit = profile.cell_mv_min - CELL_MV_TRIP_MARGIN
    if reading.cell_mv_min < limit:
        return codes.TRIP_CELL_LOW, reading.cell_mv_min, limit
    limit = profile.temperature_mdegc_max + TEMPERATURE_MDEGC_TRIP_MARGIN
    if reading.temperature_mdegc_max > limit:
        return codes.TRIP_TEMPERATURE, reading.temperature_mdegc_max, limit
    return codes.TRIP_NONE, 0, 0


def over_current(profile: Profile, sense_ma: int) -> tuple:
    """Return (trip cause, value, limit) when the sensed current is beyond the profile's margin."""
    limit = profile.current_ma_discharge_max * CURRENT_TRIP_FACTOR_PCT // 100
    limit += CURRENT_MA_TRIP_MARGIN
    if sense_ma > limit:
        return codes.TRIP_OVER_CURRENT, sense_ma, limit
    limit = profile.current_ma_charge_max * CURRENT_TRIP_FACTOR_PCT // 100
    limit += CURRENT_MA_TRIP_MARGIN
    if -sense_ma > limit:
        return codes.TRIP_OVER_CURRENT, sense_ma, -limit
    return codes.TRIP_NONE, 0, 0


def ramped(profile: Profile, from_mw: int, to_mw: int, dt_ms: int) -> int:
    """Return the power after dt_ms on the way from from_mw to to_mw at the profile's ramp.

    A ramp too slow for one tick moves by 1 mW: a setpoint must end somewhere.
    """
    step = profile.ramp_mw_per_s // 10 * dt_ms // 100
    if step == 0 and dt_ms > 0:
        step = 1
    if to_mw > from_mw + step:
        return from_mw + step
    if to_mw < from_mw - step:
        return from_mw - step
    return to_mw
