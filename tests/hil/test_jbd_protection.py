"""Check thresholds, delays, hysteresis and FET reactions of the emulated BMS."""

from random import Random

import pytest

from hil.devices.jbd import JBDEmulator
from hil.devices.protection import (
    ERROR_CELL_OVERVOLT,
    ERROR_CELL_UNDERVOLT,
    ERROR_CHARGE_OVERCURRENT,
    ERROR_CHARGE_OVERTEMP,
    ERROR_CHARGE_UNDERTEMP,
    ERROR_DISCHARGE_OVERCURRENT,
    ERROR_DISCHARGE_OVERTEMP,
    ERROR_DISCHARGE_UNDERTEMP,
    ERROR_SHORT_CIRCUIT,
    ProtectionLimits,
    Protections,
)
from hil.plant.cell import LFP
from hil.plant.pack import Pack

MID_V = [3.3] * 16


def protections() -> Protections:
    """Return LFP protections: 3.65/3.55 V, 2.5/2.9 V, 80 A in, 100 A out."""
    return Protections(ProtectionLimits.for_chemistry(LFP))


def run(
    unit: Protections,
    start_ms: int,
    duration_ms: int,
    cells_v: list[float] = MID_V,
    current_a: float = 0.0,
    temperature_c: float = 25.0,
) -> int:
    """Update every 100 ms including both ends; return the last time."""
    for now_ms in range(start_ms, start_ms + duration_ms + 1, 100):
        unit.update(now_ms, cells_v, current_a, temperature_c)
    return start_ms + duration_ms


@pytest.mark.parametrize(
    ("trip_v", "hold_v", "clear_v", "bit"),
    [
        (3.651, 3.56, 3.549, ERROR_CELL_OVERVOLT),
        (2.499, 2.89, 2.901, ERROR_CELL_UNDERVOLT),
    ],
)
def test_one_bad_cell_trips_after_the_delay_and_clears_with_hysteresis(
    trip_v: float, hold_v: float, clear_v: float, bit: int
) -> None:
    """2 s to trip, no release inside the hysteresis, 2 s to clear."""
    unit = protections()
    now_ms = run(unit, 0, 1900, [*MID_V[1:], trip_v])
    assert unit.error_bits == 0
    now_ms = run(unit, now_ms + 100, 0, [*MID_V[1:], trip_v])
    assert unit.error_bits == bit
    assert unit.charge_allowed is (bit != ERROR_CELL_OVERVOLT)
    assert unit.discharge_allowed is (bit != ERROR_CELL_UNDERVOLT)
    now_ms = run(unit, now_ms + 100, 60_000, [*MID_V[1:], hold_v])
    assert unit.error_bits == bit
    now_ms = run(unit, now_ms + 100, 1900, [*MID_V[1:], clear_v])
    assert unit.error_bits == bit
    run(unit, now_ms + 100, 0, [*MID_V[1:], clear_v])
    assert unit.error_bits == 0


def test_a_short_excursion_does_not_trip() -> None:
    """The delay starts anew when the condition pauses."""
    unit = protections()
    now_ms = 0
    for _ in range(10):
        now_ms = run(unit, now_ms + 100, 1500, [3.7] * 16)
        now_ms = run(unit, now_ms + 100, 100)
    assert unit.error_bits == 0


@pytest.mark.parametrize(
    ("current_a", "delay_ms", "bit"),
    [
        (-80.5, 1000, ERROR_CHARGE_OVERCURRENT),
        (100.5, 1000, ERROR_DISCHARGE_OVERCURRENT),
        (301.0, 0, ERROR_SHORT_CIRCUIT),
    ],
)
def test_over_current_trips_and_clears_by_time(current_a: float, delay_ms: int, bit: int) -> None:
    """Over-current after 1 s, short at once; back 32 s after the current is gone."""
    unit = protections()
    unit.update(0, MID_V, current_a, 25.0)
    if delay_ms:
        run(unit, 100, delay_ms - 200, current_a=current_a)
        assert unit.error_bits == 0
        unit.update(delay_ms, MID_V, current_a, 25.0)
    assert unit.error_bits == bit
    assert unit.charge_allowed is (bit != ERROR_CHARGE_OVERCURRENT)
    assert unit.discharge_allowed is (bit == ERROR_CHARGE_OVERCURRENT)
    now_ms = run(unit, 2000, 31_900)
    assert unit.error_bits == bit
    unit.update(now_ms + 100, MID_V, 0.0, 25.0)
    assert unit.error_bits == 0


def test_limits_themselves_are_allowed() -> None:
    """Exactly at a limit nothing trips."""
    unit = protections()
    run(unit, 0, 10_000, [3.65] * 15 + [2.5], current_a=100.0, temperature_c=60.0)
    run(unit, 10_100, 10_000, current_a=-80.0, temperature_c=0.0)
    assert unit.error_bits == 0


@pytest.mark.parametrize(
    ("temperature_c", "hold_c", "clear_c", "bits"),
    [
        (60.1, 55.1, 54.9, ERROR_CHARGE_OVERTEMP),
        (65.1, 60.1, 54.9, ERROR_CHARGE_OVERTEMP | ERROR_DISCHARGE_OVERTEMP),
        (-0.1, 4.9, 5.1, ERROR_CHARGE_UNDERTEMP),
        (-20.1, -15.1, 5.1, ERROR_CHARGE_UNDERTEMP | ERROR_DISCHARGE_UNDERTEMP),
    ],
)
def test_temperature_protections(
    temperature_c: float, hold_c: float, clear_c: float, bits: int
) -> None:
    """Charging has the narrower window; five degrees of hysteresis."""
    unit = protections()
    now_ms = run(unit, 0, 2000, temperature_c=temperature_c)
    assert unit.error_bits == bits
    assert unit.charge_allowed is False
    assert unit.discharge_allowed is (bits in (ERROR_CHARGE_OVERTEMP, ERROR_CHARGE_UNDERTEMP))
    now_ms = run(unit, now_ms + 100, 10_000, temperature_c=hold_c)
    assert unit.error_bits == bits
    run(unit, now_ms + 100, 2000, temperature_c=clear_c)
    assert unit.error_bits == 0


def test_overcharged_pack_opens_the_charge_fet_only_and_reports_it() -> None:
    """End to end: real pack voltage, error bit in 0x03, FET status, recovery after rest."""
    rng = Random(2)
    pack = Pack(LFP, 16, 100.0, rng, soc=0.97)
    bms = JBDEmulator(pack, rng, 16, start_closed=True)
    now_ms = 0
    while bms.fet_charge and now_ms < 1_200_000:
        now_ms += 100
        pack.advance(now_ms, -40.0)
        bms.update(now_ms)
    assert max(pack.cell_voltages_v()) > 3.6
    assert bms.fet_discharge
    assert bms.error_bits == ERROR_CELL_OVERVOLT
    bms.feed(bytes.fromhex("DD A5 03 00 FF FD 77"), now_ms)
    reply = bms.take(now_ms + 200)
    assert reply[20:22] == b"\x00\x01"
    assert reply[24] == 0b10
    for _ in range(600):
        now_ms += 100
        pack.advance(now_ms, 30.0)
        bms.update(now_ms)
    assert bms.error_bits == 0
    assert bms.fet_charge


def test_open_mask_wins_over_recovered_protection() -> None:
    """A FET that 0xE1 holds off stays off when its protection clears."""
    rng = Random(2)
    pack = Pack(LFP, 16, 100.0, rng)
    bms = JBDEmulator(pack, rng, 16, start_closed=False)
    for now_ms in range(100, 10_000, 100):
        pack.temperature_c = 70.0 if now_ms < 5000 else 25.0
        bms.update(now_ms)
    assert bms.protections.error_bits == 0
    assert (bms.fet_charge, bms.fet_discharge) == (False, False)


def test_counted_soc_drifts_by_the_sensor_error_only() -> None:
    """Two hours of 25 A: the BMS is off by its start error, 0.5 % and 30 mA, and is off."""
    rng = Random(8)
    pack = Pack(LFP, 16, 100.0, rng, soc=0.9)
    bms = JBDEmulator(pack, rng, 16, start_closed=True)
    start_error = bms.soc - pack.soc
    bms.update(1)
    for now_ms in range(1000, 7_200_001, 1000):
        pack.advance(now_ms, 25.0)
        bms.update(now_ms)
    drift = (bms.soc - pack.soc) - start_error
    assert 0.0 < abs(drift) <= 0.5 * 0.005 + 0.03 * 2 / 100 + 0.005
    assert abs(start_error) <= 0.02
