"""Check the on/off stage: long-run mean, minimum times, reversal through off, decorrelation."""

from element.bms.base import FET_CHARGE, FET_DISCHARGE
from element.power.bms_fets import BMSFets

STEP = 500_000
ON_MS = 3000
OFF_MS = 2000
DT = 100


def make(remainder=0, on_ms=ON_MS, off_ms=OFF_MS):
    stage = BMSFets(STEP, on_ms, off_ms, 600, remainder)
    stage.start(0)
    return stage


class Draw:
    """A small generator, the same on both interpreters."""

    def __init__(self, seed):
        self.state = seed

    def below(self, size):
        self.state = (self.state * 1103515245 + 12345) & 0x7FFFFFFF
        return (self.state >> 8) % size


def run(stage, target, seconds, dt=DT):
    """Return the commanded power of every tick."""
    out = []
    for _ in range(seconds * 1000 // dt):
        out.append(stage.step(target, 48_000, 0, dt, -1).commanded_mw)
    return out


def test_outputs_of_the_three_levels():
    for target, level, fets in ((STEP, 1, FET_DISCHARGE), (-STEP, -1, FET_CHARGE), (0, 0, 0)):
        out = make().step(target, 48_000, 0, DT, -1)
        assert out.commanded_mw == level * STEP and out.fets == fets
        assert out.enable is (level != 0) and out.duty_permille == 0


def test_the_long_run_mean_is_the_target():
    for sign in (1, -1):
        for share in (1, 5, 20, 37, 50, 63, 80, 95, 99, 100):
            target = sign * STEP * share // 100
            for remainder in (-STEP // 2, 0, STEP // 3):
                powers = run(make(remainder), target, 300)
                mean = sum(powers) // len(powers)
                # a bounded error spread over 300 s: three steps of memory and half a step
                assert abs(mean - target) <= 4 * STEP // 300, (share, sign, mean, target)


def test_full_power_is_never_interrupted():
    assert set(run(make(), STEP, 300)) == {STEP}
    assert set(run(make(), -STEP, 300)) == {-STEP}


def test_zero_is_zero_whatever_went_before():
    for remainder in (-STEP // 2, -1, 0, 1, STEP // 2):
        assert set(run(make(remainder), 0, 20)) == {0}
    stage = make()
    run(stage, 200_000, 57)
    after = run(stage, 0, 60)
    # a minimum time may hold the level; after it nothing ever comes back
    assert set(after[ON_MS // DT:]) == {0}


def test_the_level_is_never_opposite_to_the_target():
    draw = Draw(5)
    stage = make()
    since_ms = 0
    target = 0
    level = 0
    for _ in range(40_000):
        if draw.below(15) == 0:
            target = draw.below(2 * STEP + 1) - STEP
            since_ms = 0
        commanded = stage.step(target, 48_000, 0, DT, -1).commanded_mw
        since_ms += DT
        if commanded * target < 0:
            # only what a minimum time prolongs, and only what already ran
            assert level == commanded and since_ms <= ON_MS
        level = commanded


def test_minimum_times_hold_under_random_targets():
    for on_ms, off_ms in ((3000, 2000), (0, 0), (1500, 700), (7000, 100)):
        draw = Draw(on_ms + 1)
        stage = make(draw.below(STEP) - STEP // 2, on_ms, off_ms)
        level = 0
        in_state_ms = 1 << 29  # it has rested for long
        switches = 0
        for _ in range(30_000):
            if draw.below(10) == 0:
                target = draw.below(2 * STEP + 1) - STEP
            elif draw.below(30) == 0:
                target = 0
            else:
                target = stage._target_mw
            after = stage.step(target, 48_000, 0, DT, -1).commanded_mw // STEP
            in_state_ms += DT
            if after != level:
                switches += 1
                assert after * level == 0, "a reversal without off between"
                assert in_state_ms >= (on_ms if level else off_ms)
                in_state_ms = 0
                level = after
        assert switches > 100


def test_a_reversal_passes_through_off_for_the_off_time():
    stage = make()
    run(stage, STEP, 10)
    powers = run(stage, -STEP, 10)
    first = powers.index(-STEP)
    assert set(powers[:first]) == {0} and first * DT >= OFF_MS


def test_zero_switches_off_at_once_and_the_off_time_counts_at_rest():
    stage = make()
    assert run(stage, STEP, 1)[-1] == STEP
    out = stage.zero()
    assert (out.enable, out.fets, out.duty_permille, out.commanded_mw) == (False, 0, 0, 0)
    stage.start(DT)
    assert stage.step(STEP, 48_000, 0, DT, -1).commanded_mw == 0, "the off time was not kept"
    stage.zero()
    stage.start(OFF_MS)
    assert stage.step(STEP, 48_000, 0, DT, -1).commanded_mw == STEP, "rest did not count as off"


def test_the_credentials_minimum_times_only_lengthen():
    stage = make()
    stage.dwell(10_000, 8000)
    stage.start(8000)
    assert run(stage, STEP, 1)[-1] == STEP
    assert set(run(stage, 0, 8)) == {STEP}
    assert set(run(stage, 0, 5)[20:]) == {0}
    stage = make()
    stage.dwell(0, 0)
    run(stage, STEP, 1)
    assert run(stage, 0, 1)[-1] == STEP, "a credential must not shorten the hardware's time"


def test_what_open_fets_withhold_is_made_up_for():
    # every start loses half a second until the FETs were read back
    def mean(withhold):
        stage = make()
        level = 0
        delivered = 0
        waiting = 0
        ticks = 20_000
        for _ in range(ticks):
            after = stage.step(150_000, 48_000, 0, DT, -1).commanded_mw
            if after and not level:
                waiting = 5
            level = after
            if withhold and waiting and after:
                waiting -= 1
                stage.withheld()
            else:
                delivered += after
        return delivered // ticks

    assert abs(mean(False) - 150_000) < 2000
    assert abs(mean(True) - 150_000) < 2000


def test_an_old_debt_is_not_paid_in_the_next_service():
    stage = make()
    # never delivered: the error grows to its bound
    for _ in range(600):
        stage.step(STEP, 48_000, 0, DT, -1)
        stage.withheld()
    stage.zero()
    stage.start(60_000)
    powers = run(stage, STEP // 10, 60)
    assert sum(1 for power in powers if power) * DT <= 3 * ON_MS


def test_different_remainders_decorrelate():
    def switching(remainders):
        """Return the largest share of stages that are on at once, after the first seconds."""
        stages = [make(remainder, 1000, 1000) for remainder in remainders]
        worst = 0
        for tick in range(1200):
            on = sum(1 for stage in stages if stage.step(STEP // 4, 48_000, 0, DT, -1).enable)
            if tick > 100:
                worst = max(worst, on)
        return worst * 100 // len(stages)

    draw = Draw(9)
    spread = switching([draw.below(STEP) - STEP // 2 for _ in range(100)])
    same = switching([1000] * 100)
    assert same == 100, same
    assert spread <= 45, spread


def test_the_remainder_is_bounded():
    for remainder in (10 * STEP, -10 * STEP):
        assert set(run(make(remainder), 0, 5)) == {0}
        assert abs(make(remainder)._error_mw) <= STEP // 2


def test_realized_power_at_the_pcc():
    stage = make()
    # 6 % of the PCC's power is lost: 530 W from the pack are 500 W, 470 W into it were 500 W
    assert abs(stage.realized_mw(50_000, 10_600) - 500_000) <= 600
    assert abs(stage.realized_mw(50_000, -9_400) + 500_000) <= 600
    assert stage.realized_mw(50_000, 0) == 0
    assert stage.pack_mw_of(0) == 0
    assert stage.pack_mw_of(250_000) - 250_000 == 30_000
    assert stage.pack_mw_of(-250_000) + 250_000 == 30_000
