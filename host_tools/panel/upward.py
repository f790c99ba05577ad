"""What an aggregate says of an interval to the one above: one record, made of its elements'. Pure.

The energy is the one that the interval's commitment declares, the sum of the elements' signed
records to the mWh: whoever holds the commitment can follow the record down. Smallest and largest
power and the state of charge come from telemetry.
"""

from dataclasses import dataclass
from typing import Any

from element.protocol import codes, schema
from host_tools.attest.commitment import Leaf
from host_tools.inventory.elements import ElementView

# An interval whose first look came later than this after its begin was not seen whole.
LATE_MS_MAX = 2500
# Flags of elements' records that hold for the whole.
_INHERITED = (codes.QUALITY_STALE | codes.QUALITY_TRIPPED | codes.QUALITY_CLOCK_STEPPED
              | codes.QUALITY_SOC_DOUBT)


@dataclass
class Look:
    """The elements at one moment. stale: of some the last word is old, or they are gone."""

    power_mw: int = 0
    soc_bp: int | None = None
    soc_bp_low: int | None = None
    soc_bp_high: int | None = None
    soh_bp: int | None = None
    stale: bool = False
    below_stale: bool = False  # an aggregate below says that its discovery is


def look(views: list[ElementView], now_ms: int, age_ms_max: int) -> Look:
    """Return sums and energy-weighted means over the elements that have spoken lately."""
    out = Look()
    sums = {"soc_bp": [0, 0], "soc_bp_low": [0, 0], "soc_bp_high": [0, 0], "soh_bp": [0, 0]}
    for view in views:
        told = view.telemetry
        if told is None or not view.fresh(now_ms, age_ms_max):
            out.stale = True
            continue
        out.power_mw += told["power_mw"]
        out.below_stale |= bool(told["flags"] & codes.FLAG_DISCOVERY_STALE)
        weight = view.profile["energy_mwh_rated"]
        said = view.announcement["soh_bp"] if view.announcement is not None else None
        for name, value in (("soc_bp", told["soc_bp"]), ("soc_bp_low", told["soc_bp_low"]),
                            ("soc_bp_high", told["soc_bp_high"]), ("soh_bp", said)):
            if value is not None:
                sums[name][0] += value * weight
                sums[name][1] += weight
    for name, (whole, weight) in sums.items():
        setattr(out, name, whole // weight if weight else None)
    return out


@dataclass
class _Open:
    """One interval as it was seen."""

    first_ms: int
    at_ms: int
    mw: tuple[int, int]
    soc_bp: tuple[int | None, int | None]
    instructed_uj: int = 0
    dispatch_id: int = 0
    quality: int = 0


class Meter:
    """Accounts intervals of the aggregate. end_of(at_ms) is the end of the interval it is in."""

    def __init__(self) -> None:
        self._open: dict[int, _Open] = {}
        self._last: tuple[int, int, int] | None = None  # (ms, instructed mW, dispatch id)

    def account(self, now_ms: int, seen: Look, instructed_mw: int, dispatch_id: int,
                interval_ms: int) -> None:
        """Take a look. instructed_mw, dispatch_id: what is asked by the one above from now on."""
        end_ms = now_ms - now_ms % interval_ms + interval_ms
        self._integrate(now_ms, interval_ms)
        self._last = (now_ms, instructed_mw, dispatch_id)
        one = self._open.get(end_ms)
        if one is None:
            one = self._open[end_ms] = _Open(now_ms, now_ms, (seen.power_mw, seen.power_mw),
                                             (seen.soc_bp, seen.soc_bp))
        one.at_ms = now_ms
        one.mw = (min(one.mw[0], seen.power_mw), max(one.mw[1], seen.power_mw))
        one.soc_bp = (one.soc_bp[0], seen.soc_bp)
        one.dispatch_id = dispatch_id or one.dispatch_id
        if seen.stale or seen.below_stale:
            one.quality |= codes.QUALITY_STALE

    def _integrate(self, now_ms: int, interval_ms: int) -> None:
        """Count what was asked since the last look, in the intervals that it was asked in."""
        if self._last is None:
            return
        at_ms, power_mw, _ = self._last
        while at_ms < now_ms:
            end_ms = at_ms - at_ms % interval_ms + interval_ms
            until_ms = min(end_ms, now_ms)
            if end_ms in self._open:
                self._open[end_ms].instructed_uj += power_mw * (until_ms - at_ms)
            at_ms = until_ms

    def flag(self, now_ms: int, quality: int, interval_ms: int) -> None:
        """Flag the interval of a moment."""
        one = self._open.get(now_ms - now_ms % interval_ms + interval_ms)
        if one is not None:
            one.quality |= quality

    def record(self, committed: dict[str, Any], leaves: list[Leaf]) -> dict[str, Any]:
        """Return a record of the interval of a commitment, without element, counter and hash.

        committed: the commitment's fields. leaves: what it is over.
        """
        start_ms, end_ms = committed["start_unix_ms"], committed["end_unix_ms"]
        seen = self._open.pop(end_ms, None)
        self._open = {at_ms: one for at_ms, one in self._open.items() if at_ms > end_ms}
        mean_mw = committed["realized_mwh"] * 3_600_000 // (end_ms - start_ms)
        quality = _quality(committed, leaves)
        instructed_mw, dispatch_id = 0, 0
        low_mw = high_mw = mean_mw
        soc_bp: tuple[int | None, int | None] = (None, None)
        if seen is None:
            quality |= codes.QUALITY_PARTIAL
        else:
            quality |= seen.quality
            low_mw, high_mw = min(mean_mw, seen.mw[0]), max(mean_mw, seen.mw[1])
            instructed_mw = seen.instructed_uj // (end_ms - start_ms)
            dispatch_id, soc_bp = seen.dispatch_id, seen.soc_bp
            if seen.first_ms - start_ms > LATE_MS_MAX:
                quality |= codes.QUALITY_PARTIAL
        return {
            "dispatch_id": dispatch_id, "start_unix_ms": start_ms, "end_unix_ms": end_ms,
            "instructed_mw_mean": instructed_mw, "realized_mw_mean": mean_mw,
            "realized_mw_min": low_mw, "realized_mw_max": high_mw,
            "energy_mwh": committed["realized_mwh"], "soc_bp_start": soc_bp[0],
            "soc_bp_end": soc_bp[1], "quality": quality}


def _quality(committed: dict[str, Any], leaves: list[Leaf]) -> int:
    """Return the flags of the whole: an interval with a gap, or with other intervals' records,
    is partial."""
    quality = codes.QUALITY_PARTIAL if committed["missing_count"] else 0
    for leaf in leaves:
        if leaf.kind != schema.EXECUTION_RECORD:
            continue
        quality |= leaf.fields["quality"] & _INHERITED
        if leaf.fields["quality"] & codes.QUALITY_PARTIAL \
                or leaf.fields["end_unix_ms"] <= committed["start_unix_ms"]:
            quality |= codes.QUALITY_PARTIAL
    return quality
