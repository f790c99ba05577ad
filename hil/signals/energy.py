"""Make the signals of slow services: a day of arbitrage, and cycling for endurance."""

from .signal import Signal

HOUR_MS = 3_600_000
STEP_MS = 60_000
# (from hour, to hour, level in peaks): charge at night, discharge in the evening peak, as under a
# time-of-use tariff; half of the power at noon, when there is sun to take.
ARBITRAGE = ((1.0, 5.0, -0.8), (11.0, 14.0, -0.4), (17.0, 21.0, 1.0))
# A cycle: charge, rest, discharge, rest; in hours and peaks.
CYCLE = ((2.0, -1.0), (0.25, 0.0), (1.9, 1.0), (0.25, 0.0))


def arbitrage_signal(duration_ms: int) -> Signal:
    """Return days of arbitrage from midnight on; the hours are of the run's own day."""
    values = []
    for index in range(_steps(duration_ms)):
        hour = index * STEP_MS / HOUR_MS % 24
        level = 0.0
        for begin, end, value in ARBITRAGE:
            if begin <= hour < end:
                level = value
        values.append(level)
    return Signal(STEP_MS, values, "arbitrage")


def cycling_signal(duration_ms: int) -> Signal:
    """Return cycles of charge and discharge with rests, one after the other."""
    period_h = sum(hours for hours, _ in CYCLE)
    values = []
    for index in range(_steps(duration_ms)):
        left_h = index * STEP_MS / HOUR_MS % period_h
        for hours, level in CYCLE:
            if left_h < hours:
                values.append(level)
                break
            left_h -= hours
        else:
            values.append(0.0)  # the last rounding of a period is rest
    return Signal(STEP_MS, values, "cycling")


def _steps(duration_ms: int) -> int:
    if duration_ms < STEP_MS:
        raise ValueError(f"{duration_ms} ms: shorter than a step of {STEP_MS} ms")
    return -(-duration_ms // STEP_MS)
