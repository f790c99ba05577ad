"""Scaling of analogue readings: right, below 2**30 on the way, and safe at the rails."""

from element.hal.analog import BROKEN_MA, SMALL_MAX, CurrentSense, gain_of


class Board:
    """The Pico's sensor: 16 mV/A around 1.65 V."""

    SENSE_ZERO_MV = 1650
    SENSE_UV_PER_A = 16000
    SENSE_MV_MIN = 50
    SENSE_MV_MAX = 3250


class Divided(Board):
    """The ESP32's: the same through a divider of 2/3."""

    SENSE_ZERO_MV = 1100
    SENSE_UV_PER_A = 10667
    SENSE_MV_MIN = 160
    SENSE_MV_MAX = 2150


class Reversed(Board):
    """A sensor that was mounted the other way round."""

    SENSE_UV_PER_A = -16000


PICO = (3_300_000, 65535 * 4)
ESP32 = (1, 4)


def test_gains_are_close_and_products_are_small():
    for num, den, span in ((3300, 65535, 65535), (25 * 3_300_000, 65_535_000, 65535), (1, 3, 10),
                           (-7, 11, 40_000), (30, 1000, 3_300_000), (1000, 4 * 10667, 5_000_000),
                           (1, 1, SMALL_MAX)):
        gain, shift = gain_of(num, den, span)
        assert abs(gain * span) <= SMALL_MAX
        for x in (span, span // 2, -span, 1, 0):
            wanted = x * num / den
            assert abs((x * gain >> shift) - wanted) <= abs(wanted) / 500 + 1, (num, den, x)


def check(board, scale, counts_of_mv, sign=1):
    """Compare a sensor's ma with the formula at every 10 mV it can be believed at."""
    sense = CurrentSense(board, *scale)
    for mv in range(board.SENSE_MV_MIN + 1, board.SENSE_MV_MAX, 10):
        wanted = (mv - board.SENSE_ZERO_MV) * 1_000_000 / board.SENSE_UV_PER_A
        raw = counts_of_mv(mv)
        assert abs(sense.ma(raw) - wanted) <= abs(wanted) / 500 + 70, mv
        # what makes an object of a 32-bit board: no product on the way
        assert abs((raw - sense._zero) * sense._gain) <= SMALL_MAX
    for mv in (0, board.SENSE_MV_MIN - 2, board.SENSE_MV_MAX + 2, 3300):
        assert sense.ma(counts_of_mv(mv)) == BROKEN_MA, mv
    assert sign * sense.ma(counts_of_mv(board.SENSE_ZERO_MV + 100)) > 0


def test_the_pico_s_sensor():
    check(Board, PICO, lambda mv: mv * 1000 * PICO[1] // PICO[0])


def test_the_esp32_s_sensor_in_microvolts():
    check(Divided, ESP32, lambda mv: mv * 4000)


def test_a_sensor_that_is_mounted_the_other_way_round():
    check(Reversed, PICO, lambda mv: mv * 1000 * PICO[1] // PICO[0], sign=-1)


def test_broken_is_over_current_for_every_profile():
    # 120 % of the largest current any board allows, and 1 A: control.py, SENSE_MA_MAX clamps
    assert BROKEN_MA > 84_000 * 12 // 10 + 1000
