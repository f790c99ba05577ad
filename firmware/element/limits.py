"""Admissibility: may this element do this now? Pure: values in, an answer out.

The profile comes from the element's credential, signed by the issuer; no message can widen it.
The aggregator plans with the same definition. A setpoint is admitted whole or refused with the
reason and the limit that refused it; it is never clamped. Zero is never refused here.

What control asks in every tick (`direction`, `permitted_mw`, `hazard`, `over_current`, `ramped`)
allocates nothing. Three arguments recur: profile (`Profile`), reading (a fresh `Reading`), usage
(`Usage`: the envelopes' past, the SoC that may be believed, owners' limits).
"""

from .protocol import codes
from .protocol.units import current_ma
from .windows import BUCKET_MWH_MAX

# A cell or the pack this far beyond its limit is a trip and not a refusal.
CELL_MV_TRIP_MARGIN = 100
TEMPERATURE_MDEGC_TRIP_MARGIN = 5000
CURRENT_TRIP_FACTOR_PCT = 120
CURRENT_MA_TRIP_MARGIN = 1000
# Power that runs must leave room in each envelope for this long: the way to zero and its ticks.
HOLD_MS = 1000
# What is announced as ready must be good for a setpoint of this length.
READY_MS = 2000

# More than any envelope has room for.
_ROOM_MWH_MAX = 1_000_000_000


class Profile:
    """The limits of one element as attributes, from the fields of `rare.PROFILE`."""

    def __init__(self, fields: dict):
        for name in fields:
            setattr(self, name, fields[name])
        # the cell group is polled four times less often than the pack group
        self.cells_age_ms_max = 4 * self.reading_age_ms_max
        self.mwh_per_bp = self.energy_mwh_rated // 10000
        # a full cycle is the rated energy out and in again; 100 kW all day are 2.4e9 mWh, so that
        # what a window can hold narrows nothing
        self.day_mwh_max = min(
            BUCKET_MWH_MAX, 2 * self.energy_mwh_rated // 1000 * self.day_cycles_milli_max)


def share_bp(curve: list, soc_bp: int) -> int:
    """Return the share of the largest power at soc_bp: linear between the points, flat beyond.

    curve: soc_bp, share in bp, soc_bp, share... with rising soc_bp; empty is no derating.
    """
    count = len(curve)
    if count == 0:
        return 10000
    if soc_bp <= curve[0]:
        return curve[1]
    for index in range(2, count, 2):
        if soc_bp <= curve[index]:
            below_bp = curve[index - 2]
            share = curve[index - 1]
            rise = curve[index + 1] - share
            return share + rise * (soc_bp - below_bp) // (curve[index] - below_bp)
    return curve[count - 1]


def fresh(profile: Profile, age_ms, cells_age_ms) -> bool:
    """Return True while both groups of the reading exist and are young enough."""
    if age_ms is None or cells_age_ms is None:
        return False
    # a negative age is a counter that has gone half round: older than anything
    return (0 <= age_ms <= profile.reading_age_ms_max
            and 0 <= cells_age_ms <= profile.cells_age_ms_max)


def floor_bp(profile: Profile, service: int) -> int:
    """Return the SoC that a service may discharge down to.

    The owner's backup reserve comes before every service but backup itself.
    """
    if service == codes.SERVICE_BACKUP:
        return profile.soc_bp_min
    return max(profile.soc_bp_min, profile.reserve_soc_bp)


def direction(profile: Profile, reading, usage, power_mw: int, service: int) -> int:
    """Return why no power in the sign of power_mw may flow now, REASON_NONE when it may.

    The reading must be fresh: `fresh` is the caller's first check.
    """
    if power_mw == 0:
        return codes.REASON_NONE
    if power_mw > 0:
        if reading.temperature_mdegc_max > profile.temperature_mdegc_discharge_max:
            return codes.REASON_HOT
        if reading.temperature_mdegc_min < profile.temperature_mdegc_discharge_min:
            return codes.REASON_COLD
        if usage.soc_bp_low <= profile.soc_bp_min:
            return codes.REASON_SOC_LOW
        if usage.soc_bp_low <= floor_bp(profile, service):
            return codes.REASON_RESERVE
        if usage.discharge_closed or reading.cell_mv_min <= profile.cell_mv_min:
            return codes.REASON_CELL_LOW
    else:
        if reading.temperature_mdegc_max > profile.temperature_mdegc_charge_max:
            return codes.REASON_HOT
        if reading.temperature_mdegc_min < profile.temperature_mdegc_charge_min:
            return codes.REASON_COLD
        if usage.soc_bp_high >= profile.soc_bp_max:
            return codes.REASON_SOC_HIGH
        if usage.charge_closed or reading.cell_mv_max >= profile.cell_mv_max:
            return codes.REASON_CELL_HIGH
    if profile.thermal_rise_mdegc_max and profile.thermal_window_s:
        if reading.temperature_mdegc_max - usage.heat.low > profile.thermal_rise_mdegc_max:
            return codes.REASON_THERMAL
    return codes.REASON_NONE


def narrowest(profile: Profile, usage, sign: int, service: int) -> int:
    """Return the reason code of the envelope with the least room for energy in a direction."""
    reason = codes.REASON_ENERGY
    room = _window_mwh(profile, usage, sign, service)
    for other, other_mwh in ((codes.REASON_THERMAL, _thermal_mwh(profile, usage)),
                             (codes.REASON_SWING, _swing_mwh(profile, usage, sign)),
                             (codes.REASON_CYCLES, _day_mwh(profile, usage))):
        if other_mwh < room:
            reason = other
            room = other_mwh
    return reason


def room_mwh(profile: Profile, usage, sign: int, service: int) -> int:
    """Return the energy in mWh that every envelope still has room for in a direction, >= 0."""
    room = min(_window_mwh(profile, usage, sign, service), _thermal_mwh(profile, usage))
    room = min(room, _swing_mwh(profile, usage, sign))
    return max(0, min(room, _day_mwh(profile, usage)))


def _window_mwh(profile: Profile, usage, sign: int, service: int) -> int:
    """Return the energy between the SoC and the end of the depth-of-discharge window."""
    if sign > 0:
        return (usage.soc_bp_low - floor_bp(profile, service)) * profile.mwh_per_bp
    return (profile.soc_bp_max - usage.soc_bp_high) * profile.mwh_per_bp


def _thermal_mwh(profile: Profile, usage) -> int:
    if profile.thermal_window_s == 0:
        return _ROOM_MWH_MAX
    return profile.thermal_mwh_max - usage.thermal.total_mwh


def _swing_mwh(profile: Profile, usage, sign: int) -> int:
    """Return the energy until the SoC has swung by the mechanical envelope's limit."""
    if profile.swing_window_s == 0:
        return _ROOM_MWH_MAX
    swing = usage.swing
    if sign > 0:
        room_bp = profile.swing_bp_max - (swing.high - usage.soc_bp)
    else:
        room_bp = profile.swing_bp_max - (usage.soc_bp - swing.low)
    return room_bp * profile.mwh_per_bp


def _day_mwh(profile: Profile, usage) -> int:
    if profile.day_mwh_max == 0:
        return _ROOM_MWH_MAX
    return profile.day_mwh_max - usage.day.total_mwh


def admit_setpoint(profile: Profile, reading, usage, is_fresh: bool, present_mw: int,
                   power_mw: int, lease_ms: int, service: int) -> int:
    """Return REASON_NONE to admit a setpoint, or why it is refused.

    present_mw: the power the element is instructed to at this moment, for the ramp check.
    Order: what never changes, then the lease's own numbers, freshness, the state of the cells,
    and last the room in the envelopes for the whole lease. Zero is admitted whatever else the
    setpoint says.
    """
    if power_mw == 0:
        return codes.REASON_NONE
    if profile.monitor_only:
        return codes.REASON_MONITOR
    if not 0 < lease_ms <= profile.lease_ms_max:
        return codes.REASON_LEASE
    # every class that is named must be permitted, or one permitted bit would carry the others
    if service == 0 or service & ~profile.services:
        return codes.REASON_SERVICE
    for known, response_ms in codes.SERVICE_RESPONSE_MS:
        if service & known and profile.response_ms > response_ms:
            return codes.REASON_RESPONSE
    sign = 1 if power_mw > 0 else -1
    size_mw = power_mw * sign
    if size_mw > _rated_mw(profile, sign):
        return codes.REASON_POWER
    # an on/off stage has its one power, whatever mean of it is asked for
    full_mw = profile.step_mw or size_mw
    if full_mw > _owner_mw(usage, sign):
        return codes.REASON_OWNER
    if not is_fresh:
        return codes.REASON_STALE
    if full_mw > _derated_mw(profile, usage, sign):
        return codes.REASON_POWER
    pack_ma = current_ma(full_mw, reading.pack_mv)
    if pack_ma > _rated_ma(profile, sign):
        return codes.REASON_CURRENT
    if pack_ma > _bms_ma(reading, sign):
        return codes.REASON_BMS
    # a setpoint that its own lease is too short to reach was never meant for this element; one
    # between the present power and zero is only ever less, and taken
    less = size_mw <= present_mw * sign
    if not less and abs(power_mw - present_mw) > ramp_reach_mw(profile, lease_ms):
        return codes.REASON_RAMP
    reason = direction(profile, reading, usage, power_mw, service)
    if reason != codes.REASON_NONE:
        return reason
    if energy_mwh(full_mw, lease_ms) > room_mwh(profile, usage, sign, service):
        return narrowest(profile, usage, sign, service)
    return codes.REASON_NONE


def energy_mwh(size_mw: int, duration_ms: int) -> int:
    """Return the energy of a power in mWh, rounded up. size_mw is not negative."""
    return -(-size_mw * duration_ms // 3_600_000)


def ramp_reach_mw(profile: Profile, duration_ms: int) -> int:
    """Return how far the power can move in duration_ms."""
    return profile.ramp_mw_per_s // 10 * (duration_ms // 10) // 10


def refusal_limit(profile: Profile, reading, usage, reason: int, power_mw: int, service: int):
    """Return the number behind a refusal, in the unit of its limit; None where there is none."""
    sign = 1 if power_mw > 0 else -1
    charge = power_mw < 0
    if reason == codes.REASON_POWER:
        return sign * min(_rated_mw(profile, sign), _derated_mw(profile, usage, sign))
    if reason == codes.REASON_OWNER:
        return sign * _owner_mw(usage, sign)
    if reason == codes.REASON_CURRENT:
        return sign * _rated_ma(profile, sign)
    if reason == codes.REASON_BMS:
        return sign * _bms_ma(reading, sign)
    if reason == codes.REASON_HOT:
        return (profile.temperature_mdegc_charge_max if charge
                else profile.temperature_mdegc_discharge_max)
    if reason == codes.REASON_COLD:
        return (profile.temperature_mdegc_charge_min if charge
                else profile.temperature_mdegc_discharge_min)
    if reason in (codes.REASON_ENERGY, codes.REASON_RESERVE):
        return profile.soc_bp_max if charge else floor_bp(profile, service)
    name = _LIMIT_NAMES.get(reason)
    return None if name is None else getattr(profile, name)


_LIMIT_NAMES = {
    codes.REASON_LEASE: "lease_ms_max", codes.REASON_SERVICE: "services",
    codes.REASON_RESPONSE: "response_ms", codes.REASON_STALE: "reading_age_ms_max",
    codes.REASON_RAMP: "ramp_mw_per_s", codes.REASON_SOC_LOW: "soc_bp_min",
    codes.REASON_SOC_HIGH: "soc_bp_max", codes.REASON_CELL_LOW: "cell_mv_min",
    codes.REASON_CELL_HIGH: "cell_mv_max", codes.REASON_THERMAL: "thermal_mwh_max",
    codes.REASON_SWING: "swing_bp_max", codes.REASON_CYCLES: "day_cycles_milli_max",
}


def _rated_mw(profile: Profile, sign: int) -> int:
    """Return the largest power in a direction; an on/off stage has its step or nothing."""
    limit_mw = profile.power_mw_discharge_max if sign > 0 else profile.power_mw_charge_max
    if profile.step_mw:
        return profile.step_mw if profile.step_mw <= limit_mw else 0
    return limit_mw


def _derated_mw(profile: Profile, usage, sign: int) -> int:
    """Return the largest power at the present SoC; derated, in steps of 0.01 % of the rating."""
    if sign > 0:
        full_mw = profile.power_mw_discharge_max
        share = share_bp(profile.discharge_bp_at_soc, usage.soc_bp_low)
    else:
        full_mw = profile.power_mw_charge_max
        share = share_bp(profile.charge_bp_at_soc, usage.soc_bp_high)
    return full_mw if share >= 10000 else full_mw // 10000 * share


def _owner_mw(usage, sign: int) -> int:
    return usage.owner_mw_discharge if sign > 0 else usage.owner_mw_charge


def _rated_ma(profile: Profile, sign: int) -> int:
    return profile.current_ma_discharge_max if sign > 0 else profile.current_ma_charge_max


def _bms_ma(reading, sign: int) -> int:
    return reading.current_ma_discharge_bms if sign > 0 else reading.current_ma_charge_bms


def able_mw(profile: Profile, reading, usage, sign: int, loss_mw: int) -> int:
    """Return the largest power at the PCC in a direction at this moment, never negative.

    The rating, the SoC, the owners, and the current that profile and BMS allow at the present
    voltage. loss_mw: what the stage takes from the pack on top of a discharge; a charge loses
    some before the pack, and nothing is built on that.
    """
    limit_mw = min(_rated_mw(profile, sign), _derated_mw(profile, usage, sign))
    limit_mw = min(limit_mw, _owner_mw(usage, sign))
    pack_ma = min(_rated_ma(profile, sign), _bms_ma(reading, sign))
    # truncated to 10 mV * 10 mA, as units.power_mw
    carried_mw = reading.pack_mv // 10 * (pack_ma // 10) // 10
    if sign > 0:
        carried_mw -= loss_mw
    return max(0, min(limit_mw, carried_mw))


def permitted_mw(profile: Profile, reading, usage, power_mw: int, loss_mw: int,
                 service: int) -> int:
    """Return what of power_mw the element may do at this moment; equal when all of it.

    The second check, at every tick: the state of the cells forbids a direction, the moment
    carries less power than at admission, or an envelope has no room left for HOLD_MS of it.
    loss_mw: what the stage takes from the pack on top of power_mw, non-negative.
    """
    if power_mw == 0:
        return 0
    if direction(profile, reading, usage, power_mw, service) != codes.REASON_NONE:
        return 0
    sign = 1 if power_mw > 0 else -1
    limit_mw = able_mw(profile, reading, usage, sign, loss_mw)
    full_mw = profile.step_mw
    if full_mw:
        if full_mw > limit_mw:
            return 0
    else:
        full_mw = min(power_mw * sign, limit_mw)
    # the energy of HOLD_MS, rounded up: divided first, it stays small
    if full_mw // (3_600_000 // HOLD_MS) + 1 > room_mwh(profile, usage, sign, service):
        return 0
    return power_mw if profile.step_mw else sign * full_mw


def ready_mw(profile: Profile, reading, usage, sign: int, loss_mw: int) -> int:
    """Return the power in mW, non-negative, that a grid service would be admitted for now."""
    if profile.monitor_only:
        return 0
    service = codes.SERVICE_REGULATION
    if direction(profile, reading, usage, sign, service) != codes.REASON_NONE:
        return 0
    limit_mw = able_mw(profile, reading, usage, sign, loss_mw)
    room = room_mwh(profile, usage, sign, service)
    limit_mw = min(limit_mw, min(room, 100_000) * (3_600_000 // READY_MS))
    if profile.step_mw:  # an on/off stage has all or nothing
        return profile.step_mw if limit_mw >= profile.step_mw else 0
    return limit_mw


def hazard(profile: Profile, reading) -> int:
    """Return the trip cause when a cell or the pack is beyond its limit's margin, else TRIP_NONE.

    The reading must be fresh. `hazard_facts` has the numbers.
    """
    if reading.cell_mv_max > profile.cell_mv_max + CELL_MV_TRIP_MARGIN:
        return codes.TRIP_CELL_HIGH
    if reading.cell_mv_min < profile.cell_mv_min - CELL_MV_TRIP_MARGIN:
        return codes.TRIP_CELL_LOW
    if reading.temperature_mdegc_max > _hot_mdegc(profile):
        return codes.TRIP_TEMPERATURE
    return codes.TRIP_NONE


def hazard_facts(profile: Profile, reading, cause: int) -> tuple:
    """Return (value, limit, index of the cell or thermometer) behind a cause of `hazard`."""
    if cause == codes.TRIP_CELL_HIGH:
        return (reading.cell_mv_max, profile.cell_mv_max + CELL_MV_TRIP_MARGIN,
                reading.cell_index_max)
    if cause == codes.TRIP_CELL_LOW:
        return (reading.cell_mv_min, profile.cell_mv_min - CELL_MV_TRIP_MARGIN,
                reading.cell_index_min)
    return reading.temperature_mdegc_max, _hot_mdegc(profile), reading.ntc_index_max


def _hot_mdegc(profile: Profile) -> int:
    return TEMPERATURE_MDEGC_TRIP_MARGIN + max(
        profile.temperature_mdegc_discharge_max, profile.temperature_mdegc_charge_max)


def over_current_ma(profile: Profile, sign: int) -> int:
    """Return the current, signed like sign, beyond which a direction trips."""
    limit_ma = _rated_ma(profile, sign) * CURRENT_TRIP_FACTOR_PCT // 100
    return sign * (limit_ma + CURRENT_MA_TRIP_MARGIN)


def over_current(profile: Profile, measured_ma: int) -> bool:
    """Return True when a measured current is beyond the profile's margin in its direction."""
    if measured_ma >= 0:
        return measured_ma > over_current_ma(profile, 1)
    return measured_ma < over_current_ma(profile, -1)


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
