"""What the element tells the host of itself: what the hardware reads, with ages, no echoes."""

from .bms.base import LINK_UP
from .limits import ready_mw, room_mwh
from .protocol import codes

_HEALTHY = codes.INHIBIT_LEASE | codes.INHIBIT_LIMIT


def telemetry_fields(agent, now: int) -> dict:
    """Return the fields of a Telemetry message at now."""
    control = agent.control
    reading = agent.driver.reading
    hal = agent.hal
    valid = reading.valid
    cells = reading.cells_valid
    discharge_mw, charge_mw, room_out_mwh, room_in_mwh = _ready(agent)
    estimator = control.estimator
    known = estimator is not None and estimator.known
    return {
        "at_unix_ms": agent.clock.unix_ms(now),
        "state": control.state,
        "inhibits": control.inhibits,
        "trip_cause": agent.interlock.cause,
        "power_mw": control.realized_mw,
        "instructed_mw": control.instructed_mw,
        "power_mw_discharge_ready": discharge_mw,
        "power_mw_charge_ready": charge_mw,
        "room_mwh_discharge": room_out_mwh,
        "room_mwh_charge": room_in_mwh,
        "pack_mv": reading.pack_mv if valid else None,
        "current_ma": control.sense_ma,
        "current_age_ms": min(hal.sense_age_ms(), 0xFFFF),
        "soc_bp": reading.soc_bp if valid else None,
        "cell_mv_min": reading.cell_mv_min if cells else None,
        "cell_mv_max": reading.cell_mv_max if cells else None,
        "temperature_mdegc_max": reading.temperature_mdegc_max if valid else None,
        "bms_age_ms": reading.age_ms(hal, now),
        "cells_age_ms": reading.cells_age_ms(hal, now),
        "fets": reading.fets if valid else None,
        "refused_count": agent.refused_count + agent.admission.refused_count,
        "dropped_count": agent.port.dropped_count,
        "late_ms_max": min(agent.late_ms_max, 0xFFFF),
        "flags": _flags(control, reading, known),
        "soc_bp_low": estimator.low_bp if known else None,
        "soc_bp_high": estimator.high_bp if known else None,
        "soc_bp_doubt": min(estimator.doubt_bp, 10000) if known else None,
        "cell_index_min": reading.cell_index_min if cells else None,
        "cell_index_max": reading.cell_index_max if cells else None,
        "bms_errors": reading.errors if valid else None,
        "bms_lost_count": agent.driver.lost_count,
        "bms_note": _note(agent.driver),
    }


def _ready(agent) -> tuple:
    """Return what a setpoint would be admitted for, non-negative.

    (discharge, charge) in mW, and the energy in mWh that the envelopes have room for each way.
    """
    control = agent.control
    if control.profile is None or agent.interlock.tripped or control.inhibits & ~_HEALTHY:
        return 0, 0, 0, 0
    reading = agent.driver.reading
    stage = control.stage
    profile = control.profile
    full_mw = profile.power_mw_discharge_max
    discharge_mw = ready_mw(
        profile, reading, control.usage, 1, stage.pack_mw_of(full_mw) - full_mw)
    usage = control.usage
    service = codes.SERVICE_REGULATION
    return (discharge_mw, ready_mw(profile, reading, usage, -1, 0),
            room_mwh(profile, usage, 1, service), room_mwh(profile, usage, -1, service))


def _flags(control, reading, known: bool) -> int:
    flags = 0
    if known and control.estimator.in_doubt:
        flags |= codes.FLAG_SOC_DOUBT
    if known and control.estimator.rested:
        flags |= codes.FLAG_SOC_AT_REST
    if reading.valid and reading.balancing:
        flags |= codes.FLAG_BALANCING
    if control.profile is not None and control.profile.monitor_only:
        flags |= codes.FLAG_MONITOR
    return flags


def _note(driver) -> str:
    """Return why the BMS is not heard, empty while it is."""
    return "" if driver.link_state == LINK_UP else driver.last_error[:96]
