"""Arbitrage and cycling signals, and cells that age."""

from random import Random

import pytest

from hil.plant.cell import CHEMISTRIES
from hil.plant.pack import Pack
from hil.signals.energy import arbitrage_signal, cycling_signal

HOUR_MS = 3_600_000


def energy(signal, hours):
    """Return the sum over so many hours in peak-hours, discharge positive."""
    return sum(signal.at(minute * 60_000) for minute in range(hours * 60)) / 60


def test_a_day_of_arbitrage_charges_when_it_is_cheap_and_comes_round():
    signal = arbitrage_signal(48 * HOUR_MS)
    assert signal.at(3 * HOUR_MS) < 0 < signal.at(18 * HOUR_MS)
    assert signal.at(8 * HOUR_MS) == signal.at(23 * HOUR_MS) == 0
    assert signal.at(27 * HOUR_MS) == signal.at(3 * HOUR_MS)
    # what is discharged comes back with the losses of a good 48 V system
    assert energy(signal, 24) == pytest.approx(-0.4, abs=0.05)


def test_cycles_follow_each_other_with_rests():
    signal = cycling_signal(168 * HOUR_MS)
    assert signal.at(HOUR_MS) == -1 and signal.at(int(2.1 * HOUR_MS)) == 0
    assert signal.at(3 * HOUR_MS) == 1
    begins = sum(signal.at(minute * 60_000) < 0 <= signal.at(max(0, minute - 1) * 60_000)
                 for minute in range(1, 168 * 60))
    assert 36 <= begins <= 39
    with pytest.raises(ValueError, match="shorter"):
        cycling_signal(1000)


def aged(acceleration, hours=10):
    """Return a pack after so many hours of half its capacity in and out."""
    pack = Pack(CHEMISTRIES["LFP"], 4, 100.0, Random(1))
    pack.wear_acceleration = acceleration
    for minute in range(hours * 60):
        pack.advance((minute + 1) * 60_000, 50.0 if minute // 30 % 2 else -50.0)
    return pack


def test_cells_age_by_their_throughput_and_keep_their_charge():
    """A fifth of the capacity in 7000 cycles to 80 %, so many times sooner; SoC is not a jump."""
    young, old = aged(0.0), aged(1000.0)
    cycles = old.throughput_ah / (2 * 100 * 0.8)
    assert young.health == pytest.approx(1.0, abs=0.02)
    assert old.health / young.health == pytest.approx(1 - 0.2 * cycles * 1000 / 7000, rel=0.02)
    before = old.soc
    old._age()
    assert old.soc == pytest.approx(before)
    # what flows now moves the smaller capacity further
    began = old.soc
    old.advance(hours_ms(11), 10.0)
    young_began = young.soc
    young.advance(hours_ms(11), 10.0)
    assert (began - old.soc) / (young_began - young.soc) == pytest.approx(
        young.health / old.health, rel=0.01)


def hours_ms(hours):
    """Return hours in ms."""
    return hours * HOUR_MS
