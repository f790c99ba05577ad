"""The home's loads: delays, starts, inrush; a refrigerator keeps heat and lock-out."""

import numpy as np
import pytest

from hil.trustder.delay import BATTERY, SWITCH, Delay
from hil.trustder.loads import Heater, Lights, SmartSwitch
from hil.trustder.refrigerator import Refrigerator


def mean_w(load, until_ms, part_ms=100):
    """Return the means of each part until until_ms."""
    powers, before_j = [], load.energy_j
    for now_ms in range(load._now_ms + part_ms, until_ms + 1, part_ms):
        load.advance(now_ms)
        powers.append((load.energy_j - before_j) * 1000 / part_ms)
        before_j = load.energy_j
    return powers


@pytest.mark.parametrize("delay", [SWITCH, BATTERY, Delay(0.0, 1.0)])
def test_delays_have_the_mean_and_the_spread_that_they_say(delay):
    drawn = delay.draw(np.random.default_rng(1), 40_000)
    assert drawn.min() >= delay.s_min
    assert drawn.mean() == pytest.approx(delay.s_mean, rel=0.01)
    assert drawn.std() == pytest.approx(delay.s_sigma, rel=0.03)
    for elapsed_s in (delay.s_min, 0.8 * delay.s_mean, delay.s_mean, 2 * delay.s_mean):
        assert (drawn <= elapsed_s).mean() == pytest.approx(delay.arrived(elapsed_s), abs=0.01)


def test_the_switch_takes_half_a_second():
    assert SWITCH.s_mean == 0.5 and SWITCH.s_sigma == pytest.approx(0.1)
    with pytest.raises(ValueError, match="delay"):
        Delay(0.5, 0.5)


def test_a_switch_moves_its_contact_in_order_and_late():
    load, delays = Lights(100.0), iter((0.5, 0.1))
    switch = SmartSwitch(load, lambda: next(delays))
    assert switch.command(True, 1000) == 1500
    assert switch.command(False, 1100) == 1500  # it cannot overtake the one before
    switch.advance(1499)
    assert not load.contact and load.energy_j == 0
    switch.advance(1600)
    assert not load.contact and load.energy_j == 0
    with pytest.raises(ValueError, match="backwards"):
        load.advance(1000)


def test_a_heater_starts_its_fan_first_and_warms():
    heater = Heater(1500.0)
    heater.contact = True
    powers = mean_w(heater, 60_000)
    assert 35 < powers[0] <= 3 * 35 and max(powers[:8]) < 110
    assert powers[8] > 1500  # the sail switch has closed: cold element and fan
    assert powers[-1] == pytest.approx(1535, abs=2)
    assert powers[9] - powers[-1] == pytest.approx(0.07 * 1500, abs=20)
    heater.contact = False
    powers = mean_w(heater, 75_000)
    assert powers[0] == pytest.approx(35, abs=1)  # the element is off at once, the fan runs on
    assert powers[-1] == 0.0


def test_lights_have_an_inrush_that_a_meter_of_a_second_hardly_sees():
    lights = Lights(600.0)
    lights.contact = True
    powers = mean_w(lights, 3000, 10)
    assert 10 * 600 < powers[0] < 14 * 600 and powers[50] < 1.3 * 600
    assert powers[-1] == pytest.approx(600, abs=1)
    # exponentials are integrated exactly: their areas are factor * time constant
    assert lights.energy_j == pytest.approx(600 * (3 + 12.5 * 0.02 + 0.5 * 0.3), rel=1e-3)


@pytest.mark.parametrize(("seed", "inside_c", "room_c"), [
    (1, 2.0, 15.0), (2, 6.0, 30.0), (3, 4.0, 21.0), (4, 5.9, 24.0), (5, 2.3, 18.0)])
def test_a_refrigerator_keeps_its_heat_its_band_and_its_lock_out(seed, inside_c, room_c):
    rng = np.random.default_rng(seed)
    one = Refrigerator(inside_c=inside_c, room_c=room_c)
    one.SUB_STEP_MS = 100
    was, since_ms, changes = one.running, None, 0
    for now_ms in range(500, 5_400_001, 500):
        if now_ms % 5000 == 0:
            one.contact = bool(rng.integers(0, 2))
        assert one.may_run or one.may_rest
        one.advance(now_ms)
        if one.running != was:
            assert since_ms is None or now_ms - since_ms >= 180_000 - 500
            was, since_ms, changes = one.running, now_ms, changes + 1
    assert changes > 5
    stored_j = one.HEAT_J_PER_K * (one.inside_c - inside_c)
    assert stored_j == pytest.approx(one.heat_in_j - one.heat_out_j, abs=1e-3)
    # one shortest time of running or resting beyond the band, and no further
    assert one.COLD_C - 0.6 < one.inside_c < one.WARM_C + 0.4


def test_food_comes_first():
    one = Refrigerator(inside_c=5.99)
    one.advance(60_000)  # the contact is open, it warms
    one.advance(600_000)
    assert one.heat_out_j > 0 and one.inside_c < 6.1, "the guard did not close the contact"
    cold = Refrigerator(inside_c=1.9)
    cold.contact = True
    cold.advance(60_000)
    assert cold.energy_j == 0 and not cold.may_run, "it froze what was asked to run"


def test_a_compressor_starts_with_an_inrush():
    one = Refrigerator(inside_c=4.0)
    one.contact = True
    powers = mean_w(one, 300_000, 10)
    assert 5 * 130 < powers[0] < 6.2 * 130
    assert powers[100] == pytest.approx(130 * 1.15, rel=0.02)
    assert powers[-1] == pytest.approx(130, rel=0.01)
