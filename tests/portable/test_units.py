"""Check the integer arithmetic of units against exact rational arithmetic."""

from element.protocol import units
from element.protocol.units import clamp, current_ma, power_mw, split_evenly

SMALL = 1 << 30
VOLTAGES = (0, 9, 10, 999, 1000, 2000, 36_007, 51_200, 200_000, 1_000_000)
CURRENTS = (0, 1, 9, 10, 99, 100, 999, 1000, 20_003, 60_000, 400_000, 1_000_000)


def test_power_is_the_product_within_its_resolution():
    for mv in VOLTAGES:
        for ma in CURRENTS:
            exact = mv * ma
            got = power_mw(mv, ma) * 1000
            # 10 mV and 10 mA of truncation, then 10 mW
            assert got <= exact, (mv, ma)
            assert exact - got <= 10 * ma + 10 * mv + 10_000, (mv, ma)


def test_power_is_odd_in_the_current():
    for mv in VOLTAGES:
        for ma in CURRENTS:
            assert power_mw(mv, -ma) == -power_mw(mv, ma)


def test_power_golden():
    assert power_mw(51_200, 10_000) == 512_000
    assert power_mw(51_200, -10_000) == -512_000
    assert power_mw(48_000, 100) == 4_800


def test_power_intermediates_stay_small():
    # 800 V * 400 A is what the docstring promises
    assert (800_000 // 10) * (400_000 // 10) // 10 == power_mw(800_000, 400_000)
    assert power_mw(800_000, 400_000) == 320_000_000 < SMALL


def test_current_is_the_quotient_truncated():
    for mv in (1000, 2000, 36_000, 51_200, 200_000, 1_000_000):
        for mw in (0, 1, 999, 50_000, 2_500_000, 10_000_000, 100_000_000):
            exact = mw * 1000 // mv
            got = current_ma(mw, mv)
            # the voltage counts in 10 mV: up to 1 % at the lowest voltage
            assert abs(got - exact) <= exact // 99 + 1, (mw, mv, got, exact)
            assert current_ma(-mw, mv) == -got


def test_current_without_a_voltage_is_zero():
    for mv in (0, 1, 999):
        assert current_ma(1_000_000, mv) == 0
        assert current_ma(-1_000_000, mv) == 0
    assert current_ma(1_000_000, 1000) == 1_000_000


def test_current_and_power_are_inverse_within_the_resolution():
    for mv in (20_000, 51_200, 200_000):
        for mw in (0, 10_000, 777_777, 2_500_000):
            assert abs(power_mw(mv, current_ma(mw, mv)) - mw) <= mv // 100 + 20


def test_clamp():
    for value, expected in ((-11, -10), (-10, -10), (-9, -9), (0, 0), (9, 9), (10, 10), (11, 10)):
        assert clamp(value, -10, 10) == expected
    assert clamp(5, 3, 3) == 3


def test_split_sums_exactly_and_is_proportional():
    seed = 12345
    for _ in range(300):
        weights = []
        for _ in range(1 + seed % 7):
            seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
            weights.append(seed % 1000)
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        total = seed % 2_000_001 - 1_000_000
        if sum(weights) == 0:
            continue
        parts = split_evenly(total, weights)
        assert sum(parts) == total
        for part, weight in zip(parts, weights):
            exact_low = abs(total) * weight // sum(weights)
            assert exact_low <= abs(part) <= exact_low + 1
            assert part == 0 or (part > 0) == (total > 0)
            assert weight or part == 0


def test_split_with_nothing_to_carry():
    assert split_evenly(0, [0, 0, 0]) == [0, 0, 0]
    assert split_evenly(0, []) == []
    try:
        split_evenly(1, [0, 0])
    except ValueError:
        return
    raise AssertionError("a total without weights was split")


def test_split_gives_ties_to_the_lowest_index():
    assert units.split_evenly(2, [1, 1, 1]) == [1, 1, 0]
    assert units.split_evenly(-2, [1, 1, 1]) == [-1, -1, 0]
