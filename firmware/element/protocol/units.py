"""Integer arithmetic in milli-units that stays small on a 32-bit board.

A small integer of a 32-bit MicroPython holds -2**30..2**30-1; everything here keeps its
intermediate values inside that for packs up to 1,000 V and 1,000 A.
"""


def power_mw(millivolts: int, milliamps: int) -> int:
    """Return millivolts * milliamps in mW, truncated towards zero; positive is discharge.

    Resolution is 10 mV and 100 mA * 1 mV: both factors are divided before the product, so that
    no intermediate value reaches 2**30 (800 V * 400 A gives 8e4 * 4e3 = 3.2e8).
    """
    if milliamps < 0:
        return -((millivolts // 10) * (-milliamps // 10) // 10)
    return (millivolts // 10) * (milliamps // 10) // 10


def current_ma(power_mw: int, millivolts: int) -> int:
    """Return the current in mA that carries power_mw at millivolts, truncated towards zero.

    Returns 0 at 0 mV: without a voltage no current can be asked for.
    """
    if millivolts < 1000:
        return 0
    # mW * 100 per 10 mV: up to 10 kW the product stays below 2**30, beyond it is right but slower
    if power_mw < 0:
        return -(-power_mw * 100 // (millivolts // 10))
    return power_mw * 100 // (millivolts // 10)


def clamp(value: int, low: int, high: int) -> int:
    """Return value moved into low..high."""
    if value < low:
        return low
    if value > high:
        return high
    return value


def split_evenly(total: int, weights: "list[int]") -> "list[int]":
    """Split total over non-negative weights in proportion; the integer parts sum to total exactly.

    Largest remainder, ties to the lowest index; the sign of total is the sign of every part.
    Returns zeros when every weight is 0 and total is 0. Raises ValueError when every weight is 0
    and total is not.
    """
    weight_sum = sum(weights)
    if weight_sum == 0:
        if total:
            raise ValueError("nothing to carry the total")
        return [0] * len(weights)
    size = abs(total)
    parts = [size * weight // weight_sum for weight in weights]
    order = sorted(
        range(len(weights)), key=lambda index: (-(size * weights[index] % weight_sum), index)
    )
    for index in order[: size - sum(parts)]:
        parts[index] += 1
    if total < 0:
        return [-part for part in parts]
    return parts
