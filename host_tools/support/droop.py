"""How much power a deviation asks for: piecewise straight curves, the same on both sides. Pure.

Deviations in mHz and in basis points of the nominal voltage, shares in basis points of the
contracted power. A low frequency, and a low voltage, ask for discharge, which is positive.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Curve:
    """points: (size of the deviation, share), both rising; flat before the first, and after the
    last, one. A first point with share 0 is the end of the dead-band.

    start_ms, full_ms: in which its product wants the response to begin, and to be complete.
    """

    name: str
    points: tuple[tuple[int, int], ...]
    start_ms: int = 0
    full_ms: int = 0

    def __post_init__(self) -> None:
        rising = all(before[0] < after[0] and before[1] <= after[1]
                     for before, after in zip(self.points, self.points[1:], strict=False))
        if not self.points or not rising or not 0 <= self.points[-1][1] <= 10000 \
                or self.points[0][0] < 0 or self.points[0][1] < 0:
            raise ValueError(f"curve {self.name}: points must rise, shares end at 10000 at most")

    def share_bp(self, deviation: int) -> int:
        """Return the share for a deviation: negative deviations (too low) discharge.

        A step of the curve is rounded towards zero.
        """
        size = abs(deviation)
        share = 0
        if size > self.points[0][0]:
            share = self.points[-1][1]
            for (low, low_bp), (high, high_bp) in zip(self.points, self.points[1:], strict=False):
                if size <= high:
                    share = low_bp + (high_bp - low_bp) * (size - low) // (high - low)
                    break
        return share if deviation < 0 else -share


# Dynamic Containment: NESO's service description, 15 mHz dead-band, 5 % at 200 mHz, all at
# 500 mHz; begun within 0.5 s, complete within 1 s. FCR: Regulation (EU) 2017/1485, annex V,
# Continental Europe, 10 mHz and 200 mHz, 30 s; Great Britain 15 mHz and 500 mHz, 10 s.
# Moderation and Regulation are shapes after the same family: check them against the contract.
CURVES = {
    one.name: one for one in (
        Curve("dynamic-containment", ((15, 0), (200, 500), (500, 10000)), 500, 1000),
        Curve("dynamic-moderation", ((15, 0), (100, 500), (200, 10000)), 500, 1000),
        Curve("dynamic-regulation", ((15, 0), (200, 10000)), 2000, 10_000),
        Curve("fcr", ((10, 0), (200, 10000)), 0, 30_000),
        Curve("fcr-gb", ((15, 0), (500, 10000)), 0, 10_000),
    )
}
# Nothing within 3 % of the nominal voltage, everything at 10 %: inside the ±10 % that EN 50160
# allows a public supply.
VOLTAGE = Curve("voltage", ((300, 0), (1000, 10000)))


def droop(name: str, dead_band_mhz: int, full_mhz: int) -> Curve:
    """Return a straight droop: nothing within the dead-band, everything at full_mhz."""
    return Curve(name, ((dead_band_mhz, 0), (full_mhz, 10000)))


class Lead:
    """A lead compensator: ask now for what will be asked in lead_ms, going by the slope.

    It makes up for what a line and a ramp take, so that a response is not late and then too much.
    The slope is smoothed over smooth_ms, or noise would be amplified; the answer stays within
    the curve's 10000 bp. lead_ms 0: what comes in goes out.
    """

    def __init__(self, lead_ms: int, smooth_ms: int = 500) -> None:
        self._lead_ms, self._smooth_ms = lead_ms, smooth_ms
        self._before: tuple[int, int] | None = None
        self._slope_bp_per_s = 0

    def step(self, share_bp: int, at_ms: int) -> int:
        """Return the compensated share for one measured at at_ms."""
        before = self._before
        if before is None or at_ms - before[1] > 10 * self._smooth_ms:
            self._before, self._slope_bp_per_s = (share_bp, at_ms), 0
            return share_bp
        dt_ms = at_ms - before[1]
        if dt_ms > 0:
            slope = (share_bp - before[0]) * 1000 // dt_ms
            self._slope_bp_per_s += (slope - self._slope_bp_per_s) * dt_ms \
                // (self._smooth_ms + dt_ms)
            self._before = (share_bp, at_ms)
        ahead = share_bp + self._slope_bp_per_s * self._lead_ms // 1000
        # within the dead-band nothing is asked for, whatever the slope
        return max(-10000, min(10000, ahead)) if share_bp else 0


def required_mw(power_mw: int, frequency_bp: int, voltage_bp: int, excess_mw: int) -> int:
    """Return the power that the grid asks for, at most power_mw either way.

    frequency_bp, voltage_bp: shares of the curves. excess_mw: demand above its limit, >= 0, which
    is shaved with what is left. The frequency is everybody's and comes first: a voltage, or a
    demand, that asks for the other direction gives way to it.
    """
    wanted_mw = power_mw * frequency_bp // 10000 if frequency_bp >= 0 \
        else -(power_mw * -frequency_bp // 10000)
    for other_mw in (_toward_zero(power_mw * voltage_bp), excess_mw):
        if other_mw * wanted_mw >= 0:
            wanted_mw += other_mw
    return max(-power_mw, min(power_mw, wanted_mw))


def _toward_zero(value_bp: int) -> int:
    return value_bp // 10000 if value_bp >= 0 else -(-value_bp // 10000)
