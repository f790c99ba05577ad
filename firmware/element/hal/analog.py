"""From an analogue reading to mA and mV, in integers that stay below 2**30 on the way. Pure."""

SMALL_MAX = (1 << 30) - 1
# What a sensor reads that is at a rail: beyond every over-current limit, so that it trips.
BROKEN_MA = 1_000_000
_SHIFT_MAX = 14


def gain_of(num: int, den: int, span: int) -> tuple:
    """Return (gain, shift) with x * gain >> shift close to x * num / den for every |x| <= span.

    No product exceeds SMALL_MAX; gain has the sign of num.
    """
    shift = _SHIFT_MAX
    while True:
        gain = ((abs(num) << shift) + den // 2) // den
        if gain * span <= SMALL_MAX or shift == 0:
            return (gain if num >= 0 else -gain), shift
        shift -= 1


class CurrentSense:
    """A linear current sensor: `ma` of a raw count, `BROKEN_MA` outside of what it can say."""

    def __init__(self, board, uv_num: int, uv_den: int):
        """uv_num / uv_den: microvolts at the pin that one raw count means.

        board: SENSE_ZERO_MV, SENSE_UV_PER_A (negative for a sensor that counts charge as
        positive), SENSE_MV_MIN, SENSE_MV_MAX.
        """
        self._zero = _count(board.SENSE_ZERO_MV, uv_num, uv_den)
        self._low = _count(board.SENSE_MV_MIN, uv_num, uv_den)
        self._high = _count(board.SENSE_MV_MAX, uv_num, uv_den)
        span = max(self._high - self._zero, self._zero - self._low)
        per_a = board.SENSE_UV_PER_A
        sign = 1 if per_a > 0 else -1
        self._gain, self._shift = gain_of(sign * 1000 * uv_num, uv_den * abs(per_a), span)

    def ma(self, raw: int) -> int:
        """Return the current in mA, positive discharge. Allocates nothing."""
        if raw < self._low or raw > self._high:
            return BROKEN_MA
        return (raw - self._zero) * self._gain >> self._shift


def _count(mv: int, uv_num: int, uv_den: int) -> int:
    """Return the raw count of a voltage at the pin."""
    return mv * 1000 * uv_den // uv_num
