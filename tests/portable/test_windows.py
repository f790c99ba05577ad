"""Check sliding windows against a list of everything that ever went in."""

from element.windows import BUCKETS, EnergyWindow, ExtremesWindow


def draws(seed):
    """Return a function that draws integers below a size."""
    state = [seed]

    def draw(size):
        state[0] = (state[0] * 1103515245 + 12345) & 0x7FFFFFFF
        return (state[0] >> 8) % size

    return draw


def test_energy_is_never_less_than_what_the_window_saw_and_a_bucket_more_at_most():
    draw = draws(5)
    for window_s in (10, 24, 100):
        window = EnergyWindow(window_s)
        past = []  # (time, mW ms)
        now = 0
        bucket_ms = window_s * 1000 // BUCKETS + 1
        for _ in range(4000):
            dt = 20 + draw(400)
            power = draw(200_001) * 100 - 10_000_000
            now += dt
            window.advance(dt)
            window.add(power, dt)
            past.append((now, abs(power) * dt))
            while past[0][0] < now - window_s * 1000 - 2 * bucket_ms - 500:
                past.pop(0)
            least = sum([one[1] for one in past if one[0] > now - window_s * 1000])
            most = sum([one[1] for one in past
                        if one[0] > now - window_s * 1000 - 2 * bucket_ms - 500])
            # the part below one mWh is carried along
            assert least // 3_600_000 - 1 <= window.total_mwh <= most // 3_600_000 + 1
        window.advance(window_s * 2000)
        assert window.total_mwh == 0


def test_energy_counts_both_directions_and_small_powers():
    for power in (3_600_000, -3_600_000):
        window = EnergyWindow(100)
        for _ in range(10):
            window.advance(100)
            window.add(power, 100)
        assert window.total_mwh == 1000
    window = EnergyWindow(1000)
    for _ in range(36_000):  # 1 mW is counted as the resolution, 100 mW, never as nothing
        window.add(1, 10)
    assert window.total_mwh == 10


def test_extremes_are_those_of_the_window_and_a_bucket_more_at_most():
    draw = draws(9)
    for window_s in (10, 50):
        window = ExtremesWindow(window_s)
        past = []
        now = 0
        bucket_ms = window_s * 1000 // BUCKETS + 1
        value = 5000
        for _ in range(4000):
            dt = 20 + draw(400)
            now += dt
            value += draw(101) - 50
            window.advance(dt)
            window.add(value)
            past.append((now, value))
            while past[0][0] < now - window_s * 1000 - 2 * bucket_ms - 500:
                past.pop(0)
            inside = [one[1] for one in past if one[0] > now - window_s * 1000]
            around = [one[1] for one in past]
            assert min(around) <= window.low <= min(inside)
            assert max(inside) <= window.high <= max(around)


def test_extremes_before_and_long_after_the_last_value():
    window = ExtremesWindow(10)
    assert (window.low, window.high) == (0, 0)
    window.add(700)
    assert (window.low, window.high) == (700, 700)
    window.add(650)
    window.add(710)
    assert (window.low, window.high) == (650, 710)
    window.advance(1_000_000)
    # nothing was seen meanwhile: the last knowledge stays until there is a newer one
    assert (window.low, window.high) == (650, 710)
    window.add(690)
    window.advance(10_000 // BUCKETS + 2)
    assert (window.low, window.high) == (690, 690)


def test_a_window_of_no_length_turns_once_a_minute():
    window = EnergyWindow(0)
    began = window._index
    window.add_mwh(5)
    window.advance(59_999)
    assert window._index == began and window.total_mwh == 5
    window.advance(1)
    assert window._index != began
    window.advance(60_000 * (BUCKETS + 1))
    assert window.total_mwh == 0
